//! Erasing payloads by hand and by age, and holds.

use std::os::unix::fs::MetadataExt as _;

use axiom_hive_core::record::{Body, Reason, Record};
use axiom_hive_runner::ledger::{
    Depth, Erased, KeyStore, Ledger, LedgerError, LedgerReader, Retention, Trust, verify, verify_on,
};

use super::fixture::{FIRST_SEGMENT, World, append_large, constitution_with, intent, interrupted};

const DAY_MS: u64 = 86_400_000;

/// A ledger under a constitution with these sections, with a task of this UID (records 1 and 2) that
/// ended 2 ms after the epoch, and one that did not end (record 3).
fn ledger(sections: &str) -> World {
    let world = World::default();
    let (reference, text) = constitution_with(0, sections);
    let mut ledger = world.open().unwrap();
    ledger.ensure_constitution(&reference, &text).unwrap();
    for uid in ["ended", "open"] {
        let (mut record, payloads) = intent(uid, 0);
        if let Body::Intent { constitution, .. } = &mut record.body {
            *constitution = reference.clone();
        }
        ledger.append(&record, &payloads).unwrap();
        if uid == "ended" {
            let mut outcome = interrupted(uid, 0);
            outcome.decided.reason = Reason::Interrupted;
            outcome.decided.constitution = reference.clone();
            ledger
                .append(&Record::new(Body::Failed(outcome)), &[])
                .unwrap();
        }
    }
    drop(ledger);
    world
}

fn assert_verifies(world: &World, erased: u64) {
    let report = verify_on(&world.dir, Trust::Pin(&world.keys()), Depth::Records).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
    assert_eq!(report.payloads.erased, erased);
}

fn is_there(world: &World, text: &[u8]) -> bool {
    let files = world.dir.files();
    files
        .values()
        .any(|bytes| bytes.windows(text.len()).any(|found| found == text))
}

fn erase(ledger: &mut Ledger, index: u64) -> Result<Erased, LedgerError> {
    Ok(ledger.erase(&[index], 5)?[0])
}

#[test]
fn what_is_erased_is_gone_and_every_proof_stays() {
    let world = ledger("");
    let prompt = intent("ended", 0).1[1].clone();
    assert!(is_there(&world, &prompt.encode()));
    let mut ledger = world.open().unwrap();
    let receipt = ledger.view().receipt(1).unwrap();
    let erased = erase(&mut ledger, 1).unwrap();
    assert_eq!((erased.erasure, erased.payloads), (Some(4), 3));
    assert_eq!(ledger.payload(&prompt.commitment()).unwrap(), None);
    assert!(!is_there(&world, &prompt.encode()));
    let Body::Erasure {
        erased_index,
        commitments,
        at_unix_ms,
    } = ledger.record(4).unwrap().body
    else {
        panic!("no erasure");
    };
    assert_eq!((erased_index, commitments.len(), at_unix_ms), (1, 3, 5));
    assert_eq!(ledger.view().receipt(1).unwrap().entry(), receipt.entry());
    assert!(receipt.verify(ledger.view().verifying_key()).is_ok());
    // A second time there is nothing to do, and appends go on.
    let again = erase(&mut ledger, 1).unwrap();
    assert_eq!((again.erasure, again.payloads), (None, 0));
    let (record, payloads) = intent("next", 0);
    ledger.append(&record, &payloads).unwrap();
    drop(ledger);
    assert_verifies(&world, 3);
    assert!(world.open().unwrap().read_only().is_empty());
}

#[test]
fn an_erasure_that_a_crash_cut_short_is_carried_out_by_the_next_opening() {
    let world = ledger("");
    let mut ledger = world.open().unwrap();
    let before = world.dir.files()[FIRST_SEGMENT].clone();
    erase(&mut ledger, 1).unwrap();
    drop(ledger);
    // The erasure's own frame is durable, the bytes are not yet gone.
    world.dir.edit(FIRST_SEGMENT, |segment| {
        segment[..before.len()].copy_from_slice(&before);
    });
    let report = verify_on(&world.dir, Trust::Pin(&world.keys()), Depth::Records).unwrap();
    assert!(
        report.problems[0]
            .what
            .contains("still there, record 4 erased it")
    );
    drop(world.open().unwrap());
    assert_verifies(&world, 3);
    assert!(!is_there(&world, b"what is ended?"));
}

#[test]
fn a_full_disk_leaves_the_erasure_recorded_and_the_ledger_open() {
    let world = ledger("");
    let mut ledger = world.open().unwrap();
    world.dir.set_space(Some(2_000));
    let failed = erase(&mut ledger, 1).unwrap_err();
    assert!(matches!(failed, LedgerError::NotErased(_)), "{failed}");
    drop(ledger);
    // Still too full: the ledger opens all the same, and takes records.
    drop(world.open().unwrap());
    world.dir.set_space(None);
    let mut ledger = world.open().unwrap();
    assert_eq!(erase(&mut ledger, 1).unwrap().payloads, 0);
    drop(ledger);
    assert_verifies(&world, 3);
}

