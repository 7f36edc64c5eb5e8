//! Runs that nobody chose: any policy, any branches, any order of events, any moment to stop.
#![allow(clippy::unwrap_used)]

mod supervisor_support;

use std::collections::BTreeSet;

use axiom_hive_core::interceptor::Supervised;
use axiom_hive_core::record::{
    BranchError, Findings, Label, Outcome, Payload, Reason, Record, StopEvent,
};
use axiom_hive_core::supervisor::{
    BranchResult, Deliberation, Done, Event, Prepared, Released, ReplayError, Task, replay,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use supervisor_support::*;

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    })
}

#[derive(Debug, Clone)]
struct Case {
    policy: String,
    rest: &'static str,
    results: Vec<BranchResult>,
    branches: Option<u32>,
    order: Vec<usize>,
    stop: Option<(usize, StopEvent)>,
}

impl Case {
    fn prepared(&self) -> Prepared {
        policy(&self.policy, self.rest)
    }

    fn task(&self) -> Task {
        let mut task = task("Where is the secretword?");
        task.spec.branches = self.branches;
        task
    }

    fn schedule(&self, order: Vec<usize>) -> Any {
        let event = |stop| match stop {
            StopEvent::Deadline => Event::Deadline,
            StopEvent::Cancel => Event::Cancel,
            StopEvent::Containment | StopEvent::Interrupted => Event::ContainmentLost,
        };
        Any(order, self.stop.map(|(step, stop)| (step, event(stop))))
    }

    fn run(&self, prepared: &Prepared, order: Vec<usize>) -> (Done, Seen, MemoryLedger) {
        let mut ledger = MemoryLedger::default();
        let mut schedule = self.schedule(order);
        let task = self.task();
        let (done, seen) =
            drive(&mut ledger, prepared, &task, &self.results, &mut schedule).unwrap();
        (done, seen, ledger)
    }
}

fn policies() -> impl Strategy<Value = String> {
    let equivalence = select(vec![
        "",
        "equivalence = \"bytes\"\n",
        "equivalence = \"json\"\n",
        "equivalence = { kind = \"number\", decimals = 0 }\n",
        "equivalence = { kind = \"number\", decimals = 0 }\nshow = \"branch\"\n",
        "equivalence = { kind = \"regex\", pattern = \"([a-z0-9]+)$\", take = \"last\" }\n",
        "equivalence = { kind = \"choice\", values = [\"yes\", \"no secretword\"] }\n",
    ]);
    let ratio = select(vec!["0.01", "0.28", "0.5", "0.51", "0.75", "1"]);
    let quorum = select(vec![
        "",
        "quorum = \"valid\"\n",
        "quorum = \"valid\"\nmin_valid_branches = 2\n",
    ]);
    let tie = select(vec!["", "tie = \"lowest_index\"\n"]);
    let fallback = select(vec![
        "",
        "on_no_agreement = { kind = \"fallback\", text = \"No secretword today.\" }\n",
        "on_no_agreement = { kind = \"fallback\", text = \"No zebra today.\" }\n",
    ]);
    let parallel = 1..=5_u32;
    (2..=10_u32, equivalence, ratio, quorum, tie, fallback, parallel).prop_map(
        |(branches, equivalence, ratio, quorum, tie, fallback, parallel)| {
            format!(
                "max_branches = {branches}\nmin_consensus_ratio = {ratio}\nmax_answer_bytes = 40\n\
                 max_parallel_branches = {parallel}\n{equivalence}{quorum}{tie}{fallback}"
            )
        },
    )
}

fn results() -> impl Strategy<Value = Vec<BranchResult>> {
    let text = select(vec![
        "yes",
        "YES ",
        "no secretword",
        "42",
        "42.4",
        "43",
        "{\"a\": 1}",
        "{ \"a\":1.0 }",
        "the secretword is plainname",
        "a zebra",
        " \n",
        "\u{200b}",
        "plainname",
        "an answer of more than the forty bytes that are allowed",
    ]);
    let text = text.prop_map(|text| BranchResult::Text(text.to_owned()));
    let error = select(vec![
        BranchError::Timeout,
        BranchError::Lost,
        BranchError::Empty,
    ]);
    let result = prop_oneof![
        6 => select(vec!["yes", "42", "{}"]).prop_map(|text| BranchResult::Text(text.to_owned())),
        6 => text,
        2 => error.prop_map(BranchResult::Failed),
    ];
    prop::collection::vec(result, 10)
}

