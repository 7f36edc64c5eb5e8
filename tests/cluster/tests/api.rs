//! The size `api`: what a test of admission, RBAC and garbage collection relies on.
#![allow(clippy::unwrap_used)]

#[path = "common/webhook.rs"]
mod webhook;
#[path = "common/webhook_server.rs"]
mod webhook_server;

use axiom_hive_testcluster::{Size, TestCluster, client_from, eventually};
use base64::Engine;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, Error};
use serde_json::json;
use webhook::register_webhook;
use webhook_server::serve_webhook;

async fn create(
    client: &Client,
    namespace: &str,
    metadata: serde_json::Value,
) -> Result<ConfigMap, Error> {
    let object: ConfigMap = serde_json::from_value(json!({"metadata": metadata})).unwrap();
    Api::namespaced(client.clone(), namespace)
        .create(&PostParams::default(), &object)
        .await
}

fn code(error: &Error) -> u16 {
    match error {
        Error::Api(status) => status.code,
        other => panic!("not an answer of the API server: {other}"),
    }
}

#[tokio::test]
async fn a_webhook_of_this_process_refuses_an_object() {
    let Some(cluster) = TestCluster::shared(Size::Api).await else {
        return;
    };
    let Ok(address) = cluster.host_address() else {
        return;
    };
    let namespace = cluster.namespace("webhook").await.unwrap();
    let client = cluster.client().await.unwrap();
    let authority = cluster.authority().unwrap();
    let bound = serve_webhook(authority, address).await;
    let bundle = base64::engine::general_purpose::STANDARD.encode(authority.certificate());
    register_webhook(
        &client,
        namespace.name(),
        &json!({"url": format!("https://{bound}/"), "caBundle": bundle}),
    )
    .await;

    eventually("a refusal by the webhook", 15, async || {
        match create(
            &client,
            namespace.name(),
            json!({"generateName": "a-", "labels": {"refuse-me": "x"}}),
        )
        .await
        {
            Ok(_) => None,
            Err(error) => {
                assert!(
                    error
                        .to_string()
                        .contains("the test's webhook refuses this"),
                    "{error}"
                );
                Some(())
            }
        }
    })
    .await
    .unwrap();
    create(&client, namespace.name(), json!({"name": "good"}))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_edit_user_may_write_config_maps_and_not_roles() {
    let Some(cluster) = TestCluster::shared(Size::Api).await else {
        return;
    };
    let namespace = cluster.namespace("rbac").await.unwrap();
    let client = cluster.client().await.unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "dana"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "dana"}],
    }))
    .unwrap();
    let roles: Api<RoleBinding> = Api::namespaced(client, namespace.name());
    roles
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();

    let dana = client_from(cluster.kubeconfig_for("dana", None).unwrap())
        .await
        .unwrap();
    // Rights come into force when the authorizer has seen the binding.
    eventually("a ConfigMap written by an edit user", 10, async || {
        create(&dana, namespace.name(), json!({"generateName": "a-"}))
            .await
            .ok()
    })
    .await
    .unwrap();
    let bindings: Api<ClusterRoleBinding> = Api::all(dana.clone());
    assert_eq!(
        code(
            &bindings
                .list(&kube::api::ListParams::default())
                .await
                .unwrap_err()
        ),
        403
    );
    let secrets: Api<Secret> = Api::namespaced(dana, "kube-system");
    assert_eq!(code(&secrets.get("x").await.unwrap_err()), 403);
}

#[tokio::test]
async fn a_group_and_a_service_account_have_the_rights_of_their_names() {
    let Some(cluster) = TestCluster::shared(Size::Api).await else {
        return;
    };
    let namespace = cluster.namespace("identity").await.unwrap();
    let root = client_from(
        cluster
            .kubeconfig_for("erin", Some("system:masters"))
            .unwrap(),
    )
    .await
    .unwrap();
    create(&root, namespace.name(), json!({"name": "by-group"}))
        .await
        .unwrap();

    let account = cluster
        .kubeconfig_for_service_account(namespace.name(), "default")
        .await
        .unwrap();
    let account = client_from(account).await.unwrap();
    let error = create(&account, namespace.name(), json!({"name": "by-account"}))
        .await
        .unwrap_err();
    assert_eq!(code(&error), 403);
    assert!(
        error.to_string().contains(&format!(
            "system:serviceaccount:{}:default",
            namespace.name()
        )),
        "{error}"
    );
}

#[tokio::test]
async fn the_garbage_collector_deletes_what_an_owner_leaves() {
    let Some(cluster) = TestCluster::shared(Size::Api).await else {
        return;
    };
    let namespace = cluster.namespace("gc").await.unwrap();
    let client = cluster.client().await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace.name());
    let owner = create(&client, namespace.name(), json!({"name": "owner"}))
        .await
        .unwrap();
    let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid});
    create(
        &client,
        namespace.name(),
        json!({"name": "owned", "ownerReferences": [reference]}),
    )
    .await
    .unwrap();

    maps.delete("owner", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the deletion of an owned object", 30, async || {
        maps.get_opt("owned").await.unwrap().is_none().then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_namespace_is_deleted_with_what_is_in_it_when_it_is_dropped() {
    let Some(cluster) = TestCluster::shared(Size::Api).await else {
        return;
    };
    let namespace = cluster.namespace("ends").await.unwrap();
    let client = cluster.client().await.unwrap();
    create(&client, namespace.name(), json!({"name": "inside"}))
        .await
        .unwrap();
    let name = namespace.name().to_owned();
    drop(namespace);
    let namespaces: Api<Namespace> = Api::all(client);
    eventually("the end of a namespace", 60, async || {
        namespaces
            .get_opt(&name)
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_own_cluster_survives_the_death_of_its_api_server_and_leaves_nothing() {
    if TestCluster::shared(Size::Api).await.is_none() {
        return;
    }
    let started = std::time::Instant::now();
    let cluster = TestCluster::own().await.unwrap();
    eprintln!(
        "size api: ready after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    let client = cluster.client().await.unwrap();
    create(&client, "default", json!({"name": "kept"}))
        .await
        .unwrap();
    let before = cluster.api_server().unwrap().pid();

    let started = std::time::Instant::now();
    cluster.restart_api_server().await.unwrap();
    eprintln!(
        "API server ready again after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    let pid = cluster.api_server().unwrap().pid();
    assert_ne!(before, pid);
    let client = cluster.client().await.unwrap();
    Api::<ConfigMap>::namespaced(client.clone(), "default")
        .get("kept")
        .await
        .unwrap();

    let paused = cluster.api_server().unwrap().pause();
    let request = tokio::time::timeout(
        std::time::Duration::from_millis(500),
        client.apiserver_version(),
    );
    let answer = request.await;
    assert!(answer.is_err(), "a paused API server answered: {answer:?}");
    drop(paused);
    client.apiserver_version().await.unwrap();

    let audit_log = cluster.audit_log().unwrap();
    let written = std::fs::read_to_string(&audit_log).unwrap();
    assert!(
        written
            .lines()
            .any(|line| line.contains(r#""verb":"create""#) && line.contains(r#""name":"kept""#))
    );
    drop(cluster);
    assert!(!audit_log.exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}
