//! `ledger key | list | show | export`, and `verify` of a whole ledger: reading, without the lock.
//! `ledger repair` writes derived files, `ledger erase | retain | hold | unhold` decide what is kept.

use std::fmt::Write as _;
use std::path::Path;

use axiom_hive_core::record::{Body, Record, RotationReason};
use axiom_hive_core::tlog::VerifyingKey;
use axiom_hive_runner::exit::{Exit, Failure};
use axiom_hive_runner::ledger::{
    Constitutions, KeyStore, Ledger, LedgerError, LedgerReader, PayloadCounts, Repaired, Rotated,
    Trust, VerifyReport, export, repair as repair_ledger, rotate as rotate_ledger,
    verify as verify_ledger, verify_predecessor,
};
use axiom_hive_runner::pipeline::now_unix_ms;
use axiom_hive_runner::upkeep::{self, Said, Upkeep};
use serde_json::{Value, json};

use crate::args::{LedgerCommand, Reason};
use crate::output::Printer;

pub(crate) fn run(command: LedgerCommand, printer: &Printer) -> Result<Exit, Failure> {
    match command {
        LedgerCommand::Key { ledger_dir } => {
            let ledger = open(&ledger_dir)?;
            let key = ledger.verifying_key().to_string();
            printer.result(&key, &json!({"key": key}))
        }
        LedgerCommand::List {
            ledger_dir,
            from,
            limit,
        } => list(&ledger_dir, from, limit, printer),
        LedgerCommand::Show {
            ledger_dir,
            index,
            receipt,
        } => show(&ledger_dir, index, receipt.as_deref(), printer),
        LedgerCommand::Repair { ledger_dir, key } => {
            let key = key.as_deref().map(super::verify::read_key).transpose()?;
            repair(&ledger_dir, key.as_ref(), printer)
        }
        LedgerCommand::Erase { ledger_dir, index } => {
            keep(&ledger_dir, &Upkeep::Erase(index), printer)
        }
        LedgerCommand::Retain {
            ledger_dir,
            dry_run: true,
        } => say(&upkeep::due(&open(&ledger_dir)?, now_unix_ms())?, printer),
        LedgerCommand::Retain { ledger_dir, .. } => keep(&ledger_dir, &Upkeep::Retain, printer),
        LedgerCommand::Hold { ledger_dir, task } => match task {
            Some(task) => keep(&ledger_dir, &Upkeep::Hold(task), printer),
            None => say(&upkeep::holds(&open(&ledger_dir)?)?, printer),
        },
        LedgerCommand::Unhold { ledger_dir, task } => {
            keep(&ledger_dir, &Upkeep::Unhold(task), printer)
        }
        LedgerCommand::Seal { ledger_dir } => seal(&ledger_dir, printer),
        LedgerCommand::Rotate {
            ledger_dir,
            new_dir,
            reason,
        } => rotate(&ledger_dir, &new_dir, reason, printer),
        LedgerCommand::Export {
            ledger_dir,
            out_dir,
            constitutions,
        } => {
            let texts = if constitutions {
                Constitutions::Included
            } else {
                Constitutions::Omitted
            };
            let exported =
                export(&ledger_dir, &out_dir, texts).map_err(Failure::with(Exit::Ledger))?;
            printer.result(
                &format!(
                    "exported {} records to {}",
                    exported.size,
                    out_dir.display()
                ),
                &json!({"size": exported.size, "files": exported.files}),
            )
        }
    }
}

fn repair(dir: &Path, key: Option<&VerifyingKey>, printer: &Printer) -> Result<Exit, Failure> {
    let pins = KeyStore::of_user().map_err(Failure::with(Exit::Verification))?;
    let trust = key.map_or(Trust::Pin(&pins), Trust::Key);
    let Repaired { written, files } = repair_ledger(dir, trust).map_err(|error| {
        let exit = match error {
            LedgerError::Damaged(_) => Exit::Verification,
            _ => Exit::Ledger,
        };
        Failure::new(exit, error)
    })?;
    let mut text = format!("{} of {files} derived files written again\n", written.len());
    for path in &written {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{path}");
    }
    printer.result(&text, &json!({"files": files, "written": written}))
}

