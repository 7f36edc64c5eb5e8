//! The guard policies of the chart, one by one: as a user who may do all that `edit` allows and more,
//! and as the operator.

use axiom_hive_testcluster::{Size, TestCluster, eventually};
use serde_json::{Value, json};

use crate::guard_objects::{bad_pods, operators_objects, pod, runner, templates};
use crate::support::install_definitions;
use axiom_hive_testcluster::tool::{Said, Tool, root};

const OPERATOR: &str = "system:serviceaccount:axiom-hive:axiom-hive-operator";
const NAMESPACE: &str = "team";
/// What `edit` lacks and some platform teams hand out beside it.
const MORE: &str = r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"more"},"rules":[
    {"apiGroups":[""],"resources":["pods/ephemeralcontainers","pods/resize","podtemplates"],"verbs":["*"]},
    {"apiGroups":["axiomhive.io"],"resources":["*"],"verbs":["*"]}]}"#;
const TASK: &str = r#"{"apiVersion":"axiomhive.io/v1alpha1","kind":"SupervisedTask","metadata":{"name":"t"},
    "spec":{"constitutionRef":{"name":"c"},"prompt":"Hello","runtime":{"echo":{}}}}"#;

struct Guard {
    _cluster: TestCluster,
    admin: Tool,
    operator: Tool,
    dana: Tool,
}

impl Guard {
    async fn install() -> Option<Self> {
        // A cluster of its own: under the guard, other tests could not write our objects.
        TestCluster::shared(Size::Api).await?;
        let cluster = TestCluster::own().await.unwrap();
        install_definitions(&cluster.client().await.unwrap()).await;
        let admin = Tool::kubectl(&cluster);
        let user = |name: &str| {
            Tool::new(
                &cluster,
                "kubectl",
                &cluster.kubeconfig_for(name, None).unwrap(),
            )
        };
        let (operator, dana) = (user(OPERATOR), user("dana"));
        admin.run(&["create", "namespace", NAMESPACE]).unwrap();
        admin.run_with(&["create", "-f", "-"], MORE).unwrap();
        // Without it the API server refuses pods and tokens before it asks the guard.
        admin
            .run(&["create", "serviceaccount", "axh-runner", "-n", NAMESPACE])
            .unwrap();
        let all = "cluster-admin";
        admin
            .run(&[
                "create",
                "clusterrolebinding",
                "o",
                "--clusterrole",
                all,
                "--user",
                OPERATOR,
            ])
            .unwrap();
        for role in ["edit", "more"] {
            let arguments = [
                "create",
                "rolebinding",
                role,
                "-n",
                NAMESPACE,
                "--user=dana",
            ];
            admin
                .run(&[&arguments[..], &["--clusterrole", role]].concat())
                .unwrap();
        }
        admin
            .run(&[
                "create",
                "clusterrolebinding",
                "d",
                "--clusterrole=more",
                "--user=dana",
            ])
            .unwrap();
        let helm = Tool::new(&cluster, "helm", &cluster.kubeconfig().unwrap());
        let chart = root().join("charts/axiom-hive");
        let guard = helm.run(&[
            "template",
            "axiom-hive",
            chart.to_str().unwrap(),
            "--namespace=axiom-hive",
            "--kube-version=1.33",
            "--show-only=templates/guard.yaml",
        ]);
        admin
            .run_with(&["apply", "-f", "-"], &guard.unwrap())
            .unwrap();
        let guard = Self {
            _cluster: cluster,
            admin,
            operator,
            dana,
        };
        eventually("policies in force", 60, async || {
            guard.is_in_force().then_some(())
        })
        .await
        .unwrap();
        Some(guard)
    }

    /// Policies come into force one by one: the one that refuses a status is asked for last.
    fn is_in_force(&self) -> bool {
        let object = |name: &str| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}).to_string()
        };
        let create = ["create", "--dry-run=server", "-n", NAMESPACE, "-f", "-"];
        let is_refused = |said: &Said| {
            if !said.err.contains("axiom-hive-guard") {
                eprintln!("not yet refused: {}", user_message(said));
            }
            said.err.contains("axiom-hive-guard")
        };
        is_refused(&self.dana.run_with(&create, &object("axh-x")))
            && is_refused(&self.dana.run_with(&create, &runner().to_string()))
            && is_refused(
                &self
                    .dana
                    .run(&["create", "token", "axh-runner", "-n", NAMESPACE]),
            )
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str], input: &Value, message: &str) {
        let said = self.dana.run_with(
            &[arguments, &["-n", NAMESPACE]].concat(),
            &input.to_string(),
        );
        let text = format!("{}{}", said.out, said.err);
        assert!(
            !said.ok && text.contains("axiom-hive-guard-") && text.contains(message),
            "{arguments:?} {input}: {text}"
        );
    }

    #[track_caller]
    fn refuses_to_create(&self, input: &Value, message: &str) {
        self.refuses(&["create", "--dry-run=server", "-f", "-"], input, message);
    }
}

