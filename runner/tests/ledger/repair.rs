//! Derived files, written again from a log that verifies.

use std::collections::BTreeMap;
use std::sync::Arc;

use axiom_hive_core::tlog::SigningKey;
use axiom_hive_runner::ledger::storage::Memory;
use axiom_hive_runner::ledger::{Depth, LedgerError, Repaired, Trust, repair_on, verify_on};

use super::fixture::{FIRST_SEGMENT, World};

const DERIVED: [&str; 2] = ["tile/0/000", "tile/entries/000"];

fn repair(world: &World) -> Result<Repaired, LedgerError> {
    let keys = world.keys();
    repair_on(Arc::new(world.dir.clone()), Trust::Pin(&keys), "memory")
}

fn files(world: &World) -> BTreeMap<String, Vec<u8>> {
    world.dir.files()
}

fn is_verified(world: &World) -> bool {
    let keys = world.keys();
    let report = verify_on(&world.dir, Trust::Pin(&keys), Depth::Records);
    report.unwrap().is_ok()
}

type Damage = fn(&mut Vec<u8>);

/// One of the two derived files is changed.
fn damages() -> [(&'static str, Damage); 5] {
    [
        (DERIVED[0], |bytes| bytes[77] ^= 1),
        (DERIVED[0], |bytes| bytes.truncate(100)),
        (DERIVED[1], |bytes| bytes.push(0)),
        (DERIVED[1], |bytes| bytes[9] ^= 0x40),
        (DERIVED[1], Vec::clear),
    ]
}

#[test]
fn a_damaged_or_missing_tile_is_written_again_and_nothing_else() {
    let world = World::with_records(260);
    let sound = files(&world);
    let nothing = repair(&world).unwrap();
    assert_eq!((nothing.written.len(), nothing.files), (0, 2));
    assert_eq!(files(&world), sound);
    for (path, damage) in damages() {
        let world = world.fork();
        world.dir.edit(path, damage);
        assert!(!is_verified(&world), "{path}");
        assert_eq!(repair(&world).unwrap().written, [path]);
        assert!(is_verified(&world), "{path}");
        assert_eq!(files(&world), sound);
    }
    for path in DERIVED {
        world.dir.remove(path);
    }
    assert_eq!(repair(&world).unwrap().written.len(), 2);
    assert_eq!(files(&world), sound);
}

#[test]
fn nothing_is_derived_from_a_log_that_does_not_verify() {
    let world = World::with_records(260);
    world.dir.edit(DERIVED[0], |bytes| bytes[0] ^= 1);
    let end = files(&world)[FIRST_SEGMENT].len();
    for at in [200, end / 2, end - 1] {
        let world = world.fork();
        world.dir.edit(FIRST_SEGMENT, |bytes| bytes[at] ^= 1);
        let before = files(&world);
        let refused = repair(&world);
        let Err(LedgerError::Damaged(problems)) = refused else {
            panic!("byte {at}: {refused:?}");
        };
        assert!(
            problems
                .0
                .iter()
                .any(|problem| problem.file == FIRST_SEGMENT)
        );
        assert_eq!(files(&world), before, "byte {at}");
    }
}

#[test]
fn nothing_is_derived_from_a_log_that_nobody_vouches_for() {
    let world = World::with_records(260);
    world.dir.edit(DERIVED[0], |bytes| bytes[0] ^= 1);
    let before = files(&world);
    let other = SigningKey::new("another", &[1; 32]).unwrap();
    for trust in [Trust::Nothing, Trust::Key(other.verifying_key())] {
        let refused = repair_on(Arc::new(world.dir.clone()), trust, "memory");
        assert!(
            matches!(refused, Err(LedgerError::Damaged(_))),
            "{refused:?}"
        );
    }
    let key = world.open().unwrap().view().verifying_key().clone();
    assert_eq!(files(&world), before);
    let repaired = repair_on(Arc::new(world.dir.clone()), Trust::Key(&key), "memory");
    assert_eq!(repaired.unwrap().written, [DERIVED[0]]);
}

#[test]
fn a_folder_without_a_ledger_is_left_alone() {
    let empty = Memory::default();
    let refused = repair_on(Arc::new(empty.clone()), Trust::Nothing, "memory");
    assert!(
        matches!(refused, Err(LedgerError::NotALedger { .. })),
        "{refused:?}"
    );
    assert_eq!(empty.files().len(), 0);
}
