//! `kubectl` and `helm`, as people use them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use axiom_hive_testcluster::TestCluster;
use kube::config::Kubeconfig;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// A program that speaks to the API server as one user.
pub(crate) struct Tool {
    program: PathBuf,
    home: tempfile::TempDir,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// What it wrote, or a panic with what went wrong.
    #[track_caller]
    pub(crate) fn unwrap(self) -> String {
        assert!(self.ok, "{}{}", self.out, self.err);
        self.out
    }
}

impl Tool {
    pub(crate) fn new(cluster: &TestCluster, name: &str, kubeconfig: &Kubeconfig) -> Self {
        let home = tempfile::tempdir().unwrap();
        let text = serde_json::to_string(kubeconfig).unwrap();
        std::fs::write(home.path().join("config"), text).unwrap();
        Self {
            program: cluster.program(name).unwrap(),
            home,
        }
    }

    /// `kubectl` as an administrator.
    pub(crate) fn kubectl(cluster: &TestCluster) -> Self {
        Self::new(cluster, "kubectl", &cluster.kubeconfig().unwrap())
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, "")
    }

    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Said {
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
        // Output is small, so the pipe cannot fill while the input is written.
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
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
