//! What a task's status says, from the step that was taken.

use axiom_hive_core::record::{Body, Reason, Record, explain};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::decide::Waiting;
use crate::api::condition::{ConditionReason, ConditionStatus, ConditionType, Desired, find, set};
use crate::api::task::{
    Agreement, LedgerPointer, Outcome, PodRef, Removed, ResolvedConstitution, SecretRef,
    SupervisedTaskStatus,
};

/// Upper bound of an answer that stands in the status, in bytes.
pub const MAX_STATUS_ANSWER_BYTES: usize = 32 * 1024;

/// Upper bound of a receipt that stands in the status, in bytes: the largest record as base64 (22 KiB), 64 hashes
/// of a proof (3 KiB), and a checkpoint with the signatures of some 40 witnesses.
pub const MAX_STATUS_RECEIPT_BYTES: usize = 32 * 1024;

/// When and for which generation of the spec.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// The clock.
    pub now: Timestamp,
    /// The spec's.
    pub generation: Option<i64>,
}

/// The end of a task, as the ledger has it.
#[derive(Debug, Clone)]
pub struct Ended<'a> {
    /// The terminal record.
    pub record: &'a Record,
    /// Where it is.
    pub ledger: LedgerPointer,
    /// What proves that it is there, as a file.
    pub receipt: String,
    /// The text that may be shown.
    pub answer: Option<Answer>,
    /// The pod of its attempt.
    pub pod: Option<PodRef>,
    /// Of the first pod.
    pub started: Option<Timestamp>,
    /// Why, where the record alone does not say it.
    pub message: Option<String>,
}

/// Where the text stands that may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Here.
    Text(String),
    /// In a Secret of the task's namespace.
    Secret(String),
}

/// The status of a task that ended. `None` when `record` ends no task.
#[must_use]
pub fn ended(old: &SupervisedTaskStatus, end: Ended<'_>, at: At) -> Option<SupervisedTaskStatus> {
    let outcome = end.record.outcome().filter(|_| end.record.is_terminal())?;
    let decided = &outcome.decided;
    let kind = outcome_of(end.record)?;
    let word = reason_word(decided.reason);
    let message = end.message.unwrap_or_else(|| explain(decided));
    let mut status = SupervisedTaskStatus {
        observed_generation: at.generation,
        outcome: Some(kind),
        reason: Some(word),
        constitution: Some(ResolvedConstitution {
            name: decided.constitution.name.clone(),
            version: decided.constitution.version.clone(),
            digest: decided.constitution.digest.to_string(),
        }),
        attempt: i32::try_from(outcome.task.attempt).ok(),
        pod: end.pod.or_else(|| old.pod.clone()),
        start_time: old.start_time.clone().or_else(|| end.started.map(Time)),
        completion_time: Some(Time(at.now)),
        agreement: decided.vote.as_ref().map(|vote| Agreement {
            summary: format!("{}/{}", vote.leader, vote.asked),
            asked: small(vote.asked),
            committed: small(vote.committed),
            valid: small(vote.valid),
            leader: small(vote.leader),
            ratio: vote.ratio.to_string(),
        }),
        removed: decided.answer.as_ref().map(|answer| Removed {
            spans: long(answer.removed.spans),
            words: long(answer.removed.words),
            bytes: long(answer.removed.bytes),
        }),
        ledger: Some(end.ledger),
        receipt: Some(end.receipt).filter(|receipt| receipt.len() <= MAX_STATUS_RECEIPT_BYTES),
        answer: None,
        answer_secret_ref: None,
        ..old.clone()
    };
    match end.answer {
        Some(Answer::Text(text)) => status.answer = Some(text),
        Some(Answer::Secret(name)) => status.answer_secret_ref = Some(SecretRef { name }),
        None => {}
    }
    conclude(&mut status, kind, &message, at);
    resolved(&mut status, at);
    isolated(&mut status, at);
    status.suspend_time = None;
    Some(status)
}

/// The conditions of a task that ended as `kind`.
fn conclude(status: &mut SupervisedTaskStatus, kind: Outcome, message: &str, at: At) {
    let is_answered = kind == Outcome::Answered;
    let reason = condition_reason(kind);
    let truth = if is_answered {
        ConditionStatus::True
    } else {
        ConditionStatus::False
    };
    let mut put = |type_, truth, reason, message: &str| {
        let message = message.to_owned();
        let desired = Desired {
            type_,
            status: truth,
            reason,
            message,
        };
        set(
            &mut status.conditions,
            desired,
            at.generation,
            &Time(at.now),
        );
    };
    put(ConditionType::Succeeded, truth, reason, message);
    put(ConditionType::Ready, truth, reason, message);
    let stalled = if is_answered {
        ConditionStatus::False
    } else {
        ConditionStatus::True
    };
    put(ConditionType::Stalled, stalled, reason, message);
    let recorded = "the terminal record is in the ledger, and its receipt was verified";
    put(
        ConditionType::Recorded,
        ConditionStatus::True,
        ConditionReason::Recorded,
        recorded,
    );
}

