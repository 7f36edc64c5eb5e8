//! What ends without an exit code of its own, and what is tried again.

use axiom_hive_client::build_ref;
use axiom_hive_core::record::{Observed, StopEvent};
use axiom_hive_core::supervisor::{Entry, closed};
use axiom_hive_operator::api::task::Outcome;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::json;
use tokio::time::Instant;

use crate::world::{PATIENCE, World, uid};

#[tokio::test]
async fn a_supervisor_that_is_killed_is_tried_again() {
    let Some(world) = World::new("killed").await else {
        return;
    };
    let task = world.task("hello", json!({})).await;
    let pod = world.intended(&task, 0).await;
    world.exits(&pod, 137).await;
    let pod = world.intended(&task, 1).await;
    assert_eq!(world.run(&pod).await, 0);
    let status = world.ended(&task).await.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Answered));
    assert_eq!((status.attempt, status.retries), (Some(1), Some(1)));
    assert_eq!(world.history(&task).await, ["intent", "intent", "answered"]);
    world.end().await;
}

#[tokio::test]
async fn the_ledger_is_believed_and_not_the_exit_code() {
    let Some(world) = World::new("believed").await else {
        return;
    };
    let task = world.task("hello", json!({"retryLimit": 0})).await;
    let pod = world.intended(&task, 0).await;
    assert_eq!(world.supervise(&pod).await, 0);
    // Killed between its append and its end.
    world.exits(&pod, 137).await;
    let status = world.ended(&task).await.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Answered));
    // And the other way round.
    let task = world.task("liar", json!({"retryLimit": 0})).await;
    let pod = world.intended(&task, 0).await;
    world.exits(&pod, 0).await;
    let status = world.ended(&task).await.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Failed));
    assert_eq!(status.answer, None);
    world.end().await;
}

#[tokio::test]
async fn no_attempt_is_left_at_the_limit() {
    let Some(world) = World::new("limit").await else {
        return;
    };
    let task = world.task("hello", json!({"retryLimit": 1})).await;
    for attempt in 0..2 {
        let pod = world.intended(&task, attempt).await;
        world.exits(&pod, 137).await;
    }
    let status = world.ended(&task).await.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Failed));
    assert_eq!(status.reason.as_deref(), Some("interrupted"));
    assert_eq!(world.history(&task).await, ["intent", "intent", "failed"]);
    // The supervisor of the second attempt comes back from wherever it was.
    let pods = world.all_pods().await;
    let last = pods
        .iter()
        .find(|pod| pod.name_any().ends_with("-1"))
        .unwrap();
    assert_ne!(world.supervise(last).await, 0);
    assert_eq!(world.history(&task).await, ["intent", "intent", "failed"]);
    world.end().await;
}

#[tokio::test]
async fn an_operator_that_died_before_it_said_why_loses_nothing() {
    let Some(mut world) = World::new("why").await else {
        return;
    };
    let task = world.task("hello", json!({"retryLimit": 0})).await;
    let pod = world.intended(&task, 0).await;
    world.kill().await;
    world.exits(&pod, 137).await;
    let intent = world.ledger.records(&uid(&task)).await.remove(0);
    let observed = Observed::nothing_ran(build_ref().unwrap(), 1);
    let entry = Entry {
        record: closed(&intent, StopEvent::Interrupted, observed).unwrap(),
        payloads: Vec::new(),
    };
    let deadline = Instant::now() + PATIENCE;
    let appended = world.ledger.operators().append(&entry, deadline).await;
    assert!(!appended.unwrap().existing);
    world.operate();
    let status = world.ended(&task).await.status.unwrap();
    let succeeded = status.conditions.iter().find(|it| it.type_ == "Succeeded");
    let message = &succeeded.unwrap().message;
    assert!(message.contains("exit code 137: killed"), "{message}");
    world.end().await;
}

