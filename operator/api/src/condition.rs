//! Condition types and reasons as closed enums, and the one way in which conditions change.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// Task: answered. Constitution: the applied version is in force.
    Ready,
    /// Task: answered (True) or ended otherwise (False).
    Succeeded,
    /// It ended without an answer, or cannot go on as it is. kstatus reads True as failed.
    Stalled,
    /// Task: the constitution that it names is there and may be used.
    ConstitutionResolved,
    /// Task: nothing opens the network of its runner pod.
    NetworkIsolated,
    /// Task: the terminal record is in the ledger, and its receipt was verified.
    Recorded,
}

impl ConditionType {
    /// The text of the field `type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Succeeded => "Succeeded",
            Self::Stalled => "Stalled",
            Self::ConstitutionResolved => "ConstitutionResolved",
            Self::NetworkIsolated => "NetworkIsolated",
            Self::Recorded => "Recorded",
        }
    }
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Not known yet.
    Unknown,
}

impl ConditionStatus {
    /// The text of the field `status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Why a condition is as it is: one word for programs. Outcomes are reasons too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionReason {
    /// Nobody has looked yet; the schema's default.
    Pending,
    /// The task is suspended.
    Suspended,
    /// A pod waits for a place, an image or a quota.
    Waiting,
    /// An attempt runs.
    Running,
    /// An attempt failed and another one follows.
    Retrying,
    /// Outcome: answered.
    Answered,
    /// Outcome: withheld.
    Withheld,
    /// Outcome: refused.
    Refused,
    /// Outcome: failed.
    Failed,
    /// Outcome: cancelled.
    Cancelled,
    /// There is no such constitution, or no such version of it, yet.
    ConstitutionNotFound,
    /// The constitution does not select the task's namespace.
    NamespaceNotSelected,
    /// The task asks for what its constitution does not allow.
    NotAllowed,
    /// The constitution is there and may be used.
    Resolved,
    /// The constitution's rules do not hold or do not compile.
    Invalid,
    /// The constitution's version was used before with other content.
    VersionReused,
    /// The version is in force.
    InForce,
    /// The terminal record is in the ledger.
    Recorded,
    /// The ledger cannot be reached.
    LedgerUnavailable,
    /// Nothing opens the network.
    Isolated,
    /// A network policy that is not ours opens the network of runner pods.
    ForeignPolicy,
    /// The guard policies are not installed.
    GuardMissing,
}

impl fmt::Display for ConditionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The variants are the words.
        fmt::Debug::fmt(self, f)
    }
}

/// Upper bound of a message, in bytes; longer ones are cut.
pub const MAX_MESSAGE_BYTES: usize = 4096;

/// What a condition is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// About what.
    pub type_: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, as one word.
    pub reason: ConditionReason,
    /// Why, as a sentence. It must not change from one look to the next (no times, no counters), or
    /// every look would write.
    pub message: String,
}

/// Puts `desired` into `conditions`. `lastTransitionTime` moves to `now` only where the status
/// changed; nothing changes where nothing is new.
pub fn set(conditions: &mut Vec<Condition>, desired: Desired, generation: Option<i64>, now: &Time) {
    let Desired {
        type_,
        status,
        reason,
        mut message,
    } = desired;
    message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
    let old = conditions
        .iter()
        .position(|condition| condition.type_ == type_.as_str());
    let since = old
        .map(|index| &conditions[index])
        .filter(|old| old.status == status.as_str())
        .map_or_else(|| now.clone(), |old| old.last_transition_time.clone());
    let new = Condition {
        type_: type_.as_str().to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.to_string(),
        message,
        last_transition_time: since,
        observed_generation: generation,
    };
    match old {
        Some(index) => conditions[index] = new,
        None => conditions.push(new),
    }
}

/// The condition of this type.
#[must_use]
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == type_.as_str())
}

/// Whether the condition of this type is there and True.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: ConditionType) -> bool {
    find(conditions, type_)
        .is_some_and(|condition| condition.status == ConditionStatus::True.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn time(second: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
    }

    fn desired(status: ConditionStatus, reason: ConditionReason) -> Desired {
        Desired {
            type_: ConditionType::Ready,
            status,
            reason,
            message: "m".to_owned(),
        }
    }

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        use ConditionReason::{Answered, Pending, Running};
        use ConditionStatus::{True, Unknown};
        let mut conditions = Vec::new();
        set(
            &mut conditions,
            desired(Unknown, Pending),
            Some(1),
            &time(1),
        );
        set(
            &mut conditions,
            desired(Unknown, Running),
            Some(2),
            &time(2),
        );
        assert_eq!(conditions.len(), 1);
        assert_eq!(conditions[0].last_transition_time, time(1));
        assert_eq!(conditions[0].reason, "Running");
        assert_eq!(conditions[0].observed_generation, Some(2));
        set(&mut conditions, desired(True, Answered), Some(2), &time(3));
        assert_eq!(conditions[0].last_transition_time, time(3));
        assert!(is_true(&conditions, ConditionType::Ready));
        assert!(!is_true(&conditions, ConditionType::Stalled));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let mut conditions = Vec::new();
        let mut long = desired(ConditionStatus::False, ConditionReason::Failed);
        long.message = "é".repeat(MAX_MESSAGE_BYTES);
        set(&mut conditions, long, None, &time(1));
        assert!(conditions[0].message.len() <= MAX_MESSAGE_BYTES);
    }
}
