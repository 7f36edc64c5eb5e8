//! Proof files: C2SP tlog-proof, suffix `.tlog-proof`.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64>                optional, not authenticated by the format
//! index <decimal>
//! <base64 hash>                 the inclusion proof, one hash a line, from the leaf up
//! <empty line>
//! <the checkpoint: a signed note, verbatim>
//! ```
//!
//! ```
//! use axiom_hive_core::tlog::{Checkpoint, SigningKey, TlogProof, leaf_hash};
//! let key = SigningKey::new("example.com/log", &[1; 32]).unwrap();
//! let checkpoint = Checkpoint::new("example.com/log", 1, leaf_hash(b"a")).sign(&key).unwrap();
//! let proof = TlogProof { extra: None, index: 0, hashes: vec![], checkpoint };
//! let text = proof.to_string();
//! assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 0\n\nexample.com/log\n1\n"));
//! assert_eq!(TlogProof::parse(&text), Ok(proof.clone()));
//! assert_eq!(proof.verify(b"a", key.verifying_key()).unwrap().size, 1);
//! assert!(proof.verify(b"b", key.verifying_key()).is_err());
//! ```

use std::fmt;

use super::base64;
use super::checkpoint::{Checkpoint, CheckpointError, parse_decimal};
use super::key::VerifyingKey;
use super::note::{MAX_NOTE_BYTES, Note};
use super::proof::{MAX_PROOF_HASHES, ProofError, verify_inclusion};
use super::{Hash, MAX_TREE_SIZE, leaf_hash};

/// Upper bound of a whole proof file: 1 MiB.
pub const MAX_PROOF_FILE_BYTES: usize = 1024 * 1024;
/// Upper bound of the extra data: 64 KiB.
pub const MAX_EXTRA_BYTES: usize = 64 * 1024;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// A proof that an entry is in a log, checkable offline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// What the application adds; at most [`MAX_EXTRA_BYTES`]. Nothing here authenticates it.
    pub extra: Option<Vec<u8>>,
    /// The entry's number.
    pub index: u64,
    /// The inclusion proof; at most [`MAX_PROOF_HASHES`].
    pub hashes: Vec<Hash>,
    /// The signed checkpoint, verbatim.
    pub checkpoint: String,
}

/// Why a proof file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofFileError {
    /// No proof file.
    #[error("not a proof file: line {line} must be {must}")]
    Syntax {
        /// Which line, from 1.
        line: usize,
        /// What it must be.
        must: &'static str,
    },
    /// Over [`MAX_PROOF_FILE_BYTES`].
    #[error("a proof file must be at most 1048576 bytes")]
    TooLong,
    /// The checkpoint is malformed, of another log or not signed by its key.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The entry is not in the tree of the checkpoint.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl TlogProof {
    /// Reads a proof file. Accepts exactly what `Display` writes. Verifies nothing.
    pub fn parse(text: &str) -> Result<Self, ProofFileError> {
        if text.len() > MAX_PROOF_FILE_BYTES {
            return Err(ProofFileError::TooLong);
        }
        let mut at = 1;
        let must = |line, must| ProofFileError::Syntax { line, must };
        let (head, checkpoint) = text
            .split_once("\n\n")
            .ok_or(must(1, "followed by an empty line and a checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(FIRST_LINE) {
            return Err(must(at, "\"c2sp.org/tlog-proof@v1\""));
        }
        at += 1;
        let extra = match lines.peek().and_then(|line| line.strip_prefix("extra ")) {
            None => None,
            Some(extra) => {
                let extra = base64::decode(extra).filter(|extra| extra.len() <= MAX_EXTRA_BYTES);
                at += 1;
                lines.next();
                Some(extra.ok_or(must(at - 1, "\"extra\" and base64 of at most 65536 bytes"))?)
            }
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index
            .and_then(parse_decimal)
            .filter(|index| *index < MAX_TREE_SIZE);
        let index = index.ok_or(must(at, "\"index\" and a decimal number"))?;
        let mut hashes = Vec::new();
        for line in lines {
            at += 1;
            let hash = line
                .parse()
                .ok()
                .filter(|_| hashes.len() < MAX_PROOF_HASHES);
            hashes.push(hash.ok_or(must(at, "a base64 hash, of at most 64, or an empty line"))?);
        }
        // Well-formed, whoever signed it.
        let note = Note::parse(checkpoint).map_err(CheckpointError::from)?;
        Checkpoint::parse(&note.text)?;
        Ok(Self {
            extra,
            index,
            hashes,
            checkpoint: checkpoint.to_owned(),
        })
    }

    /// Checks that the log with this key signed the checkpoint and that `entry` is number `index`
    /// in its tree; returns the checkpoint.
    pub fn verify(&self, entry: &[u8], key: &VerifyingKey) -> Result<Checkpoint, ProofFileError> {
        let checkpoint = Checkpoint::open(&self.checkpoint, key)?;
        let Checkpoint { size, root, .. } = &checkpoint;
        verify_inclusion(self.index, *size, &leaf_hash(entry), &self.hashes, root)?;
        Ok(checkpoint)
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", base64::encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes
            .iter()
            .try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

const _: () = assert!(MAX_PROOF_FILE_BYTES > MAX_NOTE_BYTES + MAX_EXTRA_BYTES * 4 / 3 + 8192);
