//! What to do next for a task: one step from what is seen.
//!
//! The caller sees, asks, carries the step out, and sees again. A step may be carried out twice, by one
//! operator or by two: names and slots make the second time harmless.
//!
//! ```text
//! dispatch ─ intend ─ (the pod runs) ─ ask the ledger ─ finish
//!                          │                 │
//!                          └─ waits          └─ advance (the next attempt) · close (no attempt is left)
//! ```

use axiom_hive_core::record::{Body, Record, StopEvent, explain};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::pods::{KILLED, PodPhase, PodSeen, TERMINATED};
use crate::api::condition::ConditionReason;

/// How long an image may take to be pulled before the task fails.
pub const IMAGE_PATIENCE: SignedDuration = SignedDuration::from_secs(120);
/// A task that waits says so after this time, and not before: most waits are over by then.
pub const SILENCE: SignedDuration = SignedDuration::from_secs(10);
/// How long after its deadline a pod may still be there: it records within its own deadline.
const RECORDING_TIME: SignedDuration = SignedDuration::from_secs(30);
/// The longest pause between attempts that could not reach the ledger is two to this power, in seconds.
const MAX_PAUSE_SHIFT: u32 = 6;
/// The highest attempt number a record can have.
const MAX_ATTEMPT: u32 = axiom_hive_core::record::MAX_ATTEMPT;

/// What is seen of a task that has not ended.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// The attempt that `status` names, or 0.
    pub attempt: u32,
    /// How many attempts counted as retries so far.
    pub retries: u32,
    /// How many may.
    pub retry_limit: u32,
    /// The user wants no pod to run.
    pub is_suspended: bool,
    /// The status still says that it is suspended, and the user no longer wants that.
    pub is_resumed: bool,
    /// When all attempts together must have ended; `None` before the first pod.
    pub deadline: Option<Timestamp>,
    /// Why no pod may run, if so.
    pub obstacle: Option<&'a Obstacle>,
    /// The pods of this task, by attempt.
    pub pods: &'a [PodSeen],
    /// The task's records, by index; `None` while nobody has asked.
    pub records: Option<&'a [Record]>,
    /// The pod whose intent was acknowledged, as far as this process knows.
    pub intended_pod: Option<&'a str>,
    /// The clock.
    pub now: Timestamp,
}

/// Why no pod may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// One word.
    pub reason: ConditionReason,
    /// One sentence.
    pub message: String,
    /// It does not go away by itself: kstatus shows the task as failed.
    pub is_stalled: bool,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask the ledger for the task's records.
    AskLedger,
    /// Create the pod of this attempt.
    Dispatch {
        /// Which one.
        attempt: u32,
    },
    /// Append the intent of this attempt, which names this pod.
    Intend {
        /// Which one.
        attempt: u32,
        /// The pod's UID.
        pod_uid: String,
    },
    /// Write into the status that the next attempt is this one.
    Advance {
        /// Which one.
        attempt: u32,
        /// Whether it counts against the limit.
        is_retry: bool,
        /// Why, as a sentence.
        message: String,
    },
    /// Delete this pod.
    DeletePod {
        /// Its name.
        name: String,
        /// Its UID: another pod of that name is left alone.
        uid: String,
    },
    /// Append the terminal record of a task that ended without a decision.
    Close {
        /// The attempt that it closes: its intent, the last one before it, or else one that is appended
        /// for it.
        attempt: u32,
        /// What stopped it.
        stop: StopEvent,
        /// Why, as a sentence.
        message: String,
    },
    /// Append the terminal record of a task whose last attempt failed, as that attempt's own record says.
    Conclude {
        /// Which one.
        attempt: u32,
    },
    /// The ledger holds the terminal record: write the status.
    Finish,
    /// Nothing to do but to say why, and to look again.
    Wait(Waiting),
}

/// Why nothing happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// One word.
    pub reason: ConditionReason,
    /// One sentence.
    pub message: String,
    /// Whether it goes away by itself.
    pub is_stalled: bool,
    /// When to look again, if nothing happens before.
    pub look_again: SignedDuration,
}

impl Waiting {
    fn new(reason: ConditionReason, message: impl Into<String>, seconds: i64) -> Self {
        Self {
            reason,
            message: message.into(),
            is_stalled: false,
            look_again: SignedDuration::from_secs(seconds),
        }
    }
}

/// The next step.
#[must_use]
pub fn decide(seen: &Seen<'_>) -> Step {
    // A pod is made only once its attempt stands in the status: a later pod shows that the status was
    // read too early.
    let latest = seen.pods.iter().map(|pod| pod.attempt).max();
    let seen = &Seen {
        attempt: latest.unwrap_or(0).max(seen.attempt),
        ..seen.clone()
    };
    if seen
        .records
        .is_some_and(|all| all.iter().any(Record::is_terminal))
    {
        return Step::Finish;
    }
    let pod = seen.pods.iter().find(|pod| pod.attempt == seen.attempt);
    if let Some(stray) = seen
        .pods
        .iter()
        .find(|it| it.attempt != seen.attempt && it.is_active())
    {
        return delete(stray);
    }
    if seen.is_suspended {
        return suspended(seen, pod);
    }
    if let Some(step) = resumed(seen, pod) {
        return step;
    }
    if let Some(obstacle) = seen.obstacle {
        return blocked(seen, pod, obstacle);
    }
    match pod {
        None => without_pod(seen),
        Some(pod) => with_pod(seen, pod),
    }
}

