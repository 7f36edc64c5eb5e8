//! What opening makes of what a crash, a disk or an attacker left.

use std::collections::BTreeMap;

use axiom_hive_runner::ledger::{Ledger, LedgerError, LedgerReader};

use super::fixture::{FIRST_SEGMENT, World, append_large, constitution, erasure, frames};

fn set_heads(world: &World, from: &BTreeMap<String, Vec<u8>>) {
    for (path, bytes) in from {
        let target = if path.starts_with("heads/") {
            &world.dir
        } else {
            &world.keys
        };
        if path.starts_with("heads/") || path.contains("/pin/") {
            target.edit(path, |file| file.clone_from(bytes));
        }
    }
}

/// Heads and pins as they are now.
fn heads(world: &World) -> BTreeMap<String, Vec<u8>> {
    let mut all = world.dir.files();
    all.extend(world.keys.files());
    all
}

fn append_one(ledger: &mut Ledger) {
    let number = ledger.view().size();
    ledger.append(&erasure(number), &[]).unwrap();
}

/// A ledger of `count` records whose last `lost` heads never reached the disk.
fn with_lost_heads(count: u64, lost: u64) -> World {
    let world = World::with_records(count - lost);
    let before = heads(&world);
    let mut ledger = world.open().unwrap();
    for _ in 0..lost {
        append_one(&mut ledger);
    }
    drop(ledger);
    set_heads(&world, &before);
    world
}

#[test]
fn a_last_frame_cut_at_any_byte_is_cut_off_and_reported() {
    let world = with_lost_heads(4, 1);
    let starts = frames(&world);
    let (start, end) = (starts[3], starts[4]);
    for cut in start..end {
        let torn = world.fork();
        torn.dir.edit(FIRST_SEGMENT, |bytes| bytes.truncate(cut));
        let mut ledger = torn.open().unwrap();
        assert_eq!(ledger.read_only(), []);
        assert_eq!(ledger.view().size(), 3, "cut at {cut}");
        assert_eq!(ledger.repaired().len(), usize::from(cut > start));
        append_one(&mut ledger);
        drop(ledger);
        assert_eq!(torn.open().unwrap().view().size(), 4);
    }
}

#[test]
fn a_damaged_last_frame_beyond_the_head_is_cut_off() {
    let world = with_lost_heads(4, 1);
    let starts = frames(&world);
    for at in [starts[3], starts[3] + 40, starts[4] - 1] {
        let damaged = world.fork();
        damaged.dir.edit(FIRST_SEGMENT, |bytes| bytes[at] ^= 1);
        let ledger = damaged.open().unwrap();
        assert_eq!((ledger.view().size(), ledger.repaired().len()), (3, 1));
        assert_eq!(damaged.dir.files()[FIRST_SEGMENT].len(), starts[3]);
    }
}

#[test]
fn zeros_after_the_last_frame_are_cut_off() {
    let world = World::with_records(3);
    world
        .dir
        .edit(FIRST_SEGMENT, |bytes| bytes.extend([0; 4096]));
    let ledger = world.open().unwrap();
    assert_eq!((ledger.view().size(), ledger.repaired().len()), (3, 1));
}

#[test]
fn intact_frames_beyond_the_head_are_kept() {
    let world = with_lost_heads(6, 3);
    let ledger = world.open().unwrap();
    assert_eq!((ledger.read_only(), ledger.view().size()), (&[][..], 6));
    drop(ledger);
    let again = world.open().unwrap();
    assert_eq!(again.view().size(), 6);
}

#[test]
fn frames_beyond_the_head_that_nobody_signed_are_refused() {
    // Another key's ledger with the same records: its frames have other signatures.
    let world = World::with_records(3);
    let other = with_lost_heads(4, 1);
    let foreign = other.dir.files()[FIRST_SEGMENT][frames(&other)[3]..].to_vec();
    world
        .dir
        .edit(FIRST_SEGMENT, |bytes| bytes.extend(&foreign));
    // The salt of the segment already makes it no frame of this log.
    let ledger = world.open().unwrap();
    assert_eq!((ledger.view().size(), ledger.repaired().len()), (3, 1));
}

#[test]
fn damage_at_or_below_the_head_is_read_only() {
    let world = World::with_records(4);
    let starts = frames(&world);
    for (number, start) in starts.iter().take(4).enumerate() {
        let damaged = world.fork();
        damaged
            .dir
            .edit(FIRST_SEGMENT, |bytes| bytes[start + 50] ^= 4);
        let before = damaged.dir.files();
        let mut ledger = damaged.open().unwrap();
        let reason = &ledger.read_only()[ledger.read_only().len() - 1];
        assert_eq!(reason.file, FIRST_SEGMENT);
        assert_eq!(
            (reason.offset, reason.index),
            (Some(*start as u64), Some(number as u64))
        );
        let refused = ledger.append(&erasure(9), &[]);
        assert!(matches!(refused, Err(LedgerError::ReadOnly(_))));
        assert_eq!(damaged.dir.files(), before, "nothing was touched");
    }
}

