//! The ledger service behind a real API server: who a token is, only the API server says.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axiom_hive_client::ledger::{ClientError, Credential, Endpoint, LedgerClient};
use axiom_hive_core::constitution::Constitution;
use axiom_hive_core::digest::Digest;
use axiom_hive_core::interceptor::HashKey;
use axiom_hive_core::record::{
    Body, BuildRef, ContainmentLevel, ContainmentRecord, ContainmentRequest, Label, Observed,
    ObservedIntent, Payload, Record, Salt, Salts, StopEvent, TaskRef,
};
use axiom_hive_core::supervisor::{Command, Entry, IntentBy, Prepared, Supervisor, Task, closed};
use axiom_hive_core::task::{RuntimeSpec, TaskSpec};
use axiom_hive_core::tlog::SigningKey;
use axiom_hive_core::wire::ErrorCode;
use axiom_hive_runner::ledger::{KeyStore, Ledger};
use axiom_hive_runner::ledger_service::{Addresses, Bound, Config};
use axiom_hive_runner::tls::ServerFiles;
use axiom_hive_testcluster::{Size, TestCluster, eventually};
use base64::Engine as _;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const AUDIENCE: &str = "axiom-hive-ledger";
/// The audience of tokens for the API server itself: none, which it fills in.
const API_SERVER: &str = "";

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// Accounts, pods and tokens of one namespace.
struct Accounts<'a> {
    client: Client,
    namespace: &'a str,
}

impl Accounts<'_> {
    async fn account(&self, name: &str) {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), self.namespace);
        let account = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        api.create(&PostParams::default(), &account).await.unwrap();
    }

    /// A pod that no kubelet runs; its UID is what counts.
    async fn pod(&self, name: &str, account: &str) -> BoundObjectReference {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), self.namespace);
        let pod = json!({
            "metadata": {"name": name},
            "spec": {
                "serviceAccountName": account,
                "automountServiceAccountToken": false,
                "nodeSelector": {"axiom-hive-test/no-such-node": "x"},
                "containers": [{"name": "c", "image": "example/none"}],
            },
        });
        let pod = serde_json::from_value(pod).unwrap();
        let pod = api.create(&PostParams::default(), &pod).await.unwrap();
        BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(name.to_owned()),
            uid: pod.metadata.uid,
        }
    }

    async fn delete(&self, pod: &str) {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), self.namespace);
        let now = DeleteParams::default().grace_period(0);
        api.delete(pod, &now).await.unwrap();
    }

    /// As the kubelet asks for it, or as anybody may who has that right.
    async fn token(
        &self,
        account: &str,
        audience: &str,
        pod: Option<&BoundObjectReference>,
    ) -> String {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), self.namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: Some(audience)
                    .filter(|it| *it != API_SERVER)
                    .map(str::to_owned)
                    .into_iter()
                    .collect(),
                bound_object_ref: pod.cloned(),
                expiration_seconds: Some(600),
            },
            ..TokenRequest::default()
        };
        let params = PostParams::default();
        let answer = api.create_token_request(account, &params, &request).await;
        answer.unwrap().status.unwrap().token
    }
}

