//! Why no pod may run, and that it runs when the reason is gone.

use axiom_hive_operator::api::condition::ConditionType;
use axiom_hive_operator::api::task::Outcome;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::world::{World, condition, reason};

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn a_quota_is_waited_for() {
    let Some(world) = World::new("quota").await else {
        return;
    };
    let api: Api<ResourceQuota> = Api::namespaced(world.client.clone(), world.namespace.name());
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    api.create(&PostParams::default(), &object(quota))
        .await
        .unwrap();
    world
        .until("a quota in force", async || {
            api.get("none").await.ok()?.status?.hard.map(drop)
        })
        .await;
    let task = world.task("hello", json!({})).await;
    let waiting = world.because(&task, "Waiting").await;
    assert_eq!(condition(&waiting, ConditionType::Stalled).0, "False");
    let status = waiting.status.unwrap();
    assert!(
        status
            .conditions
            .iter()
            .any(|it| it.message.contains("exceeded quota")),
        "{status:?}"
    );
    assert!(world.history(&task).await.is_empty());
    api.delete("none", &DeleteParams::default()).await.unwrap();
    let pod = world.intended(&task, 0).await;
    world.run(&pod).await;
    assert_eq!(reason(&world.ended(&task).await), "Answered");
    world.end().await;
}

#[tokio::test]
async fn without_the_guard_nothing_is_started() {
    let Some(mut world) = World::bare("unguarded").await else {
        return;
    };
    world.operate_behind("axiom-hive-guard-pods");
    world.constitute("1.0.0", json!({})).await;
    world.in_force().await;
    let task = world.task("hello", json!({})).await;
    let stalled = world.because(&task, "GuardMissing").await;
    assert_eq!(
        condition(&stalled, ConditionType::Stalled),
        ("True", "GuardMissing")
    );
    assert!(world.all_pods().await.is_empty());
    assert!(world.history(&task).await.is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_foreign_policy_that_opens_runner_pods_starts_none_and_ends_one() {
    let Some(world) = World::new("opened").await else {
        return;
    };
    let task = world.task("hello", json!({})).await;
    let pod = world.intended(&task, 0).await;
    let late = world.supervisor(&pod).await;
    let api: Api<NetworkPolicy> = Api::namespaced(world.client.clone(), world.namespace.name());
    let open = json!({"metadata": {"name": "open"}, "spec": {"podSelector": {}, "egress": [{}],
        "policyTypes": ["Egress"]}});
    api.create(&PostParams::default(), &object(open))
        .await
        .unwrap();
    // It ran without its walls, for however short a time: nothing makes up for that.
    let opened = world.ended(&task).await;
    let status = opened.status.as_ref().unwrap();
    assert_eq!(status.outcome, Some(Outcome::Failed));
    assert_eq!(status.reason.as_deref(), Some("containmentFailed"));
    assert_eq!(world.history(&task).await, ["intent", "failed"]);
    assert!(world.all_pods().await.is_empty());
    // Its supervisor cannot end a task whose pod is gone.
    assert_ne!(late.run().await, 0);

    let task = world.task("after", json!({})).await;
    let blocked = world.because(&task, "ForeignPolicy").await;
    assert_eq!(condition(&blocked, ConditionType::Stalled).0, "True");
    let isolated = condition(&blocked, ConditionType::NetworkIsolated);
    assert_eq!(isolated, ("False", "ForeignPolicy"));
    assert!(world.all_pods().await.is_empty());
    api.delete("open", &DeleteParams::default()).await.unwrap();
    let pod = world.intended(&task, 0).await;
    world.run(&pod).await;
    let task = world.ended(&task).await;
    assert_eq!(reason(&task), "Answered");
    assert_ne!(condition(&task, ConditionType::NetworkIsolated).0, "False");
    world.end().await;
}

#[tokio::test]
async fn what_its_constitution_does_not_allow_is_not_started() {
    let Some(world) = World::new("notallowed").await else {
        return;
    };
    let task = world.task("many", json!({"branches": 9})).await;
    let stalled = world.because(&task, "NotAllowed").await;
    assert_eq!(condition(&stalled, ConditionType::Stalled).0, "True");
    assert!(world.all_pods().await.is_empty());
    world.end().await;
}
