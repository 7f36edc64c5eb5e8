//! Writing the index of each finished segment, and opening a log by them.
//!
//! An index is written when its segment is finished and synced, and its tiles are written. An opening believes it
//! no further than it must: the tree that the indexes give must be the one that the last frame of the last
//! indexed segment signs, and the segments must have the salts and lengths that the indexes name. Anything
//! else means that the log is read whole.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::erase::forget_gone;
use super::error::{LedgerError, Problem, Problems, io_error};
use super::frame::{SIGNATURE_BYTES, decode_frame};
use super::head::Head;
use super::index::{Contents, HEADER_BYTES, Header, Kind, Summary, TILE_ENTRIES, key_of};
use super::known::{Known, Part};
use super::log::{Log, ReadLog, Segment, read_after, segment_paths};
use super::lookup::peek_segment;
use super::reader::LedgerReader;
use super::storage::Storage;
use super::tree::{TILE_LEVEL, Tree};
use axiom_hive_core::tlog::{Hash, NodeReader as _};

/// The folder of the indexes.
pub(super) const INDEX_FOLDER: &str = "index";

/// The index of the segment that begins with record `first`.
pub(super) fn index_path(first: u64) -> String {
    format!("{INDEX_FOLDER}/{first:020}")
}

/// Writes the index of every finished segment that has none, and lets go of what it says in memory. While an
/// erasure waits to be carried out none is written: an opening that does not read it would forget it. What it
/// gives is what was written.
pub(super) fn write_indexes(ledger: &LedgerReader) -> Result<Vec<String>, LedgerError> {
    let mut written = Vec::new();
    if ledger.log().unindexed().is_some() {
        forget_gone(ledger)?;
    }
    while let Some((number, contents)) = next(ledger)? {
        let path = index_path(contents.first);
        let end = contents.first + contents.places.len() as u64;
        let bytes = contents.encode();
        let storage = &ledger.storage;
        let found = storage.read(&path);
        if found.map_err(io_error(format!("read {path}")))?.as_ref() != Some(&bytes) {
            let replaced = storage.replace(&path, &bytes, true);
            replaced.map_err(io_error(format!("write {path}")))?;
            written.push(path.clone());
        }
        let summary = Summary::decode(&bytes).map_err(|what| damaged(&path, what))?;
        let mut part = Part::Indexed(Arc::new(summary));
        let mut log = ledger.log_mut();
        if let Some(old) = log.parts.get_mut(number) {
            std::mem::swap(old, &mut part);
        }
        log.tree.forget(end / TILE_ENTRIES);
    }
    Ok(written)
}

/// The first finished segment that is not indexed, by number.
fn next(ledger: &LedgerReader) -> Result<Option<(usize, Contents)>, LedgerError> {
    let log = ledger.log();
    let Some((number, known)) = log.unindexed() else {
        return Ok(None);
    };
    let is_addressable = u32::try_from(log.segments[number].length).is_ok();
    if !log.unerased().is_empty() || known.places.is_empty() || !is_addressable {
        return Ok(None);
    }
    let known = Arc::clone(known);
    let before = match number.checked_sub(1).map(|before| &log.parts[before]) {
        Some(Part::Indexed(summary)) => summary.open.clone(),
        _ => Vec::new(),
    };
    let segment = log.segments[number].clone();
    let end = known.first + known.places.len() as u64;
    let tiles = known.first / TILE_ENTRIES..end / TILE_ENTRIES;
    let nodes = tiles.clone().map(|tile| log.tree.node(TILE_LEVEL, tile));
    let nodes = nodes.collect::<Result<Vec<Hash>, _>>();
    let leaves = tiles.end * TILE_ENTRIES..end;
    let leaves = leaves.map(|index| log.tree.node(0, index));
    let leaves = leaves.collect::<Result<Vec<Hash>, _>>();
    drop(log);
    // An index that was found damaged later on: its leaves may be gone from memory. The next opening
    // writes it.
    let (Ok(nodes), Ok(leaves)) = (nodes, leaves) else {
        return Ok(None);
    };
    let contents = Contents {
        first: known.first,
        salt: segment.salt,
        segment_bytes: segment.length,
        nodes,
        leaves,
        open: ledger.open_after(before, &known)?,
        places: places(&known),
        keys: keys(&known),
    };
    Ok(Some((number, contents)))
}

fn places(known: &Known) -> Vec<(u32, u32)> {
    let places = known.places.iter();
    places
        .map(|place| (place.offset as u32, place.length))
        .collect()
}

fn keys(known: &Known) -> Vec<(u64, u32)> {
    let number = |index: &u64| (index - known.first) as u32;
    let slots = known.slots.iter();
    let slots = slots.map(|(slot, index)| (key_of(Kind::Slot, slot.as_bytes()), number(index)));
    let payloads = known.payloads.iter();
    let payloads =
        payloads.map(|(payload, index)| (key_of(Kind::Payload, &payload.0), number(index)));
    let tasks = known.tasks.iter().flat_map(|(uid, task)| {
        let key = key_of(Kind::Task, uid.as_bytes());
        task.records.iter().map(move |index| (key, number(index)))
    });
    slots.chain(payloads).chain(tasks).collect()
}

