//! Several appends with one sync.

use axiom_hive_core::record::{Body, Record};
use axiom_hive_core::supervisor::Entry;
use axiom_hive_runner::ledger::{Appended, Depth, LedgerError, Trust, verify_on};

use super::fixture::{
    FIRST_SEGMENT, World, append_large, constitution, entry, erasure, frames, intent, interrupted,
    payload,
};
use axiom_hive_core::record::Label;

fn of_intent(uid: &str, attempt: u32) -> Entry {
    let (record, payloads) = intent(uid, attempt);
    Entry { record, payloads }
}

fn of_constitution(number: u64) -> Entry {
    let (constitution, text) = constitution(number);
    let record = Record::new(Body::Constitution {
        constitution,
        text: text.commitment(),
    });
    Entry {
        record,
        payloads: vec![text],
    }
}

/// Two records, then a group of four whose heads never reached the disk.
fn with_lost_heads() -> World {
    let world = World::with_records(2);
    let (dir, keys) = (world.dir.files(), world.keys.files());
    let entries: Vec<Entry> = (2..6).map(entry).collect();
    let replies = world.open().unwrap().append_group(&entries);
    assert!(replies.iter().all(Result::is_ok));
    for (path, bytes) in &dir {
        if path.starts_with("heads/") {
            world.dir.edit(path, |file| file.clone_from(bytes));
        }
    }
    for (path, bytes) in &keys {
        if path.contains("/pin/") {
            world.keys.edit(path, |file| file.clone_from(bytes));
        }
    }
    world
}

fn verifies(world: &World) -> bool {
    let report = verify_on(&world.dir, Trust::Pin(&world.keys()), Depth::Records).unwrap();
    report.is_ok() && report.tail.is_none()
}

#[test]
fn a_group_has_one_checkpoint_and_each_entry_its_own_fate() {
    let world = World::default();
    let mut ledger = world.open().unwrap();
    let stray = Entry {
        payloads: vec![payload(Label::DETAIL, 9, b"nobody's")],
        ..of_intent("a", 0)
    };
    let mut other = interrupted("a", 1);
    other.observed.ended_unix_ms = 99;
    let ends = [interrupted("a", 0), other].map(|outcome| Entry {
        record: Record::new(Body::Failed(outcome)),
        payloads: Vec::new(),
    });
    let mut entries = vec![of_intent("early", 0), of_constitution(0), stray];
    entries.extend([of_intent("a", 0), of_intent("a", 0)]);
    entries.extend(ends);
    let replies = ledger.append_group(&entries);
    assert!(matches!(
        replies[0],
        Err(LedgerError::ConstitutionUnknown { .. })
    ));
    assert!(matches!(replies[2], Err(LedgerError::Unclaimed { .. })));
    let appended: Vec<&Appended> = replies.iter().filter_map(|r| r.as_ref().ok()).collect();
    let shown: Vec<(u64, bool)> = appended.iter().map(|a| (a.index, a.existing)).collect();
    assert_eq!(
        shown,
        [(0, false), (1, false), (1, true), (2, false), (2, true)]
    );
    for appended in &appended {
        let key = ledger.view().verifying_key();
        let verified = appended.receipt.verify(key).unwrap();
        assert_eq!(
            (verified.index, verified.checkpoint.size),
            (appended.index, 3)
        );
        assert_eq!(verified.record, appended.record);
    }
    assert_eq!(
        appended[4].record, entries[5].record,
        "the first one stands"
    );
    drop(ledger);
    assert!(verifies(&world));
    assert_eq!(world.open().unwrap().view().size(), 3);
}

#[test]
fn groups_are_cut_at_their_limits_and_every_receipt_holds() {
    let world = World::default();
    let mut ledger = world.open().unwrap();
    let entries: Vec<Entry> = (0..5000).map(entry).collect();
    let replies = ledger.append_group(&entries);
    let sizes: Vec<u64> = replies
        .iter()
        .map(|reply| {
            let appended = reply.as_ref().unwrap();
            let verified = appended.receipt.verify(ledger.view().verifying_key());
            verified.unwrap().checkpoint.size
        })
        .collect();
    assert_eq!((sizes[0], sizes[4095]), (4096, 4096));
    assert_eq!((sizes[4096], sizes[4999]), (5000, 5000));
    drop(ledger);
    assert!(verifies(&world));
    assert_eq!(world.open().unwrap().record(4999).unwrap(), erasure(4999));
}

