//! The pointer: what a supervisor leaves in its pod's termination message.
//!
//! A hint where the record is, never the record: whoever reads it asks the ledger.
//!
//! ```
//! use axiom_hive_core::tlog::Hash;
//! use axiom_hive_core::wire::{Pointer, RecordKind};
//! let pointer = Pointer {
//!     task_uid: "6d1f0e8c".to_owned(),
//!     attempt: 0,
//!     outcome: RecordKind::Answered,
//!     exit_code: 0,
//!     origin: "axiom-hive.local/6d1f0e8c2b7a4935".to_owned(),
//!     index: 41,
//!     leaf: Hash([0; 32]),
//! };
//! let text = pointer.to_string();
//! assert!(text.starts_with(r#"{"attempt":0,"exitCode":0,"index":41,"#));
//! assert_eq!(text.parse(), Ok(pointer));
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::record::{Body, MAX_INTEGER, TaskRef};
use crate::tlog::Hash;

/// The value of `schema` in every pointer of this version.
pub const POINTER_SCHEMA: &str = "axiomhive.io/pointer/v1";
/// Upper bound of a pointer's text, in bytes.
pub const MAX_POINTER_BYTES: usize = 512;

/// Where the record of an attempt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// The task.
    pub task_uid: String,
    /// Which attempt.
    pub attempt: u32,
    /// The kind of the record.
    pub outcome: RecordKind,
    /// What the supervisor ends with.
    pub exit_code: u8,
    /// The log; at most [`MAX_POINTER_ORIGIN_BYTES`] in a pointer.
    pub origin: String,
    /// The record's number.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Hash,
}

/// Upper bound of an origin in a pointer, in bytes, so that the whole text keeps its bound.
pub const MAX_POINTER_ORIGIN_BYTES: usize = 200;

/// The kind of a record that ends an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RecordKind {
    /// Not terminal: may be retried.
    Attempt,
    /// Terminal.
    Answered,
    /// Terminal.
    Withheld,
    /// Terminal.
    Refused,
    /// Terminal.
    Failed,
    /// Terminal.
    Cancelled,
}

impl RecordKind {
    /// `None` for a record that ends no attempt.
    #[must_use]
    pub fn of(body: &Body) -> Option<Self> {
        match body {
            Body::Attempt(_) => Some(Self::Attempt),
            Body::Answered(_) => Some(Self::Answered),
            Body::Withheld(_) => Some(Self::Withheld),
            Body::Refused(_) => Some(Self::Refused),
            Body::Failed(_) => Some(Self::Failed),
            Body::Cancelled(_) => Some(Self::Cancelled),
            Body::Constitution { .. }
            | Body::Intent { .. }
            | Body::Deleted { .. }
            | Body::Sealed { .. }
            | Body::Succession { .. }
            | Body::Erasure { .. } => None,
        }
    }
}

/// A text was not a pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pointer must be canonical JSON of schema axiomhive.io/pointer/v1 with at most 512 bytes"
)]
pub struct PointerError;

/// Fields in the order of their names, so that plain JSON is canonical.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Text {
    attempt: u32,
    exit_code: u8,
    index: u64,
    leaf: Hash,
    origin: String,
    outcome: RecordKind,
    schema: String,
    task_uid: String,
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Text {
            attempt: self.attempt,
            exit_code: self.exit_code,
            index: self.index,
            leaf: self.leaf,
            origin: self.origin.clone(),
            outcome: self.outcome,
            schema: POINTER_SCHEMA.to_owned(),
            task_uid: self.task_uid.clone(),
        };
        f.write_str(&serde_json::to_string(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    /// The text comes from a pod: accepts nothing but what `Display` writes.
    fn from_str(text: &str) -> Result<Self, PointerError> {
        if text.len() > MAX_POINTER_BYTES {
            return Err(PointerError);
        }
        let read: Text = serde_json::from_str(text).map_err(|_| PointerError)?;
        let task = TaskRef {
            uid: read.task_uid,
            attempt: read.attempt,
        };
        let is_valid = task.validate().is_ok()
            && read.index <= MAX_INTEGER
            && read.origin.len() <= MAX_POINTER_ORIGIN_BYTES
            && read.schema == POINTER_SCHEMA;
        let pointer = Self {
            task_uid: task.uid,
            attempt: task.attempt,
            outcome: read.outcome,
            exit_code: read.exit_code,
            origin: read.origin,
            index: read.index,
            leaf: read.leaf,
        };
        if is_valid && pointer.to_string() == text {
            Ok(pointer)
        } else {
            Err(PointerError)
        }
    }
}
