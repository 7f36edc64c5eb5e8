//! The full size: what a test of pods, networks and volumes relies on. Nothing here breaks the cluster for its neighbours.
#![allow(clippy::unwrap_used)]

#[path = "common/pods.rs"]
mod pods;
#[path = "common/webhook.rs"]
mod webhook;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use axiom_hive_testcluster::pods::testbox;
use axiom_hive_testcluster::{Size, TestCluster, eventually};
use base64::Engine;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use pods::{Pods, on, pod};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

async fn create<K>(client: &Client, namespace: &str, object: Value)
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    K: Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
{
    let object: K = serde_json::from_value(object).unwrap();
    Api::namespaced(client.clone(), namespace)
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_pod_prints() {
    let Some(cluster) = TestCluster::shared(Size::Full).await else {
        return;
    };
    let namespace = cluster.namespace("print").await.unwrap();
    let client = cluster.client().await.unwrap();
    let started = Instant::now();
    let restricted = json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}});
    let pods = Pods::new(&client, &namespace);
    let ended = pods
        .run(pod("print", &["print", "hello"], &json!({}), &restricted))
        .await;
    assert_eq!(ended, (true, "hello\n".to_owned()));
    eprintln!("a pod ran after {:.1} s", started.elapsed().as_secs_f64());
}

#[tokio::test]
async fn a_service_is_reached_by_name_from_another_node() {
    let Some(cluster) = TestCluster::shared(Size::Full).await else {
        return;
    };
    let namespace = cluster.namespace("service").await.unwrap();
    let client = cluster.client().await.unwrap();
    let [one, two] = cluster.two_nodes().await.unwrap();
    let pods = Pods::new(&client, &namespace);
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    create::<Service>(&client, namespace.name(), service).await;
    pods.serve(pod(
        "web",
        &["serve", "8080"],
        &json!({"app": "web"}),
        &on(&one),
    ))
    .await;
    let name = format!("web.{}.svc.cluster.local:80", namespace.name());
    for (node, target) in [(&two, name.as_str()), (&one, "web:80")] {
        // The endpoint and its rules need a moment after the pod runs.
        eventually("an answer by name", 30, async || {
            let object = pod("", &["get", target], &json!({}), &on(node));
            let ended = pods.run(with_generated_name(object)).await;
            (ended == (true, "web\n".to_owned())).then_some(())
        })
        .await
        .unwrap();
    }
}

fn with_generated_name(mut object: Value) -> Value {
    object["metadata"] = json!({"generateName": "get-"});
    object
}

