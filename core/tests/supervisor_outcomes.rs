//! What is decided, shown and kept for a task, whatever the order of events.
#![allow(clippy::unwrap_used)]

mod supervisor_support;

use axiom_hive_core::constitution::RuntimeKind;
use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{AnswerSource, Body, BranchError, BranchResultKind, Label, Reason};
use axiom_hive_core::supervisor::{BranchResult, branch_seed};
use supervisor_support::*;

#[test]
fn a_refused_task_is_recorded_and_never_run() {
    let kinds = "[runtime]\nkinds = [\"process\"]";
    let valid = "quorum = \"valid\"\nmin_valid_branches = 3";
    let withhold = "[interceptor]\nprompt = \"withhold\"";
    for (supervisor, rest, prompt, branches, expected) in [
        ("", "", " \n\u{a0}", None, Reason::PromptEmpty),
        (
            "max_prompt_bytes = 5",
            "",
            "123456",
            None,
            Reason::PromptTooLong,
        ),
        ("", kinds, "Where?", None, Reason::NotAllowed),
        ("", "", "Where?", Some(5), Reason::NotAllowed),
        ("", "", "Where?", Some(0), Reason::NotAllowed),
        (valid, "", "Where?", Some(2), Reason::NotAllowed),
        ("", withhold, "a secretword", None, Reason::PromptWithheld),
        (
            "",
            "[interceptor]\nprompt = \"redact\"",
            "a zebra",
            None,
            Reason::PromptWithheld,
        ),
    ] {
        let prepared = policy(supervisor, rest);
        let mut task = task(prompt);
        task.spec.branches = branches;
        let (done, seen, ledger) = run(&prepared, &task, &[]);
        assert_eq!(reason(&done), expected, "{prompt:?}");
        assert!(matches!(done.record.body, Body::Refused(_)));
        assert_eq!((seen.started.len(), ledger.records.len()), (0, 2));
        assert!(done.released.is_none());
    }
    assert_eq!(task("x").spec.runtime.kind(), RuntimeKind::Echo);
}

#[test]
fn prompts_are_screened_before_a_runtime_sees_them() {
    let prompt = "a secretword of plainname";
    for (setting, expected) in [
        ("off", prompt.to_owned()),
        ("redact", "a [REDACTED:hidden] of ".to_owned()),
    ] {
        let prepared = policy("", &format!("[interceptor]\nprompt = \"{setting}\""));
        let (done, seen, _) = run(&prepared, &task(prompt), &texts(&["same"; 4]));
        assert!(
            seen.prompts.iter().all(|seen| seen.starts_with(&expected)),
            "{:?}",
            seen.prompts
        );
        assert_eq!(seen.prompts[0].contains("plainname"), setting == "off");
        let decided = &done.record.outcome().unwrap().decided;
        assert_eq!(
            decided.prompt_findings.map(|f| f.spans),
            (setting != "off").then_some(2)
        );
    }
}

#[test]
fn a_branch_that_policy_blocks_counts_against_and_is_never_shown() {
    let prepared = policy("", "");
    let answers = texts(&["Paris", "zebra Paris", "Paris", "Paris"]);
    let (done, ..) = run(&prepared, &task("Where?"), &answers);
    assert_eq!(kinds(&done)[1], BranchResultKind::Blocked);
    assert_eq!(released(&done), Some(("Paris", AnswerSource::BranchText)));
    let (done, ..) = run(&prepared, &task("Where?"), &texts(&["a zebra"; 4]));
    assert_eq!(
        (reason(&done), released(&done)),
        (Reason::PolicyWithheld, None)
    );
}

#[test]
fn what_was_agreed_is_what_is_shown() {
    let number = "equivalence = { kind = \"number\", decimals = 1 }";
    let choice = "equivalence = { kind = \"choice\", values = [\"Yes\", \"a zebra\"] }";
    let shown = format!("{number}\nshow = \"branch\"");
    for (supervisor, answer, expected) in [
        (
            number,
            "42.04",
            (Reason::Agreed, Some(("42.0", AnswerSource::AgreedValue))),
        ),
        (
            &shown,
            "42.04",
            (
                Reason::Agreed,
                Some(("42.04", AnswerSource::BranchTextKeyOnly)),
            ),
        ),
        (
            choice,
            "YES",
            (Reason::Agreed, Some(("Yes", AnswerSource::AgreedValue))),
        ),
        (choice, "A  ZEBRA", (Reason::PolicyWithheld, None)),
    ] {
        let prepared = policy(supervisor, "");
        let (done, ..) = run(&prepared, &task("How many?"), &texts(&[answer; 4]));
        assert_eq!((reason(&done), released(&done)), expected);
    }
}

