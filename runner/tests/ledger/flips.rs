//! Every bit of every file of a ledger, but the lock, is covered by a check.

use std::thread;

use axiom_hive_runner::ledger::storage::Memory;
use axiom_hive_runner::ledger::{Depth, Trust, verify_on};

use super::fixture::{FIRST_SEGMENT, World, constitution, erasure};

/// All files together stay below this, in bytes.
const MAX_LEDGER_BYTES: usize = 40 * 1024;
const RECORDS: u64 = 100;

/// 100 records of at most 256 bytes, half of them with a payload.
fn small_ledger() -> World {
    let world = World::default();
    let mut ledger = world.open().unwrap();
    for number in 0..RECORDS {
        if number % 2 == 0 {
            let (reference, text) = constitution(number);
            ledger.ensure_constitution(&reference, &text).unwrap();
        } else {
            ledger.append(&erasure(number), &[]).unwrap();
        }
    }
    for index in 0..RECORDS {
        assert!(ledger.view().record_bytes(index).unwrap().len() <= 256);
    }
    drop(ledger);
    world
}

#[test]
fn every_flipped_bit_of_a_hundred_records_is_found() {
    let world = small_ledger();
    let files = world.dir.files();
    let total: usize = files.values().map(Vec::len).sum();
    assert!(total <= MAX_LEDGER_BYTES, "{total} bytes");
    let report = verify_on(&world.dir, Trust::Pin(&world.keys()), Depth::Records).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);

    let bits: Vec<(&String, usize)> = files
        .iter()
        .flat_map(|(path, bytes)| (0..bytes.len() * 8).map(move |bit| (path, bit)))
        .collect();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for part in bits.chunks(bits.len().div_ceil(threads)) {
            let (world, files) = (&world, &files);
            scope.spawn(move || {
                let dir = Memory::from_files(files.clone());
                let keys = world.fork().keys();
                for (path, bit) in part {
                    // `Records` makes the checks of `Log` and more: it is tried once a byte.
                    let depth = if bit % 8 == 0 {
                        Depth::Records
                    } else {
                        Depth::Log
                    };
                    dir.edit(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
                    let report = verify_on(&dir, Trust::Pin(&keys), depth).unwrap();
                    assert!(!report.is_ok(), "bit {bit} of {path}");
                    assert!(!report.problems.is_empty(), "bit {bit} of {path}");
                    dir.edit(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
                }
            });
        }
    });
}

#[test]
fn a_log_cut_at_any_byte_is_found() {
    let world = small_ledger();
    let length = world.dir.files()[FIRST_SEGMENT].len();
    for cut in 0..length {
        let dir = Memory::from_files(world.dir.files());
        dir.edit(FIRST_SEGMENT, |bytes| bytes.truncate(cut));
        let report = verify_on(&dir, Trust::Pin(&world.keys()), Depth::Log).unwrap();
        assert!(!report.is_ok(), "cut at {cut}");
    }
}
