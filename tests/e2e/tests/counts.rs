//! What the operator costs: writes to the API server by client, writes without work, memory beside tasks that have ended.
//! One test, since whatever ran beside it would be counted.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axiom_hive_core::tlog::Checkpoint;
use axiom_hive_e2e::kubectl::Kubectl;
use axiom_hive_e2e::{RELEASE_NAMESPACE, Release, Tasks, budget};
use axiom_hive_operator::api::SupervisedTask;
use axiom_hive_operator::api::task::Outcome;
use axiom_hive_testcluster::audit::Write;
use axiom_hive_testcluster::{Namespace, client_from, eventually};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const OPERATOR: &str = "axiom-hive-operator";
/// Tasks at the same time: all of them have a place at once, or they would have to say that they wait.
const BATCH: usize = 4;
/// Objects made at the same time.
const AT_ONCE: usize = 16;
/// Upper bound of the operator's writes for one of many tasks.
const MAX_WRITES: f64 = 2.1;
/// Upper bound of the operator's memory.
const MAX_MIB: u64 = 100;

fn constitution() -> Value {
    json!({
        "meta": {"name": "counts", "version": "1.0.0", "catalogue": 1},
        "namespaces": {},
        "supervisor": {"maxBranches": 3, "minConsensusRatio": "0.66"},
    })
}

fn echo(prompt: &str) -> Value {
    json!({"constitutionRef": {"name": "counts"}, "prompt": prompt, "runtime": {"echo": {}}})
}

fn is_operator(write: &Write) -> bool {
    write.user == format!("system:serviceaccount:{RELEASE_NAMESPACE}:{OPERATOR}")
}

/// Prints a line for each client and kind of write.
fn table(writes: &[Write], tasks: usize) {
    let mut counts: BTreeMap<(&str, String), u32> = BTreeMap::new();
    for write in writes {
        // Such as `kubelet/v1.33.4 (linux/amd64) kubernetes/…`.
        let agent = write.agent.split(['/', ' ']).next().unwrap_or_default();
        let who = if is_operator(write) { OPERATOR } else { agent };
        *counts.entry((who, write.what())).or_default() += 1;
    }
    eprintln!("| client | write | of {tasks} tasks | a task |\n|---|---|---:|---:|");
    let all = f64::from(u32::try_from(tasks).unwrap());
    for ((who, what), count) in counts {
        eprintln!(
            "| {who} | {what} | {count} | {:.2} |",
            f64::from(count) / all
        );
    }
}

async fn normal_tasks_cost_two_writes(release: &Release, namespace: &Namespace<'_>) {
    let count = budget("cluster_tasks", 5);
    let tasks = release.tasks(namespace).await;
    let names: Vec<String> = (0..count).map(|number| format!("task-{number}")).collect();
    for batch in names.chunks(BATCH) {
        for name in batch {
            tasks.apply(name, echo("hello")).await.unwrap();
        }
        for name in batch {
            let status = tasks.end(name).await.status.unwrap();
            assert_eq!(status.outcome, Some(Outcome::Answered), "{status:?}");
        }
    }
    let mut writes = release.cluster().writes().unwrap();
    writes.retain(|write| write.namespace == namespace.name());
    table(&writes, count);
    let ours = writes.iter().filter(|write| is_operator(write)).count();
    // And the namespace's own two objects, once.
    assert!(ours <= 2 * count + 2, "{ours} writes for {count} tasks");
    let count = f64::from(u32::try_from(count).unwrap());
    let each = f64::from(u32::try_from(ours).unwrap()) / count;
    eprintln!("writes of the operator for a task: {each:.2}");
    assert!(each <= MAX_WRITES || count < 50.0, "{each}");
}

async fn without_work_nothing_is_written(release: &Release) {
    let head: Api<ConfigMap> = Api::namespaced(release.client().await, RELEASE_NAMESPACE);
    let size = async || {
        let note = head
            .get("axh-ledger-head")
            .await
            .ok()?
            .data?
            .remove("checkpoint")?;
        Some(Checkpoint::open(&note, &release.vkey().await).unwrap().size)
    };
    // All that was appended is anchored: it looks once a minute.
    let before = size().await;
    let mut looks = 0;
    eventually("an anchor that is at rest", 150, async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        looks += 1;
        (looks > 65 || size().await != before).then_some(())
    })
    .await
    .unwrap();
    let ours = || {
        let mut writes = release.cluster().writes().unwrap();
        writes.retain(is_operator);
        writes
    };
    let before = ours().len();
    let seconds = budget("idle_seconds", 3);
    tokio::time::sleep(Duration::from_secs(u64::try_from(seconds).unwrap())).await;
    let mut during = ours().split_off(before);
    let all = during.len();
    during.retain(|write| write.resource != "leases");
    eprintln!(
        "without work for {seconds} s: {} writes of the lease, {} others",
        all - during.len(),
        during.len()
    );
    assert_eq!(during, []);
}

