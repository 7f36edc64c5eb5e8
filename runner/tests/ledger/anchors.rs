//! What others know of a ledger.

use std::sync::Arc;

use axiom_hive_runner::ledger::storage::Memory;
use axiom_hive_runner::ledger::{Anchor, Known, Ledger, LedgerError};

use super::fixture::{FIRST_SEGMENT, World, erasure};

fn try_open(world: &World, known: Known) -> Result<Ledger, LedgerError> {
    let from = "operator".to_owned();
    let dir = Arc::new(world.dir.clone());
    Ledger::open_with_anchors(dir, &world.keys(), "memory", &[Anchor { from, known }])
}

fn open(world: &World, known: Known) -> Ledger {
    try_open(world, known).unwrap()
}

fn checkpoint(world: &World) -> Known {
    let ledger = world.open().unwrap();
    Known::Checkpoint(ledger.view().checkpoint().unwrap())
}

#[test]
fn a_ledger_that_has_what_an_anchor_knows_goes_on() {
    let world = World::with_records(3);
    let known = checkpoint(&world);
    world.open().unwrap().append(&erasure(0), &[]).unwrap();
    for known in [known, checkpoint(&world), Known::Size(4), Known::Size(0)] {
        assert_eq!(open(&world, known).read_only(), []);
    }
}

#[test]
fn volume_and_pin_rolled_back_together_are_read_only() {
    let world = World::with_records(3);
    let old = world.fork();
    let before = old.dir.files();
    world.open().unwrap().append(&erasure(0), &[]).unwrap();
    assert!(old.open().unwrap().writable().is_ok(), "nothing here knows");
    for known in [checkpoint(&world), Known::Size(4)] {
        let mut ledger = open(&old, known);
        let [reason] = ledger.read_only() else {
            panic!("one reason: {:?}", ledger.read_only());
        };
        let end = before[FIRST_SEGMENT].len() as u64;
        assert_eq!((reason.offset, reason.index), (Some(end), Some(3)));
        assert_eq!(reason.file, FIRST_SEGMENT);
        assert!(reason.what.contains("operator"), "{reason}");
        let refused = ledger.append(&erasure(0), &[]);
        assert!(matches!(refused, Err(LedgerError::ReadOnly(_))));
    }
}

#[test]
fn a_ledger_that_went_another_way_is_read_only() {
    let world = World::with_records(3);
    let other = world.fork();
    world.open().unwrap().append(&erasure(0), &[]).unwrap();
    let mut ledger = other.open().unwrap();
    for number in 1..4 {
        ledger.append(&erasure(number), &[]).unwrap();
    }
    drop(ledger);
    let ledger = open(&other, checkpoint(&world));
    assert_eq!(ledger.read_only().len(), 1);
    assert!(ledger.read_only()[0].what.contains("first 4 records"));
}

#[test]
fn a_deleted_ledger_is_not_begun_anew_where_somebody_knows_of_it() {
    let world = World::with_records(3);
    let known = checkpoint(&world);
    let empty = World {
        dir: Memory::default(),
        keys: world.keys.clone(),
    };
    for known in [known, Known::Size(3)] {
        let refused = try_open(&empty, known);
        assert!(matches!(refused, Err(LedgerError::NotALedger { .. })));
        assert_eq!(empty.dir.files().len(), 0);
    }
    assert_eq!(open(&empty, Known::Size(0)).read_only(), []);
}

#[test]
fn a_checkpoint_of_another_log_is_no_anchor() {
    let (world, other) = (World::with_records(3), World::with_records(1));
    for known in [checkpoint(&other), Known::Checkpoint("nonsense".to_owned())] {
        let ledger = open(&world, known);
        assert_eq!(ledger.read_only()[0].file, "anchor operator");
    }
}
