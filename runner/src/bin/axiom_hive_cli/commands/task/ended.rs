//! `task receipt`, `task answer` and `task cancel`.

use std::path::Path;

use axiom_hive_api::SupervisedTask;
use axiom_hive_api::names::ANSWER_KEY;
use axiom_hive_api::task::{Outcome, SupervisedTaskStatus};
use axiom_hive_core::digest::to_hex;
use axiom_hive_core::record::{Receipt, VerifiedReceipt};
use axiom_hive_core::tlog::VerifyingKey;
use axiom_hive_runner::exit::{Exit, Failure};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use serde_json::json;

use super::cluster::{Cluster, bounded, refusal, succeeded};
use super::wait::{ended, exit_of, outcome_word};
use crate::output::Printer;

/// How often a task that changes is looked at again before it is deleted.
const CANCEL_TRIES: usize = 5;

/// Writes the receipt where it verifies, and is that of this task's end.
pub(super) async fn receipt(
    cluster: &Cluster,
    name: &str,
    out: &Path,
    key: Option<&str>,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let task = cluster.task(name).await?;
    let status = end_of(name, &task)?;
    let Some(text) = &status.receipt else {
        let index = status.ledger.as_ref().map_or(0, |ledger| ledger.index);
        let message = format!(
            "the task's status must hold a receipt (at most 32 KiB); the ledger service has it under /v1/records/{index}"
        );
        return Err(Failure::new(Exit::Ledger, message));
    };
    let key = match key {
        Some(key) => super::super::verify::read_key(key)?,
        None => key_of(&status, printer)?,
    };
    let verified = check(text, &key, &task, &status)?;
    std::fs::write(out, text).map_err(|error| {
        let message = format!("cannot write {}: {error}", out.display());
        Failure::new(Exit::Input, message)
    })?;
    let checked = ["record", "inclusion", "signature", "task"];
    super::super::verify::print_verified(&verified, &checked, printer)
}

fn key_of(status: &SupervisedTaskStatus, printer: &Printer) -> Result<VerifyingKey, Failure> {
    let vkey = status
        .ledger
        .as_ref()
        .and_then(|ledger| ledger.vkey.as_deref());
    let Some(vkey) = vkey else {
        let must = "--key must be given: the task's status names no key of the ledger";
        return Err(Failure::new(Exit::Verification, must));
    };
    printer.note("the ledger's key is the one in the task's status: as good as this cluster. --key takes one from elsewhere");
    vkey.parse().map_err(|error| {
        Failure::new(
            Exit::Verification,
            format!("the key of the status: {error}"),
        )
    })
}

fn check(
    text: &str,
    key: &VerifyingKey,
    task: &SupervisedTask,
    status: &SupervisedTaskStatus,
) -> Result<VerifiedReceipt, Failure> {
    let failed = Failure::with(Exit::Verification);
    let receipt = Receipt::parse(text).map_err(&failed)?;
    let verified = receipt.verify(key).map_err(failed)?;
    let is_end = verified.record.is_terminal()
        && verified.record.task().map(|it| it.uid.as_str()) == task.metadata.uid.as_deref();
    let is_named = status.ledger.as_ref().is_some_and(|ledger| {
        u64::try_from(ledger.index) == Ok(verified.index)
            && ledger.leaf_hash == to_hex(&receipt.leaf().0)
    });
    if is_end && is_named {
        Ok(verified)
    } else {
        let must =
            "the receipt must be that of this task's end, and of the record that its status names";
        Err(Failure::new(Exit::Verification, must))
    }
}

/// The status of a task that ended.
fn end_of(name: &str, task: &SupervisedTask) -> Result<SupervisedTaskStatus, Failure> {
    if !ended(task) {
        let stands = succeeded(task).map_or("Pending", |it| it.reason.as_str());
        let message = format!(
            "task {name} must have ended; it is {stands} (`axiom_hive_cli task wait {name}` waits for it)"
        );
        return Err(Failure::new(Exit::Input, message));
    }
    Ok(task.status.clone().unwrap_or_default())
}

/// Prints what was released; the exit code is how the task ended.
pub(super) async fn answer(
    cluster: &Cluster,
    name: &str,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let status = end_of(name, &cluster.task(name).await?)?;
    let exit = exit_of(&status);
    let outcome = outcome_word(&status);
    let text = match (&status.answer, &status.answer_secret_ref) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(secret)) => Some(kept(cluster, &secret.name).await?),
        (None, None) => None,
    };
    if printer.is_json() {
        let reason = &status.reason;
        let value = json!({"name": name, "outcome": outcome, "reason": reason, "answer": text, "exitCode": exit.code()});
        printer.result("", &value)?;
        return Ok(exit);
    }
    let is_answered = status.outcome == Some(Outcome::Answered);
    match &text {
        Some(text) => {
            printer.result(text, &serde_json::Value::Null)?;
            if !is_answered {
                printer.note("this is the constitution's fallback text, not an answer");
            }
        }
        None if is_answered => {
            let must = "the status of a task that was answered must hold the answer";
            return Err(Failure::new(Exit::Verification, must));
        }
        None => {}
    }
    if !is_answered {
        let reason = status.reason.unwrap_or_default();
        printer.note(&format!("there is no answer: {outcome}: {reason}"));
    }
    Ok(exit)
}

/// A long answer.
async fn kept(cluster: &Cluster, name: &str) -> Result<String, Failure> {
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let secret = bounded(api.get(name)).await?;
    let bytes = secret.data.and_then(|mut data| data.remove(ANSWER_KEY));
    let text = bytes.and_then(|bytes| String::from_utf8(bytes.0).ok());
    let must =
        || format!("Secret {name} must hold the answer, as text, under the key {ANSWER_KEY}");
    text.ok_or_else(|| Failure::new(Exit::Verification, must()))
}

/// Deletes a task that has not ended; one that ends in between is left alone.
pub(super) async fn cancel(
    cluster: &Cluster,
    name: &str,
    printer: &Printer,
) -> Result<Exit, Failure> {
    for _ in 0..CANCEL_TRIES {
        let task = cluster.task(name).await?;
        if ended(&task) {
            let outcome = outcome_word(&task.status.unwrap_or_default());
            let message = format!("task {name} must not have ended; it is {outcome}");
            return Err(Failure::new(Exit::Input, message));
        }
        let parameters = DeleteParams::background().preconditions(Preconditions {
            uid: task.metadata.uid.clone(),
            resource_version: task.metadata.resource_version.clone(),
        });
        let api = cluster.tasks();
        let deleted = bounded(async { Ok(api.delete(name, &parameters).await) }).await?;
        match deleted {
            Ok(_) => {
                printer.note("the ledger records it as cancelled");
                let uid = task.metadata.uid;
                let value = json!({"name": name, "namespace": cluster.namespace, "uid": uid, "cancelled": true});
                return printer.result(&format!("{name} is deleted"), &value);
            }
            // It changed; perhaps it ended.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(kube::Error::Api(status)) if status.code == 404 => return Err(cluster.absent(name)),
            Err(error) => return Err(refusal(&error)),
        }
    }
    let message = format!("task {name} changed {CANCEL_TRIES} times in between; try again");
    Err(Failure::new(Exit::Runtime, message))
}
