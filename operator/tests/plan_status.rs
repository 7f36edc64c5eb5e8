//! What a task's status says in each state, as its users and kstatus read it.
#![allow(clippy::unwrap_used)]

use axiom_hive_core::constitution::RuntimeKind;
use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{
    AnswerRecord, AnswerSource, Body, BuildRef, Commitment, ConstitutionRef, Decided, Findings,
    Observed, Outcome as End, Reason, Record, RuntimeRef, TaskRef, VoteRecord,
};
use axiom_hive_operator::api::condition::ConditionReason;
use axiom_hive_operator::api::task::{LedgerPointer, Outcome, PodRef, SupervisedTaskStatus};
use axiom_hive_operator::plan::decide::Waiting;
use axiom_hive_operator::plan::notice::{MAX_NOTE_BYTES, notice};
use axiom_hive_operator::plan::status::{Answer, At, Ended, advanced, ended, waiting};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

fn at(second: i64) -> At {
    At {
        now: Timestamp::from_second(second).unwrap(),
        generation: Some(3),
    }
}

fn why(reason: ConditionReason, is_stalled: bool) -> Waiting {
    Waiting {
        reason,
        message: "because".to_owned(),
        is_stalled,
        look_again: SignedDuration::ZERO,
    }
}

/// `Succeeded=Unknown/Running` and so on, in the order in which they stand.
fn conditions(status: &SupervisedTaskStatus) -> Vec<String> {
    let all = status.conditions.iter();
    all.map(|it| format!("{}={}/{}", it.type_, it.status, it.reason))
        .collect()
}

/// As kstatus reads an object of our kind: `Stalled` first, then `Ready`.
fn kstatus(status: &SupervisedTaskStatus) -> &'static str {
    let is = |type_: &str| {
        let found = status.conditions.iter().find(|it| it.type_ == type_);
        found.map(|it| it.status.as_str())
    };
    match (is("Stalled"), is("Ready")) {
        (Some("True"), _) => "Failed",
        (_, Some("True")) => "Current",
        _ => "InProgress",
    }
}

fn decided(reason: Reason) -> Decided {
    Decided {
        constitution: ConstitutionRef {
            name: "default".to_owned(),
            version: "1.2.3".to_owned(),
            digest: Digest::of(b"constitution"),
            catalogue: 1,
        },
        spec: Digest::of(b"spec"),
        runtime: RuntimeRef {
            kind: RuntimeKind::Echo,
            spec: Commitment([1; 32]),
        },
        prompt: Commitment([2; 32]),
        prompt_findings: None,
        reason,
        branches: Vec::new(),
        vote: None,
        answer: None,
    }
}

fn end(decided: Decided) -> End {
    let build = BuildRef {
        version: "1.0.0".to_owned(),
        executable: Digest::of(b"build"),
    };
    End {
        task: TaskRef {
            uid: "task".to_owned(),
            attempt: 1,
        },
        decided,
        observed: Observed::nothing_ran(build, 2),
    }
}

fn status_of(
    old: &SupervisedTaskStatus,
    record: &Record,
    answer: Option<Answer>,
) -> SupervisedTaskStatus {
    let end = Ended {
        record,
        ledger: LedgerPointer {
            origin: "ledger.example/hive".to_owned(),
            index: 41,
            leaf_hash: "00".repeat(32),
            vkey: None,
        },
        receipt: "c2sp.org/tlog-proof@v1\n".to_owned(),
        answer,
        pod: Some(PodRef {
            name: "axh-hello-1".to_owned(),
            uid: "pod-1".to_owned(),
        }),
        started: Some(at(90).now),
        message: None,
    };
    ended(old, end, at(100)).unwrap()
}

