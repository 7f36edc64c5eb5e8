//! What an export writes, copied elsewhere and held against the key.

use std::sync::Arc;

use axiom_hive_core::digest::{Digest, to_hex};
use axiom_hive_core::tlog::{SigningKey, VerifyingKey};
use axiom_hive_runner::ledger::storage::Memory;
use axiom_hive_runner::ledger::{
    ArchiveReport, Constitutions, LedgerReader, export_to, verify_archive_on,
};

use super::fixture::{World, intent};
use super::independent::key_of;

/// 300 constitutions, a task that began, and the archive of them; it is not on the ledger's storage.
fn archive(texts: Constitutions) -> (World, Memory, VerifyingKey) {
    let world = World::with_records(300);
    let (record, payloads) = intent("secret-uid", 0);
    world.open().unwrap().append(&record, &payloads).unwrap();
    let key = key_of(&world);
    let ledger = LedgerReader::on(Arc::new(world.dir.clone())).unwrap();
    let out = Memory::default();
    let exported = export_to(&ledger, &out, texts).unwrap();
    assert_eq!(exported.files as usize, out.files().len());
    (world, out, key)
}

fn verify(archive: &Memory, key: &VerifyingKey) -> ArchiveReport {
    verify_archive_on(archive, key).unwrap()
}

/// The file's checksum in the manifest is made that of what it now holds.
fn mend(archive: &Memory, path: &str) {
    let digest = to_hex(&Digest::of(&archive.files()[path]).0);
    archive.edit("SHA256SUMS", |manifest| {
        let text = String::from_utf8(manifest.clone()).unwrap();
        let line = text
            .lines()
            .find(|line| line.ends_with(&format!("  {path}")));
        *manifest = text
            .replace(line.unwrap(), &format!("{digest}  {path}"))
            .into_bytes();
    });
}

#[test]
fn a_copy_verifies_to_the_same_head_and_holds_no_payload_of_a_task() {
    let (world, out, key) = archive(Constitutions::Included);
    let copy = Memory::from_files(out.files());
    let report = verify(&copy, &key);
    assert_eq!(report.problems, []);
    assert_eq!((report.size, report.constitutions), (301, 300));
    let checkpoint = world.open().unwrap().view().checkpoint().unwrap();
    assert_eq!(out.files()["checkpoint"], checkpoint.as_bytes());
    assert!(checkpoint.contains(&format!("\n{}\n", report.root)));
    for (path, bytes) in out.files() {
        let is_there = bytes.windows(8).any(|part| part == b"what is ");
        assert!(!is_there, "{path} holds a prompt");
    }
    let (_, without, key) = archive(Constitutions::Omitted);
    let is_text = |path: &String| path.starts_with("constitutions/");
    assert!(!without.files().keys().any(is_text));
    let report = verify(&without, &key);
    assert_eq!((report.problems.len(), report.constitutions), (0, 0));
}

#[test]
fn what_is_flipped_missing_or_too_much_is_named() {
    let (_, out, key) = archive(Constitutions::Included);
    let files = out.files();
    let telling =
        |path: &&String| !path.starts_with("constitutions/") || path.ends_with("299.json");
    for path in files.keys().filter(telling) {
        let names = |archive: &Memory| {
            let problems = verify(archive, &key).problems;
            // A checksum that changed speaks against the file that it is of.
            let is_named = problems.iter().any(|problem| problem.file == *path);
            let is_manifest = path == "SHA256SUMS" && !problems.is_empty();
            assert!(is_named || is_manifest, "{path}: {problems:?}");
        };
        for at in [0, files[path].len() / 2, files[path].len() - 1] {
            let flipped = Memory::from_files(files.clone());
            flipped.edit(path, |bytes| bytes[at] ^= 1);
            names(&flipped);
        }
        let missing = Memory::from_files(files.clone());
        missing.remove(path);
        names(&missing);
    }
    let mut more = files;
    more.insert("tile/0/more".to_owned(), b"x".to_vec());
    let problems = verify(&Memory::from_files(more), &key).problems;
    assert_eq!(
        problems[0].to_string(),
        "tile/0/more: this file is not listed"
    );
}

#[test]
fn mended_checksums_do_not_help() {
    let (_, out, key) = archive(Constitutions::Included);
    let text = "constitutions/d/1.0.7.json";
    for path in [
        "tile/entries/000",
        "tile/0/001.p/45",
        "tile/1/000.p/1",
        "checkpoint",
        text,
        "vkey",
    ] {
        let forged = Memory::from_files(out.files());
        forged.edit(path, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
        mend(&forged, path);
        let problems = verify(&forged, &key).problems;
        assert!(!problems.is_empty(), "{path}");
    }
    let other = SigningKey::new(key.name(), &[9; 32]).unwrap();
    let problems = verify(&out, other.verifying_key()).problems;
    let files: Vec<&str> = problems.iter().map(|it| it.file.as_str()).collect();
    assert_eq!(&files[..2], ["vkey", "checkpoint"]);
}
