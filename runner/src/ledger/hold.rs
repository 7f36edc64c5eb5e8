//! Legal holds: tasks of which nothing may be erased.
//!
//! The file `holds` in the ledger directory has one task UID a line, sorted. It is replaced in one step,
//! and is no part of the log: a hold is a promise of whoever keeps the ledger, not a fact about a task.

use std::collections::BTreeSet;

use axiom_hive_core::record::Record;

use super::engine::Ledger;
use super::error::{LedgerError, Problem, Problems, io_error};
use super::reader::LedgerReader;
use super::storage::Storage;

const HOLDS_FILE: &str = "holds";
/// Upper bound of the tasks on hold.
pub const MAX_HOLDS: usize = 10_000;

/// The tasks on hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holds(BTreeSet<String>);

impl Holds {
    /// None where there is no file. A file that is not as it was written is an error: then nobody knows
    /// what may be erased.
    pub(super) fn read(storage: &dyn Storage) -> Result<Self, LedgerError> {
        let bytes = storage.read(HOLDS_FILE);
        let bytes = bytes.map_err(io_error(format!("read {HOLDS_FILE}")))?;
        let damaged = || {
            let what = "it must be task UIDs, sorted, each with a newline behind it";
            LedgerError::Damaged(Problems(vec![Problem::of_file(HOLDS_FILE, what)]))
        };
        let text = String::from_utf8(bytes.unwrap_or_default()).map_err(|_| damaged())?;
        let holds = Self(text.lines().map(ToOwned::to_owned).collect());
        if holds.to_text() == text && !holds.0.contains("") && holds.0.len() <= MAX_HOLDS {
            Ok(holds)
        } else {
            Err(damaged())
        }
    }

    fn to_text(&self) -> String {
        self.0.iter().flat_map(|uid| [uid, "\n"]).collect()
    }

    pub(super) fn contains(&self, uid: &str) -> bool {
        self.0.contains(uid)
    }

    /// Whether payloads of `record` may be erased.
    pub(super) fn check(&self, record: &Record) -> Result<(), LedgerError> {
        match record.task() {
            Some(task) if self.contains(&task.uid) => Err(LedgerError::Held(task.uid.clone())),
            _ => Ok(()),
        }
    }
}

impl LedgerReader {
    /// The tasks on hold, sorted.
    pub fn holds(&self) -> Result<Vec<String>, LedgerError> {
        let holds = Holds::read(&*self.storage)?;
        Ok(holds.0.into_iter().collect())
    }
}

impl Ledger {
    /// From now on, and durably, nothing of this task is erased. What it gives is whether that is new.
    /// The task must have a record; at most 10000 may be on hold.
    pub fn hold(&mut self, uid: &str) -> Result<bool, LedgerError> {
        if self.view.task(uid)?.is_empty() {
            return Err(LedgerError::Hold(
                "name a task that the ledger has a record of",
            ));
        }
        let mut holds = Holds::read(&*self.view.storage)?;
        if holds.0.len() == MAX_HOLDS && !holds.contains(uid) {
            return Err(LedgerError::Hold("be one of at most 10000"));
        }
        let is_new = holds.0.insert(uid.to_owned());
        self.write_holds(&holds, is_new)
    }

    /// Lifts a hold. What it gives is whether there was one.
    pub fn unhold(&mut self, uid: &str) -> Result<bool, LedgerError> {
        let mut holds = Holds::read(&*self.view.storage)?;
        let was_held = holds.0.remove(uid);
        self.write_holds(&holds, was_held)
    }

    fn write_holds(&self, holds: &Holds, is_changed: bool) -> Result<bool, LedgerError> {
        if is_changed {
            let text = holds.to_text();
            let written = self.view.storage.replace(HOLDS_FILE, text.as_bytes(), true);
            written.map_err(io_error(format!("write {HOLDS_FILE}")))?;
        }
        Ok(is_changed)
    }
}