#[test]
fn long_groups_and_long_frames_verify() {
    let world = World::with_records(1);
    let mut ledger = world.open().unwrap();
    let entries: Vec<Entry> = (0..5)
        .map(|number| {
            let mut entry = of_intent(&format!("task-{number}"), 0);
            entry.payloads[1].bytes = vec![7; 3 << 20];
            if let Body::Intent { prompt, .. } = &mut entry.record.body {
                *prompt = entry.payloads[1].commitment();
            }
            entry
        })
        .collect();
    let replies = ledger.append_group(&entries);
    let size = |at: usize| {
        let receipt = &replies[at].as_ref().unwrap().receipt;
        let verified = receipt.verify(ledger.view().verifying_key()).unwrap();
        verified.checkpoint.size
    };
    assert_eq!([0, 1, 2, 3, 4].map(size), [3, 3, 5, 5, 6], "8 MiB each");
    append_large(&mut ledger, 9);
    drop(ledger);
    assert!(verifies(&world));
}

#[test]
fn a_torn_group_is_cut_as_a_whole_whatever_is_left_of_it() {
    let whole = with_lost_heads();
    let starts = frames(&whole);
    // Any one frame of the group is lost, or all but one are.
    for lost in [vec![2], vec![3], vec![5], vec![3, 4, 5], vec![2, 3, 4]] {
        let torn = whole.fork();
        torn.dir.edit(FIRST_SEGMENT, |bytes| {
            for frame in &lost {
                bytes[starts[*frame]..starts[frame + 1]].fill(0);
            }
        });
        let mut ledger = torn.open().unwrap();
        assert_eq!(ledger.read_only(), [], "lost {lost:?}");
        assert_eq!((ledger.view().size(), ledger.repaired().len()), (2, 1));
        ledger.append(&erasure(2), &[]).unwrap();
        drop(ledger);
        assert!(verifies(&torn));
    }
    assert_eq!(
        whole.open().unwrap().view().size(),
        6,
        "an intact one is kept"
    );
}

#[test]
fn a_group_cut_at_any_byte_is_cut_off() {
    let whole = with_lost_heads();
    let starts = frames(&whole);
    for cut in (starts[2]..starts[6]).step_by(7) {
        let torn = whole.fork();
        torn.dir.edit(FIRST_SEGMENT, |bytes| bytes.truncate(cut));
        let report = verify_on(&torn.dir, Trust::Pin(&torn.keys()), Depth::Records).unwrap();
        assert_eq!((report.size, report.problems.len()), (2, 0), "cut at {cut}");
        let ledger = torn.open().unwrap();
        assert_eq!((ledger.read_only(), ledger.view().size()), (&[][..], 2));
    }
}

#[test]
fn a_torn_group_before_a_later_group_is_read_only() {
    let world = with_lost_heads();
    let starts = frames(&world);
    let (dir, keys) = (world.dir.files(), world.keys.files());
    world.open().unwrap().append(&erasure(6), &[]).unwrap();
    for (target, files) in [(&world.dir, dir), (&world.keys, keys)] {
        for (path, bytes) in files {
            if path.starts_with("heads/") || path.contains("/pin/") {
                target.edit(&path, |file| file.clone_from(&bytes));
            }
        }
    }
    world
        .dir
        .edit(FIRST_SEGMENT, |bytes| bytes[starts[3] + 40] ^= 1);
    let ledger = world.open().unwrap();
    assert_eq!(ledger.read_only().len(), 1);
    assert_eq!(ledger.read_only()[0].index, Some(3));
}

#[test]
fn a_disk_that_fails_fails_the_whole_group_and_nothing_of_it_is_seen() {
    for space in [0, 100, 500] {
        let world = World::with_records(2);
        let before = world.dir.files();
        let mut ledger = world.open().unwrap();
        world.dir.set_space(Some(space));
        let entries: Vec<Entry> = (0..3).map(entry).chain([of_constitution(0)]).collect();
        let replies = ledger.append_group(&entries);
        for reply in &replies[..3] {
            assert!(matches!(reply, Err(LedgerError::DiskFull)), "{reply:?}");
        }
        assert!(replies[3].as_ref().unwrap().existing, "it was there before");
        assert_eq!(ledger.view().size(), 2);
        assert_eq!(world.dir.files()[FIRST_SEGMENT], before[FIRST_SEGMENT]);
    }
}

#[test]
fn an_empty_group_is_nothing() {
    let world = World::with_records(1);
    let before = world.dir.files();
    assert!(world.open().unwrap().append_group(&[]).is_empty());
    assert_eq!(world.dir.files(), before);
}
