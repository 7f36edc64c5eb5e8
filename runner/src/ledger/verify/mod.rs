//! Verifies a whole ledger, with the key or the pin, without a lock.

mod blocks;
mod check;
mod facts;
mod history;
mod published;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use axiom_hive_core::tlog::{EMPTY_ROOT, Hash, Tile, TileKind, VerifyingKey, root_at};

use super::error::{LedgerError, Problem, io_error};
use super::head::{Head, Slots, wrong_with};
use super::keys::KeyStore;
use super::levels::Levels;
use super::log::{OpenIntent, segment_path};
use super::open::HEADS_FOLDER;
use super::storage::{Disk, Storage};
use super::tiles::full_tiles;
use blocks::{BLOCK_BYTES, Blocks};
use check::{Checked, check};
use history::History;
pub use history::PayloadCounts;

/// A report lists at most this many problems.
pub const MAX_PROBLEMS: usize = 1000;
/// Threads that check, at most.
const MAX_THREADS: usize = 8;

/// Whose word counts for the log's key.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'a> {
    /// This key, known from elsewhere.
    Key(&'a VerifyingKey),
    /// The user's own pin: key and last head.
    Pin(&'a KeyStore),
    /// Nobody's: the log's own word, which proves no origin.
    Nothing,
}

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every byte of every file, hashes, tree, heads, payloads' addresses.
    Log,
    /// That, and what the records say: canonical form, slots, constitutions, erasures, tasks.
    Records,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// The key that the log names as its own.
    pub key: Option<VerifyingKey>,
    /// Records that were read.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// What became of the payloads.
    pub payloads: PayloadCounts,
    /// Tasks that began and have no terminal record; not a problem by itself.
    pub unfinished: Vec<OpenIntent>,
    /// Bytes behind the last record that no head covers: an append that is going on, or the trace
    /// of a crash, which the next opening cuts off. Not a problem by itself.
    pub tail: Option<Problem>,
    /// What does not hold, at most [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// Whether a key or pin that the caller trusts vouches for the whole log.
    pub authenticated: bool,
}

impl VerifyReport {
    /// Whether everything holds and the caller's key or pin vouches for it.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.authenticated && self.problems.is_empty()
    }
}

/// Verifies the ledger in `dir`.
///
/// An error means that it could not be read; everything else is in the report.
pub fn verify(dir: &Path, trust: Trust<'_>) -> Result<VerifyReport, LedgerError> {
    verify_on(&Disk::new(dir, 0o600), trust, Depth::Records)
}

/// The same on any storage, to any depth.
pub fn verify_on(
    storage: &dyn Storage,
    trust: Trust<'_>,
    depth: Depth,
) -> Result<VerifyReport, LedgerError> {
    // Before the log: a writer that is at work moves the log first, then heads and pin.
    let heads = Slots::read(storage, HEADS_FOLDER).map_err(io_error("read heads"))?;
    let pin = match (trust, blocks::first_key(storage)?) {
        (Trust::Pin(keys), Some(key)) if keys.verifying_key(key.name())?.is_some() => {
            Some(keys.pin(key.name())?)
        }
        _ => None,
    };
    let (verifier, blocks) = read_log(storage, depth)?;
    verifier.check_log(storage, &blocks, &Anchors { heads, pin, trust })
}

/// What the log is held against.
struct Anchors<'a> {
    heads: Slots,
    pin: Option<Slots>,
    trust: Trust<'a>,
}

/// What was gathered from the batches, in their order.
struct Verifier {
    depth: Depth,
    tree: Levels,
    history: History,
    problems: Vec<Problem>,
    /// A frame inside a batch was damaged: nothing after it counts.
    is_damaged: bool,
    /// File, offset and head of the last frame.
    last: Option<(Arc<str>, u64, Option<[u8; 64]>)>,
}

/// Takes what became of the batches in any order, and hands it on in theirs.
struct InOrder {
    verifier: Verifier,
    waiting: BTreeMap<usize, Checked>,
    /// The number of the next batch.
    next: usize,
}

impl InOrder {
    fn take(&mut self, checked: Checked) {
        self.waiting.insert(checked.number, checked);
        while let Some(checked) = self.waiting.remove(&self.next) {
            self.verifier.push(checked);
            self.next += 1;
        }
    }
}

