//! Salted commitments and the payloads behind them.
//!
//! A commitment is the SHA-256 of a payload's encoding, which is also the payload's file:
//!
//! ```text
//! u16 BE length of label | label | 32-byte salt | u64 BE length of bytes | bytes
//! ```
//!
//! Each payload has its own 256-bit salt, so that equal texts have unrelated commitments and a
//! short text cannot be guessed from its commitment. `sha256sum` of a payload file is its address.
//!
//! ```
//! use axiom_hive_core::record::{Label, Payload, Salt};
//! let payload = Payload { label: Label::PROMPT, salt: Salt([7; 32]), bytes: b"hello".to_vec() };
//! let file = payload.encode();
//! assert_eq!(&file[..8], b"\x00\x06prompt");
//! assert_eq!(&file[40..], b"\x00\x00\x00\x00\x00\x00\x00\x05hello");
//! assert_eq!(Payload::decode(&file), Ok(payload.clone()));
//! assert_eq!(payload.commitment().to_string(), "e/Ue/t4GICUyQU5Ijp5qifBvTmL1W6YCVvvmwnueKKA=");
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::TaskRef;
use crate::tlog::ParseBase64Error;
use crate::tlog::base64::{self, text_form};

/// Upper bound of a label, in bytes.
pub const MAX_LABEL_BYTES: usize = 32;
/// Upper bound of a payload's bytes: 4 MiB.
pub const MAX_PAYLOAD_BYTES: usize = 4 * 1024 * 1024;

/// SHA-256 over a label, a salt, a length and the bytes; standard base64 in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Commitment(pub [u8; 32]);

text_form!(Commitment, "commitment");

impl Commitment {
    /// The commitment to `bytes` under `label` and `salt`; the same as that of a [`Payload`] of
    /// the three, without a copy.
    #[must_use]
    pub fn to(label: &Label, salt: &Salt, bytes: &[u8]) -> Self {
        Self(
            Sha256::new_with_prefix(header(label, salt, bytes.len()))
                .chain_update(bytes)
                .finalize()
                .into(),
        )
    }
}

/// 256 random bits. `Debug` does not show them; the text form, for private files only, is base64.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Salt(pub [u8; 32]);

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

impl TryFrom<String> for Salt {
    type Error = ParseBase64Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        base64::decode_32(&text)
            .map(Self)
            .ok_or(ParseBase64Error { what: "salt" })
    }
}

impl From<Salt> for String {
    fn from(salt: Salt) -> Self {
        base64::encode(&salt.0)
    }
}

/// What a payload is: 1..=32 bytes of lowercase letters, digits, `-` and `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(Cow<'static, str>);

/// A text was not a [`Label`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a label must be 1..=32 bytes of lowercase letters, digits, \"-\" and \"/\"")]
pub struct LabelError;

impl Label {
    /// The prompt as given.
    pub const PROMPT: Self = Self(Cow::Borrowed("prompt"));
    /// Canonical JSON of the task without the prompt.
    pub const TASK: Self = Self(Cow::Borrowed("task"));
    /// Canonical JSON of the runtime's spec.
    pub const RUNTIME: Self = Self(Cow::Borrowed("runtime"));
    /// The filtered text that may be released.
    pub const ANSWER: Self = Self(Cow::Borrowed("answer"));
    /// Detail for the authorised.
    pub const DETAIL: Self = Self(Cow::Borrowed("detail"));
    /// The key of the interceptor's `hash` action.
    pub const HASH_KEY: Self = Self(Cow::Borrowed("hash-key"));
    /// The canonical constitution.
    pub const CONSTITUTION: Self = Self(Cow::Borrowed("constitution"));

    /// `branch/<index>`: the text of one branch as the runtime gave it.
    #[must_use]
    pub fn branch(index: u32) -> Self {
        Self(Cow::Owned(format!("branch/{index}")))
    }

    /// Any label within the bounds.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Result<Self, LabelError> {
        let text = text.into();
        check_label(&text)?;
        Ok(Self(text))
    }

    /// The label's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_label(text: &str) -> Result<(), LabelError> {
    let is_allowed =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'/');
    let fits = (1..=MAX_LABEL_BYTES).contains(&text.len()) && text.bytes().all(is_allowed);
    fits.then_some(()).ok_or(LabelError)
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Label {
    type Error = LabelError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0.into_owned()
    }
}

/// Where the salts of one attempt come from.
#[derive(Clone)]
pub enum Salts {
    /// Fresh: salt(label) = HMAC-SHA256(seed, label). The seed is never stored.
    Seed([u8; 32]),
    /// Of payloads that exist, for replay.
    Recorded(BTreeMap<Label, Salt>),
    /// Of payloads that somebody else recorded, and fresh ones for all others: an attempt that an
    /// operator's intent began.
    Continued {
        /// The salts that exist.
        recorded: BTreeMap<Label, Salt>,
        /// For all others, as in [`Salts::Seed`].
        seed: [u8; 32],
    },
}

/// Replay needs a salt that was not recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no salt is recorded for the payload {0}")]
pub struct MissingSalt(pub Label);

