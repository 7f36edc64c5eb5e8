//! Any change to any file: opening and verifying never panic, and a ledger that still takes
//! appends has every record that was released.

use std::sync::LazyLock;

use axiom_hive_core::record::{Body, Record};
use axiom_hive_runner::ledger::{Depth, Trust, verify_on};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::fixture::{World, budget, erasure, intent, interrupted, task};

/// Ten records, one with payloads that are erased, written once.
pub(crate) static LEDGER: LazyLock<World> = LazyLock::new(|| {
    let world = World::with_records(5);
    let mut ledger = world.open().unwrap();
    let (record, payloads) = intent("a", 0);
    ledger.append(&record, &payloads).unwrap();
    ledger.erase(&[5], 1).unwrap();
    ledger.append(&erasure(1), &[]).unwrap();
    let ended = Record::new(Body::Failed(interrupted("a", 0)));
    let end = ledger.append(&ended, &[]).unwrap().index;
    let deleted = Record::new(Body::Deleted {
        task: task("a", 0),
        ended_index: end,
        at_unix_ms: 1,
    });
    ledger.append(&deleted, &[]).unwrap();
    drop(ledger);
    world
});

/// One change to one file.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Overwrite(Index, Vec<u8>),
    Insert(Index, Vec<u8>),
    Delete(Index, Index),
    Repeat(Index, Index),
    Truncate(Index),
    Remove,
}

impl Change {
    pub(crate) fn apply(&self, world: &World, path: &str) {
        world.dir.edit(path, |bytes| self.edit(bytes));
        if matches!(self, Self::Remove) {
            world.dir.remove(path);
        }
    }

    pub(crate) fn edit(&self, bytes: &mut Vec<u8>) {
        let at = |index: &Index, bytes: &Vec<u8>| index.index(bytes.len() + 1);
        match self {
            Self::Overwrite(index, new) => {
                let start = at(index, bytes);
                for (old, new) in bytes[start..].iter_mut().zip(new) {
                    *old = *new;
                }
            }
            Self::Insert(index, new) => {
                let start = at(index, bytes);
                bytes.splice(start..start, new.iter().copied());
            }
            Self::Delete(from, to) | Self::Repeat(from, to) => {
                let (from, to) = (at(from, bytes), at(to, bytes));
                let range = from.min(to)..from.max(to);
                if matches!(self, Self::Delete(..)) {
                    bytes.drain(range);
                } else {
                    let copy = bytes[range.clone()].to_vec();
                    bytes.splice(range.end..range.end, copy);
                }
            }
            Self::Truncate(index) => bytes.truncate(index.index(bytes.len() + 1)),
            Self::Remove => bytes.clear(),
        }
    }
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let bytes = || vec(any::<u8>(), 1..200);
    let index = any::<Index>;
    prop_oneof![
        (index(), bytes()).prop_map(|(at, new)| Change::Overwrite(at, new)),
        (index(), bytes()).prop_map(|(at, new)| Change::Insert(at, new)),
        (index(), index()).prop_map(|(from, to)| Change::Delete(from, to)),
        (index(), index()).prop_map(|(from, to)| Change::Repeat(from, to)),
        index().prop_map(Change::Truncate),
        Just(Change::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(budget("LEDGER_MUTATIONS", 2000)))]

    #[test]
    fn a_changed_ledger_never_loses_a_record_in_silence(
        changes in vec((any::<Index>(), change()), 1..4),
    ) {
        let world = LEDGER.fork();
        let paths: Vec<String> = world.dir.files().into_keys().collect();
        for (path, change) in &changes {
            change.apply(&world, &paths[path.index(paths.len())]);
        }
        let is_same = world.dir.files() == LEDGER.dir.files();
        let report = verify_on(&world.dir, Trust::Pin(&world.keys()), Depth::Records).unwrap();
        // Bytes behind the last record are no problem: they may be an append that is going on.
        prop_assert!(is_same || !report.is_ok() || report.tail.is_some());
        prop_assert!(!report.is_ok() || report.size == 10);

        if let Ok(mut ledger) = world.open() {
            let before = LEDGER.open().unwrap();
            let is_new = ledger.view().verifying_key() != before.view().verifying_key();
            if ledger.append(&erasure(9), &[]).is_ok() && !is_new {
                prop_assert_eq!(ledger.view().size(), 11);
                for index in 0..10 {
                    prop_assert_eq!(ledger.record(index).unwrap(), before.record(index).unwrap());
                }
                drop(ledger);
                let keys = world.keys();
                let report = verify_on(&world.dir, Trust::Pin(&keys), Depth::Records).unwrap();
                prop_assert!(report.is_ok(), "{:?}", report.problems);
            }
        }
    }
}
