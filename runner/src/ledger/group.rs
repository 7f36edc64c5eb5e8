//! What is written and synced together: entries that stood every check, and what becomes of each.

use std::collections::HashMap;

use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{
    Body, Commitment, ConstitutionRef, MAX_PAYLOAD_BYTES, Payload, Record, Slot,
};
use axiom_hive_core::tlog::{Hash, leaf_hash};

use super::error::LedgerError;
use super::frame::{FrameContent, MAX_GROUP_FRAMES, SIGNATURE_BYTES, frame_bytes, push_frame};
use super::section::{MAX_PAYLOAD_SECTION_BYTES, MAX_PAYLOADS, encode_payloads, payload_bytes};

/// A group is closed before it becomes longer than this, in bytes; one frame may be: 8 MiB.
pub(super) const MAX_GROUP_BYTES: usize = 8 * 1024 * 1024;

/// An entry with all that can be computed without the ledger.
#[derive(Debug)]
pub(super) struct Prepared {
    pub record: Record,
    /// The record's canonical bytes: the entry of the tree.
    pub entry: Vec<u8>,
    pub leaf: Hash,
    /// The text of the record's slot.
    pub slot: Option<String>,
    /// The frame's payload section, and whose it is.
    pub section: Vec<u8>,
    pub commitments: Vec<Commitment>,
}

impl Prepared {
    /// Checks and encodes a record with its payloads.
    pub(super) fn new(record: Record, payloads: &[Payload]) -> Result<Self, LedgerError> {
        let entry = record.to_canonical()?;
        check_limits(payloads)?;
        let (section, commitments) = encode_payloads(payloads);
        check_claimed(&record, payloads, &commitments)?;
        Ok(Self {
            leaf: leaf_hash(&entry),
            slot: record.slot().map(|slot| slot.to_string()),
            record,
            entry,
            section,
            commitments,
        })
    }

    /// Bytes of its frame, when it is the last of its group.
    pub(super) fn frame_bytes(&self) -> usize {
        frame_bytes(self.entry.len(), self.section.len(), true)
    }
}

/// Numbers and sizes.
fn check_limits(payloads: &[Payload]) -> Result<(), LedgerError> {
    let too_large = |must| Err(LedgerError::TooLarge { must });
    if payloads.len() > MAX_PAYLOADS {
        return too_large("at most 80 payloads");
    }
    if payloads.iter().any(|p| p.bytes.len() > MAX_PAYLOAD_BYTES) {
        return too_large("payloads of at most 4 MiB each");
    }
    if payloads.iter().map(payload_bytes).sum::<usize>() > MAX_PAYLOAD_SECTION_BYTES {
        return too_large("payloads of at most 40 MiB together");
    }
    Ok(())
}

/// The record must commit to each payload.
fn check_claimed(
    record: &Record,
    payloads: &[Payload],
    commitments: &[Commitment],
) -> Result<(), LedgerError> {
    if payloads.is_empty() {
        return Ok(());
    }
    let claimed = record.commitments();
    let mut both = payloads.iter().zip(commitments);
    match both.find(|(_, commitment)| !claimed.contains(commitment)) {
        None => Ok(()),
        Some((payload, commitment)) => Err(LedgerError::Unclaimed {
            label: payload.label.to_string(),
            commitment: *commitment,
        }),
    }
}

/// What becomes of one entry of a group.
#[derive(Debug)]
pub(super) enum Fate {
    /// It cannot be appended.
    Refused(LedgerError),
    /// It is the next frame of the group.
    New,
    /// Its slot is filled by the record with this index, in the log or earlier in the group.
    Existing(u64),
}

/// The entries that the next sync makes durable.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The index of the first.
    pub first: u64,
    pub frames: Vec<Prepared>,
    bytes: usize,
    /// By slot: the number in the group.
    slots: HashMap<String, usize>,
}

impl Group {
    pub(super) fn new(first: u64) -> Self {
        Self {
            first,
            ..Self::default()
        }
    }

    /// Whether one more frame of this length still belongs to the group.
    pub(super) fn has_room(&self, frame_bytes: usize) -> bool {
        self.frames.is_empty()
            || (self.frames.len() < MAX_GROUP_FRAMES && self.bytes + frame_bytes <= MAX_GROUP_BYTES)
    }

    /// The index of the frame of this group that fills `slot`.
    pub(super) fn find(&self, slot: &str) -> Option<u64> {
        let number = self.slots.get(slot)?;
        Some(self.first + *number as u64)
    }

    /// The frame of this group with that index.
    pub(super) fn frame(&self, index: u64) -> Option<&Prepared> {
        let number = index.checked_sub(self.first)?;
        self.frames.get(usize::try_from(number).ok()?)
    }

    /// Takes in an entry whose slot is free.
    pub(super) fn push(&mut self, entry: Prepared) -> Fate {
        let number = self.frames.len();
        self.bytes += entry.frame_bytes();
        if let Some(slot) = &entry.slot {
            self.slots.insert(slot.clone(), number);
        }
        self.frames.push(entry);
        Fate::New
    }

    /// The group's bytes in a segment with this salt, and the length of each frame. The last frame
    /// carries the signature of the tree that ends with the group.
    pub(super) fn encode(
        &self,
        salt: [u8; 8],
        signature: &[u8; SIGNATURE_BYTES],
    ) -> (Vec<u8>, Vec<u32>) {
        let mut bytes = Vec::with_capacity(self.bytes);
        let mut lengths = Vec::with_capacity(self.frames.len());
        for (number, frame) in self.frames.iter().enumerate() {
            let start = bytes.len();
            let is_last = number + 1 == self.frames.len();
            let content = FrameContent {
                index: self.first + number as u64,
                position: number as u32,
                record: &frame.entry,
                payloads: &frame.section,
                signature: is_last.then_some(signature),
            };
            push_frame(&mut bytes, salt, &content);
            lengths.push((bytes.len() - start) as u32);
        }
        (bytes, lengths)
    }
}

/// The constitution that `record` is made under, or records.
pub(super) fn constitution_of(record: &Record) -> Option<&ConstitutionRef> {
    match &record.body {
        Body::Constitution { constitution, .. } | Body::Intent { constitution, .. } => {
            Some(constitution)
        }
        _ => record
            .outcome()
            .map(|outcome| &outcome.decided.constitution),
    }
}

/// The text of the slot that `constitution` fills.
pub(super) fn constitution_slot(constitution: &ConstitutionRef) -> String {
    let slot = Slot::Constitution {
        name: constitution.name.clone(),
        version: constitution.version.clone(),
    };
    slot.to_string()
}

/// A (name, version) has one content for ever, and is recorded before a task uses it. `recorded`
/// is where and with which digest.
pub(super) fn check_constitution(
    record: &Record,
    used: &ConstitutionRef,
    recorded: Option<(u64, Digest)>,
) -> Result<(), LedgerError> {
    let (name, version) = (used.name.clone(), used.version.clone());
    match recorded {
        None if matches!(record.body, Body::Constitution { .. }) => Ok(()),
        None => Err(LedgerError::ConstitutionUnknown { name, version }),
        Some((_, digest)) if digest == used.digest => Ok(()),
        Some((index, recorded)) => Err(LedgerError::ConstitutionChanged {
            name,
            version,
            recorded,
            index,
            now: used.digest,
        }),
    }
}
