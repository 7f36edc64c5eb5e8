//! The writer: one append at a time, durable before it returns.

use std::io::ErrorKind;
use std::sync::Arc;

use axiom_hive_core::record::{Body, Commitment, ConstitutionRef, Payload, Receipt, Record, Slot};
use axiom_hive_core::tlog::{SigningKey, leaf_hash};

use super::crash::{CrashPoint, reach, reach_after};
use super::error::{LedgerError, Problem, Problems};
use super::frame::{
    MAX_PAYLOAD_SECTION_BYTES, MAX_PAYLOADS, SIGNATURE_BYTES, encode_frame, encode_payloads,
    payload_bytes,
};
use super::head::{Head, Slots};
use super::keys::KeyStore;
use super::log::{FrameParts, OpenIntent, Place, SEGMENT_BYTES, Segment};
use super::open::new_segment;
use super::reader::LedgerReader;
use super::storage::Lock;
use super::tiles;

/// The one writer of a ledger. Dropping it releases the lock.
#[derive(Debug)]
pub struct Ledger {
    pub(super) view: LedgerReader,
    pub(super) keys: KeyStore,
    pub(super) heads: Slots,
    pub(super) pin: Slots,
    pub(super) state: State,
    pub(super) repaired: Vec<Problem>,
    pub(super) _locks: Vec<Lock>,
}

/// What the writer may do.
#[derive(Debug)]
pub(super) enum State {
    /// Append, with this key.
    Writable(Arc<SigningKey>),
    /// Nothing: a check failed on open.
    ReadOnly(Vec<Problem>),
    /// Nothing: the disk is full.
    Full,
    /// Nothing: a sync, or a write after one, failed.
    Poisoned(String),
}

/// What an append gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The record's number.
    pub index: u64,
    /// The record that fills the slot: the caller's own, or with `existing` the stored one.
    pub record: Record,
    /// Its record, inclusion proof and signed checkpoint.
    pub receipt: Receipt,
    /// Whether the slot was already filled. The caller then discards its own record and text.
    pub existing: bool,
}

impl Ledger {
    /// Everything that can be read.
    #[must_use]
    pub fn view(&self) -> &LedgerReader {
        &self.view
    }

    /// Why nothing may be appended; empty for a ledger in order.
    #[must_use]
    pub fn read_only(&self) -> &[Problem] {
        match &self.state {
            State::ReadOnly(reasons) => reasons,
            _ => &[],
        }
    }

    /// What opening put right: a tail cut off, a torn head written anew.
    #[must_use]
    pub fn repaired(&self) -> &[Problem] {
        &self.repaired
    }

    /// The record that fills `slot`, by index.
    #[must_use]
    pub fn find(&self, slot: &Slot) -> Option<u64> {
        self.view.find(slot)
    }

    /// A record.
    pub fn record(&self, index: u64) -> Result<Record, LedgerError> {
        self.view.record(index)
    }

    /// The payload with this address; `None` when it was never kept, or is erased.
    pub fn payload(&self, commitment: &Commitment) -> Result<Option<Payload>, LedgerError> {
        self.view.payload(commitment)
    }

    /// Tasks with an intent and without a terminal record.
    #[must_use]
    pub fn open_intents(&self) -> Vec<OpenIntent> {
        self.view.open_intents()
    }

