//! What may be reached over the network, and what a task may ask of a cluster.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::is_default;

/// The loopback port of the egress broker. It is in no list: what a runtime may connect to is this
/// port, on any address that a policy leaves open.
pub const BROKER_PORT: u16 = 39_128;

/// `[egress]`: what a runtime may reach, through the broker; nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EgressPolicy {
    /// At most 32 targets; default none.
    #[serde(skip_serializing_if = "is_default")]
    pub allow: Vec<EgressTarget>,
}

/// One place that may be reached. Ports are 1..=65535, but never [`BROKER_PORT`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase", untagged, deny_unknown_fields)]
pub enum EgressTarget {
    /// A host by name.
    Host {
        /// A DNS name in lower case, no address; at most 253 bytes.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// Addresses. The only way to reach private ones.
    Cidr {
        /// Network and prefix length, such as `10.20.0.0/16` or `2001:db8::/32`.
        cidr: String,
        /// TCP port.
        port: u16,
    },
    /// A service of the same cluster.
    Service {
        /// Which one.
        service: ServiceTarget,
    },
}

/// A Kubernetes service and the pods behind it, which is what a network policy can name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceTarget {
    /// Its namespace: a DNS label.
    pub namespace: String,
    /// Its name: a DNS label.
    pub name: String,
    /// The service's port.
    pub port: u16,
    /// The pods' port, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<u16>,
    /// The labels of the pods behind it: 1..=16.
    pub pod_labels: BTreeMap<String, String>,
}

/// `[cluster]`: what a task may ask of a cluster. Nothing in here matters on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClusterPolicy {
    /// The walls around a runtime; default `strict`.
    pub containment: Containment,
    /// Whether runner pods get a user namespace; default `off`.
    pub user_namespaces: UserNamespaces,
    /// Images that a process runtime may have: at most 64 of at most 255 bytes. A repository
    /// (`registry.example.com/team/runtime`), or all below a path (`registry.example.com/team/*`).
    /// Default none.
    pub images: Vec<String>,
    /// Whether an image must be pinned by digest; default true.
    pub require_image_digest: bool,
    /// Upper bound of a runtime's CPU: 1..=256000 thousandths of a core; default 1000.
    pub max_cpu_millis: u32,
    /// Upper bound of a runtime's memory: 16..=1048576 MiB; default 4096.
    pub max_memory_mib: u32,
    /// Upper bound of what a runtime may write to its scratch directory: 1..=1048576 MiB; default 1024.
    pub max_ephemeral_storage_mib: u32,
    /// Other resources, such as `nvidia.com/gpu`, with the most of each: at most 8, 1..=64; default none.
    pub max_extended_resources: BTreeMap<String, u32>,
    /// Upper bound of `retryLimit`: 0..=10; default 3.
    pub max_retry_limit: u32,
    /// Priority classes that a task may name: at most 16; default none.
    pub priority_classes: Vec<String>,
    /// Node labels that a task may select by, with the values it may ask for: at most 16 of 1..=16;
    /// default none.
    pub node_selector: BTreeMap<String, Vec<String>>,
    /// Taints that a task may tolerate: at most 16; default none.
    pub tolerations: Vec<TolerationRule>,
    /// Pull secrets that a task may name: at most 16; default none.
    pub image_pull_secrets: Vec<String>,
}

impl Default for ClusterPolicy {
    fn default() -> Self {
        Self {
            containment: Containment::Strict,
            user_namespaces: UserNamespaces::Off,
            images: Vec::new(),
            require_image_digest: true,
            max_cpu_millis: 1000,
            max_memory_mib: 4096,
            max_ephemeral_storage_mib: 1024,
            max_extended_resources: BTreeMap::new(),
            max_retry_limit: 3,
            priority_classes: Vec::new(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            image_pull_secrets: Vec::new(),
        }
    }
}

/// The walls around a runtime that must stand before it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "kind",
    deny_unknown_fields
)]
pub enum Containment {
    /// Landlock with TCP rules (ABI 6 or later) and seccomp.
    #[default]
    Strict,
    /// seccomp without `socket`: enough where no target is listed.
    NoNetwork,
    /// A sandboxed container runtime.
    Sandboxed {
        /// The `RuntimeClass`: a DNS name of at most 253 bytes.
        runtime_class_name: String,
    },
}

/// Whether runner pods get a user namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UserNamespaces {
    /// No; the default, because it asks for a recent node.
    #[default]
    Off,
    /// Yes; where a node cannot give one, the pod does not start.
    Required,
}

/// A taint that a task may tolerate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TolerationRule {
    /// The taint's key: a qualified name of at most 317 bytes.
    pub key: String,
    /// The only value; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The only effect; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
}

/// The effect of a taint, as Kubernetes spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TaintEffect {
    /// New pods stay away.
    NoSchedule,
    /// New pods stay away if they can.
    PreferNoSchedule,
    /// Running pods leave too.
    NoExecute,
}
