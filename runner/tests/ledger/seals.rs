//! Sealed ledgers: what they still take, and what they publish.

use axiom_hive_core::record::{Body, Reason, Record};
use axiom_hive_core::supervisor::Entry;
use axiom_hive_runner::ledger::{Depth, LedgerError, Trust, VerifyReport, repair_on, verify_on};

use super::fixture::{World, entry, intent, interrupted};
use super::independent::{Verifier, judge_ledger, key_of};

/// A ledger of `count` constitutions and a task that ended, with its records `count` and `count + 1`.
fn ended(count: u64) -> World {
    let world = World::with_records(count);
    let mut ledger = world.open().unwrap();
    let (record, payloads) = intent("a", 0);
    ledger.append(&record, &payloads).unwrap();
    let mut outcome = interrupted("a", 0);
    outcome.decided.reason = Reason::Interrupted;
    let end = Record::new(Body::Failed(outcome));
    ledger.append(&end, &[]).unwrap();
    drop(ledger);
    world
}

fn sealed(count: u64) -> World {
    let world = ended(count);
    world.open().unwrap().seal(None, 5).unwrap();
    world
}

fn report(world: &World) -> VerifyReport {
    verify_on(&world.dir, Trust::Pin(&world.keys()), Depth::Records).unwrap()
}

fn assert_verifies(world: &World) {
    let report = report(world);
    assert!(report.is_ok(), "{:?}", report.problems);
}

#[test]
fn a_sealed_ledger_takes_erasures_only_and_answers_what_it_has() {
    let world = sealed(2);
    assert_verifies(&world);
    let mut ledger = world.open().unwrap();
    ledger.writable().unwrap();
    let (record, payloads) = intent("b", 0);
    let refused = ledger.append(&record, &payloads).unwrap_err();
    assert!(matches!(refused, LedgerError::Sealed(4)), "{refused}");
    let (record, payloads) = intent("a", 0);
    let again = ledger.append(&record, &payloads).unwrap();
    assert!(again.existing && again.index == 2);
    let seal = ledger.seal(None, 9).unwrap();
    assert!(seal.existing && seal.index == 4);
    // In one group, what follows the seal is refused, whatever stands between.
    let (record, payloads) = intent("c", 0);
    let replies = ledger.append_group(&[entry(1), Entry { record, payloads }]);
    assert!(replies[0].is_ok());
    assert!(matches!(replies[1], Err(LedgerError::Sealed(4))));
    ledger.erase(&[2], 6).unwrap();
    let checkpoint = ledger.view().checkpoint().unwrap();
    drop(ledger);
    assert_eq!(
        world.dir.files()["checkpoint"],
        checkpoint.as_bytes(),
        "the tree after the erasure is published"
    );
    assert_verifies(&world);
}

#[test]
fn no_ledger_is_sealed_over_a_task_that_has_not_ended() {
    let world = ended(1);
    let mut ledger = world.open().unwrap();
    let (record, payloads) = intent("open", 0);
    ledger.append(&record, &payloads).unwrap();
    let refused = ledger.seal(None, 5).unwrap_err();
    assert!(refused.to_string().contains("open (record 3)"), "{refused}");
    assert!(matches!(refused, LedgerError::OpenTasks(_)));
    // Nor beside other records, which might begin a task.
    let seal = Record::new(Body::Sealed {
        at_unix_ms: 5,
        successor: None,
    });
    let (record, payloads) = intent("open", 1);
    let seal = Entry {
        record: seal,
        payloads: Vec::new(),
    };
    let replies = ledger.append_group(&[Entry { record, payloads }, seal]);
    assert!(matches!(replies[1], Err(LedgerError::SealInGroup)));
    assert!(!world.dir.files().contains_key("checkpoint"));
}

#[test]
fn a_read_only_ledger_is_not_sealed() {
    let world = ended(1);
    world.dir.edit("heads/0", |head| head[20] ^= 1);
    world.dir.edit("heads/1", |head| head[20] ^= 1);
    let mut ledger = world.open().unwrap();
    assert!(matches!(
        ledger.seal(None, 5),
        Err(LedgerError::ReadOnly(_))
    ));
}

#[test]
fn every_flipped_bit_of_what_is_published_is_found_and_repaired() {
    let world = sealed(3);
    let files = world.dir.files();
    let published = |path: &&String| path.starts_with("tile/") || *path == "checkpoint";
    let published: Vec<&String> = files.keys().filter(published).collect();
    assert_eq!(
        published,
        ["checkpoint", "tile/0/000.p/6", "tile/entries/000.p/6"]
    );
    let mut flipped = 0;
    for path in published {
        for bit in (0..files[path].len() * 8).step_by(3) {
            world
                .dir
                .edit(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            assert!(!report(&world).is_ok(), "bit {bit} of {path}");
            world
                .dir
                .edit(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            flipped += 1;
        }
        let broken = world.fork();
        broken.dir.remove(path);
        assert!(!report(&broken).is_ok(), "{path} is gone");
        let storage = std::sync::Arc::new(broken.dir.clone());
        let repaired = repair_on(storage, Trust::Pin(&broken.keys()), "memory").unwrap();
        assert_eq!(&repaired.written, std::slice::from_ref(path));
        assert_eq!(broken.dir.files(), files);
    }
    assert!(flipped > 3_000, "{flipped}");
}

#[test]
fn the_next_opening_publishes_what_a_crash_left_out() {
    let world = sealed(1);
    let files = world.dir.files();
    world.dir.remove("checkpoint");
    world.dir.remove("tile/0/000.p/4");
    assert!(report(&world).problems[0].what.contains("checkpoint"));
    drop(world.open().unwrap());
    assert_eq!(world.dir.files(), files);
}

#[test]
fn the_independent_verifier_knows_sealed_ledgers() {
    let mut verifier = Verifier::start();
    let world = sealed(254);
    let key = key_of(&world);
    judge_ledger(&world, &key, &mut verifier).unwrap();
    assert_verifies(&world);
    let files = world.dir.files();
    for path in ["tile/0/001.p/1", "tile/entries/001.p/1", "tile/1/000.p/1"] {
        assert!(files.contains_key(path), "{path}");
        for is_removed in [false, true] {
            let broken = world.fork();
            if is_removed {
                broken.dir.remove(path);
            } else {
                broken.dir.edit(path, |bytes| bytes[9] ^= 4);
            }
            assert!(!report(&broken).is_ok(), "{path}");
            judge_ledger(&broken, &key, &mut verifier).unwrap();
        }
    }
    let without = world.fork();
    without.dir.remove("checkpoint");
    assert!(!report(&without).is_ok());
    judge_ledger(&without, &key, &mut verifier).unwrap();
}
