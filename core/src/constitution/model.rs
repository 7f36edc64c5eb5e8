//! The model behind the TOML file and the `Constitution` object.
//!
//! `snake_case` in TOML, `camelCase` in canonical JSON. Fields at their default are left out of the
//! canonical form, so that a new optional field never changes an old digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Ratio;

mod cluster;

pub use cluster::*;

/// A complete, validated policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Constitution {
    /// Name, version and catalogue.
    pub meta: Meta,
    /// The two switches of the reference.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy: Policy,
    /// Branches, consensus, limits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub supervisor: SupervisorPolicy,
    /// Terms, patterns, detectors.
    #[serde(default, skip_serializing_if = "is_default")]
    pub interceptor: InterceptorPolicy,
    /// What tasks may use.
    #[serde(default, skip_serializing_if = "is_default")]
    pub runtime: RuntimePolicy,
    /// What a runtime may reach over the network.
    #[serde(default, skip_serializing_if = "is_default")]
    pub egress: EgressPolicy,
    /// What a task may ask of a cluster.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cluster: ClusterPolicy,
    /// What is kept, and for how long.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ledger: LedgerPolicy,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `[meta]`: identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Meta {
    /// 1..=63 bytes: lowercase letters, digits and `-`, as a DNS label.
    pub name: String,
    /// `MAJOR.MINOR.PATCH` of Semantic Versioning 2.0.0, with optional pre-release; at most 64 bytes.
    pub version: String,
    /// The number of the detector catalogue. Always in the canonical form, resolved, so that a later
    /// build decides by the same tables.
    pub catalogue: u32,
}

/// `[policy]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// `false`: rules of category `harmful` are enforced. No model judges anything.
    #[serde(skip_serializing_if = "is_default")]
    pub allow_harmful_content: bool,
    /// `false`: built-in personal-data detectors and rules of category `pii` are enforced.
    #[serde(skip_serializing_if = "is_default")]
    pub allow_pii_leakage: bool,
}

/// `[supervisor]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SupervisorPolicy {
    /// 1..=64; default 4.
    pub max_branches: u32,
    /// Exact decimal, 0 < r ≤ 1; default 0.75.
    pub min_consensus_ratio: Ratio,
    /// What the ratio is a part of; default `all`.
    pub quorum: Quorum,
    /// Only with `quorum = "valid"`: 1..=`max_branches`; default ⌊N/2⌋+1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_valid_branches: Option<u32>,
    /// When two branches count as the same answer; default `text`.
    pub equivalence: Equivalence,
    /// What is shown for `number`, `regex` and `choice`; default `agreed`.
    pub show: Show,
    /// What a tie does; default `refuse`.
    pub tie: Tie,
    /// What happens without an agreement; default `fail`.
    pub on_no_agreement: OnNoAgreement,
    /// 1..=1048576 bytes; default 65536.
    pub max_prompt_bytes: u32,
    /// Of one branch: 1..=524288 bytes; default 32768.
    pub max_answer_bytes: u32,
    /// Deadline of one branch: 1..=3600 seconds; default 60.
    pub branch_timeout_seconds: u32,
    /// Deadline of the task: 1..=86400 seconds; default 300.
    pub task_timeout_seconds: u32,
    /// Branches that run at once: 1..=64; default 4. It never changes a decision.
    pub max_parallel_branches: u32,
}

impl Default for SupervisorPolicy {
    fn default() -> Self {
        Self {
            max_branches: 4,
            min_consensus_ratio: Ratio::THREE_QUARTERS,
            quorum: Quorum::All,
            min_valid_branches: None,
            equivalence: Equivalence::Text,
            show: Show::Agreed,
            tie: Tie::Refuse,
            on_no_agreement: OnNoAgreement::Fail,
            max_prompt_bytes: 65_536,
            max_answer_bytes: 32_768,
            branch_timeout_seconds: 60,
            task_timeout_seconds: 300,
            max_parallel_branches: 4,
        }
    }
}

/// What the consensus ratio is a part of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Quorum {
    /// Of all branches: failed, abstaining and blocked ones count against.
    #[default]
    All,
    /// Of the branches that gave an answer, of which there must be `min_valid_branches`.
    Valid,
}

/// When two branches count as the same answer. Exactly one kind; no fallback between kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "kind",
    deny_unknown_fields
)]
pub enum Equivalence {
    /// NFKC, case-folded, invisible characters dropped, white space collapsed.
    #[default]
    Text,
    /// The same bytes.
    Bytes,
    /// The same RFC 8785 form.
    Json,
    /// The same decimal after rounding half to even to `decimals` places.
    Number {
        /// 0..=9.
        decimals: u32,
    },
    /// The same `text` key of the first capture group (or whole match) of a linear-time pattern.
    Regex {
        /// At most 1024 bytes.
        pattern: String,
        /// The first or the last match counts.
        #[serde(default, skip_serializing_if = "is_default")]
        take: Take,
    },
    /// One of a closed list, found as the `text` key of the answer.
    Choice {
        /// 2..=64 values of at most 256 bytes, distinct under the `text` key.
        values: Vec<String>,
    },
}

/// Which match of a `regex` equivalence counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Take {
    /// The first match.
    #[default]
    First,
    /// The last match.
    Last,
}

/// What is shown when the vote was on a value and not on the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Show {
    /// The agreed value, in canonical form.
    #[default]
    Agreed,
    /// The text of the lowest-index branch of the winning class; recorded as agreed on the key only.
    Branch,
}

/// What a tie between classes does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Tie {
    /// No agreement.
    #[default]
    Refuse,
    /// The class that holds the lowest branch index wins.
    LowestIndex,
}

