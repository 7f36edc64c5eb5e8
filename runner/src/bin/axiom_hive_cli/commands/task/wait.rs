//! `task wait`.

use std::time::Duration;

use axiom_hive_api::SupervisedTask;
use axiom_hive_api::task::{Outcome, SupervisedTaskStatus};
use axiom_hive_core::record::Reason;
use axiom_hive_runner::exit::{Exit, Failure};
use futures_util::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use serde_json::{Value, json};

use super::cluster::{Cluster, succeeded};
use crate::output::Printer;

/// Follows a task to its end. Where it stands goes to stderr whenever that changes.
pub(super) async fn wait(
    cluster: &Cluster,
    name: &str,
    timeout_seconds: u64,
    printer: &Printer,
) -> Result<Exit, Failure> {
    // Whoever may not read it, or mistypes it, hears so at once.
    let task = cluster.task(name).await?;
    let following = follow(cluster, name, task, printer);
    let limit = Duration::from_secs(timeout_seconds);
    let followed = tokio::time::timeout(limit, following).await;
    let task = followed.map_err(|_| not_ended(name, timeout_seconds))??;
    let status = task.status.unwrap_or_default();
    let exit = exit_of(&status);
    for line in remarks(&status) {
        printer.note(&line);
    }
    let outcome = outcome_word(&status);
    let text = match status.reason.as_deref() {
        Some(reason) => format!("{outcome}: {reason}"),
        None => outcome.clone(),
    };
    printer.result(&text, &to_json(name, &outcome, &status, exit))?;
    Ok(exit)
}

async fn follow(
    cluster: &Cluster,
    name: &str,
    mut task: SupervisedTask,
    printer: &Printer,
) -> Result<SupervisedTask, Failure> {
    let mut said = None;
    let mut changes = std::pin::pin!(watch_object(cluster.tasks(), name).default_backoff());
    loop {
        let now = succeeded(&task).map(|it| format!("{}: {}", it.reason, it.message));
        if now.is_some() && now != said {
            printer.note(now.as_deref().unwrap_or_default());
            said = now;
        }
        if ended(&task) {
            return Ok(task);
        }
        match changes.next().await {
            Some(Ok(Some(seen))) if seen.metadata.uid == task.metadata.uid => task = seen,
            Some(Ok(_)) => {
                let message = format!("task {name} was deleted before it ended");
                return Err(Failure::new(Exit::Cancelled, message));
            }
            // The watch begins anew by itself; the caller's timeout bounds it.
            Some(Err(error)) => tracing::warn!(%error, "the watch was cut off"),
            None => return Err(Failure::new(Exit::Bug, "a watch must not end by itself")),
        }
    }
}

fn not_ended(name: &str, timeout_seconds: u64) -> Failure {
    let message = format!(
        "task {name} must end within {timeout_seconds} s; it goes on, and may be waited for again"
    );
    Failure::new(Exit::Runtime, message)
}

pub(super) fn ended(task: &SupervisedTask) -> bool {
    task.status.as_ref().is_some_and(|it| it.outcome.is_some())
}

/// How a task that ended does so for its caller: the exit code of a local run with the same end.
pub(super) fn exit_of(status: &SupervisedTaskStatus) -> Exit {
    let reason = status.reason.clone().unwrap_or_default();
    if let Ok(reason) = serde_json::from_value::<Reason>(Value::String(reason)) {
        return Exit::of(reason);
    }
    // A word of a newer release.
    match status.outcome {
        Some(Outcome::Answered) => Exit::Ok,
        Some(Outcome::Withheld) => Exit::Withheld,
        Some(Outcome::Refused) => Exit::Input,
        Some(Outcome::Cancelled) => Exit::Cancelled,
        Some(Outcome::Failed) | None => Exit::Runtime,
    }
}

/// As a local run writes it.
pub(super) fn outcome_word(status: &SupervisedTaskStatus) -> String {
    let outcome = status.outcome.map(|it| format!("{it:?}").to_lowercase());
    outcome.unwrap_or_else(|| "not ended".to_owned())
}

fn remarks(status: &SupervisedTaskStatus) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(vote) = &status.agreement {
        lines.push(format!(
            "agreement: {} of {} branches, {} asked, {} needed",
            vote.leader, vote.asked, vote.committed, vote.ratio
        ));
    }
    if let Some(removed) = &status.removed {
        lines.push(format!(
            "removed: {} spans, {} words, {} bytes",
            removed.spans, removed.words, removed.bytes
        ));
    }
    if let Some(ledger) = &status.ledger {
        lines.push(format!(
            "record: index {} of {}",
            ledger.index, ledger.origin
        ));
    }
    lines
}

fn to_json(name: &str, outcome: &str, status: &SupervisedTaskStatus, exit: Exit) -> Value {
    json!({
        "name": name,
        "outcome": outcome,
        "reason": status.reason,
        "exitCode": exit.code(),
        "constitution": status.constitution,
        "agreement": status.agreement,
        "removed": status.removed,
        "ledger": status.ledger,
    })
}
