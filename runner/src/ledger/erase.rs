//! Erasing: the bytes of payloads go, records and every proof stay.
//!
//! First an `erasure` record is appended, durable like any other. Then each segment that holds one of
//! the payloads is written anew with zeros in their place, beside the old one, synced, and renamed over
//! it. So at no moment is a payload gone without a word, and no crash leaves half a payload or a frame
//! that does not match its checksum. A crash between the two steps leaves an erasure that is recorded
//! and not carried out: the next opening, or the next erasure, carries it out.

use std::collections::BTreeSet;

use axiom_hive_core::record::{Body, Commitment, Record};
use axiom_hive_core::supervisor::Entry;

use super::engine::Ledger;
use super::error::{LedgerError, io_error};
use super::frame::{MAX_GROUP_FRAMES, erase_payloads};
use super::hold::Holds;
use super::reader::LedgerReader;
use super::seal;

/// What an erasure did to one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// The record whose payloads are gone.
    pub index: u64,
    /// The erasure that lists them; `None` when none were left.
    pub erasure: Option<u64>,
    /// Payloads that this erasure took.
    pub payloads: usize,
}

impl Ledger {
    /// Erases the payloads, with their salts, that the frames of these records hold. Each record gets
    /// one `erasure` record; what is erased already gets none. Refuses the records of constitutions and
    /// of tasks on hold, before anything is done.
    ///
    /// When this returns, no file of the ledger holds the payloads any more. What it cannot reach are
    /// exports, backups, and the free blocks of the disk.
    pub fn erase(&mut self, indices: &[u64], at_unix_ms: u64) -> Result<Vec<Erased>, LedgerError> {
        self.writable()?;
        let holds = Holds::read(&*self.view.storage)?;
        let mut all = Vec::new();
        for index in indices.iter().copied().collect::<BTreeSet<u64>>() {
            let record = self.view.record(index)?;
            if matches!(record.body, Body::Constitution { .. }) {
                return Err(LedgerError::Constitution(index));
            }
            holds.check(&record)?;
            all.push((index, self.view.kept(index)?));
        }
        // Group by group: a receipt of each in memory would be much for a year of tasks.
        let recorded = all.chunks(MAX_GROUP_FRAMES);
        let recorded = recorded.map(|group| self.record_erasures(group, at_unix_ms));
        let recorded = recorded.collect::<Result<Vec<_>, LedgerError>>();
        // Where some could not be recorded, those that were are carried out all the same.
        let carried_out = carry_out(&self.view);
        let recorded = recorded?;
        carried_out.map_err(|error| LedgerError::NotErased(Box::new(error)))?;
        seal::publish(&self.view)?;
        Ok(recorded.concat())
    }

    /// Appends an `erasure` record for each of these records that still holds payloads.
    fn record_erasures(
        &mut self,
        group: &[(u64, Vec<Commitment>)],
        at_unix_ms: u64,
    ) -> Result<Vec<Erased>, LedgerError> {
        let full = group.iter().filter(|(_, kept)| !kept.is_empty());
        let entries: Vec<Entry> = full
            .map(|(index, kept)| erasure(*index, kept.clone(), at_unix_ms))
            .collect();
        let mut replies = self.append_group(&entries).into_iter();
        let erased = group.iter().map(|(index, kept)| {
            let appended = if kept.is_empty() {
                None
            } else {
                replies.next()
            };
            Ok(Erased {
                index: *index,
                erasure: appended.transpose()?.map(|appended| appended.index),
                payloads: kept.len(),
            })
        });
        erased.collect()
    }
}

fn erasure(erased_index: u64, commitments: Vec<Commitment>, at_unix_ms: u64) -> Entry {
    Entry {
        record: Record::new(Body::Erasure {
            erased_index,
            commitments,
            at_unix_ms,
        }),
        payloads: Vec::new(),
    }
}

/// Erases what erasures in the log list and is still there.
pub(super) fn carry_out(view: &LedgerReader) -> Result<(), LedgerError> {
    forget_gone(view)?;
    let unerased = view.log().unerased().clone();
    let mut indices = unerased.keys().copied().peekable();
    while let Some(first) = indices.peek() {
        let number = view.place(*first)?.segment;
        let segment = view.log().segments[number as usize].clone();
        let path = &*segment.path;
        let read = view.storage.read_at(path, 0, segment.length as usize);
        let mut bytes = read.map_err(io_error(format!("read {path}")))?;
        let mut gone = 0;
        while let Some(index) = indices.peek().copied() {
            let place = view.place(index)?;
            if place.segment != number {
                break;
            }
            let frame = &mut bytes[place.offset as usize..][..place.length as usize];
            let erased = erase_payloads(segment.salt, frame, &unerased[&index]);
            gone += erased.map_err(|what| view.damaged(place, index, what))?;
            indices.next();
        }
        if gone > 0 {
            let replaced = view.storage.replace(path, &bytes, true);
            replaced.map_err(io_error(format!("write {path}")))?;
        }
    }
    view.log_mut().set_erased();
    Ok(())
}

/// Of what erasures list in segments that are known by their index, some may be gone long since, or never have
/// been there: the frames tell.
pub(super) fn forget_gone(view: &LedgerReader) -> Result<(), LedgerError> {
    let unerased = view.log().unerased().clone();
    for (index, mut listed) in unerased {
        let kept = view.kept(index)?;
        listed.retain(|commitment| !kept.contains(commitment));
        view.log_mut().set_gone(index, &listed);
    }
    Ok(())
}
