//! All replicas of the operator killed, again and again, each time at another step of a task.
#![allow(clippy::unwrap_used)]

use axiom_hive_e2e::pods::Pods;
use axiom_hive_e2e::{Release, Tasks, budget};
use axiom_hive_operator::api::task::Outcome;
use axiom_hive_testcluster::eventually;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::{Value, json};

/// How long a step may take: the operator of the step before has just been killed.
const STEP_SECONDS: u64 = 90;
const STEPS: [&str; 5] = ["applied", "with a pod", "intended", "running", "recorded"];

fn constitution() -> Value {
    json!({
        "meta": {"name": "kills", "version": "1.0.0", "catalogue": 1},
        "namespaces": {},
        "supervisor": {"maxBranches": 3, "minConsensusRatio": "0.66"},
    })
}

fn echo(prompt: &str) -> Value {
    json!({"constitutionRef": {"name": "kills"}, "prompt": prompt, "runtime": {"echo": {}}})
}

/// Applies a task, as soon as there is a webhook to ask. Gives its UID.
async fn apply(tasks: &Tasks, name: &str) -> String {
    let what = format!("{name} accepted");
    let applied = eventually(&what, STEP_SECONDS, async || {
        tasks.apply(name, echo(name)).await.ok()
    });
    applied.await.unwrap().metadata.uid.unwrap()
}

async fn has_pod(client: &Client, namespace: &str, uid: &str) -> bool {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mine = ListParams::default().labels(&format!("axiomhive.io/task-uid={uid}"));
    pods.list(&mine).await.is_ok_and(|it| !it.items.is_empty())
}

#[tokio::test]
async fn operators_killed_at_each_step_leave_one_end_for_each_task() {
    let Some(release) = Release::shared().await else {
        return;
    };
    let kills = budget("cluster_kills", 5);
    release.constitution(constitution()).await;
    let namespace = release.namespace("kills").await;
    let client = release.client().await;
    let tasks = release.tasks(&namespace).await;
    let pods = Pods::of(release, &namespace).await;
    for kill in 0..kills {
        let name = format!("task-{kill}");
        let uid = apply(&tasks, &name).await;
        let (step, records) = (STEPS[kill % STEPS.len()], async |wanted: usize| {
            (release.records(&uid).await.len() >= wanted).then_some(())
        });
        match step {
            "with a pod" => eventually(step, STEP_SECONDS, async || {
                has_pod(&client, namespace.name(), &uid).await.then_some(())
            })
            .await
            .unwrap(),
            "intended" => eventually(step, STEP_SECONDS, async || records(1).await)
                .await
                .unwrap(),
            "running" => drop(pods.runner(&uid).await),
            "recorded" => eventually(step, STEP_SECONDS, async || records(2).await)
                .await
                .unwrap(),
            _ => {}
        }
        release.restart_operator().await;
    }
    for kill in 0..kills {
        let name = format!("task-{kill}");
        let task = tasks.end(&name).await;
        release.one_end(&task).await;
        let status = task.status.unwrap();
        assert_eq!(
            status.outcome,
            Some(Outcome::Answered),
            "{name}: {status:?}"
        );
        assert_eq!(status.answer.as_deref(), Some(name.as_str()));
        // A killed operator costs no attempt.
        assert_eq!(status.attempt, Some(0), "{name}: {status:?}");
    }
    eprintln!("{kills} times all operators killed: one terminal record for each of {kills} tasks");
}