/// Reads and checks all batches, on several threads where there is much to do. Each thread reads
/// what it checks, so that the bytes are in its core's cache.
fn read_log(storage: &dyn Storage, depth: Depth) -> Result<(Verifier, Blocks<'_>), LedgerError> {
    let length = storage.length(&segment_path(0));
    let length = length.map_err(io_error("read log"))?.unwrap_or(0);
    let threads = if length <= BLOCK_BYTES {
        1
    } else {
        thread::available_parallelism().map_or(1, NonZeroUsize::get)
    };
    let blocks = Mutex::new(Blocks::new(storage)?);
    let results = Mutex::new(InOrder {
        verifier: Verifier::new(depth),
        waiting: BTreeMap::new(),
        next: 0,
    });
    let check_all = || -> Result<(), LedgerError> {
        loop {
            let batch = lock(&blocks).next()?;
            let Some(batch) = batch else {
                return Ok(());
            };
            let checked = check(storage, &batch, depth);
            lock(&results).take(checked);
        }
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(MAX_THREADS))
            .map(|_| scope.spawn(check_all))
            .collect();
        let mut result = check_all();
        for other in others {
            let other = other.join().unwrap_or_else(|panic| resume_unwind(panic));
            result = result.and(other);
        }
        result
    })?;
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let blocks = blocks.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((results.verifier, blocks))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Verifier {
    fn new(depth: Depth) -> Self {
        Self {
            depth,
            tree: Levels::default(),
            history: History::default(),
            problems: Vec::new(),
            is_damaged: false,
            last: None,
        }
    }

    fn push(&mut self, checked: Checked) {
        if self.is_damaged {
            return;
        }
        self.problems.extend(checked.problems);
        self.tree.push(checked.part);
        let (path, problems) = (&checked.path, &mut self.problems);
        let mut notes = checked.notes.iter();
        let mut taken = 0;
        for facts in checked.facts {
            let notes = notes.by_ref().take(facts.notes_end - taken);
            taken = facts.notes_end;
            self.history.push(path, facts, notes, problems);
        }
        self.is_damaged = !checked.is_whole;
        self.last = Some((checked.path, checked.last_offset, checked.signature));
        self.problems.truncate(MAX_PROBLEMS);
    }

    /// Everything that needs the whole tree.
    fn check_log(
        mut self,
        storage: &dyn Storage,
        blocks: &Blocks<'_>,
        anchors: &Anchors<'_>,
    ) -> Result<VerifyReport, LedgerError> {
        let size = self.tree.size();
        let mut report = VerifyReport {
            key: blocks.key.clone(),
            size,
            root: root_at(size, &self.tree).unwrap_or(EMPTY_ROOT),
            payloads: PayloadCounts::default(),
            unfinished: self.history.unfinished(),
            tail: None,
            problems: Vec::new(),
            authenticated: false,
        };
        if let Some(stop) = &blocks.stop {
            if stop.is_tail && !self.is_damaged {
                report.tail = Some(stop.problem.clone());
            } else {
                self.problems.push(stop.problem.clone());
            }
        }
        if let Some(key) = &blocks.key {
            self.check_slots(&anchors.heads, "", key);
            // Damage to the last frames is a crash's trace only while no head covers them.
            if anchors.heads.newest().is_some_and(|head| head.size > size) {
                self.problems.extend(report.tail.take());
            }
            self.check_last_frame(key, report.root);
            report.authenticated = self.authenticate(key, anchors)?;
        }
        if self.depth == Depth::Records && !self.is_damaged {
            report.payloads = self.history.payloads(&mut self.problems);
        }
        self.check_tiles(storage, size)?;
        if let Some(key) = &blocks.key {
            let is_sealed = self.history.is_sealed();
            let problems = published::check(storage, key, &self.tree, is_sealed)?;
            self.problems.extend(problems);
        }
        self.problems.truncate(MAX_PROBLEMS);
        report.problems = self.problems;
        Ok(report)
    }

    fn check_slots(&mut self, slots: &Slots, prefix: &str, key: &VerifyingKey) {
        let mut problems = slots.broken();
        for (file, head) in slots.intact() {
            let what = wrong_with(&head, key, self.tree.size(), &self.tree);
            problems.extend(what.map(|what| Problem::of_file(file, what)));
        }
        for mut problem in problems {
            problem.file.insert_str(0, prefix);
            self.problems.push(problem);
        }
    }

    fn check_last_frame(&mut self, key: &VerifyingKey, root: Hash) {
        let size = self.tree.size();
        let Some((path, offset, signature)) = self.last.as_ref().filter(|_| !self.is_damaged)
        else {
            return;
        };
        let is_signed = signature.is_some_and(|signature| {
            let head = Head {
                size,
                root,
                signature,
            };
            head.is_signed_by(key)
        });
        if !is_signed && size > 0 {
            let what = "the last frame's signature is not over these records";
            let problem = Problem::of_file(&**path, what).at(*offset, size - 1);
            self.problems.push(problem);
        }
    }

    /// Whether whoever the caller trusts vouches for this log.
    fn authenticate(
        &mut self,
        key: &VerifyingKey,
        anchors: &Anchors<'_>,
    ) -> Result<bool, LedgerError> {
        let other = |expected: &VerifyingKey| {
            Problem::of_file("log", format!("the log is of {key}, not of {expected}"))
        };
        match anchors.trust {
            Trust::Nothing => Ok(false),
            Trust::Key(expected) => {
                if key != expected {
                    self.problems.push(other(expected));
                }
                Ok(key == expected)
            }
            Trust::Pin(keys) => {
                let pinned = keys.verifying_key(key.name())?;
                let Some((pinned, pin)) = pinned.zip(anchors.pin.as_ref()) else {
                    return Ok(false);
                };
                if pinned != *key {
                    self.problems.push(other(&pinned));
                    return Ok(false);
                }
                self.check_slots(pin, "keys/", key);
                Ok(true)
            }
        }
    }

    /// Full tiles above the leaves that are there must be what the log says; the rest was compared
    /// batch by batch.
    fn check_tiles(&mut self, storage: &dyn Storage, size: u64) -> Result<(), LedgerError> {
        let is_above = |tile: &Tile| matches!(tile.kind, TileKind::Hashes { level: 1.. });
        for tile in full_tiles(size).filter(is_above) {
            let path = tile.to_string();
            let read = storage
                .read(&path)
                .map_err(io_error(format!("read {path}")))?;
            let is_content = |found: &Vec<u8>| tile.hashes(&self.tree).as_ref() == Ok(found);
            if read.is_some_and(|found| !is_content(&found)) {
                let what = "this file is not what the log says";
                self.problems.push(Problem::of_file(path, what));
            }
        }
        Ok(())
    }
}
