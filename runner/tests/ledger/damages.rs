//! A ledger of many tiles, damaged in one place at a time: all of it is found. The full count is
//! `AXIOM_HIVE_BUDGET_LEDGER_DAMAGES`; every case has its number, and is the same in every run.

use std::collections::BTreeMap;
use std::thread;

use axiom_hive_core::supervisor::Entry;
use axiom_hive_runner::ledger::storage::Memory;
use axiom_hive_runner::ledger::{Depth, Trust, verify_on};

use super::fixture::{World, budget, entry, frames};

/// With a payload each, and in groups without.
const WITH_PAYLOADS: u64 = 200;
const IN_GROUPS: u64 = 1_200;
const GROUP: u64 = 100;

fn big_ledger() -> World {
    let world = World::with_records(WITH_PAYLOADS);
    let mut ledger = world.open().unwrap();
    for first in (0..IN_GROUPS).step_by(usize::try_from(GROUP).unwrap()) {
        let group: Vec<Entry> = (first..first + GROUP).map(entry).collect();
        assert!(ledger.append_group(&group).iter().all(Result::is_ok));
    }
    drop(ledger);
    world
}

/// `SplitMix64`: numbers that look random, the same for the same seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}

/// Damages the content of one file; `starts` are the frames, where there are some.
fn damage(draw: &mut Draw, bytes: &mut Vec<u8>, starts: &[usize]) -> &'static str {
    let length = bytes.len();
    let mut place = || {
        if starts.is_empty() {
            draw.below(length)
        } else {
            starts[draw.below(starts.len() - 1)]
        }
    };
    let (one, two) = (place(), place());
    match draw.below(5) {
        0 => {
            let bit = draw.below(8 * length);
            bytes[bit / 8] ^= 1 << (bit % 8);
            "a flipped bit"
        }
        1 => {
            bytes.truncate(draw.below(length));
            "a truncation"
        }
        2 => {
            // What stands in one place stands in another too.
            let size = 1 + draw.below(512.min(length - one.max(two)));
            let piece = bytes[one..one + size].to_vec();
            bytes[two..two + size].copy_from_slice(&piece);
            "an overwriting splice"
        }
        3 => {
            let size = 1 + draw.below(512.min(length - one));
            let piece = bytes[one..one + size].to_vec();
            bytes.splice(two..two, piece);
            "an inserting splice"
        }
        _ => {
            // Two neighbouring pieces change places.
            let (first, last) = (one.min(two), one.max(two));
            let size = (1 + draw.below(512)).min(length - last).min(last - first);
            bytes[first..last + size].rotate_right(size);
            "a reordering"
        }
    }
}

/// Tries the cases with the numbers of `cases`; how many were damages at all.
fn try_cases(
    world: &World,
    files: &BTreeMap<String, Vec<u8>>,
    cases: impl Iterator<Item = u64>,
) -> usize {
    let dir = Memory::from_files(files.clone());
    let keys = world.fork().keys();
    let paths: Vec<&String> = files.keys().collect();
    let frames = frames(world);
    let mut damages = 0;
    for case in cases {
        let mut draw = Draw(case);
        let is_log = |path: &str| path.starts_with("log/");
        // The log is most of the bytes: half of the cases.
        let log = paths.iter().find(|path| is_log(path)).unwrap();
        let path = if draw.below(2) == 0 {
            log
        } else {
            &paths[draw.below(paths.len())]
        };
        let before = &files[*path];
        let starts: &[usize] = if is_log(path) && draw.below(2) == 0 {
            &frames
        } else {
            &[]
        };
        let mut after = before.clone();
        let what = damage(&mut draw, &mut after, starts);
        if after == *before {
            continue;
        }
        damages += 1;
        dir.edit(path, |bytes| bytes.clone_from(&after));
        let report = verify_on(&dir, Trust::Pin(&keys), Depth::Log).unwrap();
        // Bytes behind an intact log may be an append that is going on.
        let is_tail = report.tail.is_some() && is_log(path) && after.starts_with(before);
        assert!(!report.is_ok() || is_tail, "case {case}: {what} in {path}");
        dir.edit(path, |bytes| bytes.clone_from(before));
    }
    damages
}

#[test]
fn no_damage_to_a_big_ledger_goes_unnoticed() {
    let world = big_ledger();
    let files = world.dir.files();
    assert!(files.contains_key("tile/0/004") && files.contains_key("tile/entries/004"));
    let report = verify_on(&world.dir, Trust::Pin(&world.keys()), Depth::Log).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
    let count = u64::from(budget("LEDGER_DAMAGES", 200));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let damages: usize = thread::scope(|scope| {
        let start = |first: usize| {
            let (world, files) = (&world, &files);
            let cases = (first as u64..count).step_by(threads);
            scope.spawn(move || try_cases(world, files, cases))
        };
        let running: Vec<_> = (0..threads).map(start).collect();
        running.into_iter().map(|it| it.join().unwrap()).sum()
    });
    assert!(
        damages as u64 > count * 9 / 10,
        "{damages} of {count} changed anything"
    );
}
