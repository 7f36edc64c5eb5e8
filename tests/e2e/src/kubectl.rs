//! `kubectl` as one user.

use axiom_hive_testcluster::TestCluster;
use axiom_hive_testcluster::tool::Tool;
use serde_json::Value;

/// `kubectl` with one user's kubeconfig, in one namespace.
#[derive(Debug)]
pub struct Kubectl {
    tool: Tool,
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
        Self {
            tool: Tool::new(cluster, "kubectl", &kubeconfig.unwrap()),
            namespace: namespace.to_owned(),
        }
    }

    /// Runs it, with an object on its standard input.
    #[must_use]
    pub fn run(&self, arguments: &[&str], input: &Value) -> Said {
        let arguments = [arguments, &["--namespace", &self.namespace]].concat();
        let said = self.tool.run_with(&arguments, &input.to_string());
        Said {
            ok: said.ok,
            text: said.out + &said.err,
        }
    }
}
