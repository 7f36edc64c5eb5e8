//! Reading a ledger: records, payloads, receipts. Needs no lock and no key.

use std::path::Path;
use std::sync::Arc;

use axiom_hive_core::record::{Commitment, Payload, Receipt, Record, Slot};
use axiom_hive_core::tlog::{Hash, Tile, VerifyingKey, consistency_proof, inclusion_proof};

use super::error::{LedgerError, Problem, Problems, io_error};
use super::frame::{Frame, decode_frame, decode_payloads};
use super::log::{Log, OpenIntent, Place, read_log};
use super::storage::{Disk, Storage};
use super::tiles;

/// A ledger as it was when it was opened. A writer may go on at the same time: what it appends
/// later is not seen.
#[derive(Clone)]
pub struct LedgerReader {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) log: Log,
}

impl std::fmt::Debug for LedgerReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "LedgerReader({}, {} records)",
            self.log.key,
            self.log.size()
        )
    }
}

impl LedgerReader {
    /// Reads the ledger in `dir` up to its last intact frame: a frame that a writer is about to
    /// finish, or that a crash cut short, does not count.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        Self::on(Arc::new(Disk::new(dir, 0o600))).map_err(|error| match error {
            LedgerError::NotALedger { why, .. } => LedgerError::NotALedger {
                path: dir.display().to_string(),
                why,
            },
            other => other,
        })
    }

    /// The same on any storage.
    pub fn on(storage: Arc<dyn Storage>) -> Result<Self, LedgerError> {
        let Some(read) = read_log(&*storage)? else {
            return Err(LedgerError::NotALedger {
                path: String::new(),
                why: "there is no file log/00000000000000000000".to_owned(),
            });
        };
        match read.damage {
            Some(damage) if damage.is_followed => {
                Err(LedgerError::Damaged(Problems(vec![damage.problem])))
            }
            _ => Ok(Self {
                storage,
                log: read.log,
            }),
        }
    }

    /// Records in the ledger.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.log.size()
    }

    /// The verifier key that the ledger names as its own. Who trusts it has it from elsewhere.
    #[must_use]
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.log.key
    }

    /// The index of the record that fills `slot`.
    #[must_use]
    pub fn find(&self, slot: &Slot) -> Option<u64> {
        self.log.find(&slot.to_string())
    }

    /// Tasks with an intent and without a terminal record, in the order of their last intents.
    #[must_use]
    pub fn open_intents(&self) -> Vec<OpenIntent> {
        self.log.open_intents()
    }

    /// The indices of a task's records, ascending.
    #[must_use]
    pub fn task(&self, uid: &str) -> Vec<u64> {
        self.log.task(uid)
    }

    /// The record whose append brought the payload with this address, erased or not.
    #[must_use]
    pub fn holder(&self, commitment: &Commitment) -> Option<u64> {
        self.log.holder(commitment)
    }

    /// The canonical bytes of a record.
    pub fn record_bytes(&self, index: u64) -> Result<Vec<u8>, LedgerError> {
        self.with_frame(index, |frame| Ok(frame.record.to_vec()))
    }

    /// A record.
    pub fn record(&self, index: u64) -> Result<Record, LedgerError> {
        Ok(Record::from_canonical(&self.record_bytes(index)?)?)
    }

    /// The payload with this address; `None` when it was never kept, or is erased.
    pub fn payload(&self, commitment: &Commitment) -> Result<Option<Payload>, LedgerError> {
        let Some(index) = self.log.holder(commitment) else {
            return Ok(None);
        };
        let kept = self.payloads(index)?;
        Ok(kept.into_iter().find(|p| p.commitment() == *commitment))
    }

    /// The payloads kept in the frame of a record, in the order of the append.
    pub fn payloads(&self, index: u64) -> Result<Vec<Payload>, LedgerError> {
        let place = self.place(index)?;
        self.with_frame(index, |frame| {
            let damaged = |what: String| self.damaged(place, index, &what);
            let stored = decode_payloads(frame.payloads).map_err(|e| damaged(e.to_owned()))?;
            let decode = |encoded: &[u8]| Payload::decode(encoded);
            let kept = stored.iter().filter_map(|payload| payload.encoded);
            kept.map(|encoded| decode(encoded).map_err(|e| damaged(e.to_string())))
                .collect()
        })
    }

    /// The checkpoint of the whole ledger, as its writer signed it.
    #[must_use]
    pub fn checkpoint(&self) -> Option<String> {
        Some(self.log.head?.checkpoint(&self.log.key))
    }

    /// A receipt for a record, under the checkpoint of the whole ledger.
    pub fn receipt(&self, index: u64) -> Result<Receipt, LedgerError> {
        self.receipt_of(self.record_bytes(index)?, index)
    }

    /// A receipt for the record `index`, whose canonical bytes are `entry`.
    pub(super) fn receipt_of(&self, entry: Vec<u8>, index: u64) -> Result<Receipt, LedgerError> {
        let size = self.log.size();
        let no_record = || LedgerError::NoRecord { index, size };
        let hashes = inclusion_proof(index, size, &self.log.tree).map_err(|_| no_record())?;
        let checkpoint = self.checkpoint().ok_or_else(no_record)?;
        Ok(Receipt::new(entry, index, hashes, checkpoint))
    }

    /// The content of a tile or entry bundle, of any width that the tree has reached; `None` for
    /// others.
    pub fn tile(&self, tile: Tile) -> Result<Option<Vec<u8>>, LedgerError> {
        if tile.is_within(self.log.size()) {
            tiles::content(self, tile).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The proof that the tree of `old` entries is a prefix of that of `new`; `None` unless
    /// `1 ≤ old ≤ new ≤ size`.
    #[must_use]
    pub fn consistency(&self, old: u64, new: u64) -> Option<Vec<Hash>> {
        // Within the tree no node is missing, so the only error is a range that has no proof.
        consistency_proof(old, new, &self.log.tree).ok()
    }

    fn place(&self, index: u64) -> Result<Place, LedgerError> {
        let place = usize::try_from(index)
            .ok()
            .and_then(|at| self.log.places.get(at));
        place.copied().ok_or(LedgerError::NoRecord {
            index,
            size: self.log.size(),
        })
    }

    fn damaged(&self, place: Place, index: u64, what: &str) -> LedgerError {
        let path = &self.log.segments[place.segment as usize].path;
        let problem = Problem::of_file(path, what).at(place.offset, index);
        LedgerError::Damaged(Problems(vec![problem]))
    }

    /// Reads one frame from the disk, checks it and hands it to `take`.
    fn with_frame<T>(
        &self,
        index: u64,
        take: impl FnOnce(&Frame<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let place = self.place(index)?;
        let segment = &self.log.segments[place.segment as usize];
        let bytes = self
            .storage
            .read_at(&segment.path, place.offset, place.length as usize)
            .map_err(io_error(format!("read {}", segment.path)))?;
        let frame =
            decode_frame(segment.salt, &bytes).map_err(|what| self.damaged(place, index, what))?;
        take(&frame)
    }
}