#[track_caller]
fn allows(who: &Tool, arguments: &[&str], input: &Value) {
    let said = who.run_with(
        &[arguments, &["-n", NAMESPACE]].concat(),
        &input.to_string(),
    );
    assert!(said.ok, "{arguments:?} {input}: {}{}", said.out, said.err);
}

#[tokio::test]
async fn every_line_of_the_guard_holds_for_an_edit_user_and_not_for_the_operator() {
    let Some(guard) = Guard::install().await else {
        return;
    };
    others_make_no_runner_pods(&guard);
    for object in operators_objects() {
        allows(&guard.operator, &["apply", "-f", "-"], &object);
    }
    others_change_no_runner_pods(&guard);
    nobody_connects_to_runner_pods(&guard);
    others_get_no_token(&guard);
    others_write_none_of_our_objects(&guard);
    others_write_no_status(&guard);
    what_is_not_ours_is_untouched(&guard);
    controllers_clean_up(&guard).await;
}

fn others_make_no_runner_pods(guard: &Guard) {
    for name in [
        json!({"name": "axh-mine"}),
        json!({"name": null, "generateName": "axh-"}),
    ] {
        guard.refuses_to_create(
            &pod(&json!({"metadata": name})),
            "must not begin with \"axh-\"",
        );
    }
    for (change, message) in bad_pods() {
        let bad = pod(&change);
        guard.refuses_to_create(&bad, message);
        for template in templates(&bad) {
            guard.refuses_to_create(&template, message);
        }
        allows(
            &guard.operator,
            &["create", "--dry-run=server", "-f", "-"],
            &bad,
        );
    }
    let mut named = templates(&pod(&json!({})));
    for object in &mut named {
        allows(
            &guard.dana,
            &["create", "--dry-run=server", "-f", "-"],
            object,
        );
        object["metadata"]["name"] = json!("axh-mine");
        guard.refuses_to_create(object, "must not begin with \"axh-\"");
    }
}

fn others_change_no_runner_pods(guard: &Guard) {
    let none = Value::Null;
    guard.refuses(
        &["label", "pod", "axh-t-1", "a=b"],
        &none,
        "must stay as they are on a runner pod",
    );
    guard.refuses(
        &["label", "pod", "axh-t-1", "axiomhive.io/role-"],
        &none,
        "must stay as they are",
    );
    let image = ["set", "image", "pod/axh-t-1", "main=example.com/evil"];
    guard.refuses(&image, &none, "spec.containers: must stay as they are");
    let ephemeral = r#"{"spec":{"ephemeralContainers":[{"name":"e","image":"example.com/evil"}]}}"#;
    guard.refuses(
        &[
            "patch",
            "pod",
            "axh-t-1",
            "--subresource=ephemeralcontainers",
            "-p",
            ephemeral,
        ],
        &none,
        "spec.ephemeralContainers: must not be added",
    );
    let resize = r#"{"spec":{"containers":[{"name":"main","resources":{"limits":{"cpu":"9"}}}]}}"#;
    guard.refuses(
        &[
            "patch",
            "pod",
            "axh-t-1",
            "--subresource=resize",
            "-p",
            resize,
        ],
        &none,
        "spec.containers: must stay as they are",
    );
    // A pod of somebody else's cannot become one of ours.
    allows(&guard.dana, &["create", "-f", "-"], &pod(&json!({})));
    guard.refuses(
        &["label", "pod", "mine", "axiomhive.io/role=runner"],
        &none,
        "labels below",
    );
    allows(
        &guard.operator,
        &["annotate", "pod", "axh-t-1", "a=b"],
        &none,
    );
}

fn nobody_connects_to_runner_pods(guard: &Guard) {
    for way in [
        "exec?command=true&stdout=1",
        "attach?stdout=1",
        "portforward?ports=80",
        "proxy/",
    ] {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/axh-t-1/{way}");
        for user in [&guard.dana, &guard.operator, &guard.admin] {
            let said = user.run(&["get", "--raw", &path]);
            assert!(
                said.err.contains("must not be connected to"),
                "{way}: {}",
                said.err
            );
        }
        let other =
            user_message(
                &guard
                    .dana
                    .run(&["get", "--raw", &path.replace("axh-t-1", "mine")]),
            );
        assert!(!other.contains("axiom-hive-guard"), "{way}: {other}");
    }
}

fn user_message(said: &Said) -> String {
    format!("{}{}", said.out, said.err)
}

