//! Exactly once, and constitutions by release only.

use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{Body, Label, Record, Slot};
use axiom_hive_runner::ledger::{Depth, LedgerError, Trust, verify_on};

use super::fixture::{World, constitution, intent, interrupted, payload};

#[test]
fn an_append_gives_a_receipt_that_verifies() {
    let world = World::with_records(1);
    let mut ledger = world.open().unwrap();
    let (record, payloads) = intent("a", 0);
    let appended = ledger.append(&record, &payloads).unwrap();
    assert_eq!((appended.index, appended.existing), (1, false));
    let key = ledger.view().verifying_key();
    let verified = appended.receipt.verify(key).unwrap();
    assert_eq!((verified.index, verified.checkpoint.size), (1, 2));
    assert_eq!(verified.record, record);
    for payload in &payloads {
        let found = ledger.payload(&payload.commitment()).unwrap();
        assert_eq!(found.as_ref(), Some(payload));
    }
}

#[test]
fn a_filled_slot_returns_what_is_stored() {
    let world = World::with_records(1);
    let mut ledger = world.open().unwrap();
    let (first, payloads) = intent("a", 0);
    ledger.append(&first, &payloads).unwrap();
    let failed = Record::new(Body::Failed(interrupted("a", 0)));
    let ended = ledger.append(&failed, &[]).unwrap();

    // Every terminal outcome shares one slot, whatever the attempt and after a restart too.
    let mut other = interrupted("a", 1);
    other.observed.ended_unix_ms = 99;
    drop(ledger);
    let mut ledger = world.open().unwrap();
    let again = ledger
        .append(&Record::new(Body::Failed(other)), &[])
        .unwrap();
    assert!(again.existing);
    assert_eq!((again.index, &again.record), (ended.index, &failed));
    assert!(again.receipt.verify(ledger.view().verifying_key()).is_ok());
    assert_eq!(ledger.view().size(), 3);
}

#[test]
fn unfinished_tasks_are_listed_by_their_last_intent() {
    let world = World::with_records(1);
    let mut ledger = world.open().unwrap();
    for (uid, attempt) in [("a", 0), ("b", 0), ("a", 1)] {
        let (record, payloads) = intent(uid, attempt);
        ledger.append(&record, &payloads).unwrap();
    }
    let failed = Record::new(Body::Attempt(interrupted("a", 0)));
    ledger.append(&failed, &[]).unwrap();
    let open = ledger.open_intents().unwrap();
    let shown: Vec<_> = open
        .iter()
        .map(|o| (o.task.uid.as_str(), o.task.attempt))
        .collect();
    assert_eq!(shown, [("b", 0), ("a", 1)]);
    let failed = Record::new(Body::Failed(interrupted("b", 0)));
    ledger.append(&failed, &[]).unwrap();
    assert_eq!(ledger.open_intents().unwrap().len(), 1);
}

#[test]
fn a_constitution_never_changes_under_its_version() {
    let world = World::with_records(2);
    let mut ledger = world.open().unwrap();
    let (mut constitution, text) = constitution(1);
    let same = ledger.ensure_constitution(&constitution, &text).unwrap();
    assert_eq!((same.index, same.existing), (1, true));

    constitution.digest = Digest::of(b"changed");
    let error = ledger
        .ensure_constitution(&constitution, &text)
        .unwrap_err();
    let message = error.to_string();
    assert!(matches!(
        error,
        LedgerError::ConstitutionChanged { index: 1, .. }
    ));
    assert!(message.contains("raise [meta] version"), "{message}");
}

#[test]
fn a_task_needs_its_constitution_recorded_first() {
    let world = World::default();
    let mut ledger = world.open().unwrap();
    let (record, payloads) = intent("a", 0);
    let error = ledger.append(&record, &payloads).unwrap_err();
    assert!(matches!(error, LedgerError::ConstitutionUnknown { .. }));

    let (mut other, text) = constitution(0);
    other.digest = Digest::of(b"other");
    ledger.ensure_constitution(&other, &text).unwrap();
    let error = ledger.append(&record, &payloads).unwrap_err();
    assert!(matches!(error, LedgerError::ConstitutionChanged { .. }));
}

#[test]
fn a_deletion_names_the_end_of_its_task() {
    let world = World::with_records(2);
    let mut ledger = world.open().unwrap();
    let deleted = |attempt, ended_index| {
        Record::new(Body::Deleted {
            task: super::fixture::task("a", attempt),
            ended_index,
            at_unix_ms: 7,
        })
    };
    let (record, payloads) = intent("a", 0);
    let intent = ledger.append(&record, &payloads).unwrap().index;
    let error = ledger.append(&deleted(0, intent), &[]).unwrap_err();
    assert!(matches!(error, LedgerError::NotEnded(_)), "{error}");
    let ended = Record::new(Body::Failed(interrupted("a", 0)));
    let end = ledger.append(&ended, &[]).unwrap().index;
    for wrong in [deleted(0, intent), deleted(1, end), deleted(0, end + 1)] {
        let error = ledger.append(&wrong, &[]).unwrap_err();
        assert!(matches!(error, LedgerError::NotEnded(_)), "{error}");
    }
    let first = ledger.append(&deleted(0, end), &[]).unwrap();
    let again = ledger.append(&deleted(0, end), &[]).unwrap();
    assert_eq!((again.index, again.existing), (first.index, true));
    drop(ledger);
    // Found again by a reader, and by the next writer.
    let report = verify_on(&world.dir, Trust::Pin(&world.keys()), Depth::Records).unwrap();
    assert!(report.is_ok(), "{report:?}");
    let slot = Slot::Deleted {
        uid: "a".to_owned(),
    };
    assert_eq!(
        world.open().unwrap().find(&slot).unwrap(),
        Some(first.index)
    );
}

#[test]
fn payloads_are_bounded_and_claimed() {
    let world = World::with_records(1);
    let mut ledger = world.open().unwrap();
    let (record, mut payloads) = intent("a", 0);
    payloads.push(payload(Label::DETAIL, 9, b"nobody's"));
    let error = ledger.append(&record, &payloads).unwrap_err();
    assert!(matches!(error, LedgerError::Unclaimed { .. }));
    let many = vec![payloads[0].clone(); 81];
    let error = ledger.append(&record, &many).unwrap_err();
    assert!(matches!(error, LedgerError::TooLarge { .. }));
    let large = vec![payload(Label::PROMPT, 1, &vec![b'x'; 4 << 20]); 10];
    let error = ledger.append(&record, &large).unwrap_err();
    assert!(matches!(error, LedgerError::TooLarge { .. }));
    assert_eq!(ledger.view().size(), 1, "nothing was appended");
    let slot = Slot::Intent(super::fixture::task("a", 0));
    assert_eq!(ledger.find(&slot).unwrap(), None);
}
