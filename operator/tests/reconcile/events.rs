//! Events: what a user must know, once.

use axiom_hive_operator::api::SupervisedTask;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::world::{World, uid};

/// What was announced of a task: reason, type and how often.
async fn announced(world: &World, task: &SupervisedTask) -> Vec<(String, String, i32)> {
    let api: Api<Event> = Api::namespaced(world.client.clone(), world.namespace.name());
    let all = api.list(&ListParams::default()).await.unwrap().items;
    let ours = all.into_iter().filter(|event| {
        let regarding = event.regarding.as_ref();
        let is_its = regarding.and_then(|it| it.uid.as_deref()) == Some(&uid(task));
        is_its && event.reporting_controller.as_deref() == Some("axiom-hive-operator")
    });
    ours.map(|event| {
        assert!(!event.note.unwrap_or_default().is_empty());
        let count = event.series.map_or(1, |series| series.count);
        (event.reason.unwrap(), event.type_.unwrap(), count)
    })
    .collect()
}

/// Waits for the events of a task: a status is written before its event.
async fn expect(world: &World, task: &SupervisedTask, reasons: &[&str]) {
    let expected = reasons.iter();
    let mut expected: Vec<_> = expected
        .map(|it| ((*it).to_owned(), "Warning".to_owned(), 1))
        .collect();
    expected.sort();
    world
        .until("exactly these events", async || {
            let mut found = announced(world, task).await;
            found.sort();
            (found == expected).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_rejected_reference_is_announced_once_however_often_it_is_looked_at() {
    let Some(world) = World::new("rejected").await else {
        return;
    };
    let unknown = json!({"constitutionRef": {"name": "nobody"}});
    let task = world.task("unknown", unknown).await;
    let many = world.task("many", json!({"branches": 9})).await;
    world.because(&task, "ConstitutionNotFound").await;
    world.because(&many, "NotAllowed").await;
    expect(&world, &task, &["ConstitutionNotFound"]).await;
    expect(&world, &many, &["NotAllowed"]).await;
    // Every release of a constitution makes the operator look again.
    let before = world.metrics.text();
    world.constitute("1.1.0", json!({})).await;
    world.in_force().await;
    world
        .until("another look", async || {
            (looks(&world.metrics.text()) > looks(&before) + 2).then_some(())
        })
        .await;
    expect(&world, &task, &["ConstitutionNotFound"]).await;
    expect(&world, &many, &["NotAllowed"]).await;
    world.end().await;
}

/// How often tasks were looked at.
fn looks(metrics: &str) -> u64 {
    let lines = metrics.lines();
    let ours = lines.filter(|line| {
        line.starts_with("controller_runtime_reconcile_total{") && line.contains("supervisedtask")
    });
    ours.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[tokio::test]
async fn a_retry_is_announced_and_an_answer_is_not() {
    let Some(world) = World::new("retried").await else {
        return;
    };
    let task = world.task("hello", json!({})).await;
    let pod = world.intended(&task, 0).await;
    world.exits(&pod, 137).await;
    let pod = world.intended(&task, 1).await;
    assert_eq!(world.run(&pod).await, 0);
    world.ended(&task).await;
    expect(&world, &task, &["Retrying"]).await;
    world.end().await;
}

#[tokio::test]
async fn what_is_withheld_is_announced_without_its_text() {
    let policy = json!({"interceptor": {"detectors": {"us_ssn": "withhold"}}});
    let Some(world) = World::with("kept", policy).await else {
        return;
    };
    let task = world
        .task("secret", json!({"prompt": "My number is 536-90-4399."}))
        .await;
    let pod = world.intended(&task, 0).await;
    assert_eq!(world.run(&pod).await, 4);
    world.ended(&task).await;
    expect(&world, &task, &["Withheld"]).await;
    let api: Api<Event> = Api::namespaced(world.client.clone(), world.namespace.name());
    let all = api.list(&ListParams::default()).await.unwrap();
    let text = serde_json::to_string(&all.items).unwrap();
    assert!(!text.contains("536-90"), "{text}");
    world.end().await;
}

#[tokio::test]
async fn a_network_that_is_not_isolated_is_announced() {
    let Some(world) = World::new("open").await else {
        return;
    };
    let api: Api<NetworkPolicy> = Api::namespaced(world.client.clone(), world.namespace.name());
    let open: Value = json!({"metadata": {"name": "open"}, "spec": {"podSelector": {}, "egress": [{}],
        "policyTypes": ["Egress"]}});
    let open: NetworkPolicy = serde_json::from_value(open).unwrap();
    api.create(&PostParams::default(), &open).await.unwrap();
    let task = world.task("hello", json!({})).await;
    world.because(&task, "ForeignPolicy").await;
    expect(&world, &task, &["NotIsolated"]).await;
    api.delete("open", &DeleteParams::default()).await.unwrap();
    let pod = world.intended(&task, 0).await;
    world.run(&pod).await;
    world.ended(&task).await;
    expect(&world, &task, &["NotIsolated"]).await;
    world.end().await;
}
