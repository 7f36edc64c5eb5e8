//! What a record observes: all that is no pure function of constitution, task and branches.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

use super::Commitment;

/// What surrounds an intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedIntent {
    /// Milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// The build that wrote it.
    pub build: BuildRef,
    /// In a cluster: the pod that may end this attempt; at most 64 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
}

/// The build that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildRef {
    /// Version of the package; at most 32 bytes.
    pub version: String,
    /// SHA-256 of the running executable.
    pub executable: Digest,
}

/// Everything about an outcome that is not a pure function of the task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// The build that decided.
    pub build: BuildRef,
    /// First runtime call, milliseconds since the Unix epoch; equal to the end when there was none.
    pub started_unix_ms: u64,
    /// The decision, milliseconds since the Unix epoch.
    pub ended_unix_ms: u64,
    /// What confined the runtime.
    pub containment: ContainmentRecord,
    /// What the runtimes reported or what was counted; bounded integers only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What the runtime asked of the egress broker; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<EgressRecord>,
    /// Branches that finished after the decision and do not count.
    pub surplus_branches: u32,
    /// Deadline or cancel came as an event, with the branches committed before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<StopEvent>,
    /// Detail for the authorised (spans, stderr, late branches), as a payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Commitment>,
}

impl Observed {
    /// Of an end in which whoever writes it ran nothing: what confined a dead run died with it.
    #[must_use]
    pub fn nothing_ran(build: BuildRef, at_unix_ms: u64) -> Self {
        Self {
            build,
            started_unix_ms: at_unix_ms,
            ended_unix_ms: at_unix_ms,
            containment: ContainmentRecord {
                requested: ContainmentRequest::Required,
                reached: ContainmentLevel::None,
                landlock_abi: 0,
                loopback_port: 0,
            },
            usage: None,
            egress: None,
            surplus_branches: 0,
            stopped_by: None,
            detail: None,
        }
    }
}

/// What was asked of the egress broker, in numbers; names are payload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EgressRecord {
    /// For each target, in the order of the constitution's list: at most 32.
    pub targets: Vec<EgressCounts>,
    /// By reason.
    pub refused: EgressRefusals,
}

/// What one target saw; each saturates at 2^53 − 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EgressCounts {
    /// Connections that were opened.
    pub connections: u64,
    /// Attempts that led nowhere: no such name, no answer.
    pub unreachable: u64,
    /// Bytes to it.
    pub sent_bytes: u64,
    /// Bytes from it.
    pub received_bytes: u64,
}

/// Refusals of the broker, by reason; each saturates at 2^53 − 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EgressRefusals {
    /// No request that a proxy understands.
    pub malformed: u64,
    /// Host and port are not listed.
    pub unlisted: u64,
    /// The name led to an address that is neither public nor listed.
    pub address: u64,
    /// TLS or the `Host` header named another server.
    pub server_name: u64,
    /// Too many bytes.
    pub limit: u64,
}

/// Events by which time enters a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StopEvent {
    /// The task's deadline.
    Deadline,
    /// A user or a signal.
    Cancel,
    /// Containment was lost or never there.
    Containment,
    /// A later run found this one dead.
    Interrupted,
}

/// What confined the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainmentRecord {
    /// What was asked for.
    pub requested: ContainmentRequest,
    /// What was reached.
    pub reached: ContainmentLevel,
    /// The Landlock ABI in force; 0 when none.
    pub landlock_abi: u32,
    /// The one loopback port a process may reach; 0 when none.
    pub loopback_port: u16,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ContainmentRequest {
    /// No runtime without it.
    #[default]
    Required,
    /// As far as the machine allows.
    BestEffort,
    /// None.
    Off,
}

/// What was reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ContainmentLevel {
    /// Nothing confines the runtime.
    #[default]
    None,
    /// Some walls are up, not all.
    Partial,
    /// No-new-privileges, Landlock, seccomp, rlimits, empty environment, no network but the listed port.
    Strict,
    /// The runtime is no process of ours (HTTP service, model endpoint) or runs no foreign code (echo).
    NotApplicable,
}

/// Sums over the branches; each saturates at 2^53 − 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Usage {
    /// Prompt tokens as reported.
    pub prompt_tokens: u64,
    /// Completion tokens as reported.
    pub completion_tokens: u64,
    /// Wall time of the branches, summed, in milliseconds.
    pub branch_ms: u64,
}