fn cases() -> impl Strategy<Value = Case> {
    let rest = select(vec![
        "",
        "[interceptor]\nprompt = \"redact\"",
        "[interceptor]\nprompt = \"withhold\"",
    ]);
    let stop = (
        0..40_usize,
        select(vec![
            StopEvent::Deadline,
            StopEvent::Cancel,
            StopEvent::Containment,
        ]),
    );
    let order = prop::collection::vec(any::<usize>(), 0..12);
    let branches = prop::option::weighted(0.2, 1..=11_u32);
    (
        policies(),
        rest,
        results(),
        branches,
        order,
        prop::option::weighted(0.3, stop),
    )
        .prop_map(|(policy, rest, results, branches, order, stop)| Case {
            policy,
            rest,
            results,
            branches,
            order,
            stop,
        })
}

fn outcome(done: &Done) -> &Outcome {
    done.record.outcome().unwrap()
}

fn replayed(
    ledger: &MemoryLedger,
    prepared: &Prepared,
    record: &Record,
) -> Result<Record, ReplayError> {
    let constitution = prepared.constitution();
    let payload = |commitment: &_| ledger.payload(commitment);
    let decided = replay(record, ledger.intent(), constitution, payload)?;
    let mut again = record.clone();
    let body = axiom_hive_core::supervisor::OutcomeKind::of(decided.reason);
    again.body = body.body(Outcome {
        decided,
        ..record.outcome().unwrap().clone()
    });
    Ok(again)
}

#[test]
fn every_run_is_recorded_released_and_replayed_byte_for_byte() {
    let reasons = std::cell::RefCell::new(BTreeSet::new());
    runner(budget("SUPERVISOR_RUNS", 1_500))
        .run(&cases(), |case| {
            let prepared = case.prepared();
            let (done, seen, ledger) = case.run(&prepared, case.order.clone());
            reasons.borrow_mut().insert(outcome(&done).decided.reason);
            prop_assert_eq!((seen.intents, seen.ends, ledger.records.len()), (1, 1, 2));
            let limit = prepared.constitution().supervisor.max_parallel_branches as usize;
            prop_assert!(seen.most_running <= limit);

            let answer = outcome(&done).decided.answer.as_ref();
            prop_assert_eq!(answer.is_some(), done.released.is_some());
            if let (Some(answer), Some(text)) = (answer, &done.released) {
                let payload = ledger.payload(&answer.text).unwrap();
                prop_assert_eq!(payload.bytes, text.text().as_bytes());
                prop_assert_eq!(text.source(), answer.source);
                for forbidden in ["secretword", "zebra", "plainname"] {
                    prop_assert!(!text.text().contains(forbidden), "{}", text.text());
                }
            }
            for commitment in done.record.commitments() {
                prop_assert!(
                    ledger.payload(&commitment).is_some(),
                    "nothing behind a commitment"
                );
            }
            let leaf = done.record.to_canonical().unwrap();
            let again = replayed(&ledger, &prepared, &done.record).unwrap();
            prop_assert_eq!(again.to_canonical().unwrap(), leaf);
            Ok(())
        })
        .unwrap();
    // The runs are worth something only if they end in every way that these policies have.
    let expected = BTreeSet::from([
        Reason::Agreed,
        Reason::NoAgreement,
        Reason::Tie,
        Reason::TooFewValid,
        Reason::PolicyWithheld,
        Reason::PromptWithheld,
        Reason::NotAllowed,
        Reason::RuntimeFailed,
        Reason::DeadlineExceeded,
        Reason::ContainmentFailed,
        Reason::Cancelled,
    ]);
    assert_eq!(reasons.into_inner(), expected);
}

