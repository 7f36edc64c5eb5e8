//! The end of a ledger, with the real program.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::process::Command;

use common::Hive;

#[test]
fn a_sealed_ledger_takes_no_task_and_verifies() {
    let hive = Hive::default();
    hive.echo(&["hi"]).expect(0);
    let sealed = hive.cli(&["ledger", "seal", "ledger"]).expect(0);
    assert!(
        sealed.stdout.contains("sealed by record 3"),
        "{}",
        sealed.stdout
    );
    for file in ["checkpoint", "tile/0/000.p/4", "tile/entries/000.p/4"] {
        assert!(hive.path("ledger").join(file).is_file(), "{file}");
    }
    hive.verify().expect(0);
    let refused = hive.echo(&["again"]).expect(5);
    assert!(
        refused.stderr.contains("sealed by record 3"),
        "{}",
        refused.stderr
    );
    let again = hive.cli(&["ledger", "seal", "ledger"]).expect(0);
    assert!(
        again.stdout.contains("was sealed by record 3"),
        "{}",
        again.stdout
    );
    // What must be erased still can be.
    hive.cli(&["ledger", "erase", "ledger", "1"]).expect(0);
    assert!(hive.path("ledger/tile/entries/000.p/5").is_file());
    hive.verify().expect(0);
    std::fs::remove_file(hive.path("ledger/tile/0/000.p/5")).unwrap();
    hive.verify().expect(7);
    hive.cli(&["ledger", "repair", "ledger"]).expect(0);
    hive.verify().expect(0);
}

#[test]
fn a_ledger_is_succeeded_by_one_that_names_it() {
    let hive = Hive::default();
    hive.echo(&["hi"]).expect(0);
    let rotate = ["ledger", "rotate", "ledger", "next", "--reason", "calendar"];
    let rotated = hive.cli(&rotate).expect(0);
    assert!(
        rotated.stdout.contains("was sealed with 4 records"),
        "{}",
        rotated.stdout
    );
    let json: Vec<&str> = rotate.into_iter().chain(["--output", "json"]).collect();
    let again = hive.cli(&json).expect(0).json();
    let key = hive.cli(&["ledger", "key", "next"]).expect(0).stdout;
    assert_eq!(again["key"], key.trim());
    let list = hive.cli(&["ledger", "list", "next"]).expect(0).stdout;
    assert!(list.contains("succession"), "{list}");
    let run = [
        "run",
        "--runtime",
        "echo",
        "--constitution",
        "constitution.toml",
    ];
    hive.cli(&[&run[..], &["--ledger", "next", "hi"]].concat())
        .expect(0);
    let held_against = ["verify", "next", "--predecessor", "ledger"];
    hive.cli(&held_against).expect(0);
    // An erasure in the old one is no other past; another ledger is one.
    hive.cli(&["ledger", "erase", "ledger", "1"]).expect(0);
    hive.cli(&held_against).expect(0);
    hive.cli(&[&run[..], &["--ledger", "other", "hi"]].concat())
        .expect(0);
    hive.cli(&["verify", "next", "--predecessor", "other"])
        .expect(7);
    let log = hive.path("ledger/log/00000000000000000000");
    let mut bytes = std::fs::read(&log).unwrap();
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    hive.cli(&["verify", "next"]).expect(0);
    hive.cli(&held_against).expect(7);
}

#[test]
fn an_archive_verifies_anywhere_and_a_flipped_bit_is_named() {
    let hive = Hive::default();
    hive.echo(&["hi"]).expect(0);
    hive.cli(&["ledger", "export", "ledger", "out", "--constitutions"])
        .expect(0);
    let key = hive.cli(&["ledger", "key", "ledger"]).expect(0).stdout;
    let readme = std::fs::read_to_string(hive.path("out/README.txt")).unwrap();
    assert!(readme.contains(key.trim()));
    std::fs::remove_dir_all(hive.ledger()).unwrap();
    std::fs::rename(hive.path("out"), hive.path("elsewhere")).unwrap();
    let verify = ["verify", "--archive", "elsewhere", "--key", key.trim()];
    let verified = hive.cli(&verify).expect(0).stdout;
    assert!(verified.contains("constitutions  1"), "{verified}");
    let sums = || {
        let mut command = Command::new("sha256sum");
        command.args(["--check", "--strict", "--status", "SHA256SUMS"]);
        let run = command.current_dir(hive.path("elsewhere")).status();
        run.unwrap().success()
    };
    assert!(sums());
    let bundle = hive.path("elsewhere/tile/entries/000.p/3");
    let mut bytes = std::fs::read(&bundle).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    assert!(!sums());
    let failed = hive.cli(&verify).expect(7).stdout;
    assert!(
        failed.contains("problem: tile/entries/000.p/3: this file does not match its checksum"),
        "{failed}"
    );
    // A key is asked for: an archive proves nothing by the key in it.
    hive.cli(&["verify", "--archive", "elsewhere"]).expect(1);
}
