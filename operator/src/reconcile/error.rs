//! Why a look at an object ended early. Every one of them is tried again.

use axiom_hive_client::ledger::ClientError;
use axiom_hive_core::supervisor::{OutOfTurn, PrepareError, ReleaseError};

use crate::api::convert::ConvertError;
use crate::plan::network::BrokerPortOpened;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server.
    #[error("API server: {0}")]
    Kube(#[from] kube::Error),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] ClientError),
    /// An object from before a rule.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// A constitution that was accepted and does not compile.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The intent could not be made.
    #[error(transparent)]
    Intent(#[from] OutOfTurn),
    /// A stored answer does not belong to its record.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// A policy would open the broker's port.
    #[error(transparent)]
    Network(#[from] BrokerPortOpened),
    /// The operating system gives no random bytes.
    #[error("random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// It took too long.
    #[error("one look must end within {0} s")]
    Timeout(u64),
    /// An object that is not as every stored object is.
    #[error("{0}")]
    Unexpected(String),
}

impl ReconcileError {
    /// Somebody else was faster; what they did is seen at the next look.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Kube(kube::Error::Api(status)) if status.code == 409)
    }
}
