//! What `helm test` runs: a task that must be refused, and one that must be answered.
//!
//! Its rights are those of its service account, so it shows what a user of that namespace gets.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use axiom_hive_operator::api::SupervisedTask;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::{sleep, timeout};

/// How long the webhook may take to know the constitution.
const REFUSAL_TIMEOUT: Duration = Duration::from_mins(1);
/// How long the good task may take.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(3);
/// Between two questions.
const PAUSE: Duration = Duration::from_secs(1);

/// What does not work.
#[derive(Debug, thiserror::Error)]
enum SmokeError {
    #[error("usage: hive_smoke NAMESPACE CONSTITUTION")]
    Usage,
    #[error("the API server must answer: {0}")]
    Kube(#[from] Box<kube::Error>),
    #[error("a task must be readable: {0}")]
    Task(#[from] serde_json::Error),
    #[error("a task with 64 branches must be refused by the webhook within 60 s: {0}")]
    NotRefused(&'static str),
    #[error("a task must end within 180 s; see its conditions: kubectl describe stask -n {0}")]
    NotEnded(String),
    #[error("a task must be answered, but: {0}")]
    NotAnswered(String),
    #[error("cannot write: {0}")]
    Write(#[from] std::io::Error),
}

impl From<kube::Error> for SmokeError {
    fn from(error: kube::Error) -> Self {
        Self::Kube(Box::new(error))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to say when even this write fails.
            let _ = writeln!(std::io::stderr(), "hive_smoke: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), SmokeError> {
    let mut arguments = std::env::args().skip(1);
    let (Some(namespace), Some(constitution)) = (arguments.next(), arguments.next()) else {
        return Err(SmokeError::Usage);
    };
    let client = Client::try_default().await?;
    let tasks: Api<SupervisedTask> = Api::namespaced(client, &namespace);
    let refused = timeout(REFUSAL_TIMEOUT, refusal(&tasks, &constitution)).await;
    let refused = refused.unwrap_or(Err(SmokeError::NotRefused("it was accepted")))?;
    say(&format!("refused, as it must be: {refused}"))?;
    let created = tasks
        .create(&PostParams::default(), &task(&constitution, 1)?)
        .await?;
    let name = created.metadata.name.unwrap_or_default();
    let ended = timeout(ANSWER_TIMEOUT, end(&tasks, &name)).await;
    tasks.delete(&name, &DeleteParams::default()).await?;
    let ended = ended.unwrap_or(Err(SmokeError::NotEnded(namespace)))?;
    say(&format!("answered: {ended}"))
}

fn say(text: &str) -> Result<(), SmokeError> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

fn task(constitution: &str, branches: u32) -> Result<SupervisedTask, SmokeError> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "axiomhive.io/v1alpha1",
        "kind": "SupervisedTask",
        "metadata": {"generateName": "smoke-"},
        "spec": {
            "constitutionRef": {"name": constitution},
            "prompt": "Is anybody there?",
            "runtime": {"echo": {}},
            "branches": branches,
        },
    }))?)
}

/// The webhook's words. Until the constitution is in force, every task is accepted and waits; nothing is
/// kept of these.
async fn refusal(tasks: &Api<SupervisedTask>, constitution: &str) -> Result<String, SmokeError> {
    let bad = task(constitution, 64)?;
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    loop {
        match tasks.create(&parameters, &bad).await {
            Ok(_) => sleep(PAUSE).await,
            Err(kube::Error::Api(status)) if status.message.contains("spec.branches: ") => {
                return Ok(status.message);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// How the task ended, with its place in the ledger.
async fn end(tasks: &Api<SupervisedTask>, name: &str) -> Result<String, SmokeError> {
    loop {
        let status = tasks.get(name).await?.status.unwrap_or_default();
        let succeeded = status.conditions.iter().find(|it| it.type_ == "Succeeded");
        match succeeded.map(|it| (it.status.as_str(), it)) {
            Some(("True", _)) => {
                let index = status.ledger.map_or(-1, |it| it.index);
                return Ok(format!("{name}, record {index} of the ledger"));
            }
            Some(("False", why)) => {
                let text = format!("{}: {}", why.reason, why.message);
                return Err(SmokeError::NotAnswered(text));
            }
            _ => sleep(PAUSE).await,
        }
    }
}
