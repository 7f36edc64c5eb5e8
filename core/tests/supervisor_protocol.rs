//! The protocol between machine, ledger and runtime, step by step.
#![allow(clippy::unwrap_used)]

mod supervisor_support;

use axiom_hive_core::constitution::RuntimeKind;
use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{
    AnswerSource, Body, BranchError, BranchResultKind, Label, Payload, Reason, Record, Salt, Salts,
    StopEvent,
};
use axiom_hive_core::supervisor::{
    Acknowledged, BranchResult, Command, Deliberation, Done, Event, IntentBy, OutOfTurn, Prepared,
    ReleaseError, Supervisor, Task, branch_seed, interrupted,
};
use supervisor_support::*;

fn reason(done: &Done) -> Reason {
    done.record.outcome().unwrap().decided.reason
}

fn released(done: &Done) -> Option<(&str, AnswerSource)> {
    done.released
        .as_ref()
        .map(|text| (text.text(), text.source()))
}

fn kinds(done: &Done) -> Vec<BranchResultKind> {
    let decided = &done.record.outcome().unwrap().decided;
    decided
        .branches
        .iter()
        .map(|branch| branch.result)
        .collect()
}

fn acknowledged(record: Record) -> Event {
    Event::Acknowledged(Acknowledged {
        record,
        existing: false,
        answer: None,
    })
}

fn appended(commands: &[Command]) -> &Record {
    let mut entries = commands.iter().filter_map(|command| match command {
        Command::Append(entry) => Some(&entry.record),
        _ => None,
    });
    entries.next_back().unwrap()
}

/// A machine whose intent is durable, with the commands that followed.
fn started<'p>(prepared: &'p Prepared, task: &'p Task) -> (Supervisor<'p>, Vec<Command>) {
    let (mut machine, commands) = Supervisor::new(prepared, task, by_machine(), true).unwrap();
    let intent = appended(&commands).clone();
    let commands = machine.handle(acknowledged(intent)).unwrap();
    (machine, commands)
}

/// A machine that waits for the acknowledgement of `answered`.
fn before_the_end<'p>(prepared: &'p Prepared, task: &'p Task) -> (Supervisor<'p>, Record) {
    let (mut machine, _) = started(prepared, task);
    for index in 0..3 {
        let result = BranchResult::Text("Paris".to_owned());
        machine
            .handle(Event::BranchFinished { index, result })
            .unwrap();
    }
    let commands = machine.handle(Event::Observed(observation())).unwrap();
    let record = appended(&commands).clone();
    (machine, record)
}

#[test]
fn an_answer_is_agreed_filtered_recorded_and_then_released() {
    let prepared = policy("", "");
    let task = task("Where?");
    let answers = [
        "In  secretword",
        "in SECRETWORD",
        "In secretword",
        "never asked",
    ];
    let (done, seen, ledger) = run(&prepared, &task, &texts(&answers));
    assert_eq!(reason(&done), Reason::Agreed);
    let text = done.released.as_ref().unwrap().text();
    assert_eq!(text, "In  [REDACTED:hidden]");
    assert_eq!(kinds(&done), [BranchResultKind::Answer; 3]);
    assert_eq!((seen.intents, seen.ends, ledger.records.len()), (1, 1, 2));
    let outcome = done.record.outcome().unwrap();
    assert_eq!(outcome.observed.surplus_branches, 1);
    let answer = outcome.decided.answer.as_ref().unwrap();
    let payload = ledger.payload(&answer.text).unwrap();
    assert_eq!(
        (payload.label, payload.bytes),
        (Label::ANSWER, text.as_bytes().to_vec())
    );
    assert_eq!(answer.removed.spans, 1);
}

#[test]
fn nothing_starts_before_the_intent_is_durable() {
    let prepared = policy("", "");
    let task = task("Where?");
    let (mut machine, commands) = Supervisor::new(&prepared, &task, by_machine(), true).unwrap();
    assert!(matches!(commands.as_slice(), [Command::Append(_)]));
    let result = BranchResult::Text("early".to_owned());
    let early = machine.handle(Event::BranchFinished { index: 0, result });
    assert!(matches!(early, Err(OutOfTurn::Event { .. })));
    let early = machine.handle(Event::Observed(observation()));
    assert!(matches!(early, Err(OutOfTurn::Event { .. })));
    let commands = machine
        .handle(acknowledged(appended(&commands).clone()))
        .unwrap();
    assert_eq!(commands.len(), 4);
    assert!(
        commands
            .iter()
            .all(|command| matches!(command, Command::StartBranch { .. }))
    );
}