/// The service, in this process.
struct Service {
    dir: TempDir,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn signing_key() -> SigningKey {
    SigningKey::new("ledger.example/cluster", &[7; 32]).unwrap()
}

impl Service {
    /// `own` is the service's own token, with which it asks for reviews.
    async fn start(cluster: &TestCluster, operator: &str, own: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let kubeconfig = cluster.kubeconfig().unwrap();
        let server = kubeconfig.clusters[0].cluster.clone().unwrap();
        let ca = server.certificate_authority_data.unwrap();
        let ca = base64::engine::general_purpose::STANDARD
            .decode(ca)
            .unwrap();
        write("api-ca.pem", std::str::from_utf8(&ca).unwrap());
        write("token", own);
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let authority = cluster.authority().unwrap();
        let identity = authority.server("ledger", &[], &[local]).unwrap();
        write("tls.crt", &identity.certificate);
        write("tls.key", &identity.key);
        write("ca.pem", authority.certificate());
        let path = |name: &str| dir.path().join(name);
        let settings = format!(
            "[kubernetes]\naudience = \"{AUDIENCE}\"\noperator = \"{operator}\"\n\
             runner_service_account = \"axh-runner\"\nreview_cache_seconds = 1\n\
             api_server = \"{}\"\nca_file = \"{}\"\ntoken_file = \"{}\"\n",
            server.server.unwrap(),
            path("api-ca.pem").display(),
            path("token").display(),
        );
        let keys = KeyStore::of_key(&path("state"), signing_key()).unwrap();
        let ledger = Ledger::open(&path("ledger"), &keys).unwrap();
        let files = ServerFiles {
            certificate: path("tls.crt"),
            key: path("tls.key"),
            client_ca: None,
        };
        let any = SocketAddr::new(local, 0);
        let addresses = Addresses {
            https: any,
            canary: any,
        };
        let stop = CancellationToken::new();
        let config = Config::parse(&settings).unwrap();
        let bound = Bound::new(ledger, &config, files, addresses, stop.clone())
            .await
            .unwrap();
        let address = bound.addresses().unwrap().https;
        tokio::spawn(bound.serve());
        Self { dir, address, stop }
    }