    /// Appends a record with its payloads: durable, signed and proven when this returns.
    ///
    /// Where the record's slot is filled, nothing is appended: the stored record comes back with
    /// `existing: true`. Every payload must be one of the record's commitments; a commitment
    /// without a payload is one that is not kept, or that an earlier record holds. At most 80
    /// payloads of together 40 MiB.
    pub fn append(
        &mut self,
        record: &Record,
        payloads: &[Payload],
    ) -> Result<Appended, LedgerError> {
        let key = match &self.state {
            State::Writable(key) => Arc::clone(key),
            State::ReadOnly(reasons) => {
                return Err(LedgerError::ReadOnly(Problems(reasons.clone())));
            }
            State::Full => return Err(LedgerError::DiskFull),
            State::Poisoned(why) => return Err(LedgerError::Poisoned(why.clone())),
        };
        let entry = record.to_canonical()?;
        if let Some(index) = record.slot().and_then(|slot| self.find(&slot)) {
            self.check_constitution(record)?;
            return self.appended(index, self.record(index)?, true);
        }
        check_payloads(record, payloads)?;
        self.check_constitution(record)?;
        self.rotate()?;
        let index = self.write(&key, &entry, record, payloads)?;
        reach(CrashPoint::BeforeReply);
        self.appended(index, record.clone(), false)
    }

    /// Records the first use of a constitution, or confirms that a recorded one is unchanged.
    ///
    /// `text` is the canonical constitution, kept as the payload of the record.
    pub fn ensure_constitution(
        &mut self,
        constitution: &ConstitutionRef,
        text: &Payload,
    ) -> Result<Appended, LedgerError> {
        let record = Record::new(Body::Constitution {
            constitution: constitution.clone(),
            text: text.commitment(),
        });
        self.append(&record, std::slice::from_ref(text))
    }

    fn appended(
        &self,
        index: u64,
        record: Record,
        existing: bool,
    ) -> Result<Appended, LedgerError> {
        Ok(Appended {
            index,
            record,
            receipt: self.view.receipt(index)?,
            existing,
        })
    }

    /// A (name, version) has one content for ever, and is recorded before a task uses it.
    fn check_constitution(&self, record: &Record) -> Result<(), LedgerError> {
        let used = match &record.body {
            Body::Constitution { constitution, .. } | Body::Intent { constitution, .. } => {
                Some(constitution)
            }
            _ => record
                .outcome()
                .map(|outcome| &outcome.decided.constitution),
        };
        let Some(used) = used else {
            return Ok(());
        };
        let (name, version) = (used.name.clone(), used.version.clone());
        let slot = Slot::Constitution {
            name: name.clone(),
            version: version.clone(),
        };
        let Some(index) = self.find(&slot) else {
            return match record.body {
                Body::Constitution { .. } => Ok(()),
                _ => Err(LedgerError::ConstitutionUnknown { name, version }),
            };
        };
        match self.record(index)?.body {
            Body::Constitution { constitution, .. } if constitution.digest != used.digest => {
                Err(LedgerError::ConstitutionChanged {
                    name,
                    version,
                    recorded: constitution.digest,
                    index,
                    now: used.digest,
                })
            }
            _ => Ok(()),
        }
    }

    /// Begins a new segment when the last one is long enough.
    fn rotate(&mut self) -> Result<(), LedgerError> {
        let log = &mut self.view.log;
        if log
            .segments
            .last()
            .is_some_and(|last| last.length < SEGMENT_BYTES)
        {
            return Ok(());
        }
        let vkey = log.key.to_string();
        let (path, header, length) = new_segment(&*self.view.storage, log.size(), &vkey)?;
        reach(CrashPoint::Rotated);
        log.segments.push(Segment {
            path,
            salt: header.salt,
            length,
        });
        Ok(())
    }

    /// Signs, writes and syncs one frame, then releases its head.
    fn write(
        &mut self,
        key: &SigningKey,
        entry: &[u8],
        record: &Record,
        payloads: &[Payload],
    ) -> Result<u64, LedgerError> {
        let index = self.view.size();
        self.view.log.tree.push(leaf_hash(entry));
        let root = self.view.log.tree.root();
        self.view.log.tree.truncate(index);
        let head = Head::sign(index + 1, root, key).ok_or(LedgerError::TooLarge {
            must: "an index below 2^63 - 1",
        })?;
        reach(CrashPoint::Signed);
        let number = self.view.log.segments.len() - 1;
        let segment = self.view.log.segments[number].clone();
        let section = encode_payloads(payloads);
        let frame = encode_frame(segment.salt, index, entry, &section, Some(&head.signature));
        self.write_frame(&segment, &frame)?;
        let place = Place {
            segment: number as u32,
            length: frame.len() as u32,
            offset: segment.length,
        };
        self.view.log.segments[number].length += frame.len() as u64;
        self.take_in(place, entry, record, payloads, head.signature);
        self.release(head)?;
        Ok(index)
    }

