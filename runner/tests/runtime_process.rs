//! Process runtimes against real processes: every way to fail has its own word.
#![allow(clippy::unwrap_used)]

mod runtime_support;

use std::time::Duration;

use axiom_hive_core::constitution::{RuntimeKind, RuntimePolicy};
use axiom_hive_core::record::{BranchError, ContainmentLevel, ContainmentRequest};
use axiom_hive_core::task::{ProcessProtocol, RuntimeSpec};
use axiom_hive_runner::runtime::{
    BranchRequest, CancelToken, RunError, RuntimeError, build, default_python_command,
};
use runtime_support::*;

#[tokio::test]
async fn echo_answers_with_the_prompt() {
    let echo = free(&RuntimeSpec::Echo);
    assert_eq!(echo.containment.reached, ContainmentLevel::NotApplicable);
    assert_eq!(text(&echo, "ping").await, "ping");
    assert_eq!(kind(run(&echo, request(0, " ")).await), BranchError::Empty);
}

#[tokio::test]
async fn text_carries_prompt_seed_and_branch() {
    let runtime = free(&shell("cat; echo \" $AXIOM_HIVE_SEED $AXIOM_HIVE_BRANCH\""));
    let reply = run(&runtime, request(3, "héllo")).await.unwrap();
    assert_eq!(reply.text, "héllo 1003 3");
}

#[tokio::test]
async fn the_environment_is_what_the_task_sets() {
    let spec = process(ProcessProtocol::Text, &["env"], &[("COLOUR", "blue")]);
    for level in [ContainmentRequest::Off, ContainmentRequest::Required] {
        let runtime = with_policy(&spec, level, &RuntimePolicy::default());
        let listed = text(&runtime, "x").await;
        let mut names: Vec<&str> = listed.lines().filter_map(|l| l.split('=').next()).collect();
        names.sort_unstable();
        let expected = [
            "AXIOM_HIVE_BRANCH",
            "AXIOM_HIVE_SEED",
            "COLOUR",
            "HOME",
            "LANG",
            "PATH",
        ];
        assert_eq!(names, expected);
    }
}

#[tokio::test]
async fn every_failure_has_its_own_word() {
    for (script, expected) in [
        ("exit 7", BranchError::ExitStatus),
        ("exit 125", BranchError::ExitStatus),
        ("echo half; exit 1", BranchError::ExitStatus),
        ("kill -SEGV $$", BranchError::Signal),
        ("true", BranchError::Empty),
        ("printf ' \\n\\t\\n'", BranchError::Empty),
        ("printf 'a\\377b'", BranchError::NotUtf8),
        ("yes", BranchError::TooLong),
    ] {
        let result = run(&free(&shell(script)), request(0, "x")).await;
        assert_eq!(kind(result), expected, "{script}");
    }
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    for script in [
        "sleep 1000",
        "exec >&- 2>&-; sleep 1000",
        "trap '' TERM; while :; do :; done",
    ] {
        let short = BranchRequest {
            deadline: Duration::from_millis(200),
            ..request(0, "x")
        };
        let result = run(&free(&shell(script)), short).await;
        assert_eq!(kind(result), BranchError::Timeout, "{script}");
    }
}

#[tokio::test]
async fn the_answer_bound_is_exact_and_one_line_ending_is_free() {
    let runtime = free(&shell("cat; echo"));
    let bounded = |prompt: &str| BranchRequest {
        max_answer_bytes: 4,
        ..request(0, prompt)
    };
    assert_eq!(run(&runtime, bounded("abcd")).await.unwrap().text, "abcd");
    assert_eq!(
        kind(run(&runtime, bounded("abcde")).await),
        BranchError::TooLong
    );
}

#[tokio::test]
async fn a_long_prompt_and_a_long_answer_do_not_block_each_other() {
    let prompt = "0123456789abcde\n".repeat(60_000);
    let wide = BranchRequest {
        max_answer_bytes: prompt.len(),
        ..request(0, &prompt)
    };
    assert_eq!(
        run(&free(&shell("cat; echo")), wide).await.unwrap().text,
        prompt
    );
}

