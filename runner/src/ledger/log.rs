//! Reads the log: where each record lies, the tree, the slots, and where the log ends.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use axiom_hive_core::record::{Body, Commitment, Record, TaskRef};
use axiom_hive_core::tlog::{Hash, VerifyingKey, leaf_hash};

use super::error::{LedgerError, Problem, Problems, io_error};
use super::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC, SIGNATURE_BYTES, SegmentHeader, decode_frame};
use super::head::{Head, SignedHead};
use super::index::{Kind, key_of};
use super::known::{Known, Part};
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

/// A task that was started and has no terminal record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenIntent {
    /// Task and attempt of its last intent.
    pub task: TaskRef,
    /// The index of that intent.
    pub index: u64,
}

/// The log in memory: everything but records and payloads themselves, and what an index has.
#[derive(Debug, Clone)]
pub(super) struct Log {
    pub key: VerifyingKey,
    pub segments: Vec<Segment>,
    /// One for each segment.
    pub parts: Vec<Part>,
    pub tree: Tree,
    /// What the last frame signs; `None` for an empty log.
    pub head: Option<Arc<SignedHead>>,
    size: u64,
    /// Payloads whose bytes are gone, by record, until the erasure that lists them is read.
    zeroed: HashSet<(u64, Commitment)>,
    /// Payloads that an erasure lists and whose bytes may still be there, by record.
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
        Self::after(key, Tree::default(), 0)
    }

    /// A log of which `size` records went before.
    pub(super) fn after(key: VerifyingKey, tree: Tree, size: u64) -> Self {
        Self {
            key,
            segments: Vec::new(),
            parts: Vec::new(),
            tree,
            head: None,
            size,
            zeroed: HashSet::new(),
            unerased: BTreeMap::new(),
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Begins a segment whose records are to be read or appended.
    pub(super) fn begin(&mut self, segment: Segment) {
        self.segments.push(segment);
        self.parts.push(Part::Read(Arc::new(Known::new(self.size))));
    }

    /// Takes in the next record, whose frame lies at `place`. The tree grows apart from it.
    pub(super) fn push(&mut self, place: Place, record: &Record, commitments: &[Commitment]) {
        let index = self.size;
        self.size += 1;
        if let Some(Part::Read(known)) = self.parts.last_mut() {
            // Nobody shares the last one, so nothing is copied.
            Arc::make_mut(known).push(place, record, commitments);
        }
        if let Body::Erasure {
            erased_index,
            commitments,
            ..
        } = &record.body
        {
            for commitment in commitments {
                let is_gone = self.zeroed.remove(&(*erased_index, *commitment));
                if *erased_index < index && !is_gone && self.may_hold(*erased_index, commitment) {
                    let unerased = self.unerased.entry(*erased_index).or_default();
                    unerased.push(*commitment);
                }
            }
        }
    }

    /// Whether the frame of a record may hold a payload; an index knows only of nearly every one that it does
    /// not.
    fn may_hold(&self, index: u64, commitment: &Commitment) -> bool {
        match self.parts.get(self.part_of(index)) {
            Some(Part::Read(known)) => known.payloads.contains_key(commitment),
            Some(Part::Indexed(summary)) => {
                let key = key_of(Kind::Payload, &commitment.0);
                summary.key_blocks(key).next().is_some()
            }
            None => false,
        }
    }

    /// The number of the segment that holds a record of the log.
    pub(super) fn part_of(&self, index: u64) -> usize {
        let after = self.parts.partition_point(|part| part.first() <= index);
        after.saturating_sub(1)
    }

    /// The first finished segment that has no index, by number.
    pub(super) fn unindexed(&self) -> Option<(usize, &Arc<Known>)> {
        let (_, finished) = self.parts.split_last()?;
        finished
            .iter()
            .enumerate()
            .find_map(|(number, part)| match part {
                Part::Read(known) => Some((number, known)),
                Part::Indexed(_) => None,
            })
    }

    /// The first record that is not in an index.
    pub(super) fn indexed(&self) -> u64 {
        let first = self.parts.iter().find(|part| matches!(part, Part::Read(_)));
        first.map_or(self.size, Part::first)
    }

    /// What erasures list and may still be there, by record.
    pub(super) fn unerased(&self) -> &BTreeMap<u64, Vec<Commitment>> {
        &self.unerased
    }

    /// Of a record these payloads are gone.
    pub(super) fn set_gone(&mut self, index: u64, gone: &[Commitment]) {
        if let Some(listed) = self.unerased.get_mut(&index) {
            listed.retain(|commitment| !gone.contains(commitment));
            if listed.is_empty() {
                self.unerased.remove(&index);
            }
        }
    }

    /// Every erasure so far is carried out.
    pub(super) fn set_erased(&mut self) {
        self.unerased.clear();
    }

    /// The records of every task that has ended, each task's last one last; of a log that was read whole.
    pub(super) fn ended_tasks(&self) -> Vec<(String, Vec<u64>)> {
        let mut tasks: BTreeMap<&String, (bool, Vec<u64>)> = BTreeMap::new();
        for part in &self.parts {
            let Part::Read(known) = part else { continue };
            for (uid, task) in &known.tasks {
                let (is_ended, records) = tasks.entry(uid).or_default();
                *is_ended |= task.is_ended;
                records.extend(&task.records);
            }
        }
        let ended = tasks.into_iter().filter(|(_, (is_ended, _))| *is_ended);
        ended
            .map(|(uid, (_, records))| (uid.clone(), records))
            .collect()
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
    read_after(storage, None, &segment_paths(storage)?)
}

/// The same from the segments `paths` on; `before` is the log before them, and the signature in its last
/// frame.
pub(super) fn read_after(
    storage: &dyn Storage,
    before: Option<(Log, [u8; SIGNATURE_BYTES])>,
    paths: &[String],
) -> Result<Option<ReadLog>, LedgerError> {
    let (mut log, mut signature) = before.unzip();
    let mut damage = None;
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
pub(super) fn open_segment(log: Option<Log>, path: &str, bytes: &[u8]) -> Result<Log, Problem> {
    let size = log.as_ref().map_or(0, Log::size);
    let key = log.as_ref().map(|log| &log.key);
    let (salt, key, length) = read_header(path, bytes, key, size)?;
    let mut log = log.unwrap_or_else(|| Log::new(key));
    log.begin(Segment {
        path: Arc::from(path),
        salt,
        length,
    });
    Ok(log)
}

/// Takes in every whole group of the last segment; `signature` becomes that of the last.
pub(super) fn read_frames(
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
