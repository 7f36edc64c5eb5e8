//! Receipts: a record, its inclusion proof and a signed checkpoint in one publishable file.
//!
//! A receipt is a C2SP tlog-proof (see [`crate::tlog::proof_file`]) whose `extra` line holds the
//! record's canonical bytes, which are the log's entry. It holds no text and no salt.
//!
//! ```
//! # use axiom_hive_core::record::{Body, Commitment, Receipt, Record};
//! use axiom_hive_core::tlog::{Checkpoint, SigningKey, leaf_hash};
//! let record = Record::new(Body::Erasure {
//!     erased_index: 7,
//!     commitments: vec![Commitment([1; 32])],
//!     at_unix_ms: 1_700_000_000_000,
//! });
//! let entry = record.to_canonical().unwrap();
//! let key = SigningKey::new("example.com/log", &[1; 32]).unwrap();
//! let checkpoint = Checkpoint::new("example.com/log", 1, leaf_hash(&entry)).sign(&key).unwrap();
//!
//! let text = Receipt::new(entry, 0, vec![], checkpoint).to_string();
//! let receipt = Receipt::parse(&text).unwrap();
//! let verified = receipt.verify(key.verifying_key()).unwrap();
//! assert_eq!((verified.record, verified.index, verified.checkpoint.size), (record, 0, 1));
//! ```

use std::fmt;

use super::{Record, RecordError};
use crate::tlog::{Checkpoint, Hash, ProofFileError, TlogProof, VerifyingKey, leaf_hash};

/// A record with the proof that a log holds it. What it says counts only after
/// [`Receipt::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    entry: Vec<u8>,
    proof: TlogProof,
}

/// Why a receipt is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// No proof file, or one that does not verify.
    #[error(transparent)]
    Proof(#[from] ProofFileError),
    /// A proof without the record.
    #[error("a receipt must hold its record in the line \"extra\"")]
    NoRecord,
    /// What it holds is no record.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// What a verified receipt proves: this record is number `index` of the log `checkpoint.origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedReceipt {
    /// The record.
    pub record: Record,
    /// Its number.
    pub index: u64,
    /// The tree that it is in.
    pub checkpoint: Checkpoint,
}

impl Receipt {
    /// A receipt for the record with the canonical bytes `entry`.
    #[must_use]
    pub fn new(entry: Vec<u8>, index: u64, hashes: Vec<Hash>, checkpoint: String) -> Self {
        let proof = TlogProof {
            extra: Some(entry.clone()),
            index,
            hashes,
            checkpoint,
        };
        Self { entry, proof }
    }

    /// Reads a receipt file; verifies nothing.
    pub fn parse(text: &str) -> Result<Self, ReceiptError> {
        let proof = TlogProof::parse(text)?;
        let entry = proof.extra.clone().ok_or(ReceiptError::NoRecord)?;
        Record::from_canonical(&entry)?;
        Ok(Self { entry, proof })
    }

    /// The record's canonical bytes.
    #[must_use]
    pub fn entry(&self) -> &[u8] {
        &self.entry
    }

    /// The proof around them.
    #[must_use]
    pub fn proof(&self) -> &TlogProof {
        &self.proof
    }

    /// The record's leaf hash.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        leaf_hash(&self.entry)
    }

    /// Checks signature and inclusion by the log's key.
    pub fn verify(&self, key: &VerifyingKey) -> Result<VerifiedReceipt, ReceiptError> {
        let checkpoint = self.proof.verify(&self.entry, key)?;
        let record = Record::from_canonical(&self.entry)?;
        Ok(VerifiedReceipt {
            record,
            index: self.proof.index,
            checkpoint,
        })
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.proof, f)
    }
}