#[tokio::test]
async fn a_process_need_not_read_its_prompt() {
    let runtime = free(&shell("exec <&-; echo done"));
    assert_eq!(text(&runtime, &"x".repeat(1 << 20)).await, "done");
}

#[tokio::test]
async fn stderr_is_drained_and_only_its_end_is_kept() {
    let script = "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo last words >&2; exit 3";
    let said = detail(run(&free(&shell(script)), request(0, "x")).await);
    assert!(said.len() <= 4096 && said.ends_with("last words"), "{said}");
}

#[tokio::test]
async fn what_a_process_leaves_behind_is_killed_and_reaped() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pids");
    let note = format!("echo $$ > {0}; sleep 1000 & echo $! >> {0}", file.display());
    for (script, deadline) in [
        (format!("{note}; echo early"), AMPLE),
        (format!("{note}; wait"), Duration::from_millis(500)),
    ] {
        let runtime = free(&shell(&script));
        let limited = BranchRequest {
            deadline,
            ..request(0, "x")
        };
        let _ = run(&runtime, limited).await;
        let started = pids(&file);
        assert_eq!(started.len(), 2, "{script}");
        eventually("reaping the leader", || state(started[0]).is_none()).await;
        // Its new parent reaps a grandchild; ours is to see it dead.
        eventually("the grandchild's end", || {
            matches!(state(started[1]), None | Some('Z' | 'X'))
        })
        .await;
    }
}

#[tokio::test]
async fn cancelling_and_dropping_kill_the_process() {
    let dir = tempfile::tempdir().unwrap();
    for drop_it in [false, true] {
        let file = dir.path().join(format!("pid-{drop_it}"));
        let runtime = free(&shell(&format!("echo $$ > {}; sleep 1000", file.display())));
        let cancel = CancelToken::new();
        let branch = runtime.runtime.run(request(0, "x"), cancel.clone());
        let started = eventually("the start", || pids(&file).len() == 1);
        let mut branch = branch;
        tokio::select! {
            ended = &mut branch => panic!("{ended:?}"),
            () = started => {}
        }
        if drop_it {
            drop(branch);
        } else {
            cancel.cancel();
            assert_eq!(branch.await, Err(RunError::Cancelled));
        }
        let pid = pids(&file)[0];
        eventually("reaping", || state(pid).is_none()).await;
    }
}

#[tokio::test]
async fn a_program_must_exist_and_be_allowed() {
    let policy = RuntimePolicy::default();
    let missing = process(ProcessProtocol::Text, &["no-such-program-here"], &[]);
    let off = options(ContainmentRequest::Off);
    assert!(matches!(
        build(&missing, &policy, &off),
        Err(RuntimeError::Program(_))
    ));
    let only_http = RuntimePolicy {
        kinds: vec![RuntimeKind::Http],
        ..RuntimePolicy::default()
    };
    assert!(matches!(
        build(&shell("true"), &only_http, &off),
        Err(RuntimeError::NotAllowed(RuntimeKind::Process))
    ));
}

#[tokio::test]
async fn the_python_package_speaks_both_protocols_behind_the_walls() {
    for protocol in [ProcessProtocol::Text, ProcessProtocol::Ndjson] {
        let command = default_python_command(protocol, None, &[]);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let runtime = walled(&process(protocol, &command, &[]));
        assert_eq!(runtime.containment.reached, ContainmentLevel::Strict);
        assert_eq!(
            text(&runtime, "What is the capital of France?").await,
            "Paris"
        );
        let question = "What is the capital of Australia?";
        let mut answers = Vec::new();
        for index in 0..8 {
            answers.push(run(&runtime, request(index, question)).await.unwrap().text);
        }
        assert!(
            answers.iter().any(|answer| answer != &answers[0]),
            "{answers:?}"
        );
        let again = run(&runtime, request(5, question)).await.unwrap().text;
        assert_eq!(again, answers[5]);
    }
}
