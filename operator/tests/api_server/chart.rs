//! The charts: what they refuse, and what they make on a real API server.

use std::sync::{Arc, RwLock};

use axiom_hive_operator::admission::authority::Periods;
use axiom_hive_operator::admission::readiness::Readiness;
use axiom_hive_operator::admission::{Certificates, SECRET, Webhook, serve};
use axiom_hive_operator::ledger_secrets::LedgerSecrets;
use axiom_hive_operator::plan::resolve::Constitutions;
use axiom_hive_testcluster::{Size, TestCluster, client_from, eventually};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use axiom_hive_testcluster::tool::Tool;

const NAMESPACE: &str = "axiom-hive";
const CHART: &str = "charts/axiom-hive";
const DEFINITIONS: &str = "charts/axiom-hive-crds";

/// Values that each show another part of the templates.
const VARIANTS: [&[&str]; 5] = [
    &[],
    &["--set=webhook.certManager.enabled=true,webhook.certManager.issuer.name=ca"],
    &["--set=namespaces={a,b},images.pullSecrets={p},operator.priorityClassName=high"],
    &[
        "--set=networkPolicies.apiServer.cidrs={10.0.0.0/8},networkPolicies.metricsNamespaceLabels.a=b",
    ],
    &[
        "--set=networkPolicies.enabled=false,ledger.storage.accessMode=ReadWriteOnce,ledger.origin=a.example/b",
    ],
];

fn render(helm: &Tool, values: &[&str]) -> Result<String, String> {
    let arguments = [
        "template",
        NAMESPACE,
        CHART,
        "--namespace=axiom-hive",
        "--kube-version=1.33",
    ];
    let said = helm.run(&[&arguments[..], values].concat());
    if said.ok { Ok(said.out) } else { Err(said.err) }
}

#[tokio::test]
async fn charts_are_clean_and_refuse_unknown_values() {
    let Some(cluster) = TestCluster::shared(Size::Api).await else {
        return;
    };
    let helm = Tool::new(cluster, "helm", &cluster.kubeconfig().unwrap());
    helm.run(&["lint", "--strict", DEFINITIONS]).unwrap();
    for values in VARIANTS {
        helm.run(&[&["lint", "--strict", CHART], values].concat())
            .unwrap();
        let objects = render(&helm, values).unwrap();
        assert!(objects.contains("kind: StatefulSet"));
        // The ledger is held to what the operator keeps of it elsewhere, once there is something.
        assert!(objects.contains("--anchor=/etc/axiom-hive/anchor/checkpoint"));
        assert!(objects.contains("configMap: {name: axh-ledger-head, optional: true}"));
        // What the operator writes is not the chart's to write.
        assert!(!objects.contains("caBundle:"), "{values:?}");
    }
    for unknown in [
        "operator.replica=1",
        "ledger.storage.mode=x",
        "images.tag=x",
        "networkPolicies.apiServer.cidr=x",
        "nonsense=1",
    ] {
        let refused = render(&helm, &["--set", unknown]).unwrap_err();
        assert!(
            refused.contains("additional properties"),
            "{unknown}: {refused}"
        );
    }
    for wrong in [
        "operator.replicas=0",
        "ledger.storage.accessMode=ReadWriteMany",
        "webhook.certManager.enabled=true",
    ] {
        render(&helm, &["--set", wrong]).unwrap_err();
    }
}

