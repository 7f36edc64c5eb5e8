//! The network policies around runner pods, and what other policies of the namespace do to them.
//!
//! Policies only add: what one allows, no other takes away. So ours open as little as can be, and a
//! foreign one that selects a runner pod and allows anything at all is a reason to start none.
//!
//! | policy | selects | allows |
//! |---|---|---|
//! | `axh-runner` | every runner pod of the namespace | nothing in; out to the ledger's port |
//! | `axh-egress-DIGEST` | runner pods with that list of targets | out to what the list names, and DNS where it has names |
//!
//! A policy cannot name a host: a listed host opens its port to the whole public Internet, and the
//! broker in the supervisor, which alone can use that port, opens the host and nothing else.

use std::collections::BTreeMap;

use axiom_hive_core::constitution::{BROKER_PORT, EgressPolicy, EgressTarget, ServiceTarget};
use axiom_hive_core::digest::Digest;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::names::{PREFIX, ROLE_LABEL, RUNNER};

/// The label with the short digest of the list of targets that a runner pod may reach.
pub const EGRESS_LABEL: &str = "axiomhive.io/egress";
/// The name of the policy that is in every namespace with runner pods.
pub const RUNNER_POLICY: &str = "axh-runner";
/// The label that Kubernetes puts on every namespace, with its name.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";
/// Hexadecimal digits of a list's digest in names and labels.
const SHORT_DIGEST_CHARS: usize = 16;
/// The port of DNS.
const DNS_PORT: u16 = 53;

/// What is not the public Internet, for `except` of `0.0.0.0/0`: the ranges that the broker refuses and
/// that can be somebody's network (RFC 1918, 6598, 3927, 1122, 2544, 5771, 1112).
const NOT_PUBLIC_V4: [&str; 9] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
];
/// The part of IPv6 that is in use (RFC 4291, section 2.4 and the IANA registry).
const PUBLIC_V6: &str = "2000::/3";

/// Where the ledger's pods are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerPods {
    /// Their namespace.
    pub namespace: String,
    /// Their labels.
    pub labels: BTreeMap<String, String>,
    /// The port on which they take records. Their canary port is another, and no policy opens it.
    pub port: u16,
}

/// Why a policy cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("port {0} is the egress broker's own and must not be opened")]
pub struct BrokerPortOpened(u16);

/// The label value and name suffix for a list of targets; `None` where nothing is listed.
#[must_use]
pub fn egress_profile(policy: &EgressPolicy) -> Option<String> {
    if policy.allow.is_empty() {
        return None;
    }
    // The list as the constitution's canonical form has it: one list, one policy.
    let text = serde_json::to_vec(policy).unwrap_or_default();
    let digest = Digest::of(&text).to_string();
    let hex = digest.rsplit(':').next().unwrap_or_default();
    Some(hex.chars().take(SHORT_DIGEST_CHARS).collect())
}

/// Every policy that must be there before a runner pod with this list is made.
pub fn policies(
    namespace: &str,
    ledger: &LedgerPods,
    egress: &EgressPolicy,
) -> Result<Vec<NetworkPolicy>, BrokerPortOpened> {
    let to_ledger = rule(
        vec![pods(&ledger.namespace, &ledger.labels)],
        &[("TCP", ledger.port)],
    )?;
    let mut all = vec![policy(
        namespace,
        RUNNER_POLICY.to_owned(),
        BTreeMap::new(),
        vec![to_ledger],
    )];
    if let Some(profile) = egress_profile(egress) {
        let labels = BTreeMap::from([(EGRESS_LABEL.to_owned(), profile.clone())]);
        let name = format!("{PREFIX}egress-{profile}");
        all.push(policy(namespace, name, labels, profile_rules(egress)?));
    }
    Ok(all)
}

fn policy(
    namespace: &str,
    name: String,
    mut labels: BTreeMap<String, String>,
    egress: Vec<NetworkPolicyEgressRule>,
) -> NetworkPolicy {
    labels.insert(ROLE_LABEL.to_owned(), RUNNER.to_owned());
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(labels),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: None,
            egress: Some(egress),
        }),
    }
}

fn profile_rules(policy: &EgressPolicy) -> Result<Vec<NetworkPolicyEgressRule>, BrokerPortOpened> {
    let mut rules = Vec::new();
    let has_names = policy
        .allow
        .iter()
        .any(|target| !matches!(target, EgressTarget::Cidr { .. }));
    if has_names {
        let labels = BTreeMap::from([("k8s-app".to_owned(), "kube-dns".to_owned())]);
        let dns = [("UDP", DNS_PORT), ("TCP", DNS_PORT)];
        rules.push(rule(vec![pods("kube-system", &labels)], &dns)?);
    }
    for target in &policy.allow {
        rules.push(match target {
            EgressTarget::Host { port, .. } => rule(internet(), &[("TCP", *port)])?,
            EgressTarget::Cidr { cidr, port } => rule(vec![block(cidr, &[])], &[("TCP", *port)])?,
            EgressTarget::Service { service } => to_service(service)?,
        });
    }
    Ok(rules)
}

/// Enforcers see a connection to a service either before or after its address is replaced by a pod's;
/// what they match is the pod and the pod's port.
fn to_service(service: &ServiceTarget) -> Result<NetworkPolicyEgressRule, BrokerPortOpened> {
    let port = service.target_port.unwrap_or(service.port);
    rule(
        vec![pods(&service.namespace, &service.pod_labels)],
        &[("TCP", port)],
    )
}

fn rule(
    to: Vec<NetworkPolicyPeer>,
    ports: &[(&str, u16)],
) -> Result<NetworkPolicyEgressRule, BrokerPortOpened> {
    let port = |&(protocol, port): &(&str, u16)| {
        if port == BROKER_PORT {
            return Err(BrokerPortOpened(port));
        }
        Ok(NetworkPolicyPort {
            protocol: Some(protocol.to_owned()),
            port: Some(IntOrString::Int(i32::from(port))),
            end_port: None,
        })
    };
    Ok(NetworkPolicyEgressRule {
        to: Some(to),
        ports: Some(ports.iter().map(port).collect::<Result<_, _>>()?),
    })
}

fn pods(namespace: &str, labels: &BTreeMap<String, String>) -> NetworkPolicyPeer {
    let namespace = BTreeMap::from([(NAMESPACE_LABEL.to_owned(), namespace.to_owned())]);
    let selector = |labels: BTreeMap<String, String>| LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    };
    NetworkPolicyPeer {
        namespace_selector: Some(selector(namespace)),
        pod_selector: Some(selector(labels.clone())),
        ip_block: None,
    }
}

fn internet() -> Vec<NetworkPolicyPeer> {
    vec![block("0.0.0.0/0", &NOT_PUBLIC_V4), block(PUBLIC_V6, &[])]
}

fn block(cidr: &str, except: &[&str]) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            except: (!except.is_empty())
                .then(|| except.iter().map(|&range| range.to_owned()).collect()),
        }),
        ..NetworkPolicyPeer::default()
    }
}
