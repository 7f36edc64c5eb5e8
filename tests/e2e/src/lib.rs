//! The release as its users install it, for tests on a real cluster: images from `tests/cluster/images.sh`,
//! both charts by Helm, tasks and constitutions as objects.
//!
//! A test that panics prints the task's status and the last lines of the operator's log.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "this crate is a part of tests"
)]

pub mod kubectl;
pub mod pods;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axiom_hive_core::tlog::VerifyingKey;
use axiom_hive_core::wire::{StoredRecord, TaskReply, task_path};
use axiom_hive_operator::api::{Constitution, SupervisedTask};
use axiom_hive_testcluster::pods::registry;
use axiom_hive_testcluster::{Namespace, Size, TestCluster, eventually};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::api::{ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The namespace of the release.
pub const RELEASE_NAMESPACE: &str = "axiom-hive";
/// What the names of images begin with that are loaded into nodes.
const LOADED: &str = "localhost/axiom-hive";
/// How long a task of a test may take.
const TASK_SECONDS: u64 = 120;

/// The installed release.
#[derive(Debug)]
pub struct Release {
    cluster: &'static TestCluster,
    images: Vec<Image>,
}

/// An image in every node.
#[derive(Debug)]
pub struct Image {
    /// `REGISTRY/NAME`; the registry is `localhost/axiom-hive` where no other is asked for.
    pub name: String,
    /// `sha256:…`, as the nodes know it.
    pub digest: String,
}

impl Image {
    /// As a task names it, pinned.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}@{}", self.name, self.digest)
    }
}