#[tokio::test]
async fn a_runtime_that_fails_is_what_the_status_says() {
    let Some(world) = World::new("runtime").await else {
        return;
    };
    // Its container is missing here, so that no branch can run.
    let process = json!({"process": {"image": "registry.example.com/team/tool:1", "command": ["/tool"],
        "protocol": "text"}});
    let task = world
        .task("hello", json!({"runtime": process, "retryLimit": 1}))
        .await;
    for attempt in 0..2 {
        let pod = world.intended(&task, attempt).await;
        assert_eq!(world.run(&pod).await, 3);
    }
    let status = world.ended(&task).await.status.unwrap();
    assert_eq!(
        (status.outcome, status.reason.as_deref()),
        (Some(Outcome::Failed), Some("runtimeFailed"))
    );
    let succeeded = status.conditions.iter().find(|it| it.type_ == "Succeeded");
    let message = &succeeded.unwrap().message;
    assert!(
        message.contains("in 3 of 3 the program did not start"),
        "{message}"
    );
    let history = ["intent", "attempt", "intent", "attempt", "failed"];
    assert_eq!(world.history(&task).await, history);
    world.end().await;
}

#[tokio::test]
async fn a_pod_that_somebody_deletes_is_an_attempt_that_failed() {
    let Some(world) = World::new("gone").await else {
        return;
    };
    let task = world.task("hello", json!({})).await;
    let pod = world.intended(&task, 0).await;
    let at_once = DeleteParams::default().grace_period(0);
    world
        .pods()
        .delete(&pod.name_any(), &at_once)
        .await
        .unwrap();
    let pod = world.intended(&task, 1).await;
    world.run(&pod).await;
    let status = world.ended(&task).await.status.unwrap();
    assert_eq!(
        (status.outcome, status.retries),
        (Some(Outcome::Answered), Some(1))
    );
    world.end().await;
}

#[tokio::test]
async fn evicted_lost_and_broken_pods_have_their_rows() {
    let Some(world) = World::new("rows").await else {
        return;
    };
    for (name, status) in [
        ("evicted", json!({"phase": "Failed", "reason": "Evicted"})),
        ("lost", json!({"phase": "Failed", "reason": "NodeLost"})),
    ] {
        let task = world.task(name, json!({"retryLimit": 1})).await;
        let pod = world.intended(&task, 0).await;
        world.status(&pod, status).await;
        let pod = world.intended(&task, 1).await;
        world.run(&pod).await;
        let status = world.ended(&task).await.status.unwrap();
        assert_eq!(status.outcome, Some(Outcome::Answered), "{name}");
    }
    for reason in ["InvalidImageName", "CreateContainerConfigError"] {
        let name = reason.to_lowercase();
        let task = world.task(&name, json!({})).await;
        let pod = world.intended(&task, 0).await;
        world.waits(&pod, "supervisor", reason).await;
        let ended = world.ended(&task).await;
        let status = ended.status.unwrap();
        assert_eq!(status.outcome, Some(Outcome::Failed), "{name}");
        let succeeded = status.conditions.iter().find(|it| it.type_ == "Succeeded");
        assert!(succeeded.unwrap().message.contains(reason), "{status:?}");
        // Nothing of it is left to be pulled.
        world
            .until("a pod that is gone", async || {
                let pod = world.pods().get_opt(&pod.name_any()).await.ok()?;
                pod.is_none().then_some(())
            })
            .await;
    }
    world.end().await;
}

#[tokio::test]
async fn an_image_that_is_not_there_yet_is_waited_for() {
    let Some(world) = World::new("image").await else {
        return;
    };
    let task = world.task("hello", json!({})).await;
    let pod = world.intended(&task, 0).await;
    world.waits(&pod, "runtime", "ImagePullBackOff").await;
    let waiting = world.because(&task, "Waiting").await;
    let status = waiting.status.unwrap();
    let succeeded = status.conditions.iter().find(|it| it.type_ == "Succeeded");
    assert!(
        succeeded.unwrap().message.contains("ImagePullBackOff"),
        "{status:?}"
    );
    assert_eq!(world.run(&pod).await, 0);
    assert_eq!(
        world.ended(&task).await.status.unwrap().outcome,
        Some(Outcome::Answered)
    );
    world.end().await;
}
