//! What other network policies of a namespace mean for a runner pod.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use axiom_hive_core::constitution::EgressPolicy;
use axiom_hive_operator::plan::isolation::openings;
use axiom_hive_operator::plan::network::{LedgerPods, policies};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};

fn policy(name: &str, spec: &Value) -> NetworkPolicy {
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

fn ours() -> Vec<NetworkPolicy> {
    let ledger = LedgerPods {
        namespace: "axiom-hive".to_owned(),
        labels: [("app".to_owned(), "ledger".to_owned())].into(),
        port: 8443,
    };
    policies("team", &ledger, &EgressPolicy::default()).unwrap()
}

fn opened_by(spec: &Value) -> bool {
    let labels = BTreeMap::from([
        ("axiomhive.io/role".to_owned(), "runner".to_owned()),
        ("tier".to_owned(), "back".to_owned()),
    ]);
    !openings(&[policy("foreign", spec)], &ours(), &labels).is_empty()
}

#[test]
fn ours_open_nothing_more() {
    let labels = BTreeMap::from([("axiomhive.io/role".to_owned(), "runner".to_owned())]);
    assert_eq!(openings(&ours(), &ours(), &labels), Vec::<String>::new());
}

#[test]
fn one_of_ours_that_was_changed_is_foreign() {
    let labels = BTreeMap::from([("axiomhive.io/role".to_owned(), "runner".to_owned())]);
    let mut changed = ours();
    changed[0].spec.as_mut().unwrap().egress =
        Some(vec![serde_json::from_value(json!({})).unwrap()]);
    assert_eq!(openings(&changed, &ours(), &labels), ["axh-runner"]);
}

#[test]
fn whoever_selects_a_runner_and_allows_anything_opens_it() {
    let any = json!([{}]);
    for spec in [
        json!({"podSelector": {}, "egress": any}),
        json!({"egress": any}),
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": any}),
        json!({"podSelector": {}, "ingress": any}),
        json!({"podSelector": {}, "policyTypes": [], "ingress": any}),
        json!({"podSelector": {"matchLabels": {"tier": "back"}}, "egress": any}),
        json!({"podSelector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["back", "front"]}]}, "egress": any}),
        json!({"podSelector": {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["front"]}]}, "egress": any}),
        json!({"podSelector": {"matchExpressions": [{"key": "other", "operator": "NotIn", "values": ["x"]}]}, "egress": any}),
        json!({"podSelector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, "egress": any}),
        json!({"podSelector": {"matchExpressions": [{"key": "other", "operator": "DoesNotExist"}]}, "egress": any}),
        json!({"podSelector": {"matchExpressions": [{"key": "tier", "operator": "Newer"}]}, "egress": any}),
        // Narrow is open too.
        json!({"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}], "ports": [{"port": 443}]}]}),
    ] {
        assert!(opened_by(&spec), "{spec}");
    }
}

#[test]
fn whoever_denies_or_selects_others_does_not() {
    let any = json!([{}]);
    for spec in [
        json!({"podSelector": {}}),
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": [], "ingress": []}),
        // Rules of a type that the policy does not have are not in force.
        json!({"podSelector": {}, "policyTypes": ["Ingress"], "egress": any}),
        json!({"podSelector": {"matchLabels": {"tier": "front"}}, "egress": any}),
        json!({"podSelector": {"matchLabels": {"tier": "back", "other": "x"}}, "egress": any}),
        json!({"podSelector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}]}, "egress": any}),
        json!({"podSelector": {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["back"]}]}, "egress": any}),
        json!({"podSelector": {"matchExpressions": [{"key": "other", "operator": "Exists"}]}, "egress": any}),
        json!({"podSelector": {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, "egress": any}),
    ] {
        assert!(!opened_by(&spec), "{spec}");
    }
}