/// Order of arrival and number of branches in flight change what is observed, never what is decided.
#[test]
fn the_same_events_in_any_order_give_the_same_record_and_text() {
    let orders = prop::collection::vec(any::<usize>(), 12);
    runner(budget("SUPERVISOR_ORDERS", 1_500))
        .run(
            &(cases(), orders, 1..=10_u32),
            |(mut case, order, parallel)| {
                case.stop = None;
                let prepared = case.prepared();
                let (one, ..) = case.run(&prepared, case.order.clone());
                let (two, ..) = case.run(&prepared, order.clone());
                prop_assert_eq!(&one.released, &two.released);
                let mut record = two.record.clone();
                set_surplus(&mut record, outcome(&one).observed.surplus_branches);
                prop_assert_eq!(
                    record.to_canonical().unwrap(),
                    one.record.to_canonical().unwrap()
                );

                // Another constitution, so other digests; the votes and the text are the same.
                let mut other = case.clone();
                other.policy = replace_line(&case.policy, "max_parallel_branches", parallel);
                let (three, ..) = other.run(&other.prepared(), order);
                prop_assert_eq!(&one.released, &three.released);
                let (one, three) = (&outcome(&one).decided, &outcome(&three).decided);
                prop_assert_eq!(&one.branches, &three.branches);
                prop_assert_eq!((one.reason, &one.vote), (three.reason, &three.vote));
                Ok(())
            },
        )
        .unwrap();
}

fn set_surplus(record: &mut Record, surplus: u32) {
    use axiom_hive_core::record::Body;
    match &mut record.body {
        Body::Answered(outcome)
        | Body::Withheld(outcome)
        | Body::Refused(outcome)
        | Body::Failed(outcome)
        | Body::Cancelled(outcome) => outcome.observed.surplus_branches = surplus,
        other => panic!("{other:?}"),
    }
}

fn replace_line(policy: &str, key: &str, value: u32) -> String {
    let line = |line: &str| {
        if line.starts_with(key) {
            format!("{key} = {value}\n")
        } else {
            format!("{line}\n")
        }
    };
    policy.lines().map(line).collect()
}

/// Running every branch and counting once gives the same outcome and the same text.
#[test]
fn early_stop_decides_as_all_branches_do() {
    runner(budget("SUPERVISOR_FULL_VOTES", 1_500))
        .run(&cases(), |mut case| {
            case.stop = None;
            let prepared = case.prepared();
            let (done, ..) = case.run(&prepared, case.order.clone());
            let task = case.task();
            let mut all = Deliberation::new(&prepared, &task).unwrap();
            let policy = &prepared.constitution().supervisor;
            let asked = case.branches.unwrap_or(policy.max_branches) as usize;
            if !all.is_settled() {
                for result in &case.results[..asked] {
                    all.commit(result.clone()).unwrap();
                }
            }
            let full = all.conclude(None).unwrap();
            prop_assert_eq!(full.decided.reason, outcome(&done).decided.reason);
            prop_assert_eq!(full.decided.answer, outcome(&done).decided.answer.clone());
            let text = done.released.as_ref().map(Released::text);
            prop_assert_eq!(full.answer.as_ref().map(Supervised::text), text);
            Ok(())
        })
        .unwrap();
}

/// A run of the default policy with three agreeing branches, as recorded.
fn recorded() -> (Prepared, MemoryLedger, Record) {
    let prepared = policy("", "");
    let answers = [
        "the secretword",
        "other",
        "The secretword",
        "the secretword",
    ];
    let (done, _, ledger) = run(&prepared, &task("Where?"), &texts(&answers));
    (prepared, ledger, done.record)
}

fn change(record: &Record, change: impl Fn(&mut Outcome)) -> Record {
    use axiom_hive_core::record::Body;
    let mut record = record.clone();
    if let Body::Answered(outcome) = &mut record.body {
        change(outcome);
    }
    record
}

