//! The state machine: events in, commands out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::interceptor::Supervised;
use crate::record::{
    Body, Label, MAX_INTEGER, MAX_PAYLOAD_BYTES, MissingSalt, Observed, ObservedIntent, Outcome,
    Payload, Reason, Record, StopEvent, Usage,
};

use super::deliberation::{BranchResult, Deliberation};
use super::prepared::{Prepared, Task};
use super::protocol::{
    Acknowledged, Command, Done, Entry, Event, IntentBy, MAX_DETAIL_BYTES, ObservedParts, OutOfTurn,
};
use super::release::{ReleaseError, Released};
use super::{OutcomeKind, branch_seed};

enum State {
    AwaitIntent,
    Deliberate,
    AwaitObserved,
    AwaitTerminal {
        /// What was appended.
        record: Box<Record>,
        answer: Option<Supervised>,
    },
    Done,
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::AwaitIntent => "waiting for the intent",
            Self::Deliberate => "deliberating",
            Self::AwaitObserved => "waiting for the observation",
            Self::AwaitTerminal { .. } => "waiting for the terminal record",
            Self::Done => "done",
        }
    }
}

/// One attempt at one task.
pub struct Supervisor<'p> {
    task: &'p Task,
    prepared: &'p Prepared,
    /// Taken when it concludes.
    deliberation: Option<Deliberation<'p>>,
    prompt: Arc<str>,
    /// What the intent must say, whoever appends it.
    intent: Body,
    state: State,
    asked: u32,
    started: u32,
    /// Branches that were started and have not reported their end.
    running: BTreeSet<u32>,
    /// Branches that finished out of index order.
    waiting: BTreeMap<u32, BranchResult>,
    committed: u32,
    stop: Option<StopEvent>,
    /// A prompt that the intent could not bring: kept with the outcome.
    own_prompt: Option<Payload>,
    /// Whether a failed runtime ends the task, or only this attempt.
    failure_is_final: bool,
}

impl<'p> Supervisor<'p> {
    /// A machine and its first commands. `failure_is_final`: this is the owner of the retry budget,
    /// or the budget is spent; otherwise a failed runtime fills the `attempt` slot.
    pub fn new(
        prepared: &'p Prepared,
        task: &'p Task,
        intent: IntentBy,
        failure_is_final: bool,
    ) -> Result<(Self, Vec<Command>), OutOfTurn> {
        let deliberation = Deliberation::new(prepared, task)?;
        let measured = &deliberation.measured;
        let (body, acknowledged) = match intent {
            IntentBy::Machine(observed) => (intent_body(&deliberation, observed), None),
            IntentBy::Operator(record) => {
                let Body::Intent { observed, .. } = &record.body else {
                    return Err(OutOfTurn::OtherIntent);
                };
                (intent_body(&deliberation, observed.clone()), Some(record))
            }
        };
        let entry = Entry {
            record: Record::new(body.clone()),
            payloads: intent_payloads(&deliberation),
        };
        let is_elsewhere = task.spec.prompt_from.is_some();
        let own_prompt = kept_prompt(&deliberation).filter(|_| is_elsewhere);
        let mut machine = Self {
            task,
            prepared,
            prompt: Arc::from(measured.runtime_prompt.as_str()),
            intent: body,
            asked: measured.ballot.asked,
            deliberation: Some(deliberation),
            state: State::AwaitIntent,
            started: 0,
            running: BTreeSet::new(),
            waiting: BTreeMap::new(),
            committed: 0,
            stop: None,
            own_prompt,
            failure_is_final,
        };
        let commands = match acknowledged {
            None => vec![Command::Append(entry)],
            Some(record) => machine.intent_acknowledged(&record)?,
        };
        Ok((machine, commands))
    }

    /// Takes one event.
    pub fn handle(&mut self, event: Event) -> Result<Vec<Command>, OutOfTurn> {
        match (event, &self.state) {
            (Event::Acknowledged(acknowledged), State::AwaitIntent) => {
                self.intent_acknowledged(&acknowledged.record)
            }
            (Event::Acknowledged(acknowledged), State::AwaitTerminal { .. }) => {
                self.terminal_acknowledged(acknowledged)
            }
            (Event::BranchFinished { index, result }, _) if self.running.contains(&index) => {
                self.branch_finished(index, result)
            }
            (Event::Observed(parts), State::AwaitObserved) => self.observed(parts),
            (Event::Deadline, _) => Ok(self.stopped(StopEvent::Deadline)),
            (Event::Cancel, _) => Ok(self.stopped(StopEvent::Cancel)),
            (Event::ContainmentLost, _) => Ok(self.stopped(StopEvent::Containment)),
            (event, state) => Err(OutOfTurn::Event {
                event: event.name(),
                state: state.name(),
            }),
        }
    }

