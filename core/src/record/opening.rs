//! Openings: the private companion of a receipt.
//!
//! An opening holds the salts that tie a prompt, an answer and other texts to one record. With it,
//! its holder shows offline which text stands behind a commitment; without it, a receipt says
//! nothing about any text. The file (`*.opening`) is canonical JSON:
//!
//! ```json
//! {"leaf":"<base64>","salts":{"answer":"<base64>","prompt":"<base64>"},"schema":"axiomhive.io/opening/v1"}
//! ```
//!
//! ```
//! use axiom_hive_core::record::{Label, Opening, Salt};
//! use axiom_hive_core::tlog::Hash;
//! let opening = Opening::new(Hash([0; 32]), [(Label::PROMPT, Salt([7; 32]))]).unwrap();
//! let file = opening.to_canonical().unwrap();
//! assert!(file.starts_with(br#"{"leaf":"AAAA"#));
//! assert_eq!(Opening::from_canonical(&file), Ok(opening));
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Body, Commitment, Label, Payload, Record, RecordError, Salt};
use crate::tlog::{Hash, leaf_hash};

/// The value of `schema` in every opening of this version.
pub const OPENING_SCHEMA: &str = "axiomhive.io/opening/v1";
/// Upper bound of an opening's file, in bytes.
pub const MAX_OPENING_BYTES: usize = 16 * 1024;
/// Upper bound of the salts of one opening.
pub const MAX_OPENING_SALTS: usize = 128;

/// The salts of one record's texts, by label. Private.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Opening {
    schema: String,
    leaf: Hash,
    salts: BTreeMap<Label, Salt>,
}

/// Why an opening is refused or does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// Over a bound.
    #[error("an opening must be at most 16384 bytes with at most 128 salts")]
    TooLong,
    /// No JSON, or no opening.
    #[error("not an opening: {0}")]
    Json(String),
    /// Another schema, or not in its one canonical form.
    #[error("an opening must be canonical JSON (RFC 8785) of schema axiomhive.io/opening/v1")]
    NotCanonical,
    /// It belongs to another record.
    #[error("this opening belongs to another record")]
    OtherRecord,
    /// The record has no commitment of this label.
    #[error("the record holds no {0}")]
    NotInRecord(Label),
    /// The opening has no salt of this label.
    #[error("the opening holds no salt of the {0}")]
    NoSalt(Label),
    /// The text is not the one that the record commits to.
    #[error("the {0} is not the one in the record")]
    Differs(Label),
    /// The record has no canonical form.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl Opening {
    /// An opening of the record with this leaf hash.
    pub fn new(
        leaf: Hash,
        salts: impl IntoIterator<Item = (Label, Salt)>,
    ) -> Result<Self, OpeningError> {
        let salts: BTreeMap<_, _> = salts.into_iter().collect();
        if salts.len() > MAX_OPENING_SALTS {
            return Err(OpeningError::TooLong);
        }
        Ok(Self {
            schema: OPENING_SCHEMA.to_owned(),
            leaf,
            salts,
        })
    }

    /// An opening of those of `payloads` that `record` commits to.
    pub fn of(record: &Record, payloads: &[Payload]) -> Result<Self, OpeningError> {
        let leaf = leaf_hash(&record.to_canonical()?);
        let commitments = record.commitments();
        let committed = payloads
            .iter()
            .filter(|p| commitments.contains(&p.commitment()));
        Self::new(leaf, committed.map(|p| (p.label.clone(), p.salt)))
    }

    /// The leaf hash of the record that it opens.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        self.leaf
    }

    /// The salt of one text.
    #[must_use]
    pub fn salt(&self, label: &Label) -> Option<Salt> {
        self.salts.get(label).copied()
    }

    /// The file.
    pub fn to_canonical(&self) -> Result<Vec<u8>, OpeningError> {
        let bytes = serde_json_canonicalizer::to_vec(self)
            .map_err(|error| OpeningError::Json(error.to_string()))?;
        if bytes.len() > MAX_OPENING_BYTES {
            return Err(OpeningError::TooLong);
        }
        Ok(bytes)
    }

    /// Reads a file; accepts nothing but what [`Opening::to_canonical`] writes.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, OpeningError> {
        if bytes.len() > MAX_OPENING_BYTES {
            return Err(OpeningError::TooLong);
        }
        let opening: Self =
            serde_json::from_slice(bytes).map_err(|error| OpeningError::Json(error.to_string()))?;
        if opening.salts.len() > MAX_OPENING_SALTS {
            return Err(OpeningError::TooLong);
        }
        if opening.schema != OPENING_SCHEMA || opening.to_canonical()? != bytes {
            return Err(OpeningError::NotCanonical);
        }
        Ok(opening)
    }

    /// Checks that the opening belongs to `record` and that each given text is the one that the
    /// record commits to.
    pub fn verify(
        &self,
        record: &Record,
        prompt: Option<&[u8]>,
        answer: Option<&[u8]>,
    ) -> Result<(), OpeningError> {
        if leaf_hash(&record.to_canonical()?) != self.leaf {
            return Err(OpeningError::OtherRecord);
        }
        if let Some(prompt) = prompt {
            self.check(Label::PROMPT, record.prompt(), prompt)?;
        }
        if let Some(answer) = answer {
            self.check(Label::ANSWER, record.answer(), answer)?;
        }
        Ok(())
    }

    fn check(
        &self,
        label: Label,
        commitment: Option<Commitment>,
        bytes: &[u8],
    ) -> Result<(), OpeningError> {
        let Some(commitment) = commitment else {
            return Err(OpeningError::NotInRecord(label));
        };
        let Some(salt) = self.salt(&label) else {
            return Err(OpeningError::NoSalt(label));
        };
        if Commitment::to(&label, &salt, bytes) == commitment {
            Ok(())
        } else {
            Err(OpeningError::Differs(label))
        }
    }
}

impl Record {
    /// The commitment to the prompt, for an intent and every outcome.
    #[must_use]
    pub fn prompt(&self) -> Option<Commitment> {
        match &self.body {
            Body::Intent { prompt, .. } => Some(*prompt),
            _ => self.outcome().map(|outcome| outcome.decided.prompt),
        }
    }

    /// The commitment to the text that may be released.
    #[must_use]
    pub fn answer(&self) -> Option<Commitment> {
        self.outcome()?
            .decided
            .answer
            .as_ref()
            .map(|answer| answer.text)
    }
}
