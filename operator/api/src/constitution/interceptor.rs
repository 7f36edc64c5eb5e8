//! `spec.interceptor`.

use std::collections::BTreeMap;

use axiom_hive_core::constitution as core;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// What is filtered from prompts and answers. These are detectors and lists; no model judges
/// anything.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct InterceptorPolicy {
    /// What findings in a prompt do: `off` (the default: the runtime gets the prompt as it is),
    /// `redact`, or `withhold` (the task is refused).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::prompt_screening")]
    pub prompt: Option<core::PromptScreening>,
    /// What built-in detectors do, by their id. One that is not named redacts, unless `policy` turns
    /// its category off.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::detectors")]
    #[x_kube(validation = Rule::new("self.all(id, id.size() <= 32)").message("a detector's id must have at most 32 characters"))]
    pub detectors: BTreeMap<String, core::DetectorSetting>,
    /// Lists of words and phrases; at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub terms: Vec<TermRule>,
    /// Regular expressions; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub patterns: Vec<PatternRule>,
}

/// A list of words or phrases, found as whole words; letter case, width and invisible characters do
/// not matter.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TermRule {
    /// 1 to 32 lowercase letters, digits and `_`; unique over all rules and detectors.
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[a-z0-9_]+$"))]
    pub id: String,
    /// 1 to 1024 words or phrases.
    #[schemars(length(min = 1, max = 1024), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "atomic"))]
    pub terms: Vec<String>,
    /// What is done with a finding: `redact` (the default), `remove`, `mask`, `hash`, or `withhold`
    /// the whole answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::action")]
    pub action: Option<core::Action>,
    /// What the rule is about: `custom` (the default) and `secret` are always enforced, `harmful` and
    /// `pii` unless `policy` allows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::category")]
    pub category: Option<core::Category>,
}

/// A regular expression with its own evidence.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PatternRule {
    /// 1 to 32 lowercase letters, digits and `_`; unique over all rules and detectors.
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[a-z0-9_]+$"))]
    pub id: String,
    /// A regular expression without look-around and back references, whose longest match is bounded.
    #[schemars(length(min = 1, max = 1024))]
    pub pattern: String,
    /// What is done with a finding: `redact` (the default), `remove`, `mask`, `hash`, or `withhold`
    /// the whole answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::action")]
    pub action: Option<core::Action>,
    /// What the rule is about: `custom` (the default) and `secret` are always enforced, `harmful` and
    /// `pii` unless `policy` allows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::category")]
    pub category: Option<core::Category>,
    /// 1 to 32 texts in which the rule must find something: checked before it is in force.
    #[schemars(length(min = 1, max = 32), inner(length(max = 1024)), extend("x-kubernetes-list-type" = "atomic"))]
    pub examples: Vec<String>,
    /// At most 32 texts in which the rule must find nothing: checked before it is in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 1024)), extend("x-kubernetes-list-type" = "atomic"))]
    pub counterexamples: Vec<String>,
}
