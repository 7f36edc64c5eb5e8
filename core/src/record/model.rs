//! The shapes of a record. `docs/LEDGER-FORMAT.md` documents every field.

use serde::{Deserialize, Serialize};

use crate::constitution::RuntimeKind;
use crate::digest::Digest;
use crate::tlog::VerifyingKey;

use super::{Commitment, LedgerHead, Observed, ObservedIntent, RotationReason};

/// One leaf of the ledger. Read by [`Record::from_canonical`] only, which knows each field's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    pub(super) schema: Schema,
    /// What happened.
    #[serde(flatten)]
    pub body: Body,
}

/// The value of `schema` in every record of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Schema {
    #[serde(rename = "axiomhive.io/record/v1")]
    V1,
}

/// What a record says, by `kind`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "kind"
)]
pub enum Body {
    /// The first use of (name, version).
    Constitution {
        /// Which one.
        constitution: ConstitutionRef,
        /// The canonical text, as a payload.
        text: Commitment,
    },
    /// An attempt is about to start: durable before the first runtime call.
    Intent {
        /// Which attempt of which task.
        task: TaskRef,
        /// The policy in force.
        constitution: ConstitutionRef,
        /// The task's spec with every text replaced by its commitment.
        spec: Digest,
        /// Who will answer.
        runtime: RuntimeRef,
        /// The task as it will run (canonical JSON of `TaskSpec` without the prompt), as a payload.
        task_text: Commitment,
        /// The prompt.
        prompt: Commitment,
        /// When and by what.
        observed: ObservedIntent,
    },
    /// A failed attempt that may be retried; not terminal.
    Attempt(Outcome),
    /// Terminal: an answer was agreed on, filtered and may be released.
    Answered(Outcome),
    /// Terminal: no agreement, or policy.
    Withheld(Outcome),
    /// Terminal: the input was refused.
    Refused(Outcome),
    /// Terminal: runtime, deadline or isolation.
    Failed(Outcome),
    /// Terminal: cancelled.
    Cancelled(Outcome),
    /// A task that had ended was taken away, by its user or after its time.
    Deleted {
        /// Which task, and the attempt that ended it.
        task: TaskRef,
        /// Index of the record that ended it.
        ended_index: u64,
        /// When, in milliseconds since the Unix epoch.
        at_unix_ms: u64,
    },
    /// The ledger takes nothing more but erasures.
    Sealed {
        /// When, in milliseconds since the Unix epoch.
        at_unix_ms: u64,
        /// The key of the ledger that goes on from here; absent when there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        successor: Option<VerifyingKey>,
    },
    /// First record of a ledger that goes on where a sealed one ended.
    Succession {
        /// When, in milliseconds since the Unix epoch.
        at_unix_ms: u64,
        /// What was sealed.
        predecessor: LedgerHead,
        /// Why a new ledger was begun.
        reason: RotationReason,
    },
    /// Payloads were erased.
    Erasure {
        /// Index of the record whose payloads are gone.
        erased_index: u64,
        /// The commitments that no longer resolve; at most 256.
        commitments: Vec<Commitment>,
        /// When, in milliseconds since the Unix epoch.
        at_unix_ms: u64,
    },
}

/// Which attempt of which task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskRef {
    /// 1..=64 bytes of letters, digits, `-`, `_`, `.`; a UUID in a cluster.
    pub uid: String,
    /// Counted from 0; at most 1000.
    pub attempt: u32,
}

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConstitutionRef {
    /// `[meta] name`.
    pub name: String,
    /// `[meta] version`.
    pub version: String,
    /// SHA-256 of the canonical form.
    pub digest: Digest,
    /// The resolved catalogue number.
    pub catalogue: u32,
}

/// The end of an attempt: what was decided, and what was observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Which attempt of which task.
    pub task: TaskRef,
    /// A pure function of constitution, task and the committed branches (invariant 6).
    pub decided: Decided,
    /// Everything that is not: times, usage, the build, how far containment reached.
    pub observed: Observed,
}

/// The pure part of an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// The policy in force.
    pub constitution: ConstitutionRef,
    /// The task's spec with every text replaced by its commitment.
    pub spec: Digest,
    /// Who answered.
    pub runtime: RuntimeRef,
    /// The prompt as given.
    pub prompt: Commitment,
    /// What was found in the prompt; absent when the constitution does not screen prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_findings: Option<Findings>,
    /// Why the attempt ended as it did.
    pub reason: Reason,
    /// The committed branches, by index from 0 without a gap; at most 64.
    pub branches: Vec<BranchRecord>,
    /// The vote over them; absent when no vote took place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vote: Option<VoteRecord>,
    /// The text that may be released; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerRecord>,
}

