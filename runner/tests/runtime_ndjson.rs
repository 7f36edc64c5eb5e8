//! The long-lived process: interleaving, loss, and everything it can say wrong.
#![allow(clippy::unwrap_used)]

mod runtime_support;

use axiom_hive_core::record::{BranchError, ContainmentRequest};
use axiom_hive_core::task::{ProcessProtocol, RuntimeSpec};
use axiom_hive_runner::runtime::{BuiltRuntime, CancelToken, RunError};
use runtime_support::*;

/// A Python program that has `requests()` to read and `say(...)` to answer.
fn python(program: &str) -> RuntimeSpec {
    let prelude = "import sys, json, os, time\n\
        def requests():\n    for line in sys.stdin: yield json.loads(line)\n\
        def say(**reply): sys.stdout.write(json.dumps(reply) + '\\n'); sys.stdout.flush()\n";
    let program = format!("{prelude}{program}");
    process(ProcessProtocol::Ndjson, &["python3", "-c", &program], &[])
}

fn loose(program: &str) -> BuiltRuntime {
    free(&python(program))
}

#[tokio::test]
async fn replies_in_any_order_find_their_branch() {
    let runtime = with_policy(
        &python(
            "held = []\n\
             for r in requests():\n    held.append(r)\n    if len(held) == 3:\n        \
             for r in reversed(held): say(id=r['id'], text=r['prompt'] + r['seed'] + str(r['branch']), pid=os.getpid(), usage={'promptTokens': 2, 'completionTokens': 3})",
        ),
        ContainmentRequest::Required,
        &axiom_hive_core::constitution::RuntimePolicy::default(),
    );
    let (a, b, c) = tokio::join!(
        run(&runtime, request(0, "a")),
        run(&runtime, request(1, "b\n\u{2028}")),
        run(&runtime, request(2, "c")),
    );
    assert_eq!(a.unwrap().text, "a10000");
    assert_eq!(b.unwrap().text, "b\n\u{2028}10011");
    let reply = c.unwrap();
    assert_eq!(reply.text, "c10022");
    assert_eq!(
        reply.usage.map(|u| (u.prompt_tokens, u.completion_tokens)),
        Some((2, 3))
    );
    runtime.runtime.shutdown().await;
}

#[tokio::test]
async fn one_process_serves_all_branches() {
    let runtime = loose("for r in requests(): say(id=r['id'], text=str(os.getpid()))");
    let first = text(&runtime, "x").await;
    assert_eq!(text(&runtime, "y").await, first);
    let pid = first.parse().unwrap();
    assert!(state(pid).is_some());
    runtime.runtime.shutdown().await;
    eventually("reaping", || state(pid).is_none()).await;
    // A later branch starts a new one.
    assert_ne!(text(&runtime, "z").await, first);
}

#[tokio::test]
async fn dropping_the_runtime_kills_the_process() {
    let runtime = loose("for r in requests(): say(id=r['id'], text=str(os.getpid()))");
    let pid = text(&runtime, "x").await.parse().unwrap();
    drop(runtime);
    eventually("reaping", || state(pid).is_none()).await;
}

#[tokio::test]
async fn every_failure_has_its_own_word() {
    for (program, expected) in [
        ("next(requests()); sys.exit(3)", BranchError::Lost),
        (
            "next(requests()); os.kill(os.getpid(), 9)",
            BranchError::Lost,
        ),
        ("sys.stdin.close()", BranchError::Lost),
        (
            "r = next(requests()); say(id=r['id'], error='out of memory'); time.sleep(1000)",
            BranchError::Reported,
        ),
        (
            "r = next(requests()); say(id=r['id'], text=' '); time.sleep(1000)",
            BranchError::Empty,
        ),
        (
            "r = next(requests()); say(id=r['id'], text='x' * 40000); time.sleep(1000)",
            BranchError::TooLong,
        ),
        (
            "r = next(requests()); say(id=r['id']); time.sleep(1000)",
            BranchError::Malformed,
        ),
        (
            "r = next(requests()); say(id=r['id'], text='a', error='b'); time.sleep(1000)",
            BranchError::Malformed,
        ),
        (
            "r = next(requests()); say(id='17', text='a'); time.sleep(1000)",
            BranchError::Malformed,
        ),
        (
            "r = next(requests()); say(id='0' + r['id'], text='a'); time.sleep(1000)",
            BranchError::Malformed,
        ),
        (
            "print('hello', flush=True); time.sleep(1000)",
            BranchError::Malformed,
        ),
        (
            "os.write(1, b'\\xff\\n'); time.sleep(1000)",
            BranchError::NotUtf8,
        ),
        (
            "while True: os.write(1, b'x' * 65536)",
            BranchError::TooLong,
        ),
    ] {
        let result = run(&loose(program), request(0, "x")).await;
        assert_eq!(kind(result), expected, "{program}");
    }
}

#[tokio::test]
async fn a_lost_process_fails_all_in_flight_and_the_next_branch_starts_another() {
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("once");
    let runtime = loose(&format!(
        "n = 0\nfor r in requests():\n    n += 1\n    \
         if os.path.exists('{0}'): say(id=r['id'], text='well')\n    \
         elif n == 2:\n        open('{0}', 'w').close()\n        sys.exit('it broke')",
        flag.display()
    ));
    let (a, b) = tokio::join!(
        run(&runtime, request(0, "a")),
        run(&runtime, request(1, "b"))
    );
    assert_eq!(kind(a), BranchError::Lost);
    assert!(detail(b).contains("it broke"));
    assert_eq!(text(&runtime, "c").await, "well");
}

#[tokio::test]
async fn a_late_reply_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let flag = dir.path().join("read");
    let runtime = loose(&format!(
        "for r in requests():\n    \
         if r['prompt'] == 'slow':\n        slow = r\n        open('{}', 'w').close()\n    \
         elif r['prompt'] == 'go':\n        say(id=slow['id'], text='late')\n        say(id=r['id'], text='went')",
        flag.display()
    ));
    // One that stays in flight keeps the process alive while the slow one is given up.
    let mut kept = runtime.runtime.run(request(0, "keep"), CancelToken::new());
    let cancel = CancelToken::new();
    let late = async {
        let mut slow = runtime.runtime.run(request(1, "slow"), cancel.clone());
        tokio::select! {
            ended = &mut slow => panic!("{ended:?}"),
            () = eventually("the reading", || flag.exists()) => cancel.cancel(),
        }
        assert_eq!(slow.await, Err(RunError::Cancelled));
        text(&runtime, "go").await
    };
    tokio::select! {
        ended = &mut kept => panic!("{ended:?}"),
        went = late => assert_eq!(went, "went"),
    }
}

#[tokio::test]
async fn a_process_nobody_waits_for_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let runtime = loose(&format!(
        "open('{}', 'w').write(str(os.getpid()))\ntime.sleep(1000)",
        file.display()
    ));
    let cancel = CancelToken::new();
    let mut branch = runtime.runtime.run(request(0, "x"), cancel.clone());
    tokio::select! {
        ended = &mut branch => panic!("{ended:?}"),
        () = eventually("the start", || pids(&file).len() == 1) => {}
    }
    cancel.cancel();
    assert_eq!(branch.await, Err(RunError::Cancelled));
    let pid = pids(&file)[0];
    eventually("reaping", || state(pid).is_none()).await;
}
