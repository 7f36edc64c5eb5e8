//! A sealed ledger and the one that goes on.

use std::path::Path;
use std::sync::Arc;

use axiom_hive_core::record::{Body, RotationReason};
use axiom_hive_core::tlog::{SigningKey, VerifyingKey};
use axiom_hive_runner::ledger::storage::Memory;
use axiom_hive_runner::ledger::{
    Depth, KeyStore, Ledger, LedgerError, LedgerReader, Rotated, Trust, rotate_to, verify_on,
};

use super::fixture::{World, entry, intent};
use super::independent::{Verifier, judge_ledger};

fn rotate(world: &World, new: &Memory) -> Result<Rotated, LedgerError> {
    let why = (RotationReason::Key, 7);
    let new = Arc::new(new.clone());
    rotate_to(world.open()?, new, &world.keys(), why, Path::new("new"))
}

fn assert_verifies(dir: &Memory, world: &World, key: &VerifyingKey) {
    for trust in [Trust::Pin(&world.keys()), Trust::Key(key)] {
        let report = verify_on(dir, trust, Depth::Records).unwrap();
        assert!(report.is_ok(), "{:?}", report.problems);
    }
}

#[test]
fn each_ledger_names_the_other() {
    let (world, new) = (World::with_records(3), Memory::default());
    let before = world.open().unwrap().view().verifying_key().clone();
    let rotated = rotate(&world, &new).unwrap();
    assert_eq!(
        (&rotated.predecessor.key, rotated.predecessor.size),
        (&before, 4)
    );
    assert_ne!(rotated.key, before);
    let old = LedgerReader::on(Arc::new(world.dir.clone())).unwrap();
    let checkpoint = old.checkpoint().unwrap();
    assert!(checkpoint.contains(&format!("\n4\n{}\n", rotated.predecessor.root)));
    let Body::Sealed { successor, .. } = old.record(3).unwrap().body else {
        panic!("no seal");
    };
    assert_eq!(successor.as_ref(), Some(&rotated.key));
    let successor = LedgerReader::on(Arc::new(new.clone())).unwrap();
    let Body::Succession {
        predecessor,
        reason,
        at_unix_ms,
    } = successor.record(0).unwrap().body
    else {
        panic!("no succession");
    };
    assert_eq!(predecessor, rotated.predecessor);
    assert_eq!((reason, at_unix_ms), (RotationReason::Key, 7));
    assert_verifies(&world.dir, &world, &before);
    assert_verifies(&new, &world, &rotated.key);
    let next = World {
        dir: new.clone(),
        keys: world.keys.clone(),
    };
    let mut verifier = Verifier::start();
    judge_ledger(&world, &before, &mut verifier).unwrap();
    judge_ledger(&next, &rotated.key, &mut verifier).unwrap();
    // Records go on in the new one.
    let mut ledger = next.open().unwrap();
    ledger.append_group(&[entry(1)])[0].as_ref().unwrap();
    drop(ledger);
    assert_eq!(rotate(&world, &new).unwrap(), rotated);
}

#[test]
fn what_a_crash_left_is_finished_under_the_same_key() {
    let (world, new) = (World::with_records(1), Memory::default());
    let before = world.keys.files().len();
    let rotated = rotate(&world, &new).unwrap();
    // The new ledger has not begun: its pin is as it was made.
    for slot in 0..2 {
        let pin = format!("{}/pin/{slot}", rotated.key.name());
        world.keys.edit(&pin, |pin| pin.fill(0));
    }
    let again = Memory::default();
    assert_eq!(rotate(&world, &again).unwrap(), rotated);
    assert_verifies(&again, &world, &rotated.key);
    // Now it has: a second one under its key would be a fork.
    let refused = rotate(&world, &Memory::default()).unwrap_err();
    assert!(matches!(refused, LedgerError::NotSuccessor(_)), "{refused}");
    assert_eq!(world.keys.files().len(), before * 2, "one key was made");
}

#[test]
fn nothing_is_sealed_where_nothing_can_go_on() {
    let world = World::with_records(1);
    let occupied = World::with_records(1).dir;
    for dir in [&occupied, &world.dir] {
        let refused = rotate(&world, dir).unwrap_err();
        assert!(
            matches!(refused, LedgerError::OutputNotEmpty(_)),
            "{refused}"
        );
    }
    let mut ledger = world.open().unwrap();
    let (record, payloads) = intent("open", 0);
    ledger.append(&record, &payloads).unwrap();
    drop(ledger);
    let refused = rotate(&world, &Memory::default()).unwrap_err();
    assert!(matches!(refused, LedgerError::OpenTasks(_)), "{refused}");
    assert_eq!(world.open().unwrap().view().size(), 2);
    // A service's key comes from elsewhere, and cannot be replaced here.
    let state = tempfile::tempdir().unwrap();
    let key = SigningKey::new("log.example/1", &[7; 32]).unwrap();
    let keys = KeyStore::of_key(state.path(), key).unwrap();
    let open = || Ledger::open_on(Arc::new(Memory::default()), &keys, "old").unwrap();
    let why = (RotationReason::Key, 7);
    let refused = rotate_to(
        open(),
        Arc::new(Memory::default()),
        &keys,
        why,
        Path::new("n"),
    );
    assert!(matches!(refused, Err(LedgerError::NotSuccessor(_))));
}
