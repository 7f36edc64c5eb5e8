//! What a ledger says of the one that it succeeds.

use serde::{Deserialize, Serialize};

use crate::tlog::{Hash, VerifyingKey};

/// The last head of a sealed ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerHead {
    /// The ledger's key, whose name is its origin.
    pub key: VerifyingKey,
    /// Records in it, the seal included.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// Why a ledger was succeeded by a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RotationReason {
    /// It had grown large.
    Size,
    /// Its time, such as a year, was over.
    Calendar,
    /// Its key was to be replaced.
    Key,
    /// Anything else.
    Other,
}
