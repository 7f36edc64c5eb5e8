//! What is done next for a task, row by row.
#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use axiom_hive_core::constitution::RuntimeKind;
use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{
    Body, BranchError, BranchRecord, BranchResultKind, BuildRef, Commitment, ConstitutionRef,
    Observed, ObservedIntent, Reason, Record, RuntimeRef, StopEvent, TaskRef,
};
use axiom_hive_core::supervisor::closed;
use axiom_hive_operator::api::condition::ConditionReason;
use axiom_hive_operator::plan::decide::{Obstacle, Seen, Step, decide};
use axiom_hive_operator::plan::pods::{PodPhase, PodSeen};
use k8s_openapi::jiff::Timestamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn build() -> BuildRef {
    BuildRef {
        version: "1.0.0".to_owned(),
        executable: Digest::of(b"build"),
    }
}

fn intent(attempt: u32) -> Record {
    Record::new(Body::Intent {
        task: TaskRef {
            uid: "task".to_owned(),
            attempt,
        },
        constitution: ConstitutionRef {
            name: "default".to_owned(),
            version: "1.0.0".to_owned(),
            digest: Digest::of(b"constitution"),
            catalogue: 1,
        },
        spec: Digest::of(b"spec"),
        runtime: RuntimeRef {
            kind: RuntimeKind::Echo,
            spec: Commitment([1; 32]),
        },
        task_text: Commitment([2; 32]),
        prompt: Commitment([3; 32]),
        observed: ObservedIntent {
            at_unix_ms: 1,
            build: build(),
            pod_uid: Some(format!("pod-{attempt}")),
        },
    })
}

fn end(attempt: u32) -> Record {
    let observed = Observed::nothing_ran(build(), 2);
    closed(&intent(attempt), StopEvent::Interrupted, observed).unwrap()
}

/// What a supervisor records whose runtime failed.
fn failure(attempt: u32) -> Record {
    let end = end(attempt);
    let mut outcome = end.outcome().unwrap().clone();
    outcome.decided.reason = Reason::RuntimeFailed;
    let failed = BranchRecord {
        result: BranchResultKind::Failed,
        error: Some(BranchError::ExitStatus),
        text: None,
        bytes: None,
        class: None,
    };
    outcome.decided.branches = vec![failed; 3];
    Record::new(Body::Attempt(outcome))
}

fn pod(attempt: u32, phase: PodPhase) -> PodSeen {
    PodSeen {
        name: format!("axh-task-{attempt}"),
        uid: format!("pod-{attempt}"),
        attempt,
        created: at(100),
        phase,
    }
}

fn nothing() -> Seen<'static> {
    Seen {
        attempt: 0,
        retries: 0,
        retry_limit: 1,
        is_suspended: false,
        is_resumed: false,
        deadline: None,
        obstacle: None,
        pods: &[],
        records: None,
        intended_pod: None,
        now: at(110),
    }
}

