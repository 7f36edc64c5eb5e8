//! Checkpoints: C2SP tlog-checkpoint.
//!
//! A checkpoint is a signed note whose text is
//!
//! ```text
//! <origin>                      not empty; the name of the log's key
//! <tree size>                   decimal, no leading zero
//! <base64 of the root hash>
//! <extension lines>             optional, not empty; not used by this project, but read
//! ```
//!
//! ```
//! use axiom_hive_core::tlog::{Checkpoint, EMPTY_ROOT, SigningKey};
//! let key = SigningKey::new("example.com/log", &[1; 32]).unwrap();
//! let checkpoint = Checkpoint::new("example.com/log", 0, EMPTY_ROOT);
//! assert_eq!(
//!     checkpoint.to_string(),
//!     "example.com/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
//! );
//! let note = checkpoint.sign(&key).unwrap();
//! assert_eq!(Checkpoint::open(&note, key.verifying_key()), Ok(checkpoint));
//! ```

use std::fmt;

use super::key::{SigningKey, VerifyingKey};
use super::note::{Note, NoteError, sign_note};
use super::{EMPTY_ROOT, Hash, MAX_TREE_SIZE};

/// Upper bound of a checkpoint's text: 16 KiB.
pub const MAX_CHECKPOINT_BYTES: usize = 16 * 1024;

/// What a log signs: this many entries have this root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's identity.
    pub origin: String,
    /// Entries, at most [`MAX_TREE_SIZE`].
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// Extension lines, without their newlines; none in checkpoints of this project.
    pub extensions: Vec<String>,
}

/// Why a checkpoint is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note around it is malformed or not signed by the key.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text is no checkpoint.
    #[error("a checkpoint must be origin, size and root hash, one a line, each in its one form")]
    Syntax,
    /// Signed by the key, but of another log.
    #[error("this checkpoint is of {found}, not of {expected}")]
    Origin {
        /// The key's name.
        expected: String,
        /// The checkpoint's origin.
        found: String,
    },
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    #[must_use]
    pub fn new(origin: impl Into<String>, size: u64, root: Hash) -> Self {
        Self {
            origin: origin.into(),
            size,
            root,
            extensions: Vec::new(),
        }
    }

    /// Reads the text of a checkpoint note. Accepts exactly what `Display` writes.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        if text.len() > MAX_CHECKPOINT_BYTES {
            return Err(CheckpointError::Syntax);
        }
        parse_text(text).ok_or(CheckpointError::Syntax)
    }

    /// The signed note of this checkpoint.
    pub fn sign(&self, key: &SigningKey) -> Result<String, CheckpointError> {
        let text = self.to_string();
        // Never sign what no reader accepts.
        Self::parse(&text)?;
        Ok(sign_note(&text, &[key])?)
    }

    /// Reads a checkpoint note that the log with this key signed; further signatures are ignored.
    pub fn open(note: &str, key: &VerifyingKey) -> Result<Self, CheckpointError> {
        let note = Note::parse(note)?;
        note.verify(std::slice::from_ref(key))?;
        let checkpoint = Self::parse(&note.text)?;
        if checkpoint.origin != key.name() {
            let expected = key.name().to_owned();
            return Err(CheckpointError::Origin {
                expected,
                found: checkpoint.origin,
            });
        }
        Ok(checkpoint)
    }
}

fn parse_text(text: &str) -> Option<Checkpoint> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let origin = lines.next().filter(|origin| !origin.is_empty())?.to_owned();
    let size = parse_decimal(lines.next()?).filter(|size| *size <= MAX_TREE_SIZE)?;
    let root: Hash = lines.next()?.parse().ok()?;
    let extensions: Vec<String> = lines.map(str::to_owned).collect();
    let has_empty = extensions.iter().any(String::is_empty);
    let has_control = text.chars().any(|c| c < ' ' && c != '\n');
    let is_empty_root = root == EMPTY_ROOT;
    if has_empty || has_control || (size == 0 && !is_empty_root) {
        return None;
    }
    Some(Checkpoint {
        origin,
        size,
        root,
        extensions,
    })
}

/// A decimal without leading zero, sign or anything else.
pub(super) fn parse_decimal(text: &str) -> Option<u64> {
    let value: u64 = text.parse().ok()?;
    // `str::parse` accepts a plus sign and leading zeros.
    (value.to_string() == text).then_some(value)
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, self.root)?;
        self.extensions
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}
