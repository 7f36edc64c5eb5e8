//! Reading a ledger: records, payloads, receipts. Needs no lock and no key.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use axiom_hive_core::record::{Commitment, Payload, Receipt, Record, Slot};
use axiom_hive_core::tlog::{
    Hash, MakeProofError, Tile, VerifyingKey, consistency_proof, inclusion_proof,
};

use super::engine::{Appended, Settled};
use super::error::{LedgerError, Problem, Problems, io_error};
use super::frame::{Frame, decode_frame};
use super::head::SignedHead;
use super::known::Part;
use super::log::{Log, OpenIntent, Place, read_log};
use super::nodes::{Nodes, Tiles};
use super::section::decode_payloads;
use super::storage::{Disk, Storage};
use super::tiles;

/// The readable side of a ledger. Clones share it.
///
/// One that was opened for reading is the ledger as it was then: what a writer appends later is not
/// seen. One that a writer gives away grows with it, a whole group at a time, once it is durable.
/// Records and tree only ever grow, so what is asked for by index and size has one answer.
#[derive(Clone)]
pub struct LedgerReader {
    pub(super) storage: Arc<dyn Storage>,
    key: Arc<VerifyingKey>,
    log: Arc<RwLock<Log>>,
    pub(super) tiles: Arc<Tiles>,
}

impl std::fmt::Debug for LedgerReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LedgerReader({}, {} records)", self.key, self.size())
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
            _ => Ok(Self::new(storage, read.log)),
        }
    }

    pub(super) fn new(storage: Arc<dyn Storage>, log: Log) -> Self {
        Self {
            storage,
            key: Arc::new(log.key.clone()),
            log: Arc::new(RwLock::new(log)),
            tiles: Arc::default(),
        }
    }

    /// The log, for a moment. A panic elsewhere leaves it whole: a group is taken in by steps that
    /// cannot fail.
    pub(super) fn log(&self) -> RwLockReadGuard<'_, Log> {
        self.log.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log, for its one writer.
    pub(super) fn log_mut(&self) -> RwLockWriteGuard<'_, Log> {
        self.log.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records in the ledger.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.log().size()
    }

    /// The verifier key that the ledger names as its own. Who trusts it has it from elsewhere.
    #[must_use]
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The index of the record that fills `slot`. An error is one of the disk, or damage.
    pub fn find(&self, slot: &Slot) -> Result<Option<u64>, LedgerError> {
        self.find_slot(&slot.to_string())
    }

    /// Tasks with an intent and without a terminal record, in the order of their last intents.
    pub fn open_intents(&self) -> Result<Vec<OpenIntent>, LedgerError> {
        self.find_open()
    }

    /// The indices of a task's records, ascending.
    pub fn task(&self, uid: &str) -> Result<Vec<u64>, LedgerError> {
        self.find_task(uid)
    }

    /// The record whose append brought the payload with this address, erased or not.
    pub fn holder(&self, commitment: &Commitment) -> Result<Option<u64>, LedgerError> {
        self.find_payload(commitment)
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
        let Some(index) = self.holder(commitment)? else {
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

    /// The addresses of the payloads kept in the frame of a record.
    pub(super) fn kept(&self, index: u64) -> Result<Vec<Commitment>, LedgerError> {
        let place = self.place(index)?;
        self.with_frame(index, |frame| {
            let stored = decode_payloads(frame.payloads);
            let stored = stored.map_err(|what| self.damaged(place, index, what))?;
            let kept = stored.iter().filter(|payload| payload.encoded.is_some());
            Ok(kept.map(|payload| payload.commitment).collect())
        })
    }

    /// The checkpoint of the whole ledger, as its writer signed it.
    #[must_use]
    pub fn checkpoint(&self) -> Option<String> {
        let signed = self.log().head.clone();
        signed.map(|signed| signed.checkpoint.clone())
    }

    /// A receipt for a record, under the checkpoint of the whole ledger.
    pub fn receipt(&self, index: u64) -> Result<Receipt, LedgerError> {
        let entry = self.record_bytes(index)?;
        let signed = self.log().head.clone();
        let signed = signed.ok_or(LedgerError::NoRecord { index, size: 0 })?;
        self.receipt_under(&signed, index, entry)
    }

    /// A receipt for the record `index` with the canonical bytes `entry`, under a head of before.
    pub(super) fn receipt_under(
        &self,
        signed: &SignedHead,
        index: u64,
        entry: Vec<u8>,
    ) -> Result<Receipt, LedgerError> {
        let size = signed.head.size;
        let hashes = inclusion_proof(index, size, &Nodes(self));
        let hashes = hashes.map_err(|error| match error {
            MakeProofError::OutOfRange => LedgerError::NoRecord { index, size },
            MakeProofError::Node(error) => error,
        })?;
        Ok(Receipt::new(
            entry,
            index,
            hashes,
            signed.checkpoint.clone(),
        ))
    }

    /// The reply to an append that was settled.
    pub(super) fn appended(&self, settled: Settled) -> Result<Appended, LedgerError> {
        let Settled { index, signed, own } = settled;
        let existing = own.is_none();
        let (record, entry) = if let Some(own) = own {
            own
        } else {
            let entry = self.record_bytes(index)?;
            (Record::from_canonical(&entry)?, entry)
        };
        Ok(Appended {
            index,
            record,
            receipt: self.receipt_under(&signed, index, entry)?,
            existing,
        })
    }

    /// The content of a tile or entry bundle, of any width that the tree has reached; `None` for
    /// others.
    pub fn tile(&self, tile: Tile) -> Result<Option<Vec<u8>>, LedgerError> {
        if tile.is_within(self.log().size()) {
            tiles::content(self, tile).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The proof that the tree of `old` entries is a prefix of that of `new`; `None` unless
    /// `1 ≤ old ≤ new ≤ size`.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Option<Vec<Hash>>, LedgerError> {
        if new > self.size() {
            return Ok(None);
        }
        match consistency_proof(old, new, &Nodes(self)) {
            Ok(proof) => Ok(Some(proof)),
            Err(MakeProofError::OutOfRange) => Ok(None),
            Err(MakeProofError::Node(error)) => Err(error),
        }
    }

    pub(super) fn place(&self, index: u64) -> Result<Place, LedgerError> {
        let log = self.log();
        let size = log.size();
        let number = log.part_of(index);
        let place = match log.parts.get(number).filter(|_| index < size) {
            None => None,
            Some(Part::Read(known)) => known.places.get((index - known.first) as usize).copied(),
            Some(Part::Indexed(summary)) => {
                let summary = Arc::clone(summary);
                drop(log);
                return self.indexed_place(number, &summary, index);
            }
        };
        place.ok_or(LedgerError::NoRecord { index, size })
    }

    pub(super) fn damaged(&self, place: Place, index: u64, what: &str) -> LedgerError {
        let path = Arc::clone(&self.log().segments[place.segment as usize].path);
        let problem = Problem::of_file(&*path, what).at(place.offset, index);
        LedgerError::Damaged(Problems(vec![problem]))
    }

    /// Reads one frame from the disk, checks it and hands it to `take`.
    pub(super) fn with_frame<T>(
        &self,
        index: u64,
        take: impl FnOnce(&Frame<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let place = self.place(index)?;
        let segment = self.log().segments[place.segment as usize].clone();
        let bytes = self
            .storage
            .read_at(&segment.path, place.offset, place.length as usize)
            .map_err(io_error(format!("read {}", segment.path)))?;
        let frame =
            decode_frame(segment.salt, &bytes).map_err(|what| self.damaged(place, index, what))?;
        take(&frame)
    }
}
