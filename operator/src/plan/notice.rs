//! What of a change of status a user must know even if nobody looks at the status: one event each.
//!
//! A rejected reference, a retry, an answer withheld, a network that is not isolated. The normal life of a task has
//! none, and a status that says the same as before has none either, so that looking announces nothing.

use crate::api::condition::{ConditionReason, ConditionType, find};
use crate::api::task::{Outcome, SupervisedTaskStatus};

/// Upper bound of an event's note, in bytes: that of events.k8s.io/v1.
pub const MAX_NOTE_BYTES: usize = 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// One word for machines.
    pub reason: String,
    /// What the operator was about.
    pub action: &'static str,
    /// For people, at most [`MAX_NOTE_BYTES`].
    pub note: String,
}

/// What is announced when `old` becomes `new`.
#[must_use]
pub fn notice(old: &SupervisedTaskStatus, new: &SupervisedTaskStatus) -> Option<Notice> {
    let succeeded = find(&new.conditions, ConditionType::Succeeded)?;
    let before = find(&old.conditions, ConditionType::Succeeded);
    let is_new = before.is_none_or(|before| before.reason != succeeded.reason);
    let is = |reason: ConditionReason| succeeded.reason == reason.to_string();
    let is_first = |reasons: &[ConditionReason]| is_new && reasons.iter().any(|it| is(*it));
    let (reason, action) = if new.retries > old.retries && new.retries > Some(0) {
        (ConditionReason::Retrying.to_string(), "Retry")
    } else if is_first(&[
        ConditionReason::ConstitutionNotFound,
        ConditionReason::NamespaceNotSelected,
        ConditionReason::NotAllowed,
    ]) {
        (succeeded.reason.clone(), "ResolveConstitution")
    } else if is_first(&[ConditionReason::ForeignPolicy]) {
        ("NotIsolated".to_owned(), "Isolate")
    } else if old.outcome.is_none() && new.outcome == Some(Outcome::Withheld) {
        (succeeded.reason.clone(), "Decide")
    } else if old.outcome.is_none() && new.reason.as_deref() == Some("containmentFailed") {
        ("NotIsolated".to_owned(), "Isolate")
    } else {
        return None;
    };
    let end = succeeded.message.floor_char_boundary(MAX_NOTE_BYTES);
    Some(Notice {
        reason,
        action,
        note: succeeded.message[..end].to_owned(),
    })
}