fn delete(pod: &PodSeen) -> Step {
    Step::DeletePod {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
    }
}

/// Without a terminal record; resume is a new attempt, which costs no retry.
fn suspended(seen: &Seen<'_>, pod: Option<&PodSeen>) -> Step {
    if let Some(pod) = pod.filter(|pod| pod.is_active()) {
        return delete(pod);
    }
    let is_leaving = pod.is_some_and(|pod| pod.phase == PodPhase::Terminating);
    match seen.records {
        // A pod that has ended may have recorded the end of the task.
        None if !is_leaving => Step::AskLedger,
        Some(records) if !is_leaving && last_intent(records) >= Some(seen.attempt) => {
            advance(seen, false, "the attempt was suspended")
        }
        _ => {
            let message = "the task is suspended";
            Step::Wait(Waiting::new(ConditionReason::Suspended, message, 3600))
        }
    }
}

/// A task that goes on before its suspended attempt has gone: that attempt costs no retry either.
fn resumed(seen: &Seen<'_>, pod: Option<&PodSeen>) -> Option<Step> {
    if !seen.is_resumed || pod.is_some_and(PodSeen::is_active) {
        return None;
    }
    let is_leaving = pod.is_some_and(|pod| pod.phase == PodPhase::Terminating);
    match suspended(seen, pod) {
        // Nothing is left of it.
        Step::Wait(_) if !is_leaving => None,
        step => Some(step),
    }
}

fn blocked(seen: &Seen<'_>, pod: Option<&PodSeen>, obstacle: &Obstacle) -> Step {
    match pod {
        // The walls around a running pod are down: it ends now.
        Some(pod) if is_opened(obstacle) && pod.is_active() => delete(pod),
        // It ended for that, by us or with its node, and must not count as an ordinary loss.
        Some(pod) if is_opened(obstacle) && is_stopped(pod) => match seen.records {
            None => Step::AskLedger,
            Some(_) => close(pod.attempt, StopEvent::Containment, &obstacle.message),
        },
        // What was resolved and checked before it started does not change for it.
        Some(pod) => with_pod(seen, pod),
        // It may have ended before, or its time may be over.
        None => match seen.records {
            None => Step::AskLedger,
            Some(records) if is_opened(obstacle) && last_intent(records) >= Some(seen.attempt) => {
                close(seen.attempt, StopEvent::Containment, &obstacle.message)
            }
            Some(records) => overdue(seen, records).unwrap_or_else(|| {
                Step::Wait(Waiting {
                    reason: obstacle.reason,
                    message: obstacle.message.clone(),
                    is_stalled: obstacle.is_stalled,
                    look_again: SignedDuration::from_secs(60),
                })
            }),
        },
    }
}

/// Another network policy opens the runner pods of this namespace.
fn is_opened(obstacle: &Obstacle) -> bool {
    obstacle.reason == ConditionReason::ForeignPolicy
}

/// Its supervisor did not end by itself.
fn is_stopped(pod: &PodSeen) -> bool {
    matches!(
        pod.phase,
        PodPhase::Lost(_)
            | PodPhase::Ended {
                exit_code: TERMINATED | KILLED
            }
    )
}

/// The end of a task without a pod whose time is over.
fn overdue(seen: &Seen<'_>, records: &[Record]) -> Option<Step> {
    let attempt = last_intent(records).unwrap_or(seen.attempt);
    is_late(seen, SignedDuration::ZERO)
        .then(|| close(attempt, StopEvent::Deadline, "the task's deadline passed"))
}

fn without_pod(seen: &Seen<'_>) -> Step {
    let Some(records) = seen.records else {
        return Step::AskLedger;
    };
    if let Some(close) = overdue(seen, records) {
        return close;
    }
    match last_intent(records) {
        // Somebody deleted the pod of this attempt, or an earlier status was lost.
        Some(last) if last >= seen.attempt => {
            let seen = &Seen {
                attempt: last,
                ..seen.clone()
            };
            retry(seen, StopEvent::Interrupted, "the attempt's pod is gone")
        }
        _ => Step::Dispatch {
            attempt: seen.attempt,
        },
    }
}

