//! The ledger's key and certificate, made by several replicas at once on a real API server.

use std::collections::BTreeSet;

use axiom_hive_core::tlog::SigningKey;
use axiom_hive_operator::ledger_secrets::{
    KEY_SECRET, LedgerSecrets, LedgerSecretsError, PERIODS, TLS_SECRET, Trust,
};
use axiom_hive_testcluster::{Size, TestCluster};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};

const NOW: i64 = 1_800_000_000;

fn secrets(client: &Client, namespace: &str) -> LedgerSecrets {
    LedgerSecrets::new(client.clone(), namespace, "ledger", None)
}

/// Asks until nobody else was faster.
async fn settle(secrets: &LedgerSecrets, now: i64) -> Trust {
    for _ in 0..10 {
        match secrets.round(now).await {
            Ok(trust) => return trust,
            Err(LedgerSecretsError::Conflict) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("always another replica");
}

fn text(secret: &Secret, key: &str) -> String {
    String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap()
}

#[tokio::test]
async fn replicas_agree_on_one_key_and_one_authority() {
    let Some(cluster) = TestCluster::shared(Size::Api).await else {
        return;
    };
    let namespace = cluster.namespace("ledger-secrets").await.unwrap();
    let client = cluster.client().await.unwrap();
    let replicas = [(); 4].map(|()| secrets(&client, namespace.name()));
    let [a, b, c, d] = &replicas;
    let (a, b, c, d) = tokio::join!(
        settle(a, NOW),
        settle(b, NOW),
        settle(c, NOW),
        settle(d, NOW)
    );
    assert!(a == b && b == c && c == d);

    let api: Api<Secret> = Api::namespaced(client, namespace.name());
    let stored = api.get(KEY_SECRET).await.unwrap();
    let key = SigningKey::from_private(&text(&stored, "key")).unwrap();
    assert_eq!(key.verifying_key().to_string(), a.vkey);
    assert_eq!(text(&stored, "vkey"), a.vkey);
    assert!(a.vkey.starts_with("axiom-hive.local/"), "{}", a.vkey);
    let stored = api.get(TLS_SECRET).await.unwrap();
    assert_eq!(text(&stored, "ca.crt"), a.ca);
    assert!(text(&stored, "tls.crt").contains("BEGIN CERTIFICATE"));

    // Nothing is written without a reason.
    let again = secrets(&api.clone().into_client(), namespace.name());
    assert_eq!(settle(&again, NOW + 1).await, a);
    assert_eq!(
        api.get(TLS_SECRET).await.unwrap().metadata.resource_version,
        stored.metadata.resource_version
    );
}

#[tokio::test]
async fn a_certificate_is_renewed_and_a_key_is_never_replaced() {
    let Some(cluster) = TestCluster::shared(Size::Api).await else {
        return;
    };
    let namespace = cluster.namespace("ledger-renewal").await.unwrap();
    let client = cluster.client().await.unwrap();
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace.name());
    let secrets = secrets(&client, namespace.name());
    let first = settle(&secrets, NOW).await;
    let (mut bundles, mut leaves) = (BTreeSet::new(), BTreeSet::new());
    for day in 0..400 {
        let now = settle(&secrets, NOW + day * 24 * 3600).await;
        assert_eq!(now.vkey, first.vkey);
        bundles.insert(now.ca);
        leaves.insert(text(&api.get(TLS_SECRET).await.unwrap(), "tls.crt"));
    }
    // One authority, then two, then the second one alone; a certificate for each half of its life.
    assert_eq!(bundles.len(), 3);
    let expected = usize::try_from(400 * 24 * 3600 / (PERIODS.leaf_seconds / 2)).unwrap();
    assert!(leaves.len() >= expected, "{} certificates", leaves.len());

    let mut damaged = api.get(KEY_SECRET).await.unwrap();
    let no_key = ByteString(b"no key".to_vec());
    damaged
        .data
        .as_mut()
        .unwrap()
        .insert("key".to_owned(), no_key);
    api.replace(KEY_SECRET, &PostParams::default(), &damaged)
        .await
        .unwrap();
    let error = secrets.round(NOW).await.unwrap_err();
    assert!(matches!(error, LedgerSecretsError::Key(_)), "{error}");
    assert!(!error.to_string().contains("no key"), "{error}");
}
