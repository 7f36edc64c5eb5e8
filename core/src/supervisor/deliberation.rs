//! The pure decision: constitution, task and committed branches in, `Decided` out.

use crate::consensus::{Decision, Disagreement, Tally, Vote};
use crate::constitution::{OnNoAgreement, Show};
use crate::interceptor::{Filtered, Supervised, Verdict as Interception, intercept};
use crate::record::{
    AnswerRecord, AnswerSource, BranchError, BranchRecord, BranchResultKind, Decided, Label,
    MissingSalt, Payload, Reason, StopEvent, VoteRecord,
};

use super::prepared::{Measured, Prepared, Task, measure};
use super::stop_reason;

/// What a runtime gave for one branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BranchResult {
    /// A text, which may still turn out to be too long, empty or blocked.
    Text(String),
    /// No usable text.
    Failed(BranchError),
}

/// The votes committed so far, with everything that the record will say about them.
pub struct Deliberation<'p> {
    pub(super) prepared: &'p Prepared,
    pub(super) task: &'p Task,
    pub(super) measured: Measured,
    tally: Tally,
    branches: Vec<BranchRecord>,
    /// Per committed branch: its text, for the shown text and the payloads.
    texts: Vec<Option<Payload>>,
    shown: Vec<Option<Filtered>>,
    budget_blocks: usize,
}

/// The end of a deliberation.
#[derive(Debug)]
pub struct Verdict {
    /// What the record says.
    pub decided: Decided,
    /// The text that may be released once the record is durable.
    pub answer: Option<Supervised>,
    /// What the record's commitments stand for.
    pub payloads: Vec<Payload>,
}

impl<'p> Deliberation<'p> {
    /// Measures the task against the constitution. The error needs recorded salts that lack one.
    pub fn new(prepared: &'p Prepared, task: &'p Task) -> Result<Self, MissingSalt> {
        let measured = measure(prepared, task)?;
        Ok(Self {
            tally: Tally::new(measured.ballot),
            prepared,
            task,
            measured,
            branches: Vec::new(),
            texts: Vec::new(),
            shown: Vec::new(),
            budget_blocks: 0,
        })
    }

    /// Commits the next branch by index; a branch after the decision must not be committed.
    pub fn commit(&mut self, result: BranchResult) -> Result<(), MissingSalt> {
        let result = self.check_bounds(result);
        let text = match result {
            BranchResult::Failed(error) => {
                self.push(
                    Vote::Failed,
                    BranchResultKind::Failed,
                    Some(error),
                    None,
                    None,
                );
                return Ok(());
            }
            BranchResult::Text(text) => text,
        };
        let index = self.tally.committed();
        let payload = Payload::new(
            Label::branch(index),
            &self.task.salts,
            text.clone().into_bytes(),
        )?;
        let filtered = intercept(&self.prepared.rules, &self.task.hash_key, text.as_bytes());
        if filtered.report.verdict != Interception::Passed {
            self.budget_blocks += usize::from(filtered.report.verdict == Interception::BudgetSpent);
            self.push(
                Vote::Blocked,
                BranchResultKind::Blocked,
                None,
                Some(payload),
                None,
            );
        } else if let Some(key) = self.prepared.keys.key(&text) {
            let kind = BranchResultKind::Answer;
            self.push(Vote::Answer(key), kind, None, Some(payload), Some(filtered));
        } else {
            self.push(
                Vote::Abstain,
                BranchResultKind::Abstain,
                None,
                Some(payload),
                None,
            );
        }
        Ok(())
    }

    /// Runtimes check these as they read; here they hold whatever the runtime did.
    fn check_bounds(&self, result: BranchResult) -> BranchResult {
        let limit = self.prepared.constitution.supervisor.max_answer_bytes as usize;
        match result {
            BranchResult::Text(text) if text.len() > limit => {
                BranchResult::Failed(BranchError::TooLong)
            }
            BranchResult::Text(text) if text.trim().is_empty() => {
                BranchResult::Failed(BranchError::Empty)
            }
            other => other,
        }
    }

    fn push(
        &mut self,
        vote: Vote,
        result: BranchResultKind,
        error: Option<BranchError>,
        text: Option<Payload>,
        shown: Option<Filtered>,
    ) {
        let class = self.tally.push(vote);
        self.branches.push(BranchRecord {
            result,
            error,
            text: text.as_ref().map(Payload::commitment),
            bytes: text.as_ref().map(|payload| payload.bytes.len() as u64),
            class,
        });
        self.texts.push(text);
        self.shown.push(shown);
    }