/// Reads the log by its indexes, as far as they go without a gap, and the rest frame by frame. The second is
/// why some index is not used.
pub(super) fn open_log(
    storage: &dyn Storage,
) -> Result<(Option<ReadLog>, Vec<Problem>), LedgerError> {
    let paths = segment_paths(storage)?;
    let mut problems = Vec::new();
    let before = indexed(storage, &paths, &mut problems)?;
    let read = before.as_ref().map_or(0, |(log, _)| log.segments.len());
    Ok((read_after(storage, before, &paths[read..])?, problems))
}

/// The log of the segments that have an index, and the signature in its last frame.
fn indexed(
    storage: &dyn Storage,
    paths: &[String],
    problems: &mut Vec<Problem>,
) -> Result<Option<(Log, [u8; SIGNATURE_BYTES])>, LedgerError> {
    let names: BTreeSet<String> = storage
        .list(INDEX_FOLDER)
        .map_err(io_error("list index"))?
        .into_iter()
        .collect();
    let mut log: Option<Log> = None;
    let (mut roots, mut first) = (Vec::new(), 0);
    let mut leaves = Vec::new();
    let mut before: Vec<(Segment, Arc<Summary>)> = Vec::new();
    // The last segment may still grow.
    for path in paths.iter().take(paths.len().saturating_sub(1)) {
        let index = index_path(first);
        if !names.contains(&format!("{first:020}")) {
            break;
        }
        let key = log.as_ref().map(|log| &log.key);
        let (salt, key, length) = peek_segment(storage, path, key, first)?;
        let summary = match summary(storage, &index)? {
            Ok(summary)
                if (summary.first, summary.salt, summary.segment_bytes)
                    == (first, salt, length) =>
            {
                summary
            }
            Ok(_) => {
                problems.push(Problem::of_file(&*index, "not the index of this segment"));
                break;
            }
            Err(what) => {
                problems.push(Problem::of_file(&*index, what));
                break;
            }
        };
        log.get_or_insert_with(|| Log::new(key));
        roots.extend_from_slice(&summary.nodes);
        leaves.clone_from(&summary.leaves);
        first += summary.count;
        let path = Arc::from(&**path);
        before.push((Segment { path, salt, length }, Arc::new(summary)));
    }
    let Some((empty, (segment, summary))) = log.zip(before.last()) else {
        return Ok(None);
    };
    let tree = Tree::from_tiles(&roots, leaves);
    let mut log = Log::after(empty.key, tree, first);
    match signature(storage, segment, summary, &log)? {
        Ok(signature) => {
            for (segment, summary) in before {
                log.segments.push(segment);
                log.parts.push(Part::Indexed(summary));
            }
            Ok(Some((log, signature)))
        }
        Err(what) => {
            problems.push(Problem::of_file(INDEX_FOLDER, what));
            Ok(None)
        }
    }
}

/// Reads an index up to its blocks; the inner error is what is wrong with it.
fn summary(
    storage: &dyn Storage,
    path: &str,
) -> Result<Result<Summary, &'static str>, LedgerError> {
    const LENGTH: &str = "the index has not the length that it names";
    let length = storage.length(path);
    let length = length
        .map_err(io_error(format!("read {path}")))?
        .unwrap_or(0);
    if length < HEADER_BYTES as u64 {
        return Ok(Err(LENGTH));
    }
    let read = |bytes| {
        let read = storage.read_at(path, 0, bytes);
        read.map_err(io_error(format!("read {path}")))
    };
    let header = match Header::decode(&read(HEADER_BYTES)?) {
        Ok(header) if header.file_bytes() == length => header,
        Ok(_) => return Ok(Err(LENGTH)),
        Err(what) => return Ok(Err(what)),
    };
    Ok(Summary::decode(&read(header.summary_bytes())?))
}

/// The signature in the last frame of an indexed segment, over the tree that ends there; the inner error is why
/// the indexes are not believed.
fn signature(
    storage: &dyn Storage,
    segment: &Segment,
    summary: &Summary,
    log: &Log,
) -> Result<Result<[u8; SIGNATURE_BYTES], &'static str>, LedgerError> {
    const DAMAGED: &str = "the last record of an indexed segment cannot be read";
    let index = index_path(summary.first);
    let last = summary.count - 1;
    let (at, _) = summary.place_block(last);
    let block = storage.read_at(&index, at, super::index::BLOCK_BYTES);
    let block = block.map_err(io_error(format!("read {index}")))?;
    let Ok((offset, length)) = summary.place(last, &block) else {
        return Ok(Err(DAMAGED));
    };
    if u64::from(offset) + u64::from(length) != segment.length {
        return Ok(Err(DAMAGED));
    }
    let frame = storage.read_at(&segment.path, offset.into(), length as usize);
    let frame = frame.map_err(io_error(format!("read {}", segment.path)))?;
    let frame = decode_frame(segment.salt, &frame).ok();
    let frame = frame.filter(|frame| frame.index + 1 == log.size());
    let Some(signature) = frame.and_then(|frame| frame.signature.copied()) else {
        return Ok(Err(DAMAGED));
    };
    let head = Head {
        size: log.size(),
        root: log.tree.root(),
        signature,
    };
    if head.is_signed_by(&log.key) {
        Ok(Ok(signature))
    } else {
        Ok(Err(
            "the tree of the indexes is not the one that was signed",
        ))
    }
}

fn damaged(path: &str, what: &str) -> LedgerError {
    LedgerError::Damaged(Problems(vec![Problem::of_file(path, what)]))
}
