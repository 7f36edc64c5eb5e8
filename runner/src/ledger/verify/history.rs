//! What must hold between records: one per slot, constitutions that never change, payloads that are
//! there or accounted for, tasks that ended.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroU64;

use axiom_hive_core::constitution::LedgerPolicy;
use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{Commitment, ConstitutionRef, PayloadKind, Slot, TaskRef};

use super::super::error::Problem;
use super::super::log::OpenIntent;
use super::facts::{Event, Facts, Note, Step, Stored};

/// The records so far.
#[derive(Default)]
pub(super) struct History {
    /// By name, then by version.
    constitutions: HashMap<String, HashMap<String, Constitution>>,
    /// By UID.
    tasks: HashMap<String, Task>,
    payloads: HashMap<Commitment, Trace>,
    /// By which record.
    sealed: Option<u64>,
}

/// A constitution that was recorded.
struct Constitution {
    /// Its record.
    index: u64,
    digest: Digest,
    /// `None`: its text is not there, so nobody knows.
    keeps: Option<LedgerPolicy>,
}

fn filled(slot: &Slot, first: u64) -> String {
    format!("slot {slot} is already filled by record {first}")
}

#[derive(Default)]
struct Task {
    /// Attempt and record of each slot that is filled; few, so that a search is cheaper than a map.
    filled: Vec<(Step, u32, u64)>,
    is_ended: bool,
    /// By which record.
    deleted: Option<NonZeroU64>,
    /// Attempt and record.
    last_intent: Option<(u32, u64)>,
}

impl Task {
    fn is_open(&self) -> bool {
        !self.is_ended && self.last_intent.is_some()
    }
}

/// What the log says of one payload. Records are counted from 1 here: a ledger has millions of these,
/// and an `Option` of such a number takes no more room than the number.
#[derive(Default)]
struct Trace {
    /// The first record that commits to it.
    claimed_by: Option<NonZeroU64>,
    /// The first record in whose frame it is or was.
    stored_by: Option<NonZeroU64>,
    /// The first erasure that lists it.
    erased_by: Option<NonZeroU64>,
    /// In that frame only zeros are left.
    is_zeroed: bool,
    /// A constitution in force has it kept.
    is_due: bool,
    /// Nobody can keep it.
    is_excused: bool,
}

