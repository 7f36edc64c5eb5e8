//! Replay: a recorded decision computed again, byte for byte.

use std::collections::BTreeMap;

use crate::constitution::Constitution;
use crate::interceptor::HashKey;
use crate::record::{
    Body, BranchRecord, BranchResultKind, Commitment, Decided, Label, MissingSalt, Observed,
    Outcome, Payload, Reason, Record, Salt, Salts, StopEvent, TaskRef,
};
use crate::task::TaskSpec;

use super::deliberation::{BranchResult, Deliberation};
use super::intended::spec_of;
use super::prepared::{PrepareError, Prepared, Task};
use super::stop_reason;

/// Why a record cannot be replayed, or what differs.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Only the end of an attempt was decided.
    #[error("only a record that ends an attempt can be replayed; this one is of another kind")]
    NotAnOutcome,
    /// The intent given is not the one of this record.
    #[error("the intent must be that of the same attempt, with the same task and constitution")]
    OtherIntent,
    /// The recorded branches decide earlier, or not yet.
    #[error("the recorded branches must be those that the decision needed, no more and no fewer")]
    OtherBranches,
    /// A payload is not there; the ledger says whether it was erased, not kept, or lost.
    #[error("the payload {0} ({1}) is not there")]
    Missing(Label, Commitment),
    /// The payload behind a commitment has another label or another form.
    #[error("the payload {0} must be what its label says")]
    Malformed(Label),
    /// The recorded constitution is not valid under this build.
    #[error(transparent)]
    Constitution(#[from] PrepareError),
    /// The constitution given is not the one recorded.
    #[error("the constitution must have the recorded digest")]
    OtherConstitution,
    /// A salt that the decision needs is in none of the payloads.
    #[error(transparent)]
    Salt(#[from] MissingSalt),
    /// The recomputed decision is another one.
    #[error("the decision differs from the recorded one")]
    Differs(Box<Decided>),
}

/// Recomputes the decision of `record` from its payloads and compares it. `constitution` is the
/// recorded one; `payload` resolves a commitment.
pub fn replay(
    record: &Record,
    intent: &Record,
    constitution: &Constitution,
    payload: impl Fn(&Commitment) -> Option<Payload>,
) -> Result<Decided, ReplayError> {
    let outcome = record.outcome().ok_or(ReplayError::NotAnOutcome)?;
    let decided = &outcome.decided;
    check_intent(intent, outcome)?;
    let prepared = Prepared::new(constitution.clone())?;
    if prepared.reference != decided.constitution {
        return Err(ReplayError::OtherConstitution);
    }
    let mut found = Found {
        payload: &payload,
        salts: BTreeMap::new(),
    };
    let spec = found.spec(intent, decided)?;
    let results = found.branches(&decided.branches)?;
    let hash_key = found.answer(decided)?;
    let task = Task {
        spec,
        reference: outcome.task.clone(),
        salts: Salts::Recorded(found.salts),
        hash_key,
    };
    let mut deliberation = Deliberation::new(&prepared, &task)?;
    for result in results {
        if deliberation.is_settled() {
            return Err(ReplayError::OtherBranches);
        }
        deliberation.commit(result)?;
    }
    // A decision ends the deliberation, or a stop event while it is open. Only a task that is
    // refused may be both: stopped while its intent was written.
    let (is_settled, is_stopped) = (
        deliberation.is_settled(),
        outcome.observed.stopped_by.is_some(),
    );
    let is_end = if is_stopped {
        !is_settled || deliberation.committed() == 0
    } else {
        is_settled
    };
    if !is_end {
        return Err(ReplayError::OtherBranches);
    }
    let verdict = deliberation.conclude(outcome.observed.stopped_by)?;
    if verdict.decided == *decided {
        Ok(verdict.decided)
    } else {
        Err(ReplayError::Differs(Box::new(verdict.decided)))
    }
}

fn check_intent(intent: &Record, outcome: &Outcome) -> Result<(), ReplayError> {
    let decided = &outcome.decided;
    let is_same = undecided(intent).is_some_and(|(task, bare)| {
        *task == outcome.task
            && bare.constitution == decided.constitution
            && bare.spec == decided.spec
            && bare.runtime == decided.runtime
    });
    is_same.then_some(()).ok_or(ReplayError::OtherIntent)
}

/// What an intent alone decides: that nothing was.
fn undecided(intent: &Record) -> Option<(&TaskRef, Decided)> {
    let Body::Intent {
        task,
        constitution,
        spec,
        runtime,
        prompt,
        ..
    } = &intent.body
    else {
        return None;
    };
    let decided = Decided {
        constitution: constitution.clone(),
        spec: *spec,
        runtime: runtime.clone(),
        prompt: *prompt,
        prompt_findings: None,
        reason: Reason::Interrupted,
        branches: Vec::new(),
        vote: None,
        answer: None,
    };
    Some((task, decided))
}

struct Found<'a, F> {
    payload: &'a F,
    salts: BTreeMap<Label, Salt>,
}

