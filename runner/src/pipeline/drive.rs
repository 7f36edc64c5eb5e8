//! Drives the supervisor's state machine.

use std::collections::VecDeque;
use std::time::Duration;

use axiom_hive_core::interceptor::HashKey;
use axiom_hive_core::record::{
    Body, BuildRef, Label, ObservedIntent, Opening, Payload, Receipt, Record, Salts, Slot, TaskRef,
};
use axiom_hive_core::supervisor::{
    Acknowledged, Command, Done, Entry, Event, IntentBy, ObservedParts, OutOfTurn, Prepared,
    ReleaseError, Supervisor, Task,
};
use axiom_hive_core::task::TaskSpec;
use tokio::time::Instant;

use super::branches::Branches;
use super::{close_dead_runs, now_unix_ms, random_32};
use crate::ledger::{Ledger, LedgerError};
use crate::runtime::{CancelToken, RuntimeOptions};

/// One task to run.
pub struct Job<'a> {
    /// The policy.
    pub prepared: &'a Prepared,
    /// What the user asks for.
    pub spec: TaskSpec,
    /// Names the task; the same UID again returns the recorded outcome.
    pub task_uid: String,
    /// Containment, keys.
    pub options: &'a RuntimeOptions,
    /// The build that decides.
    pub build: BuildRef,
    /// Fires when the user wants the end.
    pub cancel: CancelToken,
}

/// What came of it. The text, if any, is in `done.released`.
#[derive(Debug)]
pub struct Finished {
    /// The outcome.
    pub done: Done,
    /// Index of its record.
    pub index: u64,
    /// Record, inclusion proof, signed checkpoint.
    pub receipt: Receipt,
    /// The private salts of prompt and answer.
    pub opening: Opening,
}

