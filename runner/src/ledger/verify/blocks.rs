//! Cuts the log into batches of whole groups, so that threads can check them independently.

use std::sync::Arc;

use axiom_hive_core::tlog::VerifyingKey;

use super::super::error::{LedgerError, Problem, io_error};
use super::super::frame::{
    FRAME_HEADER_BYTES, FrameHeader, MAX_SEGMENT_HEADER_BYTES, SegmentHeader,
};
use super::super::log::{UNFINISHED_GROUP, check_number, read_header, segment_path, segment_paths};
use super::super::storage::Storage;

/// How much is read at once, in bytes; a longer group is read as a whole. Small enough that a batch
/// is still in the cache of the core that read it when it is hashed.
pub(super) const BLOCK_BYTES: u64 = 512 * 1024;

/// Whole groups of frames, one after the other.
pub(super) struct Batch {
    /// Counted from 0 over the whole log.
    pub number: usize,
    /// The index of the first frame.
    pub first: u64,
    pub path: Arc<str>,
    pub salt: [u8; 8],
    /// Of `bytes` in the file.
    pub offset: u64,
    pub bytes: Vec<u8>,
    /// Where each frame ends in `bytes`.
    pub ends: Vec<usize>,
}

/// Where the log stopped being readable.
pub(super) struct Stop {
    pub problem: Problem,
    /// Whether nothing but the rest of the last file lies behind it.
    pub is_tail: bool,
}

/// The key that the log's first segment names; `None` when that cannot be read.
pub(super) fn first_key(storage: &dyn Storage) -> Result<Option<VerifyingKey>, LedgerError> {
    let path = segment_path(0);
    let failed = || io_error(format!("read {path}"));
    let length = storage.length(&path).map_err(failed())?.unwrap_or(0);
    if length == 0 {
        return Ok(None);
    }
    let start = length.min(MAX_SEGMENT_HEADER_BYTES as u64) as usize;
    let bytes = storage.read_at(&path, 0, start).map_err(failed())?;
    let header = SegmentHeader::decode(&bytes).ok();
    Ok(header.and_then(|(header, _)| header.vkey.parse().ok()))
}

/// A segment that is being read.
struct Segment {
    path: Arc<str>,
    salt: [u8; 8],
    /// Of the next frame.
    at: u64,
    length: u64,
    /// Of the next block.
    wanted: u64,
}

/// The log, batch by batch, up to the first damage.
pub(super) struct Blocks<'s> {
    storage: &'s dyn Storage,
    /// The segments that are still to be read, the next one last.
    paths: Vec<String>,
    segment: Option<Segment>,
    batches: usize,
    /// What the log's segments call their key.
    pub key: Option<VerifyingKey>,
    pub size: u64,
    pub stop: Option<Stop>,
}

impl<'s> Blocks<'s> {
    pub(super) fn new(storage: &'s dyn Storage) -> Result<Self, LedgerError> {
        let mut paths = segment_paths(storage)?;
        paths.reverse();
        let what = "there is no log: the first segment is missing";
        let stop = paths.is_empty().then(|| Stop {
            problem: Problem::of_file(segment_path(0), what),
            is_tail: false,
        });
        Ok(Self {
            storage,
            paths,
            segment: None,
            batches: 0,
            key: None,
            size: 0,
            stop,
        })
    }

    /// The next batch; `None` at the end or at the first damage.
    pub(super) fn next(&mut self) -> Result<Option<Batch>, LedgerError> {
        while self.stop.is_none() {
            match self.segment.take() {
                Some(segment) if segment.at < segment.length => {
                    let batch = self.read_block(segment)?;
                    if batch.is_some() {
                        return Ok(batch);
                    }
                }
                _ => {
                    let Some(path) = self.paths.pop() else {
                        return Ok(None);
                    };
                    self.open(&path)?;
                }
            }
        }
        Ok(None)
    }

