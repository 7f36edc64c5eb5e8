//! Signed notes: C2SP signed-note.
//!
//! ```text
//! <text: lines, the last one ended by a newline>
//! <empty line>
//! — <key name> <base64(4-byte key id || signature)>          one or more
//! ```
//!
//! UTF-8 without control characters other than the newline; the text ends at the last empty line.
//! A line begins with an em dash (U+2014) and a space. Signatures by unknown (name, id) are
//! ignored; a bad one by a known key refuses the note.
//!
//! ```
//! use axiom_hive_core::tlog::{SigningKey, sign_note, open_note};
//! let key = SigningKey::new("example.com/log", &[1; 32]).unwrap();
//! let note = sign_note("hello\n", &[&key]).unwrap();
//! assert!(note.starts_with("hello\n\n— example.com/log "));
//! let opened = open_note(&note, &[key.verifying_key().clone()]).unwrap();
//! assert_eq!(opened.text, "hello\n");
//! ```

use super::base64;
use super::key::{SigningKey, VerifyingKey, is_name};

/// Upper bound of a whole note: 512 KiB.
pub const MAX_NOTE_BYTES: usize = 512 * 1024;
/// Upper bound of the signatures of one note.
pub const MAX_SIGNATURES: usize = 64;

/// Why a note is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Over [`MAX_NOTE_BYTES`] or [`MAX_SIGNATURES`].
    #[error("a signed note must be at most 524288 bytes with at most 64 signatures")]
    TooLong,
    /// A control character other than a newline, or a text that does not end in a newline.
    #[error("a note's text must end in a newline and hold no other control character")]
    Text,
    /// No empty line, no signature line, or one that is malformed.
    #[error("a signed note must end in an empty line and signature lines: — <name> <base64>")]
    Signature,
    /// A known key's signature is wrong.
    #[error("the signature of {name} does not verify")]
    Bad {
        /// Which key.
        name: String,
    },
    /// A key of type ML-DSA-44 was to sign what it cannot cover.
    #[error(
        "an ML-DSA-44 key signs checkpoints only, without extension lines, whose origin is at most 255 bytes"
    )]
    Uncosignable,
    /// No known key signed.
    #[error("no known key signed this note")]
    Unverified,
}

/// A note, split but not verified. What it says must be ignored until it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The text, with its last newline.
    pub text: String,
    /// The signature lines, in order.
    pub signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    /// The name of the key.
    pub name: String,
    /// The id of the key.
    pub id: [u8; 4],
    /// What follows the id; at least one byte.
    pub signature: Vec<u8>,
}

/// A note that at least one known key signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedNote {
    /// The text, with its last newline.
    pub text: String,
    /// Who signed it: positions in the list of known keys, ascending, each once.
    pub signers: Vec<Signer>,
}

/// A known key that signed a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signer {
    /// Position in the list of known keys.
    pub key: usize,
    /// The time of a cosignature, in seconds since the Unix epoch; 0 for a plain signature.
    pub time: u64,
}

impl Note {
    /// Splits a note. Accepts exactly what [`Note`]'s `Display` writes.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong);
        }
        let is_forbidden = |c: char| c < ' ' && c != '\n';
        if note.contains(is_forbidden) {
            return Err(NoteError::Text);
        }
        let split = note.rfind("\n\n").ok_or(NoteError::Signature)?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Signature)?;
        if lines.split('\n').count() > MAX_SIGNATURES {
            return Err(NoteError::TooLong);
        }
        let signatures = lines
            .split('\n')
            .map(parse_signature)
            .collect::<Option<_>>();
        Ok(Self {
            text: text.to_owned(),
            signatures: signatures.ok_or(NoteError::Signature)?,
        })
    }

    /// Checks the signatures by `keys`; see [`open_note`].
    pub fn verify(&self, keys: &[VerifyingKey]) -> Result<Vec<Signer>, NoteError> {
        let mut signers: Vec<Signer> = Vec::new();
        for line in &self.signatures {
            let known = |key: &VerifyingKey| key.name() == line.name && key.id() == line.id;
            let Some(key) = keys.iter().position(known) else {
                continue;
            };
            let time = keys[key]
                .verify(&self.text, &line.signature)
                .ok_or_else(|| NoteError::Bad {
                    name: line.name.clone(),
                })?;
            if !signers.iter().any(|signer| signer.key == key) {
                signers.push(Signer { key, time });
            }
        }
        signers.sort_by_key(|signer| signer.key);
        if signers.is_empty() {
            Err(NoteError::Unverified)
        } else {
            Ok(signers)
        }
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|signature| write!(f, "{signature}"))
    }
}

/// The line, with its newline.
impl std::fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let material = [self.id.as_slice(), &self.signature].concat();
        writeln!(f, "— {} {}", self.name, base64::encode(&material))
    }
}

pub(super) fn parse_signature(line: &str) -> Option<NoteSignature> {
    let (name, material) = line.strip_prefix("— ")?.split_once(' ')?;
    if !is_name(name) {
        return None;
    }
    let material = base64::decode(material)?;
    let (id, signature) = material.split_first_chunk::<4>()?;
    let signature = Some(signature).filter(|signature| !signature.is_empty())?;
    Some(NoteSignature {
        name: name.to_owned(),
        id: *id,
        signature: signature.to_vec(),
    })
}

/// Signs `text` by each key in turn; a cosignature gets the time 0, see [`cosign`].
pub fn sign_note(text: &str, keys: &[&SigningKey]) -> Result<String, NoteError> {
    let is_forbidden = |c: char| c < ' ' && c != '\n';
    if !text.ends_with('\n') || text.contains(is_forbidden) {
        return Err(NoteError::Text);
    }
    let signatures = keys.iter().map(|key| signature_of(text, key, 0));
    let signatures = signatures.collect::<Result<_, _>>()?;
    let note = Note {
        text: text.to_owned(),
        signatures,
    }
    .to_string();
    if note.len() > MAX_NOTE_BYTES || keys.len() > MAX_SIGNATURES {
        return Err(NoteError::TooLong);
    }
    Ok(note)
}

/// Adds the signature of `key` to a note; `time` (seconds since the Unix epoch) counts for a
/// cosignature only. The caller has checked what the note says.
pub fn cosign(note: &str, key: &SigningKey, time: u64) -> Result<String, NoteError> {
    let mut note = Note::parse(note)?;
    note.signatures.push(signature_of(&note.text, key, time)?);
    if note.signatures.len() > MAX_SIGNATURES {
        return Err(NoteError::TooLong);
    }
    Ok(note.to_string())
}

pub(super) fn signature_of(
    text: &str,
    key: &SigningKey,
    time: u64,
) -> Result<NoteSignature, NoteError> {
    let public = key.verifying_key();
    Ok(NoteSignature {
        name: public.name().to_owned(),
        id: public.id(),
        signature: key.sign(text, time).ok_or(NoteError::Uncosignable)?,
    })
}

/// Reads a note that at least one of `keys` signed, and none of them wrongly.
pub fn open_note(note: &str, keys: &[VerifyingKey]) -> Result<OpenedNote, NoteError> {
    let note = Note::parse(note)?;
    let signers = note.verify(keys)?;
    Ok(OpenedNote {
        text: note.text,
        signers,
    })
}
