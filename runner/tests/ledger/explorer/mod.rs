//! Every state of the disk that a power loss may leave, at every step of the writer.
//!
//! A script of appends, rotations and repairs runs once on a disk that writes everything down. At each
//! moment of it the power fails; each thing that may then be on the disk ([`disk`]) is opened by the
//! real code, which must have every acknowledged record once and none twice, under a head that agrees
//! with all before; then the script goes on by one step, and the ledger verifies. That recovery is a run
//! too, and the power fails in it as well.
//!
//! States are counted once. The order is the same in every run, and goes round over all moments, so
//! that any budget covers every moment with its telling states first, and all of them when it suffices.

mod disk;
mod script;
mod states;

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use super::fixture::{World, budget};
use disk::{Disk, Files, Op};
use script::{Expected, Script, Step, begin, end, filled, first_use};
use states::{Moment, Next, State, hash_of};

/// Crashes one after the other: during the script, its recovery, and the recovery of that.
const MAX_DEPTH: usize = 3;
/// In this order moments get their turn, by the number of crashes up to them: the more crashes, the
/// more moments there are, and the less each tells that a simpler one does not.
const TURNS: [usize; 7] = [1, 2, 1, 3, 1, 2, 1];
/// Moments that wait for their turn, at most: what is found while there are more adds none.
const MAX_MOMENTS: usize = 20_000;

/// What was done.
#[derive(Debug, Default)]
struct Explored {
    states: u64,
    moments: u64,
    /// Whether no state is left.
    is_all: bool,
}

struct Explorer<'s> {
    script: &'s Script,
    expected: Expected,
    /// Moments that have more states, by the number of crashes up to them; the next one first.
    moments: [VecDeque<Moment>; MAX_DEPTH],
    /// Every moment so far.
    known: HashSet<u64>,
    /// States that were looked at.
    seen: HashSet<u64>,
    /// What became of them by opening, so that what follows is done once.
    opened: HashSet<u64>,
    explored: Explored,
}

impl<'s> Explorer<'s> {
    fn new(script: &'s Script) -> Self {
        Self {
            expected: script.expected(MAX_DEPTH),
            script,
            moments: Default::default(),
            known: HashSet::new(),
            seen: HashSet::new(),
            opened: HashSet::new(),
            explored: Explored::default(),
        }
    }

    /// Adds every moment of a run that began on these files.
    fn add_moments(&mut self, start: Files, progress: (usize, usize), ops: &[Op], depth: usize) {
        let (mut started, mut acknowledged) = progress;
        let mut disk = Disk::new(start);
        for (number, op) in ops.iter().enumerate() {
            disk.step(op);
            match op {
                Op::Started(steps) => started = *steps,
                Op::Acknowledged(steps) => acknowledged = *steps,
                _ => {}
            }
            let what = format!("crash {depth} after operation {number}, {}", op.name());
            // Many ways lead to the same moment.
            if self.known.insert(hash_of(&(&disk, started, acknowledged))) {
                let moment = Moment::new(&disk, (started, acknowledged), depth, what);
                self.moments[depth - 1].push_back(moment);
                self.explored.moments += 1;
            }
        }
    }

    /// Looks at up to `limit` states.
    fn explore(mut self, limit: u64) -> Explored {
        let (start, ops) = self.script.first_run();
        self.add_moments(start, (0, 0), &ops, 1);
        let mut turns = TURNS.into_iter().cycle();
        while self.explored.states < limit {
            if self.moments.iter().all(VecDeque::is_empty) {
                self.explored.is_all = true;
                break;
            }
            let depth = turns.next().unwrap();
            let Some(mut moment) = self.moments[depth - 1].pop_front() else {
                continue;
            };
            match moment.next(&mut self.seen) {
                Next::State(state) => {
                    self.explored.states += 1;
                    if let Err(why) = self.check(&moment, state) {
                        panic!("{}: {why}", self.script.name);
                    }
                }
                Next::Later => {}
                Next::End => continue,
            }
            self.moments[depth - 1].push_back(moment);
        }
        self.explored
    }

