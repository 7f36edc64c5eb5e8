//! What a task costs the API server, from its own audit log.

use std::time::Duration;

use axiom_hive_testcluster::audit::Write;
use axiom_hive_testcluster::tool::root;
use serde_json::json;

use crate::ledger::OPERATOR;
use crate::restart::budget;
use crate::world::{RELEASE, World};

/// The operator's writes.
fn writes(world: &World) -> Vec<Write> {
    let user = format!("system:serviceaccount:{RELEASE}:{OPERATOR}");
    let mut writes = world.cluster.writes().unwrap();
    writes.retain(|write| write.user == user);
    writes
}

#[tokio::test]
async fn a_normal_task_costs_two_writes() {
    let all: usize = budget("task_writes", 10).try_into().unwrap();
    let Some(world) = World::new("count").await else {
        return;
    };
    let mut tasks = Vec::new();
    for number in 0..all {
        tasks.push(world.task(&format!("task-{number}"), json!({})).await);
    }
    for task in &tasks {
        let pod = world.intended(task, 0).await;
        assert_eq!(world.run(&pod).await, 0);
    }
    for task in &tasks {
        world.ended(task).await;
    }
    let mut writes = writes(&world);
    writes.retain(|write| write.namespace == world.namespace.name());
    let count = |what: &str| writes.iter().filter(|it| it.what() == what).count();
    assert_eq!(count("create pods"), all, "{writes:?}");
    assert_eq!(count("patch supervisedtasks/status"), all, "{writes:?}");
    // And once for the namespace, however many tasks came at once: its service account and its policy.
    let rest = writes.len() - 2 * all;
    eprintln!(
        "{all} tasks: {} writes, {rest} of them for the namespace",
        writes.len()
    );
    assert_eq!(
        (
            count("create serviceaccounts"),
            count("create networkpolicies"),
            rest
        ),
        (1, 1, 2),
        "{writes:?}"
    );
    let text = world.metrics.text();
    for line in [
        format!("axiom_hive_tasks_ended_total{{outcome=\"Answered\",reason=\"Agreed\"}} {all}"),
        format!("axiom_hive_task_seconds_count {all}"),
        "controller_runtime_active_workers{controller=\"supervisedtask\"} ".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    let page = std::fs::read_to_string(root().join("docs/OPERATIONS.md")).unwrap();
    let documented = page.lines().filter_map(|line| line.strip_prefix("| `"));
    for name in documented.filter_map(|line| line.split('`').next()) {
        let name = name.strip_suffix("_total").unwrap_or(name);
        if name.starts_with("axiom_hive_") || name.starts_with("controller_runtime_") {
            assert!(text.contains(&format!("# TYPE {name} ")), "{name}\n{text}");
        }
    }
    // No text, no name of a task or namespace.
    assert!(!text.contains("task-0") && !text.contains(world.namespace.name()));
    world.end().await;
}

/// The lease is not in these writes: what reconciles here asks for none.
#[tokio::test]
async fn an_operator_without_work_writes_nothing() {
    let Some(world) = World::new("idle").await else {
        return;
    };
    let task = world.task("hello", json!({})).await;
    let pod = world.intended(&task, 0).await;
    assert_eq!(world.run(&pod).await, 0);
    world.ended(&task).await;
    // Not ended: it waits, and has said so.
    let waiting = world.task("waiting", json!({"suspend": true})).await;
    world.because(&waiting, "Suspended").await;
    let before = writes(&world).len();
    let seconds = budget("idle_seconds", 3);
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let mut during = writes(&world).split_off(before);
    // Once, if that minute is over meanwhile: the ledger's head has changed.
    let anchors = during
        .iter()
        .filter(|it| it.name == "axh-ledger-head")
        .count();
    during.retain(|it| it.name != "axh-ledger-head");
    eprintln!(
        "idle for {seconds} s: {} writes, and {anchors} of the anchor",
        during.len()
    );
    assert_eq!((during, anchors.min(1)), (Vec::new(), anchors));
    world.end().await;
}
