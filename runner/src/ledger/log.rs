//! Reads the whole log once: where each record lies, the tree, the slots, and where the log ends.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use axiom_hive_core::record::{Body, Commitment, Record, TaskRef};
use axiom_hive_core::tlog::{Hash, VerifyingKey, leaf_hash};

use super::error::{LedgerError, Problem, Problems, io_error};
use super::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC, SIGNATURE_BYTES, SegmentHeader, decode_frame};
use super::head::{Head, SignedHead};
use super::section::decode_payloads;
use super::storage::Storage;
use super::tree::Tree;

/// The folder of the segments.
pub(super) const LOG_FOLDER: &str = "log";
/// A segment that has reached this length, in bytes, gets a successor where nothing else is set: 64 MiB.
pub(super) const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// One file of the log.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub path: Arc<str>,
    pub salt: [u8; 8],
    /// Header and intact frames, in bytes.
    pub length: u64,
}

/// Where one frame lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub segment: u32,
    pub length: u32,
    pub offset: u64,
}

/// What is known of one task.
#[derive(Debug, Clone, Default)]
struct Task {
    /// Of every kind, ascending.
    records: Vec<u64>,
    /// Index and attempt of its intents.
    intents: Vec<(u64, TaskRef)>,
    is_ended: bool,
}

/// A task that was started and has no terminal record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenIntent {
    /// Task and attempt of its last intent.
    pub task: TaskRef,
    /// The index of that intent.
    pub index: u64,
}

/// The log in memory: everything but records and payloads themselves.
#[derive(Debug, Clone)]
pub(super) struct Log {
    pub key: VerifyingKey,
    pub segments: Vec<Segment>,
    pub places: Vec<Place>,
    pub tree: Tree,
    /// What the last frame signs; `None` for an empty log.
    pub head: Option<Arc<SignedHead>>,
    slots: HashMap<String, u64>,
    payloads: HashMap<Commitment, u64>,
    tasks: BTreeMap<String, Task>,
    /// Payloads whose bytes are gone, by record, until the erasure that lists them is read.
    zeroed: HashSet<(u64, Commitment)>,
    /// Payloads that an erasure lists and whose bytes are still there, by record.
    unerased: BTreeMap<u64, Vec<Commitment>>,
}

/// The first byte that is no intact frame.
#[derive(Debug, Clone)]
pub(super) struct Damage {
    pub problem: Problem,
    /// Where the log ends, in its last intact segment.
    pub end: u64,
    /// Whether intact frames or whole segments come after it.
    pub is_followed: bool,
}

/// What reading the log gave.
pub(super) struct ReadLog {
    pub log: Log,
    pub damage: Option<Damage>,
}

impl Log {
    /// An empty log.
    pub(super) fn new(key: VerifyingKey) -> Self {
        Self {
            key,
            segments: Vec::new(),
            places: Vec::new(),
            tree: Tree::default(),
            head: None,
            slots: HashMap::new(),
            payloads: HashMap::new(),
            tasks: BTreeMap::new(),
            zeroed: HashSet::new(),
            unerased: BTreeMap::new(),
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.places.len() as u64
    }

    /// Takes in the next record, whose frame lies at `place`. The tree grows apart from it.
    pub(super) fn push(&mut self, place: Place, record: &Record, commitments: &[Commitment]) {
        let index = self.size();
        self.places.push(place);
        if let Some(slot) = record.slot() {
            self.slots.entry(slot.to_string()).or_insert(index);
        }
        for commitment in commitments {
            self.payloads.entry(*commitment).or_insert(index);
        }
        if let Some(task) = record.task() {
            let known = self.tasks.entry(task.uid.clone()).or_default();
            known.records.push(index);
            if matches!(record.body, Body::Intent { .. }) {
                known.intents.push((index, task.clone()));
            }
            known.is_ended |= record.is_terminal();
        }
        if let Body::Erasure {
            erased_index,
            commitments,
            ..
        } = &record.body
        {
            for commitment in commitments {
                let is_gone = self.zeroed.remove(&(*erased_index, *commitment));
                let is_known = *erased_index < index && self.payloads.contains_key(commitment);
                if is_known && !is_gone {
                    let unerased = self.unerased.entry(*erased_index).or_default();
                    unerased.push(*commitment);
                }
            }
        }
    }

    /// What erasures list and is still there, by record.
    pub(super) fn unerased(&self) -> &BTreeMap<u64, Vec<Commitment>> {
        &self.unerased
    }

    /// Every erasure so far is carried out.
    pub(super) fn set_erased(&mut self) {
        self.unerased.clear();
    }

    /// The records of every task that has ended, each task's last one last.
    pub(super) fn ended_tasks(&self) -> Vec<(String, Vec<u64>)> {
        let ended = self.tasks.iter().filter(|(_, task)| task.is_ended);
        ended
            .map(|(uid, task)| (uid.clone(), task.records.clone()))
            .collect()
    }

    pub(super) fn find(&self, slot: &str) -> Option<u64> {
        self.slots.get(slot).copied()
    }

    /// The record whose frame holds the payload.
    pub(super) fn holder(&self, commitment: &Commitment) -> Option<u64> {
        self.payloads.get(commitment).copied()
    }

    /// The indices of a task's records.
    pub(super) fn task(&self, uid: &str) -> Vec<u64> {
        let known = self.tasks.get(uid);
        known.map_or_else(Vec::new, |task| task.records.clone())
    }

    pub(super) fn open_intents(&self) -> Vec<OpenIntent> {
        let unfinished = self.tasks.values().filter(|task| !task.is_ended);
        let mut open: Vec<OpenIntent> = unfinished
            .filter_map(|task| task.intents.last())
            .map(|(index, task)| OpenIntent {
                task: task.clone(),
                index: *index,
            })
            .collect();
        open.sort_by_key(|intent| intent.index);
        open
    }
}

/// The paths of the segments, in order. Other names in the folder are ignored.
pub(super) fn segment_paths(storage: &dyn Storage) -> Result<Vec<String>, LedgerError> {
    let names = storage.list(LOG_FOLDER).map_err(io_error("list log"))?;
    let is_segment = |name: &String| name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit());
    let names = names.into_iter().filter(is_segment);
    Ok(names.map(|name| format!("{LOG_FOLDER}/{name}")).collect())
}

