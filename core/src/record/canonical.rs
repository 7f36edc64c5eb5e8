//! Canonical bytes of a record: RFC 8785 JSON, read strictly.
//!
//! The reader goes through the bytes once and accepts exactly what the writer can write: no
//! duplicate key, unknown field, white space, float, other key order or other spelling of a string.
//! `docs/LEDGER-FORMAT.md` describes every field.
//!
//! ```
//! use axiom_hive_core::record::{Body, Commitment, Record};
//! let commitments = vec![Commitment([0; 32])];
//! let record = Record::new(Body::Erasure { erased_index: 7, commitments, at_unix_ms: 1 });
//! let leaf = record.to_canonical().unwrap();
//! let expected = r#"{"atUnixMs":1,"commitments":["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],"#;
//! assert!(leaf.starts_with(expected.as_bytes()));
//! assert_eq!(Record::from_canonical(&leaf), Ok(record));
//! assert!(Record::from_canonical(&[b" ", leaf.as_slice()].concat()).is_err());
//! ```

use super::reader::Scanner;
use super::{Body, Commitment, MAX_RECORD_BYTES, Outcome, Record, Schema, TaskRef};

/// Why a record cannot be written, or bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Over [`MAX_RECORD_BYTES`].
    #[error("a record must be at most 16384 bytes; this one has {bytes}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It cannot be encoded.
    #[error("a record must be JSON: {0}")]
    Json(String),
    /// No record, or not in its one canonical form.
    #[error(
        "a record must be canonical JSON (RFC 8785) without unknown fields: \
         byte {at} is not the start of {expected}"
    )]
    NotCanonical {
        /// Counted from 0.
        at: usize,
        /// What must be there.
        expected: &'static str,
    },
    /// A field is out of its bounds.
    #[error("{path} must be {must}")]
    Invalid {
        /// Which field, such as `decided.branches[3].text`.
        path: String,
        /// What must hold.
        must: &'static str,
    },
}

impl Record {
    /// A record of this version.
    #[must_use]
    pub fn new(body: Body) -> Self {
        Self {
            schema: Schema::V1,
            body,
        }
    }

    /// The one encoding of this record: the ledger's leaf.
    pub fn to_canonical(&self) -> Result<Vec<u8>, RecordError> {
        self.validate()?;
        let bytes =
            serde_json_canonicalizer::to_vec(self).map_err(|e| RecordError::Json(e.to_string()))?;
        check_length(bytes)
    }

    /// Reads a leaf; accepts nothing but what [`Record::to_canonical`] writes.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(RecordError::TooLong { bytes: bytes.len() });
        }
        let record = Scanner::new(bytes).record()?;
        record.validate()?;
        Ok(record)
    }

    /// The task and attempt that this record is about.
    #[must_use]
    pub fn task(&self) -> Option<&TaskRef> {
        match &self.body {
            Body::Intent { task, .. } => Some(task),
            Body::Constitution { .. } | Body::Erasure { .. } => None,
            _ => self.outcome().map(|outcome| &outcome.task),
        }
    }

    /// What was decided and observed, for a failed attempt and every terminal record.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.body {
            Body::Attempt(outcome)
            | Body::Answered(outcome)
            | Body::Withheld(outcome)
            | Body::Refused(outcome)
            | Body::Failed(outcome)
            | Body::Cancelled(outcome) => Some(outcome),
            Body::Constitution { .. } | Body::Intent { .. } | Body::Erasure { .. } => None,
        }
    }

    /// Whether this record ends its task.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.outcome().is_some() && !matches!(self.body, Body::Attempt(_))
    }

    /// Every commitment in this record whose payload belongs to it, in the order of the schema. An
    /// erasure lists the payloads of another record and has none of its own.
    #[must_use]
    pub fn commitments(&self) -> Vec<Commitment> {
        match &self.body {
            Body::Constitution { text, .. } => vec![*text],
            Body::Intent {
                runtime,
                task_text,
                prompt,
                ..
            } => vec![runtime.spec, *task_text, *prompt],
            Body::Erasure { .. } => Vec::new(),
            _ => self.outcome().map(outcome_commitments).unwrap_or_default(),
        }
    }
}

fn outcome_commitments(outcome: &Outcome) -> Vec<Commitment> {
    let decided = &outcome.decided;
    let mut all = vec![decided.runtime.spec, decided.prompt];
    all.extend(decided.branches.iter().filter_map(|branch| branch.text));
    let answer = decided.answer.as_ref();
    all.extend(
        answer
            .iter()
            .flat_map(|answer| [answer.text, answer.hash_key]),
    );
    all.extend(outcome.observed.detail);
    all
}

fn check_length(bytes: Vec<u8>) -> Result<Vec<u8>, RecordError> {
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(RecordError::TooLong { bytes: bytes.len() });
    }
    Ok(bytes)
}
