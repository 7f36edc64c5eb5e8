//! The webhook, asked by a real API server.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axiom_hive_core::constitution::Constitution;
use axiom_hive_operator::admission::authority::Periods;
use axiom_hive_operator::admission::{Certificates, SECRET};
use axiom_hive_operator::api::SupervisedTask;
use axiom_hive_testcluster::{Size, TestCluster, eventually};
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio_rustls::TlsConnector;

use crate::support::{Running, every_namespace, put_in_force};

fn task(branches: u32) -> SupervisedTask {
    serde_json::from_value(json!({
        "apiVersion": "axiomhive.io/v1alpha1",
        "kind": "SupervisedTask",
        "metadata": {"generateName": "t-"},
        "spec": {
            "constitutionRef": {"name": "plain"},
            "prompt": "Hello",
            "runtime": {"echo": {}},
            "branches": branches,
        },
    }))
    .unwrap()
}

async fn create(
    client: &Client,
    namespace: &str,
    branches: u32,
) -> Result<SupervisedTask, kube::Error> {
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let api: Api<SupervisedTask> = Api::namespaced(client.clone(), namespace);
    api.create(&parameters, &task(branches)).await
}

fn plain() -> Constitution {
    Constitution::parse(
        "plain.toml",
        "[meta]\nname = \"plain\"\nversion = \"1.0.0\"\n",
    )
    .unwrap()
}

#[tokio::test]
async fn a_task_that_does_not_fit_is_refused_with_every_reason() {
    let Some(cluster) = TestCluster::shared(Size::Api).await else {
        return;
    };
    let Ok(_) = cluster.host_address() else {
        return;
    };
    let namespace = cluster.namespace("fits").await.unwrap();
    let running = Running::start(cluster, namespace.name(), Periods::default()).await;
    put_in_force(
        &mut running
            .constitutions
            .write()
            .unwrap_or_else(PoisonError::into_inner),
        &plain(),
        every_namespace(),
    );
    let client = cluster.client().await.unwrap();
    create(&client, namespace.name(), 4).await.unwrap();
    let kube::Error::Api(refused) = create(&client, namespace.name(), 5).await.unwrap_err() else {
        panic!("not an answer of the API server");
    };
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    assert_eq!(
        refused.message,
        "admission webhook \"task.axiomhive.io\" denied the request: \
         spec.branches: must be from 1 to 4, not 5 (constitution plain 1.0.0)"
    );
    running.stop().await;
}

/// Certificates that live for seconds, requests all the while on connections of the API server's own
/// choosing: none of them fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authorities_change_under_load_and_no_request_fails() {
    let Some(cluster) = TestCluster::shared(Size::Api).await else {
        return;
    };
    let Ok(_) = cluster.host_address() else {
        return;
    };
    let namespace = cluster.namespace("rotates").await.unwrap();
    let periods = Periods {
        authority_seconds: 24,
        leaf_seconds: 4,
        overlap_seconds: 3,
        check_seconds: 1,
    };
    let running = Running::start(cluster, namespace.name(), periods).await;
    let client = cluster.client().await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace.name());
    let signers = async || {
        let secret = secrets.get(SECRET).await.ok()?;
        String::from_utf8(secret.data?.get("ca.crt")?.0.clone()).ok()
    };
    let first = signers().await.unwrap();

    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (client, stop, done) = (client.clone(), Arc::clone(&stop), Arc::clone(&done));
            let namespace = namespace.name().to_owned();
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    create(&client, &namespace, 1).await.unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            })
        })
        .collect();
    // The first authority must be gone, and the one that followed it be followed itself.
    eventually("two changes of the authority", 90, async || {
        let now = signers().await?;
        (!now.contains(&first) && now.matches("BEGIN").count() >= 2).then_some(())
    })
    .await
    .unwrap();
    stop.store(true, Ordering::Relaxed);
    for one in load {
        one.await.unwrap();
    }
    let done = done.load(Ordering::Relaxed);
    eprintln!("{done} requests, 0 failed");
    assert!(done > 200, "only {done} requests");
    running.stop().await;
}

/// A bundle that somebody took away is back soon.
#[tokio::test]
async fn a_bundle_that_was_overwritten_is_put_back() {
    let Some(cluster) = TestCluster::shared(Size::Api).await else {
        return;
    };
    let Ok(_) = cluster.host_address() else {
        return;
    };
    let namespace = cluster.namespace("bundle").await.unwrap();
    let periods = Periods {
        check_seconds: 1,
        ..Periods::default()
    };
    let running = Running::start(cluster, namespace.name(), periods).await;
    let client = cluster.client().await.unwrap();
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let mut stored = api.get(&running.configuration).await.unwrap();
    let version = stored.metadata.resource_version.clone();
    for webhook in stored.webhooks.iter_mut().flatten() {
        webhook.client_config.ca_bundle = None;
    }
    api.replace(&running.configuration, &PostParams::default(), &stored)
        .await
        .unwrap();
    eventually("a request that is answered again", 30, async || {
        create(&client, namespace.name(), 1).await.ok()
    })
    .await
    .unwrap();
    let now = api.get(&running.configuration).await.unwrap();
    assert_ne!(now.metadata.resource_version, version);
    running.stop().await;
}

/// The certificate that the webhook shows now.
async fn shown(address: SocketAddr, authority: &str) -> Vec<u8> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = ServerName::from(address.ip());
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// As cert-manager does: it writes new files, and asks nobody.
#[tokio::test]
async fn certificate_files_are_taken_over_when_they_go_together() {
    let Some(cluster) = TestCluster::shared(Size::Api).await else {
        return;
    };
    let Ok(address) = cluster.host_address() else {
        return;
    };
    let authority = cluster.authority().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let identity = || authority.server("webhook", &[], &[address]).unwrap();
    let first = identity();
    std::fs::write(file("tls.crt"), &first.certificate).unwrap();
    std::fs::write(file("tls.key"), &first.key).unwrap();
    std::fs::write(file("ca.crt"), authority.certificate()).unwrap();
    let namespace = cluster.namespace("files").await.unwrap();
    let certificates = Certificates::Files {
        certificate: file("tls.crt"),
        key: file("tls.key"),
        ca: file("ca.crt"),
    };
    let bundle = Some(authority.certificate());
    let running = Running::start_with(cluster, namespace.name(), certificates, bundle).await;
    let client = cluster.client().await.unwrap();
    create(&client, namespace.name(), 1).await.unwrap();
    let before = shown(running.address, authority.certificate()).await;

    let second = identity();
    std::fs::write(file("tls.crt"), &second.certificate).unwrap();
    // Half of a change is not taken over; by the time that this is written, it may have been seen.
    create(&client, namespace.name(), 1).await.unwrap();
    std::fs::write(file("tls.key"), &second.key).unwrap();
    eventually("the new certificate", 30, async || {
        (shown(running.address, authority.certificate()).await != before).then_some(())
    })
    .await
    .unwrap();
    create(&client, namespace.name(), 1).await.unwrap();
    running.stop().await;
}
