//! `status` of a task: what the ledger says, in short.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// What the operator knows of a task. Outcome, agreement, removed, pointer and answer are those of the
/// terminal record, copied after it was verified.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SupervisedTaskStatus {
    /// The generation of the spec that this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// `Succeeded` and `Ready`: True once answered, False once it ended otherwise. `Stalled`: it ended
    /// without an answer, or cannot go on. `ConstitutionResolved`, `NetworkIsolated`, `Recorded`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// How the task ended; absent while it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it ended so, in one word: that of the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = "^[a-zA-Z]+$"))]
    pub reason: Option<String>,
    /// The constitution that the task runs under, once it is resolved: it never changes again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constitution: Option<ResolvedConstitution>,
    /// The last attempt, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub attempt: Option<i32>,
    /// How many attempts count against `retryLimit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub retries: Option<i32>,
    /// The pod of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    /// When the first pod was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the task ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Since when it is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend_time: Option<Time>,
    /// How long it was suspended before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub suspended_seconds: Option<i64>,
    /// The vote; absent where none took place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
    /// What the interceptor took out of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Removed>,
    /// Where the terminal record is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<LedgerPointer>,
    /// The receipt of the terminal record (C2SP tlog-proof), up to 32 KiB. It holds neither prompt nor answer, and
    /// verifies without this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub receipt: Option<String>,
    /// The answer, up to 32 KiB, or the constitution's fallback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub answer: Option<String>,
    /// The Secret with a longer answer, under its key `answer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_secret_ref: Option<super::SecretRef>,
}

/// How a task ended.
#[derive(
    JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord,
)]
pub enum Outcome {
    /// An answer was agreed on, filtered, recorded and released.
    Answered,
    /// There is no answer: no agreement, or policy.
    Withheld,
    /// The input was refused.
    Refused,
    /// Runtime, deadline, image or isolation.
    Failed,
    /// Cancelled.
    Cancelled,
}

/// A constitution, pinned.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedConstitution {
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Its version.
    #[schemars(length(max = 64))]
    pub version: String,
    /// SHA-256 of its canonical form.
    #[schemars(length(max = 71))]
    pub digest: String,
}

/// A pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PodRef {
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Its UID, which the intent names.
    #[schemars(length(max = 64))]
    pub uid: String,
}

/// The vote.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Agreement {
    /// Agreeing branches of those asked for, such as `3/4`.
    #[schemars(length(max = 8))]
    pub summary: String,
    /// Branches that the task asked for.
    #[schemars(range(min = 0, max = 64))]
    pub asked: i32,
    /// Branches that were committed when the vote was decided.
    #[schemars(range(min = 0, max = 64))]
    pub committed: i32,
    /// Those of them that gave an answer.
    #[schemars(range(min = 0, max = 64))]
    pub valid: i32,
    /// Branches that agreed with each other most.
    #[schemars(range(min = 0, max = 64))]
    pub leader: i32,
    /// The ratio that had to be reached.
    #[schemars(length(max = 20))]
    pub ratio: String,
}

/// What the interceptor took out.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// Places.
    #[schemars(range(min = 0))]
    pub spans: i64,
    /// Words in them.
    #[schemars(range(min = 0))]
    pub words: i64,
    /// Bytes in them.
    #[schemars(range(min = 0))]
    pub bytes: i64,
}

/// Where a record is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LedgerPointer {
    /// The log's origin.
    #[schemars(length(max = 255))]
    pub origin: String,
    /// The record's index.
    #[schemars(range(min = 0))]
    pub index: i64,
    /// Its RFC 6962 leaf hash: 64 lowercase hexadecimal digits.
    #[schemars(length(max = 64))]
    pub leaf_hash: String,
    /// The log's public key (vkey), as the operator knows it. Whoever trusts no cluster has it from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub vkey: Option<String>,
}
