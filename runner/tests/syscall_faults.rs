//! Every system call of the append path fails in turn, in the real program: `strace` injects the fault.
//!
//! A whole `run` makes a ledger, or goes on with one. After each fault: what was acknowledged is there, what was
//! not is refused clearly, the same task can be run again, and the ledger verifies. Which calls there are, a
//! run without a fault says. The full count is `AXIOM_HIVE_BUDGET_SYSCALL_FAULTS`; without `strace` the
//! tests end early and say so.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Hive, ran};

/// The calls that move bytes or names of files, and how each may fail.
const FAULTS: [(&str, &[&str]); 6] = [
    // `retval=0` is a write that wrote nothing.
    ("pwrite64", &["error=EIO", "error=ENOSPC", "retval=0"]),
    ("fdatasync", &["error=EIO", "error=ENOSPC"]),
    ("fsync", &["error=EIO", "error=ENOSPC"]),
    ("ftruncate", &["error=EIO", "error=ENOSPC"]),
    ("rename", &["error=EIO", "error=ENOSPC"]),
    ("mkdir", &["error=EIO", "error=ENOSPC"]),
];
/// A run that is asked twice for the same: one that is recorded is not run again.
const ARGS: [&str; 9] = [
    "--runtime",
    "echo",
    "--branches",
    "1",
    "--task-uid",
    "faulty",
    "--receipt",
    "receipt",
    "hello",
];
const CALLS: &str = "pwrite64,fdatasync,fsync,ftruncate,rename,mkdir";

/// Whether `program` does its work here: a container may forbid tracing.
fn works(program: &str, arguments: &[&str]) -> bool {
    let tried = Command::new(program).args(arguments).arg("true").output();
    let works = tried.is_ok_and(|output| output.status.success());
    if !works {
        eprintln!("skipped: needs {program} (Debian: strace, util-linux), and the right to trace");
    }
    works
}