#[test]
fn an_intact_frame_after_a_damaged_one_is_read_only_even_beyond_the_head() {
    let world = with_lost_heads(5, 2);
    let starts = frames(&world);
    world
        .dir
        .edit(FIRST_SEGMENT, |bytes| bytes[starts[3] + 1] ^= 1);
    let ledger = world.open().unwrap();
    assert_eq!(ledger.read_only().len(), 1);
    assert_eq!(ledger.read_only()[0].index, Some(3));
    drop(ledger);
    let reader = LedgerReader::on(std::sync::Arc::new(world.dir.clone()));
    assert!(matches!(reader, Err(LedgerError::Damaged(_))));
}

#[test]
fn a_log_cut_at_a_frame_is_read_only_while_a_head_or_the_pin_is_ahead() {
    let world = World::with_records(4);
    let starts = frames(&world);
    let old = World::with_records(0);
    world
        .dir
        .edit(FIRST_SEGMENT, |bytes| bytes.truncate(starts[2]));
    let ledger = world.open().unwrap();
    // Both heads and both pins are beyond two records.
    assert_eq!(ledger.read_only().len(), 4);
    drop(ledger);

    // The attacker also resets the heads: the pin beside the key still knows.
    for slot in ["heads/0", "heads/1"] {
        let empty = old.dir.files()[slot].clone();
        world.dir.edit(slot, |bytes| bytes.clone_from(&empty));
    }
    let ledger = world.open().unwrap();
    let reasons = ledger.read_only();
    assert_eq!(reasons.len(), 2);
    assert!(
        reasons
            .iter()
            .all(|reason| reason.file.starts_with("keys/"))
    );
}

#[test]
fn a_rolled_back_volume_is_read_only() {
    let world = World::with_records(3);
    let old = world.dir.files();
    append_one(&mut world.open().unwrap());
    append_one(&mut world.open().unwrap());
    let rolled_back = World {
        dir: axiom_hive_runner::ledger::storage::Memory::from_files(old),
        keys: world.keys.clone(),
    };
    let ledger = rolled_back.open().unwrap();
    assert!(ledger.read_only()[0].to_string().contains("missing"));
}

#[test]
fn swapped_and_spliced_frames_are_read_only() {
    let world = World::with_records(5);
    let s = frames(&world);
    let swapped = world.fork();
    swapped.dir.edit(FIRST_SEGMENT, |bytes| {
        let frames = [&bytes[s[2]..s[3]], &bytes[s[1]..s[2]]].concat();
        bytes.splice(s[1]..s[3], frames);
    });
    assert!(!swapped.open().unwrap().read_only().is_empty());
    let spliced = world.fork();
    spliced.dir.edit(FIRST_SEGMENT, |bytes| {
        bytes.drain(s[1]..s[2]);
    });
    assert!(!spliced.open().unwrap().read_only().is_empty());
    let doubled = world.fork();
    doubled.dir.edit(FIRST_SEGMENT, |bytes| {
        let last = bytes[s[4]..].to_vec();
        bytes.extend(last);
    });
    // A copy of the last frame has the wrong number, and is no crash's trace.
    let ledger = doubled.open().unwrap();
    assert_eq!((ledger.view().size(), ledger.repaired().len()), (5, 1));
}

#[test]
fn one_torn_head_is_written_anew_and_two_are_read_only() {
    let world = World::with_records(4);
    for slots in [&["heads/0"][..], &["heads/1"], &["heads/0", "heads/1"]] {
        let torn = world.fork();
        for slot in slots {
            torn.dir.edit(slot, |bytes| bytes[60] ^= 1);
        }
        let ledger = torn.open().unwrap();
        if slots.len() == 1 {
            assert_eq!((ledger.read_only().len(), ledger.repaired().len()), (0, 1));
            drop(ledger);
            assert_eq!(torn.open().unwrap().repaired(), []);
        } else {
            assert_eq!(ledger.read_only().len(), 2);
        }
    }
}

#[test]
fn a_ledger_without_its_key_opens_read_only() {
    let world = World::with_records(2);
    let stranger = World {
        dir: world.dir.clone(),
        keys: axiom_hive_runner::ledger::storage::Memory::default(),
    };
    let ledger = stranger.open().unwrap();
    assert_eq!(ledger.read_only().len(), 1);
    assert!(ledger.record(1).is_ok());
}