pub(super) fn segment_path(first_index: u64) -> String {
    format!("{LOG_FOLDER}/{first_index:020}")
}

/// Reads the log up to its end or its first damage. `None` when there is no segment.
///
/// The log ends with its last signed frame: intact frames after it belong to a group that was never
/// finished, and so never acknowledged.
pub(super) fn read_log(storage: &dyn Storage) -> Result<Option<ReadLog>, LedgerError> {
    let paths = segment_paths(storage)?;
    let mut log: Option<Log> = None;
    let (mut damage, mut signature) = (None, None);
    for (at, path) in paths.iter().enumerate() {
        let read = storage
            .read(path)
            .map_err(io_error(format!("read {path}")))?;
        let bytes = read.unwrap_or_default();
        let mut opened = open_segment(log.take(), path, &bytes).map_err(|problem| {
            // Segments are made in one step: a header is never half-written.
            LedgerError::Damaged(Problems(vec![problem]))
        })?;
        damage = read_frames(&mut opened, &bytes, &mut signature);
        log = Some(opened);
        if let Some(damage) = &mut damage {
            damage.is_followed |= at + 1 < paths.len();
            break;
        }
    }
    Ok(log.map(|mut log| {
        log.head = signature.map(|signature| {
            let head = Head {
                size: log.size(),
                root: log.tree.root(),
                signature,
            };
            Arc::new(SignedHead::new(head, &log.key))
        });
        ReadLog { log, damage }
    }))
}

/// The start of a segment that continues a log of `size` records of `key`, if there are any yet: its
/// salt, the key that it names, and its own length.
pub(super) fn read_header(
    path: &str,
    bytes: &[u8],
    key: Option<&VerifyingKey>,
    size: u64,
) -> Result<([u8; 8], VerifyingKey, u64), Problem> {
    let no = |what: &str| Problem::of_file(path, what);
    let (header, length) = SegmentHeader::decode(bytes).map_err(no)?;
    let named: VerifyingKey = header
        .vkey
        .parse()
        .map_err(|error| no(&format!("the log's key is invalid: {error}")))?;
    if key.is_some_and(|key| *key != named) {
        return Err(no("the segment belongs to another log"));
    }
    if header.first_index != size || path != segment_path(size) {
        return Err(no("the segment does not continue the one before it"));
    }
    Ok((header.salt, named, length as u64))
}

/// Checks a segment's header against what came before, and adds it.
fn open_segment(log: Option<Log>, path: &str, bytes: &[u8]) -> Result<Log, Problem> {
    let size = log.as_ref().map_or(0, Log::size);
    let key = log.as_ref().map(|log| &log.key);
    let (salt, key, length) = read_header(path, bytes, key, size)?;
    let mut log = log.unwrap_or_else(|| Log::new(key));
    log.segments.push(Segment {
        path: Arc::from(path),
        salt,
        length,
    });
    Ok(log)
}

