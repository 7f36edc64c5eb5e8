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