/// Why a task has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The ledger is unavailable or refuses.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The task UID was used for something else.
    #[error("task {uid} was used for another {what}; a task UID names one task for ever")]
    OtherTask {
        /// The UID.
        uid: String,
        /// What differs.
        what: &'static str,
    },
    /// A recorded answer cannot be shown.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// A bug: driver and machine disagree.
    #[error("internal: {0}")]
    OutOfTurn(#[from] OutOfTurn),
    /// A bug: the record that was just written cannot be opened.
    #[error("internal: {0}")]
    Opening(#[from] axiom_hive_core::record::OpeningError),
    /// The operating system gives no random bytes.
    #[error("no random bytes from the operating system: {0}")]
    Random(String),
    /// A task had too many attempts.
    #[error("task {0} must have at most 1000 attempts")]
    TooManyAttempts(String),
}

/// Runs one task to its recorded end. Closes the intents of dead runs first, records the
/// constitution's first use, and continues an interrupted task of the same UID with its next attempt.
pub async fn run_task(ledger: &mut Ledger, job: Job<'_>) -> Result<Finished, PipelineError> {
    close_dead_runs(ledger, &job.task_uid, &job.build)?;
    let salts = Salts::Seed(random_32()?);
    let constitution = Payload {
        label: Label::CONSTITUTION,
        salt: axiom_hive_core::record::Salt(random_32()?),
        bytes: job.prepared.constitution().canonical_json(),
    };
    ledger.ensure_constitution(job.prepared.reference(), &constitution)?;
    if let Some(index) = ledger.find(&Slot::Terminal {
        uid: job.task_uid.clone(),
    }) {
        return recorded(ledger, &job, index);
    }
    let reference = TaskRef {
        uid: job.task_uid.clone(),
        attempt: next_attempt(ledger, &job)?,
    };
    let hash_key = HashKey(random_32()?);
    let task = Task {
        spec: job.spec.clone(),
        reference,
        salts,
        hash_key,
    };
    let intent = IntentBy::Machine(ObservedIntent {
        at_unix_ms: now_unix_ms(),
        build: job.build.clone(),
        pod_uid: None,
    });
    let (machine, first) = Supervisor::new(job.prepared, &task, intent, true)?;
    Drive::new(ledger, &job, &task, machine).run(first).await
}

/// The number of the attempt to make; refuses a UID whose earlier attempts had another task.
fn next_attempt(ledger: &Ledger, job: &Job<'_>) -> Result<u32, PipelineError> {
    for attempt in 0..=axiom_hive_core::record::MAX_ATTEMPT {
        let slot = Slot::Intent(TaskRef {
            uid: job.task_uid.clone(),
            attempt,
        });
        let Some(index) = ledger.find(&slot) else {
            return Ok(attempt);
        };
        check_same_task(ledger, job, &ledger.record(index)?)?;
    }
    Err(PipelineError::TooManyAttempts(job.task_uid.clone()))
}

/// The outcome of a task that ended before.
fn recorded(ledger: &Ledger, job: &Job<'_>, index: u64) -> Result<Finished, PipelineError> {
    let record = ledger.record(index)?;
    check_same_task(ledger, job, &record)?;
    let payloads = payloads_of(ledger, &record)?;
    let answer = record
        .answer()
        .and_then(|commitment| payloads.iter().find(|p| p.commitment() == commitment));
    let opening = Opening::of(&record, &payloads)?;
    let receipt = ledger.view().receipt(index)?;
    let done = Done::stored(record, &job.task_uid, answer)?;
    Ok(Finished {
        done,
        index,
        receipt,
        opening,
    })
}

/// A UID is an idempotency key: with another prompt or runtime it is a mistake. Where the texts are
/// not kept, the commitments cannot be compared and the UID alone decides.
fn check_same_task(ledger: &Ledger, job: &Job<'_>, record: &Record) -> Result<(), PipelineError> {
    let differs = |what| PipelineError::OtherTask {
        uid: job.task_uid.clone(),
        what,
    };
    let prompt = record
        .prompt()
        .map(|commitment| ledger.payload(&commitment))
        .transpose()?;
    if let Some(Some(prompt)) = prompt
        && prompt.bytes != job.spec.prompt.as_bytes()
    {
        return Err(differs("prompt"));
    }
    let runtime = match &record.body {
        Body::Intent { runtime, .. } => Some(runtime),
        _ => record.outcome().map(|outcome| &outcome.decided.runtime),
    };
    if let Some(runtime) = runtime
        && runtime.kind != job.spec.runtime.kind()
    {
        return Err(differs("runtime"));
    }
    Ok(())
}

fn payloads_of(ledger: &Ledger, record: &Record) -> Result<Vec<Payload>, LedgerError> {
    let mut payloads = Vec::new();
    for commitment in record.commitments() {
        payloads.extend(ledger.payload(&commitment)?);
    }
    Ok(payloads)
}

struct Drive<'a, 'p> {
    ledger: &'a mut Ledger,
    job: &'a Job<'p>,
    task: &'a Task,
    machine: Supervisor<'a>,
    branches: Branches<'a>,
    started_unix_ms: Option<u64>,
    /// The last append, for the receipt.
    appended: Option<(u64, Receipt)>,
}

impl<'a, 'p> Drive<'a, 'p> {
    fn new(
        ledger: &'a mut Ledger,
        job: &'a Job<'p>,
        task: &'a Task,
        machine: Supervisor<'a>,
    ) -> Self {
        let constitution = job.prepared.constitution();
        Self {
            branches: Branches::new(&task.spec.runtime, constitution, job.options),
            ledger,
            job,
            task,
            machine,
            started_unix_ms: None,
            appended: None,
        }
    }

    async fn run(mut self, first: Vec<Command>) -> Result<Finished, PipelineError> {
        let policy = &self.job.prepared.constitution().supervisor;
        let timeout = Duration::from_secs(policy.task_timeout_seconds.into());
        let deadline = Instant::now() + timeout;
        let mut commands = VecDeque::from(first);
        let mut is_stopped = false;
        loop {
            while let Some(command) = commands.pop_front() {
                match self.execute(command).await? {
                    Step::Continue(more) => commands.extend(more),
                    Step::Done(done) => return self.finish(*done),
                }
            }
            let event = tokio::select! {
                biased;
                () = self.job.cancel.cancelled(), if !is_stopped => {
                    is_stopped = true;
                    Event::Cancel
                }
                () = tokio::time::sleep_until(deadline), if !is_stopped => {
                    is_stopped = true;
                    Event::Deadline
                }
                Some((index, result)) = self.branches.next() => {
                    Event::BranchFinished { index, result }
                }
            };
            commands.extend(self.machine.handle(event)?);
        }
    }

    async fn execute(&mut self, command: Command) -> Result<Step, PipelineError> {
        let event = match command {
            Command::Append(entry) => self.append(&entry)?,
            Command::StartBranch {
                index,
                seed,
                prompt,
            } => {
                self.started_unix_ms.get_or_insert_with(now_unix_ms);
                match self.branches.start(index, seed, prompt) {
                    Ok(()) => return Ok(Step::Continue(Vec::new())),
                    Err(_) => Event::ContainmentLost,
                }
            }
            Command::StopBranches => {
                self.branches.stop().await;
                return Ok(Step::Continue(Vec::new()));
            }
            Command::Observe => {
                self.branches.stop().await;
                Event::Observed(self.observed())
            }
            Command::Done(done) => return Ok(Step::Done(Box::new(done))),
        };
        Ok(Step::Continue(self.machine.handle(event)?))
    }

    /// The append blocks for one disk sync. Nothing else of this task could go on meanwhile.
    fn append(&mut self, entry: &Entry) -> Result<Event, PipelineError> {
        let ledger = &mut *self.ledger;
        let appended =
            tokio::task::block_in_place(|| ledger.append(&entry.record, &entry.payloads))?;
        let answer = match (appended.existing, appended.record.answer()) {
            (true, Some(commitment)) => self.ledger.payload(&commitment)?,
            _ => None,
        };
        self.appended = Some((appended.index, appended.receipt));
        let record = appended.record;
        Ok(Event::Acknowledged(Acknowledged {
            record,
            existing: appended.existing,
            answer,
        }))
    }

    fn observed(&self) -> ObservedParts {
        let ended_unix_ms = now_unix_ms();
        ObservedParts {
            build: self.job.build.clone(),
            started_unix_ms: self.started_unix_ms.unwrap_or(ended_unix_ms),
            ended_unix_ms,
            containment: self.branches.containment(),
            usage: self.started_unix_ms.map(|_| self.branches.usage()),
            egress: self.branches.egress(),
            detail: self.branches.detail(),
        }
    }

    fn finish(self, done: Done) -> Result<Finished, PipelineError> {
        let mut payloads = payloads_of(self.ledger, &done.record)?;
        // A prompt that is not kept can still be opened by the user who has it.
        if !done.existing
            && let Ok(prompt) = self.prompt()
        {
            payloads.push(prompt);
        }
        let opening = Opening::of(&done.record, &payloads)?;
        let (index, receipt) = self
            .appended
            .ok_or(LedgerError::NoRecord { index: 0, size: 0 })?;
        Ok(Finished {
            done,
            index,
            receipt,
            opening,
        })
    }

    fn prompt(&self) -> Result<Payload, axiom_hive_core::record::MissingSalt> {
        let bytes = self.task.spec.prompt.clone().into_bytes();
        Payload::new(Label::PROMPT, &self.task.salts, bytes)
    }
}

enum Step {
    Continue(Vec<Command>),
    Done(Box<Done>),
}