/// Takes in every whole group of the last segment; `signature` becomes that of the last.
fn read_frames(
    log: &mut Log,
    bytes: &[u8],
    signature: &mut Option<[u8; SIGNATURE_BYTES]>,
) -> Option<Damage> {
    let number = log.segments.len() - 1;
    let Segment { salt, length, .. } = log.segments[number].clone();
    let mut at = usize::try_from(length).unwrap_or(usize::MAX);
    // The frames of a group wait here for its last one.
    let mut group = Vec::new();
    let mut what = None;
    while at < bytes.len() {
        match read_frame(salt, &bytes[at..], log.size(), group.len()) {
            Ok(read) => {
                let place = Place {
                    segment: number as u32,
                    length: read.length as u32,
                    offset: at as u64,
                };
                at += read.length;
                let signed = read.signature;
                group.push((place, read));
                if signed.is_some() {
                    *signature = signed;
                    push_group(log, &mut group);
                    log.segments[number].length = at as u64;
                }
            }
            Err(error) => {
                what = Some(error);
                break;
            }
        }
    }
    let end = log.segments[number].length;
    if what.is_none() && group.is_empty() {
        return None;
    }
    let what = what.unwrap_or_else(|| UNFINISHED_GROUP.to_owned());
    let at = at.min(bytes.len());
    let index = log.size() + group.len() as u64;
    let problem = Problem::of_file(&*log.segments[number].path, what).at(at as u64, index);
    Some(Damage {
        problem,
        end,
        is_followed: is_followed(salt, bytes, at, log.size()),
    })
}

/// What is wrong with a log that ends in the middle of a group.
pub(super) const UNFINISHED_GROUP: &str = "frames without a signed one after them";

/// What is kept of a frame.
struct ReadFrame {
    record: Record,
    leaf: Hash,
    commitments: Vec<Commitment>,
    /// Those of which the bytes are gone.
    zeroed: Vec<Commitment>,
    signature: Option<[u8; SIGNATURE_BYTES]>,
    /// In bytes.
    length: usize,
}

/// Reads the frame at the start of `bytes`: number `position` of the group that begins at `first`.
fn read_frame(
    salt: [u8; 8],
    bytes: &[u8],
    first: u64,
    position: usize,
) -> Result<ReadFrame, String> {
    let frame = decode_frame(salt, bytes)?;
    check_number(frame.index, frame.position, first, position)?;
    let record = Record::from_canonical(frame.record)
        .map_err(|error| format!("the record cannot be read by this build: {error}"))?;
    let payloads = decode_payloads(frame.payloads)?;
    let zeroed = payloads.iter().filter(|payload| payload.encoded.is_none());
    Ok(ReadFrame {
        record,
        leaf: leaf_hash(frame.record),
        zeroed: zeroed.map(|payload| payload.commitment).collect(),
        commitments: payloads.iter().map(|payload| payload.commitment).collect(),
        signature: frame.signature.copied(),
        length: frame.length,
    })
}

/// Whether a frame says the index and position that it has: `position` in the group from `first`.
pub(super) fn check_number(
    said_index: u64,
    said_position: u32,
    first: u64,
    position: usize,
) -> Result<(), String> {
    let index = first + position as u64;
    if said_index != index {
        return Err(format!(
            "the frame here is number {said_index}, not {index}"
        ));
    }
    if said_position as usize != position {
        return Err(format!(
            "the frame here is number {said_position} of its group, not {position}"
        ));
    }
    Ok(())
}

fn push_group(log: &mut Log, group: &mut Vec<(Place, ReadFrame)>) {
    let growth = log.tree.grow(group.iter().map(|(_, read)| read.leaf));
    log.tree.take(growth);
    for (place, read) in group.drain(..) {
        let index = log.size();
        log.zeroed
            .extend(read.zeroed.iter().map(|gone| (index, *gone)));
        log.push(place, &read.record, &read.commitments);
    }
}

/// Whether an intact frame that begins after `at` belongs to another group than the one whose first
/// index is `first`. A group is synced before the next one is written, so a crash leaves no such
/// frame behind a damaged one; of the damaged group itself it may leave any.
pub(super) fn is_followed(salt: [u8; 8], bytes: &[u8], at: usize, first: u64) -> bool {
    let Some(rest) = bytes.get(at + 1..) else {
        return false;
    };
    rest.windows(FRAME_HEADER_BYTES)
        .enumerate()
        .filter(|(_, window)| window.starts_with(FRAME_MAGIC))
        .filter_map(|(start, _)| decode_frame(salt, &rest[start..]).ok())
        .any(|frame| frame.index.checked_sub(frame.position.into()) != Some(first))
}
