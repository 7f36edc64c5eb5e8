//! The ledger's pod killed, again and again, while fifty tasks at a time go through it.
//!
//! Fifty are applied and unfinished all the time; as many of their pods run at once as the nodes have room for.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use axiom_hive_core::wire::StoredRecord;
use axiom_hive_e2e::{RELEASE_NAMESPACE, Release, Tasks, budget};
use axiom_hive_operator::api::SupervisedTask;
use axiom_hive_operator::api::task::Outcome;
use axiom_hive_testcluster::eventually;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Tasks that have not ended, at any time.
const AT_ONCE: usize = 50;
/// Between two kills.
const PERIOD: Duration = Duration::from_secs(10);
/// How long the ledger's pod may take to come back.
const BACK_SECONDS: u64 = 120;
/// How long the last task may take to end, once nothing is killed any more.
const END_SECONDS: u64 = 600;
const LEDGER: &str = "axiom-hive-ledger-0";

fn constitution() -> Value {
    json!({
        "meta": {"name": "ledger-kills", "version": "1.0.0", "catalogue": 1},
        "namespaces": {},
        // A task may wait for minutes until a node has room.
        "supervisor": {"maxBranches": 3, "minConsensusRatio": "0.66", "taskTimeoutSeconds": 3600},
    })
}

fn echo(prompt: &str) -> Value {
    json!({"constitutionRef": {"name": "ledger-kills"}, "prompt": prompt, "runtime": {"echo": {}}})
}

/// Applies a task and waits for its end.
async fn run(tasks: Arc<Tasks>, name: String) -> SupervisedTask {
    tasks.apply(&name, echo(&name)).await.unwrap();
    let what = format!("the end of {name}");
    let ended = eventually(&what, END_SECONDS, async || {
        let task = tasks.api.get(&name).await.ok()?;
        task.status.as_ref()?.outcome.is_some().then_some(task)
    });
    match ended.await {
        Ok(task) => task,
        Err(error) => panic!("{error}\n{}", tasks.report(&name).await),
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|it| it.conditions.as_ref());
    conditions.is_some_and(|all| {
        all.iter()
            .any(|it| it.type_ == "Ready" && it.status == "True")
    })
}

/// Kills the ledger's pod without grace, every period for `seconds`. Gives how often.
async fn kill(release: &Release, seconds: u64) -> usize {
    let pods: Api<Pod> = Api::namespaced(release.client().await, RELEASE_NAMESPACE);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kills = 0;
    while Instant::now() < until {
        ticks.tick().await;
        let killed = pods.get(LEDGER).await.unwrap().metadata.uid;
        pods.delete(LEDGER, &DeleteParams::default().grace_period(0))
            .await
            .unwrap();
        kills += 1;
        eventually("the ledger's pod is back", BACK_SECONDS, async || {
            let pod = pods.get(LEDGER).await.ok()?;
            (pod.metadata.uid != killed && is_ready(&pod)).then_some(())
        })
        .await
        .unwrap();
    }
    kills
}

/// One terminal record, and a receipt of it in the task's status that verifies.
async fn is_recorded_once(release: &Release, task: &SupervisedTask) {
    let end = release.one_end(task).await;
    let name = task.metadata.name.as_deref().unwrap();
    let status = task.status.as_ref().unwrap();
    assert_eq!(
        status.outcome,
        Some(Outcome::Answered),
        "{name}: {status:?}"
    );
    assert_eq!(status.answer.as_deref(), Some(name));
    let receipt = status.receipt.clone().unwrap();
    let shown = StoredRecord { receipt, ..end };
    shown.verify(&release.vkey().await).unwrap();
}

#[tokio::test(flavor = "local")]
async fn a_ledger_killed_every_ten_seconds_loses_nothing_and_has_nothing_twice() {
    let Some(release) = Release::shared().await else {
        return;
    };
    let seconds = u64::try_from(budget("ledger_kill_seconds", 30)).unwrap();
    release.constitution(constitution()).await;
    let namespace = release.namespace("ledger-kills").await;
    let tasks = Arc::new(release.tasks(&namespace).await);
    let killing = tokio::task::spawn_local(kill(release, seconds));
    let (mut running, mut ended, mut applied) = (JoinSet::new(), Vec::new(), 0);
    while !(killing.is_finished() && running.is_empty()) {
        while running.len() < AT_ONCE && !killing.is_finished() {
            running.spawn_local(run(Arc::clone(&tasks), format!("task-{applied}")));
            applied += 1;
        }
        if let Some(task) = running.join_next().await {
            ended.push(task.unwrap());
        }
    }
    let kills = killing.await.unwrap();
    assert_eq!(ended.len(), applied);
    for task in &ended {
        is_recorded_once(release, task).await;
    }
    let again = ended
        .iter()
        .filter_map(|task| task.status.as_ref()?.retries);
    let again: i32 = again.sum();
    eprintln!(
        "the ledger's pod killed {kills} times in {seconds} s, {AT_ONCE} tasks at a time: one terminal record and a good \
         receipt for each of {applied} tasks, {again} retries"
    );
}
