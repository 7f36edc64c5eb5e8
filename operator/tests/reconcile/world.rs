//! One namespace, one ledger and as many operators as a test likes, on the API server of all tests.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use axiom_hive_client::build_ref;
use axiom_hive_core::record::{Body, Record};
use axiom_hive_operator::api::condition::{ConditionType, find};
use axiom_hive_operator::api::{Constitution, SupervisedTask, crd};
use axiom_hive_operator::plan::pod::RunnerSettings;
use axiom_hive_operator::plan::resolve::Constitutions;
use axiom_hive_operator::reconcile::{Context, Settings, run};
use axiom_hive_operator::telemetry::metrics::Metrics;
use axiom_hive_testcluster::{Namespace, Size, TestCluster, client_from, eventually};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::ledger::{LedgerService, OPERATOR};
use axiom_hive_testcluster::tool::{Tool, root};

/// The release's namespace.
pub(crate) const RELEASE: &str = "axiom-hive";
/// Bounds every wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// An operator watches every namespace: one test at a time.
static ONE: Mutex<()> = Mutex::const_new(());
/// Definitions and rights are there.
static INSTALLED: OnceCell<()> = OnceCell::const_new();

pub(crate) struct World {
    pub(crate) cluster: &'static TestCluster,
    pub(crate) client: Client,
    pub(crate) ledger: LedgerService,
    pub(crate) namespace: Namespace<'static>,
    /// The constitution of this test.
    pub(crate) constitution: String,
    /// Of all operators of this test together.
    pub(crate) metrics: Arc<Metrics>,
    operators: Vec<Running>,
    operators_client: Client,
    _one: MutexGuard<'static, ()>,
}

struct Running {
    shutdown: CancellationToken,
    work: JoinHandle<()>,
}

impl World {
    /// With a constitution in force and a running operator.
    pub(crate) async fn new(prefix: &str) -> Option<Self> {
        Self::with(prefix, json!({})).await
    }

    /// The same, with `more` in the constitution's spec.
    pub(crate) async fn with(prefix: &str, more: Value) -> Option<Self> {
        let mut world = Self::bare(prefix).await?;
        world.operate();
        world.constitute("1.0.0", more).await;
        world.in_force().await;
        Some(world)
    }

    /// Nobody operates, and there is no constitution.
    pub(crate) async fn bare(prefix: &str) -> Option<Self> {
        let cluster = TestCluster::shared(Size::Api).await?;
        let one = ONE.lock().await;
        INSTALLED.get_or_init(|| install(cluster)).await;
        let kubeconfig = cluster.kubeconfig_for_service_account(RELEASE, OPERATOR);
        let namespace = cluster.namespace(prefix).await.unwrap();
        Some(Self {
            cluster,
            client: cluster.client().await.unwrap(),
            ledger: LedgerService::start(cluster).await,
            constitution: namespace.name().to_owned(),
            namespace,
            metrics: Arc::default(),
            operators: Vec::new(),
            operators_client: client_from(kubeconfig.await.unwrap()).await.unwrap(),
            _one: one,
        })
    }

    /// Starts an operator, beside those that run.
    pub(crate) fn operate(&mut self) {
        self.operate_with(self.operators_client.clone(), Vec::new(), Vec::new());
    }

    /// Starts an operator that wants this guard.
    pub(crate) fn operate_behind(&mut self, guard: &str) {
        let guard = vec![guard.to_owned()];
        self.operate_with(self.operators_client.clone(), guard, Vec::new());
    }

    /// Starts an operator with the rights of `user`, for the namespace of this test and no other.
    pub(crate) async fn operate_here(&mut self, user: &str) {
        let kubeconfig = self.cluster.kubeconfig_for(user, None).unwrap();
        let client = client_from(kubeconfig).await.unwrap();
        let namespaces = vec![self.namespace.name().to_owned()];
        self.operate_with(client, Vec::new(), namespaces);
    }

    fn operate_with(&mut self, client: Client, guard: Vec<String>, namespaces: Vec<String>) {
        let settings = Settings {
            namespace: RELEASE.to_owned(),
            namespaces,
            runner: RunnerSettings {
                image: "registry.example.com/axiom-hive/runner@sha256:00".to_owned(),
                ledger: self.ledger.endpoint(),
            },
            guard,
            salt_key: [5; 32],
        };
        let context = Context::new(
            client,
            self.ledger.operators(),
            settings,
            Arc::new(RwLock::new(Constitutions::default())),
            build_ref().unwrap(),
            Arc::clone(&self.metrics),
        );
        let shutdown = CancellationToken::new();
        let work = tokio::spawn(run(Arc::new(context), shutdown.clone()));
        self.operators.push(Running { shutdown, work });
    }

