//! Opening for writing: create, check against every anchor, repair what a crash may leave.
//!
//! | what is found | what happens |
//! |---|---|
//! | a damaged or unfinished last group beyond the head | cut, reported |
//! | intact groups beyond the head, signed by the key | kept: they are written again, synced, and become the head |
//! | damage at or below the head, or before a frame of a later group | read-only |
//! | a head, pin or anchor beyond the log, or with another root | read-only |
//! | a head, pin or last frame that the key did not sign | read-only |
//! | one broken slot of a pair (a torn write) | written anew, reported |
//! | both slots of a pair broken or missing | read-only |
//! | no key for this log in the key store | read-only |
//! | a full tile or bundle beyond the indexes is missing | written again |
//! | the index of a finished segment is missing, damaged or another's | read from the log, written again, reported |
//! | the ledger is sealed, its checkpoint is not that of the whole ledger | partial tiles and checkpoint are written |
//! | an erasure is recorded, its payloads are still there | they are erased |

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axiom_hive_core::tlog::SigningKey;

use super::anchor::{Anchor, Known, contradiction};
use super::crash::{CrashPoint, reach};
use super::engine::{Ledger, State};
use super::erase;
use super::error::{LedgerError, Problem, io_error};
use super::frame::SegmentHeader;
use super::head::{Slots, wrong_with};
use super::indexes::{open_log, write_indexes};
use super::keys::KeyStore;
use super::log::{Damage, ReadLog, SEGMENT_BYTES, segment_path, segment_paths};
use super::nodes::Nodes;
use super::reader::LedgerReader;
use super::seal;
use super::storage::{Disk, Lock, Storage};
use super::tiles;

/// How long to wait for another writer, in seconds.
const LOCK_WAIT_SECONDS: u64 = 10;
/// How often to look whether the lock is free.
const LOCK_POLL: Duration = Duration::from_millis(20);
/// The folder of the two head slots.
pub(super) const HEADS_FOLDER: &str = "heads";
/// The lock file of a ledger directory.
pub(super) const LOCK_FILE: &str = "lock";
/// What a directory may hold before its first segment.
const NAMES_BEFORE_LOG: [&str; 3] = ["heads/", LOCK_FILE, "log/"];

impl Ledger {
    /// Opens the ledger in `dir` for writing; makes it, and a key in `keys`, when there is none.
    ///
    /// Waits at most 10 s for another writer. A ledger that fails a check opens read-only:
    /// [`Ledger::read_only`] says why, and every append gives [`LedgerError::ReadOnly`].
    pub fn open(dir: &Path, keys: &KeyStore) -> Result<Self, LedgerError> {
        let storage = Arc::new(Disk::new(dir, 0o600));
        Self::open_on(storage, keys, &dir.display().to_string())
    }

    /// The same on any storage; `name` is for messages.
    pub fn open_on(
        storage: Arc<dyn Storage>,
        keys: &KeyStore,
        name: &str,
    ) -> Result<Self, LedgerError> {
        Self::open_with_anchors(storage, keys, name, &[])
    }

    /// The same, held against what others know of the ledger. A log that contradicts an anchor
    /// opens read-only. Where there is an anchor, no new ledger is begun in the place of a lost one.
    pub fn open_with_anchors(
        storage: Arc<dyn Storage>,
        keys: &KeyStore,
        name: &str,
        anchors: &[Anchor],
    ) -> Result<Self, LedgerError> {
        let lock = take_lock(&*storage, LOCK_FILE, &format!("{name}/{LOCK_FILE}"))?;
        if segment_paths(&*storage)?.is_empty() {
            if let Some(anchor) = anchors.iter().find(|anchor| anchor.known != Known::Size(0)) {
                return Err(LedgerError::NotALedger {
                    path: name.to_owned(),
                    why: format!("{} knows records of it, but its log is gone", anchor.from),
                });
            }
            create(&*storage, keys, name)?;
        }
        let (read, ignored) = open_log(&*storage)?;
        let Some(read) = read else {
            return Err(LedgerError::NotALedger {
                path: name.to_owned(),
                why: "its log disappeared".to_owned(),
            });
        };
        let mut opening = Opening::check(storage, keys, lock, read)?;
        let view = &opening.view;
        let contradictions = anchors
            .iter()
            .filter_map(|anchor| contradiction(view, anchor));
        opening.reasons.extend(contradictions.collect::<Vec<_>>());
        opening.finish(ignored)
    }
}

/// Polls: `flock` itself has no time-out.
pub(super) fn take_lock(
    storage: &dyn Storage,
    path: &str,
    shown: &str,
) -> Result<Lock, LedgerError> {
    let start = Instant::now();
    loop {
        let lock = storage.try_lock(path);
        if let Some(lock) = lock.map_err(io_error(format!("lock {shown}")))? {
            return Ok(lock);
        }
        if start.elapsed() >= Duration::from_secs(LOCK_WAIT_SECONDS) {
            return Err(LedgerError::Locked {
                path: shown.to_owned(),
                seconds: LOCK_WAIT_SECONDS,
            });
        }
        std::thread::sleep(LOCK_POLL);
    }
}

