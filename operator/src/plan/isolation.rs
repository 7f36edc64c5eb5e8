//! What other network policies of a namespace do to a runner pod.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// The names of the policies that open a pod with these labels beyond `ours`, sorted.
///
/// A policy is ours only if an equal one is in `ours`: a changed one counts as foreign.
#[must_use]
pub fn openings(
    all: &[NetworkPolicy],
    ours: &[NetworkPolicy],
    labels: &BTreeMap<String, String>,
) -> Vec<String> {
    let is_ours = |policy: &NetworkPolicy| {
        ours.iter()
            .any(|own| own.metadata.name == policy.metadata.name && own.spec == policy.spec)
    };
    let mut names: Vec<String> = all
        .iter()
        .filter(|policy| !is_ours(policy) && opens(policy, labels))
        .map(|policy| policy.metadata.name.clone().unwrap_or_default())
        .collect();
    names.sort();
    names
}

/// Whether the policy selects the pod and allows anything: any rule does, however narrow, since
/// nobody but us has reason to open a runner pod.
fn opens(policy: &NetworkPolicy, labels: &BTreeMap<String, String>) -> bool {
    let Some(spec) = &policy.spec else {
        return false;
    };
    let has_rules = is_type(spec, "Ingress")
        && spec.ingress.as_ref().is_some_and(|it| !it.is_empty())
        || is_type(spec, "Egress") && spec.egress.as_ref().is_some_and(|it| !it.is_empty());
    // An absent selector selects every pod.
    has_rules
        && spec
            .pod_selector
            .as_ref()
            .is_none_or(|selector| selects(selector, labels))
}

/// Without `policyTypes` a policy is of type `Ingress`, and of type `Egress` where it has egress rules.
fn is_type(spec: &NetworkPolicySpec, wanted: &str) -> bool {
    match &spec.policy_types {
        Some(types) if !types.is_empty() => types.iter().any(|it| it == wanted),
        _ => true,
    }
}

/// Whether a label selector selects these labels. An operator that is not known selects: to be too
/// careful starts no pod, to be too bold opens one.
#[must_use]
pub fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let holds = |requirement: &LabelSelectorRequirement| {
        let value = labels.get(&requirement.key);
        let values = requirement.values.as_deref().unwrap_or_default();
        let is_listed = value.is_some_and(|value| values.contains(value));
        match requirement.operator.as_str() {
            "In" => is_listed,
            "NotIn" => !is_listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => true,
        }
    };
    selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value))
        && selector.match_expressions.iter().flatten().all(holds)
}