fn say(said: &Said, printer: &Printer) -> Result<Exit, Failure> {
    printer.result(&said.text, &said.json)
}

/// With the lock, what is a ledger already.
fn open_for_writing(dir: &Path) -> Result<Ledger, Failure> {
    drop(open(dir)?);
    let keys = KeyStore::of_user().map_err(Failure::with(Exit::Ledger))?;
    Ledger::open(dir, &keys).map_err(Failure::with(Exit::Ledger))
}

fn keep(dir: &Path, what: &Upkeep, printer: &Printer) -> Result<Exit, Failure> {
    let mut ledger = open_for_writing(dir)?;
    say(
        &upkeep::carry_out(&mut ledger, what, now_unix_ms())?,
        printer,
    )
}

fn seal(dir: &Path, printer: &Printer) -> Result<Exit, Failure> {
    let sealed = open_for_writing(dir)?.seal(None, now_unix_ms());
    let sealed = sealed.map_err(not_ended)?;
    let word = if sealed.existing { "was" } else { "is" };
    let (index, dir) = (sealed.index, dir.display());
    let text = format!(
        "the ledger {word} sealed by record {index}\n\
         {dir}/checkpoint and {dir}/tile may be published; {dir}/log holds payloads and must not be"
    );
    printer.result(
        &text,
        &json!({"index": sealed.index, "existing": sealed.existing}),
    )
}

fn not_ended(error: LedgerError) -> Failure {
    let exit = match error {
        LedgerError::OpenTasks(_) | LedgerError::OutputNotEmpty(_) => Exit::Input,
        _ => Exit::Ledger,
    };
    Failure::new(exit, error)
}

fn rotate(dir: &Path, new_dir: &Path, reason: Reason, printer: &Printer) -> Result<Exit, Failure> {
    let keys = KeyStore::of_user().map_err(Failure::with(Exit::Ledger))?;
    let reason = match reason {
        Reason::Size => RotationReason::Size,
        Reason::Calendar => RotationReason::Calendar,
        Reason::Key => RotationReason::Key,
        Reason::Other => RotationReason::Other,
    };
    let rotated = rotate_ledger(dir, new_dir, &keys, reason, now_unix_ms()).map_err(not_ended)?;
    let Rotated { predecessor, key } = rotated;
    let text = format!(
        "{} goes on where {} was sealed with {} records\nkey  {key}",
        new_dir.display(),
        dir.display(),
        predecessor.size
    );
    printer.result(&text, &json!({"predecessor": predecessor, "key": key}))
}

fn open(dir: &Path) -> Result<LedgerReader, Failure> {
    LedgerReader::open(dir).map_err(Failure::with(Exit::Ledger))
}

/// The record's kind, as it stands in the record.
pub(crate) fn kind(record: &Record) -> &'static str {
    match record.body {
        Body::Constitution { .. } => "constitution",
        Body::Intent { .. } => "intent",
        Body::Attempt(_) => "attempt",
        Body::Answered(_) => "answered",
        Body::Withheld(_) => "withheld",
        Body::Refused(_) => "refused",
        Body::Failed(_) => "failed",
        Body::Cancelled(_) => "cancelled",
        Body::Deleted { .. } => "deleted",
        Body::Sealed { .. } => "sealed",
        Body::Succession { .. } => "succession",
        Body::Erasure { .. } => "erasure",
    }
}