/// Makes an empty ledger. A crash on the way leaves a directory that is still accepted as empty,
/// and at worst a key that nobody uses: the first segment comes last.
fn create(storage: &dyn Storage, keys: &KeyStore, name: &str) -> Result<(), LedgerError> {
    let not_empty = |why: String| LedgerError::NotALedger {
        path: name.to_owned(),
        why,
    };
    let names = storage.list("").map_err(io_error(format!("list {name}")))?;
    if let Some(other) = names
        .iter()
        .find(|n| !NAMES_BEFORE_LOG.contains(&n.as_str()))
    {
        return Err(not_empty(format!("it holds {other} and no log")));
    }
    let heads = Slots::read(storage, HEADS_FOLDER).map_err(io_error("read heads"))?;
    if heads.newest().is_some() {
        return Err(not_empty(
            "it holds signed heads, but its log is gone".to_owned(),
        ));
    }
    reach(CrashPoint::CreateStart);
    let key = keys.create()?;
    reach(CrashPoint::CreateKeys);
    Slots::create(storage, HEADS_FOLDER).map_err(io_error(format!("write {name}/heads")))?;
    reach(CrashPoint::CreateHeads);
    new_segment(storage, 0, &key.verifying_key().to_string())?;
    reach(CrashPoint::CreateLog);
    Ok(())
}

/// Makes the segment that begins with record `first_index`, durably and in one step.
pub(super) fn new_segment(
    storage: &dyn Storage,
    first_index: u64,
    vkey: &str,
) -> Result<(String, SegmentHeader, u64), LedgerError> {
    let mut salt = [0; 8];
    getrandom::fill(&mut salt).map_err(|error| LedgerError::Random(error.to_string()))?;
    let header = SegmentHeader {
        first_index,
        salt,
        vkey: vkey.to_owned(),
    };
    let path = segment_path(first_index);
    let bytes = header.encode();
    let written = storage.replace(&path, &bytes, true);
    written.map_err(io_error(format!("write {path}")))?;
    Ok((path, header, bytes.len() as u64))
}

/// A ledger that is being checked.
struct Opening {
    keys: KeyStore,
    locks: Vec<Lock>,
    view: LedgerReader,
    damage: Option<Damage>,
    heads: Slots,
    pin: Slots,
    key: Option<SigningKey>,
    /// Why nothing may be appended.
    reasons: Vec<Problem>,
}

impl Opening {
    fn check(
        storage: Arc<dyn Storage>,
        keys: &KeyStore,
        lock: Lock,
        read: ReadLog,
    ) -> Result<Self, LedgerError> {
        let ReadLog { log, damage } = read;
        let origin = log.key.name().to_owned();
        let mut reasons = Vec::new();
        let mut locks = vec![lock];
        let key = keys
            .signing_key(&log.key)
            .map_err(|no| reasons.push(no))
            .ok();
        if key.is_some() {
            let path = format!("{origin}/lock");
            locks.push(take_lock(&*keys.storage, &path, &keys.shown(&path))?);
        }
        let heads = Slots::read(&*storage, HEADS_FOLDER).map_err(io_error("read heads"))?;
        // Without a key nothing is known of this origin, not even that it may become a path.
        let pin = match key {
            Some(_) => keys.pin(&origin)?,
            None => Slots::absent(),
        };
        let mut opening = Self {
            keys: keys.clone(),
            locks,
            view: LedgerReader::new(storage, log),
            damage,
            heads,
            pin,
            key,
            reasons,
        };
        opening.check_slots();
        opening.check_damage();
        opening.check_last_frame();
        Ok(opening)
    }

    /// Heads and pin must be readable, signed, and heads of this very log.
    fn check_slots(&mut self) {
        let is_known = self.key.is_some();
        let view = &self.view;
        let pairs = [(&self.heads, ""), (&self.pin, "keys/")];
        // Without a key there is no pin either; that is one reason, not three.
        for (slots, prefix) in pairs.into_iter().take(if is_known { 2 } else { 1 }) {
            let mut problems = slots.broken();
            if problems.len() < 2 {
                problems.clear();
            }
            for (file, head) in slots.intact() {
                let what = wrong_with(&head, view.verifying_key(), view.size(), &Nodes(view));
                problems.extend(what.map(|what| Problem::of_file(file, what)));
            }
            for mut problem in problems {
                problem.file.insert_str(0, prefix);
                self.reasons.push(problem);
            }
        }
    }

