//! One task on this machine: command line and embedded ledger.

use std::time::Duration;

use axiom_hive_core::interceptor::HashKey;
use axiom_hive_core::record::{
    Body, BuildRef, Label, ObservedIntent, Opening, Payload, Receipt, Record, Salts, Slot, TaskRef,
};
use axiom_hive_core::supervisor::{Done, IntentBy, Prepared, Supervisor, Task};
use axiom_hive_core::task::TaskSpec;
use tokio::time::Instant;

use super::branches::Branches;
use super::drive::{Drive, Ended};
use super::store::Store;
use super::{PipelineError, close_dead_runs, now_unix_ms, random_32};
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
    })? {
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
    let constitution = job.prepared.constitution();
    let timeout = Duration::from_secs(constitution.supervisor.task_timeout_seconds.into());
    let drive = Drive {
        store: Store::Embedded(ledger),
        branches: Branches::new(&task.spec.runtime, constitution, job.options),
        machine,
        build: &job.build,
        cancel: &job.cancel,
        // Whoever ends this process ends it by a signal, which is a cancel.
        stop: &CancelToken::new(),
        deadline: Instant::now() + timeout,
        started_unix_ms: None,
        appended: None,
    };
    let ended = drive.run(first).await?;
    finished(ledger, &task, ended)
}

fn finished(ledger: &Ledger, task: &Task, ended: Ended) -> Result<Finished, PipelineError> {
    let Ended {
        done,
        index,
        receipt,
    } = ended;
    let mut payloads = payloads_of(ledger, &done.record)?;
    // A prompt that is not kept can still be opened by the user who has it.
    let prompt = task.spec.prompt.clone().into_bytes();
    if !done.existing
        && let Ok(prompt) = Payload::new(Label::PROMPT, &task.salts, prompt)
    {
        payloads.push(prompt);
    }
    Ok(Finished {
        opening: Opening::of(&done.record, &payloads)?,
        done,
        index,
        receipt,
    })
}

/// The number of the attempt to make; refuses a UID whose earlier attempts had another task.
fn next_attempt(ledger: &Ledger, job: &Job<'_>) -> Result<u32, PipelineError> {
    for attempt in 0..=axiom_hive_core::record::MAX_ATTEMPT {
        let slot = Slot::Intent(TaskRef {
            uid: job.task_uid.clone(),
            attempt,
        });
        let Some(index) = ledger.find(&slot)? else {
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
