//! Pods beside the tasks: targets that answer, and controls without our walls.

use std::net::SocketAddr;

use axiom_hive_testcluster::pods;
pub use axiom_hive_testcluster::pods::on;
use axiom_hive_testcluster::{Namespace, eventually};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ListParams, LogParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Release;

/// How long a runner pod may take to start.
const RUNNER_SECONDS: u64 = 90;

/// The pods of a namespace.
pub struct Pods {
    client: Client,
    namespace: String,
    all: pods::Pods,
}

/// A pod of one container that runs once; `spec` is laid over its spec.
#[must_use]
pub fn pod(name: &str, image: &str, command: &[&str], labels: &Value, spec: &Value) -> Value {
    let container = json!({"image": image, "command": command});
    pods::pod(name, &container, labels, spec)
}

/// A port of a pod, reached through the API server as `kubectl port-forward` does, for as long as the test's runtime lives.
pub(crate) async fn forward(pods: Api<Pod>, pod: &'static str, port: u16) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let mut forwarder = match pods.portforward(pod, &[port]).await {
                Ok(forwarder) => forwarder,
                Err(error) => {
                    eprintln!("{pod}:{port}: {error}");
                    continue;
                }
            };
            let mut there = forwarder.take_stream(port).unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
            });
        }
    });
    address
}

impl Pods {
    /// Those of this namespace.
    pub async fn of(release: &Release, namespace: &Namespace<'_>) -> Self {
        let client = release.client().await;
        Self {
            all: pods::Pods::new(&client, namespace),
            namespace: namespace.name().to_owned(),
            client,
        }
    }

    /// Creates a pod, and gives its name.
    pub async fn create(&self, object: Value) -> String {
        self.all.create(object).await
    }

    /// Waits for the end of a pod, and gives what it wrote.
    pub async fn end(&self, name: &str) -> String {
        self.all.end(name).await.1
    }

    /// Starts a pod that answers every HTTP request on a port with its own name, and gives its address.
    pub async fn serve(&self, name: &str, port: u16, spec: &Value) -> String {
        let port = port.to_string();
        let command = ["/testbox", "serve", &port];
        let object = pod(
            name,
            &pods::testbox(),
            &command,
            &json!({"app": name}),
            spec,
        );
        self.all.serve(object).await
    }

    /// A port of a pod, for this process.
    pub async fn forward(&self, name: &'static str, port: u16) -> SocketAddr {
        forward(self.all.api.clone(), name, port).await
    }

    /// What a pod has written so far.
    pub async fn log(&self, name: &str) -> String {
        let written = self.all.api.logs(name, &LogParams::default()).await;
        written.unwrap()
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

    /// The first runner pod of a task, once its supervisor runs.
    pub async fn runner(&self, task_uid: &str) -> Pod {
        self.attempt(task_uid, 0).await
    }

    /// The runner pod of that attempt, counted from 0, once its supervisor runs.
    pub async fn attempt(&self, task_uid: &str, attempt: u32) -> Pod {
        let labels = format!("axiomhive.io/task-uid={task_uid},axiomhive.io/attempt={attempt}");
        let mine = ListParams::default().labels(&labels);
        eventually("a runner pod that runs", RUNNER_SECONDS, async || {
            let pod = self.all.api.list(&mine).await.ok()?.items.pop()?;
            let phase = pod.status.as_ref()?.phase.as_deref()?;
            (phase == "Running").then_some(pod)
        })
        .await
        .unwrap()
    }
}
