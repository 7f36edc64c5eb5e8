//! Many callers of one writer.

use axiom_hive_core::record::{Body, Record};
use axiom_hive_core::supervisor::Entry;
use axiom_hive_core::tlog::{Tile, TileKind, verify_consistency};
use axiom_hive_runner::ledger::{Handle, LedgerError};

use crate::fixture::{World, constitution, intent, interrupted};

const CALLERS: u64 = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_one_slot_get_one_record() {
    let world = World::with_records(1);
    let handle = Handle::new(world.open().unwrap());
    let mut calls = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let handle = handle.clone();
        calls.spawn(async move {
            let own = format!("task-{caller}");
            let (shared, payloads) = intent("shared", 0);
            let shared = handle.append(shared, payloads).await.unwrap();
            let (record, payloads) = intent(&own, 0);
            let own = handle.append(record, payloads).await.unwrap();
            (shared, own)
        });
    }
    let replies = calls.join_all().await;
    let mut fresh = 0;
    for (shared, _) in &replies {
        fresh += u64::from(!shared.existing);
    }
    assert_eq!(fresh, 1);
    let size = handle.size().await.unwrap();
    assert_eq!(size, 1 + 1 + CALLERS);
    for (shared, own) in &replies {
        assert_eq!(shared.record, replies[0].0.record);
        assert!(!own.existing);
        for appended in [shared, own] {
            let verified = appended.receipt.verify(handle.verifying_key()).unwrap();
            assert_eq!(verified.record, appended.record);
            assert_eq!(verified.index, appended.index);
        }
    }
    let mut indices: Vec<u64> = replies.iter().map(|(_, own)| own.index).collect();
    indices.sort_unstable();
    indices.dedup();
    assert_eq!(indices.len() as u64, CALLERS);
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_each_entry_its_own_fate() {
    let handle = Handle::new(World::default().open().unwrap());
    let (reference, text) = constitution(0);
    let first = Entry {
        record: Record::new(Body::Constitution {
            constitution: reference,
            text: text.commitment(),
        }),
        payloads: vec![text.clone()],
    };
    let (record, payloads) = intent("a", 0);
    let stray = Entry {
        record: record.clone(),
        payloads: vec![text],
    };
    let second = Entry { record, payloads };
    let end = Entry {
        record: Record::new(Body::Failed(interrupted("a", 0))),
        payloads: Vec::new(),
    };
    let replies = handle.append_all(vec![first, stray, second, end]).await;
    assert_eq!(replies[0].as_ref().unwrap().index, 0);
    assert!(matches!(replies[1], Err(LedgerError::Unclaimed { .. })));
    assert_eq!(replies[2].as_ref().unwrap().index, 1);
    assert_eq!(replies[3].as_ref().unwrap().index, 2);
    assert_eq!(handle.task("a".to_owned()).await.unwrap(), [1, 2]);
    assert!(handle.open_intents().await.unwrap().is_empty());
}

#[tokio::test]
async fn reads_stop_where_the_tree_does() {
    let world = World::with_records(5);
    let handle = Handle::new(world.open().unwrap());
    let tile = |width| Tile {
        kind: TileKind::Hashes { level: 0 },
        index: 0,
        width,
    };
    let all = handle.tile(tile(5)).await.unwrap().unwrap();
    let three = handle.tile(tile(3)).await.unwrap().unwrap();
    assert_eq!(all[..3 * 32], three);
    assert_eq!(handle.tile(tile(6)).await.unwrap(), None);

    let proof = handle.consistency(3, 5).await.unwrap().unwrap();
    let roots = [3, 5].map(|size| {
        let ledger = World::with_records(size).open().unwrap();
        let receipt = ledger.view().receipt(0).unwrap();
        let verified = receipt.verify(ledger.view().verifying_key()).unwrap();
        verified.checkpoint.root
    });
    verify_consistency(3, 5, &roots[0], &roots[1], &proof).unwrap();
    for (old, new) in [(0, 5), (4, 3), (1, 6)] {
        assert_eq!(handle.consistency(old, new).await.unwrap(), None);
    }
}
