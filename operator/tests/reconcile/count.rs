//! What a task costs the API server, from its own audit log.

use serde_json::{Value, json};

use crate::ledger::OPERATOR;
use crate::world::{RELEASE, World};
use axiom_hive_testcluster::tool::root;

/// The operator's writes in this namespace: verb and resource.
fn writes(world: &World) -> Vec<String> {
    let log = std::fs::read_to_string(world.cluster.audit_log().unwrap()).unwrap();
    let events = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let user = format!("system:serviceaccount:{RELEASE}:{OPERATOR}");
    let ours = events.filter(|event: &Value| {
        let is_write = !matches!(event["verb"].as_str().unwrap(), "get" | "list" | "watch");
        is_write
            && event["user"]["username"] == user
            && event["objectRef"]["namespace"] == world.namespace.name()
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    ours.map(|event| {
        let object = &event["objectRef"];
        let (resource, sub) = (text(&object["resource"]), text(&object["subresource"]));
        format!("{} {resource} {sub}", text(&event["verb"]))
    })
    .collect()
}

#[tokio::test]
async fn a_normal_task_costs_two_writes() {
    const TASKS: usize = 20;
    let Some(world) = World::new("count").await else {
        return;
    };
    let mut tasks = Vec::new();
    for number in 0..TASKS {
        tasks.push(world.task(&format!("task-{number}"), json!({})).await);
    }
    for task in &tasks {
        let pod = world.intended(task, 0).await;
        assert_eq!(world.run(&pod).await, 0);
    }
    for task in &tasks {
        world.ended(task).await;
    }
    let writes = writes(&world);
    let count = |what: &str| writes.iter().filter(|it| it.trim_end() == what).count();
    assert_eq!(count("create pods"), TASKS, "{writes:?}");
    assert_eq!(count("patch supervisedtasks status"), TASKS, "{writes:?}");
    // And once for the namespace, or twice where two tasks came at once: its service account and its policy.
    let rest = writes.len() - 2 * TASKS;
    eprintln!(
        "{TASKS} tasks: {} writes, {rest} of them for the namespace",
        writes.len()
    );
    assert_eq!(
        rest,
        count("create serviceaccounts") + count("create networkpolicies"),
        "{writes:?}"
    );
    let text = world.metrics.text();
    for line in [
        format!("axiom_hive_tasks_ended_total{{outcome=\"Answered\",reason=\"Agreed\"}} {TASKS}"),
        format!("axiom_hive_task_seconds_count {TASKS}"),
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
