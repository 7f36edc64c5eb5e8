//! The end of a ledger, with the real program.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

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
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    hive.cli(&["verify", "next"]).expect(0);
    hive.cli(&held_against).expect(7);
}
