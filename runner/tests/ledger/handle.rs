//! Many callers of one writer.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use axiom_hive_core::record::{Body, Record};
use axiom_hive_core::supervisor::Entry;
use axiom_hive_core::tlog::{Tile, TileKind, verify_consistency};
use axiom_hive_runner::ledger::storage::{Lock, Memory, Storage};
use axiom_hive_runner::ledger::{
    Depth, Handle, Ledger, LedgerError, MAX_QUEUED_ENTRIES, Trust, verify_on,
};

use crate::fixture::{World, constitution, entry, erasure, intent, interrupted};

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

/// A disk whose syncs wait until they are let through.
#[derive(Clone)]
struct Gated {
    memory: Memory,
    /// Whether syncs pass, and how many have begun.
    gate: Arc<(Mutex<(bool, u32)>, Condvar)>,
}

impl Gated {
    fn on(world: &World) -> (Self, Ledger) {
        let gated = Self {
            memory: world.dir.clone(),
            gate: Arc::new((Mutex::new((true, 0)), Condvar::new())),
        };
        let ledger = Ledger::open_on(Arc::new(gated.clone()), &world.keys(), "memory").unwrap();
        (gated, ledger)
    }

    fn set_open(&self, open: bool) {
        self.gate.0.lock().unwrap().0 = open;
        self.gate.1.notify_all();
    }

    /// Waits until this many syncs have begun since the ledger was opened.
    fn wait_for_syncs(&self, number: u32) {
        let state = self.gate.0.lock().unwrap();
        drop(self.gate.1.wait_while(state, |state| state.1 < number));
    }

    fn syncs(&self) -> u32 {
        self.gate.0.lock().unwrap().1
    }
}

impl Storage for Gated {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.memory.list(folder)
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.memory.read(path)
    }

    fn length(&self, path: &str) -> io::Result<Option<u64>> {
        self.memory.length(path)
    }

    fn read_at(&self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.memory.read_at(path, offset, length)
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.memory.write_at(path, offset, bytes)
    }

    fn sync(&self, path: &str) -> io::Result<()> {
        let mut state = self.gate.0.lock().unwrap();
        state.1 += 1;
        self.gate.1.notify_all();
        drop(self.gate.1.wait_while(state, |state| !state.0));
        self.memory.sync(path)
    }

    fn truncate(&self, path: &str, length: u64) -> io::Result<()> {
        self.memory.truncate(path, length)
    }

    fn replace(&self, path: &str, bytes: &[u8], durable: bool) -> io::Result<()> {
        self.memory.replace(path, bytes, durable)
    }

    fn try_lock(&self, path: &str) -> io::Result<Option<Lock>> {
        self.memory.try_lock(path)
    }
}

/// Starts an append that is queued when this returns.
async fn queue(
    handle: &Handle,
    number: u64,
) -> tokio::task::JoinHandle<Result<axiom_hive_runner::ledger::Appended, LedgerError>> {
    let (begun, begins) = tokio::sync::oneshot::channel();
    let handle = handle.clone();
    let call = tokio::spawn(async move {
        let append = handle.append(erasure(number), Vec::new());
        begun.send(()).unwrap();
        append.await
    });
    begins.await.unwrap();
    call
}

