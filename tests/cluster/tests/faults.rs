//! Faults, each undone: what tests of recovery rely on. One test, since its steps disturb whatever runs beside them.
#![allow(clippy::unwrap_used)]

#[path = "common/pods.rs"]
mod pods;

use std::time::{Duration, Instant};

use axiom_hive_testcluster::{Fault, Size, TestCluster, eventually};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use kube::api::PostParams;
use kube::{Api, Client};
use pods::{Pods, on, pod};
use serde_json::{Value, json};

fn generated(arguments: &[&str], spec: &Value) -> Value {
    let mut object = pod("", arguments, &json!({}), spec);
    object["metadata"] = json!({"generateName": "pod-"});
    object
}

#[tokio::test]
async fn faults_act_and_end() {
    let Some(cluster) = TestCluster::shared(Size::Full).await else {
        return;
    };
    if cluster.status().await.is_err() {
        return; // A user's cluster is not ours to break.
    }
    let namespace = cluster.namespace("faults").await.unwrap();
    let client = cluster.client().await.unwrap();
    let pods = Pods::new(&client, &namespace);
    packets_are_dropped_rejected_and_pass_again(cluster, &pods).await;
    a_paused_api_server_is_silent_and_goes_on(cluster, &client).await;
    a_dead_enforcer_comes_back(cluster).await;
    a_partitioned_node_is_reachable_again(cluster, &pods).await;
    let claim = json!({"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}}});
    let claim: PersistentVolumeClaim = serde_json::from_value(claim).unwrap();
    Api::namespaced(client.clone(), namespace.name())
        .create(&PostParams::default(), &claim)
        .await
        .unwrap();
    a_full_volume_takes_nothing_until_it_has_room(cluster, namespace.name(), &pods).await;
    a_node_starts_again_with_its_volumes(cluster, &client, &pods).await;
}

async fn packets_are_dropped_rejected_and_pass_again(cluster: &TestCluster, pods: &Pods) {
    let server = pods
        .serve(pod("server", &["serve", "8080"], &json!({}), &on("node-1")))
        .await;
    let target = format!("{server}:8080");
    let reach = async || {
        let arguments = ["connect", target.as_str(), "40", "50"];
        let (_, attempts) = pods.run(generated(&arguments, &on("node-2"))).await;
        attempts.trim().get(30..).unwrap().to_owned()
    };
    let (open, closed) = ("+".repeat(10), "-".repeat(10));
    assert_eq!(reach().await, open);
    let (from, to) = ("10.244.2.0/24".to_owned(), server.clone());
    for fault in [
        Fault::Drop {
            from: from.clone(),
            to: to.clone(),
        },
        Fault::Reject {
            from: from.clone(),
            to: to.clone(),
        },
    ] {
        let active = cluster.fault(&fault, 60).await.unwrap();
        assert_eq!(reach().await, closed, "{fault:?}");
        drop(active);
        assert_eq!(reach().await, open, "after {fault:?}");
    }
    // Forty handshakes are more than 1 kB in a second and less than 1 MB.
    let throttle = |kilobytes_per_second| Fault::Throttle {
        from: from.clone(),
        to: to.clone(),
        kilobytes_per_second,
    };
    let active = cluster.fault(&throttle(1), 60).await.unwrap();
    assert_ne!(reach().await, open, "throttled");
    drop(active);
    let active = cluster.fault(&throttle(1000), 60).await.unwrap();
    assert_eq!(reach().await, open, "throttled above what is needed");
    drop(active);
    // A fault ends by itself.
    let active = cluster.fault(&throttle(1), 1).await.unwrap();
    eventually("the end of a fault", 10, async || {
        (!cluster.status().await.unwrap().contains("fault")).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(reach().await, open);
    drop(active);
}

async fn a_paused_api_server_is_silent_and_goes_on(cluster: &TestCluster, client: &Client) {
    let paused = cluster
        .fault(
            &Fault::Pause {
                component: "kube-apiserver".to_owned(),
            },
            30,
        )
        .await
        .unwrap();
    let answer = tokio::time::timeout(Duration::from_millis(500), client.apiserver_version()).await;
    assert!(answer.is_err(), "a paused API server answered");
    drop(paused);
    client.apiserver_version().await.unwrap();

    let slow = Fault::Slow {
        component: "kube-apiserver".to_owned(),
    };
    let slowed = cluster.fault(&slow, 30).await.unwrap();
    let started = Instant::now();
    for _ in 0..5 {
        client.apiserver_version().await.unwrap();
    }
    eprintln!(
        "five requests to a slow API server in {} ms",
        started.elapsed().as_millis()
    );
    drop(slowed);

    let started = Instant::now();
    cluster.restart_api_server().await.unwrap();
    eprintln!(
        "API server ready again after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    client.apiserver_version().await.unwrap();
}

async fn a_dead_enforcer_comes_back(cluster: &TestCluster) {
    cluster.kill_component("node-1/kube-router").await.unwrap();
    let dead = cluster.status().await.unwrap();
    assert!(
        dead.contains("node-1 network policies NOT ENFORCED"),
        "{dead}"
    );
    eventually("an enforcer that was started again", 30, async || {
        let status = cluster.status().await.unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("node-1 network"))
            .unwrap();
        (line.contains("in force") && !line.contains("restarted 0 times")).then_some(())
    })
    .await
    .unwrap();
}

async fn a_partitioned_node_is_reachable_again(cluster: &TestCluster, pods: &Pods) {
    let far = pods
        .serve(pod("far", &["serve", "8080"], &json!({}), &on("node-2")))
        .await;
    let target: std::net::SocketAddr = format!("{far}:8080").parse().unwrap();
    let connect = async || {
        let attempt = tokio::net::TcpStream::connect(target);
        matches!(
            tokio::time::timeout(Duration::from_secs(1), attempt).await,
            Ok(Ok(_))
        )
    };
    // The enforcer refuses what goes to a new pod until it knows it.
    eventually("a connection to a new pod", 30, async || {
        connect().await.then_some(())
    })
    .await
    .unwrap();
    let active = cluster
        .fault(&Fault::Partition { node: 2 }, 30)
        .await
        .unwrap();
    assert!(!connect().await);
    drop(active);
    eventually("a connection after a partition", 30, async || {
        connect().await.then_some(())
    })
    .await
    .unwrap();
}

fn append(line: &str) -> Value {
    let mut spec = on("node-2");
    spec["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    let mut object = generated(&["append", "/data/file", line], &spec);
    object["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data"}]);
    object
}

async fn a_full_volume_takes_nothing_until_it_has_room(
    cluster: &TestCluster,
    namespace: &str,
    pods: &Pods,
) {
    assert_eq!(pods.run(append("zero")).await, (true, "zero\n".to_owned()));
    let fault = Fault::Fill {
        namespace: namespace.to_owned(),
        claim: "data".to_owned(),
    };
    let active = cluster.fault(&fault, 60).await.unwrap();
    let line = "x".repeat(8192);
    let (ended_well, said) = pods.run(append(&line)).await;
    assert!(!ended_well && said.contains("no space left"), "{said}");
    drop(active);
    let (ended_well, _) = pods.run(append("after")).await;
    assert!(ended_well);
}

async fn a_node_starts_again_with_its_volumes(cluster: &TestCluster, client: &Client, pods: &Pods) {
    let (_, before) = pods.run(append("one")).await;
    cluster.kill_node(2).await.unwrap();
    let status = cluster.status().await.unwrap();
    assert!(status.contains("node-2/init STOPPED"), "{status}");
    let started = Instant::now();
    cluster.restart_node(2).await.unwrap();
    eprintln!(
        "node ready again after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    assert_eq!(
        pods.run(append("two")).await,
        (true, format!("{before}two\n"))
    );
    let node = Api::<Node>::all(client.clone())
        .get("node-2")
        .await
        .unwrap();
    assert_eq!(
        node.spec.unwrap().pod_cidr.as_deref(),
        Some("10.244.2.0/24")
    );
}
