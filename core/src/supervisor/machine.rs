//! The state machine: events in, commands out.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::interceptor::Supervised;
use crate::record::{
    Body, BuildRef, ContainmentRecord, Label, MissingSalt, Observed, ObservedIntent, Outcome,
    Payload, Reason, Record, StopEvent, Usage,
};

use super::deliberation::{BranchResult, Deliberation};
use super::prepared::{Prepared, Task};
use super::release::{ReleaseError, Released};
use super::{OutcomeKind, branch_seed};

/// What happens to the machine.
#[derive(Debug)]
pub enum Event {
    /// The appended record is durable.
    Acknowledged(Acknowledged),
    /// A started branch ended.
    BranchFinished {
        /// Which one.
        index: u32,
        /// With what.
        result: BranchResult,
    },
    /// The answer to [`Command::Observe`].
    Observed(ObservedParts),
    /// The task's deadline passed.
    Deadline,
    /// A user or a signal asks for the end.
    Cancel,
    /// Containment could not be established or was lost.
    ContainmentLost,
}

/// The ledger's answer to an append.
#[derive(Debug)]
pub struct Acknowledged {
    /// The record that fills the slot: ours, or an earlier one.
    pub record: Record,
    /// The slot was filled before; ours was not appended.
    pub existing: bool,
    /// For an existing record with an answer: that payload.
    pub answer: Option<Payload>,
}

/// What the driver saw; the machine adds what it knows itself.
#[derive(Debug)]
pub struct ObservedParts {
    /// The build that decides.
    pub build: BuildRef,
    /// First runtime call, milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// Now, milliseconds since the Unix epoch.
    pub ended_unix_ms: u64,
    /// What confined the runtime.
    pub containment: ContainmentRecord,
    /// Sums over the branches.
    pub usage: Option<Usage>,
    /// Detail for the authorised; at most 64 KiB are kept.
    pub detail: Option<Vec<u8>>,
}

const MAX_DETAIL_BYTES: usize = 64 * 1024;

/// What the driver has to do, in this order.
#[derive(Debug)]
pub enum Command {
    /// Append this, and report the acknowledgement.
    Append(Entry),
    /// Start this branch, and report its end.
    StartBranch {
        /// Counted from 0.
        index: u32,
        /// Its own seed.
        seed: u64,
        /// What the runtime gets.
        prompt: Arc<str>,
    },
    /// End every branch that still runs; their results no longer count.
    StopBranches,
    /// Report what was observed.
    Observe,
    /// It is over.
    Done(Done),
}

/// A record with its payloads: one append, one sync.
#[derive(Debug)]
pub struct Entry {
    /// The record.
    pub record: Record,
    /// What its commitments stand for.
    pub payloads: Vec<Payload>,
}

/// The end of an attempt.
#[derive(Debug)]
pub struct Done {
    /// The record that ends the task: ours, or an earlier one.
    pub record: Record,
    /// Whether it is an earlier one.
    pub existing: bool,
    /// The text that may be shown, if any.
    pub released: Option<Released>,
}

/// Who appends the intent.
#[derive(Debug, Clone)]
pub enum IntentBy {
    /// This machine.
    Machine(ObservedIntent),
    /// An operator did; its record was verified.
    Operator,
}

/// An event that cannot happen now, or an answer of the ledger that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutOfTurn {
    /// The driver broke the protocol.
    #[error("the event {event} must not come while the supervisor is {state}")]
    Event {
        /// What came.
        event: &'static str,
        /// Where the machine was.
        state: &'static str,
    },
    /// The stored record cannot be released.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// Recorded salts that lack one.
    #[error(transparent)]
    Salt(#[from] MissingSalt),
}