    fn read(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, LedgerError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let bytes = self.storage.read_at(path, offset, length);
        bytes.map_err(io_error(format!("read {path}")))
    }

    fn open(&mut self, path: &str) -> Result<(), LedgerError> {
        let length = self.storage.length(path);
        let length = length.map_err(io_error(format!("read {path}")))?;
        let length = length.unwrap_or(0);
        let start = self.read(path, 0, length.min(MAX_SEGMENT_HEADER_BYTES as u64))?;
        match read_header(path, &start, self.key.as_ref(), self.size) {
            Ok((salt, key, at)) => {
                self.key = Some(key);
                self.segment = Some(Segment {
                    path: Arc::from(path),
                    salt,
                    at,
                    length,
                    wanted: BLOCK_BYTES,
                });
            }
            Err(problem) => {
                self.stop = Some(Stop {
                    problem,
                    is_tail: false,
                });
            }
        }
        Ok(())
    }

    /// The whole groups of the next block; `None` when not even one fits.
    fn read_block(&mut self, mut segment: Segment) -> Result<Option<Batch>, LedgerError> {
        let rest = segment.length - segment.at;
        let mut bytes = self.read(&segment.path, segment.at, segment.wanted.min(rest))?;
        let first = self.size;
        let is_last = bytes.len() as u64 == rest;
        let (ends, missing) = self.hop(&segment.path, &bytes, segment.at, is_last);
        segment.wanted = BLOCK_BYTES.max(missing);
        let batch = ends.last().copied().map(|end| {
            bytes.truncate(end);
            let batch = Batch {
                number: self.batches,
                first,
                path: Arc::clone(&segment.path),
                salt: segment.salt,
                offset: segment.at,
                bytes,
                ends,
            };
            self.batches += 1;
            segment.at += end as u64;
            batch
        });
        self.segment = Some(segment);
        Ok(batch)
    }

    /// Ends the log in the middle of a segment.
    fn stop_at(&mut self, problem: Problem) {
        self.stop = Some(Stop {
            problem,
            is_tail: self.paths.is_empty(),
        });
    }

    /// Follows the frames' lengths through `bytes`: where each frame ends, up to the last one that
    /// ends a group, and how long a block must be to hold the group that does not fit.
    fn hop(&mut self, path: &str, bytes: &[u8], offset: u64, is_last: bool) -> (Vec<usize>, u64) {
        let mut ends = Vec::with_capacity(bytes.len() / 256);
        let (mut at, mut whole, mut position) = (0, 0, 0);
        while at < bytes.len() {
            let rest = &bytes[at..];
            let header = FrameHeader::peek(rest);
            let length = header
                .as_ref()
                .map_or(FRAME_HEADER_BYTES, FrameHeader::frame_length);
            let is_short = rest.len() < length;
            if is_short && !is_last {
                break;
            }
            let is_signed = header.as_ref().is_ok_and(FrameHeader::is_signed);
            let what = match header {
                _ if is_short => Some("the frame is cut short".to_owned()),
                Err(what) => Some(what.to_owned()),
                Ok(header) => {
                    check_number(header.index, header.position, self.size, position).err()
                }
            };
            if let Some(what) = what {
                let index = self.size + position as u64;
                self.stop_at(Problem::of_file(path, what).at(offset + at as u64, index));
                break;
            }
            at += length;
            position += 1;
            ends.push(at);
            if is_signed {
                self.size += position as u64;
                (whole, position) = (ends.len(), 0);
            }
        }
        if is_last && position > 0 && self.stop.is_none() {
            let problem = Problem::of_file(path, UNFINISHED_GROUP);
            let index = self.size + position as u64;
            self.stop_at(problem.at(offset + at as u64, index));
        }
        ends.truncate(whole);
        let missing = if whole == 0 {
            bytes.len() as u64 * 2
        } else {
            0
        };
        (ends, missing)
    }
}
