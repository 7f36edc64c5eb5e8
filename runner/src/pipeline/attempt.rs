//! One attempt in a pod: task, constitution and intent come from a ledger service.

use std::time::Duration;

use axiom_hive_core::constitution::Constitution;
use axiom_hive_core::digest::Digest;
use axiom_hive_core::interceptor::HashKey;
use axiom_hive_core::record::{
    Body, BuildRef, Commitment, ConstitutionRef, Payload, Record, TaskRef,
};
use axiom_hive_core::supervisor::{Done, IntentBy, Prepared, Supervisor, Task};
use axiom_hive_core::task::RuntimeSpec;
use tokio::time::{Instant, sleep};

use super::branches::Branches;
use super::drive::{Drive, Ended};
use super::store::Store;
use super::{PipelineError, random_32};
use crate::containment::isolation::{CANARY_PATIENCE, NotIsolated, Targets, prove};
use crate::runtime::pod::Expected;
use crate::runtime::{CancelToken, RuntimeOptions};
use axiom_hive_client::ledger::{LedgerClient, Proven};

/// How often the ledger is asked for an intent that the operator has yet to append.
const INTENT_INTERVAL: Duration = Duration::from_millis(250);
/// From the task's deadline to the pod's end: time to record.
const RECORDING_TIME: Duration = Duration::from_secs(10);
/// Of that, time to say that it could not be recorded, before the pod is ended.
const LAST_WORDS_TIME: Duration = Duration::from_secs(1);

/// What a pod was made for, and what it has.
pub struct Attempt<'a> {
    /// Which attempt of which task.
    pub task: TaskRef,
    /// The task's spec, as the intent must name it.
    pub spec: Digest,
    /// The constitution, as the intent must name it.
    pub constitution: Digest,
    /// The prompt, where the task says that it is read from elsewhere.
    pub prompt: Option<String>,
    /// The ledger's two ports, for the proof that the network is closed.
    pub targets: Targets,
    /// Containment, keys.
    pub options: &'a RuntimeOptions,
    /// The hosts, in lower case, that the API key may be sent to.
    pub allowed_hosts: Vec<String>,
    /// Who runs the task's process, in the neighbouring container.
    pub neighbour: Option<Expected>,
    /// The build that decides.
    pub build: BuildRef,
    /// The process must end: nothing more is recorded.
    pub stop: CancelToken,
    /// When the pod ends; the task's deadline is 10 s before.
    pub end: Instant,
}

/// Runs one attempt to its recorded end. A failed runtime ends the attempt and not the task: the
/// operator owns the retries.
pub async fn run_attempt(
    client: &LedgerClient,
    attempt: &Attempt<'_>,
) -> Result<Ended, PipelineError> {
    let begun = tokio::select! {
        biased;
        () = attempt.stop.cancelled() => return Err(PipelineError::Stopped),
        begun = begin(client, attempt) => begun?,
    };
    let (intent, prepared, task, isolation) = match begun {
        Begun::Ended(ended) => return Ok(*ended),
        Begun::Ready(ready) => (ready.intent, ready.prepared, ready.task, ready.isolation),
    };
    let intent = IntentBy::Operator(Box::new(intent));
    let (machine, first) = Supervisor::new(&prepared, &task, intent, false)?;
    let mut branches = Branches::new(&task.spec.runtime, prepared.constitution(), attempt.options);
    branches.in_pod(attempt.neighbour.clone());
    if let Err(error) = isolation {
        branches.refuse(&error.to_string());
    }
    if let Some(host) = stray_key(&task.spec.runtime, attempt) {
        let must = "must be in the list of hosts that the API key may be sent to";
        branches.give_up(format!("{host} {must}"));
    }
    let drive = Drive {
        store: Store::Service {
            client,
            deadline: before(attempt.end, LAST_WORDS_TIME),
        },
        branches,
        machine,
        build: &attempt.build,
        // Nobody cancels here: a deleted pod is told to stop.
        cancel: &CancelToken::new(),
        stop: &attempt.stop,
        deadline: task_deadline(attempt),
        started_unix_ms: None,
        appended: None,
    };
    drive.run(first).await
}

/// The host that would get the API key without being listed by whoever keeps the key.
fn stray_key(runtime: &RuntimeSpec, attempt: &Attempt<'_>) -> Option<String> {
    let (RuntimeSpec::OpenAi { base_url, .. }, Some(_)) = (runtime, &attempt.options.api_key)
    else {
        return None;
    };
    let url = reqwest::Url::parse(base_url).ok();
    let host = url.and_then(|url| url.host_str().map(str::to_ascii_lowercase));
    let host = host.unwrap_or_default();
    (!attempt.allowed_hosts.contains(&host)).then_some(host)
}

