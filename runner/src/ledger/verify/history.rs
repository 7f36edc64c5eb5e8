//! What must hold between records: one per slot, constitutions that never change, payloads that are
//! there or accounted for, tasks that ended.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, btree_map};

use axiom_hive_core::constitution::LedgerPolicy;
use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{Body, Commitment, ConstitutionRef, PayloadKind, Reason, Record};

use super::super::error::Problem;
use super::super::log::OpenIntent;
use super::check::CheckedRecord;

/// The records so far.
#[derive(Default)]
pub(super) struct History {
    /// By name, then by version.
    constitutions: HashMap<String, HashMap<String, Constitution>>,
    /// By UID.
    tasks: HashMap<String, Task>,
    payloads: HashMap<Commitment, Trace>,
}

/// A constitution that was recorded.
struct Constitution {
    /// Its record.
    index: u64,
    digest: Digest,
    /// `None`: its text is not there, so nobody knows.
    keeps: Option<LedgerPolicy>,
}

/// The slots of a task; the last is that of all its ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum TaskSlot {
    Intent(u32),
    Attempt(u32),
    Terminal,
}

#[derive(Default)]
struct Task {
    /// By slot: the record that fills it.
    filled: BTreeMap<TaskSlot, u64>,
    last_intent: Option<OpenIntent>,
}

/// What the log says of one payload.
#[derive(Default)]
struct Trace {
    /// The first record that commits to it.
    claimed_by: Option<u64>,
    /// The constitution in force then has it kept.
    is_due: bool,
    /// Nobody can keep it: a prompt that was refused may be longer than a payload may be.
    is_excused: bool,
    /// In which record's frame it is, and whether it is still there.
    stored: Option<(u64, bool)>,
    erased_by: Option<u64>,
}

/// What became of the payloads that records commit to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PayloadCounts {
    /// There, and what the record commits to.
    pub kept: u64,
    /// Erased, and a later record says so.
    pub erased: u64,
    /// Never in the log, as the constitution in force has it.
    pub not_kept: u64,
    /// Neither: gone, or never stored, without a word. Each is a problem.
    pub lost: u64,
}

impl History {
    /// Takes in the next record; what does not hold goes to `problems`.
    pub(super) fn push(&mut self, path: &str, checked: CheckedRecord, problems: &mut Vec<Problem>) {
        let CheckedRecord {
            index,
            offset,
            record,
            stored,
            keeps,
        } = checked;
        let mut no = |what: String| {
            problems.push(Problem::of_file(path, what).at(offset, index));
        };
        let filled_by = match &record.body {
            Body::Constitution { constitution, .. } => self.found(
                constitution,
                Constitution {
                    index,
                    keeps,
                    digest: constitution.digest,
                },
            ),
            _ => self.follow_task(index, &record),
        };
        if let (Some(first), Some(slot)) = (filled_by, record.slot()) {
            no(format!("slot {slot} is already filled by record {first}"));
        }
        let policy = self.policy(&record).unwrap_or_else(|what| {
            no(what);
            None
        });
        for (commitment, is_kept) in stored {
            let trace = self.payloads.entry(commitment).or_default();
            trace.stored.get_or_insert((index, is_kept));
        }
        self.claim(index, &record, policy);
        if let Body::Erasure { commitments, .. } = &record.body {
            for commitment in commitments {
                let trace = self.payloads.entry(*commitment).or_default();
                trace.erased_by.get_or_insert(index);
            }
        }
    }

    /// The record that the constitution had before, if any.
    fn found(&mut self, reference: &ConstitutionRef, new: Constitution) -> Option<u64> {
        if !self.constitutions.contains_key(&reference.name) {
            let versions = HashMap::new();
            self.constitutions.insert(reference.name.clone(), versions);
        }
        let versions = self.constitutions.get_mut(&reference.name)?;
        match versions.entry(reference.version.clone()) {
            Entry::Occupied(known) => Some(known.get().index),
            Entry::Vacant(free) => {
                free.insert(new);
                None
            }
        }
    }

