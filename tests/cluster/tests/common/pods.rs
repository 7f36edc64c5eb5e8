//! Pods that run the test program.

use axiom_hive_testcluster::pods;
pub(crate) use axiom_hive_testcluster::pods::{Pods, on};
use serde_json::{Value, json};

/// A pod of one container that runs once; `spec` is laid over its spec.
pub(crate) fn pod(name: &str, arguments: &[&str], labels: &Value, spec: &Value) -> Value {
    let container = json!({"image": pods::testbox(), "args": arguments});
    let mut object = pods::pod(name, &container, labels, spec);
    // The enforcer refuses a pod's first packets, and resolvers ask again only after 5 s.
    object["spec"]["dnsConfig"] = json!({"options": [
        {"name": "timeout", "value": "1"}, {"name": "attempts", "value": "5"}]});
    object
}
