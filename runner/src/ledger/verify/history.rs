//! What must hold between records: one per slot, constitutions that never change, payloads that are
//! there or accounted for, tasks that ended.

use std::collections::{BTreeMap, HashMap};

use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{Body, Commitment, ConstitutionRef, Record};

use super::super::error::Problem;
use super::super::log::OpenIntent;
use super::check::CheckedRecord;

/// The records so far.
#[derive(Default)]
pub(super) struct History {
    slots: HashMap<String, u64>,
    /// By name and version.
    constitutions: HashMap<(String, String), Digest>,
    /// Every payload in the log: which record's frame, and whether it is still there.
    stored: HashMap<Commitment, (u64, bool)>,
    /// Every commitment of a record: the first that makes it.
    claimed: HashMap<Commitment, u64>,
    /// By commitment: the erasure that lists it.
    erased: HashMap<Commitment, u64>,
    /// By task: its last intent, and whether it ended.
    tasks: BTreeMap<String, (Option<OpenIntent>, bool)>,
}

/// What became of the payloads that records commit to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PayloadCounts {
    /// There, and what the record commits to.
    pub kept: u64,
    /// Erased, and a later record says so.
    pub erased: u64,
    /// Never in the log: the constitution did not have it kept.
    pub not_kept: u64,
}

impl History {
    /// Takes in the next record; what does not hold goes to `problems`.
    pub(super) fn push(&mut self, path: &str, checked: CheckedRecord, problems: &mut Vec<Problem>) {
        let CheckedRecord {
            index,
            offset,
            record,
            stored,
        } = checked;
        let mut no = |what: String| {
            problems.push(Problem::of_file(path, what).at(offset, index));
        };
        if let Some(slot) = record.slot() {
            let slot = slot.to_string();
            if let Some(first) = self.slots.get(&slot) {
                no(format!("slot {slot} is already filled by record {first}"));
            } else {
                self.slots.insert(slot, index);
            }
        }
        if let Err(what) = self.check_constitution(&record) {
            no(what);
        }
        for (commitment, is_kept) in stored {
            self.stored.entry(commitment).or_insert((index, is_kept));
        }
        for commitment in record.commitments() {
            self.claimed.entry(commitment).or_insert(index);
        }
        if let Body::Erasure { commitments, .. } = &record.body {
            for commitment in commitments {
                self.erased.entry(*commitment).or_insert(index);
            }
        }
        self.follow_task(index, &record);
    }

    fn check_constitution(&mut self, record: &Record) -> Result<(), String> {
        let key = |used: &ConstitutionRef| (used.name.clone(), used.version.clone());
        let used = match &record.body {
            Body::Constitution { constitution, .. } => {
                let digest = constitution.digest;
                self.constitutions
                    .entry(key(constitution))
                    .or_insert(digest);
                return Ok(());
            }
            Body::Intent { constitution, .. } => constitution,
            _ => match record.outcome() {
                Some(outcome) => &outcome.decided.constitution,
                None => return Ok(()),
            },
        };
        match self.constitutions.get(&key(used)) {
            Some(digest) if *digest == used.digest => Ok(()),
            Some(_) => Err(format!(
                "constitution {} {} is used with another content than was recorded",
                used.name, used.version
            )),
            None => Err(format!(
                "constitution {} {} is used before it is recorded",
                used.name, used.version
            )),
        }
    }

    fn follow_task(&mut self, index: u64, record: &Record) {
        let Some(task) = record.task() else {
            return;
        };
        let known = self.tasks.entry(task.uid.clone()).or_default();
        if matches!(record.body, Body::Intent { .. }) {
            known.0 = Some(OpenIntent {
                task: task.clone(),
                index,
            });
        }
        known.1 |= record.is_terminal();
    }

    /// Tasks with an intent and no terminal record, in the order of their intents.
    pub(super) fn unfinished(&self) -> Vec<OpenIntent> {
        let open = self.tasks.values().filter(|(_, is_ended)| !is_ended);
        let mut open: Vec<OpenIntent> = open.filter_map(|(intent, _)| intent.clone()).collect();
        open.sort_by_key(|intent| intent.index);
        open
    }

    /// Accounts for every commitment.
    pub(super) fn payloads(&self, problems: &mut Vec<Problem>) -> PayloadCounts {
        let mut counts = PayloadCounts::default();
        let mut wrong = Vec::new();
        for (commitment, claimed_by) in &self.claimed {
            let erased = self.erased.get(commitment);
            match (self.stored.get(commitment), erased) {
                (Some((_, true)), None) => counts.kept += 1,
                (Some((_, false)) | None, Some(_)) => counts.erased += 1,
                (None, None) => counts.not_kept += 1,
                (Some((index, true)), Some(erasure)) => wrong.push((
                    *index,
                    format!("payload {commitment} is still there, record {erasure} erased it"),
                )),
                (Some((_, false)), None) => wrong.push((
                    *claimed_by,
                    format!("payload {commitment} is lost: no record erased it"),
                )),
            }
        }
        wrong.sort();
        problems.extend(wrong.into_iter().map(|(index, what)| Problem {
            file: "log".to_owned(),
            offset: None,
            index: Some(index),
            what,
        }));
        counts
    }
}