impl Release {
    /// The release of this program's tests, installed once. `None` where no cluster is asked for.
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceCell<Release> = OnceCell::const_new();
        let cluster = TestCluster::shared(Size::Full).await?;
        Some(
            SHARED
                .get_or_init(async || Self::install(cluster).await)
                .await,
        )
    }

    async fn install(cluster: &'static TestCluster) -> Self {
        let registry = registry();
        let mut images = Vec::new();
        for name in [
            "operator",
            "runner",
            "ledger",
            "python-runtime",
            "hostile-runtime",
        ] {
            let archive = root().join(format!(".cache/images/{name}.tar"));
            assert!(
                archive.exists(),
                "{} must be there: sh tests/cluster/images.sh",
                archive.display()
            );
            // What is in a registry has the digest that it was built with.
            let known = match &registry {
                Some(_) => std::fs::read_to_string(archive.with_extension("digest")).unwrap(),
                None => cluster.load(&archive).await.unwrap(),
            };
            images.push(Image {
                name: format!("{}/{name}", registry.as_deref().unwrap_or(LOADED)),
                digest: known.split_whitespace().last().unwrap().to_owned(),
            });
        }
        let release = Self { cluster, images };
        release.helm(&[
            "upgrade",
            "--install",
            "axiom-hive-crds",
            "charts/axiom-hive-crds",
        ]);
        let registry = format!("images.registry={}", registry.as_deref().unwrap_or(LOADED));
        let digest = |name: &str| format!("images.{name}.digest={}", release.image(name).digest);
        release.helm(&[
            "upgrade",
            "--install",
            "axiom-hive",
            "charts/axiom-hive",
            "--wait",
            "--timeout",
            "180s",
            "--set",
            &digest("operator"),
            "--set",
            &digest("runner"),
            "--set",
            &digest("ledger"),
            "--set",
            &registry,
        ]);
        release
    }

    /// One of the images that `tests/cluster/images.sh` builds.
    #[must_use]
    pub fn image(&self, name: &str) -> &Image {
        let suffix = format!("/{name}");
        self.images
            .iter()
            .find(|image| image.name.ends_with(&suffix))
            .unwrap()
    }

    /// An administrator.
    pub async fn client(&self) -> Client {
        self.cluster.client().await.unwrap()
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &'static TestCluster {
        self.cluster
    }

    /// A fresh namespace.
    pub async fn namespace(&self, prefix: &str) -> Namespace<'static> {
        self.cluster.namespace(prefix).await.unwrap()
    }

    /// Runs Helm in the release's namespace.
    pub fn helm(&self, arguments: &[&str]) {
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        let text = serde_json::to_string(&self.cluster.kubeconfig().unwrap()).unwrap();
        std::fs::write(&kubeconfig, text).unwrap();
        let output = Command::new(self.cluster.program("helm").unwrap())
            .args(arguments)
            .args([
                "--namespace",
                RELEASE_NAMESPACE,
                "--create-namespace",
                "--kubeconfig",
            ])
            .arg(&kubeconfig)
            .env("HELM_CACHE_HOME", directory.path())
            .env("HELM_CONFIG_HOME", directory.path())
            .env("HELM_DATA_HOME", directory.path())
            .current_dir(root())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "helm {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Applies a constitution and waits until it is in force.
    pub async fn constitution(&self, spec: Value) {
        let name = spec["meta"]["name"].as_str().unwrap().to_owned();
        let object = json!({"apiVersion": "axiomhive.io/v1alpha1", "kind": "Constitution", "metadata": {"name": name}, "spec": spec});
        let object: Constitution = serde_json::from_value(object).unwrap();
        let api: Api<Constitution> = Api::all(self.client().await);
        // Until `caBundle` is set the API server refuses.
        eventually("a constitution that is accepted", 60, async || {
            match api.create(&PostParams::default(), &object).await {
                Ok(_) => Some(()),
                Err(kube::Error::Api(status)) if status.code == 409 => Some(()),
                Err(error) => {
                    eprintln!("constitution: {error}");
                    None
                }
            }
        })
        .await
        .unwrap();
        eventually("a constitution in force", 60, async || {
            api.get(&name).await.ok()?.status?.in_force.map(drop)
        })
        .await
        .unwrap();
    }

    /// The tasks of a namespace.
    pub async fn tasks(&self, namespace: &Namespace<'_>) -> Tasks {
        let client = self.client().await;
        Tasks {
            client: client.clone(),
            api: Api::namespaced(client, namespace.name()),
        }
    }

    /// The public key of the ledger.
    pub async fn vkey(&self) -> VerifyingKey {
        let vkey = self.secret("axh-ledger-key", "vkey").await;
        vkey.parse().unwrap()
    }

    /// The address of the ledger's pod.
    pub async fn ledger_address(&self) -> IpAddr {
        let pods: Api<Pod> = Api::namespaced(self.client().await, RELEASE_NAMESPACE);
        let ledger = pods.get("axiom-hive-ledger-0").await.unwrap();
        ledger.status.unwrap().pod_ip.unwrap().parse().unwrap()
    }

    /// The address of the API server for pods, and that of the cluster's DNS.
    pub async fn services_of_the_cluster(&self) -> [String; 2] {
        let client = self.client().await;
        let address = async |namespace: &str, name: &str| {
            let api: Api<Service> = Api::namespaced(client.clone(), namespace);
            api.get(name)
                .await
                .unwrap()
                .spec
                .unwrap()
                .cluster_ip
                .unwrap()
        };
        [
            address("default", "kubernetes").await,
            address("kube-system", "kube-dns").await,
        ]
    }

    /// A client that knows the ledger, and the URL of its port.
    pub async fn ledger(&self) -> (reqwest::Client, String) {
        let pods: Api<Pod> = Api::namespaced(self.client().await, RELEASE_NAMESPACE);
        let address = pods::forward(pods, "axiom-hive-ledger-0", 8443).await;
        let host = format!("axiom-hive-ledger.{RELEASE_NAMESPACE}.svc");
        let roots = self.secret("axh-ledger-tls", "ca.crt").await;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(&roots))
            .resolve(&host, address)
            .no_proxy()
            .build()
            .unwrap();
        (http, format!("https://{host}:{}", address.port()))
    }

    /// Everything that the ledger has of a task, by index, verified with its public key.
    pub async fn records(&self, uid: &str) -> Vec<StoredRecord> {
        let (http, url) = self.ledger().await;
        let url = format!("{url}{}", task_path(uid));
        let reply = http.get(url).send().await.unwrap().text().await.unwrap();
        let reply: TaskReply = serde_json::from_str(&reply).unwrap();
        let key = self.vkey().await;
        for record in &reply.records {
            record.verify(&key).unwrap();
        }
        reply.records
    }

    /// The one terminal record of a task that ended, which its status names.
    pub async fn one_end(&self, task: &SupervisedTask) -> StoredRecord {
        let uid = task.metadata.uid.as_deref().unwrap();
        let mut ends = self.records(uid).await;
        ends.retain(|record| record.record.is_terminal());
        assert_eq!(ends.len(), 1, "{ends:?}");
        let end = ends.remove(0);
        let status = task.status.as_ref().unwrap();
        let index = status.ledger.as_ref().map(|it| it.index);
        assert_eq!(index, Some(i64::try_from(end.index).unwrap()), "{status:?}");
        end
    }

    async fn secret(&self, name: &str, key: &str) -> String {
        let api: Api<Secret> = Api::namespaced(self.client().await, RELEASE_NAMESPACE);
        let data = api.get(name).await.unwrap().data.unwrap();
        String::from_utf8(data[key].0.clone()).unwrap()
    }

    /// Runs `axiom_hive_cli task` as a user of a namespace does, on the administrator's kubeconfig. The program is the one
    /// beside this test's: `tests/cluster/run.sh` builds it.
    #[must_use]
    pub fn cli(&self, namespace: &str, arguments: &[&str]) -> Output {
        let own = std::env::current_exe().unwrap();
        let program = own.ancestors().nth(2).unwrap().join("axiom_hive_cli");
        assert!(program.exists(), "{} must be built", program.display());
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        let text = serde_json::to_string(&self.cluster.kubeconfig().unwrap()).unwrap();
        std::fs::write(&kubeconfig, text).unwrap();
        Command::new(program)
            .args(arguments)
            .args(
                (arguments[0] == "task")
                    .then_some(["--namespace", namespace])
                    .iter()
                    .flatten(),
            )
            .env("KUBECONFIG", &kubeconfig)
            .output()
            .unwrap()
    }

    /// Deletes every pod of the operator, which start anew.
    pub async fn restart_operator(&self) {
        let client = self.client().await;
        let pods: Api<Pod> = Api::namespaced(client.clone(), RELEASE_NAMESPACE);
        let mine = ListParams::default().labels("app.kubernetes.io/name=axiom-hive-operator");
        pods.delete_collection(&kube::api::DeleteParams::default().grace_period(0), &mine)
            .await
            .unwrap();
    }

    /// Waits until a deployment of the release has a replica that is available.
    pub async fn available(&self, name: &str) {
        let api: Api<Deployment> = Api::namespaced(self.client().await, RELEASE_NAMESPACE);
        eventually("an available deployment", 90, async || {
            let status = api.get(name).await.ok()?.status?;
            (status.available_replicas? > 0).then_some(())
        })
        .await
        .unwrap();
    }
}

