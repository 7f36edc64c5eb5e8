//! What becomes of a task whose node goes: drained, or cut off while it runs and back later.
#![allow(clippy::unwrap_used)]

use axiom_hive_e2e::kubectl::Kubectl;
use axiom_hive_e2e::pods::Pods;
use axiom_hive_e2e::{RELEASE_NAMESPACE, Release};
use axiom_hive_operator::api::task::Outcome;
use axiom_hive_testcluster::{Fault, Namespace, client_from, eventually};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// Who removes the pods of a node that is out of service.
const COLLECTOR: &str = "system:serviceaccount:kube-system:pod-garbage-collector";

/// A node is closed to new pods meanwhile.
static ONE: Mutex<()> = Mutex::const_new(());

async fn constitution(release: &Release, name: &str) {
    let spec = json!({
        "meta": {"name": name, "version": "1.0.0", "catalogue": 1},
        "namespaces": {},
        "supervisor": {"maxBranches": 1, "minConsensusRatio": "0.75"},
        "cluster": {"images": [release.image("python-runtime").name], "requireImageDigest": true},
    });
    release.constitution(spec).await;
}

/// Answers with the name of its pod, which ends with the number of the attempt.
fn slow(release: &Release, constitution: &str, seconds: u32) -> Value {
    let program =
        format!("import socket, time; time.sleep({seconds}); print(socket.gethostname())");
    json!({
        "constitutionRef": {"name": constitution},
        "prompt": "who are you?",
        "retryLimit": 1,
        "runtime": {"process": {
            "image": release.image("python-runtime").reference(),
            "command": ["python3", "-c", program],
            "protocol": "text",
        }},
    })
}

fn done(kubectl: &Kubectl, arguments: &[&str]) {
    let said = kubectl.run(arguments, &Value::Null);
    assert!(said.ok, "{}", said.text);
}

/// No new pod comes to this node until this is dropped.
struct Cordon<'k>(&'k Kubectl, String);

impl<'k> Cordon<'k> {
    fn new(admin: &'k Kubectl, node: &str) -> Self {
        done(admin, &["cordon", node]);
        Self(admin, node.to_owned())
    }
}

impl Drop for Cordon<'_> {
    fn drop(&mut self) {
        let said = self.0.run(&["uncordon", &self.1], &Value::Null);
        if !said.ok {
            eprintln!("{} stays closed: {}", self.1, said.text);
        }
    }
}

fn node_of(pod: &Pod) -> String {
    pod.spec.as_ref().unwrap().node_name.clone().unwrap()
}

/// Ended once, by the attempt whose answer is shown.
async fn ended_by(release: &Release, namespace: &Namespace<'_>, name: &str) -> u32 {
    let tasks = release.tasks(namespace).await;
    let task = tasks.end(name).await;
    let end = release.one_end(&task).await;
    let status = task.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Answered), "{status:?}");
    let attempt = end.record.task().unwrap().attempt;
    let answer = status.answer.unwrap();
    assert!(answer.trim().ends_with(&format!("-{attempt}")), "{answer}");
    assert_eq!(status.attempt, Some(i32::try_from(attempt).unwrap()));
    attempt
}

#[tokio::test]
async fn a_drained_node_costs_an_attempt_and_no_answer() {
    let Some(release) = Release::shared().await else {
        return;
    };
    let _one = ONE.lock().await;
    let namespace = release.namespace("drained").await;
    constitution(release, namespace.name()).await;
    let admin = Kubectl::new(release.cluster(), None, namespace.name());
    let (tasks, pods) = (
        release.tasks(&namespace).await,
        Pods::of(release, &namespace).await,
    );
    let spec = slow(release, namespace.name(), 6);
    let task = tasks.apply("moved", spec).await.unwrap();
    let uid = task.metadata.uid.unwrap();
    let first = node_of(&pods.runner(&uid).await);
    let selector = format!("--pod-selector=axiomhive.io/task-uid={uid}");
    let closed = Cordon::new(&admin, &first);
    // Only this pod: the ledger may be there too, and is moved by nothing here.
    let drain = [
        "drain",
        &first,
        "--force",
        "--delete-emptydir-data",
        "--timeout=60s",
        &selector,
    ];
    done(&admin, &drain);
    let second = node_of(&pods.attempt(&uid, 1).await);
    drop(closed);
    assert_ne!(first, second);
    assert_eq!(ended_by(release, &namespace, "moved").await, 1);
    eprintln!("drained from {first}, answered on {second}");
}

/// The first attempt goes on behind the partition, and comes back while the second one runs.
#[tokio::test]
async fn an_attempt_that_comes_back_from_a_partition_ends_nothing() {
    let Some(release) = Release::shared().await else {
        return;
    };
    if release.cluster().status().await.is_err() {
        return; // The nodes of a user's cluster are not ours to cut off.
    }
    let _one = ONE.lock().await;
    let namespace = release.namespace("cut").await;
    constitution(release, namespace.name()).await;
    let (cluster, client) = (release.cluster(), release.client().await);
    let admin = Kubectl::new(cluster, None, namespace.name());
    let (tasks, pods) = (
        release.tasks(&namespace).await,
        Pods::of(release, &namespace).await,
    );
    let ledger: Api<Pod> = Api::namespaced(client.clone(), RELEASE_NAMESPACE);
    let near = node_of(&ledger.get("axiom-hive-ledger-0").await.unwrap());
    let closed = Cordon::new(&admin, &near);
    let spec = slow(release, namespace.name(), 12);
    let task = tasks.apply("torn", spec).await.unwrap();
    let uid = task.metadata.uid.unwrap();
    let first = pods.runner(&uid).await;
    let far = node_of(&first);
    assert_ne!(near, far);
    drop(closed);
    let closed = Cordon::new(&admin, &far);
    // This cluster's one name server is not to be cut off too.
    let names = Kubectl::new(cluster, None, "kube-system");
    done(&names, &["rollout", "restart", "deployment/coredns"]);
    let moved = ["rollout", "status", "deployment/coredns", "--timeout=60s"];
    done(&names, &moved);
    let node = far.rsplit('-').next().unwrap().parse().unwrap();
    let cut = cluster.fault(&Fault::Partition { node }, 120).await;
    let cut = cut.unwrap();
    // What the cluster does about a node that its administrator declares out of service; nobody less may.
    let collector = cluster.kubeconfig_for(COLLECTOR, Some("system:serviceaccounts:kube-system"));
    let collector = client_from(collector.unwrap()).await.unwrap();
    let collector: Api<Pod> = Api::namespaced(collector, namespace.name());
    let at_once = DeleteParams::default().grace_period(0);
    let name = first.name_any();
    collector.delete(&name, &at_once).await.unwrap();
    let second = pods.attempt(&uid, 1).await;
    assert_eq!(node_of(&second), near);
    drop(cut);
    let back = Timestamp::now();
    assert_eq!(ended_by(release, &namespace, "torn").await, 1);
    // The node is back, and knows that its pod is gone.
    let leases: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    eventually("a node that is back", 60, async || {
        let renewed = leases.get(&far).await.ok()?.spec?.renew_time?.0;
        (renewed > back).then_some(())
    })
    .await
    .unwrap();
    drop(closed);
    assert_eq!(ended_by(release, &namespace, "torn").await, 1);
    eprintln!("cut off on {far}, answered on {near}");
}
