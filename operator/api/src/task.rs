//! `SupervisedTask`: one prompt to be answered under one constitution.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::schema;

mod runtime;
mod status;

pub use runtime::*;
pub use status::*;

const FINAL: &str =
    "is final: apply a new task instead (only `suspend` and `ttlSecondsAfterFinished` may change)";

fn final_field(field: &str) -> Rule {
    Rule::new(schema::is_unchanged(field))
        .message(FINAL)
        .field_path(format!(".{field}"))
}

/// One prompt to be answered under one constitution.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "axiomhive.io",
    version = "v1alpha1",
    kind = "SupervisedTask",
    plural = "supervisedtasks",
    shortname = "stask",
    category = "axiomhive",
    namespaced,
    status = "SupervisedTaskStatus",
    derive = "PartialEq",
    doc = "One prompt to be answered under one constitution, by an untrusted runtime in an isolated pod.",
    selectable = ".spec.constitutionRef.name",
    // The API server has made sure of the letters; a rule over them would be costly.
    validation = Rule::new("self.metadata.name.size() <= 52 && !self.metadata.name.contains('.')")
        .message("`metadata.name` must be a DNS label of at most 52 lowercase letters, digits and \"-\"")
        .field_path(".metadata.name"),
    printcolumn(name = "Constitution", type_ = "string", json_path = ".spec.constitutionRef.name"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.constitution.version", description = "The constitution's version that was in force"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.conditions[?(@.type==\"Succeeded\")].reason", description = "How the task ended, or where it stands"),
    printcolumn(name = "Agreement", type_ = "string", json_path = ".status.agreement.summary", description = "Agreeing branches of those asked for"),
    printcolumn(name = "Removed", type_ = "integer", json_path = ".status.removed.spans", description = "Places that the interceptor took out of the answer"),
    printcolumn(name = "Index", type_ = "integer", json_path = ".status.ledger.index", description = "Index of the terminal record in the ledger"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Attempt", type_ = "integer", json_path = ".status.attempt", priority = 1, description = "The last attempt, counted from 0"),
    printcolumn(name = "Pod", type_ = "string", json_path = ".status.pod.name", priority = 1, description = "The pod of the last attempt"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.constitution.digest", priority = 1, description = "The constitution's digest"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.prompt) != has(self.promptFrom)")
        .message("must have exactly one of `prompt` and `promptFrom`").field_path(".prompt"),
    validation = Rule::new("self.constitutionRef == oldSelf.constitutionRef").message(FINAL).field_path(".constitutionRef"),
    validation = final_field("prompt"),
    validation = final_field("promptFrom"),
    validation = Rule::new("self.runtime == oldSelf.runtime").message(FINAL).field_path(".runtime"),
    validation = final_field("branches"),
    validation = final_field("timeoutSeconds"),
    validation = final_field("retryLimit"),
    validation = final_field("resources"),
    validation = final_field("priorityClassName"),
    validation = final_field("nodeSelector"),
    validation = final_field("tolerations"),
    validation = final_field("imagePullSecrets"),
)]
pub struct SupervisedTaskSpec {
    /// The constitution that the task runs under. Without version or digest it is the one in force
    /// when the first attempt starts; every later attempt runs under the same.
    pub constitution_ref: ConstitutionRef,
    /// The prompt: at most 128 KiB, and at most what the constitution allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 131_072))]
    pub prompt: Option<String>,
    /// Where the prompt is read from instead: one key of a `ConfigMap` or Secret of this namespace. It is
    /// mounted into the runner pod and copied into no other object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_from: Option<PromptSource>,
    /// Who answers.
    pub runtime: Runtime,
    /// How many branches are asked; default and upper bound are the constitution's `maxBranches`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub branches: Option<i32>,
    /// Deadline over all attempts, from the first start of a pod, without time suspended; default and
    /// upper bound are the constitution's `taskTimeoutSeconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 15, max = 86400))]
    pub timeout_seconds: Option<i32>,
    /// How many attempts may follow a failed one; default 2, and at most the constitution's
    /// `maxRetryLimit`. An answer that was withheld or a task that was refused is never retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10))]
    pub retry_limit: Option<i32>,
    /// Seconds after its end that the object is deleted; default never. The record stays in the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// true: no pod runs. A running one is deleted, and a new attempt starts later at no cost.
    #[serde(default)]
    pub suspend: bool,
    /// What a process runtime may use, within what the constitution allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The pod's priority class: one that the constitution lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Labels that the pod's node must have: those that the constitution lists.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    #[x_kube(validation = schema::has_short_keys())]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pod tolerates: those that the constitution lists; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// Secrets with which the runtime's image is pulled: those that the constitution lists; at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub image_pull_secrets: Vec<SecretRef>,
}

/// Names a constitution, and pins it as far as it says.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConstitutionRef {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("must be a DNS label: 1 to 63 lowercase letters, digits and \"-\", neither first nor last a \"-\""))]
    pub name: String,
    /// Its version: any that the ledger holds, also one that is no longer in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 5, max = 64))]
    pub version: Option<String>,
    /// Its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 71))]
    #[x_kube(validation = Rule::new("self.matches('^sha256:[0-9a-f]{64}$')")
        .message("must be \"sha256:\" and 64 lowercase hexadecimal digits"))]
    pub digest: Option<String>,
}

/// Where a prompt is read from. The key's name is what opens it to tasks.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.configMapKeyRef) != has(self.secretKeyRef)")
    .message("must have exactly one of `configMapKeyRef` and `secretKeyRef`"))]
pub struct PromptSource {
    /// A key of a `ConfigMap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<PromptKey>,
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<PromptKey>,
}

/// One key of an object of this namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PromptKey {
    /// The object's name.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// The key; it begins with `axiomhive-prompt`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^axiomhive-prompt[-._a-zA-Z0-9]*$')")
        .message("must begin with \"axiomhive-prompt\": only such keys are open to tasks"))]
    pub key: String,
}

/// Names an object of this namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The Secret's name.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
}

/// What a process runtime may use.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Limits, which are the requests too: `cpu`, `memory`, `ephemeral-storage`, and those that the
    /// constitution lists. Default: 500m, 512Mi and 256Mi, or the constitution's maxima if lower.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::limits")]
    #[x_kube(validation = schema::has_short_keys())]
    pub limits: BTreeMap<String, IntOrString>,
}

/// A taint that the pod tolerates, as in a pod's spec.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.value) || !has(self.operator) || self.operator == 'Equal'")
        .message("`value` must only be given with operator Equal").field_path(".value"),
    validation = Rule::new("!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')")
        .message("`tolerationSeconds` must only be given with effect NoExecute").field_path(".tolerationSeconds"),
)]
pub struct Toleration {
    /// The taint's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// `Equal` (the default): the value must be the same. `Exists`: any value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// The taint's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// The taint's effect; absent: every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::taint_effect")]
    pub effect: Option<axiom_hive_core::constitution::TaintEffect>,
    /// With `NoExecute`: how long the pod stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86400))]
    pub toleration_seconds: Option<i64>,
}

/// How a toleration's value is compared.
#[derive(schemars::JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TolerationOperator {
    /// The value must be the same.
    Equal,
    /// Any value.
    Exists,
}