#[test]
fn replay_finds_every_change_of_what_was_decided() {
    let (prepared, ledger, record) = recorded();
    assert!(replayed(&ledger, &prepared, &record).is_ok());
    let changes: [fn(&mut Outcome); 8] = [
        |outcome| outcome.decided.vote.as_mut().unwrap().leader = 4,
        |outcome| outcome.decided.vote = None,
        |outcome| outcome.decided.branches[1].class = Some(0),
        |outcome| outcome.decided.branches[1].bytes = Some(6),
        |outcome| outcome.decided.branches[3].error = Some(BranchError::Lost),
        |outcome| outcome.decided.answer.as_mut().unwrap().removed.spans = 0,
        |outcome| outcome.decided.answer = None,
        |outcome| outcome.decided.prompt_findings = Some(Findings::default()),
    ];
    for (number, edit) in changes.into_iter().enumerate() {
        let result = replayed(&ledger, &prepared, &change(&record, edit));
        assert!(
            matches!(result, Err(ReplayError::Differs(_))),
            "{number}: {result:?}"
        );
    }
    let changes: [fn(&mut Outcome); 3] = [
        // Too few branches to decide, and a stop event after the decision.
        |outcome| outcome.decided.branches.truncate(2),
        |outcome| outcome.decided.branches.clear(),
        |outcome| outcome.observed.stopped_by = Some(StopEvent::Deadline),
    ];
    for edit in changes {
        let result = replayed(&ledger, &prepared, &change(&record, edit));
        assert!(
            matches!(result, Err(ReplayError::OtherBranches)),
            "{result:?}"
        );
    }
    let changes: [fn(&mut Outcome); 3] = [
        |outcome| outcome.decided.spec = axiom_hive_core::digest::Digest::of(b""),
        |outcome| outcome.task.attempt = 1,
        |outcome| outcome.decided.constitution.version = "1.0.1".to_owned(),
    ];
    for edit in changes {
        let result = replayed(&ledger, &prepared, &change(&record, edit));
        assert!(
            matches!(result, Err(ReplayError::OtherIntent)),
            "{result:?}"
        );
    }
}

#[test]
fn replay_needs_the_recorded_constitution_and_says_what_is_missing() {
    let (prepared, mut ledger, record) = recorded();
    let other = policy("max_branches = 5", "");
    let result = replayed(&ledger, &other, &record);
    assert!(matches!(result, Err(ReplayError::OtherConstitution)));
    let result = replay(&record, &record, prepared.constitution(), |c| {
        ledger.payload(c)
    });
    assert!(matches!(result, Err(ReplayError::OtherIntent)));
    let result = replay(
        ledger.intent(),
        ledger.intent(),
        prepared.constitution(),
        |_| None,
    );
    assert!(matches!(result, Err(ReplayError::NotAnOutcome)));

    let payloads = ledger.payloads.clone();
    for (commitment, payload) in &payloads {
        ledger.payloads.remove(commitment);
        let result = replayed(&ledger, &prepared, &record);
        match result {
            Err(ReplayError::Missing(label, _)) => assert_eq!(label, payload.label),
            // What is only for people is not needed.
            other => assert!(
                other.is_ok() && payload.label == Label::DETAIL,
                "{}",
                payload.label
            ),
        }
        let forged = Payload {
            bytes: b"forged".to_vec(),
            ..payload.clone()
        };
        ledger.payloads.insert(*commitment, forged);
        let result = replayed(&ledger, &prepared, &record);
        let is_found = matches!(result, Err(ReplayError::Malformed(_)));
        assert!(
            is_found || payload.label == Label::DETAIL,
            "{}",
            payload.label
        );
        ledger.payloads.insert(*commitment, payload.clone());
    }
}

/// A record that says "withheld" over branches that agree.
#[test]
fn replay_finds_a_withheld_answer() {
    use axiom_hive_core::record::Body;
    let (prepared, ledger, record) = recorded();
    let Body::Answered(mut outcome) = record.body.clone() else {
        panic!("not answered");
    };
    outcome.decided.reason = Reason::NoAgreement;
    outcome.decided.answer = None;
    let forged = Record::new(Body::Withheld(outcome));
    let result = replayed(&ledger, &prepared, &forged);
    assert!(matches!(result, Err(ReplayError::Differs(_))), "{result:?}");
}
