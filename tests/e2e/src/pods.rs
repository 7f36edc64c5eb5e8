//! Pods beside the tasks: targets that answer, and controls without our walls.

use axiom_hive_testcluster::{Namespace, eventually};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ListParams, LogParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::Release;

/// The program that the cluster's own tests run; it is in every node.
const TESTBOX: &str = "localhost/axiom-hive/testbox:test";
/// How long a pod may take to start or to end.
const POD_SECONDS: u64 = 90;

/// The pods of a namespace.
pub struct Pods {
    client: Client,
    namespace: String,
    /// As the API server has them.
    pub api: Api<Pod>,
}

/// A pod of one container that runs once; `spec` is laid over its spec.
#[must_use]
pub fn pod(name: &str, image: &str, command: &[&str], labels: &Value, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": image, "imagePullPolicy": "Never", "command": command}],
        },
    });
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

impl Pods {
    /// Those of this namespace.
    pub async fn of(release: &Release, namespace: &Namespace<'_>) -> Self {
        let client = release.client().await;
        Self {
            api: Api::namespaced(client.clone(), namespace.name()),
            namespace: namespace.name().to_owned(),
            client,
        }
    }

    /// Creates a pod, and gives its name.
    pub async fn create(&self, object: Value) -> String {
        let object: Pod = serde_json::from_value(object).unwrap();
        let created = self.api.create(&PostParams::default(), &object).await;
        created.unwrap().metadata.name.unwrap()
    }

    /// Starts a pod that answers every HTTP request on a port with its own name, and gives its address.
    pub async fn serve(&self, name: &str, port: u16, spec: &Value) -> String {
        let port = port.to_string();
        let command = ["/testbox", "serve", &port];
        let object = pod(name, TESTBOX, &command, &json!({"app": name}), spec);
        let name = self.create(object).await;
        eventually(&format!("pod {name} running"), POD_SECONDS, async || {
            let status = self.api.get(&name).await.ok()?.status?;
            (status.phase.as_deref() == Some("Running")).then_some(status.pod_ip?)
        })
        .await
        .unwrap()
    }

    /// Gives a pod of that name a service; headless, its name leads to the pod's own address.
    pub async fn service(&self, name: &str, app: &str, port: u16, is_headless: bool) {
        let mut spec = json!({"selector": {"app": app}, "ports": [{"port": port}]});
        if is_headless {
            spec["clusterIP"] = json!("None");
        }
        let object = json!({"metadata": {"name": name}, "spec": spec});
        let object: Service = serde_json::from_value(object).unwrap();
        let api: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    /// Waits for the end of a pod, and gives what it wrote.
    pub async fn end(&self, name: &str) -> String {
        eventually(&format!("the end of pod {name}"), POD_SECONDS, async || {
            let status = self.api.get(name).await.ok()?.status?;
            matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")).then_some(())
        })
        .await
        .unwrap();
        self.api.logs(name, &LogParams::default()).await.unwrap()
    }

    /// The runner pod of a task, once its supervisor runs.
    pub async fn runner(&self, task_uid: &str) -> Pod {
        let mine = ListParams::default().labels(&format!("axiomhive.io/task-uid={task_uid}"));
        eventually("a runner pod that runs", POD_SECONDS, async || {
            let pod = self.api.list(&mine).await.ok()?.items.pop()?;
            let phase = pod.status.as_ref()?.phase.as_deref()?;
            (phase == "Running").then_some(pod)
        })
        .await
        .unwrap()
    }
}