#[test]
fn branches_in_flight_are_bounded_and_each_ends_once() {
    let prepared = policy(
        "max_branches = 9\nmax_parallel_branches = 2\nmin_consensus_ratio = 1",
        "",
    );
    let task = task("Where?");
    let (done, seen, _) = run(&prepared, &task, &texts(&["same"; 9]));
    assert_eq!((reason(&done), seen.most_running), (Reason::Agreed, 2));

    let (mut machine, _) = started(&prepared, &task);
    for (index, is_legal) in [(2, false), (1, true), (1, false), (2, true), (9, false)] {
        let result = BranchResult::Text("same".to_owned());
        let handled = machine.handle(Event::BranchFinished { index, result });
        assert_eq!(handled.is_ok(), is_legal, "branch {index}");
    }
}

#[test]
fn only_an_intent_that_commits_to_this_task_starts_it() {
    let prepared = policy("", "");
    let (mine, other) = (task("Where?"), task("Who?"));
    let record = |task: &Task| {
        let (_, commands) = Supervisor::new(&prepared, task, by_machine(), true).unwrap();
        appended(&commands).clone()
    };
    let (mut machine, _) = Supervisor::new(&prepared, &mine, by_machine(), true).unwrap();
    let refused = machine.handle(acknowledged(record(&other)));
    assert!(matches!(refused, Err(OutOfTurn::OtherIntent)));
    let by_operator = |record: Record| {
        let intent = IntentBy::Operator(Box::new(record));
        Supervisor::new(&prepared, &mine, intent, true).map(|(_, commands)| commands.len())
    };
    assert_eq!(by_operator(record(&mine)), Ok(4));
    assert_eq!(by_operator(record(&other)), Err(OutOfTurn::OtherIntent));
    // A later acknowledgement of the same intent: its first answer was lost.
    let (mut machine, _) = Supervisor::new(&prepared, &mine, by_machine(), true).unwrap();
    let mut earlier = record(&mine);
    if let Body::Intent { observed, .. } = &mut earlier.body {
        observed.at_unix_ms += 1;
    }
    let again = Event::Acknowledged(Acknowledged {
        record: earlier,
        existing: true,
        answer: None,
    });
    assert_eq!(machine.handle(again).unwrap().len(), 4);
}

#[test]
fn nothing_is_released_for_a_record_that_was_not_appended() {
    let prepared = policy("", "");
    let task = task("Where?");
    let (mut machine, mut record) = before_the_end(&prepared, &task);
    if let Body::Answered(outcome) = &mut record.body {
        outcome.observed.ended_unix_ms += 1;
    }
    let refused = machine.handle(acknowledged(record));
    assert!(matches!(refused, Err(OutOfTurn::OtherRecord)));
}

/// What an earlier run of the same task recorded for `answers`.
fn stored(prepared: &Prepared, uid: &str, answers: &[&str]) -> (Record, Option<Payload>) {
    let mut earlier = task("Where?");
    uid.clone_into(&mut earlier.reference.uid);
    earlier.salts = Salts::Seed([1; 32]);
    let (done, _, ledger) = run(prepared, &earlier, &texts(answers));
    let answer = done
        .record
        .answer()
        .and_then(|commitment| ledger.payload(&commitment));
    (done.record, answer)
}