/// What happens without an agreement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "kind",
    deny_unknown_fields
)]
pub enum OnNoAgreement {
    /// Nothing is shown; the outcome is `withheld`.
    #[default]
    Fail,
    /// This text is shown, marked as a fallback; the outcome is still `withheld`.
    Fallback {
        /// 1..=4096 bytes; passes the interceptor like any answer.
        text: String,
    },
}

/// `[interceptor]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InterceptorPolicy {
    /// What happens to findings in the prompt; default `off`.
    #[serde(skip_serializing_if = "is_default")]
    pub prompt: PromptScreening,
    /// Built-in detectors by id (see the catalogue). Absent: on, with `redact`, unless `[policy]`
    /// turns its category off. An entry is a choice and stays in the canonical form, also `redact`.
    #[serde(skip_serializing_if = "is_default")]
    pub detectors: BTreeMap<String, DetectorSetting>,
    /// Word lists; at most 256.
    #[serde(skip_serializing_if = "is_default")]
    pub terms: Vec<TermRule>,
    /// Regular expressions; at most 64.
    #[serde(skip_serializing_if = "is_default")]
    pub patterns: Vec<PatternRule>,
}

/// What happens to findings in a prompt before the runtime sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PromptScreening {
    /// The runtime gets the prompt as it is.
    #[default]
    Off,
    /// A prompt with a finding is refused.
    Withhold,
    /// The runtime gets the filtered prompt.
    Redact,
}

/// What a built-in detector does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DetectorSetting {
    /// Not looked for.
    Off,
    /// Replaced by `[REDACTED:id]`.
    Redact,
    /// Replaced by one fixed mark.
    Remove,
    /// All but the last four characters replaced.
    Mask,
    /// Replaced by a keyed hash, the same for the same value within a task.
    Hash,
    /// The whole answer is withheld.
    Withhold,
}

/// What a rule does with what it finds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Replaced by `[REDACTED:id]`.
    #[default]
    Redact,
    /// Replaced by one fixed mark.
    Remove,
    /// All but the last four characters replaced.
    Mask,
    /// Replaced by a keyed hash, the same for the same value within a task.
    Hash,
    /// The whole answer is withheld.
    Withhold,
}

/// What a rule is about; `[policy]` turns categories off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Category {
    /// Always enforced.
    #[default]
    Custom,
    /// Enforced unless `allow_harmful_content`.
    Harmful,
    /// Enforced unless `allow_pii_leakage`.
    Pii,
    /// Keys and tokens: always enforced.
    Secret,
}

/// A list of words or phrases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TermRule {
    /// 1..=32 bytes: lowercase letters, digits, `_`; unique over all rules and detectors.
    pub id: String,
    /// 1..=1024 terms of 1..=128 bytes; matched as whole words on the folded view.
    pub terms: Vec<String>,
    /// Default `redact`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub action: Action,
    /// Default `custom`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub category: Category,
}

/// A regular expression with its own evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatternRule {
    /// 1..=32 bytes: lowercase letters, digits, `_`; unique over all rules and detectors.
    pub id: String,
    /// At most 1024 bytes; its longest match must be bounded by 256 bytes of the folded view.
    pub pattern: String,
    /// Default `redact`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub action: Action,
    /// Default `custom`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub category: Category,
    /// 1..=32 texts of at most 1024 bytes in which the rule must find something.
    pub examples: Vec<String>,
    /// At most 32 texts of at most 1024 bytes in which the rule must find nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub counterexamples: Vec<String>,
}

/// `[runtime]`: what tasks may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RuntimePolicy {
    /// Runtime kinds a task may name; default all of them.
    pub kinds: Vec<RuntimeKind>,
    /// Models that a task may name, exactly: at most 64 of at most 256 bytes; default none, which
    /// allows every model.
    #[serde(skip_serializing_if = "is_default")]
    pub models: Vec<String>,
    /// The one loopback TCP port a contained process may reach; default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loopback_port: Option<u16>,
    /// Address space of one runtime process: 64..=65536 MiB; default 4096.
    pub max_memory_mib: u32,
    /// Processes and threads of one runtime: 1..=1024; default 64.
    pub max_processes: u32,
}

impl Default for RuntimePolicy {
    fn default() -> Self {
        Self {
            kinds: RuntimeKind::ALL.to_vec(),
            models: Vec::new(),
            loopback_port: None,
            max_memory_mib: 4096,
            max_processes: 64,
        }
    }
}

impl RuntimePolicy {
    /// Whether a task may name this model.
    #[must_use]
    pub fn allows_model(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|it| it == model)
    }
}

/// A kind of runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RuntimeKind {
    /// A process over stdin and stdout.
    Process,
    /// A service that takes and answers JSON.
    Http,
    /// An OpenAI-compatible chat-completions endpoint.
    #[serde(rename = "openai")]
    OpenAi,
    /// The built-in runtime that answers with the prompt; for trials and tests.
    Echo,
}

impl RuntimeKind {
    /// Every kind, in canonical order.
    pub const ALL: [Self; 4] = [Self::Process, Self::Http, Self::OpenAi, Self::Echo];
}

/// `[ledger]`: what is kept, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LedgerPolicy {
    /// Whether the prompt is kept as a payload; without it a record cannot be replayed. Default true.
    pub keep_prompt: bool,
    /// Whether branch outputs are kept as payloads; without them a record cannot be replayed. Default true.
    pub keep_branches: bool,
    /// How long payloads are kept: 0 (for ever) or 1..=36500 days; default 0.
    pub retention_days: u32,
}

impl Default for LedgerPolicy {
    fn default() -> Self {
        Self {
            keep_prompt: true,
            keep_branches: true,
            retention_days: 0,
        }
    }
}