#[test]
fn a_failed_sync_ends_the_writer_and_the_next_open_decides() {
    let world = World::with_records(2);
    let mut ledger = world.open().unwrap();
    world.dir.set_fail_sync(true);
    let failed = ledger.append(&erasure(0), &[]);
    assert!(matches!(failed, Err(LedgerError::Poisoned(_))));
    world.dir.set_fail_sync(false);
    let failed = ledger.append(&erasure(0), &[]);
    assert!(
        matches!(failed, Err(LedgerError::Poisoned(_))),
        "never again"
    );
    drop(ledger);
    let ledger = world.open().unwrap();
    assert_eq!(ledger.read_only(), []);
    assert_eq!(
        ledger.view().size(),
        3,
        "the frame was intact, and is synced now"
    );
}

#[test]
fn a_full_disk_leaves_no_half_frame() {
    for space in [0, 1, 30, 200] {
        let world = World::with_records(2);
        let before = world.dir.files();
        let mut ledger = world.open().unwrap();
        world.dir.set_space(Some(space));
        let failed = ledger.append(&erasure(0), &[]);
        assert!(matches!(failed, Err(LedgerError::DiskFull)), "{failed:?}");
        assert_eq!(world.dir.files()[FIRST_SEGMENT], before[FIRST_SEGMENT]);
        world.dir.set_space(None);
        let failed = ledger.append(&erasure(0), &[]);
        assert!(
            matches!(failed, Err(LedgerError::DiskFull)),
            "read-only until reopened"
        );
        drop(ledger);
        append_one(&mut world.open().unwrap());
    }
}

#[test]
fn a_foreign_directory_is_left_alone() {
    let world = World::default();
    world.dir.edit("thesis.txt", |bytes| bytes.extend(b"text"));
    let refused = world.open();
    assert!(matches!(refused, Err(LedgerError::NotALedger { .. })));
    assert_eq!(world.dir.files().len(), 1);
}

#[test]
fn an_interrupted_creation_is_begun_again() {
    let world = World::with_records(0);
    world.dir.remove(FIRST_SEGMENT);
    let ledger = world.open().unwrap();
    assert_eq!((ledger.read_only().len(), ledger.view().size()), (0, 0));
}

#[test]
fn a_second_writer_on_a_disk_waits_and_readers_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let (path, keys) = (dir.path().join("ledger"), dir.path().join("keys"));
    let keys = axiom_hive_runner::ledger::KeyStore::at(&keys);
    let mut first = Ledger::open(&path, &keys).unwrap();
    let (reference, text) = constitution(0);
    first.ensure_constitution(&reference, &text).unwrap();
    let reader = LedgerReader::open(&path).unwrap();
    assert_eq!(reader.size(), 1);
    let second = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Ledger::open(&path, &keys).map(|l| l.view().size()));
        append_one(&mut first);
        drop(first);
        waiting.join().unwrap()
    });
    assert_eq!(second.unwrap(), 2);
    assert_eq!(reader.size(), 1, "a reader sees the ledger as it was");
    assert_eq!(
        reader.record(0).unwrap().slot().unwrap().to_string(),
        "constitution/d/1.0.0"
    );
}

#[test]
fn a_copied_ledger_cannot_go_its_own_way() {
    let world = World::with_records(2);
    let copy = World {
        dir: axiom_hive_runner::ledger::storage::Memory::from_files(world.dir.files()),
        keys: world.keys.clone(),
    };
    append_one(&mut world.open().unwrap());
    let ledger = copy.open().unwrap();
    assert!(!ledger.read_only().is_empty());
}

#[test]
fn a_crash_right_after_a_new_segment_leaves_it_empty_and_is_continued() {
    let world = World::with_records(1);
    let mut ledger = world.open().unwrap();
    for number in 0..16 {
        append_large(&mut ledger, number);
    }
    let before = heads(&world);
    append_one(&mut ledger);
    drop(ledger);
    let second = "log/00000000000000000017";
    let header = world.dir.files()[FIRST_SEGMENT]
        .windows(4)
        .position(|w| w == b"AXF1")
        .unwrap();
    world.dir.edit(second, |bytes| bytes.truncate(header));
    set_heads(&world, &before);
    let mut ledger = world.open().unwrap();
    assert_eq!((ledger.read_only(), ledger.view().size()), (&[][..], 17));
    append_one(&mut ledger);
    drop(ledger);
    assert_eq!(world.open().unwrap().view().size(), 18);

    // A segment without its predecessor, or damage before a later segment, is no crash's trace.
    world
        .dir
        .edit(FIRST_SEGMENT, |bytes| bytes.truncate(bytes.len() - 1));
    assert!(!world.open().unwrap().read_only().is_empty());
    world.dir.remove(FIRST_SEGMENT);
    assert!(matches!(world.open(), Err(LedgerError::Damaged(_))));
}