/// A task that has ended, with a text of `bytes` wherever it may have one.
async fn finished(tasks: Arc<Tasks>, operators: Api<SupervisedTask>, name: String) {
    let mut spec = echo(&"p".repeat(4096));
    // So that nobody runs it meanwhile.
    spec["suspend"] = json!(true);
    tasks.apply(&name, spec).await.unwrap();
    let status = json!({"status": {
        "outcome": "Answered",
        "answer": "a".repeat(4096),
        "receipt": "r".repeat(25 * 1024),
        "completionTime": "2026-01-01T00:00:00Z",
    }});
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(status));
    let patched = operators.patch_status(&name, &parameters, &patch).await;
    patched.unwrap();
}

/// Of each replica, in MiB: the memory that is its own (anonymous), as its kubelet counted it after this call.
async fn memory(release: &Release) -> BTreeMap<String, u64> {
    let since = Timestamp::now();
    let admin = Kubectl::new(release.cluster(), None, RELEASE_NAMESPACE);
    let pods: Api<Pod> = Api::namespaced(release.client().await, RELEASE_NAMESPACE);
    let mine = ListParams::default().labels(&format!("app.kubernetes.io/name={OPERATOR}"));
    let counted = eventually("fresh statistics of every replica", 120, async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut found = BTreeMap::new();
        for pod in pods.list(&mine).await.ok()? {
            let (name, spec) = (pod.metadata.name?, pod.spec?);
            let url = format!("/api/v1/nodes/{}/proxy/stats/summary", spec.node_name?);
            let said = admin.run(&["get", "--raw", &url], &Value::Null);
            let summary: Value = serde_json::from_str(&said.text).ok()?;
            let mut all = summary["pods"].as_array()?.iter();
            let stats = all.find(|it| it["podRef"]["name"] == name.as_str())?;
            let memory = &stats["containers"][0]["memory"];
            let at: Timestamp = memory["time"].as_str()?.parse().ok()?;
            let bytes = memory["rssBytes"].as_u64().filter(|_| at > since)?;
            found.insert(name, bytes >> 20);
        }
        Some(found)
    });
    counted.await.unwrap()
}

async fn tasks_that_have_ended_cost_little_memory(release: &Release, namespace: &Namespace<'_>) {
    let count = budget("finished_tasks", 50);
    let empty = memory(release).await;
    let kubeconfig = release
        .cluster()
        .kubeconfig_for_service_account(RELEASE_NAMESPACE, OPERATOR);
    let operator = client_from(kubeconfig.await.unwrap()).await.unwrap();
    let operators: Api<SupervisedTask> = Api::namespaced(operator, namespace.name());
    let tasks = Arc::new(release.tasks(namespace).await);
    let mut running = JoinSet::new();
    for number in 0..count {
        if running.len() >= AT_ONCE {
            running.join_next().await.unwrap().unwrap();
        }
        let name = format!("finished-{number}");
        running.spawn(finished(Arc::clone(&tasks), operators.clone(), name));
    }
    running.join_all().await;
    let watched = memory(release).await;
    // A new process lists them all.
    release.restart_operator().await;
    release.available(OPERATOR).await;
    let name = "after".to_owned();
    eventually("a webhook", 60, async || {
        tasks.apply(&name, echo("hello")).await.ok()
    })
    .await
    .unwrap();
    tasks.end(&name).await;
    let listed = memory(release).await;
    eprintln!(
        "memory of the replicas beside {count} tasks that have ended, in MiB: \
         {empty:?} before, {watched:?} after, {listed:?} after a restart"
    );
    let most = watched.values().chain(listed.values()).max().unwrap();
    assert!(*most <= MAX_MIB, "{most} MiB");
}

#[tokio::test]
async fn writes_and_memory_are_bounded() {
    let Some(release) = Release::shared().await else {
        return;
    };
    if release.cluster().status().await.is_err() {
        return; // The audit log of a user's cluster is not ours to read.
    }
    release.constitution(constitution()).await;
    let namespace = release.namespace("counts").await;
    normal_tasks_cost_two_writes(release, &namespace).await;
    without_work_nothing_is_written(release).await;
    tasks_that_have_ended_cost_little_memory(release, &namespace).await;
}
