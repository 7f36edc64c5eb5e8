//! What stands in for a kubelet: it runs the supervisor of a pod and patches the pod's status.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axiom_hive_client::build_ref;
use axiom_hive_client::ledger::LedgerClient;
use axiom_hive_core::record::TaskRef;
use axiom_hive_operator::api::names::{
    ATTEMPT_LABEL, RUNNER_SERVICE_ACCOUNT, TASK_UID_LABEL, TOKEN_AUDIENCE,
};
use axiom_hive_runner::containment::isolation::Targets;
use axiom_hive_runner::exit::{Exit, Failure};
use axiom_hive_runner::pipeline::{Attempt, run_attempt};
use axiom_hive_runner::runtime::{CancelToken, RuntimeOptions};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::world::{World, token};

impl World {
    /// Runs the pod's supervisor to its end and reports that. Gives its exit code.
    pub(crate) async fn run(&self, pod: &Pod) -> u8 {
        let exit_code = self.supervise(pod).await;
        self.exits(pod, exit_code.into()).await;
        exit_code
    }

    /// Runs the pod's supervisor, and tells nobody.
    pub(crate) async fn supervise(&self, pod: &Pod) -> u8 {
        self.supervisor(pod).await.run().await
    }

    /// The pod's supervisor, with its token, before it has begun.
    pub(crate) async fn supervisor(&self, pod: &Pod) -> Supervisor {
        let token = token(
            &self.client,
            self.namespace.name(),
            RUNNER_SERVICE_ACCOUNT,
            Some(TOKEN_AUDIENCE),
            Some(pod),
        );
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, token.await).unwrap();
        Supervisor {
            client: self.ledger.client_with(&file),
            ledger: self.ledger.address(),
            pod: pod.clone(),
            _directory: directory,
        }
    }

    /// The supervisor's container ended.
    pub(crate) async fn exits(&self, pod: &Pod, exit_code: i32) {
        let phase = if exit_code == 0 {
            "Succeeded"
        } else {
            "Failed"
        };
        let state = json!({"terminated": {"exitCode": exit_code}});
        self.report(pod, phase, "containerStatuses", "supervisor", &state)
            .await;
    }

    /// A container waits.
    pub(crate) async fn waits(&self, pod: &Pod, container: &str, reason: &str) {
        let state = json!({"waiting": {"reason": reason, "message": "as the test says"}});
        let list = match container {
            "supervisor" => "containerStatuses",
            _ => "initContainerStatuses",
        };
        self.report(pod, "Pending", list, container, &state).await;
    }

    async fn report(&self, pod: &Pod, phase: &str, list: &str, name: &str, state: &Value) {
        let container = json!({"name": name, "image": "image", "imageID": "", "ready": false,
            "restartCount": 0, "state": state});
        self.status(pod, json!({"phase": phase, list: [container]}))
            .await;
    }

    /// Patches the status of a pod.
    pub(crate) async fn status(&self, pod: &Pod, status: Value) {
        self.try_status(pod, status).await.unwrap();
    }

    async fn try_status(&self, pod: &Pod, status: Value) -> Result<(), kube::Error> {
        let patch = Patch::Merge(json!({"metadata": {"uid": pod.uid()}, "status": status}));
        let (pods, name, parameters) = (self.pods(), pod.name_any(), PatchParams::default());
        let patched = pods.patch_status(&name, &parameters, &patch).await;
        patched.map(drop)
    }
}

/// The supervisor of a pod.
pub(crate) struct Supervisor {
    client: LedgerClient,
    ledger: SocketAddr,
    pod: Pod,
    /// With the token.
    _directory: TempDir,
}

impl Supervisor {
    /// Runs it to its end. Gives its exit code.
    pub(crate) async fn run(self) -> u8 {
        let pod = &self.pod;
        let seconds: u64 = argument(pod, "deadline-seconds");
        let attempt = Attempt {
            task: TaskRef {
                uid: pod.labels()[TASK_UID_LABEL].clone(),
                attempt: pod.labels()[ATTEMPT_LABEL].parse().unwrap(),
            },
            spec: argument(pod, "spec-digest"),
            constitution: argument(pod, "constitution-digest"),
            prompt: None,
            // No policy is enforced here: a port where nobody listens stands for the canary behind one.
            targets: Targets {
                ledger: self.ledger,
                canary: closed(),
            },
            options: &RuntimeOptions::default(),
            allowed_hosts: Vec::new(),
            neighbour: None,
            build: build_ref().unwrap(),
            stop: CancelToken::new(),
            end: Instant::now() + Duration::from_secs(seconds),
        };
        match Box::pin(run_attempt(&self.client, &attempt)).await {
            Ok(ended) => {
                let outcome = ended.done.record.outcome().unwrap();
                Exit::of(outcome.decided.reason).code()
            }
            Err(error) => {
                let failure = Failure::from(error);
                eprintln!("supervisor of {}: {failure}", pod.name_any());
                failure.exit.code()
            }
        }
    }
}

/// A kubelet for every pod of a namespace, for as long as it is let: what it has begun goes on without it.
#[derive(Default)]
pub(crate) struct Kubelet {
    /// By pod: its exit code, once it has one.
    begun: BTreeMap<String, Arc<OnceLock<u8>>>,
    reported: BTreeSet<String>,
}

impl Kubelet {
    /// Runs the supervisors of all pods and reports how they end, for ever. One pod of four is killed, half
    /// of those after their supervisor has ended.
    pub(crate) async fn play(&mut self, world: &World) {
        loop {
            for pod in world.all_pods().await {
                self.look_at(world, &pod).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn look_at(&mut self, world: &World, pod: &Pod) {
        let uid = pod.uid().unwrap();
        if self.reported.contains(&uid) {
            return;
        }
        let number = self.begun.len();
        let (is_killed, begins) = (number.is_multiple_of(4), !number.is_multiple_of(8));
        let Some(exit_code) = self.begun.get(&uid) else {
            let exit_code = Arc::new(OnceLock::new());
            if begins {
                let (supervisor, ended) = (world.supervisor(pod).await, Arc::clone(&exit_code));
                tokio::spawn(async move {
                    let code = supervisor.run().await;
                    ended.set(if is_killed { 137 } else { code }).unwrap();
                });
            } else {
                exit_code.set(137).unwrap();
            }
            self.begun.insert(uid, exit_code);
            return;
        };
        let Some(exit_code) = exit_code.get() else {
            return;
        };
        let exit_code = *exit_code;
        let phase = if exit_code == 0 {
            "Succeeded"
        } else {
            "Failed"
        };
        let state = json!({"terminated": {"exitCode": exit_code}});
        let container = json!({"name": "supervisor", "image": "image", "imageID": "", "ready": false,
            "restartCount": 0, "state": state});
        let status = json!({"phase": phase, "containerStatuses": [container]});
        // The pod may be gone.
        drop(world.try_status(pod, status).await);
        self.reported.insert(uid);
    }
}

/// The value of `--NAME=` among the supervisor's arguments.
fn argument<T: FromStr>(pod: &Pod, name: &str) -> T {
    let prefix = format!("--{name}=");
    let containers = &pod.spec.as_ref().unwrap().containers;
    let args = containers[0].args.as_ref().unwrap();
    let value = args.iter().find_map(|arg| arg.strip_prefix(&prefix));
    value.unwrap().parse().ok().unwrap()
}

/// A port of loopback on which nobody listens.
fn closed() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap()
}