#[test]
fn disagreement_fails_or_shows_a_marked_fallback() {
    let fallback = "on_no_agreement = { kind = \"fallback\", text = \"Ask a secretword.\" }";
    let tie = format!("{fallback}\nmin_consensus_ratio = 0.5");
    let valid = format!("{fallback}\nquorum = \"valid\"\nmin_valid_branches = 3");
    let failed = || BranchResult::Failed(BranchError::Timeout);
    let text = |text: &str| BranchResult::Text(text.to_owned());
    let shown = Some(("Ask a [REDACTED:hidden].", AnswerSource::Fallback));
    for (supervisor, results, expected) in [
        (
            fallback,
            texts(&["a", "b", "c", "d"]),
            (Reason::NoAgreement, shown),
        ),
        (&tie, texts(&["a", "a", "b", "b"]), (Reason::Tie, shown)),
        (
            &valid,
            vec![text("a"), failed(), failed(), text("a")],
            (Reason::TooFewValid, shown),
        ),
        (
            "",
            texts(&["a", "b", "c", "d"]),
            (Reason::NoAgreement, None),
        ),
        // Neither a dead runtime nor a policy is a disagreement.
        (
            fallback,
            vec![failed(), failed(), failed(), failed()],
            (Reason::RuntimeFailed, None),
        ),
        (
            fallback,
            texts(&["zebra"; 4]),
            (Reason::PolicyWithheld, None),
        ),
        // Two failures rule an agreement out; what it is called waits for the others.
        (
            fallback,
            vec![failed(), failed(), text("a"), failed()],
            (Reason::NoAgreement, shown),
        ),
    ] {
        let (done, ..) = run(&policy(supervisor, ""), &task("Where?"), &results);
        assert_eq!((reason(&done), released(&done)), expected);
    }
}

#[test]
fn bounds_hold_whatever_the_runtime_does() {
    let prepared = policy("max_answer_bytes = 5", "");
    let (done, ..) = run(
        &prepared,
        &task("Where?"),
        &texts(&["123456", " \n", "ok", "ok"]),
    );
    let branches = &done.record.outcome().unwrap().decided.branches;
    let errors: Vec<_> = branches.iter().map(|branch| branch.error).collect();
    let expected = [Some(BranchError::TooLong), Some(BranchError::Empty), None];
    assert_eq!(errors[..3], expected);
    assert!(branches[0].text.is_none(), "what is too long is not kept");
}

#[test]
fn what_is_not_kept_is_committed_to_and_no_payload() {
    let keep = "[ledger]\nkeep_prompt = false\nkeep_branches = false";
    let (done, _, ledger) = run(&policy("", keep), &task("Where?"), &texts(&["same"; 4]));
    let kept = |label: &Label| {
        ledger
            .payloads
            .values()
            .any(|payload| payload.label == *label)
    };
    assert!(!kept(&Label::PROMPT) && !kept(&Label::branch(0)));
    for label in [
        Label::ANSWER,
        Label::HASH_KEY,
        Label::RUNTIME,
        Label::TASK,
        Label::DETAIL,
    ] {
        assert!(kept(&label), "{label}");
    }
    assert!(
        done.record.outcome().unwrap().decided.branches[0]
            .text
            .is_some()
    );
    let (_, _, ledger) = run(&policy("", ""), &task("Where?"), &texts(&["same"; 4]));
    assert_eq!(
        ledger.payloads.len(),
        9,
        "prompt, task, runtime, three branches, answer, key, detail"
    );
}

#[test]
fn the_spec_digest_is_that_of_the_documented_form() {
    let prepared = policy("", "");
    let mut task = task("Where?");
    for (branches, extra) in [
        (None, String::new()),
        (Some(3), "\"branches\":3,".to_owned()),
    ] {
        task.spec.branches = branches;
        let (done, _, ledger) = run(&prepared, &task, &texts(&["same"; 4]));
        let decided = &done.record.outcome().unwrap().decided;
        let spec = format!(
            "{{{extra}\"prompt\":\"{}\",\"runtime\":\"{}\"}}",
            decided.prompt, decided.runtime.spec
        );
        assert_eq!(decided.spec, Digest::of(spec.as_bytes()));
        let Body::Intent { task_text, .. } = &ledger.intent().body else {
            panic!("no intent");
        };
        let text = ledger.payload(task_text).unwrap().bytes;
        let expected = format!("{{{extra}\"runtime\":{{\"kind\":\"echo\"}}}}");
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}

#[test]
fn seeds_are_pinned_and_differ() {
    let digest = Digest::of(b"constitution");
    // Computed from the definition by another program.
    assert_eq!(
        branch_seed("task-1", 0, &digest, 0),
        1_391_722_466_971_877_296
    );
    let mut seeds: Vec<u64> = (0..64)
        .flat_map(|index| (0..3).map(move |attempt| (attempt, index)))
        .map(|(attempt, index)| branch_seed("task-1", attempt, &digest, index))
        .chain([
            branch_seed("task-", 0, &digest, 0),
            branch_seed("task-1", 0, &Digest::of(b""), 0),
        ])
        .collect();
    assert!(seeds.iter().all(|seed| *seed < 1 << 63));
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 64 * 3 + 2);
}
