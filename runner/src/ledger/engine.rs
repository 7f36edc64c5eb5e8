//! The writer: one group of appends at a time, durable before it returns.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;

use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{
    Body, Commitment, ConstitutionRef, Payload, Receipt, Record, Slot, TaskRef,
};
use axiom_hive_core::supervisor::Entry;
use axiom_hive_core::tlog::SigningKey;

use super::crash::{CrashPoint, reach, reach_after};
use super::error::{LedgerError, Problem, Problems};
use super::group::{Fate, Group, Prepared, check_constitution, constitution_of, constitution_slot};
use super::head::{Head, SignedHead, Slots};
use super::keys::KeyStore;
use super::log::{OpenIntent, Place, Segment};
use super::open::new_segment;
use super::reader::LedgerReader;
use super::storage::Lock;
use super::tiles;

/// How many constitutions are remembered between appends.
const MAX_KNOWN_CONSTITUTIONS: usize = 256;

/// The one writer of a ledger. Dropping it releases the lock.
#[derive(Debug)]
pub struct Ledger {
    pub(super) view: LedgerReader,
    pub(super) keys: KeyStore,
    pub(super) heads: Slots,
    pub(super) pin: Slots,
    pub(super) state: State,
    pub(super) repaired: Vec<Problem>,
    /// Entries up to which every full tile is written.
    pub(super) derived: u64,
    /// A segment of this length gets a successor.
    pub(super) segment_bytes: u64,
    /// By slot: where lately used constitutions are recorded, and their digests.
    pub(super) constitutions: HashMap<String, (u64, Digest)>,
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

/// An append that is durable, or was before, and lacks only its receipt.
#[derive(Debug)]
pub(super) struct Settled {
    pub index: u64,
    /// The head that the receipt is under.
    pub signed: Arc<SignedHead>,
    /// The record and its canonical bytes; `None` when the slot was filled before.
    pub own: Option<(Record, Vec<u8>)>,
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

    /// Whether something may be appended; else why not.
    pub fn writable(&self) -> Result<(), LedgerError> {
        match &self.state {
            State::Writable(_) => Ok(()),
            _ => Err(self.refusal()),
        }
    }

    /// What opening put right: a tail cut off, a torn head written anew.
    #[must_use]
    pub fn repaired(&self) -> &[Problem] {
        &self.repaired
    }