    /// An intent that says the same may be an earlier append of this run whose answer was lost.
    fn intent_acknowledged(&mut self, record: &Record) -> Result<Vec<Command>, OutOfTurn> {
        let is_elsewhere = self.task.spec.prompt_from.is_some();
        if !is_same_intent(&record.body, &self.intent, is_elsewhere) {
            return Err(OutOfTurn::OtherIntent);
        }
        Ok(self.begin())
    }

    fn begin(&mut self) -> Vec<Command> {
        self.state = State::Deliberate;
        if self.stop.is_some() || self.is_settled() {
            return self.end_deliberation();
        }
        self.start_branches()
    }

    fn is_settled(&self) -> bool {
        self.deliberation
            .as_ref()
            .is_none_or(Deliberation::is_settled)
    }

    /// Branches in flight are bounded; a branch that waits for an earlier one no longer runs.
    fn start_branches(&mut self) -> Vec<Command> {
        let limit = self.prepared.constitution.supervisor.max_parallel_branches as usize;
        let mut commands = Vec::new();
        while self.started < self.asked && self.running.len() < limit {
            let index = self.started;
            let digest = &self.prepared.reference.digest;
            let seed = branch_seed(
                &self.task.reference.uid,
                self.task.reference.attempt,
                digest,
                index,
            );
            commands.push(Command::StartBranch {
                index,
                seed,
                prompt: Arc::clone(&self.prompt),
            });
            self.running.insert(index);
            self.started += 1;
        }
        commands
    }

    fn branch_finished(
        &mut self,
        index: u32,
        result: BranchResult,
    ) -> Result<Vec<Command>, OutOfTurn> {
        self.running.remove(&index);
        if !matches!(self.state, State::Deliberate) {
            // A branch that ends after the decision does not count.
            return Ok(Vec::new());
        }
        self.waiting.insert(index, result);
        if let Some(deliberation) = &mut self.deliberation {
            while !deliberation.is_settled()
                && let Some(result) = self.waiting.remove(&self.committed)
            {
                deliberation.commit(result)?;
                self.committed += 1;
            }
        }
        if self.is_settled() {
            return Ok(self.end_deliberation());
        }
        Ok(self.start_branches())
    }

    fn stopped(&mut self, stop: StopEvent) -> Vec<Command> {
        match self.state {
            State::AwaitIntent => {
                self.stop.get_or_insert(stop);
                Vec::new()
            }
            State::Deliberate => {
                self.stop.get_or_insert(stop);
                self.end_deliberation()
            }
            // It was decided before: time no longer enters.
            State::AwaitObserved | State::AwaitTerminal { .. } | State::Done => Vec::new(),
        }
    }

    fn end_deliberation(&mut self) -> Vec<Command> {
        self.state = State::AwaitObserved;
        let mut commands = Vec::new();
        if !self.running.is_empty() {
            commands.push(Command::StopBranches);
        }
        commands.push(Command::Observe);
        commands
    }

    fn observed(&mut self, parts: ObservedParts) -> Result<Vec<Command>, OutOfTurn> {
        let Some(deliberation) = self.deliberation.take() else {
            return Err(OutOfTurn::Event {
                event: "Observed",
                state: self.state.name(),
            });
        };
        let mut verdict = deliberation.conclude(self.stop)?;
        let detail = self.detail(parts.detail)?;
        let outcome = Outcome {
            task: self.task.reference.clone(),
            observed: Observed {
                build: parts.build,
                started_unix_ms: parts.started_unix_ms,
                ended_unix_ms: parts.ended_unix_ms,
                containment: parts.containment,
                usage: parts.usage.map(bounded),
                egress: parts.egress,
                surplus_branches: self.started - self.committed,
                stopped_by: self.stop,
                detail: detail.as_ref().map(Payload::commitment),
            },
            decided: verdict.decided,
        };
        verdict.payloads.extend(detail);
        verdict.payloads.extend(self.own_prompt.take());
        let record = Record::new(self.body(outcome));
        self.state = State::AwaitTerminal {
            record: Box::new(record.clone()),
            answer: verdict.answer,
        };
        Ok(vec![Command::Append(Entry {
            record,
            payloads: verdict.payloads,
        })])
    }

