//! Why a call gave nothing.

use std::path::PathBuf;

use axiom_hive_core::tlog::{CheckpointError, ProofError};
use axiom_hive_core::wire::{ErrorCode, StoredRecordError};

use crate::tls::TlsError;

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client cannot be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The token cannot be read.
    #[error("{path}: {source}")]
    Token {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No answer that counts came before the deadline.
    #[error("the ledger must answer before the deadline: {0}")]
    Deadline(String),
    /// The service refuses.
    #[error("the ledger refuses ({code:?}): {message}")]
    Refused {
        /// For programs.
        code: ErrorCode,
        /// In its own words.
        message: String,
    },
    /// The service does not keep to its interface.
    #[error("the ledger's reply must be as documented: {0}")]
    Malformed(String),
    /// A record or receipt that does not verify.
    #[error("the ledger's reply does not verify: {0}")]
    Unverified(#[from] StoredRecordError),
    /// A checkpoint that does not verify.
    #[error("the ledger's checkpoint does not verify: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The ledger is not the one that was seen before: it lost records, or changed them.
    #[error(
        "the ledger of {now} records must begin with the {before} that were seen before: {why}"
    )]
    Forked {
        /// Records of the checkpoint that is known.
        before: u64,
        /// Records of the checkpoint that the service shows.
        now: u64,
        /// What is wrong with its proof.
        why: ProofError,
    },
    /// A receipt for something else.
    #[error("the ledger must prove {0}")]
    Other(&'static str),
}

impl ClientError {
    /// Whether it may go away by itself: nobody answered in time.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Deadline(_))
    }

    /// Whether the ledger is not, or no longer, the one that was known: it shows another history, or none.
    #[must_use]
    pub fn is_forked(&self) -> bool {
        matches!(
            self,
            Self::Forked { .. } | Self::Other(_) | Self::Checkpoint(_)
        )
    }
}
