//! Operators that end at each step, that are two, that come late: exactly one terminal record, always.

use std::collections::BTreeSet;
use std::time::Duration;

use axiom_hive_operator::api::task::Outcome;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::json;

use crate::kubelet::Kubelet;
use crate::world::World;

#[tokio::test]
async fn an_operator_that_dies_at_each_step_changes_nothing() {
    let Some(mut world) = World::new("steps").await else {
        return;
    };
    // With a pod whose intent is not in the ledger.
    world.ledger.halt().await;
    world.ledger.resume_estranged().await;
    let task = world.task("hello", json!({})).await;
    let pod = world.pod(&task, 0).await;
    world.kill().await;
    assert!(world.history(&task).await.is_empty());
    world.ledger.halt().await;
    world.ledger.resume().await;
    // Before it saw a task at all.
    let unseen = world.task("unseen", json!({})).await;
    world.operate();
    world.intended(&unseen, 0).await;
    // With an intent; the pod's end is seen by nobody.
    let same = world.intended(&task, 0).await;
    assert_eq!(same.uid(), pod.uid());
    world.kill().await;
    world.exits(&same, 137).await;
    world.operate();
    // With a second pod.
    let pod = world.pod(&task, 1).await;
    world.kill().await;
    world.operate();
    let same = world.intended(&task, 1).await;
    assert_eq!(same.uid(), pod.uid());
    // With a terminal record, and a status that does not say so.
    world.kill().await;
    assert_eq!(world.run(&same).await, 0);
    world.operate();
    let status = world.ended(&task).await.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Answered));
    assert_eq!((status.attempt, status.retries), (Some(1), Some(1)));
    assert_eq!(world.history(&task).await, ["intent", "intent", "answered"]);
    world.end().await;
}

pub(crate) fn budget(name: &str, default: u32) -> u32 {
    let set = std::env::var(format!("AXIOM_HIVE_BUDGET_{}", name.to_uppercase()));
    let set = set.ok().and_then(|text| text.parse().ok());
    set.unwrap_or(default)
}

#[tokio::test]
async fn operators_that_die_again_and_again_leave_one_end_for_each_task() {
    let kills = budget("operator_kills", 20);
    let Some(mut world) = World::new("kills").await else {
        return;
    };
    let (mut kubelet, mut tasks) = (Kubelet::default(), Vec::new());
    for kill in 0..kills {
        let name = format!("task-{kill}");
        tasks.push(world.task(&name, json!({"retryLimit": 3})).await);
        // Each time somewhere else: 0.02 to 0.62 s after its start.
        let life = Duration::from_millis(u64::from(20 + kill * 53 % 600));
        let played = tokio::time::timeout(life, kubelet.play(&world)).await;
        played.unwrap_err();
        world.kill().await;
        world.operate();
    }
    let ended = async {
        for task in &tasks {
            world.ended(task).await;
        }
    };
    tokio::select! {
        () = ended => {}
        () = kubelet.play(&world) => {}
    }
    let mut dead_before = 0;
    for task in &tasks {
        let task = world.tasks().get(&task.name_any()).await.unwrap();
        let status = task.status.clone().unwrap();
        let history = world.history(&task).await;
        let intents = history.iter().filter(|kind| **kind == "intent").count();
        assert_eq!(status.outcome, Some(Outcome::Answered), "{history:?}");
        assert_eq!(
            (history.len(), history.last()),
            (intents + 1, Some(&"answered"))
        );
        assert_eq!(
            status.answer.as_deref(),
            Some("What is the capital of France?")
        );
        let retries = usize::try_from(status.retries.unwrap_or(0)).unwrap();
        assert!(intents <= retries + 1, "{history:?} {status:?}");
        dead_before += retries;
    }
    eprintln!("{kills} operators killed, {dead_before} attempts tried again");
    world.end().await;
}

#[tokio::test]
async fn a_pod_that_ended_before_its_intent_leaves_no_task_without_an_end() {
    let Some(mut world) = World::new("unrecorded").await else {
        return;
    };
    world.ledger.halt().await;
    world.ledger.resume_estranged().await;
    let task = world.task("hello", json!({"retryLimit": 0})).await;
    let pod = world.pod(&task, 0).await;
    world.exits(&pod, 137).await;
    world.ledger.halt().await;
    world.ledger.resume().await;
    let status = world.ended(&task).await.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Failed));
    assert_eq!(world.history(&task).await, ["intent", "failed"]);
    world.end().await;
}