#[tokio::test]
async fn what_queues_during_a_sync_is_one_group_and_readers_do_not_wait() {
    let world = World::with_records(3);
    let (disk, ledger) = Gated::on(&world);
    let opening = disk.syncs();
    let handle = Handle::new(ledger);
    disk.set_open(false);
    let mut calls = vec![queue(&handle, 0).await];
    let waiting = disk.clone();
    let wait = move || waiting.wait_for_syncs(opening + 1);
    tokio::task::spawn_blocking(wait).await.unwrap();
    for number in 1..=50 {
        calls.push(queue(&handle, number).await);
    }
    // The first append is being synced: nobody sees it, and nobody waits for it.
    assert_eq!(handle.size().await.unwrap(), 3);
    let receipt = handle.receipt(2).await.unwrap();
    let verified = receipt.verify(handle.verifying_key()).unwrap();
    assert_eq!(verified.checkpoint.size, 3);

    disk.set_open(true);
    let mut sizes = Vec::new();
    for call in calls {
        let appended = call.await.unwrap().unwrap();
        let verified = appended.receipt.verify(handle.verifying_key()).unwrap();
        sizes.push(verified.checkpoint.size);
    }
    assert_eq!((sizes[0], &sizes[1..]), (4, &[54; 50][..]));
    assert_eq!(disk.syncs() - opening, 2, "51 appends");
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_releases_the_lock() {
    let world = World::with_records(1);
    let (disk, ledger) = Gated::on(&world);
    let handle = Handle::new(ledger);
    disk.set_open(false);
    let mut calls = Vec::new();
    for number in 0..20 {
        calls.push(queue(&handle, number).await);
    }
    let closing = tokio::spawn({
        let handle = handle.clone();
        async move { handle.close().await }
    });
    disk.set_open(true);
    closing.await.unwrap();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let late = handle.append(erasure(99), Vec::new()).await;
    assert!(matches!(late, Err(LedgerError::Closed)));
    assert_eq!(handle.size().await.unwrap(), 21, "reading goes on");
    assert_eq!(world.open().unwrap().view().size(), 21);
    handle.close().await;
}

#[tokio::test]
async fn a_full_queue_is_busy_and_takes_more_later() {
    let world = World::with_records(1);
    let (disk, ledger) = Gated::on(&world);
    let handle = Handle::new(ledger);
    disk.set_open(false);
    let all: Vec<Entry> = (0..MAX_QUEUED_ENTRIES as u64).map(entry).collect();
    let calls = tokio::spawn({
        let handle = handle.clone();
        async move { handle.append_all(all).await }
    });
    // Also on its own an append may be too large for the queue.
    let too_many = (0..=MAX_QUEUED_ENTRIES as u64).map(entry).collect();
    let refused = handle.append_all(too_many).await;
    assert!(matches!(refused[0], Err(LedgerError::TooLarge { .. })));
    tokio::task::yield_now().await;
    let refused = handle.append(erasure(0), Vec::new()).await;
    assert!(matches!(refused, Err(LedgerError::Busy)), "{refused:?}");
    disk.set_open(true);
    assert!(calls.await.unwrap().iter().all(Result::is_ok));
    handle.append(erasure(0), Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_fails_fails_every_caller_and_says_so() {
    let world = World::with_records(2);
    let handle = Handle::new(world.open().unwrap());
    assert!(handle.writable().is_ok());
    world.dir.set_fail_sync(true);
    let entries = vec![entry(0), entry(1)];
    for reply in handle.append_all(entries).await {
        assert!(matches!(reply, Err(LedgerError::Poisoned(_))));
    }
    world.dir.set_fail_sync(false);
    assert!(matches!(handle.writable(), Err(LedgerError::Poisoned(_))));
    let again = handle.append(erasure(0), Vec::new()).await;
    assert!(matches!(again, Err(LedgerError::Poisoned(_))));
    assert_eq!(handle.size().await.unwrap(), 2, "nobody saw them");
}

#[tokio::test]
async fn tiles_follow_the_groups() {
    let world = World::with_records(1);
    let handle = Handle::new(world.open().unwrap());
    let replies = handle.append_all((0..1000).map(entry).collect()).await;
    assert!(replies.iter().all(Result::is_ok));
    handle.close().await;
    let files = world.dir.files();
    for tile in [
        "tile/0/000",
        "tile/0/002",
        "tile/entries/000",
        "tile/entries/002",
    ] {
        assert!(files.contains_key(tile), "{tile}");
    }
    assert!(!files.contains_key("tile/0/003"));
    let report = verify_on(&world.dir, Trust::Pin(&world.keys()), Depth::Records).unwrap();
    assert!(report.is_ok() && report.size == 1001, "{report:?}");
}
