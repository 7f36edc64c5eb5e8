//! `ledger erase | retain | hold | unhold`: what ends, or keeps, the life of payloads.

use std::fmt::Write as _;
use std::path::Path;

use axiom_hive_runner::exit::{Exit, Failure};
use axiom_hive_runner::ledger::{Erased, KeyStore, Ledger, LedgerError, LedgerReader, Retention};
use axiom_hive_runner::pipeline::now_unix_ms;
use serde_json::{Value, json};

use super::ledger::open;
use crate::output::Printer;

/// Opens for writing what is a ledger already.
fn writer(dir: &Path) -> Result<Ledger, Failure> {
    drop(open(dir)?);
    let keys = KeyStore::of_user().map_err(Failure::with(Exit::Ledger))?;
    Ledger::open(dir, &keys).map_err(Failure::with(Exit::Ledger))
}

/// What was asked for that cannot be is the user's; the rest is the ledger's.
fn failure(error: LedgerError) -> Failure {
    let exit = match error {
        LedgerError::NoRecord { .. }
        | LedgerError::Constitution(_)
        | LedgerError::Held(_)
        | LedgerError::Hold(_) => Exit::Input,
        _ => Exit::Ledger,
    };
    Failure::new(exit, error)
}

pub(crate) fn one(dir: &Path, index: u64, printer: &Printer) -> Result<Exit, Failure> {
    let mut ledger = writer(dir)?;
    let erased = ledger.erase(&[index], now_unix_ms()).map_err(failure)?;
    let payloads = erased.iter().map(|erased| erased.payloads).sum::<usize>();
    let mut text = match erased.iter().find_map(|erased| erased.erasure) {
        Some(erasure) => {
            format!("record {index}: {payloads} payloads erased by record {erasure}\n")
        }
        None => format!("record {index} holds no payload\n"),
    };
    let others = others(ledger.view(), index).map_err(failure)?;
    if !others.is_empty() {
        let list: Vec<String> = others.iter().map(ToString::to_string).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "records of the same task that hold payloads: {}",
            list.join(" ")
        );
    }
    let erased: Vec<Value> = erased.iter().map(erased_json).collect();
    printer.result(&text, &json!({"erased": erased, "othersOfTask": others}))
}

fn erased_json(erased: &Erased) -> Value {
    json!({"index": erased.index, "erasure": erased.erasure, "payloads": erased.payloads})
}

/// Other records of the same task that hold payloads: who erases a prompt may mean its answer too.
fn others(ledger: &LedgerReader, index: u64) -> Result<Vec<u64>, LedgerError> {
    let record = ledger.record(index)?;
    let all = record.task().map(|task| ledger.task(&task.uid));
    let mut others = Vec::new();
    for other in all.unwrap_or_default() {
        if other != index && !ledger.payloads(other)?.is_empty() {
            others.push(other);
        }
    }
    Ok(others)
}

pub(crate) fn retain(dir: &Path, dry_run: bool, printer: &Printer) -> Result<Exit, Failure> {
    let now = now_unix_ms();
    let (retention, erased) = if dry_run {
        (open(dir)?.retention(now).map_err(failure)?, Vec::new())
    } else {
        let mut ledger = writer(dir)?;
        let retention = ledger.view().retention(now).map_err(failure)?;
        let erased = ledger.erase(&retention.due, now).map_err(failure)?;
        (retention, erased)
    };
    let Retention { due, tasks, held } = retention;
    let verb = if dry_run { "would be erased" } else { "erased" };
    let mut text = format!("{} records of {tasks} tasks {verb}\n", due.len());
    for uid in &held {
        let _ = writeln!(text, "on hold: {uid}");
    }
    let erased: Vec<Value> = erased.iter().map(erased_json).collect();
    let json =
        json!({"due": due, "tasks": tasks, "held": held, "erased": erased, "dryRun": dry_run});
    printer.result(&text, &json)
}

pub(crate) fn holds(dir: &Path, printer: &Printer) -> Result<Exit, Failure> {
    let holds = open(dir)?.holds().map_err(failure)?;
    let text: String = holds.iter().flat_map(|uid| [uid, "\n"]).collect();
    printer.result(&text, &json!({"holds": holds}))
}

pub(crate) fn hold(
    dir: &Path,
    task: &str,
    is_hold: bool,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let mut ledger = writer(dir)?;
    let changed = if is_hold {
        ledger.hold(task)
    } else {
        ledger.unhold(task)
    };
    let changed = changed.map_err(failure)?;
    let text = match (is_hold, changed) {
        (true, true) => "on hold",
        (true, false) => "was on hold already",
        (false, true) => "no longer on hold",
        (false, false) => "was not on hold",
    };
    let json = json!({"taskUid": task, "onHold": is_hold, "changed": changed});
    printer.result(&format!("{task}: {text}"), &json)
}