/// Every object of the release, without what the API server counts.
fn versions(kubectl: &Tool) -> String {
    let kinds = "deploy,sts,svc,sa,cm,role,rolebinding,networkpolicy,pdb,clusterrole,clusterrolebinding,\
        validatingwebhookconfiguration,validatingadmissionpolicy,validatingadmissionpolicybinding";
    let columns = "-o=custom-columns=K:.kind,N:.metadata.name,G:.metadata.generation,V:.metadata.resourceVersion";
    let selector = "-l=app.kubernetes.io/instance=axiom-hive";
    let all = kubectl
        .run(&["get", kinds, "-n", NAMESPACE, selector, columns])
        .unwrap();
    // Controllers write the status of workloads and of policies whenever they like.
    let is_static = |line: &&str| {
        ![
            "Deployment",
            "StatefulSet",
            "PodDisruptionBudget",
            "ValidatingAdmissionPolicy ",
        ]
        .iter()
        .any(|kind| line.starts_with(kind))
    };
    all.lines().filter(is_static).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_release_is_installed_upgraded_taken_away_and_installed_again() {
    if TestCluster::shared(Size::Api).await.is_none() {
        return;
    }
    let cluster = TestCluster::own().await.unwrap();
    let kubectl = Tool::kubectl(&cluster);
    let helm = Tool::new(&cluster, "helm", &cluster.kubeconfig().unwrap());
    kubectl.run(&["create", "namespace", NAMESPACE]).unwrap();
    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    kubectl
        .run(&["label", "namespace", NAMESPACE, enforce])
        .unwrap();

    let install = |verb: &str, name: &str, chart: &str| {
        helm.run(&[verb, name, chart, "-n", NAMESPACE]).unwrap()
    };
    install("install", "axiom-hive-crds", DEFINITIONS);
    let notes = install("install", "axiom-hive", CHART);
    assert!(notes.contains("What is not protected"), "{notes}");

    // Controllers make the pods under the guard and under the restricted standard.
    eventually(
        "two pods of the operator and one of the ledger",
        60,
        async || {
            let pods = kubectl
                .run(&["get", "pods", "-n", NAMESPACE, "-o=name"])
                .unwrap();
            (pods.matches("pod/axiom-hive-operator-").count() == 2
                && pods.contains("pod/axiom-hive-ledger-0"))
            .then_some(())
        },
    )
    .await
    .unwrap();
    the_operator_lives_on_the_charts_rights(&cluster, &kubectl).await;
    policies_are_typed(&kubectl).await;

    let before = versions(&kubectl);
    assert!(before.lines().count() > 15, "{before}");
    install("upgrade", "axiom-hive", CHART);
    assert_eq!(
        before,
        versions(&kubectl),
        "an upgrade to the same changed something"
    );
    let bundle = [
        "get",
        "validatingwebhookconfiguration",
        "axiom-hive",
        "-o=jsonpath={.webhooks[*].clientConfig.caBundle}",
    ];
    assert!(
        kubectl.run(&bundle).unwrap().len() > 500,
        "the upgrade took the bundle away"
    );

    for name in ["axiom-hive", "axiom-hive-crds"] {
        helm.run(&["uninstall", name, "-n", NAMESPACE]).unwrap();
    }
    kubectl
        .run(&[
            "get",
            "crd",
            "supervisedtasks.axiomhive.io",
            "constitutions.axiomhive.io",
        ])
        .unwrap();
    kubectl
        .run(&["get", "secret", "-n", NAMESPACE, SECRET])
        .unwrap();
    install("install", "axiom-hive-crds", DEFINITIONS);
    install("install", "axiom-hive", CHART);
}

/// The webhook, and the ledger's Secrets, with the rights of the operator's service account and no other.
async fn the_operator_lives_on_the_charts_rights(cluster: &TestCluster, kubectl: &Tool) {
    let account = cluster
        .kubeconfig_for_service_account(NAMESPACE, "axiom-hive-operator")
        .await;
    let client = client_from(account.unwrap()).await.unwrap();
    let secrets = LedgerSecrets::new(client.clone(), NAMESPACE, "axiom-hive-ledger", None);
    secrets.round(1_800_000_000).await.unwrap();
    // Due again: the Secret is written a second time.
    secrets.round(1_810_000_000).await.unwrap();
    let readiness = Readiness::default();
    let webhook = Webhook {
        listener: tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(),
        names: vec!["axiom-hive-webhook.axiom-hive.svc".to_owned()],
        certificates: Certificates::Own {
            namespace: NAMESPACE.to_owned(),
            configuration: Some("axiom-hive".to_owned()),
            periods: Periods::default(),
        },
        constitutions: Arc::new(RwLock::new(Constitutions::default())),
        client: client.clone(),
        readiness: readiness.clone(),
    };
    let serving = serve(webhook, CancellationToken::new());
    let _serving = AbortOnDropHandle::new(tokio::spawn(async move { serving.await.unwrap() }));
    readiness.set(axiom_hive_operator::admission::readiness::Part::Constitutions);
    tokio::time::timeout(std::time::Duration::from_secs(30), readiness.ready())
        .await
        .unwrap_or_else(|_| panic!("not ready: {:?}", readiness.missing()));
    for (what, may) in [
        ("list secrets -n axiom-hive", false),
        ("get secrets -n axiom-hive", false),
        ("get secrets/axh-webhook-tls -n axiom-hive", true),
        ("get configmaps -n default", false),
        ("create pods -n default", true),
        ("update pods -n default", false),
        ("create pods --subresource=exec -n default", false),
        ("patch supervisedtasks -n default", false),
        (
            "patch supervisedtasks --subresource=status -n default",
            true,
        ),
        ("patch validatingwebhookconfigurations/other", false),
        ("update constitutions", false),
        (
            "create serviceaccounts --subresource=token -n default",
            false,
        ),
    ] {
        let words: Vec<&str> = what.split(' ').collect();
        let user = "--as=system:serviceaccount:axiom-hive:axiom-hive-operator";
        let said = kubectl.run(&[&["auth", "can-i"], &words[..], &[user]].concat());
        assert_eq!(
            said.out.trim() == "yes",
            may,
            "{what}: {}{}",
            said.out,
            said.err
        );
    }
}

/// The API server found nothing wrong with the expressions of the guard.
async fn policies_are_typed(kubectl: &Tool) {
    let found = eventually("policies that were checked", 60, async || {
        let all = kubectl
            .run(&["get", "validatingadmissionpolicy", "-o=json"])
            .unwrap();
        let all: Value = serde_json::from_str(&all).unwrap();
        let policies = all["items"].as_array()?.clone();
        let ours = policies.into_iter().filter(|it| {
            it["metadata"]["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("axiom-hive-guard-"))
        });
        let ours: Vec<Value> = ours.collect();
        let is_checked =
            |it: &Value| it["status"]["observedGeneration"] == it["metadata"]["generation"];
        (ours.len() == 6 && ours.iter().all(is_checked)).then_some(ours)
    });
    for policy in found.await.unwrap() {
        let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
        assert!(
            warnings.is_null(),
            "{}: {warnings}",
            policy["metadata"]["name"]
        );
    }
}
