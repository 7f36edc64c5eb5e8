//! `spec.supervisor`.

use axiom_hive_core::constitution as core;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Branches, consensus and limits.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.minValidBranches) || (has(self.quorum) && self.quorum == 'valid')")
        .message("`minValidBranches` must only be given with quorum valid").field_path(".minValidBranches"),
    validation = Rule::new(
        "!has(self.minValidBranches) || self.minValidBranches <= (has(self.maxBranches) ? self.maxBranches : 4)")
        .message("`minValidBranches` must be at most `maxBranches`").field_path(".minValidBranches"),
)]
pub struct SupervisorPolicy {
    /// How many times a runtime is asked at most, each time with another seed; default 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub max_branches: Option<i32>,
    /// The part of the branches that must agree: an exact decimal above 0 and at most 1, as a text;
    /// default "0.75".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(validation = Rule::new("self.matches('^(1([.]0{1,9})?|0[.][0-9]{0,8}[1-9]0{0,8})$')")
        .message("must be a decimal above 0 and at most 1, with at most 9 decimal places, such as \"0.75\""))]
    pub min_consensus_ratio: Option<String>,
    /// What the ratio is a part of: `all` branches (the default), or `valid` ones, which gave an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quorum")]
    pub quorum: Option<core::Quorum>,
    /// With quorum `valid`: how many branches must give an answer; default half of them and one more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub min_valid_branches: Option<i32>,
    /// When two answers count as the same; default kind `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equivalence: Option<Equivalence>,
    /// What is shown where the vote was on a value: the `agreed` value (the default), or the text of
    /// the `branch` with the lowest index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::show")]
    pub show: Option<core::Show>,
    /// What a tie does: `refuse` (the default), or `lowestIndex`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::tie")]
    pub tie: Option<core::Tie>,
    /// What happens without an agreement; default kind `fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_no_agreement: Option<OnNoAgreement>,
    /// Upper bound of a prompt, in bytes; default 65536.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub max_prompt_bytes: Option<i32>,
    /// Upper bound of one branch's answer, in bytes; default 32768.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 524_288))]
    pub max_answer_bytes: Option<i32>,
    /// Deadline of one branch; default 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub branch_timeout_seconds: Option<i32>,
    /// Upper bound of a task's deadline, and what it is where the task names none; default 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub task_timeout_seconds: Option<i32>,
    /// How many branches run at once; default 4. It never changes a decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub max_parallel_branches: Option<i32>,
}

/// When two answers count as the same: one kind, with the fields of that kind.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.decimals) == (self.kind == 'number')")
        .message("`decimals` must be given with kind number, and with no other").field_path(".decimals"),
    validation = Rule::new("has(self.pattern) == (self.kind == 'regex')")
        .message("`pattern` must be given with kind regex, and with no other").field_path(".pattern"),
    validation = Rule::new("!has(self.take) || self.kind == 'regex'")
        .message("`take` must only be given with kind regex").field_path(".take"),
    validation = Rule::new("has(self.values) == (self.kind == 'choice')")
        .message("`values` must be given with kind choice, and with no other").field_path(".values"),
)]
pub struct Equivalence {
    /// `text`: letter case, width and white space do not matter. `bytes`: the same bytes. `json`: the
    /// same value. `number`: the same decimal after rounding. `regex`: the same first group or match.
    /// `choice`: the same one of a list.
    #[schemars(schema_with = "schema::equivalence_kind")]
    pub kind: String,
    /// With `number`: decimal places, rounded half to even.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9))]
    pub decimals: Option<i32>,
    /// With `regex`: a regular expression without look-around and back references.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub pattern: Option<String>,
    /// With `regex`: whether the `first` match (the default) or the `last` counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::take")]
    pub take: Option<core::Take>,
    /// With `choice`: 2 to 64 values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 2, max = 64), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Vec<String>,
}

/// What happens without an agreement.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.text) == (self.kind == 'fallback')")
    .message("`text` must be given with kind fallback, and with no other").field_path(".text"))]
pub struct OnNoAgreement {
    /// `fail`: nothing is shown. `fallback`: a fixed text is shown, marked as such. Either way the
    /// outcome is withheld.
    #[schemars(schema_with = "schema::on_no_agreement_kind")]
    pub kind: String,
    /// With `fallback`: the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub text: Option<String>,
}
