//! What the tests share: definitions, and a webhook of this process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};

use axiom_hive_core::constitution::Constitution;
use axiom_hive_operator::admission::authority::Periods;
use axiom_hive_operator::admission::readiness::{Part, Readiness};
use axiom_hive_operator::admission::{Certificates, PATH, Webhook, serve};
use axiom_hive_operator::api::constitution::NamespaceSelector;
use axiom_hive_operator::api::crd;
use axiom_hive_operator::plan::resolve::{Constitutions, Version};
use axiom_hive_testcluster::{TestCluster, eventually};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Installs both kinds, and waits until they are served.
pub(crate) async fn install_definitions(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for (_, definition) in crd::definitions().unwrap() {
        let name = definition.metadata.name.clone().unwrap();
        let parameters = PatchParams::apply("test").force();
        api.patch(&name, &parameters, &Patch::Apply(&definition))
            .await
            .unwrap();
        eventually("a definition in force", 30, async || {
            let conditions = api.get(&name).await.ok()?.status?.conditions?;
            conditions
                .iter()
                .any(|it| it.type_ == "Established" && it.status == "True")
                .then_some(())
        })
        .await
        .unwrap();
    }
}

/// Puts a constitution into what is known, as if it were in force and in the ledger.
pub(crate) fn put_in_force(
    known: &mut Constitutions,
    content: &Constitution,
    namespaces: NamespaceSelector,
) {
    let (name, version) = (&content.meta.name, &content.meta.version);
    known.set_object(name, namespaces, Some(version.clone()));
    let held = Version {
        digest: content.digest(),
        index: 0,
        content: Some(Arc::new(content.clone())),
    };
    known.set_version(name, version, held);
}

/// One webhook at a time: the API server asks it about every constitution.
static ONE: Mutex<()> = Mutex::const_new(());

/// A webhook of this process that the API server asks.
pub(crate) struct Running {
    pub(crate) constitutions: Arc<RwLock<Constitutions>>,
    pub(crate) readiness: Readiness,
    pub(crate) configuration: String,
    pub(crate) address: SocketAddr,
    configurations: Api<ValidatingWebhookConfiguration>,
    shutdown: CancellationToken,
    _one: MutexGuard<'static, ()>,
    _serving: AbortOnDropHandle<()>,
}

impl Running {
    /// Starts it with an authority of its own; returns when it is ready.
    pub(crate) async fn start(cluster: &TestCluster, namespace: &str, periods: Periods) -> Self {
        let own = Certificates::Own {
            namespace: namespace.to_owned(),
            configuration: Some(namespace.to_owned()),
            periods,
        };
        Self::start_with(cluster, namespace, own, None).await
    }

    /// Starts it with these certificates, of which the API server trusts `bundle`.
    pub(crate) async fn start_with(
        cluster: &TestCluster,
        namespace: &str,
        certificates: Certificates,
        bundle: Option<&str>,
    ) -> Self {
        let one = ONE.lock().await;
        let client = cluster.client().await.unwrap();
        install_definitions(&client).await;
        let address = cluster.host_address().unwrap();
        let listener = tokio::net::TcpListener::bind((address, 0)).await.unwrap();
        let bound = listener.local_addr().unwrap();
        let url = format!("https://{bound}{PATH}");
        let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
        let bundle = bundle.map(|it| ByteString(it.as_bytes().to_vec()));
        let configuration = configuration(namespace, &url, bundle.as_ref());
        configurations
            .create(&PostParams::default(), &configuration)
            .await
            .unwrap();

        let constitutions = Arc::new(RwLock::new(Constitutions::default()));
        let (readiness, shutdown) = (Readiness::default(), CancellationToken::new());
        let webhook = Webhook {
            listener,
            names: vec![address.to_string()],
            certificates,
            constitutions: Arc::clone(&constitutions),
            client,
            readiness: readiness.clone(),
        };
        let serving = serve(webhook, shutdown.clone());
        let serving = tokio::spawn(async move { serving.await.unwrap() });
        let running = Self {
            constitutions,
            readiness,
            configuration: namespace.to_owned(),
            address: bound,
            configurations,
            shutdown,
            _one: one,
            _serving: AbortOnDropHandle::new(serving),
        };
        eventually("a webhook that lacks constitutions only", 30, async || {
            (running.readiness.missing() == ["constitutions", "self-review"]).then_some(())
        })
        .await
        .unwrap();
        running.readiness.set(Part::Constitutions);
        let ready = tokio::time::timeout(
            std::time::Duration::from_secs(30),
            running.readiness.ready(),
        );
        ready.await.unwrap();
        running
    }

    /// Ends it, and has nobody ask it any more.
    pub(crate) async fn stop(self) {
        let parameters = DeleteParams::default();
        self.configurations
            .delete(&self.configuration, &parameters)
            .await
            .unwrap();
        self.shutdown.cancel();
    }
}

fn configuration(
    namespace: &str,
    url: &str,
    bundle: Option<&ByteString>,
) -> ValidatingWebhookConfiguration {
    let webhook = |resource: &str, name: &str| {
        json!({
            "name": format!("{name}.axiomhive.io"),
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 3,
            "clientConfig": {"url": url, "caBundle": bundle},
            "rules": [{"apiGroups": ["axiomhive.io"], "apiVersions": ["v1alpha1"], "resources": [resource],
                "operations": ["CREATE", "UPDATE"]}],
            "matchConditions": [{"name": "spec",
                "expression": "request.operation == 'CREATE' || object.spec != oldObject.spec"}],
        })
    };
    let (constitutions, tasks) = (
        webhook("constitutions", "constitution"),
        webhook("supervisedtasks", "task"),
    );
    serde_json::from_value(json!({
        "metadata": {"name": namespace},
        "webhooks": [constitutions, tasks],
    }))
    .unwrap()
}

/// No label at all selects every namespace.
pub(crate) fn every_namespace() -> NamespaceSelector {
    NamespaceSelector {
        match_labels: BTreeMap::new(),
        match_expressions: Vec::new(),
    }
}