impl Trace {
    fn take(&mut self, index: u64, note: &Note, policy: Option<&LedgerPolicy>, is_excused: bool) {
        let number = NonZeroU64::new(index + 1);
        if let Some(kind) = note.claimed {
            self.claimed_by = self.claimed_by.or(number);
            self.is_due |= match policy {
                Some(policy) => kind.is_kept_by(policy),
                // Kept by every constitution.
                None => kind == PayloadKind::Other,
            };
            self.is_excused |= kind == PayloadKind::Prompt && is_excused;
        }
        if note.stored != Stored::No && self.stored_by.is_none() {
            self.stored_by = number;
            self.is_zeroed = note.stored == Stored::Zeroed;
        }
        if note.is_erased {
            self.erased_by = self.erased_by.or(number);
        }
    }
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
    pub(super) fn push<'n>(
        &mut self,
        path: &str,
        facts: Facts,
        notes: impl Iterator<Item = &'n Note>,
        problems: &mut Vec<Problem>,
    ) {
        let Facts {
            index,
            offset,
            event,
            ..
        } = facts;
        let mut no = |what: String| {
            problems.push(Problem::of_file(path, what).at(offset, index));
        };
        let mut policy = None;
        let mut is_excused = false;
        if let Some(seal) = self.sealed.filter(|_| !matches!(event, Event::Erasure)) {
            no(format!(
                "record {seal} sealed the ledger: erasures only may follow"
            ));
        }
        match event {
            Event::Constitution { reference, keeps } => {
                self.found(index, reference, keeps).unwrap_or_else(&mut no);
            }
            Event::Task {
                task,
                step,
                used,
                is_prompt_excused,
            } => {
                self.follow(index, task, step).unwrap_or_else(&mut no);
                policy = self.policy(&used).unwrap_or_else(|what| {
                    no(what);
                    None
                });
                is_excused = is_prompt_excused;
            }
            Event::Deleted { task, ended_index } => {
                let deleted = self.deleted(index, task, ended_index);
                deleted.unwrap_or_else(&mut no);
            }
            Event::Erasure => {}
            Event::Sealed => {
                if self.tasks.values().any(Task::is_open) {
                    no("the ledger is sealed before every task has ended".to_owned());
                }
                self.sealed = self.sealed.or(Some(index));
            }
            Event::Succession if index == 0 => {}
            Event::Succession => {
                no("a succession must be the first record".to_owned());
            }
        }
        for note in notes {
            let trace = self.payloads.entry(note.commitment).or_default();
            trace.take(index, note, policy.as_ref(), is_excused);
        }
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    fn found(
        &mut self,
        index: u64,
        reference: ConstitutionRef,
        keeps: Option<LedgerPolicy>,
    ) -> Result<(), String> {
        let ConstitutionRef {
            name,
            version,
            digest,
            ..
        } = reference;
        let known = self.constitutions.get(&name);
        if let Some(known) = known.and_then(|versions| versions.get(&version)) {
            let slot = Slot::Constitution { name, version };
            return Err(filled(&slot, known.index));
        }
        let versions = self.constitutions.entry(name).or_default();
        let new = Constitution {
            index,
            digest,
            keeps,
        };
        versions.insert(version, new);
        Ok(())
    }

    fn follow(&mut self, index: u64, task: TaskRef, step: Step) -> Result<(), String> {
        let TaskRef { uid, attempt } = task;
        let known = self.tasks.entry(uid);
        let is_same = |filled: &&(Step, u32, u64)| {
            filled.0 == step && (filled.1 == attempt || step == Step::Terminal)
        };
        if let Entry::Occupied(known) = &known
            && let Some((_, _, first)) = known.get().filled.iter().find(is_same)
        {
            let uid = known.key().clone();
            let slot = match step {
                Step::Intent => Slot::Intent(TaskRef { uid, attempt }),
                Step::Attempt => Slot::Attempt(TaskRef { uid, attempt }),
                Step::Terminal => Slot::Terminal { uid },
            };
            return Err(filled(&slot, *first));
        }
        let known = known.or_default();
        known.filled.push((step, attempt, index));
        match step {
            Step::Intent => known.last_intent = Some((attempt, index)),
            Step::Attempt => {}
            Step::Terminal => known.is_ended = true,
        }
        Ok(())
    }

    /// Once, and only after the end that it names.
    fn deleted(&mut self, index: u64, task: TaskRef, ended_index: u64) -> Result<(), String> {
        let TaskRef { uid, attempt } = task;
        let known = self.tasks.get_mut(&uid).filter(|known| {
            let end = (Step::Terminal, attempt, ended_index);
            known.filled.contains(&end)
        });
        let Some(known) = known else {
            return Err(format!(
                "task {uid} is deleted, but record {ended_index} is not its end"
            ));
        };
        if let Some(first) = known.deleted {
            return Err(filled(&Slot::Deleted { uid }, first.get() - 1));
        }
        known.deleted = NonZeroU64::new(index + 1);
        Ok(())
    }

    /// What the constitution in force has kept; `None` when nobody knows.
    fn policy(&self, used: &ConstitutionRef) -> Result<Option<LedgerPolicy>, String> {
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

    /// Tasks with an intent and no terminal record, in the order of their intents.
    pub(super) fn unfinished(&self) -> Vec<OpenIntent> {
        let open = self.tasks.iter().filter(|(_, task)| !task.is_ended);
        let open = open.filter_map(|(uid, task)| {
            let (attempt, index) = task.last_intent?;
            let uid = uid.clone();
            Some(OpenIntent {
                task: TaskRef { uid, attempt },
                index,
            })
        });
        let mut open: Vec<OpenIntent> = open.collect();
        open.sort_by_key(|intent| intent.index);
        open
    }

    /// Accounts for every commitment.
    pub(super) fn payloads(&self, problems: &mut Vec<Problem>) -> PayloadCounts {
        let mut counts = PayloadCounts::default();
        let mut wrong = Vec::new();
        for (commitment, trace) in &self.payloads {
            let index = |number: NonZeroU64| number.get() - 1;
            let Some(claimed_by) = trace.claimed_by.map(index) else {
                continue;
            };
            let is_there = trace.stored_by.is_some() && !trace.is_zeroed;
            let is_missed = trace.stored_by.is_some() || (trace.is_due && !trace.is_excused);
            match trace.erased_by.map(index) {
                None if is_there => counts.kept += 1,
                None if is_missed => {
                    counts.lost += 1;
                    let what = format!(
                        "payload {commitment} is lost: \
                         the constitution has it kept, and no record erased it"
                    );
                    wrong.push((claimed_by, what));
                }
                None => counts.not_kept += 1,
                Some(erasure) if is_there => {
                    let what =
                        format!("payload {commitment} is still there, record {erasure} erased it");
                    wrong.push((claimed_by, what));
                }
                Some(_) => counts.erased += 1,
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
