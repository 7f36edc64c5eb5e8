//! What whoever keeps a ledger asks of it now and then, with the words of the answer: the same for the
//! command line and for the volume of a service.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::exit::{Exit, Failure};
use crate::ledger::{Erased, Ledger, LedgerError, LedgerReader, Retention};

/// Something that changes what the ledger keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upkeep {
    /// Erase the payloads of the record with this index.
    Erase(u64),
    /// Erase what is past its time.
    Retain,
    /// Put the task with this UID on hold.
    Hold(String),
    /// Lift that hold.
    Unhold(String),
}

/// What was done, in words and as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Value,
}

/// Does it. What was asked for and cannot be is the user's failure; the rest is the ledger's.
pub fn carry_out(ledger: &mut Ledger, what: &Upkeep, now_unix_ms: u64) -> Result<Said, Failure> {
    match what {
        Upkeep::Erase(index) => erase(ledger, *index, now_unix_ms),
        Upkeep::Retain => retain(ledger, now_unix_ms),
        Upkeep::Hold(task) => ledger.hold(task).map(|changed| hold(task, true, changed)),
        Upkeep::Unhold(task) => ledger
            .unhold(task)
            .map(|changed| hold(task, false, changed)),
    }
    .map_err(failure)
}

/// What [`Upkeep::Retain`] would erase.
pub fn due(ledger: &LedgerReader, now_unix_ms: u64) -> Result<Said, Failure> {
    let retention = ledger.retention(now_unix_ms).map_err(failure)?;
    Ok(retained(&retention, None))
}

/// The tasks on hold.
pub fn holds(ledger: &LedgerReader) -> Result<Said, Failure> {
    let holds = ledger.holds().map_err(failure)?;
    Ok(Said {
        text: holds.iter().flat_map(|uid| [uid, "\n"]).collect(),
        json: json!({"holds": holds}),
    })
}

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

fn erase(ledger: &mut Ledger, index: u64, now_unix_ms: u64) -> Result<Said, LedgerError> {
    let erased = ledger.erase(&[index], now_unix_ms)?;
    let payloads: usize = erased.iter().map(|erased| erased.payloads).sum();
    let mut text = match erased.iter().find_map(|erased| erased.erasure) {
        Some(erasure) => {
            format!("record {index}: {payloads} payloads erased by record {erasure}\n")
        }
        None => format!("record {index} holds no payload\n"),
    };
    let others = others(ledger.view(), index)?;
    if !others.is_empty() {
        let list: Vec<String> = others.iter().map(ToString::to_string).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "records of the same task that hold payloads: {}",
            list.join(" ")
        );
    }
    let json = json!({"erased": erased_json(&erased), "othersOfTask": others});
    Ok(Said { text, json })
}

/// Other records of the same task that hold payloads: who erases a prompt may mean its answer too.
fn others(ledger: &LedgerReader, index: u64) -> Result<Vec<u64>, LedgerError> {
    let record = ledger.record(index)?;
    let all = record.task().map(|task| ledger.task(&task.uid));
    let mut others = Vec::new();
    for other in all.transpose()?.unwrap_or_default() {
        if other != index && !ledger.payloads(other)?.is_empty() {
            others.push(other);
        }
    }
    Ok(others)
}

fn retain(ledger: &mut Ledger, now_unix_ms: u64) -> Result<Said, LedgerError> {
    let retention = ledger.view().retention(now_unix_ms)?;
    let erased = ledger.erase(&retention.due, now_unix_ms)?;
    Ok(retained(&retention, Some(&erased)))
}

/// `erased` is `None` where nothing was to be.
fn retained(retention: &Retention, erased: Option<&[Erased]>) -> Said {
    let Retention { due, tasks, held } = retention;
    let verb = erased.map_or("would be erased", |_| "erased");
    let mut text = format!(
        "payloads of {} records of {tasks} tasks {verb}\n",
        due.len()
    );
    for uid in held {
        let _ = writeln!(text, "past its time, but on hold: {uid}");
    }
    let erased = erased.unwrap_or_default();
    let json = json!({
        "due": due, "tasks": tasks, "held": held, "erased": erased_json(erased),
    });
    Said { text, json }
}

fn erased_json(erased: &[Erased]) -> Vec<Value> {
    let json = |erased: &Erased| json!({"index": erased.index, "erasure": erased.erasure, "payloads": erased.payloads});
    erased.iter().map(json).collect()
}

fn hold(task: &str, is_hold: bool, changed: bool) -> Said {
    let text = match (is_hold, changed) {
        (true, true) => "on hold",
        (true, false) => "was on hold already",
        (false, true) => "no longer on hold",
        (false, false) => "was not on hold",
    };
    Said {
        text: format!("{task}: {text}\n"),
        json: json!({"taskUid": task, "onHold": is_hold, "changed": changed}),
    }
}
