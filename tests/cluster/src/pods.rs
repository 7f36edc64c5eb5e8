//! Pods that a test runs beside what it tests. What does not happen in time ends the test.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "for tests alone"
)]

use k8s_openapi::api::core::v1::Pod;
use kube::api::{LogParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::node::TESTBOX_IMAGE;
use crate::{Namespace, eventually};

/// Where the nodes have the tests' images from: the registry that `AXIOM_HIVE_REGISTRY` names, filled by
/// `tests/cluster/push.sh`; else what was loaded into them.
#[must_use]
pub fn registry() -> Option<String> {
    std::env::var("AXIOM_HIVE_REGISTRY").ok()
}

/// The program for pods of tests.
#[must_use]
pub fn testbox() -> String {
    registry().map_or_else(
        || TESTBOX_IMAGE.to_owned(),
        |registry| format!("{registry}/testbox:test"),
    )
}

/// How long a pod may take to start or to end.
const POD_SECONDS: u64 = 90;

/// A pod of one container that runs once; `spec` is laid over its spec.
#[must_use]
pub fn pod(name: &str, container: &Value, labels: &Value, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
        },
    });
    object["spec"]["containers"][0]["name"] = json!("main");
    object["spec"]["containers"][0]["imagePullPolicy"] = json!("IfNotPresent");
    for (key, value) in spec.as_object().into_iter().flatten() {
        object["spec"][key] = value.clone();
    }
    object
}

/// Puts a pod on one node.
#[must_use]
pub fn on(node: &str) -> Value {
    json!({"nodeSelector": {"kubernetes.io/hostname": node}})
}

/// The pods of a namespace.
#[derive(Debug)]
pub struct Pods {
    /// As the API server has them.
    pub api: Api<Pod>,
}

impl Pods {
    /// Those of this namespace.
    #[must_use]
    pub fn new(client: &Client, namespace: &Namespace<'_>) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace.name()),
        }
    }

    /// Creates a pod, and gives its name.
    pub async fn create(&self, object: Value) -> String {
        let object: Pod = serde_json::from_value(object).unwrap();
        let created = self.api.create(&PostParams::default(), &object).await;
        created.unwrap().metadata.name.unwrap()
    }

    /// Starts a pod that serves, and gives its address.
    pub async fn serve(&self, object: Value) -> String {
        let name = self.create(object).await;
        eventually(&format!("pod {name} running"), POD_SECONDS, async || {
            let status = self.api.get(&name).await.ok()?.status?;
            (status.phase.as_deref() == Some("Running")).then_some(status.pod_ip?)
        })
        .await
        .unwrap()
    }

    /// Waits for the end of a pod: whether it succeeded, and what it wrote.
    pub async fn end(&self, name: &str) -> (bool, String) {
        let what = format!("the end of pod {name}");
        let succeeded = eventually(&what, POD_SECONDS, async || {
            match self.api.get(name).await.ok()?.status?.phase.as_deref() {
                Some("Succeeded") => Some(true),
                Some("Failed") => Some(false),
                _ => None,
            }
        });
        let succeeded = succeeded.await.unwrap();
        let written = self.api.logs(name, &LogParams::default()).await;
        (succeeded, written.unwrap())
    }

    /// Runs a pod to its end.
    pub async fn run(&self, object: Value) -> (bool, String) {
        let name = self.create(object).await;
        self.end(&name).await
    }
}
