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

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::reader::Scanner;
use super::{Body, Commitment, Decided, MAX_RECORD_BYTES, Outcome, Record, Schema, TaskRef};
use crate::constitution::LedgerPolicy;

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

/// Inside other JSON a record's keys may stand in any order; everything else is as strict as in a leaf.
impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        let bytes = serde_json_canonicalizer::to_vec(&value).map_err(D::Error::custom)?;
        Self::from_canonical(&bytes).map_err(D::Error::custom)
    }
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
            Body::Intent { task, .. } | Body::Deleted { task, .. } => Some(task),
            Body::Constitution { .. }
            | Body::Sealed { .. }
            | Body::Succession { .. }
            | Body::Erasure { .. } => None,
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
            Body::Constitution { .. }
            | Body::Intent { .. }
            | Body::Deleted { .. }
            | Body::Sealed { .. }
            | Body::Succession { .. }
            | Body::Erasure { .. } => None,
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
        let payloads = self.payloads().into_iter();
        payloads.map(|(_, commitment)| commitment).collect()
    }

    /// The same, each with what it holds.
    #[must_use]
    pub fn payloads(&self) -> Vec<(PayloadKind, Commitment)> {
        match &self.body {
            Body::Constitution { text, .. } => vec![(PayloadKind::Other, *text)],
            Body::Intent {
                runtime,
                task_text,
                prompt,
                ..
            } => vec![
                (PayloadKind::Other, runtime.spec),
                (PayloadKind::Other, *task_text),
                (PayloadKind::Prompt, *prompt),
            ],
            Body::Deleted { .. }
            | Body::Sealed { .. }
            | Body::Succession { .. }
            | Body::Erasure { .. } => Vec::new(),
            _ => self.outcome().map(outcome_payloads).unwrap_or_default(),
        }
    }
}

/// What a payload holds, as far as a constitution can have it kept or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadKind {
    /// The prompt: `keep_prompt`.
    Prompt,
    /// A branch's text: `keep_branches`.
    Branch,
    /// Anything else: always kept.
    Other,
}

impl PayloadKind {
    /// Whether a constitution with this policy has it kept.
    #[must_use]
    pub fn is_kept_by(self, policy: &LedgerPolicy) -> bool {
        match self {
            Self::Prompt => policy.keep_prompt,
            Self::Branch => policy.keep_branches,
            Self::Other => true,
        }
    }
}

fn outcome_payloads(outcome: &Outcome) -> Vec<(PayloadKind, Commitment)> {
    let Decided {
        runtime,
        prompt,
        branches,
        answer,
        ..
    } = &outcome.decided;
    let texts = branches.iter().filter_map(|branch| branch.text);
    let answer = answer.iter().flat_map(|a| [a.text, a.hash_key]);
    let other = |commitment| (PayloadKind::Other, commitment);
    [other(runtime.spec), (PayloadKind::Prompt, *prompt)]
        .into_iter()
        .chain(texts.map(|text| (PayloadKind::Branch, text)))
        .chain(answer.chain(outcome.observed.detail).map(other))
        .collect()
}

fn check_length(bytes: Vec<u8>) -> Result<Vec<u8>, RecordError> {
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(RecordError::TooLong { bytes: bytes.len() });
    }
    Ok(bytes)
}
