//! A real ledger service on loopback, which asks the test's API server who a token belongs to.

use std::net::SocketAddr;
use std::path::Path;

use axiom_hive_client::ledger::{Credential, Endpoint, LedgerClient, Proven};
use axiom_hive_core::record::Record;
use axiom_hive_core::tlog::{SigningKey, VerifyingKey};
use axiom_hive_operator::api::names::{RUNNER_SERVICE_ACCOUNT, TOKEN_AUDIENCE};
use axiom_hive_operator::plan::network::LedgerPods;
use axiom_hive_operator::plan::pod::LedgerEndpoint;
use axiom_hive_runner::ledger::{KeyStore, Ledger};
use axiom_hive_runner::ledger_service::{Addresses, Bound, Config};
use axiom_hive_runner::tls::ServerFiles;
use axiom_hive_testcluster::TestCluster;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::world::{PATIENCE, RELEASE, token};

/// The service account of the ledger, and of the operator.
const OWN: &str = "axiom-hive-ledger";
pub(crate) const OPERATOR: &str = "axiom-hive-operator";
/// The name on its certificate.
const HOST: &str = "localhost";

pub(crate) struct LedgerService {
    dir: TempDir,
    settings: String,
    addresses: Addresses,
    vkey: VerifyingKey,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

impl LedgerService {
    /// A new ledger, served.
    pub(crate) async fn start(cluster: &TestCluster) -> Self {
        let dir = TempDir::new().unwrap();
        let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let authority = cluster.authority().unwrap();
        let identity = authority.server("ledger", &[HOST], &[]).unwrap();
        file("tls.crt", &identity.certificate);
        file("tls.key", &identity.key);
        file("ca.crt", authority.certificate());
        let client = cluster.client().await.unwrap();
        file("own.token", &token(&client, RELEASE, OWN, None, None).await);
        let audience = Some(TOKEN_AUDIENCE);
        let operator = token(&client, RELEASE, OPERATOR, audience, None).await;
        file("operator.token", &operator);
        let server = cluster.kubeconfig().unwrap().clusters[0].clone();
        let server = server.cluster.unwrap().server.unwrap();
        let path = dir.path().display();
        let settings = format!(
            "[kubernetes]\naudience = \"{TOKEN_AUDIENCE}\"\n\
             operator = \"system:serviceaccount:{RELEASE}:{OPERATOR}\"\n\
             runner_service_account = \"{RUNNER_SERVICE_ACCOUNT}\"\napi_server = \"{server}\"\n\
             ca_file = \"{path}/ca.crt\"\ntoken_file = \"{path}/own.token\"\n"
        );
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut service = Self {
            settings,
            addresses: Addresses {
                https: any,
                canary: any,
            },
            vkey: signing_key().verifying_key().clone(),
            running: None,
            dir,
        };
        service.resume().await;
        service
    }

    /// Serves again what [`LedgerService::halt`] left, at the same addresses.
    pub(crate) async fn resume(&mut self) {
        self.serve(&self.settings.clone()).await;
    }

    /// The same, but it does not know the operator: it answers and takes no record of its.
    pub(crate) async fn resume_estranged(&mut self) {
        let settings = self.settings.replace(OPERATOR, "somebody-else");
        self.serve(&settings).await;
    }

    async fn serve(&mut self, settings: &str) {
        let config = Config::parse(settings).unwrap();
        let stop = CancellationToken::new();
        let file = |name: &str| self.dir.path().join(name);
        let keys = KeyStore::of_key(&file("state"), signing_key()).unwrap();
        let ledger = Ledger::open(&file("ledger"), &keys).unwrap();
        let files = ServerFiles {
            certificate: file("tls.crt"),
            key: file("tls.key"),
            client_ca: None,
        };
        let bound = Bound::new(ledger, &config, files, self.addresses, stop.clone());
        let bound = bound.await.unwrap();
        self.addresses = bound.addresses().unwrap();
        self.running = Some((stop, tokio::spawn(bound.serve())));
    }

    /// Ends the service and waits until its ledger is free.
    pub(crate) async fn halt(&mut self) {
        let (stop, serving) = self.running.take().unwrap();
        stop.cancel();
        serving.await.unwrap();
    }

    /// A client with the token in this file.
    pub(crate) fn client_with(&self, token: &Path) -> LedgerClient {
        let endpoint = self.endpoint();
        LedgerClient::new(Endpoint {
            url: format!("https://{HOST}:{}", self.addresses.https.port()),
            ca: endpoint.ca,
            key: self.vkey.clone(),
            credential: Credential::Token(token.to_owned()),
        })
        .unwrap()
    }

    /// The operator's client.
    pub(crate) fn operators(&self) -> LedgerClient {
        self.client_with(&self.dir.path().join("operator.token"))
    }

    /// What the operator tells runner pods.
    pub(crate) fn endpoint(&self) -> LedgerEndpoint {
        LedgerEndpoint {
            host: HOST.to_owned(),
            address: "127.0.0.1".to_owned(),
            canary_port: self.addresses.canary.port(),
            pods: LedgerPods {
                namespace: RELEASE.to_owned(),
                labels: [("app.kubernetes.io/name".to_owned(), OWN.to_owned())].into(),
                port: self.addresses.https.port(),
            },
            ca: std::fs::read_to_string(self.dir.path().join("ca.crt")).unwrap(),
            vkey: self.vkey.to_string(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses.https
    }

    /// What the ledger has of a task, by index; every receipt is verified.
    pub(crate) async fn proven(&self, uid: &str) -> Vec<Proven> {
        let deadline = Instant::now() + PATIENCE;
        self.operators().task(uid, deadline).await.unwrap()
    }

    pub(crate) async fn records(&self, uid: &str) -> Vec<Record> {
        let proven = self.proven(uid).await.into_iter();
        proven.map(|it| it.verified.record).collect()
    }
}

fn signing_key() -> SigningKey {
    SigningKey::new("ledger.example/hive", &[7; 32]).unwrap()
}