    /// Asks every operator to end, and waits for it.
    pub(crate) async fn halt(&mut self) {
        for operator in self.operators.drain(..) {
            operator.shutdown.cancel();
            let ended = tokio::time::timeout(PATIENCE, operator.work).await;
            ended
                .expect("an operator that ends when it is asked")
                .unwrap();
        }
    }

    /// Ends every operator in the middle of whatever it does.
    pub(crate) async fn kill(&mut self) {
        for operator in self.operators.drain(..) {
            operator.work.abort();
            assert!(operator.work.await.unwrap_err().is_cancelled());
        }
    }

    /// Applies the constitution of this test, with `more` in its spec.
    pub(crate) async fn constitute(&self, version: &str, more: Value) {
        let mut spec = json!({
            "meta": {"name": self.constitution, "version": version, "catalogue": 1},
            "namespaces": {},
            "supervisor": {"maxBranches": 3, "minConsensusRatio": "0.66"},
            "runtime": {"kinds": ["echo", "process"]},
            "cluster": {"images": ["registry.example.com/team/*"], "requireImageDigest": false},
        });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let object = json!({"apiVersion": "axiomhive.io/v1alpha1", "kind": "Constitution",
            "metadata": {"name": self.constitution}, "spec": spec});
        let object: Constitution = serde_json::from_value(object).unwrap();
        let parameters = PatchParams::apply("test").force();
        let patch = Patch::Apply(&object);
        let name = &self.constitution;
        self.constitutions()
            .patch(name, &parameters, &patch)
            .await
            .unwrap();
    }

    pub(crate) fn constitutions(&self) -> Api<Constitution> {
        Api::all(self.client.clone())
    }

    /// Waits until what was applied is in force.
    pub(crate) async fn in_force(&self) {
        self.until("a constitution in force", async || {
            let object = self.constitutions().get(&self.constitution).await.ok()?;
            let in_force = object.status?.in_force?;
            (in_force.version == object.spec.meta.version).then_some(())
        })
        .await;
    }

    pub(crate) fn tasks(&self) -> Api<SupervisedTask> {
        Api::namespaced(self.client.clone(), self.namespace.name())
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), self.namespace.name())
    }

    /// The pods of the namespace.
    pub(crate) async fn all_pods(&self) -> Vec<Pod> {
        let all = ListParams::default();
        self.pods().list(&all).await.unwrap().items
    }

    /// Applies a task for the echo runtime, with `more` in its spec.
    pub(crate) async fn task(&self, name: &str, more: Value) -> SupervisedTask {
        let mut spec = json!({
            "constitutionRef": {"name": self.constitution},
            "prompt": "What is the capital of France?",
            "runtime": {"echo": {}},
        });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let object = json!({"apiVersion": "axiomhive.io/v1alpha1", "kind": "SupervisedTask",
            "metadata": {"name": name}, "spec": spec});
        let object: SupervisedTask = serde_json::from_value(object).unwrap();
        self.tasks()
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    }

    /// Changes the spec of a task.
    pub(crate) async fn change(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        let (tasks, parameters) = (self.tasks(), PatchParams::default());
        tasks.patch(name, &parameters, &patch).await.unwrap();
    }

    /// The pod of this attempt, when it is there.
    pub(crate) async fn pod(&self, task: &SupervisedTask, attempt: u32) -> Pod {
        let uid = uid(task);
        let label = format!("axiomhive.io/task-uid={uid},axiomhive.io/attempt={attempt}");
        let mine = ListParams::default().labels(&label);
        self.until(&format!("the pod of attempt {attempt}"), async || {
            self.pods().list(&mine).await.ok()?.items.pop()
        })
        .await
    }

    /// The pod of this attempt, when its intent is in the ledger.
    pub(crate) async fn intended(&self, task: &SupervisedTask, attempt: u32) -> Pod {
        let pod = self.pod(task, attempt).await;
        self.until("an intent", async || {
            let records = self.ledger.records(&uid(task)).await;
            records.iter().any(|it| intends(it, attempt)).then_some(())
        })
        .await;
        pod
    }

    /// The task once this holds for it.
    pub(crate) async fn task_that(
        &self,
        task: &SupervisedTask,
        holds: impl Fn(&SupervisedTask) -> bool,
    ) -> SupervisedTask {
        let name = task.metadata.name.as_deref().unwrap();
        self.until("a task as it should be", async || {
            let task = self.tasks().get(name).await.ok()?;
            holds(&task).then_some(task)
        })
        .await
    }

    /// The task, when it has ended.
    pub(crate) async fn ended(&self, task: &SupervisedTask) -> SupervisedTask {
        let is_over =
            |task: &SupervisedTask| task.status.as_ref().is_some_and(|it| it.outcome.is_some());
        self.task_that(task, is_over).await
    }

    /// The task, once `Succeeded` has this reason.
    pub(crate) async fn because(&self, task: &SupervisedTask, reason: &str) -> SupervisedTask {
        self.task_that(task, |task| self::reason(task) == reason)
            .await
    }

    /// What the ledger has of the task: its kinds, in order. At most one is terminal.
    pub(crate) async fn history(&self, task: &SupervisedTask) -> Vec<&'static str> {
        let records = self.ledger.records(&uid(task)).await;
        let terminal = records.iter().filter(|it| it.is_terminal()).count();
        assert!(terminal <= 1, "{records:?}");
        records.iter().map(kind).collect()
    }

    /// Waits, and shows the tasks where it was in vain.
    pub(crate) async fn until<T>(&self, what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
        match eventually(what, PATIENCE.as_secs(), probe).await {
            Ok(found) => found,
            Err(error) => {
                for task in self.tasks().list(&ListParams::default()).await.unwrap() {
                    eprintln!("{:?}: {:#?}", task.metadata.name, task.status);
                }
                panic!("{error}")
            }
        }
    }

    /// Takes everything away that an operator of the next test could see.
    pub(crate) async fn end(mut self) {
        self.halt().await;
        let (all, listed) = (DeleteParams::default(), ListParams::default());
        self.tasks().delete_collection(&all, &listed).await.unwrap();
        let constitution = self.constitutions().delete(&self.constitution, &all).await;
        drop(constitution);
    }
}