impl Salts {
    /// The salts of one attempt, from a key that outlives the process: whoever was interrupted between
    /// two steps finds the same ones again.
    #[must_use]
    pub fn of_attempt(key: &[u8; 32], task: &TaskRef) -> Self {
        let context = format!("axiomhive.io/salts/v1 {} {}", task.uid, task.attempt);
        Self::Seed(hmac_sha256(key, context.as_bytes()))
    }

    /// The salt of the payload `label`.
    pub fn salt(&self, label: &Label) -> Result<Salt, MissingSalt> {
        let fresh = |seed| Salt(hmac_sha256(seed, label.as_str().as_bytes()));
        match self {
            Self::Seed(seed) => Ok(fresh(seed)),
            Self::Continued { recorded, seed } => {
                Ok(recorded.get(label).copied().unwrap_or_else(|| fresh(seed)))
            }
            Self::Recorded(salts) => salts
                .get(label)
                .copied()
                .ok_or_else(|| MissingSalt(label.clone())),
        }
    }

    /// The salts of `payloads`, by label; of several with one label, the last.
    #[must_use]
    pub fn recorded<'p>(payloads: impl IntoIterator<Item = &'p Payload>) -> Self {
        Self::Recorded(
            payloads
                .into_iter()
                .map(|p| (p.label.clone(), p.salt))
                .collect(),
        )
    }
}

impl fmt::Debug for Salts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seed(_) => "Salts::Seed(..)",
            Self::Recorded(_) => "Salts::Recorded(..)",
            Self::Continued { .. } => "Salts::Continued(..)",
        })
    }
}

/// RFC 2104 with SHA-256 and a 32-byte key.
fn hmac_sha256(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    // A key shorter than a block is padded with zeros (RFC 2104 section 2).
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// The text behind a commitment, with its salt. Private: it never goes into a leaf or a receipt.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    /// What it is.
    pub label: Label,
    /// Its own salt.
    pub salt: Salt,
    /// At most [`MAX_PAYLOAD_BYTES`].
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Payload {
    /// Shows the label and the length, never the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({}, {} bytes)", self.label, self.bytes.len())
    }
}

/// Bytes were not a payload's encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Shorter or longer than its own lengths say.
    #[error("a payload must be exactly as long as its label and length fields say")]
    Length,
    /// The label is none.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// Beyond [`MAX_PAYLOAD_BYTES`].
    #[error("a payload must be at most 4194304 bytes")]
    TooLong,
}

impl Payload {
    /// A payload with its salt from `salts`.
    pub fn new(label: Label, salts: &Salts, bytes: Vec<u8>) -> Result<Self, MissingSalt> {
        Ok(Self {
            salt: salts.salt(&label)?,
            label,
            bytes,
        })
    }

    /// The payload's address: SHA-256 of [`Payload::encode`].
    #[must_use]
    pub fn commitment(&self) -> Commitment {
        Commitment::to(&self.label, &self.salt, &self.bytes)
    }

    /// The payload's file, which is the preimage of its commitment.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = header(&self.label, &self.salt, self.bytes.len());
        out.extend_from_slice(&self.bytes);
        out
    }

    /// Reads what [`Payload::encode`] wrote; nothing before, between or after it.
    pub fn decode(encoded: &[u8]) -> Result<Self, PayloadError> {
        let PayloadView { label, salt, bytes } = PayloadView::decode(encoded)?;
        Ok(Self {
            label: Label::new(label.to_owned())?,
            salt,
            bytes: bytes.to_vec(),
        })
    }
}

/// A payload in its encoding; nothing is copied but the salt.
#[derive(Clone, Copy)]
pub struct PayloadView<'a> {
    /// What it is: the text of a [`Label`].
    pub label: &'a str,
    /// Its own salt.
    pub salt: Salt,
    /// At most [`MAX_PAYLOAD_BYTES`].
    pub bytes: &'a [u8],
}

impl<'a> PayloadView<'a> {
    /// As [`Payload::decode`].
    pub fn decode(encoded: &'a [u8]) -> Result<Self, PayloadError> {
        let (length, rest) = encoded
            .split_first_chunk::<2>()
            .ok_or(PayloadError::Length)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (label, rest) = rest.split_at_checked(length).ok_or(PayloadError::Length)?;
        let label = std::str::from_utf8(label).map_err(|_| LabelError)?;
        check_label(label)?;
        let (salt, rest) = rest.split_first_chunk::<32>().ok_or(PayloadError::Length)?;
        let (length, bytes) = rest.split_first_chunk::<8>().ok_or(PayloadError::Length)?;
        if u64::from_be_bytes(*length) != bytes.len() as u64 {
            return Err(PayloadError::Length);
        }
        if bytes.len() > MAX_PAYLOAD_BYTES {
            return Err(PayloadError::TooLong);
        }
        Ok(Self {
            label,
            salt: Salt(*salt),
            bytes,
        })
    }
}

/// Everything of the encoding but the bytes.
fn header(label: &Label, salt: &Salt, length: usize) -> Vec<u8> {
    let label = label.as_str().as_bytes();
    let label_length = label.len() as u16; // At most MAX_LABEL_BYTES by construction.
    let mut out = Vec::with_capacity(2 + label.len() + 32 + 8 + length);
    out.extend_from_slice(&label_length.to_be_bytes());
    out.extend_from_slice(label);
    out.extend_from_slice(&salt.0);
    out.extend_from_slice(&(length as u64).to_be_bytes());
    out
}
