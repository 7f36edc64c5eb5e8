//! Power loss at every step: of what was not synced, any part may have reached the disk.
//!
//! The model: a file's writes since its last sync survive in any combination. A write to the log
//! survives in pieces of 32 bytes, and the file may have grown without its bytes. A head lies in
//! one sector and is written whole or not at all. Replacing a file durably is one step.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use axiom_hive_core::supervisor::Entry;
use axiom_hive_runner::ledger::storage::{Lock, Memory, Storage};
use axiom_hive_runner::ledger::{Depth, KeyStore, Ledger, Trust, verify_on};

use super::fixture::{World, budget, entry, erasure};

/// How much of a write to the log stays together, in bytes.
const PIECE_BYTES: usize = 32;
/// Groups that are appended before the power fails for good, by their number of records.
const GROUPS: [u64; 4] = [1, 2, 1, 3];
/// Records of all groups.
const RECORDS: u64 = 7;

/// One step of the writer. The path begins with `dir/` or `keys/`.
#[derive(Debug, Clone)]
enum Step {
    Write(String, u64, Vec<u8>),
    Sync(String),
    Truncate(String, u64),
    Replace(String, Vec<u8>),
    /// The caller knows of this many records.
    Acknowledged(u64),
}

type Journal = Arc<Mutex<Vec<Step>>>;

/// A storage that writes down every step.
struct Journaled {
    memory: Memory,
    prefix: &'static str,
    journal: Journal,
}

impl Journaled {
    fn note(&self, path: &str, step: impl FnOnce(String) -> Step) {
        let step = step(format!("{}/{path}", self.prefix));
        self.journal.lock().unwrap().push(step);
    }
}

impl Storage for Journaled {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.memory.list(folder)
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.memory.read(path)
    }

    fn length(&self, path: &str) -> io::Result<Option<u64>> {
        self.memory.length(path)
    }

    fn read_at(&self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.memory.read_at(path, offset, length)
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.note(path, |path| Step::Write(path, offset, bytes.to_vec()));
        self.memory.write_at(path, offset, bytes)
    }

    fn sync(&self, path: &str) -> io::Result<()> {
        self.note(path, Step::Sync);
        self.memory.sync(path)
    }

    fn truncate(&self, path: &str, length: u64) -> io::Result<()> {
        self.note(path, |path| Step::Truncate(path, length));
        self.memory.truncate(path, length)
    }

    fn replace(&self, path: &str, bytes: &[u8], durable: bool) -> io::Result<()> {
        assert!(durable, "the writer replaces nothing in passing");
        self.note(path, |path| Step::Replace(path, bytes.to_vec()));
        self.memory.replace(path, bytes, durable)
    }

    fn try_lock(&self, path: &str) -> io::Result<Option<Lock>> {
        self.memory.try_lock(path)
    }
}

/// `SplitMix64`: the same states in every run.
struct Dice(u64);

impl Dice {
    fn coin(&mut self) -> bool {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) & 1 == 1
    }
}

/// The disk, and what is still on its way to it.
#[derive(Debug, Clone, Default)]
struct Disk {
    durable: BTreeMap<String, Vec<u8>>,
    pending: Vec<(String, u64, Vec<u8>)>,
    acknowledged: u64,
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    file.resize(file.len().max(offset + bytes.len()), 0);
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Disk {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Write(path, offset, bytes) => {
                self.pending.push((path.clone(), *offset, bytes.clone()));
            }
            Step::Sync(path) => self.settle(path),
            Step::Truncate(path, length) => {
                self.settle(path);
                let length = usize::try_from(*length).unwrap();
                self.durable.get_mut(path).unwrap().truncate(length);
            }
            Step::Replace(path, bytes) => {
                self.pending.retain(|(pending, ..)| pending != path);
                self.durable.insert(path.clone(), bytes.clone());
            }
            Step::Acknowledged(size) => self.acknowledged = *size,
        }
    }

    fn settle(&mut self, path: &str) {
        for (pending, offset, bytes) in std::mem::take(&mut self.pending) {
            if pending == path {
                let file = self.durable.get_mut(path).unwrap();
                put(file, usize::try_from(offset).unwrap(), &bytes);
            } else {
                self.pending.push((pending, offset, bytes));
            }
        }
    }

    /// One of the states that a power loss may leave.
    fn after_power_loss(&self, dice: &mut Dice) -> World {
        let mut files = self.durable.clone();
        for (path, offset, bytes) in &self.pending {
            let file = files.get_mut(path).unwrap();
            let offset = usize::try_from(*offset).unwrap();
            if !path.starts_with("dir/log/") {
                if dice.coin() {
                    put(file, offset, bytes);
                }
                continue;
            }
            if dice.coin() {
                file.resize(file.len().max(offset + bytes.len()), 0);
            }
            for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
                if dice.coin() {
                    put(file, offset + number * PIECE_BYTES, piece);
                }
            }
        }
        let part = |prefix: &str| {
            let part = files.iter().filter_map(|(path, bytes)| {
                Some((path.strip_prefix(prefix)?.to_owned(), bytes.clone()))
            });
            Memory::from_files(part.collect())
        };
        World {
            dir: part("dir/"),
            keys: part("keys/"),
        }
    }
}

