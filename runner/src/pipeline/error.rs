//! Why there is no outcome.

use axiom_hive_core::digest::Digest;
use axiom_hive_core::supervisor::{IntentError, OutOfTurn, ReleaseError};

use crate::containment::isolation::NotIsolated;
use crate::ledger::LedgerError;
use axiom_hive_client::ledger::ClientError;

/// Why a task has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The ledger is unavailable or refuses.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The task UID was used for something else.
    #[error("task {uid} was used for another {what}; a task UID names one task for ever")]
    OtherTask {
        /// The UID.
        uid: String,
        /// What differs.
        what: &'static str,
    },
    /// A recorded answer cannot be shown.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// A bug: driver and machine disagree.
    #[error("internal: {0}")]
    OutOfTurn(#[from] OutOfTurn),
    /// A bug: the record that was just written cannot be opened.
    #[error("internal: {0}")]
    Opening(#[from] axiom_hive_core::record::OpeningError),
    /// The operating system gives no random bytes.
    #[error("no random bytes from the operating system: {0}")]
    Random(String),
    /// A bug: a machine that ends without a record.
    #[error("internal: the attempt ended without a record")]
    NothingAppended,
    /// The process was told to end. Nothing is recorded: only whoever told it knows what it meant.
    #[error("told to stop")]
    Stopped,
    /// The ledger service is unavailable, refuses, or does not verify.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The intent, as its payloads say it, cannot be carried out.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// What the ledger proves is not what this pod was made for.
    #[error("{what} in the ledger must be {expected}, but is {found}")]
    NotOurs {
        /// Which digest.
        what: &'static str,
        /// By this pod's arguments.
        expected: Digest,
        /// In the ledger.
        found: Digest,
    },
    /// The intent of this attempt did not come.
    #[error("the intent of attempt {0} must be in the ledger before the deadline")]
    NoIntent(u32),
    /// The recorded constitution cannot be had.
    #[error("the recorded constitution must be readable: {0}")]
    Constitution(String),
    /// The network is not proven to be closed, and nothing can be recorded about it.
    #[error(transparent)]
    NotIsolated(#[from] NotIsolated),
    /// A task had too many attempts.
    #[error("task {0} must have at most 1000 attempts")]
    TooManyAttempts(String),
}