    /// Whether no further branch can change the outcome.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.measured.refusal.is_some() || self.tally.decision() != Decision::Open
    }

    /// Branches committed.
    #[must_use]
    pub fn committed(&self) -> u32 {
        self.tally.committed()
    }

    /// Ends the deliberation: with what the votes decided, or with what stopped them.
    pub fn conclude(mut self, stop: Option<StopEvent>) -> Result<Verdict, MissingSalt> {
        let (reason, answer) = match (stop, self.measured.refusal) {
            (Some(stop), _) => (stop_reason(stop), None),
            (None, Some(refusal)) => (refusal, None),
            (None, None) => self.outcome(),
        };
        self.verdict(reason, answer, stop)
    }

    fn outcome(&mut self) -> (Reason, Option<(Supervised, AnswerSource)>) {
        match self.tally.decision() {
            Decision::Agreed { class } => match self.winning_text(class) {
                Some((filtered, source)) => {
                    let verdict = filtered.report.verdict;
                    match filtered.into_supervised() {
                        Ok(text) => (Reason::Agreed, Some((text, source))),
                        Err(_) if verdict == Interception::BudgetSpent => {
                            (Reason::BudgetSpent, None)
                        }
                        Err(_) => (Reason::PolicyWithheld, None),
                    }
                }
                // A winning class has an answer by definition; without its text nothing is shown.
                None => (Reason::NoAgreement, None),
            },
            Decision::Refused(cause) => self.disagreement(cause),
            // Neither the machine nor replay ends an open vote without a stop event; nothing is shown.
            Decision::Open => (Reason::NoAgreement, None),
        }
    }

    /// The text of the lowest-index branch, or the agreed value where only that was agreed.
    fn winning_text(&mut self, class: u32) -> Option<(Filtered, AnswerSource)> {
        let index = class as usize;
        let filtered = self.shown.get_mut(index)?.take()?;
        if !self.prepared.keys.is_value_only() {
            return Some((filtered, AnswerSource::BranchText));
        }
        if self.prepared.constitution.supervisor.show == Show::Branch {
            return Some((filtered, AnswerSource::BranchTextKeyOnly));
        }
        let text = std::str::from_utf8(&self.texts.get(index)?.as_ref()?.bytes).ok()?;
        let key = self.prepared.keys.key(text)?;
        let value = key.as_text()?.as_bytes();
        let filtered = intercept(&self.prepared.rules, &self.task.hash_key, value);
        Some((filtered, AnswerSource::AgreedValue))
    }

    fn disagreement(&self, cause: Disagreement) -> (Reason, Option<(Supervised, AnswerSource)>) {
        let reason = match cause {
            Disagreement::NoAnswer => self.no_answer(),
            Disagreement::TooFewValid => Reason::TooFewValid,
            Disagreement::BelowThreshold => Reason::NoAgreement,
            Disagreement::Tie => Reason::Tie,
        };
        let is_disagreement = matches!(
            reason,
            Reason::TooFewValid | Reason::NoAgreement | Reason::Tie
        );
        (reason, is_disagreement.then(|| self.fallback()).flatten())
    }

    /// Why no branch gave an answer. The vote names this cause only when all votes are in.
    fn no_answer(&self) -> Reason {
        let count = |kind| {
            let is = |branch: &&BranchRecord| branch.result == kind;
            self.branches.iter().filter(is).count()
        };
        let blocked = count(BranchResultKind::Blocked);
        if count(BranchResultKind::Failed) == self.branches.len() {
            Reason::RuntimeFailed
        } else if blocked == 0 {
            Reason::NoAgreement
        } else if self.budget_blocks == blocked {
            Reason::BudgetSpent
        } else {
            Reason::PolicyWithheld
        }
    }

    fn fallback(&self) -> Option<(Supervised, AnswerSource)> {
        let OnNoAgreement::Fallback { text } =
            &self.prepared.constitution.supervisor.on_no_agreement
        else {
            return None;
        };
        let filtered = intercept(&self.prepared.rules, &self.task.hash_key, text.as_bytes());
        Some((filtered.into_supervised().ok()?, AnswerSource::Fallback))
    }

    fn verdict(
        self,
        reason: Reason,
        answer: Option<(Supervised, AnswerSource)>,
        stop: Option<StopEvent>,
    ) -> Result<Verdict, MissingSalt> {
        let ledger = &self.prepared.constitution.ledger;
        let mut payloads = Vec::new();
        let answer_record = match &answer {
            Some((text, source)) => {
                let (record, kept) = self.answer_record(text, *source)?;
                payloads.extend(kept);
                Some(record)
            }
            None => None,
        };
        let decided = Decided {
            constitution: self.prepared.reference.clone(),
            spec: self.measured.spec,
            runtime: self.measured.runtime_ref.clone(),
            prompt: self.measured.prompt.commitment(),
            // Before any branch counted, a task can be closed from its intent alone, which says
            // nothing of findings.
            prompt_findings: self
                .measured
                .findings
                .filter(|_| stop.is_none() || self.tally.committed() > 0),
            reason,
            vote: (self.tally.committed() > 0).then(|| self.vote_record()),
            branches: self.branches,
            answer: answer_record,
        };
        if ledger.keep_branches {
            payloads.extend(self.texts.into_iter().flatten());
        }
        Ok(Verdict {
            decided,
            answer: answer.map(|(text, _)| text),
            payloads,
        })
    }

    fn answer_record(
        &self,
        text: &Supervised,
        source: AnswerSource,
    ) -> Result<(AnswerRecord, [Payload; 2]), MissingSalt> {
        let salts = &self.task.salts;
        let answer = Payload::new(Label::ANSWER, salts, text.text().as_bytes().to_vec())?;
        let hash_key = Payload::new(Label::HASH_KEY, salts, self.task.hash_key.0.to_vec())?;
        let record = AnswerRecord {
            text: answer.commitment(),
            bytes: answer.bytes.len() as u64,
            source,
            removed: text.findings(),
            hash_key: hash_key.commitment(),
        };
        Ok((record, [answer, hash_key]))
    }

    fn vote_record(&self) -> VoteRecord {
        let leader = self.tally.leader();
        VoteRecord {
            asked: self.measured.ballot.asked,
            committed: self.tally.committed(),
            valid: self.tally.valid(),
            leader: leader.map_or(0, |(_, count)| count),
            leader_class: leader.map(|(class, _)| class),
            runner_up: self.tally.runner_up(),
            ratio: self.measured.ballot.ratio,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::constitution::Constitution;
    use crate::interceptor::HashKey;
    use crate::record::{Salts, TaskRef};
    use crate::task::{RuntimeSpec, TaskSpec};

    const POLICY: &str = r#"
        meta = { name = "test", version = "1.0.0" }
        [[interceptor.terms]]
        id = "forbidden"
        terms = ["zebra"]
        action = "withhold"
    "#;

    /// What is decided on these texts when filtering a long one costs more steps than there are.
    fn decide(texts: [&str; 4]) -> Verdict {
        let constitution = Constitution::parse("test.toml", POLICY).unwrap();
        let mut prepared = Prepared::new(constitution).unwrap();
        prepared.rules = prepared.rules.on_a_fixed_budget();
        let task = Task {
            spec: TaskSpec {
                prompt: "Where?".to_owned(),
                prompt_from: None,
                runtime: RuntimeSpec::Echo,
                branches: None,
            },
            reference: TaskRef {
                uid: "task-1".to_owned(),
                attempt: 0,
            },
            salts: Salts::Seed([7; 32]),
            hash_key: HashKey([9; 32]),
        };
        let mut deliberation = Deliberation::new(&prepared, &task).unwrap();
        for text in texts {
            let result = BranchResult::Text(text.to_owned());
            deliberation.commit(result).unwrap();
        }
        deliberation.conclude(None).unwrap()
    }

    #[test]
    fn a_spent_budget_blocks_a_branch_and_is_named_when_it_blocks_all() {
        let long = "1-2 ".repeat(8_000);
        let spent = decide([&long; 4]);
        assert_eq!(spent.decided.reason, Reason::BudgetSpent);
        assert!(spent.answer.is_none() && spent.decided.answer.is_none());
        let is_blocked = |branch: &BranchRecord| branch.result == BranchResultKind::Blocked;
        assert!(spent.decided.branches.iter().all(is_blocked));

        let mixed = decide([&long, "a zebra", &long, &long]);
        assert_eq!(mixed.decided.reason, Reason::PolicyWithheld);
        let outvoted = decide(["Paris", &long, "Paris", "Paris"]);
        assert_eq!(outvoted.decided.reason, Reason::Agreed);
    }
}