    /// Whoever has `token`.
    fn client(&self, name: &str, token: &str) -> LedgerClient {
        let file = self.dir.path().join(name);
        std::fs::write(&file, token).unwrap();
        let read = |name: &str| std::fs::read_to_string(self.dir.path().join(name)).unwrap();
        LedgerClient::new(Endpoint {
            url: format!("https://{}", self.address),
            ca: read("ca.pem"),
            key: signing_key().verifying_key().clone(),
            credential: Credential::Token(file),
        })
        .unwrap()
    }
}

fn build() -> BuildRef {
    BuildRef {
        version: "0.1.0".to_owned(),
        executable: Digest::of(b"build"),
    }
}

fn prepared() -> Prepared {
    let text = "[meta]\nname = \"default\"\nversion = \"1.0.0\"\n";
    Prepared::new(Constitution::parse("policy.toml", text).unwrap()).unwrap()
}

fn constitution(prepared: &Prepared) -> Entry {
    let text = Payload {
        label: Label::CONSTITUTION,
        salt: Salt([1; 32]),
        bytes: prepared.constitution().canonical_json(),
    };
    let record = Record::new(Body::Constitution {
        constitution: prepared.reference().clone(),
        text: text.commitment(),
    });
    Entry {
        record,
        payloads: vec![text],
    }
}

fn intent(prepared: &Prepared, uid: &str, pod: &BoundObjectReference) -> Entry {
    let task = Task {
        spec: TaskSpec {
            prompt: "Where?".to_owned(),
            prompt_from: None,
            runtime: RuntimeSpec::Echo,
            branches: None,
        },
        reference: TaskRef {
            uid: uid.to_owned(),
            attempt: 0,
        },
        salts: Salts::Seed([2; 32]),
        hash_key: HashKey([3; 32]),
    };
    let observed = ObservedIntent {
        at_unix_ms: 1,
        build: build(),
        pod_uid: pod.uid.clone(),
    };
    let by = IntentBy::Machine(observed);
    let (_, mut commands) = Supervisor::new(prepared, &task, by, false).unwrap();
    let Some(Command::Append(entry)) = commands.pop() else {
        panic!("{commands:?}");
    };
    entry
}

fn end(intent: &Entry) -> Entry {
    let observed = Observed {
        build: build(),
        started_unix_ms: 1,
        ended_unix_ms: 2,
        containment: ContainmentRecord {
            requested: ContainmentRequest::Required,
            reached: ContainmentLevel::NotApplicable,
            landlock_abi: 0,
            loopback_port: 0,
        },
        usage: None,
        egress: None,
        surplus_branches: 0,
        stopped_by: None,
        detail: None,
    };
    Entry {
        record: closed(&intent.record, StopEvent::Deadline, observed).unwrap(),
        payloads: Vec::new(),
    }
}

async fn refusal(client: &LedgerClient, entry: &Entry) -> Option<ErrorCode> {
    match client.append(entry, soon()).await {
        Ok(_) => None,
        Err(ClientError::Refused { code, .. }) => Some(code),
        Err(other) => panic!("{other}"),
    }
}

/// Lets `account` ask for token reviews.
async fn may_review(client: &Client, namespace: &str, account: &str) {
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": format!("{namespace}-{account}")},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "system:auth-delegator",
        },
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }))
    .unwrap();
    let api: Api<ClusterRoleBinding> = Api::all(client.clone());
    api.create(&PostParams::default(), &binding).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_speaks_for_the_pod_it_is_bound_to_and_for_nobody_else() {
    let Some(cluster) = TestCluster::shared(Size::Api).await else {
        return;
    };
    if cluster.authority().is_err() {
        return;
    }
    let (ours, theirs) = (
        cluster.namespace("ledger").await.unwrap(),
        cluster.namespace("other").await.unwrap(),
    );
    let client = cluster.client().await.unwrap();
    let accounts = |namespace| Accounts {
        client: client.clone(),
        namespace,
    };
    let (here, there) = (accounts(ours.name()), accounts(theirs.name()));
    for name in ["ledger", "operator", "axh-runner", "someone"] {
        here.account(name).await;
    }
    there.account("axh-runner").await;
    may_review(&client, ours.name(), "ledger").await;
    let own = here.token("ledger", API_SERVER, None).await;
    let operator = format!("system:serviceaccount:{}:operator", ours.name());
    let service = Service::start(cluster, &operator, &own).await;

    let (a, b) = (
        here.pod("a", "axh-runner").await,
        here.pod("b", "axh-runner").await,
    );
    let policy = prepared();
    let operator = service.client("operator", &here.token("operator", AUDIENCE, None).await);
    let (of_a, of_b) = (intent(&policy, "t", &a), intent(&policy, "u", &b));
    for entry in [&constitution(&policy), &of_a, &of_b] {
        // Rights come into force when the authorizer has seen the binding; until then it is told to wait.
        assert!(!operator.append(entry, soon()).await.unwrap().existing);
    }

    let elsewhere = there.pod("a", "axh-runner").await;
    let others = here.pod("c", "someone").await;
    let bound = |pod| here.token("axh-runner", AUDIENCE, Some(pod));
    for (what, token, expected) in [
        ("another pod", bound(&b).await, ErrorCode::Forbidden),
        (
            "a pod of another namespace",
            there.token("axh-runner", AUDIENCE, Some(&elsewhere)).await,
            ErrorCode::Forbidden,
        ),
        (
            "a token that is bound to no pod",
            here.token("axh-runner", AUDIENCE, None).await,
            ErrorCode::Unauthenticated,
        ),
        (
            "another audience",
            here.token("axh-runner", "somewhere", Some(&a)).await,
            ErrorCode::Unauthenticated,
        ),
        (
            "another account",
            here.token("someone", AUDIENCE, Some(&others)).await,
            ErrorCode::Unauthenticated,
        ),
        (
            "no token",
            "eyJhbGciOiJub25lIn0.e30.".to_owned(),
            ErrorCode::Unauthenticated,
        ),
    ] {
        let caller = service.client("caller", &token);
        assert_eq!(
            refusal(&caller, &end(&of_a)).await,
            Some(expected),
            "{what}"
        );
    }
    let pod = service.client("pod-a", &bound(&a).await);
    assert_eq!(refusal(&pod, &of_a).await, Some(ErrorCode::Forbidden));
    assert!(!pod.append(&end(&of_a), soon()).await.unwrap().existing);

    // A token dies with its pod, within the time that a verdict is kept.
    let pod = service.client("pod-b", &bound(&b).await);
    assert_eq!(pod.task("u", soon()).await.unwrap().len(), 1);
    here.delete("b").await;
    eventually("the end of a deleted pod's token", 20, async || {
        let refused = pod.task("u", soon()).await.err()?;
        matches!(
            refused,
            ClientError::Refused {
                code: ErrorCode::Unauthenticated,
                ..
            }
        )
        .then_some(())
    })
    .await
    .unwrap();
    assert_eq!(
        refusal(&pod, &end(&of_b)).await,
        Some(ErrorCode::Unauthenticated)
    );
    assert_eq!(operator.task("u", soon()).await.unwrap().len(), 1);
}
