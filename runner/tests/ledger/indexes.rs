//! The indexes of finished segments: opening by them is opening the log itself, and a damaged one is no loss.

use axiom_hive_core::record::{Body, Record};
use axiom_hive_core::supervisor::Entry;
use axiom_hive_runner::ledger::storage::Memory;
use axiom_hive_runner::ledger::{Depth, Ledger, LedgerReader, Trust, verify_on};

use super::fixture::{World, entry, intent, interrupted};

/// Of records in many segments: `tasks` tasks, every second one ended two tasks later.
fn world(tasks: u32) -> World {
    let world = World::with_records(1);
    let mut ledger = world.open().unwrap();
    ledger.set_segment_bytes(20_000);
    for number in 0..tasks {
        append_task(&mut ledger, number);
    }
    drop(ledger);
    world
}

fn append_task(ledger: &mut Ledger, number: u32) {
    let (record, payloads) = intent(&format!("task-{number}"), 0);
    ledger.append(&record, &payloads).unwrap();
    if let Some(before) = number.checked_sub(2).filter(|n| n % 2 == 0) {
        let failed = Body::Failed(interrupted(&format!("task-{before}"), 0));
        ledger.append(&Record::new(failed), &[]).unwrap();
    }
    let group: Vec<Entry> = (0..8).map(entry).collect();
    for reply in ledger.append_group(&group) {
        reply.unwrap();
    }
}

fn index_files(world: &World) -> Vec<String> {
    let files = world.dir.files().into_keys();
    files.filter(|path| path.starts_with("index/")).collect()
}

/// Everything that can be asked is answered as by who read the whole log.
fn assert_same(world: &World, ledger: &Ledger, tasks: u32) {
    let (view, whole) = (
        ledger.view(),
        LedgerReader::on(std::sync::Arc::new(world.dir.clone())).unwrap(),
    );
    assert_eq!(view.size(), whole.size());
    assert_eq!(view.checkpoint(), whole.checkpoint());
    assert_eq!(view.open_intents().unwrap(), whole.open_intents().unwrap());
    for number in 0..tasks + 5 {
        let uid = format!("task-{number}");
        assert_eq!(view.task(&uid).unwrap(), whole.task(&uid).unwrap());
        let (record, payloads) = intent(&uid, 0);
        let slot = record.slot().unwrap();
        let found = view.find(&slot).unwrap();
        assert_eq!(found, whole.find(&slot).unwrap());
        assert_eq!(found.is_some(), number < tasks);
        for payload in &payloads {
            let commitment = payload.commitment();
            let holder = view.holder(&commitment).unwrap();
            assert_eq!(holder, whole.holder(&commitment).unwrap());
        }
    }
    let size = view.size();
    for index in 0..size {
        assert_eq!(view.receipt(index).unwrap(), whole.receipt(index).unwrap());
        let (old, new) = (index + 1, size - index / 2);
        assert_eq!(
            view.consistency(old, new).unwrap(),
            whole.consistency(old, new).unwrap()
        );
    }
}

#[test]
fn what_the_indexes_say_is_what_the_log_says() {
    let world = world(60);
    assert!(index_files(&world).len() >= 3);
    let ledger = world.open().unwrap();
    assert!(ledger.writable().is_ok() && ledger.repaired().is_empty());
    assert_same(&world, &ledger, 60);
}

#[test]
fn a_ledger_goes_on_behind_its_indexes() {
    let world = world(30);
    for number in 30..60 {
        let mut ledger = world.open().unwrap();
        assert!(ledger.repaired().is_empty());
        ledger.set_segment_bytes(20_000);
        append_task(&mut ledger, number);
        let (record, payloads) = intent("task-0", 0);
        assert!(ledger.append(&record, &payloads).unwrap().existing);
    }
    assert_same(&world, &world.open().unwrap(), 60);
    let report = verify_on(&world.dir, Trust::Pin(&world.keys()), Depth::Records).unwrap();
    // Its erasures are of records that hold nothing; what matters here is the log.
    assert!(report.authenticated && report.tail.is_none());
}

#[test]
fn without_indexes_they_are_written_again() {
    let world = world(30);
    let files = world.dir.files();
    let mut bare = files.clone();
    bare.retain(|path, _| !path.starts_with("index/"));
    let bare = World {
        dir: Memory::from_files(bare),
        keys: world.keys.clone(),
    };
    let ledger = bare.open().unwrap();
    assert!(ledger.repaired().is_empty());
    assert_same(&bare, &ledger, 30);
    drop(ledger);
    assert!(bare.dir.files() == files, "byte for byte");
}

#[test]
fn a_damaged_index_neither_hides_a_record_nor_invents_one() {
    let world = world(12);
    let paths = index_files(&world);
    for path in [&paths[0], &paths[paths.len() - 1]] {
        let length = world.dir.files()[path].len();
        // Every byte of a small index would be many openings: a stride that meets every field.
        for at in (0..length).step_by(61) {
            let broken = world.fork();
            broken.dir.edit(path, |bytes| bytes[at] ^= 0x40);
            let mut ledger = broken.open().unwrap();
            assert!(ledger.writable().is_ok(), "byte {at}");
            let size = ledger.view().size();
            for number in 0..12 {
                let (record, payloads) = intent(&format!("task-{number}"), 0);
                assert!(ledger.append(&record, &payloads).unwrap().existing);
            }
            assert_eq!(ledger.view().size(), size, "byte {at}");
        }
        for length in [0, 1, 55, 56, length - 4096, length - 1] {
            let broken = world.fork();
            broken.dir.edit(path, |bytes| bytes.truncate(length));
            let ledger = broken.open().unwrap();
            assert_eq!(ledger.repaired().len(), 1);
            assert_same(&broken, &ledger, 12);
            drop(ledger);
            assert_eq!(broken.dir.files()[path], world.dir.files()[path]);
        }
    }
}

#[test]
fn an_index_of_another_log_is_not_believed() {
    let (world, other) = (world(12), world(12));
    let path = &index_files(&world)[0];
    let foreign = other.dir.files()[path].clone();
    world.dir.edit(path, |bytes| *bytes = foreign);
    let ledger = world.open().unwrap();
    assert!(ledger.writable().is_ok());
    assert_eq!(ledger.repaired().len(), 1);
    assert_same(&world, &ledger, 12);
}

#[test]
fn a_rotten_tile_is_no_proof() {
    let world = world(60);
    world.dir.edit("tile/0/000", |bytes| bytes[100] ^= 1);
    let ledger = world.open().unwrap();
    assert_same(&world, &ledger, 60);
}