fn task_deadline(attempt: &Attempt<'_>) -> Instant {
    before(attempt.end, RECORDING_TIME)
}

fn before(end: Instant, time: Duration) -> Instant {
    end.checked_sub(time).unwrap_or_else(Instant::now)
}

enum Begun {
    /// The task ended before, whoever ended it.
    Ended(Box<Ended>),
    Ready(Box<Ready>),
}

struct Ready {
    intent: Record,
    prepared: Prepared,
    task: Task,
    isolation: Result<(), NotIsolated>,
}

/// Everything before the machine: what to do comes from the ledger and is held against the pod's
/// arguments; then the network is proven to be closed.
async fn begin(client: &LedgerClient, attempt: &Attempt<'_>) -> Result<Begun, PipelineError> {
    let records = records(client, attempt).await?;
    let intent = match records {
        Found::End(proven) => return Ok(Begun::Ended(Box::new(stored(*proven)))),
        Found::Intent(intent) => *intent,
    };
    let Body::Intent {
        spec, constitution, ..
    } = &intent.body
    else {
        return Err(PipelineError::NoIntent(attempt.task.attempt));
    };
    hold("the task's spec", attempt.spec, *spec)?;
    hold(
        "the constitution",
        attempt.constitution,
        constitution.digest,
    )?;
    // Whatever is not there by the deadline cannot be begun.
    let deadline = task_deadline(attempt);
    let prepared = prepared(client, constitution, deadline).await?;
    let mut payloads = Vec::new();
    for commitment in intent.commitments() {
        payloads.extend(client.payload(&commitment, deadline).await?);
    }
    let (seed, hash_key) = (random_32()?, HashKey(random_32()?));
    let task = Task::intended(&intent, &payloads, attempt.prompt.clone(), seed, hash_key)?;
    let isolation = prove(attempt.targets, deadline, CANARY_PATIENCE).await;
    if isolation == Err(NotIsolated::LedgerSilent) {
        return Err(NotIsolated::LedgerSilent.into());
    }
    Ok(Begun::Ready(Box::new(Ready {
        intent,
        prepared,
        task,
        isolation,
    })))
}

enum Found {
    Intent(Box<Record>),
    End(Box<Proven>),
}

/// The operator appends the intent once it knows the pod, so the pod may be first.
async fn records(client: &LedgerClient, attempt: &Attempt<'_>) -> Result<Found, PipelineError> {
    let deadline = task_deadline(attempt);
    loop {
        let mut intent = None;
        for proven in client.task(&attempt.task.uid, deadline).await? {
            let record = &proven.verified.record;
            if record.is_terminal() {
                return Ok(Found::End(Box::new(proven)));
            }
            if matches!(record.body, Body::Intent { .. }) && record.task() == Some(&attempt.task) {
                intent = Some(proven.verified.record);
            }
        }
        if let Some(intent) = intent {
            return Ok(Found::Intent(Box::new(intent)));
        }
        if Instant::now() + INTENT_INTERVAL >= deadline {
            return Err(PipelineError::NoIntent(attempt.task.attempt));
        }
        sleep(INTENT_INTERVAL).await;
    }
}

/// The text stays in the ledger: whoever is told of this end reads it there.
fn stored(proven: Proven) -> Ended {
    Ended {
        done: Done {
            record: proven.verified.record,
            existing: true,
            released: None,
        },
        index: proven.verified.index,
        receipt: proven.receipt,
    }
}

/// The constitution that was recorded under this name and version; its digest is the one it claims.
async fn prepared(
    client: &LedgerClient,
    reference: &ConstitutionRef,
    deadline: Instant,
) -> Result<Prepared, PipelineError> {
    let missing = |what: &str| PipelineError::Constitution(what.to_owned());
    let (name, version) = (&reference.name, &reference.version);
    let record = client.constitution(name, version, deadline).await?;
    let record = record.ok_or_else(|| missing("it is not in the ledger"))?;
    let Body::Constitution { constitution, text } = &record.verified.record.body else {
        return Err(missing("its record is of another kind"));
    };
    hold("the constitution", reference.digest, constitution.digest)?;
    let text: Commitment = *text;
    let text: Option<Payload> = client.payload(&text, deadline).await?;
    let text = text.ok_or_else(|| missing("its text is not kept"))?;
    hold(
        "the constitution",
        reference.digest,
        Digest::of(&text.bytes),
    )?;
    let constitution = Constitution::from_canonical(&text.bytes);
    let constitution = constitution.map_err(|error| missing(&error.to_string()))?;
    Prepared::new(constitution).map_err(|error| missing(&error.to_string()))
}

fn hold(what: &'static str, expected: Digest, found: Digest) -> Result<(), PipelineError> {
    if expected == found {
        return Ok(());
    }
    Err(PipelineError::NotOurs {
        what,
        expected,
        found,
    })
}