#[test]
fn an_answered_task_says_all_that_its_record_says() {
    let mut decided = decided(Reason::Agreed);
    decided.vote = Some(VoteRecord {
        asked: 5,
        committed: 4,
        valid: 4,
        leader: 3,
        leader_class: Some(0),
        runner_up: 1,
        ratio: "0.6".parse().unwrap(),
    });
    decided.answer = Some(AnswerRecord {
        text: Commitment([3; 32]),
        bytes: 5,
        source: AnswerSource::BranchText,
        removed: Findings {
            spans: 2,
            words: 3,
            bytes: 17,
            invisible_cut: 0,
        },
        hash_key: Commitment([4; 32]),
    });
    let record = Record::new(Body::Answered(end(decided)));
    let answer = Some(Answer::Text("Paris".to_owned()));
    let status = status_of(&SupervisedTaskStatus::default(), &record, answer);
    let read = serde_json::to_value(&status).unwrap();
    for (field, expected) in [
        ("/outcome", serde_json::json!("Answered")),
        ("/reason", serde_json::json!("agreed")),
        ("/answer", serde_json::json!("Paris")),
        ("/attempt", serde_json::json!(1)),
        ("/observedGeneration", serde_json::json!(3)),
        ("/agreement/summary", serde_json::json!("3/5")),
        ("/agreement/committed", serde_json::json!(4)),
        ("/agreement/ratio", serde_json::json!("0.6")),
        (
            "/removed",
            serde_json::json!({"spans": 2, "words": 3, "bytes": 17}),
        ),
        ("/ledger/index", serde_json::json!(41)),
        ("/constitution/version", serde_json::json!("1.2.3")),
        ("/pod/uid", serde_json::json!("pod-1")),
        ("/startTime", serde_json::json!("1970-01-01T00:01:30Z")),
        ("/completionTime", serde_json::json!("1970-01-01T00:01:40Z")),
    ] {
        assert_eq!(read.pointer(field), Some(&expected), "{field}");
    }
    let expected = [
        "Succeeded=True/Answered",
        "Ready=True/Answered",
        "Stalled=False/Answered",
        "Recorded=True/Recorded",
        "ConstitutionResolved=True/Resolved",
    ];
    assert_eq!(conditions(&status), expected);
    assert_eq!(kstatus(&status), "Current");
}

#[test]
fn every_other_end_is_failed_for_kstatus_and_has_its_outcome_as_reason() {
    let end = |reason| end(decided(reason));
    for (body, outcome, word) in [
        (
            Body::Withheld(end(Reason::NoAgreement)),
            Outcome::Withheld,
            "noAgreement",
        ),
        (
            Body::Refused(end(Reason::PromptEmpty)),
            Outcome::Refused,
            "promptEmpty",
        ),
        (
            Body::Failed(end(Reason::DeadlineExceeded)),
            Outcome::Failed,
            "deadlineExceeded",
        ),
        (
            Body::Failed(end(Reason::ContainmentFailed)),
            Outcome::Failed,
            "containmentFailed",
        ),
        (
            Body::Cancelled(end(Reason::Cancelled)),
            Outcome::Cancelled,
            "cancelled",
        ),
    ] {
        let status = status_of(&SupervisedTaskStatus::default(), &Record::new(body), None);
        assert_eq!(
            (status.outcome, status.reason.as_deref()),
            (Some(outcome), Some(word))
        );
        let expected = [
            format!("Succeeded=False/{outcome:?}"),
            format!("Ready=False/{outcome:?}"),
            format!("Stalled=True/{outcome:?}"),
            "Recorded=True/Recorded".to_owned(),
            "ConstitutionResolved=True/Resolved".to_owned(),
        ];
        assert_eq!(conditions(&status), expected);
        assert_eq!(kstatus(&status), "Failed");
    }
}

#[test]
fn only_a_terminal_record_ends_a_task() {
    let record = Record::new(Body::Attempt(end(decided(Reason::RuntimeFailed))));
    let end = Ended {
        record: &record,
        ledger: LedgerPointer {
            origin: String::new(),
            index: 0,
            leaf_hash: String::new(),
            vkey: None,
        },
        receipt: String::new(),
        answer: None,
        pod: None,
        started: None,
        message: None,
    };
    assert!(ended(&SupervisedTaskStatus::default(), end, at(100)).is_none());
}

#[test]
fn what_waits_is_in_progress_and_what_cannot_go_on_has_failed() {
    use ConditionReason::{
        ConstitutionNotFound, ForeignPolicy, GuardMissing, LedgerUnavailable, NamespaceNotSelected,
        NotAllowed, Running, Suspended, Waiting,
    };
    let resolved = Some("ConstitutionResolved=True/Resolved");
    for (reason, is_stalled, kstatus_is, more) in [
        (Running, false, "InProgress", resolved),
        (Waiting, false, "InProgress", resolved),
        (Suspended, false, "InProgress", None),
        (LedgerUnavailable, false, "InProgress", None),
        (
            ConstitutionNotFound,
            false,
            "InProgress",
            Some("ConstitutionResolved=False/ConstitutionNotFound"),
        ),
        (
            NamespaceNotSelected,
            true,
            "Failed",
            Some("ConstitutionResolved=False/NamespaceNotSelected"),
        ),
        (NotAllowed, true, "Failed", resolved),
        (GuardMissing, true, "Failed", resolved),
        (
            ForeignPolicy,
            true,
            "Failed",
            Some("NetworkIsolated=False/ForeignPolicy"),
        ),
    ] {
        let old = SupervisedTaskStatus::default();
        let status = waiting(&old, &why(reason, is_stalled), at(10));
        let mut expected = vec![
            format!("Succeeded=Unknown/{reason}"),
            format!("Ready=Unknown/{reason}"),
            format!(
                "Stalled={}/{reason}",
                if is_stalled { "True" } else { "False" }
            ),
        ];
        expected.extend(more.map(str::to_owned));
        let mut all = conditions(&status);
        if reason == ForeignPolicy {
            assert_eq!(all.pop().as_deref(), resolved);
        }
        assert_eq!(all, expected);
        assert_eq!(kstatus(&status), kstatus_is, "{reason}");
        // The same at the next look: nothing to write.
        assert_eq!(
            waiting(&status, &why(reason, is_stalled), at(11)),
            status,
            "{reason}"
        );
    }
}