/// With one pod whose intent is in the ledger.
fn decided(phase: PodPhase, change: impl FnOnce(&mut Seen<'_>)) -> Step {
    let (pods, records) = ([pod(0, phase)], [intent(0)]);
    let mut seen = Seen {
        pods: &pods,
        records: Some(&records),
        intended_pod: Some("pod-0"),
        deadline: Some(at(400)),
        ..nothing()
    };
    change(&mut seen);
    decide(&seen)
}

fn is_advance(step: &Step, retry: bool) -> bool {
    matches!(step, Step::Advance { attempt: 1, is_retry, .. } if *is_retry == retry)
}

fn is_close(step: &Step, with: StopEvent) -> bool {
    matches!(step, Step::Close { attempt: 0, stop, .. } if *stop == with)
}

#[test]
fn a_new_task_asks_then_dispatches_then_intends_then_waits() {
    assert_eq!(decide(&nothing()), Step::AskLedger);
    let records = Some(&[][..]);
    let seen = Seen {
        records,
        ..nothing()
    };
    assert_eq!(decide(&seen), Step::Dispatch { attempt: 0 });
    let pods = [pod(0, PodPhase::Starting)];
    let seen = Seen {
        pods: &pods,
        ..seen
    };
    let intend = Step::Intend {
        attempt: 0,
        pod_uid: "pod-0".to_owned(),
    };
    assert_eq!(decide(&seen), intend);
    let seen = Seen {
        intended_pod: Some("pod-0"),
        ..seen
    };
    assert!(matches!(decide(&seen), Step::Wait(why) if why.reason == ConditionReason::Running));
}

#[test]
fn a_terminal_record_ends_the_task_whatever_else_is_seen() {
    let (records, pods) = (
        [intent(0), end(0)],
        [pod(0, PodPhase::Running), pod(1, PodPhase::Starting)],
    );
    let seen = Seen {
        records: Some(&records),
        pods: &pods,
        attempt: 1,
        is_suspended: true,
        ..nothing()
    };
    assert_eq!(decide(&seen), Step::Finish);
}

#[test]
fn the_ledger_is_asked_before_an_end_is_believed() {
    for phase in [
        PodPhase::Ended { exit_code: 0 },
        PodPhase::Lost("Evicted".to_owned()),
    ] {
        assert_eq!(decided(phase, |seen| seen.records = None), Step::AskLedger);
    }
}

#[test]
fn what_ended_without_a_record_is_tried_again_within_the_limit() {
    for phase in [
        PodPhase::Ended { exit_code: 0 },
        PodPhase::Ended { exit_code: 3 },
        PodPhase::Ended { exit_code: 137 },
        PodPhase::Ended { exit_code: 143 },
        PodPhase::Lost("Evicted".to_owned()),
        PodPhase::Lost("NodeLost".to_owned()),
    ] {
        let step = decided(phase.clone(), |_| ());
        assert!(is_advance(&step, true), "{phase:?}: {step:?}");
        let step = decided(phase.clone(), |seen| seen.retries = 1);
        assert!(
            is_close(&step, StopEvent::Interrupted),
            "{phase:?}: {step:?}"
        );
        let step = decided(phase.clone(), |seen| seen.now = at(400));
        assert!(is_close(&step, StopEvent::Deadline), "{phase:?}: {step:?}");
    }
}

fn ended<'a>(pods: &'a [PodSeen], records: &'a [Record], retry_limit: u32) -> Seen<'a> {
    Seen {
        pods,
        records: Some(records),
        retry_limit,
        ..nothing()
    }
}

#[test]
fn a_runtime_that_failed_ends_its_task_with_what_was_recorded_of_that() {
    let records = [intent(0), failure(0)];
    // Whatever became of the pod after its supervisor recorded it.
    for exit_code in [3, 137] {
        let pods = [pod(0, PodPhase::Ended { exit_code })];
        let step = decide(&ended(&pods, &records, 1));
        let Step::Advance { message, .. } = step else {
            panic!("{step:?}");
        };
        let why = "in 3 of 3 the process ended with a status other than 0";
        assert!(message.contains(why), "{message}");
        let step = decide(&ended(&pods, &records, 0));
        assert_eq!(step, Step::Conclude { attempt: 0 });
    }
    // An earlier attempt's failure is not how the last one ended.
    let records = [intent(0), failure(0), intent(1)];
    let pods = [pod(1, PodPhase::Lost("Evicted".to_owned()))];
    let step = decide(&ended(&pods, &records, 0));
    let Step::Close { stop, message, .. } = step else {
        panic!("{step:?}");
    };
    assert_eq!(stop, StopEvent::Interrupted);
    assert!(message.contains("Evicted"), "{message}");
}

#[test]
fn what_would_end_the_same_again_is_not_tried_again() {
    for (exit_code, stop) in [
        (1, StopEvent::Interrupted),
        (2, StopEvent::Interrupted),
        (6, StopEvent::Containment),
        (7, StopEvent::Interrupted),
        (70, StopEvent::Interrupted),
    ] {
        let step = decided(PodPhase::Ended { exit_code }, |_| ());
        assert!(is_close(&step, stop), "{exit_code}: {step:?}");
    }
    let step = decided(PodPhase::Broken("InvalidImageName".to_owned()), |_| ());
    assert!(is_close(&step, StopEvent::Interrupted), "{step:?}");
}

#[test]
fn without_a_ledger_it_is_tried_until_the_deadline_at_no_cost_and_not_at_once() {
    let phase = || PodPhase::Ended { exit_code: 5 };
    let step = decided(phase(), |seen| seen.retries = 1);
    assert!(is_advance(&step, false), "{step:?}");
    let early = decided(phase(), |seen| seen.now = at(100));
    assert!(
        matches!(&early, Step::Wait(why) if why.reason == ConditionReason::LedgerUnavailable),
        "{early:?}"
    );
    let late = decided(phase(), |seen| seen.now = at(400));
    assert!(is_close(&late, StopEvent::Deadline), "{late:?}");
    // Later attempts pause for longer, and for a minute at most.
    for (attempt, seconds, waits) in [(3, 8, false), (3, 7, true), (9, 63, true), (9, 64, false)] {
        let (pods, records) = ([pod(attempt, phase())], [intent(attempt)]);
        let seen = Seen {
            attempt,
            pods: &pods,
            records: Some(&records),
            deadline: Some(at(4000)),
            now: at(100 + seconds),
            ..nothing()
        };
        let step = decide(&seen);
        assert_eq!(matches!(step, Step::Wait(_)), waits, "{attempt}: {step:?}");
    }
}

#[test]
fn a_status_that_was_read_too_early_ends_no_pod() {
    let pods = [
        pod(0, PodPhase::Ended { exit_code: 137 }),
        pod(1, PodPhase::Starting),
    ];
    let seen = Seen {
        attempt: 0,
        pods: &pods,
        intended_pod: Some("pod-1"),
        ..nothing()
    };
    let step = decide(&seen);
    assert!(
        matches!(&step, Step::Wait(why) if why.reason == ConditionReason::Running),
        "{step:?}"
    );
}

#[test]
fn what_is_held_up_by_an_obstacle_still_ends_in_time() {
    let obstacle = Obstacle {
        reason: ConditionReason::ForeignPolicy,
        message: "why".to_owned(),
        is_stalled: true,
    };
    let seen = Seen {
        attempt: 1,
        obstacle: Some(&obstacle),
        deadline: Some(at(400)),
        ..nothing()
    };
    assert_eq!(decide(&seen), Step::AskLedger);
    let records = [intent(0)];
    let seen = Seen {
        records: Some(&records),
        ..seen
    };
    assert!(matches!(decide(&seen), Step::Wait(_)));
    let seen = Seen {
        now: at(400),
        ..seen
    };
    assert!(is_close(&decide(&seen), StopEvent::Deadline));
}

#[test]
fn an_image_has_two_minutes() {
    let phase = || PodPhase::ImagePull("ErrImagePull".to_owned());
    let early = decided(phase(), |seen| seen.now = at(219));
    assert!(
        matches!(&early, Step::Wait(why) if why.reason == ConditionReason::Waiting),
        "{early:?}"
    );
    let late = decided(phase(), |seen| seen.now = at(220));
    assert!(is_close(&late, StopEvent::Interrupted), "{late:?}");
}

#[test]
fn a_pod_without_a_place_waits_until_the_deadline() {
    let phase = || PodPhase::Unschedulable("0/2 nodes".to_owned());
    assert!(matches!(decided(phase(), |_| ()), Step::Wait(_)));
    let step = decided(phase(), |seen| seen.now = at(430));
    assert!(is_close(&step, StopEvent::Deadline), "{step:?}");
}

#[test]
fn a_pod_that_is_gone_costs_a_retry() {
    let step = decided(PodPhase::Running, |seen| seen.pods = &[]);
    assert!(is_advance(&step, true), "{step:?}");
}

#[test]
fn suspending_costs_none() {
    let step = decided(PodPhase::Running, |seen| seen.is_suspended = true);
    assert!(matches!(step, Step::DeletePod { .. }), "{step:?}");
    let step = decided(PodPhase::Running, |seen| {
        seen.is_suspended = true;
        seen.pods = &[];
    });
    assert!(is_advance(&step, false), "{step:?}");
    let step = decided(PodPhase::Running, |seen| {
        seen.is_suspended = true;
        seen.pods = &[];
        seen.attempt = 1;
    });
    assert!(
        matches!(&step, Step::Wait(why) if why.reason == ConditionReason::Suspended),
        "{step:?}"
    );
}

#[test]
fn resuming_before_the_suspended_pod_has_gone_costs_none() {
    let leaving = decided(PodPhase::Terminating, |seen| seen.is_resumed = true);
    assert!(
        matches!(&leaving, Step::Wait(why) if why.reason == ConditionReason::Suspended),
        "{leaving:?}"
    );
    let ended = PodPhase::Ended { exit_code: 143 };
    let step = decided(ended, |seen| seen.is_resumed = true);
    assert!(is_advance(&step, false), "{step:?}");
    let step = decided(PodPhase::Running, |seen| {
        seen.is_resumed = true;
        seen.pods = &[];
    });
    assert!(is_advance(&step, false), "{step:?}");
    // Nothing is left of it: the next attempt starts, and from then on fails like any other.
    let step = decided(PodPhase::Running, |seen| {
        seen.is_resumed = true;
        seen.pods = &[];
        seen.attempt = 1;
    });
    assert_eq!(step, Step::Dispatch { attempt: 1 });
    let step = decided(PodPhase::Running, |seen| seen.is_resumed = true);
    assert!(
        matches!(&step, Step::Wait(why) if why.reason == ConditionReason::Running),
        "{step:?}"
    );
}

#[test]
fn an_attempt_whose_network_was_opened_ends_as_containment() {
    static OPENED: LazyLock<Obstacle> = LazyLock::new(|| Obstacle {
        reason: ConditionReason::ForeignPolicy,
        message: "why".to_owned(),
        is_stalled: true,
    });
    let opened = |phase| decided(phase, |seen| seen.obstacle = Some(&OPENED));
    for exit_code in [143, 137] {
        let step = opened(PodPhase::Ended { exit_code });
        assert!(is_close(&step, StopEvent::Containment), "{step:?}");
    }
    let step = opened(PodPhase::Lost("evicted".to_owned()));
    assert!(is_close(&step, StopEvent::Containment), "{step:?}");
    let gone = decided(PodPhase::Running, |seen| {
        seen.obstacle = Some(&OPENED);
        seen.pods = &[];
    });
    assert!(is_close(&gone, StopEvent::Containment), "{gone:?}");
    // What ended by itself ended by itself.
    let step = opened(PodPhase::Ended { exit_code: 3 });
    assert!(is_advance(&step, true), "{step:?}");
}

#[test]
fn an_obstacle_starts_no_pod_and_only_an_opened_network_ends_one() {
    let obstacle = |reason| Obstacle {
        reason,
        message: "why".to_owned(),
        is_stalled: true,
    };
    for (reason, ends) in [
        (ConditionReason::ForeignPolicy, true),
        (ConditionReason::GuardMissing, false),
        (ConditionReason::NotAllowed, false),
        (ConditionReason::ConstitutionNotFound, false),
    ] {
        let obstacle = obstacle(reason);
        let seen = Seen {
            obstacle: Some(&obstacle),
            records: Some(&[]),
            ..nothing()
        };
        assert!(matches!(decide(&seen), Step::Wait(why) if why.reason == reason && why.is_stalled));
        let (pods, records) = ([pod(0, PodPhase::Running)], [intent(0)]);
        let seen = Seen {
            pods: &pods,
            records: Some(&records),
            intended_pod: Some("pod-0"),
            ..seen
        };
        assert_eq!(
            matches!(decide(&seen), Step::DeletePod { .. }),
            ends,
            "{reason}"
        );
    }
}

#[test]
fn a_pod_of_another_attempt_is_ended_first() {
    let pods = [pod(0, PodPhase::Running), pod(1, PodPhase::Starting)];
    let seen = Seen {
        attempt: 1,
        pods: &pods,
        records: Some(&[]),
        ..nothing()
    };
    assert!(matches!(decide(&seen), Step::DeletePod { uid, .. } if uid == "pod-0"));
}
