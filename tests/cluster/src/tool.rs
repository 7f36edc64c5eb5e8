//! `kubectl` and `helm`, as people use them. What cannot be run ends the test.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "for tests alone"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kube::config::Kubeconfig;

use crate::TestCluster;

/// The root of the repository, where tools run.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap().to_owned()
}

/// A program that speaks to the API server as one user.
#[derive(Debug)]
pub struct Tool {
    program: PathBuf,
    home: tempfile::TempDir,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// It ended with 0.
    pub ok: bool,
    /// On its standard output.
    pub out: String,
    /// On its standard error.
    pub err: String,
}

impl Said {
    /// What it wrote, or a panic with what went wrong.
    #[track_caller]
    pub fn unwrap(self) -> String {
        assert!(self.ok, "{}{}", self.out, self.err);
        self.out
    }
}

impl Tool {
    /// That program of the cluster's, with this user's kubeconfig and a home of its own.
    #[must_use]
    pub fn new(cluster: &TestCluster, name: &str, kubeconfig: &Kubeconfig) -> Self {
        let home = tempfile::tempdir().unwrap();
        let text = serde_json::to_string(kubeconfig).unwrap();
        std::fs::write(home.path().join("config"), text).unwrap();
        Self {
            program: cluster.program(name).unwrap(),
            home,
        }
    }

    /// `kubectl` as an administrator.
    #[must_use]
    pub fn kubectl(cluster: &TestCluster) -> Self {
        Self::new(cluster, "kubectl", &cluster.kubeconfig().unwrap())
    }

    /// Runs it.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, "")
    }

    /// The same, with something on its standard input.
    #[must_use]
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .current_dir(root())
            .env("KUBECONFIG", self.home.path().join("config"))
            .env("HOME", self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Output is small, so the pipe cannot fill while the input is written; whoever reads none closes it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().unwrap();
        Said {
            ok: status.success(),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }
}
