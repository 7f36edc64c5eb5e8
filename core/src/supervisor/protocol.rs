//! What the machine and whoever drives it say to each other.

use std::sync::Arc;

use crate::record::{
    BuildRef, ContainmentRecord, EgressRecord, MissingSalt, ObservedIntent, Payload, Record, Usage,
};

use super::deliberation::BranchResult;
use super::release::{ReleaseError, Released};

/// What happens to the machine.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "an event is handled at once and never stored"
)]
pub enum Event {
    /// The appended record is durable.
    Acknowledged(Acknowledged),
    /// A started branch ended.
    BranchFinished {
        /// Which one.
        index: u32,
        /// With what.
        result: BranchResult,
    },
    /// The answer to [`Command::Observe`].
    Observed(ObservedParts),
    /// The task's deadline passed.
    Deadline,
    /// A user or a signal asks for the end.
    Cancel,
    /// Containment could not be established or was lost.
    ContainmentLost,
}

/// The ledger's answer to an append.
#[derive(Debug)]
pub struct Acknowledged {
    /// The record that fills the slot: ours, or an earlier one.
    pub record: Record,
    /// The slot was filled before; ours was not appended.
    pub existing: bool,
    /// For an existing record with an answer: that payload.
    pub answer: Option<Payload>,
}

/// What the driver saw; the machine adds what it knows itself.
#[derive(Debug)]
pub struct ObservedParts {
    /// The build that decides.
    pub build: BuildRef,
    /// First runtime call, milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// Now, milliseconds since the Unix epoch.
    pub ended_unix_ms: u64,
    /// What confined the runtime.
    pub containment: ContainmentRecord,
    /// Sums over the branches; each is cut to 2^53 − 1.
    pub usage: Option<Usage>,
    /// What the runtime asked of the egress broker; `None` where there was none.
    pub egress: Option<EgressRecord>,
    /// Detail for the authorised; at most [`MAX_DETAIL_BYTES`] are kept.
    pub detail: Option<Vec<u8>>,
}

/// Upper bound of the detail that is kept with a record: 64 KiB.
pub const MAX_DETAIL_BYTES: usize = 64 * 1024;

/// What the driver has to do, in this order.
#[derive(Debug)]
pub enum Command {
    /// Append this, and report the acknowledgement.
    Append(Entry),
    /// Start this branch, and report its end.
    StartBranch {
        /// Counted from 0.
        index: u32,
        /// Its own seed.
        seed: u64,
        /// What the runtime gets.
        prompt: Arc<str>,
    },
    /// End every branch that still runs; their results no longer count.
    StopBranches,
    /// Report what was observed.
    Observe,
    /// It is over.
    Done(Done),
}

/// A record with its payloads: one append, one sync.
#[derive(Debug)]
pub struct Entry {
    /// The record.
    pub record: Record,
    /// What its commitments stand for.
    pub payloads: Vec<Payload>,
}

/// The end of an attempt.
#[derive(Debug)]
pub struct Done {
    /// The record that ends the task: ours, or an earlier one.
    pub record: Record,
    /// Whether it is an earlier one.
    pub existing: bool,
    /// The text that may be shown, if any.
    pub released: Option<Released>,
}

/// Who appends the intent.
#[derive(Debug, Clone)]
pub enum IntentBy {
    /// This machine.
    Machine(ObservedIntent),
    /// An operator did: its record, whose receipt was verified. It must commit to this very task, so
    /// the task's salts are those of its payloads.
    Operator(Box<Record>),
}

/// An event that cannot happen now, or an answer of the ledger that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutOfTurn {
    /// The driver broke the protocol.
    #[error("the event {event} must not come while the supervisor is {state}")]
    Event {
        /// What came.
        event: &'static str,
        /// Where the machine was.
        state: &'static str,
    },
    /// The intent of this attempt is durable, but commits to something else: another run made it.
    #[error("the recorded intent of this attempt must commit to this task; start the next attempt")]
    OtherIntent,
    /// The ledger acknowledged, as new, a record that was not appended.
    #[error("the ledger must acknowledge the record that was appended")]
    OtherRecord,
    /// The stored record cannot be released.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// Recorded salts that lack one.
    #[error(transparent)]
    Salt(#[from] MissingSalt),
}

impl Event {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Event::Acknowledged(_) => "Acknowledged",
            Event::BranchFinished { .. } => "BranchFinished",
            Event::Observed(_) => "Observed",
            Event::Deadline => "Deadline",
            Event::Cancel => "Cancel",
            Event::ContainmentLost => "ContainmentLost",
        }
    }
}

/// The end of a task that ended before: its recorded text, checked against its record.
impl Done {
    /// From the terminal record that fills the task's slot and the payload of its answer.
    pub fn stored(
        record: Record,
        uid: &str,
        answer: Option<&Payload>,
    ) -> Result<Self, ReleaseError> {
        let released = Released::stored(&record, uid, answer)?;
        Ok(Self {
            record,
            existing: true,
            released,
        })
    }
}