fn others_get_no_token(guard: &Guard) {
    let none = Value::Null;
    let message = "must only be asked for by a node";
    guard.refuses(&["create", "token", "axh-runner"], &none, message);
    let bound = [
        "--audience=axiom-hive-ledger",
        "--bound-object-kind=Pod",
        "--bound-object-name=axh-t-1",
    ];
    guard.refuses(
        &[&["create", "token", "axh-runner"], &bound[..]].concat(),
        &none,
        message,
    );
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "mine", "annotations": {"kubernetes.io/service-account.name": "axh-runner"}},
    });
    guard.refuses_to_create(&secret, message);
    allows(&guard.dana, &["create", "token", "default"], &none);
}

fn others_write_none_of_our_objects(guard: &Guard) {
    let none = Value::Null;
    let message = "must only be written by the Axiom Hive operator";
    for mut object in operators_objects() {
        let (kind, name) = (object["kind"].clone(), object["metadata"]["name"].clone());
        let (kind, name) = (kind.as_str().unwrap(), name.as_str().unwrap());
        guard.refuses(&["delete", kind, name, "--wait=false"], &none, message);
        if kind != "Pod" {
            guard.refuses(&["annotate", kind, name, "a=b"], &none, message);
            object["metadata"]["name"] = json!("axh-new");
            guard.refuses_to_create(&object, message);
        }
    }
    for collection in [
        format!("/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"),
        format!("/api/v1/namespaces/{NAMESPACE}/secrets"),
    ] {
        let said = guard.dana.run(&["delete", "--raw", &collection]);
        assert!(
            said.err.contains(message),
            "{collection}: {}",
            user_message(&said)
        );
    }
}

fn others_write_no_status(guard: &Guard) {
    let task: Value = serde_json::from_str(TASK).unwrap();
    let constitution = json!({
        "apiVersion": "axiomhive.io/v1alpha1",
        "kind": "Constitution",
        "metadata": {"name": "c"},
        "spec": {"meta": {"name": "c", "version": "1.0.0", "catalogue": 1}, "namespaces": {}},
    });
    let patch = |kind: &'static str, name: &'static str| {
        let change = r#"{"status":{"observedGeneration":1}}"#;
        [
            "patch",
            kind,
            name,
            "--subresource=status",
            "--type=merge",
            "-p",
            change,
        ]
    };
    for (object, arguments) in [
        (task, patch("supervisedtask", "t")),
        (constitution, patch("constitution", "c")),
    ] {
        allows(&guard.dana, &["create", "-f", "-"], &object);
        guard.refuses(&arguments, &Value::Null, "status: must only be written by");
        allows(&guard.operator, &arguments, &Value::Null);
    }
}

fn what_is_not_ours_is_untouched(guard: &Guard) {
    let object =
        |kind: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "mine"}});
    for kind in ["ConfigMap", "Secret", "ServiceAccount"] {
        allows(&guard.dana, &["create", "-f", "-"], &object(kind));
        allows(
            &guard.dana,
            &["annotate", kind, "mine", "a=b"],
            &Value::Null,
        );
        allows(&guard.dana, &["delete", kind, "mine"], &Value::Null);
    }
    allows(&guard.dana, &["label", "pod", "mine", "a=b"], &Value::Null);
    allows(
        &guard.dana,
        &["set", "image", "pod/mine", "main=example.com/b"],
        &Value::Null,
    );
    allows(&guard.dana, &["delete", "pod", "mine"], &Value::Null);
}

/// The garbage collector takes what a task leaves, the namespace controller everything.
async fn controllers_clean_up(guard: &Guard) {
    let uid = guard
        .admin
        .run(&[
            "get",
            "stask",
            "t",
            "-n",
            NAMESPACE,
            "-o",
            "jsonpath={.metadata.uid}",
        ])
        .unwrap();
    let reference = json!({"apiVersion": "axiomhive.io/v1alpha1", "kind": "SupervisedTask", "name": "t", "uid": uid});
    let owned = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "axh-answer-2", "ownerReferences": [reference]},
    });
    allows(&guard.operator, &["create", "-f", "-"], &owned);
    allows(&guard.dana, &["delete", "stask", "t"], &Value::Null);
    eventually("the end of what a task owned", 60, async || {
        let said = guard
            .admin
            .run(&["get", "secret", "axh-answer-2", "-n", NAMESPACE]);
        said.err.contains("NotFound").then_some(())
    })
    .await
    .unwrap();
    guard
        .admin
        .run(&["delete", "namespace", NAMESPACE, "--wait=false"])
        .unwrap();
    eventually(
        "the end of a namespace with objects of ours",
        60,
        async || {
            let said = guard.admin.run(&["get", "namespace", NAMESPACE]);
            said.err.contains("NotFound").then_some(())
        },
    )
    .await
    .unwrap();
}