    /// Damage is a crash's trace only when nothing intact follows it and no head covers it.
    fn check_damage(&mut self) {
        let released = [&self.heads, &self.pin].map(Slots::newest);
        let released = released.into_iter().flatten().map(|head| head.size).max();
        if let Some(damage) = &self.damage
            && (damage.is_followed || released.unwrap_or(0) > self.view.size())
        {
            self.reasons.push(damage.problem.clone());
        }
    }

    /// The last frame's signature covers the whole log.
    fn check_last_frame(&mut self) {
        let signed = self.view.log().head.clone();
        let Some(signed) =
            signed.filter(|signed| !signed.head.is_signed_by(self.view.verifying_key()))
        else {
            return;
        };
        let last = signed.head.size - 1;
        let what = "the log was changed: this frame's signature is not over these records";
        let problem = match self.view.place(last) {
            Ok(place) => {
                let path = Arc::clone(&self.view.log().segments[place.segment as usize].path);
                Problem::of_file(&*path, what).at(place.offset, last)
            }
            Err(_) => Problem::of_file("log", what),
        };
        self.reasons.push(problem);
    }

    /// `ignored` are indexes that are not used.
    fn finish(mut self, ignored: Vec<Problem>) -> Result<Ledger, LedgerError> {
        let mut repaired = ignored;
        let is_sound = self.reasons.is_empty();
        if is_sound {
            self.cut_tail(&mut repaired)?;
            self.keep_frames_beyond_head()?;
            reach(CrashPoint::OpenChecked);
            self.write_heads(&mut repaired)?;
        }
        let view = self.view;
        if is_sound {
            let indexed = view.log().indexed();
            tiles::write_missing(&view, indexed)?;
            seal::publish(&view)?;
            // The next opening tries again; a disk too full for it must not keep records out.
            if let Err(error) = erase::carry_out(&view) {
                tracing::error!(%error, "an erasure is recorded, but cannot be carried out");
            }
            // Without one the next opening reads the segment again.
            if let Err(error) = write_indexes(&view) {
                tracing::warn!(%error, "the index of a segment could not be written");
            }
        }
        let state = match (self.key, is_sound) {
            (Some(key), true) => State::Writable(Arc::new(key)),
            _ => State::ReadOnly(self.reasons),
        };
        Ok(Ledger {
            derived: view.size(),
            segment_bytes: SEGMENT_BYTES,
            view,
            keys: self.keys,
            heads: self.heads,
            pin: self.pin,
            state,
            repaired,
            constitutions: HashMap::new(),
            _locks: self.locks,
        })
    }

    fn cut_tail(&mut self, repaired: &mut Vec<Problem>) -> Result<(), LedgerError> {
        let Some(damage) = self.damage.take() else {
            return Ok(());
        };
        let path = &damage.problem.file;
        let cut = self.view.storage.truncate(path, damage.end);
        cut.map_err(io_error(format!("cut {path}")))?;
        repaired.push(damage.problem);
        reach(CrashPoint::OpenCut);
        Ok(())
    }

    /// Frames beyond the head may be in the page cache only: the writer died before its sync, or
    /// its sync failed and the kernel then called the lost pages clean. They are written again.
    fn keep_frames_beyond_head(&mut self) -> Result<(), LedgerError> {
        let released = self.heads.newest().map_or(0, |head| head.size);
        let storage = &self.view.storage;
        // What an index covers was synced before the index was written.
        let first = released.max(self.view.log().indexed());
        let mut touched: Vec<Arc<str>> = Vec::new();
        for index in first..self.view.size() {
            let place = self.view.place(index)?;
            let path = Arc::clone(&self.view.log().segments[place.segment as usize].path);
            storage
                .read_at(&path, place.offset, place.length as usize)
                .and_then(|bytes| storage.write_at(&path, place.offset, &bytes))
                .map_err(io_error(format!("rewrite {path}")))?;
            if touched.last() != Some(&path) {
                touched.push(path);
            }
        }
        for path in touched {
            storage
                .sync(&path)
                .map_err(io_error(format!("sync {path}")))?;
        }
        Ok(())
    }

    /// Brings heads and pin up to the log; a broken slot of either is written anew.
    fn write_heads(&mut self, repaired: &mut Vec<Problem>) -> Result<(), LedgerError> {
        let head = self.view.log().head.as_ref().map(|signed| signed.head);
        let pairs = [
            (&mut self.heads, &*self.view.storage, ""),
            (&mut self.pin, &*self.keys.storage, "keys/"),
        ];
        for (slots, storage, prefix) in pairs {
            for mut problem in slots.broken() {
                problem.file.insert_str(0, prefix);
                repaired.push(problem);
            }
            let is_behind = slots.newest() != head || !slots.broken().is_empty();
            if let Some(head) = head.filter(|_| is_behind) {
                let written = slots.write(storage, head);
                written.map_err(io_error(format!("write {prefix}head")))?;
            }
        }
        Ok(())
    }
}
