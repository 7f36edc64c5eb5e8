//! `spec.egress` and `spec.cluster`.

use std::collections::BTreeMap;

use axiom_hive_core::constitution as core;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// What a runtime may reach over the network.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EgressPolicy {
    /// At most 32 targets; default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub allow: Vec<EgressTarget>,
}

/// One place that may be reached: a host with its port, a network with its port, or a service.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.host), has(self.cidr), has(self.service)].exists_one(given, given)")
        .message("must have exactly one of `host`, `cidr` and `service`"),
    validation = Rule::new("has(self.port) != has(self.service)")
        .message("`port` must be given with `host` and `cidr`, and not beside `service`").field_path(".port"),
    validation = Rule::new("!has(self.port) || self.port != 39128")
        .message("must not be 39128, the port of the egress broker").field_path(".port"),
)]
pub struct EgressTarget {
    /// A DNS name in lower case. Private, link-local and metadata addresses behind it stay closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new(
        "self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])*[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && !self.matches('(^|[.])[0-9]+$')")
        .message("must be a DNS name in lower case, and no address"))]
    pub host: Option<String>,
    /// A network, such as 10.20.0.0/16: the only way to open private addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 43))]
    #[x_kube(validation = Rule::new("isCIDR(self) && cidr(self) == cidr(self).masked()")
        .message("must be a network and its prefix length with every later bit zero, such as \"10.20.0.0/16\""))]
    pub cidr: Option<String>,
    /// The TCP port of `host` or `cidr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// A service of this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceTarget>,
}

/// A service and the pods behind it. The labels stand here because a network policy can only name
/// pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.port != 39128 && (!has(self.targetPort) || self.targetPort != 39128)")
        .message("`port` and `targetPort` must not be 39128, the port of the egress broker").field_path(".port"),
)]
pub struct ServiceTarget {
    /// Its namespace.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub namespace: String,
    /// Its name.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// The service's TCP port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// The pods' TCP port, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub target_port: Option<i32>,
    /// The labels of the pods behind it: 1 to 16.
    #[schemars(schema_with = "schema::labels", extend("minProperties" = 1))]
    #[x_kube(validation = schema::has_short_keys())]
    pub pod_labels: BTreeMap<String, String>,
}

/// What a task may ask of the cluster. Lists are empty and maxima small by default.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterPolicy {
    /// The walls around a runtime that must stand before it starts; default kind `strict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containment: Option<Containment>,
    /// Whether runner pods get a user namespace: `off` (the default) or `required`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::user_namespaces")]
    pub user_namespaces: Option<core::UserNamespaces>,
    /// Images that a process runtime may have: repositories with their registry, such as
    /// registry.example.com/team/runtime, or all below a path: registry.example.com/team/*. At most 64;
    /// default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 255)), extend("x-kubernetes-list-type" = "set"))]
    pub images: Vec<String>,
    /// Whether an image must be pinned by digest; default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_image_digest: Option<bool>,
    /// Upper bound of a runtime's CPU, in thousandths of a core; default 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256_000))]
    pub max_cpu_millis: Option<i32>,
    /// Upper bound of a runtime's memory, in MiB; default 4096.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 1_048_576))]
    pub max_memory_mib: Option<i32>,
    /// Upper bound of a runtime's scratch space, in MiB; default 1024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub max_ephemeral_storage_mib: Option<i32>,
    /// Other resources with the most of each, such as `nvidia.com/gpu: 1`; at most 8, default none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::extended_resources")]
    #[x_kube(validation = schema::has_short_keys())]
    pub max_extended_resources: BTreeMap<String, i32>,
    /// Upper bound of a task's `retryLimit`; default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub max_retry_limit: Option<i32>,
    /// Priority classes that a task may name; at most 16, default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub priority_classes: Vec<String>,
    /// Node labels that a task may select by, each with the values that it may ask for; default none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::label_values")]
    #[x_kube(validation = schema::has_short_keys())]
    pub node_selector: BTreeMap<String, Vec<String>>,
    /// Taints that a task may tolerate; at most 16, default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<TolerationRule>,
    /// Pull secrets that a task may name; at most 16, default none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub image_pull_secrets: Vec<String>,
}

/// The walls around a runtime.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.runtimeClassName) == (self.kind == 'sandboxed')")
    .message("`runtimeClassName` must be given with kind sandboxed, and with no other").field_path(".runtimeClassName"))]
pub struct Containment {
    /// `strict`: Landlock with TCP rules, and seccomp. `noNetwork`: seccomp without sockets, enough
    /// where no target is listed. `sandboxed`: a sandboxed container runtime.
    #[schemars(schema_with = "schema::containment_kind")]
    pub kind: String,
    /// With `sandboxed`: the name of the `RuntimeClass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub runtime_class_name: Option<String>,
}

/// A taint that a task may tolerate.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TolerationRule {
    /// The taint's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// The only value that may be tolerated; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// The only effect that may be tolerated; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::taint_effect")]
    pub effect: Option<core::TaintEffect>,
}