/// Opens on the world, writing down every step, and appends what is missing of `GROUPS`.
fn run(world: &World) -> Vec<Step> {
    let journal = Journal::default();
    let journaled = |memory: &Memory, prefix| {
        Arc::new(Journaled {
            memory: memory.clone(),
            prefix,
            journal: Arc::clone(&journal),
        })
    };
    let keys = KeyStore::on(journaled(&world.keys, "keys"));
    let mut ledger = Ledger::open_on(journaled(&world.dir, "dir"), &keys, "memory").unwrap();
    assert_eq!(ledger.read_only(), []);
    let mut end = 0;
    for length in GROUPS {
        end += length;
        let entries: Vec<Entry> = (ledger.view().size()..end).map(entry).collect();
        for reply in ledger.append_group(&entries) {
            reply.unwrap();
        }
        journal.lock().unwrap().push(Step::Acknowledged(end));
    }
    drop(ledger);
    journal.lock().unwrap().clone()
}

/// What must hold in every state.
fn check(world: &World, acknowledged: u64) {
    let mut ledger = world.open().unwrap();
    assert_eq!(ledger.read_only(), []);
    let size = ledger.view().size();
    assert!(
        (acknowledged..=RECORDS).contains(&size),
        "{acknowledged}, then {size}"
    );
    let ends = GROUPS.iter().scan(0, |end, length| {
        *end += length;
        Some(*end)
    });
    let is_whole = size == 0 || ends.into_iter().any(|end| end == size);
    assert!(is_whole, "a part of a group is kept: {size}");
    for number in 0..size {
        assert_eq!(ledger.record(number).unwrap(), erasure(number));
    }
    ledger.append(&erasure(size), &[]).unwrap();
    drop(ledger);
    let report = verify_on(&world.dir, Trust::Pin(&world.keys()), Depth::Records).unwrap();
    assert!(report.is_ok() && report.tail.is_none(), "{report:?}");
}

/// Every prefix of the steps, `states` ways each.
fn explore(start: &World, steps: &[Step], states: u32, dice: &mut Dice) {
    let mut disk = Disk::default();
    for (prefix, memory) in [("dir", &start.dir), ("keys", &start.keys)] {
        for (path, bytes) in memory.files() {
            disk.durable.insert(format!("{prefix}/{path}"), bytes);
        }
    }
    for step in steps {
        disk.step(step);
        for _ in 0..states {
            check(&disk.after_power_loss(dice), disk.acknowledged);
        }
    }
}

#[test]
fn power_loss_never_loses_an_acknowledged_record() {
    let states = budget("LEDGER_POWER_LOSS", 100);
    let start = World::default();
    let steps = run(&start.fork());
    assert!(steps.len() > 20, "creation and appends: {}", steps.len());
    explore(&start, &steps, states, &mut Dice(1));
}

#[test]
fn power_loss_during_a_recovery_loses_nothing_either() {
    let states = budget("LEDGER_POWER_LOSS", 100);
    let mut dice = Dice(2);
    let start = World::default();
    let mut disk = Disk::default();
    for step in run(&start.fork()) {
        disk.step(&step);
        let (first, known) = (disk.after_power_loss(&mut dice), disk.acknowledged);
        let mut steps = run(&first.fork());
        steps.insert(0, Step::Acknowledged(known));
        explore(&first, &steps, states / 20, &mut dice);
    }
}
