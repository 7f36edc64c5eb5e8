//! What operator, supervisor and ledger service say to each other: JSON over HTTPS.
//!
//! `docs/LEDGER-API.md` describes every path, reply and error. These are the shapes; whoever sends or
//! receives them owns the socket. A record travels as its canonical JSON, byte for byte, and is read
//! strictly; a payload travels as the base64 of its encoding, whose SHA-256 is its address.
//!
//! ```
//! use axiom_hive_core::record::{Body, Commitment, Record};
//! use axiom_hive_core::wire::{AppendEntry, AppendRequest};
//! let commitments = vec![Commitment([0; 32])];
//! let record = Record::new(Body::Erasure { erased_index: 7, commitments, at_unix_ms: 1 });
//! let request = AppendRequest { entries: vec![AppendEntry { record, payloads: vec![] }] };
//! let body = serde_json::to_vec(&request).unwrap();
//! assert!(body.starts_with(br#"{"entries":[{"record":{"atUnixMs":1,"#));
//! assert_eq!(serde_json::from_slice::<AppendRequest>(&body).unwrap(), request);
//! ```

mod encoding;
mod error;
mod pointer;

use serde::{Deserialize, Serialize};

use crate::digest::to_hex;
use crate::record::{Commitment, Payload, Receipt, ReceiptError, Record, TaskRef, VerifiedReceipt};
use crate::tlog::{Hash, VerifyingKey};

pub use error::{ErrorBody, ErrorCode};
pub use pointer::{
    MAX_POINTER_BYTES, MAX_POINTER_ORIGIN_BYTES, POINTER_SCHEMA, Pointer, PointerError, RecordKind,
};

/// Upper bound of a request's body: 56 MiB, which holds 40 MiB of payloads as base64.
pub const MAX_REQUEST_BYTES: usize = 56 * 1024 * 1024;
/// Upper bound of the entries of one append.
pub const MAX_APPEND_ENTRIES: usize = 64;
/// Upper bound of the records in one reply.
pub const MAX_REPLY_RECORDS: usize = 100;
/// Upper bound of the intents in one reply.
pub const MAX_REPLY_INTENTS: usize = 1000;
/// `POST`: append.
pub const RECORDS_PATH: &str = "/v1/records";
/// `GET`: tasks without an end.
pub const OPEN_INTENTS_PATH: &str = "/v1/intents/open";
/// `GET` with `from` and `to`: a consistency proof.
pub const CONSISTENCY_PATH: &str = "/v1/consistency";
/// `GET`: the signed head.
pub const CHECKPOINT_PATH: &str = "/checkpoint";

/// `GET`: one record.
#[must_use]
pub fn record_path(index: u64) -> String {
    format!("{RECORDS_PATH}/{index}")
}

/// `GET`: the records of a task.
#[must_use]
pub fn task_path(uid: &str) -> String {
    format!("/v1/tasks/{uid}")
}

/// `GET`: the record of a constitution.
#[must_use]
pub fn constitution_path(name: &str, version: &str) -> String {
    format!("/v1/constitutions/{name}/{version}")
}

/// `GET`: tasks without an end, from this index on.
#[must_use]
pub fn open_intents_path(from: u64) -> String {
    format!("{OPEN_INTENTS_PATH}?from={from}")
}

/// `GET`: the proof that the tree of `to` entries begins with that of `from`.
#[must_use]
pub fn consistency_path(from: u64, to: u64) -> String {
    format!("{CONSISTENCY_PATH}?from={from}&to={to}")
}

/// `GET`: a payload's file. The address is in hexadecimal, as `sha256sum` prints it.
#[must_use]
pub fn payload_path(commitment: &Commitment) -> String {
    format!("/v1/payloads/{}", to_hex(&commitment.0))
}

/// The body of an append.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppendRequest {
    /// 1..=[`MAX_APPEND_ENTRIES`], appended in this order.
    pub entries: Vec<AppendEntry>,
}

/// One record to append.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppendEntry {
    /// Its canonical JSON.
    #[serde(with = "encoding::record")]
    pub record: Record,
    /// What its commitments stand for; at most 80, together at most 40 MiB.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        with = "encoding::payloads"
    )]
    pub payloads: Vec<Payload>,
}

/// The answer to an append: one result for each entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppendReply {
    /// In the order of the entries.
    pub results: Vec<AppendResult>,
}

/// What became of one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppendResult {
    /// The slot was filled before: the stored record is an earlier one, and nothing was appended.
    pub existing: bool,
    /// The record that fills the slot.
    #[serde(flatten)]
    pub stored: StoredRecord,
}

/// A record of the ledger with its proof. Nothing in here counts before [`StoredRecord::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredRecord {
    /// Its number.
    pub index: u64,
    /// For readers without a verifier; the receipt holds the same.
    pub record: Record,
    /// The receipt file (C2SP tlog-proof).
    pub receipt: String,
}

/// What is stored is not what it claims to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredRecordError {
    /// The receipt is none, or does not verify.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// The receipt proves something else.
    #[error("the receipt must be that of record {index}, with the content that stands beside it")]
    Differs {
        /// The number beside the receipt.
        index: u64,
    },
}

impl StoredRecord {
    /// Of a receipt that the ledger made.
    #[must_use]
    pub fn new(index: u64, record: Record, receipt: &Receipt) -> Self {
        Self {
            index,
            record,
            receipt: receipt.to_string(),
        }
    }

    /// Checks the receipt by the log's key, and that it is one for this record and index.
    pub fn verify(
        &self,
        key: &VerifyingKey,
    ) -> Result<(Receipt, VerifiedReceipt), StoredRecordError> {
        let receipt = Receipt::parse(&self.receipt)?;
        let verified = receipt.verify(key)?;
        if verified.index == self.index && verified.record == self.record {
            Ok((receipt, verified))
        } else {
            Err(StoredRecordError::Differs { index: self.index })
        }
    }
}

/// The records of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskReply {
    /// At most [`MAX_REPLY_RECORDS`], by index; none for a task that the ledger does not know.
    pub records: Vec<StoredRecord>,
    /// There are more, from this index on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Tasks with an intent and without a terminal record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenIntentsReply {
    /// At most [`MAX_REPLY_INTENTS`], by index.
    pub intents: Vec<OpenIntentRef>,
    /// There are more, from this index on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// One open intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenIntentRef {
    /// Task and attempt of the task's last intent.
    pub task: TaskRef,
    /// The index of that intent.
    pub index: u64,
}

/// The proof that the first `from` entries of the tree of `to` entries are the tree of `from`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsistencyReply {
    /// The smaller tree.
    pub from: u64,
    /// The larger tree.
    pub to: u64,
    /// RFC 6962 section 2.1.2; at most 64.
    pub hashes: Vec<Hash>,
}