/// A count of `tests/budget.toml`.
#[must_use]
pub fn budget(name: &str, default: usize) -> usize {
    let given = std::env::var(format!("AXIOM_HIVE_BUDGET_{}", name.to_uppercase()));
    given.map_or(default, |count| count.parse().unwrap())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn tls(authority: &str) -> rustls::ClientConfig {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls::pki_types::CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// The tasks of a namespace.
pub struct Tasks {
    client: Client,
    /// As the API server has them.
    pub api: Api<SupervisedTask>,
}

impl Tasks {
    /// Applies a task. Where no operator answers for admission, since a test beside this one has killed them all, it is
    /// applied again.
    pub async fn apply(&self, name: &str, spec: Value) -> Result<SupervisedTask, kube::Error> {
        let object = json!({"apiVersion": "axiomhive.io/v1alpha1", "kind": "SupervisedTask", "metadata": {"name": name}, "spec": spec});
        let object: SupervisedTask = serde_json::from_value(object).unwrap();
        let deadline = Instant::now() + Duration::from_secs(TASK_SECONDS);
        loop {
            let answer = self.api.create(&PostParams::default(), &object).await;
            let is_silent = matches!(&answer, Err(kube::Error::Api(status)) if status.message.contains("failed calling webhook"));
            if !is_silent || Instant::now() >= deadline {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits for the end of a task.
    pub async fn end(&self, name: &str) -> SupervisedTask {
        let ended = eventually(
            &format!("the end of task {name}"),
            TASK_SECONDS,
            async || {
                let task = self.api.get(name).await.ok()?;
                task.status.as_ref()?.outcome.is_some().then_some(task)
            },
        )
        .await;
        match ended {
            Ok(task) => task,
            Err(error) => panic!("{error}\n{}", self.report(name).await),
        }
    }

    /// Applies a task and waits for its end.
    pub async fn run(&self, name: &str, spec: Value) -> SupervisedTask {
        self.apply(name, spec).await.unwrap();
        self.end(name).await
    }

    /// Suspends a task, or lets it go on.
    pub async fn suspend(&self, name: &str, is_suspended: bool) {
        let patch = Patch::Merge(json!({"spec": {"suspend": is_suspended}}));
        let patched = self.api.patch(name, &PatchParams::default(), &patch).await;
        patched.unwrap();
    }

    /// What went on, for people.
    pub async fn report(&self, name: &str) -> String {
        let mut text = format!("{:#?}\n", self.api.get(name).await.map(|task| task.status));
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), RELEASE_NAMESPACE);
        let own: Api<Pod> = Api::namespaced(
            self.client.clone(),
            self.api.namespace().unwrap_or_default(),
        );
        for (api, container) in [
            (&pods, None),
            (&own, Some("supervisor")),
            (&own, Some("runtime")),
        ] {
            for pod in api
                .list(&ListParams::default())
                .await
                .map(|list| list.items)
                .unwrap_or_default()
            {
                let name = pod.metadata.name.unwrap_or_default();
                let parameters = LogParams {
                    container: container.map(str::to_owned),
                    tail_lines: Some(40),
                    ..LogParams::default()
                };
                let log = api.logs(&name, &parameters).await.unwrap_or_default();
                let seen = pod.status.map(|it| {
                    let inits = it.init_container_statuses;
                    (it.phase, it.container_statuses, inits)
                });
                let _ = writeln!(text, "--- {name}: {seen:?}\n{log}");
            }
        }
        text
    }
}
