//! What the shim is told: one JSON argument, written by us and by nobody else.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything the shim needs to confine itself. It reads no environment variable and no file for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Settings {
    /// `true`: every wall, or no program. `false`: as many as this machine has.
    pub(super) required: bool,
    /// The process that starts the shim: when it ends, so does the program.
    pub(super) supervisor_pid: u32,
    /// Files and directory trees that may be read and executed, besides the system's; absolute.
    pub(super) read: Vec<PathBuf>,
    /// The one directory tree that may be written.
    pub(super) scratch: PathBuf,
    /// The one TCP port that may be connected to. A port, not an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
    /// Address space of each process, bytes.
    pub(super) memory_bytes: u64,
    /// Processes and threads that may be added to those the user already has.
    pub(super) processes: u64,
    /// Instead of a program: try the walls and report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) probe: Option<ProbeTargets>,
}

/// What the probe tries to reach. Each of them is reachable from outside the walls, or a refusal
/// would mean nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProbeTargets {
    /// A file that exists, is readable by this user, and is outside every allowed tree.
    pub(super) file: PathBuf,
    /// A loopback port on which somebody listens.
    pub(super) port: u16,
}

/// What the probe prints: one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProbeReport {
    /// Each wall that is not up or did not hold, in words; empty means all hold.
    pub(super) missing: Vec<String>,
    /// At least one wall is up.
    pub(super) any: bool,
    /// The Landlock ABI in force; 0 when none.
    pub(super) landlock_abi: u32,
}