/// The UID of an object.
pub(crate) fn uid(task: &SupervisedTask) -> String {
    task.metadata.uid.clone().unwrap()
}

/// The reason of `Succeeded`.
pub(crate) fn reason(task: &SupervisedTask) -> &str {
    condition(task, ConditionType::Succeeded).1
}

/// Status and reason of a condition; empty where it is not there.
pub(crate) fn condition(task: &SupervisedTask, about: ConditionType) -> (&str, &str) {
    let conditions = task.status.as_ref().map(|it| it.conditions.as_slice());
    let found = conditions.and_then(|all| find(all, about));
    found.map_or(("", ""), |it| (&it.status, &it.reason))
}

fn intends(record: &Record, attempt: u32) -> bool {
    matches!(&record.body, Body::Intent { task, .. } if task.attempt == attempt)
}

fn kind(record: &Record) -> &'static str {
    match record.body {
        Body::Constitution { .. } => "constitution",
        Body::Intent { .. } => "intent",
        Body::Attempt(_) => "attempt",
        Body::Answered(_) => "answered",
        Body::Withheld(_) => "withheld",
        Body::Refused(_) => "refused",
        Body::Failed(_) => "failed",
        Body::Cancelled(_) => "cancelled",
        Body::Deleted { .. } => "deleted",
        Body::Sealed { .. } => "sealed",
        Body::Succession { .. } => "succession",
        Body::Erasure { .. } => "erasure",
    }
}

/// A token of a service account, for an audience, bound to a pod.
pub(crate) async fn token(
    client: &Client,
    namespace: &str,
    account: &str,
    audience: Option<&str>,
    pod: Option<&Pod>,
) -> String {
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: audience.map(str::to_owned).into_iter().collect(),
            expiration_seconds: Some(3600),
            bound_object_ref: pod.map(|pod| BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        },
        ..TokenRequest::default()
    };
    let answer = api
        .create_token_request(account, &PostParams::default(), &request)
        .await;
    answer.unwrap().status.unwrap().token
}

/// The definitions, the release's service accounts, and the rights that the chart gives them.
async fn install(cluster: &TestCluster) {
    let client = cluster.client().await.unwrap();
    let api: Api<CustomResourceDefinition> = Api::all(client);
    for (_, definition) in crd::definitions().unwrap() {
        let name = definition.metadata.name.clone().unwrap();
        let parameters = PatchParams::apply("test").force();
        let patch = Patch::Apply(&definition);
        api.patch(&name, &parameters, &patch).await.unwrap();
        eventually("a definition in force", 30, async || {
            let conditions = api.get(&name).await.ok()?.status?.conditions?;
            let mut conditions = conditions.iter();
            conditions
                .any(|it| it.type_ == "Established" && it.status == "True")
                .then_some(())
        })
        .await
        .unwrap();
    }
    let admin = Tool::kubectl(cluster);
    admin.run(&["create", "namespace", RELEASE]).unwrap();
    for account in [OPERATOR, "axiom-hive-ledger"] {
        let create = ["create", "serviceaccount", account, "-n", RELEASE];
        admin.run(&create).unwrap();
    }
    let helm = Tool::new(cluster, "helm", &cluster.kubeconfig().unwrap());
    let chart = root().join("charts/axiom-hive");
    let rights = helm.run(&[
        "template",
        "axiom-hive",
        chart.to_str().unwrap(),
        "--namespace",
        RELEASE,
        "--kube-version=1.33",
        "--show-only=templates/rbac.yaml",
    ]);
    admin
        .run_with(&["apply", "-f", "-"], &rights.unwrap())
        .unwrap();
}