#[test]
fn an_earlier_record_wins_over_our_own_text() {
    let prepared = policy("", "");
    let task = task("Where?");
    let end = |record: &Record, answer: Option<Payload>| {
        let (mut machine, _) = before_the_end(&prepared, &task);
        let mut commands = machine.handle(Event::Acknowledged(Acknowledged {
            record: record.clone(),
            existing: true,
            answer,
        }))?;
        match commands.pop() {
            Some(Command::Done(done)) => Ok(done),
            other => panic!("{other:?}"),
        }
    };
    let (record, answer) = stored(&prepared, "task-1", &["Rome"; 4]);
    let done = end(&record, answer.clone()).unwrap();
    assert!(done.existing && done.record == record);
    assert_eq!(released(&done), Some(("Rome", AnswerSource::BranchText)));

    let refused = |record: &Record, answer| match end(record, answer) {
        Err(OutOfTurn::Release(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&record, None), ReleaseError::NoText);
    let forged = |change: fn(&mut Payload)| {
        let mut payload = answer.clone().unwrap();
        change(&mut payload);
        Some(payload)
    };
    for answer in [
        forged(|payload| payload.bytes = b"Oslo".to_vec()),
        forged(|payload| payload.salt = Salt([0; 32])),
        forged(|payload| payload.label = Label::branch(0)),
    ] {
        assert_eq!(refused(&record, answer), ReleaseError::Differs);
    }
    let (other, answer) = stored(&prepared, "task-2", &["Rome"; 4]);
    assert_eq!(refused(&other, answer), ReleaseError::OtherTask);

    let (withheld, _) = stored(&prepared, "task-1", &["a", "b", "c", "d"]);
    let done = end(&withheld, None).unwrap();
    assert_eq!(
        (reason(&done), released(&done)),
        (Reason::NoAgreement, None)
    );
}

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
fn a_failed_runtime_fills_the_attempt_slot_while_it_may_be_retried() {
    let prepared = policy("", "");
    let task = task("Where?");
    let failed = || BranchResult::Failed(BranchError::Unavailable);
    let end = |existing| {
        let (mut machine, first) = Supervisor::new(&prepared, &task, by_machine(), false).unwrap();
        machine
            .handle(acknowledged(appended(&first).clone()))
            .unwrap();
        for index in 0..4 {
            let result = failed();
            machine
                .handle(Event::BranchFinished { index, result })
                .unwrap();
        }
        let commands = machine.handle(Event::Observed(observation())).unwrap();
        let record = appended(&commands).clone();
        let answer = None;
        let acknowledged = Acknowledged {
            record,
            existing,
            answer,
        };
        machine.handle(Event::Acknowledged(acknowledged)).unwrap()
    };
    for existing in [false, true] {
        let commands = end(existing);
        let [Command::Done(done)] = commands.as_slice() else {
            panic!("{commands:?}");
        };
        assert!(matches!(done.record.body, Body::Attempt(_)));
        assert!(done.released.is_none() && done.existing == existing);
    }
    let (done, ..) = run(&prepared, &task, &[failed(), failed(), failed(), failed()]);
    assert!(matches!(done.record.body, Body::Failed(_)));
}

/// Every point of a run: before the intent is durable, between any two branches, after the
/// decision, before the terminal record is durable, after it.
#[test]
fn deadline_cancel_and_lost_containment_end_a_run_at_every_point() {
    let prepared = policy("", "");
    let task = task("Where?");
    let events: [(fn() -> Event, Reason); 3] = [
        (|| Event::Deadline, Reason::DeadlineExceeded),
        (|| Event::Cancel, Reason::Cancelled),
        (|| Event::ContainmentLost, Reason::ContainmentFailed),
    ];
    for (event, stopped) in events {
        let mut reasons = Vec::new();
        for step in 0..14 {
            let mut ledger = MemoryLedger::default();
            let mut schedule = Any(Vec::new(), Some((step, event())));
            let results = texts(&["same"; 4]);
            let (done, seen) =
                drive(&mut ledger, &prepared, &task, &results, &mut schedule).unwrap();
            assert_eq!((seen.intents, seen.ends), (1, 1));
            let outcome = done.record.outcome().unwrap();
            let is_stopped = outcome.observed.stopped_by.is_some();
            let expected = if is_stopped { stopped } else { Reason::Agreed };
            assert_eq!(outcome.decided.reason, expected);
            assert_eq!(done.released.is_some(), !is_stopped);
            if step == 0 {
                assert!(
                    seen.started.is_empty(),
                    "stopped before the intent was durable"
                );
            }
            reasons.push(outcome.decided.reason);
        }
        // Once decided, no event changes the decision.
        let decided = reasons
            .iter()
            .position(|reason| *reason == Reason::Agreed)
            .unwrap();
        assert!(decided > 3 && reasons[decided..].iter().all(|r| *r == Reason::Agreed));
    }
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

#[test]
fn a_dead_run_is_closed_from_its_intent_alone() {
    let prepared = policy("", "");
    let task = task("Where?");
    let (done, _, ledger) = run(&prepared, &task, &texts(&["same"; 4]));
    let mut observed = done.record.outcome().unwrap().observed.clone();
    observed.detail = None;
    let record = interrupted(ledger.intent(), observed.clone()).unwrap();
    assert_eq!(record.slot(), done.record.slot());
    assert!(record.to_canonical().is_ok());
    let outcome = record.outcome().unwrap();
    assert_eq!(outcome.decided.reason, Reason::Interrupted);
    assert_eq!(outcome.observed.stopped_by, Some(StopEvent::Interrupted));
    assert!(interrupted(&done.record, observed).is_none());
}

#[test]
fn a_deliberation_needs_the_salts_that_it_commits_with() {
    let prepared = policy("", "");
    let mut task = task("Where?");
    task.salts = Salts::Recorded(std::collections::BTreeMap::new());
    assert!(Deliberation::new(&prepared, &task).is_err());
    assert!(matches!(
        Supervisor::new(&prepared, &task, by_machine(), true),
        Err(OutOfTurn::Salt(_))
    ));
}