/// Who answered: the kind in the open, the rest as a digest of the user's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeRef {
    /// Process, HTTP service, model endpoint.
    pub kind: RuntimeKind,
    /// Commitment to the canonical JSON of the `RuntimeSpec`; the same bytes as `runtime` in the task payload.
    pub spec: Commitment,
}

/// Why an attempt ended as it did. Closed: a runtime cannot add a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// Answered: enough branches agreed.
    Agreed,
    /// Withheld: no class reached the threshold.
    NoAgreement,
    /// Withheld: a tie, and the constitution refuses ties.
    Tie,
    /// Withheld: too few branches gave an answer (`min_valid_branches`).
    TooFewValid,
    /// Withheld: a rule with action `withhold` matched the answer.
    PolicyWithheld,
    /// Withheld: the interceptor's step budget was spent.
    BudgetSpent,
    /// Refused: the prompt is empty.
    PromptEmpty,
    /// Refused: the prompt is longer than `max_prompt_bytes`.
    PromptTooLong,
    /// Refused: the constitution screens prompts and found something.
    PromptWithheld,
    /// Refused: the constitution does not allow this runtime or this many branches.
    NotAllowed,
    /// Failed: no branch gave an answer, and each failed in the runtime.
    RuntimeFailed,
    /// Failed: the task's deadline passed.
    DeadlineExceeded,
    /// Failed: containment could not be established or was lost.
    ContainmentFailed,
    /// Failed: the run died and a later one closed it.
    Interrupted,
    /// Cancelled by the user or a signal.
    Cancelled,
}

/// One committed branch. `text` and `key` are commitments; nothing here is a runtime's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BranchRecord {
    /// What it gave.
    pub result: BranchResultKind,
    /// For `failed`: which failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<BranchError>,
    /// For an answer, an abstention or a block: the text as the runtime gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Commitment>,
    /// Length of that text in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// For an answer: the lowest branch index with the same equivalence key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<u32>,
}

/// What a branch gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BranchResultKind {
    /// A text with an equivalence key.
    Answer,
    /// A text without a key under the constitution's equivalence.
    Abstain,
    /// No usable text.
    Failed,
    /// A text that a `withhold` rule or a spent budget blocks.
    Blocked,
}

/// Why a branch failed. Detail (stderr, status text) is never in a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BranchError {
    /// The program could not be started or the service could not be reached.
    Unavailable,
    /// No answer before the branch's deadline.
    Timeout,
    /// More bytes than `max_answer_bytes`.
    TooLong,
    /// Nothing but white space came before the end.
    Empty,
    /// Not UTF-8.
    NotUtf8,
    /// A reply that does not follow the protocol.
    Malformed,
    /// The process ended with a non-zero status.
    ExitStatus,
    /// The process was ended by a signal.
    Signal,
    /// The service answered with an error status.
    HttpStatus,
    /// The runtime itself reported an error.
    Reported,
    /// The connection or the long-lived process was lost.
    Lost,
    /// The egress broker does not open the service, or the runtime asked it too often for what is not
    /// listed.
    Egress,
}

/// The vote over the committed branches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VoteRecord {
    /// N: branches the task asked for.
    pub asked: u32,
    /// k: branches committed when the vote was decided.
    pub committed: u32,
    /// Of those, how many gave an answer.
    pub valid: u32,
    /// Size of the leading class; 0 if there is none.
    pub leader: u32,
    /// Its lowest branch index; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader_class: Option<u32>,
    /// Size of the second largest class.
    pub runner_up: u32,
    /// The exact ratio that had to be reached, as in the constitution.
    pub ratio: crate::constitution::Ratio,
}

/// The text that may be released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AnswerRecord {
    /// The filtered text.
    pub text: Commitment,
    /// Its length in bytes.
    pub bytes: u64,
    /// Where it comes from.
    pub source: AnswerSource,
    /// What the interceptor took out.
    pub removed: Findings,
    /// The key of the interceptor's `hash` action, without which the text cannot be recomputed.
    pub hash_key: Commitment,
}

/// Where the released text comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AnswerSource {
    /// The text of the lowest-index branch of the winning class; the vote was on the text.
    BranchText,
    /// That text, but the vote was on a key only.
    BranchTextKeyOnly,
    /// The agreed value in canonical form.
    AgreedValue,
    /// The constitution's fallback; no agreement.
    Fallback,
}

/// What the interceptor found, three ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// Places.
    pub spans: u64,
    /// Words (UAX 29) in them.
    pub words: u64,
    /// Raw bytes in them.
    pub bytes: u64,
    /// Invisible characters cut from runs of more than 8.
    pub invisible_cut: u64,
}