    /// Writes the frame at the end of the segment and makes it durable.
    fn write_frame(&mut self, segment: &Segment, frame: &[u8]) -> Result<(), LedgerError> {
        let storage = &self.view.storage;
        reach_after(CrashPoint::HalfFrame, || {
            let half = &frame[..frame.len() / 2];
            let _ = storage.write_at(&segment.path, segment.length, half);
        });
        if let Err(error) = storage.write_at(&segment.path, segment.length, frame) {
            // Half a frame is cut by the next open where it cannot be cut here.
            let cut = storage.truncate(&segment.path, segment.length);
            let is_full = matches!(
                error.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
            );
            if is_full && cut.is_ok() {
                self.state = State::Full;
                return Err(LedgerError::DiskFull);
            }
            return Err(self.poison(&error));
        }
        reach(CrashPoint::Written);
        if let Err(error) = self.view.storage.sync(&segment.path) {
            // Never synced again: the kernel may have dropped the pages and call them clean.
            return Err(self.poison(&error));
        }
        reach(CrashPoint::Synced);
        Ok(())
    }

    fn take_in(
        &mut self,
        place: Place,
        entry: &[u8],
        record: &Record,
        payloads: &[Payload],
        signature: [u8; SIGNATURE_BYTES],
    ) {
        let commitments: Vec<Commitment> = payloads.iter().map(Payload::commitment).collect();
        let parts = FrameParts {
            record: entry,
            commitments: &commitments,
            signature: Some(signature),
        };
        self.view.log.push(place, record, &parts);
    }

    /// From here on the tree is released: head and pin first, then derived tiles.
    fn release(&mut self, head: Head) -> Result<(), LedgerError> {
        if let Err(error) = self.heads.write(&*self.view.storage, head) {
            return Err(self.poison(&error));
        }
        reach(CrashPoint::HeadWritten);
        if let Err(error) = self.pin.write(&*self.keys.storage, head) {
            return Err(self.poison(&error));
        }
        reach(CrashPoint::Pinned);
        // Derived data: what cannot be written now is written by the next open.
        if let Err(error) = tiles::write_completed(&self.view) {
            tracing::warn!(%error, "a full tile could not be written");
        }
        Ok(())
    }

    fn poison(&mut self, error: &std::io::Error) -> LedgerError {
        self.state = State::Poisoned(error.to_string());
        LedgerError::Poisoned(error.to_string())
    }
}

/// Numbers, sizes, and that the record commits to each.
fn check_payloads(record: &Record, payloads: &[Payload]) -> Result<(), LedgerError> {
    if payloads.len() > MAX_PAYLOADS {
        return Err(LedgerError::TooLarge {
            must: "at most 80 payloads",
        });
    }
    let fits =
        |payload: &Payload| payload.bytes.len() <= axiom_hive_core::record::MAX_PAYLOAD_BYTES;
    if !payloads.iter().all(fits) {
        return Err(LedgerError::TooLarge {
            must: "payloads of at most 4 MiB each",
        });
    }
    if payloads.iter().map(payload_bytes).sum::<usize>() > MAX_PAYLOAD_SECTION_BYTES {
        return Err(LedgerError::TooLarge {
            must: "payloads of at most 40 MiB together",
        });
    }
    let claimed = record.commitments();
    let stray = payloads
        .iter()
        .find(|payload| !claimed.contains(&payload.commitment()));
    match stray {
        None => Ok(()),
        Some(payload) => Err(LedgerError::Unclaimed {
            label: payload.label.to_string(),
            commitment: payload.commitment(),
        }),
    }
}
