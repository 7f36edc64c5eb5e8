//! What users and the operator make in the test of the guard.

use serde_json::{Value, json};

/// A pod as a user may make it; `change` makes it a bad one.
pub(crate) fn pod(change: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "mine", "labels": {"app": "mine"}},
        "spec": {"containers": [{
            "name": "main",
            "image": "example.com/a",
            "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}},
        }]},
    });
    merge(&mut pod, change);
    pod
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

/// The ways in which a pod or its template is refused.
pub(crate) fn bad_pods() -> Vec<(Value, &'static str)> {
    let token = json!({"serviceAccountToken": {"audience": "axiom-hive-ledger", "path": "token"}});
    let volume =
        json!({"name": "t", "projected": {"sources": [{"configMap": {"name": "c"}}, token]}});
    vec![
        (
            json!({"metadata": {"labels": {"axiomhive.io/role": "runner"}}}),
            "must not have labels below \"axiomhive.io/\"",
        ),
        (
            json!({"metadata": {"labels": {"axiomhive.io/task-uid": "x"}}}),
            "must not have labels below \"axiomhive.io/\"",
        ),
        (
            json!({"spec": {"serviceAccountName": "axh-runner"}}),
            "must not be \"axh-runner\"",
        ),
        (
            json!({"spec": {"volumes": [volume]}}),
            "must not project a token for audience",
        ),
    ]
}

/// A template in every kind that has one.
pub(crate) fn templates(pod: &Value) -> Vec<Value> {
    let mut template = json!({"metadata": pod["metadata"].clone(), "spec": pod["spec"].clone()});
    template["metadata"].as_object_mut().unwrap().remove("name");
    let kind = |version: &str, kind: &str, spec: Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "mine"}, "spec": spec});
    let selector = json!({"matchLabels": {"app": "mine"}});
    let selected = json!({"selector": selector, "template": template});
    let mut service = selected.clone();
    service["serviceName"] = json!("mine");
    let mut once = json!({"template": template});
    once["template"]["spec"]["restartPolicy"] = json!("Never");
    vec![
        kind("apps/v1", "Deployment", selected.clone()),
        kind("apps/v1", "ReplicaSet", selected.clone()),
        kind("apps/v1", "DaemonSet", selected),
        kind("apps/v1", "StatefulSet", service),
        kind("batch/v1", "Job", once.clone()),
        kind(
            "batch/v1",
            "CronJob",
            json!({"schedule": "@daily", "jobTemplate": {"spec": once}}),
        ),
        kind(
            "v1",
            "ReplicationController",
            json!({"selector": {"app": "mine"}, "template": template}),
        ),
        json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "mine"}, "template": template}),
    ]
}

/// A runner pod as the operator makes it, as far as the guard looks at it.
pub(crate) fn runner() -> Value {
    let token = json!({"serviceAccountToken": {"audience": "axiom-hive-ledger", "path": "token"}});
    pod(&json!({
        "metadata": {"name": "axh-t-1", "labels": {"axiomhive.io/role": "runner"}},
        "spec": {
            "serviceAccountName": "axh-runner",
            "volumes": [{"name": "t", "projected": {"sources": [token]}}],
        },
    }))
}

/// What the operator has made in the namespace.
pub(crate) fn operators_objects() -> Vec<Value> {
    let object = |version: &str, kind: &str, name: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
    let mut policy = object("networking.k8s.io/v1", "NetworkPolicy", "axh-runner");
    policy["spec"] = json!({"podSelector": {"matchLabels": {"axiomhive.io/role": "runner"}}});
    vec![
        object("v1", "ServiceAccount", "axh-runner"),
        object("v1", "Secret", "axh-answer-1"),
        object("v1", "ConfigMap", "axh-ledger-head"),
        policy,
        runner(),
    ]
}
