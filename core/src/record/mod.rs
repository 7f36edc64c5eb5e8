//! Ledger records: schema, canonical JSON, salted commitments and openings.
//!
//! A record is one leaf of the ledger: RFC 8785 JSON of at most [`MAX_RECORD_BYTES`]. It holds no
//! text that a user or a runtime chose, only enums, bounded integers, digests and salted
//! commitments (invariant 12).

mod canonical;
mod commitment;
mod model;
mod observed;
mod opening;
mod reader;
mod receipt;
mod sentence;
mod slot;
mod succession;
mod validate;

pub use canonical::{PayloadKind, RecordError};
pub use commitment::{
    Commitment, Label, LabelError, MAX_LABEL_BYTES, MAX_PAYLOAD_BYTES, MissingSalt, Payload,
    PayloadError, PayloadView, Salt, Salts,
};
pub use model::*;
pub use observed::*;
pub use opening::{MAX_OPENING_BYTES, MAX_OPENING_SALTS, OPENING_SCHEMA, Opening, OpeningError};
pub use receipt::{Receipt, ReceiptError, VerifiedReceipt};
pub use sentence::explain;
pub use slot::Slot;
pub use succession::{LedgerHead, RotationReason};
pub use validate::{MAX_ATTEMPT, MAX_INTEGER};

/// The upper bound of one canonical record, in bytes.
pub const MAX_RECORD_BYTES: usize = 16 * 1024;
/// The upper bound of a record's branches.
pub const MAX_BRANCHES: usize = 64;
/// The upper bound of the targets that a constitution lists under `[egress]`.
pub const MAX_EGRESS_TARGETS: usize = 32;
/// The upper bound of the commitments that one erasure lists.
pub const MAX_ERASED: usize = 256;
