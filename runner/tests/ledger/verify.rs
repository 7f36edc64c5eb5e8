//! What `verify` finds, and what it does not mind.

use std::io;
use std::sync::{Arc, Mutex};

use axiom_hive_core::record::{Body, Record};
use axiom_hive_core::tlog::{
    Checkpoint, Hash, Tile, TileKind, bundle, leaf_hash, root_of, tiles_of,
};
use axiom_hive_runner::ledger::storage::{Lock, Memory, Storage};
use axiom_hive_runner::ledger::{
    Constitutions, Depth, Ledger, LedgerReader, Trust, VerifyReport, export_to, verify_on,
};

use super::fixture::{FIRST_SEGMENT, World, append_large, erasure, intent, interrupted};

fn verify(world: &World) -> VerifyReport {
    verify_on(&world.dir, Trust::Pin(&world.keys()), Depth::Records).unwrap()
}

/// Constitution 0, then `count` records without payloads.
fn with_erasures(count: u64) -> World {
    let world = World::with_records(1);
    let mut ledger = world.open().unwrap();
    for number in 0..count {
        ledger.append(&erasure(number), &[]).unwrap();
    }
    drop(ledger);
    world
}

#[test]
fn a_ledger_in_order_is_authenticated_by_its_pin_or_its_key() {
    let world = World::with_records(3);
    let report = verify(&world);
    assert_eq!(report.problems, []);
    assert!(report.is_ok());
    assert_eq!((report.size, report.payloads.kept), (3, 3));

    let key = report.key.unwrap();
    let by_key = verify_on(&world.dir, Trust::Key(&key), Depth::Records).unwrap();
    assert!(by_key.is_ok());
    let alone = verify_on(&world.dir, Trust::Nothing, Depth::Records).unwrap();
    assert_eq!(alone.problems, []);
    assert!(!alone.is_ok(), "self-consistent, not authenticated");
    let other = World::with_records(1);
    let key = verify(&other).key.unwrap();
    let by_other = verify_on(&world.dir, Trust::Key(&key), Depth::Records).unwrap();
    assert!(!by_other.is_ok() && !by_other.problems.is_empty());
    let stranger = verify_on(&world.dir, Trust::Pin(&other.keys()), Depth::Records).unwrap();
    assert!(!stranger.authenticated && stranger.problems.is_empty());
}

#[test]
fn an_empty_ledger_verifies() {
    let report = verify(&World::with_records(0));
    assert!(report.is_ok());
    assert_eq!(report.size, 0);
}

#[test]
fn unfinished_tasks_are_listed() {
    let world = World::with_records(1);
    let mut ledger = world.open().unwrap();
    for uid in ["a", "b"] {
        let (record, payloads) = intent(uid, 0);
        ledger.append(&record, &payloads).unwrap();
    }
    let failed = Record::new(Body::Failed(interrupted("a", 0)));
    ledger.append(&failed, &[]).unwrap();
    drop(ledger);
    let report = verify(&world);
    assert!(report.is_ok(), "{:?}", report.problems);
    assert_eq!(report.unfinished.len(), 1);
    assert_eq!(report.unfinished[0].task.uid, "b");
}

#[test]
fn a_crash_s_tail_is_no_problem_until_a_head_covers_it() {
    let world = World::with_records(3);
    let half = world.dir.files()[FIRST_SEGMENT][300..340].to_vec();
    world.dir.edit(FIRST_SEGMENT, |bytes| bytes.extend(&half));
    let report = verify(&world);
    assert!(report.is_ok() && report.tail.is_some());
    world
        .dir
        .edit(FIRST_SEGMENT, |bytes| bytes.truncate(bytes.len() - 60));
    let report = verify(&world);
    assert!(!report.is_ok() && report.tail.is_none());
}

#[test]
fn a_rolled_back_or_cut_ledger_is_found_by_the_pin() {
    let world = World::with_records(3);
    let old = Memory::from_files(world.dir.files());
    world.open().unwrap().append(&erasure(0), &[]).unwrap();
    let rolled_back = World {
        dir: old,
        keys: world.keys.clone(),
    };
    assert!(!verify(&rolled_back).problems.is_empty());
    let key = verify(&rolled_back).key.unwrap();
    let by_key = verify_on(&rolled_back.dir, Trust::Key(&key), Depth::Records).unwrap();
    assert!(
        by_key.is_ok(),
        "only an anchor off the volume shows a rollback"
    );
}

#[test]
fn tiles_are_written_when_full_checked_and_made_anew() {
    let world = with_erasures(600);
    let paths: Vec<String> = tiles_of(601)
        .filter(Tile::is_full)
        .map(|tile| tile.to_string())
        .collect();
    assert_eq!(paths.len(), 4);
    let files = world.dir.files();
    assert!(paths.iter().all(|path| files.contains_key(path)));
    assert_eq!(
        files
            .keys()
            .filter(|path| path.starts_with("tile/"))
            .count(),
        4
    );
    assert!(verify(&world).is_ok());

    for path in &paths {
        let damaged = world.fork();
        damaged.dir.edit(path, |bytes| bytes[77] ^= 1);
        assert_eq!(verify(&damaged).problems[0].file, *path);
        damaged.dir.remove(path);
        assert!(verify(&damaged).is_ok(), "derived data may be missing");
        drop(damaged.open().unwrap());
        assert_eq!(damaged.dir.files()[path], files[path]);
    }
}

