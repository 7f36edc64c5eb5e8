//! Ledger records: schema, canonical JSON, salted commitments and openings.
//!
//! A record is one leaf of the ledger: RFC 8785 JSON of at most [`MAX_RECORD_BYTES`]. It holds no
//! text that a user or a runtime chose, only enums, bounded integers, digests and salted
//! commitments (invariant 12).

mod model;

pub use model::*;

/// The upper bound of one canonical record, in bytes.
pub const MAX_RECORD_BYTES: usize = 16 * 1024;

/// SHA-256 over a label, a salt, a length and the bytes; standard base64 in text.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Commitment(pub [u8; 32]);
