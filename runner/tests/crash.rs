//! `kill -9` at every named point of the append path, then the same command again.
//!
//! The program is built with the feature `crash-points`; the list of points is the one that the code
//! generates. After every kill the same task UID is run again: the answer printed must be the one
//! recorded, there is exactly one terminal record per UID, nothing acknowledged is lost, and the
//! ledger verifies.
#![cfg(feature = "crash-points")]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;

use axiom_hive_runner::ledger::CRASH_POINTS;
use common::Hive;

/// Kills; the full count is in `tests/budget.toml`.
fn kills() -> usize {
    std::env::var("AXIOM_HIVE_BUDGET_CRASH_KILLS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(200)
}

/// A kill takes one core; two ledgers use a small machine's both, and a shorter ledger opens sooner.
const LEDGERS: usize = 2;

#[test]
fn no_kill_loses_or_doubles_a_record() {
    std::thread::scope(|threads| {
        for first in 0..LEDGERS {
            threads.spawn(move || kill_and_run_again(first, kills().div_ceil(LEDGERS)));
        }
    });
}

/// `kills` kills on a ledger of their own, at the points from `first` on, in turn.
fn kill_and_run_again(first: usize, kills: usize) {
    let hive = Hive::default();
    let mut answers = BTreeMap::new();
    let mut killed = 0;
    let mut round = first;
    while killed < kills {
        let point = CRASH_POINTS[round % CRASH_POINTS.len()];
        // The first append of a run is the intent, the second the terminal record.
        let nth = 1 + round / CRASH_POINTS.len() % 2;
        let uid = format!("crash-{round}");
        let prompt = format!("answer number {round}");
        let args = [
            "--runtime",
            "echo",
            "--branches",
            "1",
            "--task-uid",
            &uid,
            &prompt,
        ];
        let output = hive
            .run_command(&args)
            .env("AXIOM_HIVE_CRASH_AT", format!("{point}:{nth}"))
            .output()
            .unwrap();
        if output.status.signal() == Some(9) {
            killed += 1;
        }
        round += 1;
        assert!(
            round < first + kills * 4,
            "most points must be reached: {killed} kills from round {first} to {round}"
        );
        let again = hive.run(&args).expect(0);
        assert_eq!(again.stdout, format!("{prompt}\n"));
        answers.insert(uid, prompt);
        if round.is_multiple_of(50) {
            hive.verify().expect(0);
        }
    }
    hive.verify().expect(0);
    assert_one_terminal_each(&hive, &answers);
}

fn assert_one_terminal_each(hive: &Hive, answers: &BTreeMap<String, String>) {
    let mut terminal: BTreeMap<String, usize> = BTreeMap::new();
    let mut from = 0;
    loop {
        let list = hive
            .cli(&[
                "ledger",
                "list",
                "ledger",
                "--output",
                "json",
                "--from",
                &from.to_string(),
            ])
            .expect(0)
            .json();
        let records = list["records"].as_array().unwrap();
        for record in records {
            if matches!(
                record["kind"].as_str(),
                Some("answered" | "withheld" | "failed")
            ) {
                assert_eq!(record["kind"], "answered", "{record}");
                *terminal
                    .entry(record["taskUid"].as_str().unwrap().to_owned())
                    .or_default() += 1;
            }
        }
        if records.is_empty() {
            break;
        }
        from += records.len();
    }
    assert_eq!(terminal.len(), answers.len());
    assert!(terminal.values().all(|count| *count == 1), "{terminal:?}");
}

/// Both halves of a succession, the seal and the first record of the new ledger, are killed at each point; the same command then ends
/// it, with one successor.
#[test]
fn a_killed_rotation_is_ended_by_the_same_command() {
    let rotate = ["ledger", "rotate", "ledger", "next"];
    let mut killed = 0;
    for point in CRASH_POINTS {
        for nth in 1..=2 {
            let hive = Hive::default();
            hive.echo(&["hi"]).expect(0);
            let output = hive
                .command()
                .args(rotate)
                .env("AXIOM_HIVE_CRASH_AT", format!("{point}:{nth}"))
                .output()
                .unwrap();
            killed += usize::from(output.status.signal() == Some(9));
            let ended = hive.cli(&rotate).expect(0).stdout;
            assert!(
                ended.contains("was sealed with 4 records"),
                "{point}:{nth}: {ended}"
            );
            hive.cli(&["verify", "next", "--predecessor", "ledger"])
                .expect(0);
            let list = hive.cli(&["ledger", "list", "next"]).expect(0).stdout;
            assert_eq!(
                list.matches("succession").count(),
                1,
                "{point}:{nth}: {list}"
            );
            let list = hive.cli(&["ledger", "list", "ledger"]).expect(0).stdout;
            assert_eq!(list.matches("sealed").count(), 1, "{point}:{nth}: {list}");
        }
    }
    // Nothing rotates to a new segment or cuts a tail here.
    assert!(killed >= 2 * (CRASH_POINTS.len() - 4), "{killed} kills");
}