#[test]
fn what_is_erased_takes_no_room_on_a_disk() {
    let dir = tempfile::tempdir().unwrap();
    let keys = KeyStore::at(&dir.path().join("keys"));
    let mut ledger = Ledger::open(&dir.path().join("ledger"), &keys).unwrap();
    let (reference, text) = constitution_with(0, "");
    ledger.ensure_constitution(&reference, &text).unwrap();
    append_large(&mut ledger, 1);
    let file = dir.path().join("ledger").join(FIRST_SEGMENT);
    let length = file.metadata().unwrap().len();
    assert_eq!(erase(&mut ledger, 1).unwrap().payloads, 3);
    // Appends go on behind it.
    append_large(&mut ledger, 2);
    drop(ledger);
    let metadata = file.metadata().unwrap();
    assert!(metadata.len() > 2 * (4 << 20) && length > 4 << 20);
    assert!(metadata.blocks() * 512 < metadata.len() - (3 << 20));
    let report = verify(&dir.path().join("ledger"), Trust::Pin(&keys)).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
}

#[test]
fn a_constitution_s_text_stays() {
    let world = ledger("");
    let mut ledger = world.open().unwrap();
    let refused = ledger.erase(&[1, 0], 5).unwrap_err();
    assert!(matches!(refused, LedgerError::Constitution(0)));
    assert!(matches!(
        erase(&mut ledger, 9),
        Err(LedgerError::NoRecord { .. })
    ));
    assert_eq!(ledger.view().size(), 4, "nothing was done");
}

#[test]
fn nothing_of_a_task_on_hold_is_erased() {
    let world = ledger(r#""ledger":{"retentionDays":200},"#);
    let mut ledger = world.open().unwrap();
    assert!(matches!(ledger.hold("nobody"), Err(LedgerError::Hold(_))));
    assert_eq!(
        (ledger.hold("ended").unwrap(), ledger.hold("ended").unwrap()),
        (true, false)
    );
    assert!(matches!(erase(&mut ledger, 1), Err(LedgerError::Held(uid)) if uid == "ended"));
    drop(ledger);
    let mut ledger = world.open().unwrap();
    assert_eq!(ledger.view().holds().unwrap(), ["ended"]);
    let retention = ledger.view().retention(201 * DAY_MS).unwrap();
    assert_eq!(
        (retention.due.len(), &*retention.held),
        (0, &["ended".to_owned()][..])
    );
    assert_eq!(
        (
            ledger.unhold("ended").unwrap(),
            ledger.unhold("ended").unwrap()
        ),
        (true, false)
    );
    assert_eq!(erase(&mut ledger, 1).unwrap().payloads, 3);
}

#[test]
fn where_the_holds_cannot_be_read_nothing_is_erased() {
    let world = ledger("");
    for text in ["b\na\n", "a", "\n", "a\na\n"] {
        world
            .dir
            .edit("holds", |bytes| *bytes = text.as_bytes().to_vec());
        let refused = erase(&mut world.open().unwrap(), 1);
        assert!(matches!(refused, Err(LedgerError::Damaged(_))), "{text:?}");
    }
}

fn due(sections: &str, days: u64) -> Vec<u64> {
    let world = ledger(sections);
    let ledger = world.open().unwrap();
    let just_before = ledger.view().retention(days * DAY_MS + 1).unwrap();
    assert_eq!(just_before, Retention::default());
    ledger.view().retention(days * DAY_MS + 2).unwrap().due
}

#[test]
fn payloads_are_due_when_their_task_ended_so_many_days_ago() {
    assert_eq!(due(r#""ledger":{"retentionDays":200},"#, 200), [1]);
    assert_eq!(
        due(r#""ledger":{"retentionDays":10},"#, 183),
        [1],
        "never sooner"
    );
    assert_eq!(due("", 36_500), [0_u64; 0], "0 days: for ever");
}

#[test]
fn what_was_due_and_is_erased_is_due_no_more() {
    let world = ledger(r#""ledger":{"retentionDays":183},"#);
    let mut ledger = world.open().unwrap();
    let retention = ledger.view().retention(u64::MAX).unwrap();
    assert_eq!((&*retention.due, retention.tasks), (&[1][..], 1));
    ledger.erase(&retention.due, 5).unwrap();
    assert_eq!(
        ledger.view().retention(u64::MAX).unwrap(),
        Retention::default()
    );
    drop(ledger);
    assert_verifies(&world, 3);
    let view = LedgerReader::on(std::sync::Arc::new(world.dir.clone())).unwrap();
    assert_eq!(view.payloads(3).unwrap().len(), 3, "that task did not end");
}