#[tokio::test]
async fn an_operator_that_starts_writes_nothing_about_what_is_over() {
    let Some(mut world) = World::new("idle").await else {
        return;
    };
    let task = world.task("hello", json!({})).await;
    let pod = world.intended(&task, 0).await;
    world.run(&pod).await;
    let before = world.ended(&task).await;
    let constitution = world
        .constitutions()
        .get(&world.constitution)
        .await
        .unwrap();
    world.halt().await;
    world.operate();
    // It has looked at everything when it has ended another task.
    let other = world.task("other", json!({})).await;
    let pod = world.intended(&other, 0).await;
    world.run(&pod).await;
    world.ended(&other).await;
    let after = world.tasks().get("hello").await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
    let now = world
        .constitutions()
        .get(&world.constitution)
        .await
        .unwrap();
    assert_eq!(now.resource_version(), constitution.resource_version());
    world.end().await;
}

#[tokio::test]
async fn two_operators_at_once_are_as_one() {
    let Some(mut world) = World::new("two").await else {
        return;
    };
    world.operate();
    let (mut tasks, mut theirs) = (Vec::new(), BTreeSet::new());
    for number in 0..5 {
        tasks.push(world.task(&format!("task-{number}"), json!({})).await);
    }
    for task in &tasks {
        let pod = world.intended(task, 0).await;
        world.exits(&pod, 137).await;
        theirs.insert(pod.uid());
    }
    for task in &tasks {
        let pod = world.intended(task, 1).await;
        assert_eq!(world.run(&pod).await, 0);
        theirs.insert(pod.uid());
    }
    for task in &tasks {
        let status = world.ended(task).await.status.unwrap();
        assert_eq!(
            (status.outcome, status.retries),
            (Some(Outcome::Answered), Some(1))
        );
        assert_eq!(world.history(task).await, ["intent", "intent", "answered"]);
    }
    assert_eq!(theirs.len(), 10);
    // No other pod was made. One of theirs may be gone: whichever operator sees the end of a task in the
    // ledger before the pod's own end leaves no pod behind.
    let pods = world.all_pods().await;
    assert!(pods.iter().all(|pod| theirs.contains(&pod.uid())));
    world.end().await;
}

#[tokio::test]
async fn a_task_that_is_deleted_is_cancelled() {
    let Some(mut world) = World::new("cancelled").await else {
        return;
    };
    let task = world.task("hello", json!({})).await;
    let pod = world.intended(&task, 0).await;
    let late = world.supervisor(&pod).await;
    world
        .tasks()
        .delete("hello", &DeleteParams::default())
        .await
        .unwrap();
    world
        .until("a cancelled task", async || {
            (world.history(&task).await == ["intent", "cancelled"]).then_some(())
        })
        .await;
    assert_ne!(late.run().await, 0);
    assert_eq!(world.history(&task).await, ["intent", "cancelled"]);
    // Deleted while nobody watches: swept at start.
    let task = world.task("missed", json!({})).await;
    world.intended(&task, 0).await;
    world.kill().await;
    world
        .tasks()
        .delete("missed", &DeleteParams::default())
        .await
        .unwrap();
    world.operate();
    world
        .until("a task that is swept up", async || {
            (world.history(&task).await == ["intent", "cancelled"]).then_some(())
        })
        .await;
    world.end().await;
}

#[tokio::test]
async fn a_task_that_has_ended_is_recorded_as_deleted() {
    let Some(mut world) = World::new("deleted").await else {
        return;
    };
    let task = world.task("hello", json!({})).await;
    let pod = world.intended(&task, 0).await;
    assert_eq!(world.supervise(&pod).await, 0);
    world.exits(&pod, 0).await;
    world.ended(&task).await;
    world
        .tasks()
        .delete("hello", &DeleteParams::default())
        .await
        .unwrap();
    let whole = ["intent", "answered", "deleted"];
    world
        .until("the record of a deletion", async || {
            (world.history(&task).await == whole).then_some(())
        })
        .await;
    // Whoever comes next finds it recorded.
    world.kill().await;
    world.operate();
    let next = world.task("next", json!({})).await;
    world.intended(&next, 0).await;
    assert_eq!(world.history(&task).await, whole);
    world.end().await;
}

#[tokio::test]
async fn while_the_ledger_is_down_nothing_is_answered_and_nothing_is_lost() {
    let Some(mut world) = World::new("down").await else {
        return;
    };
    let running = world.task("running", json!({})).await;
    let pod = world.intended(&running, 0).await;
    assert_eq!(world.supervise(&pod).await, 0);
    world.ledger.halt().await;
    world.exits(&pod, 0).await;
    let new = world.task("new", json!({})).await;
    for task in [&running, &new] {
        let waiting = world.because(task, "LedgerUnavailable").await;
        assert_eq!(waiting.status.unwrap().outcome, None);
    }
    assert_eq!(world.all_pods().await.len(), 1);
    world.ledger.resume().await;
    let status = world.ended(&running).await.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Answered));
    let pod = world.intended(&new, 0).await;
    world.run(&pod).await;
    let status = world.ended(&new).await.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Answered));
    world.end().await;
}
