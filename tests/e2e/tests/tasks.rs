//! Tasks on a real cluster, from `helm install` to a receipt that verifies without it.
#![allow(clippy::unwrap_used)]

use std::process::Output;

use axiom_hive_core::record::Body;
use axiom_hive_e2e::Release;
use axiom_hive_operator::api::task::Outcome;
use axiom_hive_testcluster::eventually;
use serde_json::{Value, json};

fn open(release: &Release) -> Value {
    json!({
        "meta": {"name": "e2e-open", "version": "1.0.0", "catalogue": 1},
        "namespaces": {},
        "supervisor": {"maxBranches": 4, "minConsensusRatio": "0.75"},
        "cluster": {"images": [release.image("python-runtime").name], "requireImageDigest": true},
    })
}

fn echo(prompt: &str) -> Value {
    json!({"constitutionRef": {"name": "e2e-open"}, "prompt": prompt, "runtime": {"echo": {}}})
}

fn python(release: &Release, program: &str, prompt: &str) -> Value {
    let image = release.image("python-runtime");
    json!({
        "constitutionRef": {"name": "e2e-open"},
        "prompt": prompt,
        "runtime": {"process": {
            "image": image.reference(),
            "command": ["python3", "-c", program],
            "protocol": "text",
        }},
    })
}

#[tokio::test]
async fn an_answer_comes_with_a_receipt_that_verifies_without_the_cluster() {
    let Some(release) = Release::shared().await else {
        return;
    };
    release.constitution(open(release)).await;
    let namespace = release.namespace("answered").await;
    let tasks = release.tasks(&namespace).await;
    let task = tasks
        .run("echo", echo("Write to anna.berg@example.org."))
        .await;
    let status = task.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Answered), "{status:?}");
    let answer = status.answer.unwrap();
    assert!(!answer.contains("anna.berg"), "{answer}");
    assert_eq!(status.removed.unwrap().spans, 1);
    assert_eq!(status.agreement.unwrap().summary, "3/4");
    // `records` verifies each receipt with the public key alone.
    let records = release.records(&task.metadata.uid.unwrap()).await;
    assert_eq!(records.len(), 2);
    assert!(matches!(records[0].record.body, Body::Intent { .. }));
    assert!(matches!(records[1].record.body, Body::Answered(_)));
    assert_eq!(
        i64::try_from(records[1].index).unwrap(),
        status.ledger.unwrap().index
    );
}

/// What the command line printed; it must have succeeded.
fn said(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_user_has_answer_and_receipt_by_the_command_line() {
    let Some(release) = Release::shared().await else {
        return;
    };
    release.constitution(open(release)).await;
    let namespace = release.namespace("user").await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (runtime, receipt) = (file("runtime.yaml"), file("echo.tlog-proof"));
    std::fs::write(&runtime, "echo: {}\n").unwrap();
    let task = |arguments: &[&str]| {
        let all = [&["task"], arguments].concat();
        said(&release.cli(namespace.name(), &all))
    };
    let flags = [
        "--constitution",
        "e2e-open",
        "--prompt",
        "ping",
        "--runtime",
        &runtime,
    ];
    let name = task(&[&["submit"], &flags[..]].concat());
    let name = name.trim();
    assert_eq!(
        task(&["wait", name, "--timeout-seconds", "120"]),
        "answered: agreed\n"
    );
    assert_eq!(task(&["answer", name]), "ping\n");
    let vkey = release.vkey().await.to_string();
    task(&["receipt", name, "--out", &receipt, "--key", &vkey]);
    // Without the cluster.
    let verify = ["verify", "--receipt", &receipt, "--key", &vkey];
    let said = said(&release.cli("", &verify));
    assert!(said.contains(": answered"), "{said}");
}

#[tokio::test]
async fn a_process_in_an_image_of_the_users_answers() {
    let Some(release) = Release::shared().await else {
        return;
    };
    release.constitution(open(release)).await;
    let namespace = release.namespace("process").await;
    let tasks = release.tasks(&namespace).await;
    let task = python(
        release,
        "import sys; print(sys.stdin.read().upper())",
        "hello",
    );
    let status = tasks.run("upper", task).await.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Answered), "{status:?}");
    assert_eq!(status.answer.unwrap().trim(), "HELLO");
}

#[tokio::test]
async fn without_agreement_nothing_is_shown() {
    let Some(release) = Release::shared().await else {
        return;
    };
    release.constitution(open(release)).await;
    let namespace = release.namespace("withheld").await;
    let tasks = release.tasks(&namespace).await;
    let task = python(
        release,
        "import os; print(os.urandom(8).hex())",
        "say something",
    );
    let status = tasks.run("random", task).await.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Withheld), "{status:?}");
    assert_eq!(
        (status.answer, status.reason.as_deref()),
        (None, Some("noAgreement"))
    );
}

#[tokio::test]
async fn a_process_that_fails_is_what_the_status_says() {
    let Some(release) = Release::shared().await else {
        return;
    };
    release.constitution(open(release)).await;
    let namespace = release.namespace("failed").await;
    let tasks = release.tasks(&namespace).await;
    let mut task = python(release, "import sys; sys.exit('no such model')", "hello");
    task["retryLimit"] = json!(0);
    let task = tasks.run("exits", task).await;
    release.one_end(&task).await;
    let status = task.status.unwrap();
    assert_eq!(
        (status.outcome, status.reason.as_deref()),
        (Some(Outcome::Failed), Some("runtimeFailed"))
    );
    let succeeded = status.conditions.iter().find(|it| it.type_ == "Succeeded");
    let message = &succeeded.unwrap().message;
    let why = "in 4 of 4 the process ended with a status other than 0";
    assert!(message.contains(why), "{message}");
    // What it wrote is nobody's but the auditor's.
    assert!(!message.contains("no such model"), "{message}");
}

