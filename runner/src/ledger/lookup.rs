//! Finding records by slot, payload or task, in memory and in the indexes.
//!
//! What an index gives is a hint: the record itself says whether it is the right one. A block of an index that
//! does not match its checksum is not believed either way: its segment is read again, and kept in memory.

use std::sync::Arc;

use axiom_hive_core::record::{Commitment, Record};

use super::error::{LedgerError, Problem, Problems, io_error};
use super::frame::{Frame, MAX_SEGMENT_HEADER_BYTES};
use super::index::{BLOCK_BYTES, Kind, Summary, key_of};
use super::indexes::index_path;
use super::known::{Known, Part};
use super::log::{Log, OpenIntent, Place, open_segment, read_frames, read_header};
use super::reader::LedgerReader;
use super::section::decode_payloads;
use super::tree::Tree;

impl LedgerReader {
    /// The record that fills a slot.
    pub(super) fn find_slot(&self, slot: &str) -> Result<Option<u64>, LedgerError> {
        let in_memory = |known: &Known| known.slots.get(slot).copied().into_iter().collect();
        let fills = |frame: &Frame<'_>| {
            let record = Record::from_canonical(frame.record).ok();
            record
                .and_then(|r| r.slot())
                .is_some_and(|s| s.to_string() == slot)
        };
        let found = self.look_up(Kind::Slot, slot.as_bytes(), in_memory, fills)?;
        Ok(found.first().copied())
    }

    /// The first record whose frame holds a payload.
    pub(super) fn find_payload(&self, commitment: &Commitment) -> Result<Option<u64>, LedgerError> {
        let in_memory = |known: &Known| {
            known
                .payloads
                .get(commitment)
                .copied()
                .into_iter()
                .collect()
        };
        let holds = |frame: &Frame<'_>| {
            let stored = decode_payloads(frame.payloads).unwrap_or_default();
            stored.iter().any(|p| p.commitment == *commitment)
        };
        let found = self.look_up(Kind::Payload, &commitment.0, in_memory, holds)?;
        Ok(found.first().copied())
    }

    /// The records of a task.
    pub(super) fn find_task(&self, uid: &str) -> Result<Vec<u64>, LedgerError> {
        let in_memory = |known: &Known| {
            let task = known.tasks.get(uid);
            task.map_or_else(Vec::new, |task| task.records.clone())
        };
        let belongs = |frame: &Frame<'_>| {
            let record = Record::from_canonical(frame.record).ok();
            record.is_some_and(|r| r.task().is_some_and(|task| task.uid == uid))
        };
        self.look_up(Kind::Task, uid.as_bytes(), in_memory, belongs)
    }

    /// The records of which `in_memory` or an index speaks, ascending; `is_it` judges a record that an index
    /// names.
    fn look_up(
        &self,
        kind: Kind,
        text: &[u8],
        in_memory: impl Fn(&Known) -> Vec<u64>,
        is_it: impl Fn(&Frame<'_>) -> bool,
    ) -> Result<Vec<u64>, LedgerError> {
        let mut found = Vec::new();
        let mut indexed: Vec<(usize, Arc<Summary>)> = Vec::new();
        let mut key = None;
        let log = self.log();
        for (number, part) in log.parts.iter().enumerate() {
            match part {
                Part::Read(known) => found.extend(in_memory(known)),
                Part::Indexed(summary) => {
                    let key = *key.get_or_insert_with(|| key_of(kind, text));
                    if summary.key_blocks(key).next().is_some() {
                        indexed.push((number, Arc::clone(summary)));
                    }
                }
            }
        }
        // Before the disk is read.
        drop(log);
        for (number, summary) in indexed {
            let Some(hints) = self.hints(&summary, key.unwrap_or_default())? else {
                found.extend(in_memory(&*self.reload(number, &summary)?));
                continue;
            };
            for index in hints {
                if self.with_frame(index, |frame| Ok(is_it(frame)))? {
                    found.push(index);
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The records that an index gives for a key; `None` when a block is damaged.
    fn hints(&self, summary: &Summary, key: u64) -> Result<Option<Vec<u64>>, LedgerError> {
        let mut hints = Vec::new();
        for (at, number) in summary.key_blocks(key) {
            let block = self.index_block(summary, at)?;
            match block.map(|block| summary.records(key, number, &block)) {
                Some(Ok(records)) => hints.extend(records),
                _ => return Ok(None),
            }
        }
        Ok(Some(hints))
    }

    /// A block of an index; `None` where the file is gone or ends before.
    fn index_block(&self, summary: &Summary, at: u64) -> Result<Option<Vec<u8>>, LedgerError> {
        let path = index_path(summary.first);
        match self.storage.read_at(&path, at, BLOCK_BYTES) {
            Ok(block) => Ok(Some(block)),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::UnexpectedEof
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(io_error(format!("read {path}"))(error)),
        }
    }

    /// Where the frame of a record of segment `number` lies, by its index.
    pub(super) fn indexed_place(
        &self,
        number: usize,
        summary: &Summary,
        index: u64,
    ) -> Result<Place, LedgerError> {
        let record = index - summary.first;
        let (at, _) = summary.place_block(record);
        let block = self.index_block(summary, at)?;
        if let Some(Ok((offset, length))) = block.map(|block| summary.place(record, &block)) {
            return Ok(Place {
                segment: number as u32,
                length,
                offset: offset.into(),
            });
        }
        let known = self.reload(number, summary)?;
        let place = known.places.get(record as usize).copied();
        place.ok_or(LedgerError::NoRecord {
            index,
            size: summary.first + summary.count,
        })
    }

    /// Reads the segment of a damaged index again. From now on it is known from memory.
    fn reload(&self, number: usize, summary: &Summary) -> Result<Arc<Known>, LedgerError> {
        let log = self.log();
        if let Some(Part::Read(known)) = log.parts.get(number) {
            return Ok(Arc::clone(known));
        }
        let path = log.segments[number].path.to_string();
        drop(log);
        tracing::error!(segment = %path, "its index is damaged: the segment is read again");
        let known = Arc::new(read_segment(self, &path, number, summary)?);
        if let Some(part) = self.log_mut().parts.get_mut(number) {
            *part = Part::Read(Arc::clone(&known));
        }
        Ok(known)
    }

    /// Tasks that were begun and have no terminal record, in the order of their last intents.
    pub(super) fn find_open(&self) -> Result<Vec<OpenIntent>, LedgerError> {
        let parts = self.log().parts.clone();
        let mut open = Vec::new();
        for part in &parts {
            open = match part {
                Part::Indexed(summary) => summary.open.clone(),
                Part::Read(known) => self.open_after(open, known)?,
            };
        }
        Ok(open)
    }

    /// The tasks that are open after a segment, where `before` were open before it.
    pub(super) fn open_after(
        &self,
        before: Vec<OpenIntent>,
        known: &Known,
    ) -> Result<Vec<OpenIntent>, LedgerError> {
        let touched = |open: &OpenIntent| known.tasks.get(&open.task.uid);
        let mut open: Vec<OpenIntent> = Vec::new();
        for (uid, task) in known.tasks.iter().filter(|(_, task)| !task.is_ended) {
            let Some((index, task)) = task.intents.last() else {
                continue;
            };
            if !self.had_ended(uid, known.first)? {
                open.push(OpenIntent {
                    task: task.clone(),
                    index: *index,
                });
            }
        }
        open.extend(before.into_iter().filter(|open| {
            touched(open).is_none_or(|task| !task.is_ended && task.intents.is_empty())
        }));
        open.sort_by_key(|open| open.index);
        Ok(open)
    }

    /// Whether a task has a terminal record before record `end`.
    fn had_ended(&self, uid: &str, end: u64) -> Result<bool, LedgerError> {
        let slot = axiom_hive_core::record::Slot::Terminal {
            uid: uid.to_owned(),
        };
        let found = self.find_slot(&slot.to_string())?;
        Ok(found.is_some_and(|index| index < end))
    }
}

/// What is known of one finished segment, from the segment itself.
fn read_segment(
    ledger: &LedgerReader,
    path: &str,
    number: usize,
    summary: &Summary,
) -> Result<Known, LedgerError> {
    let bytes = ledger.storage.read(path);
    let bytes = bytes.map_err(io_error(format!("read {path}")))?;
    let bytes = bytes.unwrap_or_default();
    let damaged = |problem| LedgerError::Damaged(Problems(vec![problem]));
    let before = Log::after(
        ledger.verifying_key().clone(),
        Tree::default(),
        summary.first,
    );
    let mut log = open_segment(Some(before), path, &bytes).map_err(damaged)?;
    if let Some(damage) = read_frames(&mut log, &bytes, &mut None) {
        return Err(damaged(damage.problem));
    }
    let Some(Part::Read(known)) = log.parts.pop() else {
        return Err(damaged(Problem::of_file(path, "the segment is empty")));
    };
    if known.places.len() as u64 != summary.count {
        let what = "the segment has not the records that it had";
        return Err(damaged(Problem::of_file(path, what)));
    }
    let mut known = Arc::unwrap_or_clone(known);
    for place in &mut known.places {
        place.segment = number as u32;
    }
    Ok(known)
}

/// The header of a segment of a log of `key` that begins with record `first`: its salt, the key that it names,
/// and the segment's length.
pub(super) fn peek_segment(
    storage: &dyn super::storage::Storage,
    path: &str,
    key: Option<&axiom_hive_core::tlog::VerifyingKey>,
    first: u64,
) -> Result<([u8; 8], axiom_hive_core::tlog::VerifyingKey, u64), LedgerError> {
    let read = io_error(format!("read {path}"));
    let length = storage.length(path);
    let length = length
        .map_err(io_error(format!("read {path}")))?
        .unwrap_or(0);
    let bytes = length.min(MAX_SEGMENT_HEADER_BYTES as u64) as usize;
    let bytes = storage.read_at(path, 0, bytes).map_err(read)?;
    let (salt, key, _) = read_header(path, &bytes, key, first)
        .map_err(|problem| LedgerError::Damaged(Problems(vec![problem])))?;
    Ok((salt, key, length))
}