    /// The record that fills `slot`, by index.
    pub fn find(&self, slot: &Slot) -> Result<Option<u64>, LedgerError> {
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

    /// From now on a segment that has reached `bytes` gets a successor; 64 MiB where nothing is set.
    pub fn set_segment_bytes(&mut self, bytes: u64) {
        self.segment_bytes = bytes;
    }

    /// Tasks with an intent and without a terminal record.
    pub fn open_intents(&self) -> Result<Vec<OpenIntent>, LedgerError> {
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
        let prepared = Prepared::new(record.clone(), payloads);
        let replies = self.append_prepared([prepared]);
        let reply = replies.into_iter().next();
        reply.unwrap_or_else(|| Err(self.refusal()))
    }

    /// Appends several, in this order, with one write, one sync and one signature for each group of
    /// at most 4096 entries and 8 MiB.
    ///
    /// Each entry succeeds or fails on its own, as with [`Ledger::append`]; only what goes wrong
    /// with the disk befalls its whole group. All receipts of a group are under one checkpoint.
    pub fn append_group(&mut self, entries: &[Entry]) -> Vec<Result<Appended, LedgerError>> {
        let prepare = |entry: &Entry| Prepared::new(entry.record.clone(), &entry.payloads);
        self.append_prepared(entries.iter().map(prepare))
    }

    fn append_prepared(
        &mut self,
        entries: impl IntoIterator<Item = Result<Prepared, LedgerError>>,
    ) -> Vec<Result<Appended, LedgerError>> {
        let settled = self.settle(entries);
        match tiles::write_new(&self.view, self.derived) {
            Ok(size) => self.derived = size,
            // Derived data: it is tried again after the next append, and on the next open.
            Err(error) => tracing::warn!(%error, "a full tile could not be written"),
        }
        reach(CrashPoint::BeforeReply);
        let replies = settled.into_iter();
        let replies = replies.map(|settled| settled.and_then(|s| self.view.appended(s)));
        replies.collect()
    }

    /// Makes entries durable, without their receipts: group by group, each with one sync.
    pub(super) fn settle(
        &mut self,
        entries: impl IntoIterator<Item = Result<Prepared, LedgerError>>,
    ) -> Vec<Result<Settled, LedgerError>> {
        let mut settled = Vec::new();
        let mut fates = Vec::new();
        let mut group = Group::new(self.view.size());
        for entry in entries {
            let length = entry.as_ref().map_or(0, Prepared::frame_bytes);
            if !group.has_room(length) {
                settled.extend(self.commit(group, std::mem::take(&mut fates)));
                group = Group::new(self.view.size());
            }
            let fate = entry.and_then(|entry| self.admit(&mut group, entry));
            fates.push(fate.unwrap_or_else(Fate::Refused));
        }
        settled.extend(self.commit(group, fates));
        settled
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

    /// Why nothing can be appended; meant for a ledger to which nothing can.
    fn refusal(&self) -> LedgerError {
        match &self.state {
            State::ReadOnly(reasons) => LedgerError::ReadOnly(Problems(reasons.clone())),
            State::Full => LedgerError::DiskFull,
            State::Poisoned(why) => LedgerError::Poisoned(why.clone()),
            State::Writable(_) => LedgerError::Poisoned("the append was given up".to_owned()),
        }
    }

    /// Checks an entry against the log and what the group holds already.
    fn admit(&mut self, group: &mut Group, entry: Prepared) -> Result<Fate, LedgerError> {
        self.writable()?;
        if let Some(used) = constitution_of(&entry.record) {
            let recorded = self.recorded_constitution(group, used)?;
            check_constitution(&entry.record, used, recorded)?;
        }
        if let Body::Deleted {
            task, ended_index, ..
        } = &entry.record.body
        {
            self.check_ended(group, task, *ended_index)?;
        }
        let filled = match &entry.slot {
            Some(slot) => self.view.find_slot(slot)?.or_else(|| group.find(slot)),
            None => None,
        };
        if let Some(index) = filled {
            return Ok(Fate::Existing(index));
        }
        self.check_seal(group, &entry.record)?;
        Ok(group.push(entry))
    }

    /// A deletion names the record that ended the task.
    fn check_ended(&self, group: &Group, task: &TaskRef, end: u64) -> Result<(), LedgerError> {
        let slot = Slot::Terminal {
            uid: task.uid.clone(),
        };
        let slot = slot.to_string();
        let filled = self.view.find_slot(&slot)?.or_else(|| group.find(&slot));
        let is_end = filled == Some(end)
            && match group.frame(end) {
                Some(frame) => frame.record.task() == Some(task),
                None => self.record(end)?.task() == Some(task),
            };
        if is_end {
            Ok(())
        } else {
            Err(LedgerError::NotEnded(task.uid.clone()))
        }
    }

    /// Where a constitution of this name and version is recorded, and its digest there.
    fn recorded_constitution(
        &mut self,
        group: &Group,
        used: &ConstitutionRef,
    ) -> Result<Option<(u64, Digest)>, LedgerError> {
        let slot = constitution_slot(used);
        if let Some(known) = self.constitutions.get(&slot) {
            return Ok(Some(*known));
        }
        let in_log = self.view.find_slot(&slot)?;
        let Some(index) = in_log.or_else(|| group.find(&slot)) else {
            return Ok(None);
        };
        let record = match group.frame(index) {
            Some(frame) => frame.record.clone(),
            None => self.record(index)?,
        };
        let Some(recorded) = constitution_of(&record) else {
            return Ok(None);
        };
        let known = (index, recorded.digest);
        // What the group holds may yet fail to be written.
        if in_log.is_some() {
            if self.constitutions.len() == MAX_KNOWN_CONSTITUTIONS {
                self.constitutions.clear();
            }
            self.constitutions.insert(slot, known);
        }
        Ok(Some(known))
    }

    /// Writes the group, and says of every entry in its order what became of it.
    fn commit(&mut self, group: Group, fates: Vec<Fate>) -> Vec<Result<Settled, LedgerError>> {
        let first = group.first;
        let written = if group.frames.is_empty() {
            Ok(())
        } else {
            self.write(&group)
        };
        let signed = self.view.log().head.clone();
        let settle = |index, own| {
            let signed = signed.clone().ok_or_else(|| self.refusal())?;
            Ok(Settled { index, signed, own })
        };
        let mut frames = (first..).zip(group.frames);
        let replies = fates.into_iter().map(|fate| match (fate, &written) {
            (Fate::Refused(error), _) => Err(error),
            (Fate::Existing(index), Err(_)) if index < first => settle(index, None),
            (_, Err(error)) => Err(error.shared()),
            (Fate::Existing(index), Ok(())) => settle(index, None),
            (Fate::New, Ok(())) => match frames.next() {
                Some((index, frame)) => settle(index, Some((frame.record, frame.entry))),
                None => Err(self.refusal()),
            },
        });
        replies.collect()
    }

    /// Begins a new segment when the last one is long enough; the one to write to.
    fn rotate(&mut self) -> Result<(usize, Segment), LedgerError> {
        let log = self.view.log();
        let number = log.segments.len() - 1;
        let last = log.segments[number].clone();
        let (size, vkey) = (log.size(), log.key.to_string());
        drop(log);
        if last.length < self.segment_bytes {
            return Ok((number, last));
        }
        let (path, header, length) = new_segment(&*self.view.storage, size, &vkey)?;
        reach(CrashPoint::Rotated);
        let segment = Segment {
            path: Arc::from(path),
            salt: header.salt,
            length,
        };
        self.view.log_mut().begin(segment.clone());
        Ok((number + 1, segment))
    }

    /// Signs, writes and syncs a group, then releases its head.
    fn write(&mut self, group: &Group) -> Result<(), LedgerError> {
        let State::Writable(key) = &self.state else {
            return Err(self.refusal());
        };
        let key = Arc::clone(key);
        let (number, segment) = self.rotate()?;
        let leaves = group.frames.iter().map(|frame| frame.leaf);
        let growth = self.view.log().tree.grow(leaves);
        let head = Head::sign(growth.size(), growth.root(), &key);
        let head = head.ok_or(LedgerError::TooLarge {
            must: "an index below 2^63 - 1",
        })?;
        reach(CrashPoint::Signed);
        let (bytes, lengths) = group.encode(segment.salt, &head.signature);
        self.write_frames(&segment, &bytes)?;
        self.release(head)?;
        // Only now does anybody see the group.
        let signed = Arc::new(SignedHead::new(head, key.verifying_key()));
        let places = places(number, segment.length, &lengths);
        let mut log = self.view.log_mut();
        log.tree.take(growth);
        for (frame, place) in group.frames.iter().zip(places) {
            log.push(place, &frame.record, &frame.commitments);
        }
        log.segments[number].length += bytes.len() as u64;
        log.head = Some(signed);
        Ok(())
    }

    /// Writes the frames at the end of the segment and makes them durable.
    fn write_frames(&mut self, segment: &Segment, frames: &[u8]) -> Result<(), LedgerError> {
        let storage = &self.view.storage;
        reach_after(CrashPoint::HalfFrame, || {
            let half = &frames[..frames.len() / 2];
            let _ = storage.write_at(&segment.path, segment.length, half);
        });
        if let Err(error) = storage.write_at(&segment.path, segment.length, frames) {
            // Half a group is cut by the next open where it cannot be cut here.
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

    /// Writes down that the tree is released: head and pin.
    fn release(&mut self, head: Head) -> Result<(), LedgerError> {
        if let Err(error) = self.heads.write(&*self.view.storage, head) {
            return Err(self.poison(&error));
        }
        reach(CrashPoint::HeadWritten);
        if let Err(error) = self.pin.write(&*self.keys.storage, head) {
            return Err(self.poison(&error));
        }
        reach(CrashPoint::Pinned);
        Ok(())
    }

    fn poison(&mut self, error: &std::io::Error) -> LedgerError {
        self.state = State::Poisoned(error.to_string());
        LedgerError::Poisoned(error.to_string())
    }
}

/// Where frames of these lengths lie, one after the other from `offset` on.
fn places(segment: usize, offset: u64, lengths: &[u32]) -> impl Iterator<Item = Place> {
    lengths.iter().scan(offset, move |offset, length| {
        let place = Place {
            segment: segment as u32,
            length: *length,
            offset: *offset,
        };
        *offset += u64::from(*length);
        Some(place)
    })
}