/// The status of a task that waits. It says the same at every look, so that looking writes nothing.
#[must_use]
pub fn waiting(old: &SupervisedTaskStatus, why: &Waiting, at: At) -> SupervisedTaskStatus {
    let mut status = SupervisedTaskStatus {
        observed_generation: at.generation,
        ..old.clone()
    };
    let is_suspended = why.reason == ConditionReason::Suspended;
    suspend(&mut status, is_suspended, at.now);
    let mut put = |type_, truth| {
        let desired = Desired {
            type_,
            status: truth,
            reason: why.reason,
            message: why.message.clone(),
        };
        set(
            &mut status.conditions,
            desired,
            at.generation,
            &Time(at.now),
        );
    };
    put(ConditionType::Succeeded, ConditionStatus::Unknown);
    put(ConditionType::Ready, ConditionStatus::Unknown);
    let stalled = if why.is_stalled {
        ConditionStatus::True
    } else {
        ConditionStatus::False
    };
    put(ConditionType::Stalled, stalled);
    match why.reason {
        ConditionReason::ForeignPolicy => {
            put(ConditionType::NetworkIsolated, ConditionStatus::False);
            resolved(&mut status, at);
        }
        ConditionReason::ConstitutionNotFound | ConditionReason::NamespaceNotSelected => {
            put(ConditionType::ConstitutionResolved, ConditionStatus::False);
        }
        // Neither was looked at.
        ConditionReason::Suspended | ConditionReason::LedgerUnavailable => {}
        ConditionReason::NotAllowed | ConditionReason::GuardMissing => resolved(&mut status, at),
        _ => {
            resolved(&mut status, at);
            isolated(&mut status, at);
        }
    }
    status
}

/// The constitution is there and may be used.
fn resolved(status: &mut SupervisedTaskStatus, at: At) {
    let message = "the constitution is there, and the task's namespace may use it";
    holds(
        status,
        ConditionType::ConstitutionResolved,
        ConditionReason::Resolved,
        message,
        at,
    );
}

/// Where a foreign policy was named, it no longer opens anything.
fn isolated(status: &mut SupervisedTaskStatus, at: At) {
    if find(&status.conditions, ConditionType::NetworkIsolated).is_some() {
        let message = "no other network policy opens runner pods";
        holds(
            status,
            ConditionType::NetworkIsolated,
            ConditionReason::Isolated,
            message,
            at,
        );
    }
}

fn holds(
    status: &mut SupervisedTaskStatus,
    type_: ConditionType,
    reason: ConditionReason,
    message: &str,
    at: At,
) {
    let desired = Desired {
        type_,
        status: ConditionStatus::True,
        reason,
        message: message.to_owned(),
    };
    set(
        &mut status.conditions,
        desired,
        at.generation,
        &Time(at.now),
    );
}

/// The status of a task whose next attempt follows.
#[must_use]
pub fn advanced(
    old: &SupervisedTaskStatus,
    (attempt, is_retry): (u32, bool),
    message: &str,
    started: Option<Timestamp>,
    at: At,
) -> SupervisedTaskStatus {
    let why = Waiting {
        reason: if is_retry {
            ConditionReason::Retrying
        } else {
            ConditionReason::Suspended
        },
        message: message.to_owned(),
        is_stalled: false,
        look_again: k8s_openapi::jiff::SignedDuration::ZERO,
    };
    let mut status = waiting(old, &why, at);
    status.attempt = i32::try_from(attempt).ok();
    status.retries = Some(old.retries.unwrap_or(0) + i32::from(is_retry));
    status.start_time = old.start_time.clone().or_else(|| started.map(Time));
    status
}

/// Keeps the account of suspended time.
fn suspend(status: &mut SupervisedTaskStatus, is_suspended: bool, now: Timestamp) {
    match (is_suspended, status.suspend_time.clone()) {
        (true, None) => status.suspend_time = Some(Time(now)),
        (false, Some(since)) => {
            // Before the first pod no time runs that could be held.
            if status.start_time.is_some() {
                let seconds = now.duration_since(since.0).as_secs().max(0);
                status.suspended_seconds = Some(status.suspended_seconds.unwrap_or(0) + seconds);
            }
            status.suspend_time = None;
        }
        _ => {}
    }
}

/// How a task ended, by its record.
#[must_use]
pub fn outcome_of(record: &Record) -> Option<Outcome> {
    Some(match record.body {
        Body::Answered(_) => Outcome::Answered,
        Body::Withheld(_) => Outcome::Withheld,
        Body::Refused(_) => Outcome::Refused,
        Body::Failed(_) => Outcome::Failed,
        Body::Cancelled(_) => Outcome::Cancelled,
        _ => return None,
    })
}

fn condition_reason(outcome: Outcome) -> ConditionReason {
    match outcome {
        Outcome::Answered => ConditionReason::Answered,
        Outcome::Withheld => ConditionReason::Withheld,
        Outcome::Refused => ConditionReason::Refused,
        Outcome::Failed => ConditionReason::Failed,
        Outcome::Cancelled => ConditionReason::Cancelled,
    }
}

/// The record's word: `noAgreement` and the like.
fn reason_word(reason: Reason) -> String {
    let word = serde_json::to_value(reason).ok();
    let word = word.and_then(|word| word.as_str().map(str::to_owned));
    word.unwrap_or_default()
}

fn small(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn long(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
