//! What a log asks a witness, and what a witness makes of it: C2SP tlog-witness.
//!
//! A log sends `POST <prefix>/add-checkpoint` with
//!
//! ```text
//! old <size>                    what the witness cosigned last, as far as the log knows
//! <base64 of a hash>            0 to 63: the consistency proof from there
//!                               an empty line
//! <checkpoint>                  a signed note
//! ```
//!
//! | the witness answers | when |
//! |---|---|
//! | 200, cosignature lines | it has seen that the log only grew |
//! | 400 | malformed, or `old` beyond the checkpoint |
//! | 403 | the log did not sign it |
//! | 404 | a log that it does not know |
//! | 409, `<size>` as `text/x.tlog.size` | `old` is not what it cosigned last: this is |
//! | 422 | the proof does not hold |
//!
//! ```
//! use axiom_hive_core::tlog::{AddCheckpoint, Checkpoint, EMPTY_ROOT, SigningKey, judge};
//! let log = SigningKey::new("example.com/log", &[1; 32]).unwrap();
//! let note = Checkpoint::new("example.com/log", 0, EMPTY_ROOT).sign(&log).unwrap();
//! let request = AddCheckpoint { old: 0, proof: vec![], note };
//! let text = request.to_string();
//! assert!(text.starts_with("old 0\n\nexample.com/log\n0\n"));
//! assert_eq!(AddCheckpoint::parse(&text), Ok(request.clone()));
//! assert_eq!(judge(None, log.verifying_key(), &request).unwrap().size, 0);
//! ```

use std::fmt;

use super::checkpoint::{Checkpoint, CheckpointError, parse_decimal};
use super::key::{SigningKey, VerifyingKey};
use super::note::{MAX_NOTE_BYTES, Note, NoteError, NoteSignature, parse_signature, signature_of};
use super::proof::verify_consistency;
use super::{EMPTY_ROOT, Hash, MAX_TREE_SIZE};

/// Upper bound of the hashes of a consistency proof.
pub const MAX_PROOF_LINES: usize = 63;
/// Upper bound of a request, in bytes: a note, and 63 hashes.
pub const MAX_ADD_CHECKPOINT_BYTES: usize = MAX_NOTE_BYTES + 4096;
/// Upper bound of a witness's answer, in bytes.
pub const MAX_COSIGNATURES_BYTES: usize = 16 * 1024;

/// A request to a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// What the witness cosigned last; 0 for nothing.
    pub old: u64,
    /// From there to the checkpoint (RFC 6962 section 2.1.2).
    pub proof: Vec<Hash>,
    /// The checkpoint, signed by its log.
    pub note: String,
}

/// Why a witness does not cosign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// 400.
    #[error(
        "a request must be \"old\" and a size, at most 63 hashes, an empty line, and a checkpoint"
    )]
    Malformed,
    /// 400.
    #[error("old must be at most the size of the checkpoint")]
    OldBeyond,
    /// 403.
    #[error("the checkpoint must be signed by its log")]
    Signature,
    /// 404.
    #[error("the checkpoint must be of a log that this witness knows")]
    UnknownLog,
    /// 409.
    #[error("old must be {size}, which this witness cosigned last")]
    Conflict {
        /// What it cosigned last.
        size: u64,
    },
    /// 422.
    #[error("the checkpoint must be proven to extend the one that this witness cosigned last")]
    Proof,
}

impl Refused {
    /// The HTTP status that goes with it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed | Self::OldBeyond => 400,
            Self::Signature => 403,
            Self::UnknownLog => 404,
            Self::Conflict { .. } => 409,
            Self::Proof => 422,
        }
    }
}

impl AddCheckpoint {
    /// Reads a request. Accepts exactly what `Display` writes; the note is not read yet.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        if text.len() > MAX_ADD_CHECKPOINT_BYTES {
            return Err(Refused::Malformed);
        }
        let (head, note) = text.split_once("\n\n").ok_or(Refused::Malformed)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = old.and_then(parse_decimal);
        let old = old.filter(|old| *old <= MAX_TREE_SIZE);
        let proof: Option<Vec<Hash>> = lines.map(|line| line.parse().ok()).collect();
        match (old, proof) {
            (Some(old), Some(proof)) if proof.len() <= MAX_PROOF_LINES => Ok(Self {
                old,
                proof,
                note: note.to_owned(),
            }),
            _ => Err(Refused::Malformed),
        }
    }

    /// The origin that its checkpoint names, for finding the log's key; believed by nobody yet.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.note.split('\n').next()
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof
            .iter()
            .try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.note)
    }
}

/// The checkpoint that a witness may cosign; `last` is what it cosigned last of this log.
pub fn judge(
    last: Option<&Checkpoint>,
    log: &VerifyingKey,
    request: &AddCheckpoint,
) -> Result<Checkpoint, Refused> {
    let checkpoint = Checkpoint::open(&request.note, log).map_err(|error| match error {
        CheckpointError::Note(NoteError::Bad { .. } | NoteError::Unverified)
        | CheckpointError::Origin { .. } => Refused::Signature,
        CheckpointError::Note(_) | CheckpointError::Syntax => Refused::Malformed,
    })?;
    if request.old > checkpoint.size {
        return Err(Refused::OldBeyond);
    }
    let (size, root) = last.map_or((0, EMPTY_ROOT), |last| (last.size, last.root));
    if request.old != size {
        return Err(Refused::Conflict { size });
    }
    let proof = &request.proof;
    let is_proven = if size == 0 {
        // Every tree extends the empty one, without a proof.
        proof.is_empty()
    } else {
        verify_consistency(size, checkpoint.size, &root, &checkpoint.root, proof).is_ok()
    };
    if is_proven {
        Ok(checkpoint)
    } else {
        Err(Refused::Proof)
    }
}

/// The answer of a witness to a checkpoint that it judged: one cosignature line. `time` is in seconds since
/// the Unix epoch.
pub fn cosignature(
    checkpoint: &Checkpoint,
    key: &SigningKey,
    time: u64,
) -> Result<String, NoteError> {
    Ok(signature_of(&checkpoint.to_string(), key, time)?.to_string())
}

/// Reads a witness's answer: the signature lines in it, none of them checked.
pub fn parse_cosignatures(text: &str) -> Result<Vec<NoteSignature>, NoteError> {
    if text.len() > MAX_COSIGNATURES_BYTES {
        return Err(NoteError::TooLong);
    }
    let lines = text.strip_suffix('\n').ok_or(NoteError::Signature)?;
    let lines: Option<Vec<_>> = lines.split('\n').map(parse_signature).collect();
    lines.ok_or(NoteError::Signature)
}

/// A checkpoint's note with the cosignature of `witness` that is among `lines`; an older one of the same
/// witness goes. The error says what is wrong.
pub fn with_cosignature(
    note: &Note,
    witness: &VerifyingKey,
    lines: Vec<NoteSignature>,
) -> Result<Note, NoteError> {
    let is_theirs = |line: &NoteSignature| line.name == witness.name() && line.id == witness.id();
    let line = lines.into_iter().find(|line| is_theirs(line));
    let line = line.ok_or(NoteError::Unverified)?;
    if witness.verify(&note.text, &line.signature).is_none() {
        let name = witness.name().to_owned();
        return Err(NoteError::Bad { name });
    }
    let mut note = note.clone();
    note.signatures.retain(|line| !is_theirs(line));
    note.signatures.push(line);
    Ok(note)
}
