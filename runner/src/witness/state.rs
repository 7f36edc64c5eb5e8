//! What a witness cosigned last of each log: one file a log, replaced and synced before the answer.
//!
//! The file holds the checkpoint as a note with two signatures, the log's and the witness's own; its name is the
//! SHA-256 of the log's origin in hex. A file is believed only if both verify.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use axiom_hive_core::digest::to_hex;
use axiom_hive_core::tlog::policy::PolicyLog;
use axiom_hive_core::tlog::witness::{Refused, cosignature, parse_cosignatures, with_cosignature};
use axiom_hive_core::tlog::{
    AddCheckpoint, Checkpoint, CheckpointError, Note, SigningKey, VerifyingKey, judge,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::ledger::storage::{Lock, Storage};

/// Why a witness cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// A log's key.
    #[error("a witness must have a key of type 4 or 6 (hive_ledger keygen --witness)")]
    Key,
    /// Two keys with one name.
    #[error("the logs of a witness must have an origin each; {0} has two keys")]
    Origin(String),
    /// The file system.
    #[error("the witness's state: {0}")]
    Io(#[from] io::Error),
    /// Another witness has it.
    #[error("another process has the witness's state")]
    Locked,
    /// Damaged, or of another key. Deleting it would let the log's history be rewritten before this witness.
    #[error(
        "{file} must be a checkpoint of {origin} that this witness cosigned ({why}); restore it from a copy, or take a new key"
    )]
    State {
        /// Which file.
        file: String,
        /// Of which log.
        origin: String,
        /// What is wrong.
        why: CheckpointError,
    },
}

/// Why there is no cosignature.
#[derive(Debug)]
pub(super) enum Failed {
    Refused(Refused),
    Disk(io::Error),
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// What was cosigned last: the note, and what it says.
type Last = Option<(String, Checkpoint)>;

struct Log {
    key: VerifyingKey,
    file: String,
    /// Held while one request is judged, kept and answered: the next one sees what this one left.
    last: Mutex<Last>,
}

/// Every log that the witness knows, by origin.
pub(super) struct Known {
    key: SigningKey,
    logs: BTreeMap<String, Log>,
    storage: Arc<dyn Storage>,
    _lock: Lock,
}

impl Known {
    pub(super) fn open(
        key: SigningKey,
        logs: &[PolicyLog],
        storage: Arc<dyn Storage>,
    ) -> Result<Self, WitnessError> {
        if !key.verifying_key().key_type().is_cosignature() {
            return Err(WitnessError::Key);
        }
        let lock = storage.try_lock("lock")?.ok_or(WitnessError::Locked)?;
        let mut known = BTreeMap::new();
        for PolicyLog { key: log, .. } in logs {
            let origin = log.name().to_owned();
            let file = to_hex(&Sha256::digest(&origin));
            let last = read(&*storage, &file, log, key.verifying_key())?;
            let last = Mutex::new(last);
            let key = log.clone();
            if known
                .insert(origin.clone(), Log { key, file, last })
                .is_some()
            {
                return Err(WitnessError::Origin(origin));
            }
        }
        Ok(Self {
            key,
            logs: known,
            storage,
            _lock: lock,
        })
    }

    /// Judges a request, keeps what it says and cosigns it, in this order.
    pub(super) async fn cosign(&self, request: AddCheckpoint, now: u64) -> Result<String, Failed> {
        let log = request.origin().and_then(|origin| self.logs.get(origin));
        let log = log.ok_or(Refused::UnknownLog)?;
        let mut last = log.last.lock().await;
        let before = last.as_ref().map(|(_, checkpoint)| checkpoint);
        let checkpoint = judge(before, &log.key, &request)?;
        let line = cosignature(&checkpoint, &self.key, now).map_err(|_| Refused::Malformed)?;
        let note =
            kept(&request.note, log, self.key.verifying_key(), &line).ok_or(Refused::Malformed)?;
        let (storage, file, bytes) = (Arc::clone(&self.storage), log.file.clone(), note.clone());
        let written =
            tokio::task::spawn_blocking(move || storage.replace(&file, bytes.as_bytes(), true));
        let written = written
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        written.map_err(Failed::Disk)?;
        *last = Some((note, checkpoint));
        Ok(line)
    }

    /// The note that was cosigned last of the log whose origin has this SHA-256.
    pub(super) async fn last(&self, origin_sha256: &str) -> Option<String> {
        let log = self.logs.values().find(|log| log.file == origin_sha256)?;
        let last = log.last.lock().await;
        last.as_ref().map(|(note, _)| note.clone())
    }
}

/// The log's own signature and ours, without whatever else came along.
fn kept(note: &str, log: &Log, own: &VerifyingKey, line: &str) -> Option<String> {
    let mut note = Note::parse(note).ok()?;
    note.signatures
        .retain(|line| line.name == log.key.name() && line.id == log.key.id());
    let note = with_cosignature(&note, own, parse_cosignatures(line).ok()?).ok()?;
    Some(note.to_string())
}

fn read(
    storage: &dyn Storage,
    file: &str,
    log: &VerifyingKey,
    own: &VerifyingKey,
) -> Result<Last, WitnessError> {
    let Some(bytes) = storage.read(file)? else {
        return Ok(None);
    };
    let note = String::from_utf8_lossy(&bytes).into_owned();
    let opened = Checkpoint::open(&note, log).and_then(|checkpoint| {
        Note::parse(&note)?.verify(std::slice::from_ref(own))?;
        Ok(checkpoint)
    });
    match opened {
        Ok(checkpoint) => Ok(Some((note, checkpoint))),
        Err(why) => Err(WitnessError::State {
            file: file.to_owned(),
            origin: log.name().to_owned(),
            why,
        }),
    }
}
