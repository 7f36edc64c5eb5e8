//! An independent verifier, written in Python from the format's pages alone, gives every ledger and every
//! receipt the verdict that ours gives: `tests/conformance/verify.py`.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use axiom_hive_core::record::Receipt;
use axiom_hive_core::tlog::VerifyingKey;
use axiom_hive_runner::ledger::{Depth, Trust, verify_on};
use axiom_hive_runner::runtime::PYTHON_BIN;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{TestCaseError, TestRunner};

use super::fixture::{FIRST_SEGMENT, World, budget, intent};
use super::mutations::{Change, LEDGER, change};

/// The other verifier, asked again and again.
pub(super) struct Verifier {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

fn python() -> String {
    std::env::var(PYTHON_BIN).unwrap_or_else(|_| "python3".to_owned())
}

impl Verifier {
    pub(super) fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut process = Command::new(python())
            .arg(root.join("tests/conformance/verify.py"))
            .arg("batch")
            // No cache beside the sources.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            questions: process.stdin.take().unwrap(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
        }
    }

    /// `ok`, or what does not hold.
    fn verdict(&mut self, kind: &str, path: &Path, key: &VerifyingKey) -> String {
        writeln!(self.questions, "{kind}\t{}\t{key}", path.display()).unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write(world: &World, directory: &Path) {
    for (path, bytes) in world.dir.files() {
        let file = directory.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

pub(super) fn key_of(world: &World) -> VerifyingKey {
    let ledger = world.open().unwrap();
    ledger.view().verifying_key().clone()
}

fn agree(ours: &Result<(), String>, theirs: &str) -> Result<(), TestCaseError> {
    let is_same = ours.is_ok() == (theirs == "ok");
    prop_assert!(is_same, "ours: {ours:?}, theirs: {theirs}");
    Ok(())
}

/// Our verdict on a world as it lies in memory; theirs on the same files on a disk.
pub(super) fn judge_ledger(
    world: &World,
    key: &VerifyingKey,
    verifier: &mut Verifier,
) -> Result<(), TestCaseError> {
    let ours = match verify_on(&world.dir, Trust::Key(key), Depth::Records) {
        Ok(report) if report.is_ok() => Ok(()),
        Ok(report) => Err(format!("{:?}", report.problems)),
        Err(error) => Err(error.to_string()),
    };
    let directory = tempfile::tempdir().unwrap();
    write(world, directory.path());
    agree(&ours, &verifier.verdict("ledger", directory.path(), key))
}

fn runner() -> TestRunner {
    let cases = budget("INDEPENDENT_VERDICTS", 300);
    TestRunner::new(ProptestConfig::with_cases(cases))
}

#[test]
fn damaged_ledgers_get_the_same_verdict() {
    let verifier = std::cell::RefCell::new(Verifier::start());
    let key = key_of(&LEDGER);
    judge_ledger(&LEDGER, &key, &mut verifier.borrow_mut()).unwrap();
    let changes = vec((any::<Index>(), change()), 1..3);
    let run = runner().run(&changes, |changes: Vec<(Index, Change)>| {
        let world = LEDGER.fork();
        let paths: Vec<String> = world.dir.files().into_keys().collect();
        for (path, change) in &changes {
            change.apply(&world, &paths[path.index(paths.len())]);
        }
        judge_ledger(&world, &key, &mut verifier.borrow_mut())
    });
    run.unwrap();
}

/// `core/tests/tlog_vectors` shows what ours says of them.
#[test]
fn the_published_vectors_get_their_verdicts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(python())
        .arg(root.join("tests/conformance/vectors.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{output:?}");
}

/// More than one tile wide, so that tiles, bundles and groups are read too.
#[test]
fn a_large_ledger_is_in_order_for_both() {
    let world = World::with_records(600);
    let mut ledger = world.open().unwrap();
    let (record, payloads) = intent("a", 0);
    ledger.append(&record, &payloads).unwrap();
    drop(ledger);
    assert!(world.dir.files().contains_key("tile/entries/001"));
    let (key, mut verifier) = (key_of(&world), Verifier::start());
    judge_ledger(&world, &key, &mut verifier).unwrap();
    for path in ["tile/0/001", "tile/entries/000"] {
        let world = world.fork();
        world.dir.edit(path, |bytes| bytes[77] ^= 4);
        judge_ledger(&world, &key, &mut verifier).unwrap();
    }
}

#[test]
fn an_erased_payload_is_accounted_for_by_both() {
    let world = World::with_records(3);
    let mut ledger = world.open().unwrap();
    let (record, payloads) = intent("a", 0);
    ledger.append(&record, &payloads).unwrap();
    let before = world.dir.files()[FIRST_SEGMENT].clone();
    ledger.erase(&[3], 1).unwrap();
    drop(ledger);
    let (key, mut verifier) = (key_of(&world), Verifier::start());
    judge_ledger(&world, &key, &mut verifier).unwrap();
    // Recorded, but not carried out; and carried out, but not recorded.
    let half = world.fork();
    half.dir.edit(FIRST_SEGMENT, |log| {
        log[..before.len()].copy_from_slice(&before);
    });
    let silent = world.fork();
    silent
        .dir
        .edit(FIRST_SEGMENT, |log| log.truncate(before.len()));
    for world in [half, silent] {
        judge_ledger(&world, &key, &mut verifier).unwrap();
        let report = verify_on(&world.dir, Trust::Key(&key), Depth::Records).unwrap();
        assert!(!report.is_ok());
    }
}

#[test]
fn damaged_receipts_get_the_same_verdict() {
    let verifier = std::cell::RefCell::new(Verifier::start());
    let world = LEDGER.fork();
    let (record, payloads) = intent("b", 0);
    let receipt = world.open().unwrap().append(&record, &payloads).unwrap();
    let text = receipt.receipt.to_string();
    let key = key_of(&world);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("receipt");
    let judge = |bytes: &[u8]| {
        let ours = std::str::from_utf8(bytes).map_err(|error| error.to_string());
        let ours = ours.and_then(|text| Receipt::parse(text).map_err(|error| error.to_string()));
        let ours = ours.and_then(|it| it.verify(&key).map(drop).map_err(|error| error.to_string()));
        fs::write(&file, bytes).unwrap();
        agree(
            &ours,
            &verifier.borrow_mut().verdict("receipt", &file, &key),
        )
    };
    judge(text.as_bytes()).unwrap();
    let run = runner().run(&vec(change(), 1..3), |changes| {
        let mut bytes = text.clone().into_bytes();
        for change in &changes {
            change.edit(&mut bytes);
        }
        judge(&bytes)
    });
    run.unwrap();
}