#[test]
fn an_export_is_a_static_tlog_tiles_tree() {
    let world = with_erasures(300);
    let ledger = LedgerReader::on(Arc::new(world.dir.clone())).unwrap();
    let out = Memory::default();
    let exported = export_to(&ledger, &out, Constitutions::Omitted).unwrap();
    assert_eq!((exported.size, exported.files), (301, 9));
    let files = out.files();
    let paths: Vec<&str> = files.keys().map(String::as_str).collect();
    let expected = [
        "README.txt",
        "SHA256SUMS",
        "checkpoint",
        "tile/0/000",
        "tile/0/001.p/45",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/45",
        "vkey",
    ];
    assert_eq!(paths, expected);

    // Read back as a foreign tool would: entries → leaves → tiles → root → signature.
    let note = String::from_utf8(files["checkpoint"].clone()).unwrap();
    let checkpoint = Checkpoint::open(&note, ledger.verifying_key()).unwrap();
    assert_eq!(checkpoint.size, 301);
    let mut entries = bundle::parse(&files["tile/entries/000"], 256).unwrap();
    entries.extend(bundle::parse(&files["tile/entries/001.p/45"], 45).unwrap());
    assert_eq!(root_of(&entries), checkpoint.root);
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let tile = Tile {
        kind: TileKind::Hashes { level: 0 },
        index: 0,
        width: 256,
    };
    assert_eq!(
        tile.parse_hashes(&files["tile/0/000"]).unwrap(),
        leaves[..256]
    );
    let text = super::fixture::constitution(0).1;
    let leaks = |file: &Vec<u8>| file.windows(32).any(|window| window == text.salt.0);
    assert!(!files.values().any(leaks), "no salt leaves the ledger");
}

#[test]
fn large_logs_are_checked_on_threads_and_over_segments() {
    let world = World::with_records(1);
    let mut ledger = world.open().unwrap();
    // 18 payloads of 4 MiB pass the 64 MiB at which a segment gets a successor.
    for number in 0..18 {
        append_large(&mut ledger, number);
    }
    drop(ledger);
    let segments: Vec<String> = world.dir.list("log").unwrap();
    assert_eq!(segments.len(), 2, "{segments:?}");
    let report = verify(&world);
    assert!(report.is_ok(), "{:?}", report.problems);
    assert_eq!(report.size, 19);
    let ledger = world.open().unwrap();
    assert_eq!((ledger.read_only(), ledger.view().size()), (&[][..], 19));
    drop(ledger);

    let last = format!("log/{}", segments[1]);
    for (path, at) in [(FIRST_SEGMENT.to_owned(), 40 << 20), (last, 5000)] {
        world.dir.edit(&path, |bytes| bytes[at] ^= 1);
        let report = verify(&world);
        assert_eq!(report.problems[0].file, path);
        world.dir.edit(&path, |bytes| bytes[at] ^= 1);
    }
    world.dir.remove(FIRST_SEGMENT);
    assert!(!verify(&world).is_ok());
}

/// A storage on which a writer appends between any two reads of the log.
struct Busy {
    memory: Memory,
    writer: Mutex<Ledger>,
}

impl Storage for Busy {
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.memory.list(folder)
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let mut writer = self.writer.lock().unwrap();
        let number = writer.view().size();
        writer.append(&erasure(number), &[]).unwrap();
        self.memory.read(path)
    }

    fn length(&self, path: &str) -> io::Result<Option<u64>> {
        self.memory.length(path)
    }

    fn read_at(&self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut writer = self.writer.lock().unwrap();
        let number = writer.view().size();
        writer.append(&erasure(number), &[]).unwrap();
        self.memory.read_at(path, offset, length)
    }

    fn write_at(&self, _: &str, _: u64, _: &[u8]) -> io::Result<()> {
        unreachable!("verify only reads")
    }

    fn sync(&self, _: &str) -> io::Result<()> {
        unreachable!("verify only reads")
    }

    fn truncate(&self, _: &str, _: u64) -> io::Result<()> {
        unreachable!("verify only reads")
    }

    fn replace(&self, _: &str, _: &[u8], _: bool) -> io::Result<()> {
        unreachable!("verify only reads")
    }

    fn try_lock(&self, _: &str) -> io::Result<Option<Lock>> {
        unreachable!("verify takes no lock")
    }
}

#[test]
fn a_ledger_verifies_while_a_writer_goes_on() {
    let world = World::with_records(300);
    let busy = Busy {
        memory: world.dir.clone(),
        writer: Mutex::new(world.open().unwrap()),
    };
    let report = verify_on(&busy, Trust::Pin(&world.keys()), Depth::Records).unwrap();
    assert!(report.is_ok(), "{:?}", report.problems);
    assert!(report.size > 300);
}