#[tokio::test]
async fn an_invalid_task_is_refused_with_everything_that_is_wrong() {
    let Some(release) = Release::shared().await else {
        return;
    };
    release.constitution(open(release)).await;
    let namespace = release.namespace("refused").await;
    let tasks = release.tasks(&namespace).await;
    let mut task = echo("hello");
    task["branches"] = json!(9);
    task["priorityClassName"] = json!("system-node-critical");
    let said = tasks.apply("wrong", task).await.unwrap_err().to_string();
    assert!(
        said.contains("spec.branches: must be from 1 to 4, not 9"),
        "{said}"
    );
    assert!(
        said.contains("spec.priorityClassName: must be listed"),
        "{said}"
    );
}

#[tokio::test]
async fn a_task_may_come_before_its_constitution() {
    let Some(release) = Release::shared().await else {
        return;
    };
    let namespace = release.namespace("early").await;
    let tasks = release.tasks(&namespace).await;
    let mut task = echo("hello");
    task["constitutionRef"]["name"] = json!("e2e-late");
    tasks.apply("early", task).await.unwrap();
    let mut late = open(release);
    late["meta"]["name"] = json!("e2e-late");
    release.constitution(late).await;
    let status = tasks.end("early").await.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Answered), "{status:?}");
}

#[tokio::test]
async fn a_runtime_reaches_nothing() {
    let Some(release) = Release::shared().await else {
        return;
    };
    release.constitution(open(release)).await;
    let namespace = release.namespace("walls").await;
    let tasks = release.tasks(&namespace).await;
    // Twenty attempts from its first instruction on, at the API server, which no policy of a node's own can hide.
    let [api_server, _] = release.services_of_the_cluster().await;
    let program = format!(
        r"
import socket
reached = 0
for _ in range(20):
    try:
        socket.create_connection(('{api_server}', 443), 0.05).close()
        reached += 1
    except OSError:
        pass
print(reached)"
    );
    let status = tasks
        .run("walls", python(release, &program, "knock"))
        .await
        .status
        .unwrap();
    assert_eq!(status.outcome, Some(Outcome::Answered), "{status:?}");
    assert_eq!(status.answer.unwrap().trim(), "0");
}

#[tokio::test]
async fn an_operator_that_dies_halfway_changes_nothing() {
    let Some(release) = Release::shared().await else {
        return;
    };
    release.constitution(open(release)).await;
    let namespace = release.namespace("restart").await;
    let tasks = release.tasks(&namespace).await;
    let program = "import sys, time; time.sleep(8); print(sys.stdin.read())";
    tasks
        .apply("slow", python(release, program, "still here"))
        .await
        .unwrap();
    eventually("a pod", 60, async || {
        let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
            kube::Api::namespaced(release.client().await, namespace.name());
        let all = pods.list(&kube::api::ListParams::default()).await.ok()?;
        (!all.items.is_empty()).then_some(())
    })
    .await
    .unwrap();
    release.restart_operator().await;
    let task = tasks.end("slow").await;
    let status = task.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Answered), "{status:?}");
    let records = release.records(&task.metadata.uid.unwrap()).await;
    let terminal = records
        .iter()
        .filter(|record| record.record.is_terminal())
        .count();
    assert_eq!(terminal, 1);
}

#[tokio::test]
async fn a_task_that_is_deleted_ends_as_cancelled_in_the_ledger() {
    let Some(release) = Release::shared().await else {
        return;
    };
    release.constitution(open(release)).await;
    let namespace = release.namespace("deleted").await;
    let tasks = release.tasks(&namespace).await;
    let program = "import time; time.sleep(100)";
    let task = tasks.apply("gone", python(release, program, "wait")).await;
    let uid = task.unwrap().metadata.uid.unwrap();
    eventually("an intent", 60, async || {
        (!release.records(&uid).await.is_empty()).then_some(())
    })
    .await
    .unwrap();
    tasks
        .api
        .delete("gone", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    let end = eventually("the end in the ledger", 30, async || {
        let records = release.records(&uid).await;
        records.into_iter().find(|it| it.record.is_terminal())
    });
    let end = end.await.unwrap();
    assert!(matches!(end.record.body, Body::Cancelled(_)), "{end:?}");
}

#[tokio::test]
async fn a_suspended_task_starts_anew_and_pays_nothing() {
    let Some(release) = Release::shared().await else {
        return;
    };
    release.constitution(open(release)).await;
    let namespace = release.namespace("suspended").await;
    let tasks = release.tasks(&namespace).await;
    // Long the first time; whoever runs it again answers at once.
    let program = "import sys, time; time.sleep(5); print(sys.stdin.read())";
    let mut spec = python(release, program, "later");
    spec["retryLimit"] = json!(0);
    let uid = tasks
        .apply("paused", spec)
        .await
        .unwrap()
        .metadata
        .uid
        .unwrap();
    eventually("an intent", 60, async || {
        (!release.records(&uid).await.is_empty()).then_some(())
    })
    .await
    .unwrap();
    tasks.suspend("paused", true).await;
    eventually("a task that says it is suspended", 60, async || {
        let status = tasks.api.get("paused").await.ok()?.status?;
        let found = status
            .conditions
            .iter()
            .find(|it| it.type_ == "Succeeded")?;
        (found.reason == "Suspended").then_some(())
    })
    .await
    .unwrap();
    tasks.suspend("paused", false).await;
    let status = tasks.end("paused").await.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Answered), "{status:?}");
    assert_eq!((status.attempt, status.retries), (Some(1), Some(0)));
}