    fn check(&mut self, moment: &Moment, state: State) -> Result<(), String> {
        let State { files, values } = state;
        let within = |why| format!("{}, {values:?}: {why}", moment.what);
        let progress = (moment.started, moment.acknowledged);
        let opened = self.script.recover(&files, progress, &self.expected);
        let (mut opened, done) = opened.map_err(within)?;
        if !self.opened.insert(hash_of(&(opened.files(), progress))) {
            return Ok(());
        }
        let script = self.script;
        let went_on = script.go_on(&mut opened, done, progress, &self.expected);
        went_on.map_err(within)?;
        let waiting: usize = self.moments.iter().map(VecDeque::len).sum();
        if moment.depth < MAX_DEPTH && waiting < MAX_MOMENTS {
            self.add_moments(files, progress, &opened.ops(), moment.depth + 1);
        }
        Ok(())
    }
}

/// Explores `share` of a hundred parts of all the states that are asked for.
fn explore(script: &Script, share: u32) {
    let limit = u64::from(budget("LEDGER_EXPLORER_STATES", 10_000)) * u64::from(share) / 100;
    let start = Instant::now();
    let explored = Explorer::new(script).explore(limit);
    eprintln!("{}: {explored:?} in {:?}", script.name, start.elapsed());
    assert!(explored.states == limit || explored.is_all);
}

const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

#[test]
fn lone_appends() {
    let steps = [first_use(), begin("a"), end("a"), begin("b")];
    explore(
        &Script {
            name: "lone appends",
            segment_bytes: SEGMENT_BYTES,
            start: World::default(),
            steps: steps.map(|entry| Step::append(vec![entry])).into(),
            settled: 0,
        },
        30,
    );
}

#[test]
fn groups() {
    let groups = [
        vec![first_use(), begin("a")],
        vec![end("a"), begin("b"), end("b")],
        vec![begin("c")],
    ];
    explore(
        &Script {
            name: "groups",
            segment_bytes: SEGMENT_BYTES,
            start: World::default(),
            steps: groups.map(Step::append).into(),
            settled: 0,
        },
        25,
    );
}

#[test]
fn segments() {
    let groups = [
        vec![first_use()],
        vec![begin("a"), end("a")],
        vec![begin("b")],
    ];
    explore(
        &Script {
            name: "segments",
            // Each group begins a new one.
            segment_bytes: 1,
            start: World::default(),
            steps: groups.map(Step::append).into(),
            settled: 0,
        },
        20,
    );
}

#[test]
fn erasures() {
    explore(
        &Script {
            name: "erasures",
            // The third group begins a new one.
            segment_bytes: 2_000,
            start: World::default(),
            steps: vec![
                Step::append(vec![first_use()]),
                Step::append(vec![begin("a"), end("a")]),
                Step::append(vec![begin("b")]),
                Step::Erase(&[1]),
                Step::append(vec![end("b")]),
                Step::Erase(&[1, 3]),
            ],
            settled: 0,
        },
        20,
    );
}

#[test]
fn seals() {
    explore(
        &Script {
            name: "seals",
            segment_bytes: SEGMENT_BYTES,
            start: World::default(),
            steps: vec![
                Step::append(vec![first_use(), begin("a"), end("a")]),
                Step::Seal,
                Step::Erase(&[1]),
            ],
            settled: 0,
        },
        10,
    );
}

#[test]
fn tiles() {
    let groups = [vec![first_use()], vec![begin("a"), end("a")]];
    explore(
        &Script {
            name: "tiles",
            segment_bytes: SEGMENT_BYTES,
            start: filled(254),
            steps: groups.map(Step::append).into(),
            settled: 0,
        },
        4,
    );
}

#[test]
fn repair() {
    let start = filled(256);
    start.dir.edit("tile/0/000", |tile| tile[5] ^= 1);
    start
        .dir
        .edit("tile/entries/000", |tile| tile.truncate(100));
    explore(
        &Script {
            name: "repair",
            segment_bytes: SEGMENT_BYTES,
            start,
            steps: vec![Step::Repair, Step::append(vec![first_use()])],
            settled: 1,
        },
        1,
    );
}
