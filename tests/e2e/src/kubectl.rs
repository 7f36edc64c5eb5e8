//! `kubectl` as one user.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use axiom_hive_testcluster::TestCluster;
use serde_json::Value;

/// `kubectl` with one user's kubeconfig, in one namespace.
#[derive(Debug)]
pub struct Kubectl {
    program: PathBuf,
    directory: tempfile::TempDir,
    namespace: String,
}

/// What it said.
#[derive(Debug)]
pub struct Said {
    /// It ended with 0.
    pub ok: bool,
    /// Both of its streams.
    pub text: String,
}

impl Kubectl {
    /// For a user of this name, or for the administrator.
    #[must_use]
    pub fn new(cluster: &TestCluster, user: Option<&str>, namespace: &str) -> Self {
        let kubeconfig = match user {
            Some(user) => cluster.kubeconfig_for(user, None),
            None => cluster.kubeconfig(),
        };
        let directory = tempfile::tempdir().unwrap();
        let text = serde_json::to_string(&kubeconfig.unwrap()).unwrap();
        std::fs::write(directory.path().join("kubeconfig"), text).unwrap();
        Self {
            program: cluster.program("kubectl").unwrap(),
            directory,
            namespace: namespace.to_owned(),
        }
    }

    /// Runs it, with an object on its standard input.
    #[must_use]
    pub fn run(&self, arguments: &[&str], input: &Value) -> Said {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .args(["--namespace", &self.namespace, "--kubeconfig"])
            .arg(self.directory.path().join("kubeconfig"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let text = input.to_string();
        // Whoever reads no input closes it early.
        let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
        let output = child.wait_with_output().unwrap();
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Said {
            ok: output.status.success(),
            text,
        }
    }
}