fn list(dir: &Path, from: u64, limit: u64, printer: &Printer) -> Result<Exit, Failure> {
    let ledger = open(dir)?;
    let end = ledger.size().min(from.saturating_add(limit));
    let mut text = String::new();
    let mut records: Vec<Value> = Vec::new();
    for index in from..end {
        let record = ledger.record(index).map_err(Failure::with(Exit::Ledger))?;
        let kind = kind(&record);
        let task = record.task();
        let reason = record.outcome().map(|outcome| outcome.decided.reason);
        // Writing to a string cannot fail.
        let _ = write!(text, "{index:>8}  {kind:<12}");
        if let Some(task) = task {
            let _ = write!(text, "  {}  attempt {}", task.uid, task.attempt);
        }
        if let Some(reason) = reason {
            let _ = write!(text, "  {reason:?}");
        }
        text.push('\n');
        records.push(json!({
            "index": index, "kind": kind, "taskUid": task.map(|task| &task.uid),
            "attempt": task.map(|task| task.attempt), "reason": reason,
        }));
    }
    printer.result(&text, &json!({"size": ledger.size(), "records": records}))
}

fn show(
    dir: &Path,
    index: u64,
    receipt: Option<&Path>,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let ledger = open(dir)?;
    let record = ledger.record(index).map_err(Failure::with(Exit::Input))?;
    if let Some(path) = receipt {
        let receipt = ledger.receipt(index).map_err(Failure::with(Exit::Ledger))?;
        std::fs::write(path, receipt.to_string()).map_err(|error| {
            Failure::new(
                Exit::Input,
                format!("cannot write {}: {error}", path.display()),
            )
        })?;
    }
    let value = json!(record);
    let text = serde_json::to_string_pretty(&value).map_err(Failure::with(Exit::Bug))?;
    printer.result(&text, &json!({"index": index, "record": value}))
}

/// The whole ledger, under the key given or this user's pin.
pub(crate) fn verify(
    dir: &Path,
    key: Option<&VerifyingKey>,
    predecessor: Option<&Path>,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let pins = KeyStore::of_user().map_err(Failure::with(Exit::Verification))?;
    let trust = key.map_or(Trust::Pin(&pins), Trust::Key);
    let mut report = verify_ledger(dir, trust).map_err(Failure::with(Exit::Verification))?;
    if let Some(predecessor) = predecessor {
        let problems = verify_predecessor(dir, predecessor);
        let problems = problems.map_err(Failure::with(Exit::Verification))?;
        report.problems.extend(problems);
    }
    let verdict = match (report.problems.is_empty(), report.authenticated) {
        (true, true) => "verified",
        (true, false) => "self-consistent, NOT authenticated: name the key with --key",
        (false, _) => "FAILED",
    };
    printer.result(
        &verify_text(&report, verdict),
        &verify_json(&report, verdict),
    )?;
    Ok(if report.is_ok() {
        Exit::Ok
    } else {
        Exit::Verification
    })
}

fn verify_text(report: &VerifyReport, verdict: &str) -> String {
    let PayloadCounts {
        kept,
        erased,
        not_kept,
        lost,
    } = report.payloads;
    let mut text = format!(
        "{verdict}\nrecords   {}\nroot      {}\n\
         payloads  {kept} kept, {erased} erased, {not_kept} not kept, {lost} lost\n",
        report.size, report.root
    );
    for open in &report.unfinished {
        let task = &open.task;
        let _ = writeln!(
            text,
            "unfinished: task {} attempt {} (intent {})",
            task.uid, task.attempt, open.index
        );
    }
    if let Some(tail) = &report.tail {
        let _ = writeln!(text, "tail: {tail}");
    }
    for problem in &report.problems {
        let _ = writeln!(text, "problem: {problem}");
    }
    text
}

fn verify_json(report: &VerifyReport, verdict: &str) -> Value {
    let unfinished: Vec<Value> = report
        .unfinished
        .iter()
        .map(|open| json!({"taskUid": open.task.uid, "attempt": open.task.attempt, "index": open.index}))
        .collect();
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    json!({
        "verdict": verdict, "ok": report.is_ok(), "authenticated": report.authenticated,
        "size": report.size, "root": report.root, "problems": problems, "unfinished": unfinished,
        "payloads": {
            "kept": report.payloads.kept, "erased": report.payloads.erased,
            "notKept": report.payloads.not_kept, "lost": report.payloads.lost,
        },
    })
}