impl<F: Fn(&Commitment) -> Option<Payload>> Found<'_, F> {
    fn get(&mut self, label: Label, commitment: Commitment) -> Result<Vec<u8>, ReplayError> {
        let Some(payload) = (self.payload)(&commitment) else {
            return Err(ReplayError::Missing(label, commitment));
        };
        if payload.label != label || payload.commitment() != commitment {
            return Err(ReplayError::Malformed(label));
        }
        self.salts.insert(label, payload.salt);
        Ok(payload.bytes)
    }

    fn text(&mut self, label: Label, commitment: Commitment) -> Result<String, ReplayError> {
        let bytes = self.get(label.clone(), commitment)?;
        String::from_utf8(bytes).map_err(|_| ReplayError::Malformed(label))
    }

    fn spec(&mut self, intent: &Record, decided: &Decided) -> Result<TaskSpec, ReplayError> {
        let Body::Intent {
            task_text,
            prompt: intended,
            ..
        } = &intent.body
        else {
            return Err(ReplayError::OtherIntent);
        };
        let prompt = self.text(Label::PROMPT, decided.prompt)?;
        self.get(Label::RUNTIME, decided.runtime.spec)?;
        let bytes = self.get(Label::TASK, *task_text)?;
        let spec = spec_of(&bytes, prompt).ok_or(ReplayError::Malformed(Label::TASK))?;
        // Whoever wrote the intent of a prompt from elsewhere could not commit to it.
        if spec.prompt_from.is_none() && *intended != decided.prompt {
            return Err(ReplayError::OtherIntent);
        }
        Ok(spec)
    }

    fn branches(&mut self, records: &[BranchRecord]) -> Result<Vec<BranchResult>, ReplayError> {
        let mut results = Vec::with_capacity(records.len());
        for (index, branch) in (0..).zip(records) {
            results.push(match (branch.result, branch.error, branch.text) {
                (BranchResultKind::Failed, Some(error), _) => BranchResult::Failed(error),
                (_, _, Some(text)) => BranchResult::Text(self.text(Label::branch(index), text)?),
                _ => return Err(ReplayError::Malformed(Label::branch(index))),
            });
        }
        Ok(results)
    }

    /// The key of the `hash` action. Without an answer no text depends on it; salts stand in for
    /// those of an answer that the record does not have, so that a decision with one differs.
    fn answer(&mut self, decided: &Decided) -> Result<HashKey, ReplayError> {
        let Some(answer) = &decided.answer else {
            for label in [Label::ANSWER, Label::HASH_KEY] {
                self.salts.insert(label, Salt([0; 32]));
            }
            return Ok(HashKey([0; 32]));
        };
        self.get(Label::ANSWER, answer.text)?;
        let bytes = self.get(Label::HASH_KEY, answer.hash_key)?;
        let key = bytes
            .try_into()
            .map_err(|_| ReplayError::Malformed(Label::HASH_KEY))?;
        Ok(HashKey(key))
    }
}

/// The terminal record of a task that ended before any branch counted, from its intent alone: what
/// whoever owns the task writes when its run died, was cancelled, ran out of time or was not
/// contained. `None` when `intent` is no intent.
#[must_use]
pub fn closed(intent: &Record, stop: StopEvent, mut observed: Observed) -> Option<Record> {
    let (task, mut decided) = undecided(intent)?;
    decided.reason = stop_reason(stop);
    observed.stopped_by = Some(stop);
    let outcome = Outcome {
        task: task.clone(),
        decided,
        observed,
    };
    Some(Record::new(match stop {
        StopEvent::Cancel => Body::Cancelled(outcome),
        StopEvent::Deadline | StopEvent::Containment | StopEvent::Interrupted => {
            Body::Failed(outcome)
        }
    }))
}

/// The terminal record of a task whose last attempt failed and is not tried again, from that attempt's own record: the
/// same decision and the same observations, as the end. `None` when `attempt` is no failed attempt.
#[must_use]
pub fn concluded(attempt: &Record) -> Option<Record> {
    match &attempt.body {
        Body::Attempt(outcome) => Some(Record::new(Body::Failed(outcome.clone()))),
        _ => None,
    }
}
