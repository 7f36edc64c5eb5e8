//! The supervisor: the whole decision as a state machine without I/O.
//!
//! [`Supervisor`] takes [`Event`]s and gives [`Command`]s; whoever drives it owns the clock, the
//! runtime and the ledger. [`Deliberation`] is the pure part: constitution, task and committed
//! branches in, [`Decided`](crate::record::Decided) out. The machine and [`replay`] both use it, so
//! that a recorded decision is recomputed by the code that made it.
//!
//! ```text
//! new ─ Append(intent) ─ acknowledged ─ StartBranch… ─ BranchFinished… ─┐
//!                                                                       ├─ Observe ─ Append(terminal) ─ acknowledged ─ Done
//!                               Deadline · Cancel · ContainmentLost ────┘
//! ```
//!
//! What holds by construction: no branch starts before the intent is durable; a [`Released`] text
//! exists only after its terminal record is; branches count in index order, whatever order they
//! finish in; time enters only as the events `Deadline` and `Cancel`.
//!
//! Nobody else can make a released text, nor the supervised text it comes from:
//!
//! ```compile_fail,E0451
//! use axiom_hive_core::record::AnswerSource;
//! use axiom_hive_core::supervisor::Released;
//! let text = Released { text: String::from("unsupervised"), source: AnswerSource::BranchText };
//! ```
//!
//! ```compile_fail
//! use axiom_hive_core::interceptor::Supervised;
//! let text = Supervised { text: String::from("unfiltered"), findings: Default::default() };
//! ```
//!
//! ```compile_fail,E0624
//! use axiom_hive_core::interceptor::Supervised;
//! use axiom_hive_core::record::AnswerRecord;
//! use axiom_hive_core::supervisor::Released;
//! fn release_without_a_record(text: &Supervised, answer: &AnswerRecord) -> Released {
//!     Released::own(text, answer)
//! }
//! ```

mod deliberation;
mod intended;
mod machine;
mod prepared;
mod protocol;
mod release;
mod replay;
mod seed;

pub use deliberation::{BranchResult, Deliberation, Verdict};
pub use intended::IntentError;
pub use machine::Supervisor;
pub use prepared::{PrepareError, Prepared, Task};
pub use protocol::{
    Acknowledged, Command, Done, Entry, Event, IntentBy, MAX_DETAIL_BYTES, ObservedParts, OutOfTurn,
};
pub use release::{ReleaseError, Released};
pub use replay::{ReplayError, closed, concluded, replay};
pub use seed::branch_seed;

use crate::record::{Body, Reason, StopEvent};

/// The kind of outcome that a reason belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeKind {
    /// An answer was agreed on and may be released.
    Answered,
    /// No agreement, or policy.
    Withheld,
    /// The input was refused.
    Refused,
    /// Runtime, deadline or isolation.
    Failed,
    /// Cancelled.
    Cancelled,
}

impl OutcomeKind {
    /// The outcome of an attempt that ended for `reason`.
    #[must_use]
    pub fn of(reason: Reason) -> Self {
        match reason {
            Reason::Agreed => Self::Answered,
            Reason::NoAgreement
            | Reason::Tie
            | Reason::TooFewValid
            | Reason::PolicyWithheld
            | Reason::BudgetSpent => Self::Withheld,
            Reason::PromptEmpty
            | Reason::PromptTooLong
            | Reason::PromptWithheld
            | Reason::NotAllowed => Self::Refused,
            Reason::RuntimeFailed
            | Reason::DeadlineExceeded
            | Reason::ContainmentFailed
            | Reason::Interrupted => Self::Failed,
            Reason::Cancelled => Self::Cancelled,
        }
    }

    /// The record body of this outcome.
    #[must_use]
    pub fn body(self, outcome: crate::record::Outcome) -> Body {
        match self {
            Self::Answered => Body::Answered(outcome),
            Self::Withheld => Body::Withheld(outcome),
            Self::Refused => Body::Refused(outcome),
            Self::Failed => Body::Failed(outcome),
            Self::Cancelled => Body::Cancelled(outcome),
        }
    }
}

/// The reason that a stop event stands for.
#[must_use]
pub fn stop_reason(stop: StopEvent) -> Reason {
    match stop {
        StopEvent::Deadline => Reason::DeadlineExceeded,
        StopEvent::Cancel => Reason::Cancelled,
        StopEvent::Containment => Reason::ContainmentFailed,
        StopEvent::Interrupted => Reason::Interrupted,
    }
}