#[tokio::test]
async fn a_volume_outlives_its_pod_and_has_the_size_it_was_given() {
    let Some(cluster) = TestCluster::shared(Size::Full).await else {
        return;
    };
    let namespace = cluster.namespace("volume").await.unwrap();
    let client = cluster.client().await.unwrap();
    let pods = Pods::new(&client, &namespace);
    let claim = json!({"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOncePod"], "resources": {"requests": {"storage": "16Mi"}}}});
    create::<PersistentVolumeClaim>(&client, namespace.name(), claim).await;
    let append = |name: &str, line: &str| {
        let mut object = pod(
            name,
            &["append", "/data/file", line],
            &json!({}),
            &json!({
                "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            }),
        );
        object["spec"]["containers"][0]["volumeMounts"] =
            json!([{"name": "data", "mountPath": "/data"}]);
        object
    };
    assert_eq!(
        pods.run(append("first", "one")).await,
        (true, "one\n".to_owned())
    );
    assert_eq!(
        pods.run(append("second", "two")).await,
        (true, "one\ntwo\n".to_owned())
    );

    let volume = axiom_hive_testcluster::Fault::Fill {
        namespace: namespace.name().to_owned(),
        claim: "data".to_owned(),
    };
    let Ok(full) = cluster.fault(&volume, 60).await else {
        return;
    };
    let (succeeded, said) = pods.run(append("third", &"x".repeat(4096))).await;
    assert!(
        !succeeded && said.contains("no space left on device"),
        "{said}"
    );
    drop(full);
    assert!(pods.run(append("fourth", &"x".repeat(4096))).await.0);

    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace.name());
    let volume = claims
        .get("data")
        .await
        .unwrap()
        .spec
        .unwrap()
        .volume_name
        .unwrap();
    for name in ["first", "second", "third", "fourth"] {
        Api::<k8s_openapi::api::core::v1::Pod>::namespaced(client.clone(), namespace.name())
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }
    claims
        .delete("data", &DeleteParams::default())
        .await
        .unwrap();
    let volumes: Api<k8s_openapi::api::core::v1::PersistentVolume> = Api::all(client);
    eventually("the end of the volume", 60, async || {
        volumes
            .get_opt(&volume)
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await
    .unwrap();
}

/// Lets the pods with the label `role: client` reach port 8080 of `app: allowed`, and DNS if asked.
fn egress_policy(dns: bool) -> Value {
    let mut egress = vec![json!({
        "to": [{"podSelector": {"matchLabels": {"app": "allowed"}}}], "ports": [{"port": 8080}]})];
    if dns {
        egress.push(json!({"to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
            "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}));
    }
    json!({"metadata": {"name": "client"}, "spec": {
        "podSelector": {"matchLabels": {"role": "client"}}, "policyTypes": ["Egress"], "egress": egress}})
}

/// The outcome of the last of 100 attempts, 30 ms apart: the policy is in force by then.
async fn reaches(pods: &Pods, name: &str, node: &str, target: &str) -> bool {
    let client = pod(
        name,
        &["connect", target, "100", "30"],
        &json!({"role": "client"}),
        &on(node),
    );
    let (succeeded, attempts) = pods.run(client).await;
    assert!(succeeded, "{attempts}");
    let last = attempts.trim().get(80..).unwrap();
    assert!(
        last == "+".repeat(20) || last == "-".repeat(20),
        "{name} to {target}: {attempts}"
    );
    last.starts_with('+')
}

#[tokio::test]
async fn a_network_policy_lets_through_what_it_names_and_nothing_else() {
    let Some(cluster) = TestCluster::shared(Size::Full).await else {
        return;
    };
    let namespace = cluster.namespace("policy").await.unwrap();
    let client = cluster.client().await.unwrap();
    let [one, two] = cluster.two_nodes().await.unwrap();
    let pods = Pods::new(&client, &namespace);
    create::<NetworkPolicy>(&client, namespace.name(), egress_policy(true)).await;
    let service = json!({"metadata": {"name": "allowed"}, "spec": {"selector": {"app": "allowed"}, "ports": [{"port": 8080}]}});
    create::<Service>(&client, namespace.name(), service).await;
    let serve = async |name: &str, app: &str, node: &str| {
        pods.serve(pod(
            name,
            &["serve", "8080"],
            &json!({"app": app}),
            &on(node),
        ))
        .await
    };
    let allowed = serve("allowed", "allowed", &one).await;
    let near = serve("near", "denied", &one).await;
    let far = serve("far", "denied", &two).await;
    let mut cases = vec![
        ("allowed-near", &one, format!("{allowed}:8080"), true),
        ("allowed-far", &two, format!("{allowed}:8080"), true),
        ("by-name", &two, "allowed:8080".to_owned(), true),
        ("other-near", &one, format!("{near}:8080"), false),
        ("other-far", &one, format!("{far}:8080"), false),
    ];
    // Only of a cluster on this machine is it known under which address pods reach this process.
    let listener = match cluster.host_address() {
        Ok(address) => Some(tokio::net::TcpListener::bind((address, 0)).await.unwrap()),
        Err(_) => None,
    };
    let outside = listener.as_ref();
    let outside = outside.map(|listener| listener.local_addr().unwrap().to_string());
    if let Some(outside) = &outside {
        cases.push(("outside", &two, outside.clone(), false));
    }
    for (name, node, target, expected) in cases {
        assert_eq!(
            reaches(&pods, name, node, &target).await,
            expected,
            "{name}: {target}"
        );
    }
    // Without the policy's label everything is open, so the cases above failed because of it.
    let outside = outside.unwrap_or(format!("{near}:8080"));
    let open = pod(
        "open",
        &["connect", &outside, "1", "0"],
        &json!({}),
        &on(&two),
    );
    eventually("an open connection", 30, async || {
        let mut object = open.clone();
        object["metadata"] = json!({"generateName": "open-"});
        (pods.run(object).await.1 == "+\n").then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_policy_without_dns_leaves_a_pod_without_names() {
    let Some(cluster) = TestCluster::shared(Size::Full).await else {
        return;
    };
    let namespace = cluster.namespace("nodns").await.unwrap();
    let client = cluster.client().await.unwrap();
    let [one, two] = cluster.two_nodes().await.unwrap();
    let pods = Pods::new(&client, &namespace);
    create::<NetworkPolicy>(&client, namespace.name(), egress_policy(false)).await;
    let service = json!({"metadata": {"name": "allowed"}, "spec": {"selector": {"app": "allowed"}, "ports": [{"port": 8080}]}});
    create::<Service>(&client, namespace.name(), service).await;
    let labels = json!({"app": "allowed"});
    let address = pods
        .serve(pod("allowed", &["serve", "8080"], &labels, &on(&one)))
        .await;
    assert!(reaches(&pods, "by-address", &one, &format!("{address}:8080")).await);
    assert!(!reaches(&pods, "by-name", &two, "allowed:8080").await);
}

#[tokio::test]
async fn a_validating_webhook_is_served_by_a_pod() {
    let Some(cluster) = TestCluster::shared(Size::Full).await else {
        return;
    };
    let Ok(authority) = cluster.authority() else {
        return;
    };
    let namespace = cluster.namespace("webhook").await.unwrap();
    let client = cluster.client().await.unwrap();
    let name = format!("webhook.{}.svc", namespace.name());
    let identity = authority.server("webhook", &[&name], &[]).unwrap();
    let secret = json!({"metadata": {"name": "tls"}, "stringData": {"crt": identity.certificate, "key": identity.key}});
    create::<Secret>(&client, namespace.name(), secret).await;
    let service = json!({"metadata": {"name": "webhook"}, "spec": {"selector": {"app": "webhook"}, "ports": [{"port": 443, "targetPort": 8443}]}});
    create::<Service>(&client, namespace.name(), service).await;
    let mut object = pod(
        "webhook",
        &["webhook", "8443", "/tls/crt", "/tls/key"],
        &json!({"app": "webhook"}),
        &json!({
        "volumes": [{"name": "tls", "secret": {"secretName": "tls"}}]}),
    );
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "tls", "mountPath": "/tls"}]);
    Pods::new(&client, &namespace).serve(object).await;
    let bundle = base64::engine::general_purpose::STANDARD.encode(authority.certificate());
    let service =
        json!({"service": {"namespace": namespace.name(), "name": "webhook"}, "caBundle": bundle});
    webhook::register_webhook(&client, namespace.name(), &service).await;

    let maps: Api<ConfigMap> = Api::namespaced(client, namespace.name());
    let refused = json!({"metadata": {"generateName": "a-", "labels": {"refuse-me": "x"}}});
    let refused: ConfigMap = serde_json::from_value(refused).unwrap();
    eventually("a refusal by the webhook", 30, async || {
        let error = maps.create(&PostParams::default(), &refused).await.err()?;
        error
            .to_string()
            .contains("the test's webhook refuses this")
            .then_some(())
    })
    .await
    .unwrap();
    let good: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "good"}})).unwrap();
    maps.create(&PostParams::default(), &good).await.unwrap();
}

/// Enforcers are known to let the first packets of a new pod through. How many is the adversary's side of our isolation proof.
#[tokio::test]
async fn what_leaks_at_the_start_of_pods_is_measured() {
    const PODS: usize = 36;
    let Some(cluster) = TestCluster::shared(Size::Full).await else {
        return;
    };
    let namespace = cluster.namespace("leak").await.unwrap();
    let client = cluster.client().await.unwrap();
    let [one, _] = cluster.two_nodes().await.unwrap();
    let pods = Pods::new(&client, &namespace);
    create::<NetworkPolicy>(&client, namespace.name(), egress_policy(false)).await;
    let denied = json!({"app": "denied"});
    let target = pods
        .serve(pod("denied", &["serve", "8080"], &denied, &on(&one)))
        .await;
    let target = format!("{target}:8080");
    assert!(!reaches(&pods, "steady", &one, &target).await);

    let mut names = Vec::new();
    for i in 0..PODS {
        let arguments = ["connect", target.as_str(), "20", "20"];
        let labels = json!({"role": "client"});
        names.push(
            pods.create(pod(&format!("leak-{i}"), &arguments, &labels, &on(&one)))
                .await,
        );
    }
    let (mut leaking_pods, mut attempts_through) = (0, 0);
    for name in names {
        let (succeeded, attempts) = pods.end(&name).await;
        assert!(succeeded, "{attempts}");
        let through = attempts.matches('+').count();
        leaking_pods += usize::from(through > 0);
        attempts_through += through;
    }
    eprintln!(
        "{leaking_pods} of {PODS} new pods got through a policy, with {attempts_through} of {} attempts",
        PODS * 20
    );
    assert!(attempts_through < PODS * 10, "no policy is in force");
}

#[tokio::test]
async fn a_chart_is_installed_and_removed() {
    let Some(cluster) = TestCluster::shared(Size::Full).await else {
        return;
    };
    let namespace = cluster.namespace("helm").await.unwrap();
    let client = cluster.client().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    std::fs::write(
        &kubeconfig,
        serde_json::to_string(&cluster.kubeconfig().unwrap()).unwrap(),
    )
    .unwrap();
    let helm = |arguments: &[&str]| {
        let output = Command::new(cluster.program("helm").unwrap())
            .args(arguments)
            .args(["--namespace", namespace.name(), "--kubeconfig"])
            .arg(&kubeconfig)
            .env("HELM_CACHE_HOME", directory.path())
            .env("HELM_CONFIG_HOME", directory.path())
            .env("HELM_DATA_HOME", directory.path())
            .env("HOME", directory.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart");
    helm(&[
        "install",
        "example",
        chart.to_str().unwrap(),
        "--set",
        &format!("image={}", testbox()),
        "--wait",
        "--timeout",
        "120s",
    ]);
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
        Api::namespaced(client, namespace.name());
    let status = deployments.get("example").await.unwrap().status.unwrap();
    assert_eq!(status.available_replicas, Some(1));
    helm(&["uninstall", "example", "--wait"]);
    assert!(deployments.get_opt("example").await.unwrap().is_none());
}