fn faults() -> usize {
    let set = std::env::var("AXIOM_HIVE_BUDGET_SYSCALL_FAULTS");
    set.ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// `budget` of `all`, evenly spread.
fn spread<T: Clone>(all: &[T], budget: usize) -> Vec<T> {
    let count = budget.min(all.len());
    (0..count)
        .map(|n| all[n * all.len() / count].clone())
        .collect()
}

/// A state to begin from: nothing yet, or a ledger with one task.
fn hive(has_ledger: bool) -> Hive {
    let hive = Hive::default();
    if has_ledger {
        let args = ["--branches", "1", "--task-uid", "before", "earlier"];
        hive.echo(&args).expect(0);
    }
    hive
}

/// The run of [`ARGS`] as a child of a program with arguments.
fn under<S: AsRef<OsStr>>(hive: &Hive, program: &str, args: &[S]) -> Command {
    let inner = hive.run_command(&ARGS);
    let mut command = Command::new(program);
    command
        .args(args)
        .arg(inner.get_program())
        .args(inner.get_args());
    command.current_dir(inner.get_current_dir().unwrap());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// How often the run makes each call when nothing fails.
fn calls(has_ledger: bool) -> Vec<(&'static str, usize)> {
    let hive = hive(has_ledger);
    let trace = format!("--trace={CALLS}");
    let mut command = under(&hive, "strace", &["-f", "-qq", "-o", "trace", &trace]);
    ran(&command.output().unwrap()).expect(0);
    let trace = fs::read_to_string(hive.path("trace")).unwrap();
    let count = |name: &str| trace.matches(&format!(" {name}(")).count();
    FAULTS
        .iter()
        .map(|(name, _)| (*name, count(name)))
        .collect()
}

/// Each fault at each call: whether there is a ledger before, the fault, the call, its number.
fn all_faults() -> Vec<(bool, &'static str, &'static str, usize)> {
    let mut all = Vec::new();
    for has_ledger in [true, false] {
        let counts = calls(has_ledger);
        for ((call, faults), (_, count)) in FAULTS.iter().zip(counts) {
            for fault in *faults {
                all.extend((1..=count).map(|number| (has_ledger, *fault, *call, number)));
            }
        }
    }
    all
}

/// What must hold whatever happened: `is_acknowledged` when the program said that all went well.
fn check(hive: &Hive, has_ledger: bool, is_acknowledged: bool, what: &str) {
    let before = hive.ledger().join("log").exists().then(|| hive.verify());
    if is_acknowledged {
        let verified = before.unwrap();
        assert_eq!(
            verified.code,
            Some(0),
            "{what}: {}{}",
            verified.stdout,
            verified.stderr
        );
        let receipt = hive.cli(&["verify", "--receipt", "receipt"]);
        assert_eq!(receipt.code, Some(0), "{what}: {}", receipt.stderr);
    }
    let terminal = terminals(hive, "faulty");
    assert!(
        terminal <= 1 && (terminal == 1 || !is_acknowledged),
        "{what}: {terminal} ends"
    );
    // The same command, on a disk that works again.
    let again = hive.run(
        &ARGS[..6]
            .iter()
            .chain(&["hello"])
            .copied()
            .collect::<Vec<_>>(),
    );
    assert_eq!(again.code, Some(0), "{what}: {}", again.stderr);
    assert_eq!(again.stdout, "hello\n", "{what}");
    assert_eq!(terminals(hive, "faulty"), 1, "{what}");
    assert_eq!(
        terminals(hive, "before"),
        usize::from(has_ledger),
        "{what}: an older record is lost"
    );
    let verified = hive.verify();
    assert_eq!(
        verified.code,
        Some(0),
        "{what}: {}{}",
        verified.stdout,
        verified.stderr
    );
}

/// Records that end the task `uid`.
fn terminals(hive: &Hive, uid: &str) -> usize {
    if !hive.ledger().join("log").exists() {
        return 0;
    }
    let list = hive.cli(&["ledger", "list", "ledger", "--output", "json"]);
    if list.code != Some(0) {
        return 0;
    }
    let is_end = |record: &&serde_json::Value| {
        let kind = record["kind"].as_str().unwrap();
        record["taskUid"] == uid && matches!(kind, "answered" | "withheld" | "failed" | "refused")
    };
    list.json()["records"]
        .as_array()
        .unwrap()
        .iter()
        .filter(is_end)
        .count()
}

#[test]
fn a_call_that_fails_is_never_a_success() {
    if !works("strace", &["-qq", "--trace=none"]) {
        return;
    }
    for (has_ledger, fault, call, number) in spread(&all_faults(), faults()) {
        let what = format!("{call} {number}: {fault}, ledger before: {has_ledger}");
        let hive = hive(has_ledger);
        let (trace, inject) = (
            format!("--trace={CALLS}"),
            format!("--inject={call}:{fault}:when={number}"),
        );
        let mut command = under(
            &hive,
            "strace",
            &["-f", "-qq", "-o", "trace", &trace, &inject],
        );
        let run = ran(&command.output().unwrap());
        let trace = fs::read_to_string(hive.path("trace")).unwrap();
        assert!(trace.contains("(INJECTED)"), "{what}: never came\n{trace}");
        let is_acknowledged = run.code == Some(0);
        if !is_acknowledged {
            assert!(
                run.stdout.is_empty() || !run.stdout.contains("hello"),
                "{what}: {}",
                run.stdout
            );
            assert!(!run.stderr.is_empty(), "{what}: a failure says why");
            if fault == "error=ENOSPC" {
                let is_clear = run.stderr.contains("full") || run.stderr.contains("No space left");
                assert!(is_clear, "{what}: {}", run.stderr);
            }
        }
        if call == "fdatasync" {
            // What is not synced is not acknowledged.
            assert!(!is_acknowledged, "{what}: {}", run.stdout);
            assert!(run.code.is_some(), "{what}");
        }
        check(&hive, has_ledger, is_acknowledged, &what);
    }
}

/// The kernel writes what fits below a limit, and refuses the rest: a short write, then an error.
#[test]
fn a_short_write_is_never_a_success() {
    if !works("prlimit", &["--fsize=1000000"]) {
        return;
    }
    let segment = Path::new("ledger/log/00000000000000000000");
    let length = |hive: &Hive| fs::metadata(hive.path("").join(segment)).unwrap().len();
    let whole = hive(true);
    let start = length(&whole);
    whole.run(&ARGS).expect(0);
    let limits: Vec<u64> = (start..length(&whole)).collect();
    for limit in spread(&limits, faults()) {
        let hive = hive(true);
        // Ignored, the signal leaves the error to the program.
        let script = format!("trap '' XFSZ; exec prlimit --fsize={limit} \"$@\"");
        let mut command = under(&hive, "sh", &["-c", &script, "sh"]);
        let run = ran(&command.output().unwrap());
        let what = format!("at most {limit} bytes a file");
        assert_ne!(run.code, Some(0), "{what}: {}", run.stdout);
        assert!(!run.stderr.is_empty(), "{what}");
        check(&hive, true, false, &what);
    }
}