enum State {
    AwaitIntent,
    Deliberate,
    AwaitObserved,
    AwaitTerminal { answer: Option<Supervised> },
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
    state: State,
    asked: u32,
    started: u32,
    /// Branches that finished out of index order.
    waiting: BTreeMap<u32, BranchResult>,
    finished: u32,
    committed: u32,
    stop: Option<StopEvent>,
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
        let entry = match intent {
            IntentBy::Machine(observed) => Some(intent_entry(&deliberation, observed)),
            IntentBy::Operator => None,
        };
        let mut machine = Self {
            task,
            prepared,
            prompt: Arc::from(measured.runtime_prompt.as_str()),
            asked: measured.ballot.asked,
            deliberation: Some(deliberation),
            state: State::AwaitIntent,
            started: 0,
            waiting: BTreeMap::new(),
            finished: 0,
            committed: 0,
            stop: None,
            failure_is_final,
        };
        let commands = match entry {
            Some(entry) => vec![Command::Append(entry)],
            None => machine.begin(),
        };
        Ok((machine, commands))
    }

    /// Takes one event.
    pub fn handle(&mut self, event: Event) -> Result<Vec<Command>, OutOfTurn> {
        match (event, &self.state) {
            (Event::Acknowledged(acknowledged), State::AwaitIntent) => {
                self.intent_acknowledged(&acknowledged)
            }
            (Event::Acknowledged(acknowledged), State::AwaitTerminal { .. }) => {
                self.terminal_acknowledged(acknowledged)
            }
            (Event::BranchFinished { index, result }, State::Deliberate) => {
                self.branch_finished(index, result)
            }
            // A branch that ends after the decision does not count.
            (Event::BranchFinished { .. }, _) => {
                self.finished += 1;
                Ok(Vec::new())
            }
            (Event::Observed(parts), State::AwaitObserved) => self.observed(parts),
            (Event::Deadline, _) => Ok(self.stopped(StopEvent::Deadline)),
            (Event::Cancel, _) => Ok(self.stopped(StopEvent::Cancel)),
            (Event::ContainmentLost, _) => Ok(self.stopped(StopEvent::Containment)),
            (event, state) => Err(OutOfTurn::Event {
                event: name(&event),
                state: state.name(),
            }),
        }
    }

    fn intent_acknowledged(&mut self, ack: &Acknowledged) -> Result<Vec<Command>, OutOfTurn> {
        let is_ours = ack.record.task() == Some(&self.task.reference)
            && matches!(ack.record.body, Body::Intent { .. });
        if is_ours {
            Ok(self.begin())
        } else {
            Err(ReleaseError::OtherTask.into())
        }
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
        let limit = self.prepared.constitution.supervisor.max_parallel_branches;
        let mut commands = Vec::new();
        while self.started < self.asked && self.started - self.finished < limit {
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
            self.started += 1;
        }
        commands
    }

    fn branch_finished(
        &mut self,
        index: u32,
        result: BranchResult,
    ) -> Result<Vec<Command>, OutOfTurn> {
        let is_new =
            index < self.started && index >= self.committed && !self.waiting.contains_key(&index);
        if !is_new {
            return Err(OutOfTurn::Event {
                event: "BranchFinished",
                state: self.state.name(),
            });
        }
        self.finished += 1;
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
        if self.started > self.finished {
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
                usage: parts.usage,
                surplus_branches: self.started - self.committed,
                stopped_by: self.stop,
                detail: detail.as_ref().map(Payload::commitment),
            },
            decided: verdict.decided,
        };
        verdict.payloads.extend(detail);
        let record = Record::new(self.body(outcome));
        self.state = State::AwaitTerminal {
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

    fn terminal_acknowledged(&mut self, ack: Acknowledged) -> Result<Vec<Command>, OutOfTurn> {
        let State::AwaitTerminal { answer } = std::mem::replace(&mut self.state, State::Done)
        else {
            return Ok(Vec::new());
        };
        let uid = &self.task.reference.uid;
        let Acknowledged {
            record,
            existing,
            answer: stored,
        } = ack;
        let released = if existing {
            // Our own text is discarded: what is recorded is what is shown.
            Released::stored(&record, uid, stored.as_ref())?
        } else {
            let answer_record = record.outcome().and_then(|o| o.decided.answer.as_ref());
            answer
                .zip(answer_record)
                .map(|(text, answer)| Released::own(&text, answer))
        };
        Ok(vec![Command::Done(Done {
            record,
            existing,
            released,
        })])
    }
}

/// The end of a task that ended before: its recorded text, checked against its record.
impl Done {
    /// From the terminal record that fills the task's slot and the payload of its answer.
    pub fn stored(
        record: Record,
        uid: &str,
        answer: Option<&Payload>,
    ) -> Result<Self, ReleaseError> {
        let released = Released::stored(&record, uid, answer)?;
        Ok(Self {
            record,
            existing: true,
            released,
        })
    }
}

fn intent_entry(deliberation: &Deliberation<'_>, observed: ObservedIntent) -> Entry {
    let measured = &deliberation.measured;
    let record = Record::new(Body::Intent {
        task: deliberation.task.reference.clone(),
        constitution: deliberation.prepared.reference.clone(),
        spec: measured.spec,
        runtime: measured.runtime_ref.clone(),
        task_text: measured.task.commitment(),
        prompt: measured.prompt.commitment(),
        observed,
    });
    let mut payloads = vec![measured.runtime.clone(), measured.task.clone()];
    if deliberation.prepared.constitution.ledger.keep_prompt {
        payloads.push(measured.prompt.clone());
    }
    Entry { record, payloads }
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::Acknowledged(_) => "Acknowledged",
        Event::BranchFinished { .. } => "BranchFinished",
        Event::Observed(_) => "Observed",
        Event::Deadline => "Deadline",
        Event::Cancel => "Cancel",
        Event::ContainmentLost => "ContainmentLost",
    }
}