    /// The record that had filled this one's slot before, if any.
    fn follow_task(&mut self, index: u64, record: &Record) -> Option<u64> {
        let reference = record.task()?;
        if !self.tasks.contains_key(&reference.uid) {
            self.tasks.insert(reference.uid.clone(), Task::default());
        }
        let task = self.tasks.get_mut(&reference.uid)?;
        let slot = match &record.body {
            Body::Intent { .. } => TaskSlot::Intent(reference.attempt),
            Body::Attempt(_) => TaskSlot::Attempt(reference.attempt),
            _ => TaskSlot::Terminal,
        };
        if let TaskSlot::Intent(_) = slot {
            task.last_intent = Some(OpenIntent {
                task: reference.clone(),
                index,
            });
        }
        match task.filled.entry(slot) {
            btree_map::Entry::Occupied(first) => Some(*first.get()),
            btree_map::Entry::Vacant(free) => {
                free.insert(index);
                None
            }
        }
    }

    /// What the constitution in force has kept; `None` when nobody knows.
    fn policy(&self, record: &Record) -> Result<Option<LedgerPolicy>, String> {
        let used = match &record.body {
            Body::Constitution { .. } | Body::Erasure { .. } => return Ok(None),
            Body::Intent { constitution, .. } => constitution,
            _ => match record.outcome() {
                Some(outcome) => &outcome.decided.constitution,
                None => return Ok(None),
            },
        };
        let ConstitutionRef { name, version, .. } = used;
        let versions = self.constitutions.get(name);
        match versions.and_then(|versions| versions.get(version)) {
            Some(known) if known.digest == used.digest => Ok(known.keeps.clone()),
            Some(_) => Err(format!(
                "constitution {name} {version} is used with another content than was recorded"
            )),
            None => Err(format!(
                "constitution {name} {version} is used before it is recorded"
            )),
        }
    }

    fn claim(&mut self, index: u64, record: &Record, policy: Option<LedgerPolicy>) {
        let reason = record.outcome().map(|outcome| outcome.decided.reason);
        let may_be_too_long = matches!(reason, Some(Reason::PromptTooLong | Reason::PromptEmpty));
        for (kind, commitment) in record.payloads() {
            let trace = self.payloads.entry(commitment).or_default();
            trace.claimed_by.get_or_insert(index);
            trace.is_due |= match &policy {
                Some(policy) => kind.is_kept_by(policy),
                // Kept by every constitution.
                None => kind == PayloadKind::Other,
            };
            trace.is_excused |= kind == PayloadKind::Prompt && may_be_too_long;
        }
    }

    /// Tasks with an intent and no terminal record, in the order of their intents.
    pub(super) fn unfinished(&self) -> Vec<OpenIntent> {
        let is_open = |task: &&Task| !task.filled.contains_key(&TaskSlot::Terminal);
        let open = self.tasks.values().filter(is_open);
        let mut open: Vec<OpenIntent> = open.filter_map(|task| task.last_intent.clone()).collect();
        open.sort_by_key(|intent| intent.index);
        open
    }

    /// Accounts for every commitment.
    pub(super) fn payloads(&self, problems: &mut Vec<Problem>) -> PayloadCounts {
        let mut counts = PayloadCounts::default();
        let mut wrong = Vec::new();
        for (commitment, trace) in &self.payloads {
            let Some(claimed_by) = trace.claimed_by else {
                continue;
            };
            let is_due = trace.is_due && !trace.is_excused;
            match (trace.stored, trace.erased_by) {
                (Some((_, true)), None) => counts.kept += 1,
                (Some((index, true)), Some(erasure)) => wrong.push((
                    index,
                    format!("payload {commitment} is still there, record {erasure} erased it"),
                )),
                (Some((_, false)) | None, Some(_)) => counts.erased += 1,
                (None, None) if !is_due => counts.not_kept += 1,
                (None | Some((_, false)), None) => {
                    counts.lost += 1;
                    wrong.push((
                        claimed_by,
                        format!("payload {commitment} is lost: no record erased it, and the constitution has it kept"),
                    ));
                }
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
