//! How a process of a runtime is started: program, environment, confinement.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use axiom_hive_core::record::BranchError;

use super::group::{Group, Pipes};
use crate::containment::Confinement;
use crate::runtime::model::BranchFailure;

/// `PATH` of every runtime process. The user's own is not passed on.
pub(super) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Everything needed to start one process of a runtime.
#[derive(Debug)]
pub(crate) struct Launch {
    program: PathBuf,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    /// Below it each process gets a working directory of its own.
    scratch: PathBuf,
    confinement: Option<Confinement>,
}

/// A process that runs.
pub(super) struct Started {
    pub(super) group: Group,
    pub(super) pipes: Pipes,
}

impl Launch {
    /// `env` is the whole environment but for `PATH`, `LANG` and `HOME`, which it may replace.
    pub(crate) fn new(
        program: PathBuf,
        args: Vec<String>,
        env: impl IntoIterator<Item = (String, String)>,
        scratch: PathBuf,
        confinement: Option<Confinement>,
    ) -> Self {
        let base = [
            ("PATH", PATH),
            ("LANG", "C.UTF-8"),
            ("HOME", "/nonexistent"),
        ];
        let mut all: BTreeMap<String, String> = base
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        all.extend(env);
        Self {
            program,
            args,
            env: all,
            scratch,
            confinement,
        }
    }

    pub(super) fn is_confined(&self) -> bool {
        self.confinement.is_some()
    }

    /// Starts the program in a private, empty working directory.
    pub(super) fn start(&self, own: &[(&str, String)]) -> Result<Started, BranchFailure> {
        let unavailable = |what: &str, e: std::io::Error| {
            BranchFailure::new(BranchError::Unavailable, format!("{what}: {e}"))
        };
        let scratch = tempfile::Builder::new()
            .prefix("axiom-hive-run-")
            .tempdir_in(&self.scratch)
            .map_err(|e| unavailable("scratch directory", e))?;
        let mut env = self.env.clone();
        env.extend(
            own.iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        let command = if let Some(confinement) = &self.confinement {
            confinement.command(scratch.path(), &env, &self.program, &self.args)
        } else {
            let mut command = Command::new(&self.program);
            command.args(&self.args).env_clear().envs(&env);
            command
        };
        let (group, pipes) = Group::spawn(command.into(), scratch)
            .map_err(|e| unavailable(&self.program.to_string_lossy(), e))?;
        Ok(Started { group, pipes })
    }
}
