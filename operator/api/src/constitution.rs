//! `Constitution`: the policy as a cluster-scoped object.
//!
//! The spec has the fields of the TOML file in `camelCase`, and `namespaces` beside them. Fields have
//! no defaults in the schema: what is applied is what is stored, and an absent field means the
//! default that its description names. The digest leaves such fields out either way.

use std::collections::BTreeMap;

use axiom_hive_core::constitution as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::schema;

mod cluster;
mod interceptor;
mod supervisor;

pub use cluster::*;
pub use interceptor::*;
pub use supervisor::*;

const CONTENT: &str = "must only change together with `meta.version`: \
    the content of a version is final";

/// A section is as it was, or the version is another. An equality of optionals would say it shorter,
/// but the API server then takes both sides for unbounded.
fn content_of_a_version(section: &str) -> Rule {
    let same = schema::is_unchanged(section);
    Rule::new(format!(
        "self.meta.version != oldSelf.meta.version || {same}"
    ))
    .message(CONTENT)
    .field_path(format!(".{section}"))
}

/// A policy that tasks run under: a versioned document, identified by name, version and digest.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "axiomhive.io",
    version = "v1alpha1",
    kind = "Constitution",
    plural = "constitutions",
    shortname = "cst",
    category = "axiomhive",
    status = "ConstitutionStatus",
    derive = "PartialEq",
    doc = "A versioned policy that supervised tasks run under, identified by name, version and digest.",
    validation = Rule::new("self.spec.meta.name == self.metadata.name")
        .message("`spec.meta.name` must be `metadata.name`")
        .field_path(".spec.meta.name"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.inForce.version", description = "The version in force"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether the applied version is in force"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "Why"),
    printcolumn(name = "Index", type_ = "integer", json_path = ".status.inForce.ledger.index", description = "Where the ledger holds its text"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Applied", type_ = "string", json_path = ".spec.meta.version", priority = 1, description = "The version that was applied"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.inForce.digest", priority = 1, description = "The digest of the version in force"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.meta.version != oldSelf.meta.version || self.meta == oldSelf.meta")
        .message(CONTENT).field_path(".meta"),
    validation = content_of_a_version("policy"),
    validation = content_of_a_version("supervisor"),
    validation = content_of_a_version("interceptor"),
    validation = content_of_a_version("runtime"),
    validation = content_of_a_version("egress"),
    validation = content_of_a_version("cluster"),
    validation = content_of_a_version("ledger"),
    validation = Rule::new(
        "!has(self.cluster) || !has(self.cluster.containment) || self.cluster.containment.kind != 'noNetwork' \
         || !has(self.egress) || !has(self.egress.allow) || self.egress.allow.size() == 0")
        .message("`cluster.containment.kind` must be strict or sandboxed where `egress.allow` lists a target")
        .field_path(".cluster.containment"),
)]
pub struct ConstitutionSpec {
    /// Name, version and catalogue: what identifies the document.
    pub meta: Meta,
    /// The namespaces whose tasks may use this constitution; `{}` selects every namespace. This is
    /// access, not content: it may change at any time and is no part of the digest.
    pub namespaces: NamespaceSelector,
    /// The two switches for whole categories of rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Branches, consensus and limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervisor: Option<SupervisorPolicy>,
    /// What is filtered from prompts and answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interceptor: Option<InterceptorPolicy>,
    /// Which runtimes and models a task may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimePolicy>,
    /// What a runtime may reach over the network: only what is listed, and only through the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressPolicy>,
    /// What a task may ask of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterPolicy>,
    /// What is kept beside the log, and for how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerPolicy>,
}

/// Identity.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// The name: that of the object, a DNS label of 1 to 63 characters.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("must be a DNS label: 1 to 63 lowercase letters, digits and \"-\", neither first nor last a \"-\""))]
    pub name: String,
    /// MAJOR.MINOR.PATCH of Semantic Versioning 2.0.0 with an optional -PRERELEASE, such as 1.0.0.
    /// Its content is final: whoever changes anything but `namespaces` raises it.
    #[schemars(length(min = 5, max = 64))]
    #[x_kube(validation = Rule::new(
        "self.matches('^(0|[1-9][0-9]*)[.](0|[1-9][0-9]*)[.](0|[1-9][0-9]*)(-(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)([.](0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?$')")
        .message("must be MAJOR.MINOR.PATCH of Semantic Versioning 2.0.0, with an optional -PRERELEASE and no build metadata, such as \"1.0.0\""))]
    pub version: String,
    /// The number of the catalogue of built-in detectors and tables. It is part of the digest.
    #[schemars(range(min = 1, max = 1000))]
    pub catalogue: i32,
}

/// Namespaces by their labels, as a Kubernetes label selector; all of it must hold. The label
/// `kubernetes.io/metadata.name` selects a namespace by its name.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Labels that the namespace must have, with these values; at most 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    #[x_kube(validation = schema::has_short_keys())]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// One requirement on a label.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : !has(self.values) || self.values.size() == 0")
    .message("`values` must be given with the operators In and NotIn, and with no other").field_path(".values"))]
pub struct LabelRequirement {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How key and values relate.
    pub operator: LabelOperator,
    /// The values of `In` and `NotIn`; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 63)), extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Vec<String>,
}

/// How a label's key and values relate.
#[derive(schemars::JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelOperator {
    /// The label's value is one of the list.
    In,
    /// There is no such label, or its value is none of the list.
    NotIn,
    /// There is such a label.
    Exists,
    /// There is no such label.
    DoesNotExist,
}

/// The two switches for whole categories of rules.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// false (the default): rules of category `harmful` are enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_harmful_content: Option<bool>,
    /// false (the default): the detectors of personal data and rules of category `pii` are enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_pii_leakage: Option<bool>,
}

/// Which runtimes and models a task may use.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RuntimePolicy {
    /// The kinds of runtime, each once; default all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::kinds")]
    pub kinds: Option<Vec<core::RuntimeKind>>,
    /// The models that a task may name, exactly; at most 64. Default none, which allows every model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub models: Vec<String>,
    /// On one machine: the loopback TCP port that a contained process may reach; default none. A
    /// runner pod opens no such port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub loopback_port: Option<i32>,
    /// The address space of one runtime process, in MiB; default 4096.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 64, max = 65536))]
    pub max_memory_mib: Option<i32>,
    /// Processes and threads of one runtime; default 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub max_processes: Option<i32>,
}

/// What is kept beside the log, and for how long.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LedgerPolicy {
    /// Whether prompts are kept; without them a decision cannot be replayed. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_prompt: Option<bool>,
    /// Whether the branches' texts are kept; without them a decision cannot be replayed. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_branches: Option<bool>,
    /// For how many days; 0 (the default) is for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 36500))]
    pub retention_days: Option<i32>,
}

/// What the operator knows of a constitution.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ConstitutionStatus {
    /// The generation of the spec that this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// `Ready`: the applied version is in force. `Stalled`: it never will be, as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The version in force: the last one that was valid and is in the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<VersionInForce>,
}

/// A version that is recorded and in force.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VersionInForce {
    /// Its version.
    #[schemars(length(max = 64))]
    pub version: String,
    /// SHA-256 of its canonical form.
    #[schemars(length(max = 71))]
    pub digest: String,
    /// The generation of the spec that it came from.
    #[schemars(range(min = 0))]
    pub generation: i64,
    /// Since when.
    pub since_time: Time,
    /// Where the ledger holds its text.
    pub ledger: super::task::LedgerPointer,
}
