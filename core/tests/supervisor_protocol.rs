//! The protocol between machine, ledger and runtime, step by step.
#![allow(clippy::unwrap_used)]

mod supervisor_support;

use axiom_hive_core::record::{
    AnswerSource, Body, BranchError, BranchResultKind, Label, Payload, Reason, Record, Salt, Salts,
    StopEvent,
};
use axiom_hive_core::supervisor::{
    Acknowledged, BranchResult, Command, Deliberation, Event, IntentBy, OutOfTurn, Prepared,
    ReleaseError, Supervisor, Task, closed, concluded, replay,
};
use supervisor_support::*;

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
        // Not tried again, it ends the task as if that had been known before.
        let end = concluded(&done.record).unwrap();
        assert!(matches!(end.body, Body::Failed(_)) && end.to_canonical().is_ok());
        assert_eq!(end.outcome(), done.record.outcome());
        assert!(concluded(&end).is_none());
    }
    let (done, _, ledger) = run(&prepared, &task, &[failed(), failed(), failed(), failed()]);
    assert!(matches!(done.record.body, Body::Failed(_)));
    let outcome = done.record.outcome().unwrap().clone();
    let end = concluded(&Record::new(Body::Attempt(outcome))).unwrap();
    assert_eq!(end, done.record);
    let constitution = prepared.constitution();
    let decided = replay(&end, ledger.intent(), constitution, |c| ledger.payload(c));
    assert_eq!(decided.unwrap(), end.outcome().unwrap().decided);
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
fn a_task_is_closed_from_its_intent_alone_and_replays() {
    for screening in ["off", "redact"] {
        let prepared = policy("", &format!("[interceptor]\nprompt = \"{screening}\""));
        let task = task("a secretword");
        let (done, _, ledger) = run(&prepared, &task, &texts(&["same"; 4]));
        let mut observed = done.record.outcome().unwrap().observed.clone();
        observed.detail = None;
        for (stop, reason) in [
            (StopEvent::Interrupted, Reason::Interrupted),
            (StopEvent::Cancel, Reason::Cancelled),
            (StopEvent::Deadline, Reason::DeadlineExceeded),
            (StopEvent::Containment, Reason::ContainmentFailed),
        ] {
            let record = closed(ledger.intent(), stop, observed.clone()).unwrap();
            assert_eq!(record.slot(), done.record.slot());
            assert!(record.to_canonical().is_ok());
            let outcome = record.outcome().unwrap();
            assert_eq!(outcome.decided.reason, reason);
            assert_eq!(outcome.observed.stopped_by, Some(stop));
            let is_cancelled = matches!(record.body, Body::Cancelled(_));
            assert_eq!(is_cancelled, stop == StopEvent::Cancel);
            let constitution = prepared.constitution();
            let decided = replay(&record, ledger.intent(), constitution, |c| {
                ledger.payload(c)
            });
            assert_eq!(decided.unwrap(), outcome.decided);
        }
        assert!(closed(&done.record, StopEvent::Cancel, observed).is_none());
    }
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
