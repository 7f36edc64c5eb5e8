//! Pods that run the test program.

use axiom_hive_testcluster::{Namespace, eventually};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{LogParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

pub(crate) const IMAGE: &str = "localhost/axiom-hive/testbox:test";
const POD_SECONDS: u64 = 60;

/// A pod of one container that runs once; `spec` is laid over its spec.
pub(crate) fn pod(name: &str, arguments: &[&str], labels: &Value, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            // The enforcer refuses a pod's first packets, and resolvers ask again only after 5 s.
            "dnsConfig": {"options": [{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "5"}]},
            "containers": [{"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "args": arguments}],
        },
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        object["spec"][key] = value.clone();
    }
    object
}

/// Puts a pod on one node.
pub(crate) fn on(node: &str) -> Value {
    json!({"nodeSelector": {"kubernetes.io/hostname": node}})
}

pub(crate) struct Pods {
    api: Api<Pod>,
}

impl Pods {
    pub(crate) fn new(client: &Client, namespace: &Namespace<'_>) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace.name()),
        }
    }

    pub(crate) async fn create(&self, object: Value) -> String {
        let object: Pod = serde_json::from_value(object).unwrap();
        let created = self
            .api
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        created.metadata.name.unwrap()
    }

    /// Starts a pod that serves, and gives its address.
    pub(crate) async fn serve(&self, object: Value) -> String {
        let name = self.create(object).await;
        eventually(&format!("pod {name} running"), POD_SECONDS, async || {
            let status = self.api.get(&name).await.ok()?.status?;
            (status.phase.as_deref() == Some("Running")).then_some(status.pod_ip?)
        })
        .await
        .unwrap()
    }

    /// Waits for the end of a pod: whether it succeeded, and what it wrote.
    pub(crate) async fn end(&self, name: &str) -> (bool, String) {
        let succeeded = eventually("the end of a pod", POD_SECONDS, async || {
            match self.api.get(name).await.ok()?.status?.phase.as_deref() {
                Some("Succeeded") => Some(true),
                Some("Failed") => Some(false),
                _ => None,
            }
        });
        let succeeded = succeeded.await.unwrap();
        (
            succeeded,
            self.api.logs(name, &LogParams::default()).await.unwrap(),
        )
    }

    /// Runs a pod to its end.
    pub(crate) async fn run(&self, object: Value) -> (bool, String) {
        let name = self.create(object).await;
        self.end(&name).await
    }
}