#[test]
fn an_isolated_network_is_said_where_it_was_not() {
    let old = SupervisedTaskStatus::default();
    let opened = waiting(&old, &why(ConditionReason::ForeignPolicy, true), at(10));
    let closed = waiting(&opened, &why(ConditionReason::Running, false), at(20));
    assert!(conditions(&closed).contains(&"NetworkIsolated=True/Isolated".to_owned()));
    assert_eq!(kstatus(&closed), "InProgress");
}

#[test]
fn retries_are_counted_and_a_resumed_attempt_is_not() {
    let old = SupervisedTaskStatus::default();
    let retried = advanced(&old, (1, true), "killed", Some(at(5).now), at(10));
    assert_eq!((retried.attempt, retried.retries), (Some(1), Some(1)));
    assert_eq!(conditions(&retried)[0], "Succeeded=Unknown/Retrying");
    let resumed = advanced(&retried, (2, false), "suspended", Some(at(9).now), at(20));
    assert_eq!((resumed.attempt, resumed.retries), (Some(2), Some(1)));
    assert_eq!(resumed.start_time.unwrap().0, at(5).now);
}

#[test]
fn time_suspended_counts_from_the_first_pod_on() {
    let (suspended, running) = (
        why(ConditionReason::Suspended, false),
        why(ConditionReason::Running, false),
    );
    let never_ran = waiting(&SupervisedTaskStatus::default(), &suspended, at(10));
    assert_eq!(never_ran.suspend_time.as_ref().unwrap().0, at(10).now);
    let resumed = waiting(&never_ran, &running, at(50));
    assert_eq!(
        (resumed.suspend_time, resumed.suspended_seconds),
        (None, None)
    );
    // From its first pod on it does, each time.
    let ran = advanced(
        &SupervisedTaskStatus::default(),
        (1, false),
        "why",
        Some(at(5).now),
        at(10),
    );
    let ran = waiting(&ran, &running, at(30));
    let ran = waiting(&waiting(&ran, &suspended, at(40)), &running, at(47));
    assert_eq!(ran.suspended_seconds, Some(20 + 7));
}

#[test]
fn only_a_change_that_its_user_must_know_is_announced() {
    let start = SupervisedTaskStatus::default();
    let withheld = status_of(
        &start,
        &Record::new(Body::Withheld(end(decided(Reason::NoAgreement)))),
        None,
    );
    let told = notice(&start, &withheld).unwrap();
    assert_eq!((told.reason.as_str(), told.action), ("Withheld", "Decide"));
    assert_eq!(told.note, "too few branches agreed");
    assert_eq!(notice(&withheld, &withheld), None);
    let answered = Record::new(Body::Answered(end(decided(Reason::Agreed))));
    assert_eq!(notice(&start, &status_of(&start, &answered, None)), None);
    let exposed = Record::new(Body::Failed(end(decided(Reason::ContainmentFailed))));
    let told = notice(&start, &status_of(&start, &exposed, None)).unwrap();
    assert_eq!(told.reason, "NotIsolated");
    // Each retry, though the condition's reason stays; a resumed task costs none.
    let once = advanced(&start, (1, true), "exit code 3", None, at(1));
    let twice = advanced(&once, (2, true), &"x".repeat(4000), None, at(2));
    assert_eq!(notice(&start, &once).unwrap().reason, "Retrying");
    let told = notice(&once, &twice).unwrap();
    assert_eq!(
        (told.reason.as_str(), told.note.len()),
        ("Retrying", MAX_NOTE_BYTES)
    );
    assert_eq!(
        notice(
            &start,
            &advanced(&start, (1, false), "resumed", None, at(1))
        ),
        None
    );
}