    fn detail(&self, detail: Option<Vec<u8>>) -> Result<Option<Payload>, MissingSalt> {
        detail
            .map(|mut bytes| {
                bytes.truncate(MAX_DETAIL_BYTES);
                Payload::new(Label::DETAIL, &self.task.salts, bytes)
            })
            .transpose()
    }

    fn body(&self, outcome: Outcome) -> Body {
        let reason = outcome.decided.reason;
        if reason == Reason::RuntimeFailed && !self.failure_is_final {
            return Body::Attempt(outcome);
        }
        OutcomeKind::of(reason).body(outcome)
    }

    /// The only place where a text of this run becomes a [`Released`].
    fn terminal_acknowledged(&mut self, ack: Acknowledged) -> Result<Vec<Command>, OutOfTurn> {
        let State::AwaitTerminal {
            record: appended,
            answer,
        } = std::mem::replace(&mut self.state, State::Done)
        else {
            return Ok(Vec::new());
        };
        let Acknowledged {
            record,
            existing,
            answer: stored,
        } = ack;
        let done = if existing {
            // Our own text is discarded: what is recorded is what is shown.
            self.existing(record, stored.as_ref(), &appended)?
        } else if record == *appended {
            let answer_record = record.outcome().and_then(|o| o.decided.answer.as_ref());
            let released = answer
                .zip(answer_record)
                .map(|(text, answer)| Released::own(&text, answer));
            Done {
                record,
                existing,
                released,
            }
        } else {
            return Err(OutOfTurn::OtherRecord);
        };
        Ok(vec![Command::Done(done)])
    }

    fn existing(
        &self,
        record: Record,
        answer: Option<&Payload>,
        appended: &Record,
    ) -> Result<Done, ReleaseError> {
        if record.is_terminal() || record.slot() != appended.slot() {
            return Done::stored(record, &self.task.reference.uid, answer);
        }
        // A failed attempt that was recorded before; no text belongs to it.
        Ok(Done {
            record,
            existing: true,
            released: None,
        })
    }
}

fn intent_body(deliberation: &Deliberation<'_>, observed: ObservedIntent) -> Body {
    let measured = &deliberation.measured;
    Body::Intent {
        task: deliberation.task.reference.clone(),
        constitution: deliberation.prepared.reference.clone(),
        spec: measured.spec,
        runtime: measured.runtime_ref.clone(),
        task_text: measured.task.commitment(),
        prompt: measured.prompt.commitment(),
        observed,
    }
}

/// A prompt that is too long for a payload is refused anyway; it is committed to and not kept.
fn intent_payloads(deliberation: &Deliberation<'_>) -> Vec<Payload> {
    let measured = &deliberation.measured;
    let mut payloads = vec![measured.runtime.clone(), measured.task.clone()];
    payloads.retain(|payload| payload.bytes.len() <= MAX_PAYLOAD_BYTES);
    payloads.extend(kept_prompt(deliberation));
    payloads
}

fn kept_prompt(deliberation: &Deliberation<'_>) -> Option<Payload> {
    let prompt = &deliberation.measured.prompt;
    let is_kept = deliberation.prepared.constitution.ledger.keep_prompt
        && prompt.bytes.len() <= MAX_PAYLOAD_BYTES;
    is_kept.then(|| prompt.clone())
}

/// Whether two intents say the same; what was observed may differ, and so may the prompt where it is
/// read from elsewhere.
fn is_same_intent(one: &Body, other: &Body, prompt_is_elsewhere: bool) -> bool {
    let (mut one, mut other) = (one.clone(), other.clone());
    let (
        Body::Intent {
            observed: a,
            prompt: p,
            ..
        },
        Body::Intent {
            observed: b,
            prompt: q,
            ..
        },
    ) = (&mut one, &mut other)
    else {
        return false;
    };
    a.clone_from(b);
    if prompt_is_elsewhere {
        *p = *q;
    }
    one == other
}

fn bounded(usage: Usage) -> Usage {
    Usage {
        prompt_tokens: usage.prompt_tokens.min(MAX_INTEGER),
        completion_tokens: usage.completion_tokens.min(MAX_INTEGER),
        branch_ms: usage.branch_ms.min(MAX_INTEGER),
    }
}
