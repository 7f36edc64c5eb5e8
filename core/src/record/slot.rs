//! Slots: the ledger's idempotency keys.

use std::fmt;

use super::{Body, Record, TaskRef};

/// At most one record of a ledger fills a slot; an append to a filled slot returns that record.
///
/// The text form has at most 200 bytes:
///
/// | slot | text |
/// |---|---|
/// | constitution | `constitution/<name>/<version>` |
/// | intent | `task/<uid>/intent/<attempt>` |
/// | attempt | `task/<uid>/attempt/<attempt>` |
/// | terminal, shared by all terminal outcomes | `task/<uid>/terminal` |
/// | deleted | `task/<uid>/deleted` |
/// | sealed | `ledger/sealed` |
/// | succession | `ledger/succession` |
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The first use of a constitution.
    Constitution {
        /// `[meta] name`.
        name: String,
        /// `[meta] version`.
        version: String,
    },
    /// The start of an attempt.
    Intent(TaskRef),
    /// A failed attempt that may be retried.
    Attempt(TaskRef),
    /// The end of a task.
    Terminal {
        /// The task.
        uid: String,
    },
    /// The deletion of a task that had ended.
    Deleted {
        /// The task.
        uid: String,
    },
    /// The end of the ledger.
    Sealed,
    /// The beginning of a ledger that succeeds another.
    Succession,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constitution { name, version } => write!(f, "constitution/{name}/{version}"),
            Self::Intent(TaskRef { uid, attempt }) => write!(f, "task/{uid}/intent/{attempt}"),
            Self::Attempt(TaskRef { uid, attempt }) => write!(f, "task/{uid}/attempt/{attempt}"),
            Self::Terminal { uid } => write!(f, "task/{uid}/terminal"),
            Self::Deleted { uid } => write!(f, "task/{uid}/deleted"),
            Self::Sealed => f.write_str("ledger/sealed"),
            Self::Succession => f.write_str("ledger/succession"),
        }
    }
}

impl Record {
    /// The slot that this record fills; an erasure fills none.
    #[must_use]
    pub fn slot(&self) -> Option<Slot> {
        match &self.body {
            Body::Constitution { constitution, .. } => Some(Slot::Constitution {
                name: constitution.name.clone(),
                version: constitution.version.clone(),
            }),
            Body::Intent { task, .. } => Some(Slot::Intent(task.clone())),
            Body::Attempt(outcome) => Some(Slot::Attempt(outcome.task.clone())),
            Body::Answered(outcome)
            | Body::Withheld(outcome)
            | Body::Refused(outcome)
            | Body::Failed(outcome)
            | Body::Cancelled(outcome) => Some(Slot::Terminal {
                uid: outcome.task.uid.clone(),
            }),
            Body::Deleted { task, .. } => Some(Slot::Deleted {
                uid: task.uid.clone(),
            }),
            Body::Sealed { .. } => Some(Slot::Sealed),
            Body::Succession { .. } => Some(Slot::Succession),
            Body::Erasure { .. } => None,
        }
    }
}
