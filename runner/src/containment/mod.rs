//! What confines a runtime that is a process on this machine.
//!
//! The runtime is started through a shim: our own executable, run again with a hidden first
//! argument, which puts up the walls around itself and then executes the runtime. No code runs
//! between fork and exec of the many-threaded supervisor, and none of it needs `unsafe`.
//!
//! | wall | what it does |
//! |---|---|
//! | limits | address space, tasks, open files, file size, no core dump |
//! | privileges | no-new-privileges; every capability dropped |
//! | Landlock ABI 6 | reads and executes the system's programs, the interpreter's tree and what the caller lists; writes its scratch directory; connects to the one listed TCP port; signals and abstract sockets stay inside |
//! | seccomp | an allow-list of system calls; no socket unless a port is listed, and then TCP only |
//! | death signal | the kernel kills the runtime's process when the supervisor ends, however it ends |
//! | descriptors, environment | nothing inherited but stdin, stdout, stderr and what the task sets |
//!
//! What they do not do: Landlock filters TCP by port and not by address; metadata of any file
//! (existence, size, owner) can be read; the number of files in the scratch directory is not
//! limited; the task limit does not bind uid 0, for which the deadline's kill of the whole process
//! group is the bound; when the supervisor is killed, so is the process that it started, but not what
//! that one has started in its turn. The user id is not changed: a pod does that.
//!
//! Before the first branch a probe runs the shim and tries the walls from inside against a file and
//! a port that are open outside. Only if all hold is the level [`ContainmentLevel::Strict`].

pub(crate) mod brief;
pub mod isolation;
mod landlock;
mod limits;
mod probe;
mod seccomp;
mod settings;
mod shim;
mod syscalls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use axiom_hive_core::constitution::RuntimePolicy;
use axiom_hive_core::record::ContainmentLevel;

pub use shim::{EXIT_NOT_CONFINED, shim_main_if_requested};

use settings::Settings;

/// How to confine: which shim, which walls.
#[derive(Debug, Clone)]
pub(crate) struct Confinement {
    shim: PathBuf,
    settings: Settings,
}

/// What the probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) level: ContainmentLevel,
    pub(crate) landlock_abi: u32,
    /// Each wall that is missing, in words.
    pub(crate) missing: Vec<String>,
}

impl Confinement {
    /// Walls by the constitution's limits; `port` is the one loopback port that may be reached, `read`
    /// are the absolute paths allowed beside the system's.
    pub(crate) fn new(
        shim: PathBuf,
        required: bool,
        policy: &RuntimePolicy,
        port: Option<u16>,
        read: Vec<PathBuf>,
    ) -> Self {
        Self {
            shim,
            settings: Settings {
                required,
                supervisor_pid: std::process::id(),
                read,
                scratch: PathBuf::new(),
                port,
                memory_bytes: u64::from(policy.max_memory_mib) * 1024 * 1024,
                processes: u64::from(policy.max_processes),
                probe: None,
            },
        }
    }

    /// Runs the probe in `parent`, a directory that can be written; blocks for some milliseconds.
    pub(crate) fn probe(&self, parent: &Path) -> std::io::Result<Reached> {
        let report = probe::run(&self.shim, &self.settings, parent)?;
        let level = match (report.missing.is_empty(), report.any) {
            (true, _) => ContainmentLevel::Strict,
            (false, true) => ContainmentLevel::Partial,
            (false, false) => ContainmentLevel::None,
        };
        Ok(Reached {
            level,
            landlock_abi: report.landlock_abi,
            missing: report.missing,
        })
    }

    /// The command that runs `program` behind the walls, with exactly this environment.
    pub(crate) fn command(
        &self,
        scratch: &Path,
        env: &BTreeMap<String, String>,
        program: &Path,
        args: &[String],
    ) -> Command {
        let settings = Settings {
            scratch: scratch.to_owned(),
            ..self.settings.clone()
        };
        // Strings, numbers and UTF-8 paths always serialise; an empty argument makes the shim refuse.
        let settings = serde_json::to_string(&settings).unwrap_or_default();
        let mut command = Command::new(&self.shim);
        command
            .env_clear()
            .arg(shim::SHIM_ARGUMENT)
            .arg(settings)
            .args(env.iter().map(|(name, value)| format!("{name}={value}")))
            .arg("--")
            .arg(program)
            .args(args);
        command
    }
}

/// The trees that every confined runtime can read: nothing private may lie in them.
pub(crate) fn system_trees() -> impl Iterator<Item = &'static Path> {
    landlock::SYSTEM_TREES.into_iter().map(Path::new)
}