fn with_pod(seen: &Seen<'_>, pod: &PodSeen) -> Step {
    if pod.is_active() && seen.intended_pod != Some(pod.uid.as_str()) {
        return Step::Intend {
            attempt: pod.attempt,
            pod_uid: pod.uid.clone(),
        };
    }
    if seen.records.is_none() && (pod.has_ended() || is_late(seen, RECORDING_TIME)) {
        return Step::AskLedger;
    }
    if is_late(seen, RECORDING_TIME) {
        let message = "the task's deadline passed";
        return close(pod.attempt, StopEvent::Deadline, message);
    }
    match &pod.phase {
        PodPhase::Starting | PodPhase::Running => Step::Wait(Waiting::new(
            ConditionReason::Running,
            "an attempt runs",
            60,
        )),
        PodPhase::Terminating => Step::Wait(Waiting::new(
            ConditionReason::Running,
            "a pod is being deleted",
            30,
        )),
        PodPhase::Unschedulable(why) => {
            let message = format!("the pod has no place yet: {why}");
            Step::Wait(Waiting::new(ConditionReason::Waiting, message, 60))
        }
        PodPhase::ImagePull(why) => {
            let waited = seen.now.duration_since(pod.created);
            if waited < IMAGE_PATIENCE {
                let left = (IMAGE_PATIENCE - waited).as_secs().max(1);
                let message = format!("an image cannot be pulled yet: {why}");
                Step::Wait(Waiting::new(ConditionReason::Waiting, message, left))
            } else {
                let message = format!("image: it must be there within 120 s: {why}");
                close(pod.attempt, StopEvent::Interrupted, &message)
            }
        }
        PodPhase::Broken(why) => {
            let message = format!("the pod cannot be started as it is: {why}");
            close(pod.attempt, StopEvent::Interrupted, &message)
        }
        PodPhase::Ended { exit_code } => ended(seen, pod, *exit_code),
        PodPhase::Lost(_) => {
            let message = pod.loss().unwrap_or_default();
            retry(seen, StopEvent::Interrupted, &message)
        }
    }
}

/// The supervisor ended, and the ledger has no terminal record of the task.
fn ended(seen: &Seen<'_>, pod: &PodSeen, exit_code: i32) -> Step {
    let message = match failed(seen) {
        Some(reason) => format!("attempt {} failed: {reason}", seen.attempt),
        None => pod.loss().unwrap_or_default(),
    };
    match exit_code {
        // Input, configuration, something that does not verify, a bug: the same again would end the same.
        1 | 2 | 7 | 70 => close(seen.attempt, StopEvent::Interrupted, &message),
        6 => close(seen.attempt, StopEvent::Containment, &message),
        5 => without_ledger(seen, pod, &message),
        _ => retry(seen, StopEvent::Interrupted, &message),
    }
}

/// The pod could not reach the ledger, which now answers: tried until the deadline, at no cost but a
/// pause that grows with the attempts.
fn without_ledger(seen: &Seen<'_>, pod: &PodSeen, message: &str) -> Step {
    if is_late(seen, SignedDuration::ZERO) || seen.attempt >= MAX_ATTEMPT {
        return retry(seen, StopEvent::Interrupted, message);
    }
    let pause = SignedDuration::from_secs(1 << seen.attempt.min(MAX_PAUSE_SHIFT));
    let left = pause - seen.now.duration_since(pod.created);
    if left.is_positive() {
        let seconds = left.as_secs() + 1;
        return Step::Wait(Waiting::new(
            ConditionReason::LedgerUnavailable,
            message,
            seconds,
        ));
    }
    advance(seen, false, message)
}

fn retry(seen: &Seen<'_>, stop: StopEvent, message: &str) -> Step {
    if seen.retries < seen.retry_limit
        && seen.attempt < MAX_ATTEMPT
        && !is_late(seen, SignedDuration::ZERO)
    {
        return advance(seen, true, message);
    }
    if failed(seen).is_some() {
        return Step::Conclude {
            attempt: seen.attempt,
        };
    }
    let stop = if is_late(seen, SignedDuration::ZERO) {
        StopEvent::Deadline
    } else {
        stop
    };
    close(seen.attempt, stop, message)
}

fn advance(seen: &Seen<'_>, is_retry: bool, message: &str) -> Step {
    Step::Advance {
        attempt: seen.attempt + 1,
        is_retry,
        message: message.to_owned(),
    }
}

fn close(attempt: u32, stop: StopEvent, message: &str) -> Step {
    Step::Close {
        attempt,
        stop,
        message: message.to_owned(),
    }
}

fn is_late(seen: &Seen<'_>, by: SignedDuration) -> bool {
    seen.deadline
        .and_then(|deadline| deadline.checked_add(by).ok())
        .is_some_and(|deadline| seen.now >= deadline)
}

/// Why this attempt failed, where its supervisor recorded that.
fn failed(seen: &Seen<'_>) -> Option<String> {
    let mut attempts = seen
        .records?
        .iter()
        .filter_map(|record| match &record.body {
            Body::Attempt(outcome) if outcome.task.attempt == seen.attempt => {
                Some(&outcome.decided)
            }
            _ => None,
        });
    attempts.next().map(explain)
}

/// The highest attempt that the ledger holds an intent of.
fn last_intent(records: &[Record]) -> Option<u32> {
    let intents = records.iter().filter_map(|record| match &record.body {
        Body::Intent { task, .. } => Some(task.attempt),
        _ => None,
    });
    intents.max()
}
