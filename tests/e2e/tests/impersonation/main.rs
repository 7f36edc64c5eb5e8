//! What a user who is bound to `edit` tries against a runner pod that runs, one by one; and tasks that
//! name what is not theirs.
#![allow(clippy::unwrap_used)]

mod secrets;

use axiom_hive_core::wire::RECORDS_PATH;
use axiom_hive_e2e::Release;
use axiom_hive_e2e::kubectl::{Kubectl, Said};
use axiom_hive_e2e::pods::Pods;
use axiom_hive_operator::api::task::Outcome;
use axiom_hive_testcluster::eventually;
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// Who may do in the namespace all that `edit` allows.
const USER: &str = "dana";

/// A task that sleeps, and the pod that it does it in.
struct Scene {
    release: &'static Release,
    dana: Kubectl,
    namespace: String,
    pod: String,
    pod_uid: String,
    /// What was tried, whether it was stopped, and what was said.
    rows: Vec<(String, bool, String)>,
}

impl Scene {
    fn row(&mut self, what: &str, is_stopped: bool, said: &str) {
        let line = said.lines().last().unwrap_or_default();
        let sentence = line.rsplit("denied request: ").next().unwrap_or(line);
        self.rows
            .push((what.to_owned(), is_stopped, sentence.to_owned()));
    }

    /// Refused by the guard, not by a mistake of this test.
    fn guarded(&mut self, what: &str, arguments: &[&str], input: &Value) {
        let said = self.dana.run(arguments, input);
        let is_stopped = !said.ok && said.text.contains("axiom-hive-guard-");
        self.row(what, is_stopped, &said.text);
    }

    /// Refused by the guard or, before it, by what `edit` may do.
    fn forbidden(&mut self, what: &str, arguments: &[&str], input: &Value) {
        let said = self.dana.run(arguments, input);
        let is_stopped = !said.ok && said.text.contains("orbidden");
        self.row(what, is_stopped, &said.text);
    }

    fn connects(&mut self, what: &str, path: &str) {
        let said = self.dana.run(&["get", "--raw", path], &Value::Null);
        let is_stopped = !said.ok && said.text.contains("must not be connected to");
        self.row(what, is_stopped, &said.text);
    }

    fn creates(&mut self, what: &str, object: &Value) {
        self.guarded(what, &["create", "-f", "-"], object);
    }

    /// Prints the table.
    fn conclude(&self) {
        eprintln!("| tried | | |\n|---|---|---|");
        for (what, is_stopped, said) in &self.rows {
            let word = if *is_stopped {
                "stopped"
            } else {
                "**THROUGH**"
            };
            eprintln!("| {what} | {word} | {said} |");
        }
        let through = self.rows.iter().filter(|row| !row.1);
        let through: Vec<&str> = through.map(|row| row.0.as_str()).collect();
        assert_eq!(through, Vec::<&str>::new());
    }
}

fn pod(change: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "mine", "labels": {}},
        "spec": {"containers": [{"name": "main", "image": "example.com/evil"}]},
    });
    for part in ["metadata", "spec"] {
        for (key, value) in change[part].as_object().into_iter().flatten() {
            object[part][key] = value.clone();
        }
    }
    object
}

fn with_token_of(account: &str) -> Value {
    let source = json!({"serviceAccountToken": {"audience": "axiom-hive-ledger", "path": "token"}});
    let volume = json!({"name": "token", "projected": {"sources": [source]}});
    pod(&json!({"spec": {"serviceAccountName": account, "volumes": [volume]}}))
}

fn deployment(template: &Value) -> Value {
    let labels = json!({"app": "mine", "axiomhive.io/role": "runner"});
    let mut template = template.clone();
    template["metadata"] = json!({"labels": labels});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "mine"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": template["metadata"], "spec": template["spec"]},
        },
    })
}

fn constitution(release: &Release, namespace: &str) -> Value {
    json!({
        "meta": {"name": namespace, "version": "1.0.0", "catalogue": 1},
        "namespaces": {},
        "supervisor": {"maxBranches": 2, "minConsensusRatio": "0.75"},
        "cluster": {"images": [release.image("python-runtime").name], "requireImageDigest": true},
    })
}

fn sleeper(release: &Release, constitution: &str, seconds: u32) -> Value {
    let image = release.image("python-runtime");
    let program = format!("import time; time.sleep({seconds}); print('undisturbed')");
    json!({
        "constitutionRef": {"name": constitution},
        "prompt": "sleep",
        "retryLimit": 0,
        "runtime": {"process": {
            "image": image.reference(),
            "command": ["python3", "-c", program],
            "protocol": "text",
        }},
    })
}

fn bind_edit(admin: &Kubectl) {
    let user = format!("--user={USER}");
    let arguments = ["create", "rolebinding", "edit", "--clusterrole=edit", &user];
    let said = admin.run(&arguments, &Value::Null);
    assert!(said.ok, "{}", said.text);
}

fn pods_of_ones_own(scene: &mut Scene) {
    scene.creates(
        "a pod with our label",
        &pod(&json!({"metadata": {"labels": {"axiomhive.io/role": "runner"}}})),
    );
    scene.creates(
        "a deployment with our label",
        &deployment(&pod(&Value::Null)),
    );
    scene.creates(
        "a pod with our service account",
        &pod(&json!({"spec": {"serviceAccountName": "axh-runner"}})),
    );
    scene.creates("a pod with our audience", &with_token_of("default"));
    scene.creates(
        "a pod with our audience and account",
        &with_token_of("axh-runner"),
    );
    scene.creates(
        "a pod with our name",
        &pod(&json!({"metadata": {"name": "axh-walls-0"}})),
    );
    scene.creates(
        "a pod that is to get a name of ours",
        &pod(&json!({"metadata": {"name": null, "generateName": "axh-"}})),
    );
}

fn the_pod_that_runs(scene: &mut Scene) {
    let pod = scene.pod.clone();
    let none = Value::Null;
    let url = format!("/api/v1/namespaces/{}/pods/{pod}", scene.namespace);
    for (what, way) in [
        ("exec", "exec?command=true&stdout=1&container=runtime"),
        ("attach", "attach?stdout=1&container=runtime"),
        ("port-forward", "portforward?ports=39128"),
        ("proxy", "proxy/"),
    ] {
        scene.connects(what, &format!("{url}/{way}"));
    }
    let image = format!("pod/{pod}");
    scene.guarded(
        "a changed image",
        &["set", "image", &image, "runtime=example.com/evil"],
        &none,
    );
    let ephemeral = r#"{"spec":{"ephemeralContainers":[{"name":"e","image":"example.com/evil"}]}}"#;
    let patch = [
        "patch",
        "pod",
        &pod,
        "--subresource=ephemeralcontainers",
        "-p",
        ephemeral,
    ];
    scene.forbidden("an ephemeral container", &patch, &none);
    let label = ["label", "pod", &pod, "axiomhive.io/role-"];
    scene.guarded("our label taken off it", &label, &none);
    let delete = ["delete", "pod", &pod, "--wait=false"];
    scene.guarded("its deletion", &delete, &none);
    let status = r#"{"status":{"outcome":"Answered","answer":"forged"}}"#;
    let patch = [
        "patch",
        "stask",
        "sleeper",
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    ];
    scene.forbidden("a status of its task", &patch, &none);
}

async fn tokens(scene: &mut Scene) {
    let none = Value::Null;
    let (name, uid) = (
        format!("--bound-object-name={}", scene.pod),
        format!("--bound-object-uid={}", scene.pod_uid),
    );
    let mint = |account: &'static str, bound: bool| {
        let mut arguments = vec!["create", "token", account, "--audience=axiom-hive-ledger"];
        if bound {
            arguments.extend(["--bound-object-kind=Pod", &name, &uid]);
        }
        arguments
    };
    scene.guarded(
        "a token bound to the real pod",
        &mint("axh-runner", true),
        &none,
    );
    scene.guarded("a token of our account", &mint("axh-runner", false), &none);
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "mine", "annotations": {"kubernetes.io/service-account.name": "axh-runner"}},
    });
    scene.creates("a Secret with a token of our account", &secret);
    // Of another account everybody may have one, and the ledger takes it for nothing.
    let said = scene.dana.run(&mint("default", false), &none);
    assert!(said.ok, "{}", said.text);
    let (http, url) = scene.release.ledger().await;
    for (what, token) in [
        (
            "the ledger, with a token of another account",
            Some(said.text.trim()),
        ),
        ("the ledger, without a token", None),
    ] {
        let mut request = http.post(format!("{url}{RECORDS_PATH}")).body("{}");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let reply = request.send().await.unwrap();
        let status = reply.status().as_u16();
        let text = format!("{status}: {}", reply.text().await.unwrap());
        scene.row(what, matches!(status, 401 | 403), &text);
    }
}

fn objects_of_ours(scene: &mut Scene) {
    let none = Value::Null;
    let open = r#"{"spec":{"egress":[{}]}}"#;
    let patch = [
        "patch",
        "networkpolicy",
        "axh-runner",
        "--type=merge",
        "-p",
        open,
    ];
    scene.guarded("our network policy, changed", &patch, &none);
    let delete = ["delete", "networkpolicy", "axh-runner", "--wait=false"];
    scene.guarded("our network policy, deleted", &delete, &none);
    let delete = ["delete", "serviceaccount", "axh-runner", "--wait=false"];
    scene.guarded("our service account, deleted", &delete, &none);
    let mut policy = everything();
    policy["metadata"]["name"] = json!("axh-open");
    scene.creates("a network policy with a name of ours", &policy);
}

/// Opens every pod to everybody: an ordinary object, which `edit` may create.
fn everything() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "everything"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]},
    })
}

fn created(said: &Said) {
    assert!(said.ok, "{}", said.text);
}

#[tokio::test]
async fn an_edit_user_gets_nowhere() {
    let Some(release) = Release::shared().await else {
        return;
    };
    let namespace = release.namespace("edit").await;
    release
        .constitution(constitution(release, namespace.name()))
        .await;
    let admin = Kubectl::new(release.cluster(), None, namespace.name());
    bind_edit(&admin);
    let tasks = release.tasks(&namespace).await;
    let spec = sleeper(release, namespace.name(), 12);
    let task = tasks.apply("sleeper", spec).await.unwrap();
    let uid = task.metadata.uid.unwrap();
    let pod = Pods::of(release, &namespace).await.runner(&uid).await;
    let mut scene = Scene {
        release,
        dana: Kubectl::new(release.cluster(), Some(USER), namespace.name()),
        namespace: namespace.name().to_owned(),
        pod: pod.name_any(),
        pod_uid: pod.metadata.uid.unwrap(),
        rows: Vec::new(),
    };
    the_pod_that_runs(&mut scene);
    tokens(&mut scene).await;
    pods_of_ones_own(&mut scene);
    objects_of_ours(&mut scene);
    let status = tasks.end("sleeper").await.status.unwrap();
    let is_undisturbed = status.outcome == Some(Outcome::Answered)
        && status.attempt == Some(0)
        && status.answer.as_deref().map(str::trim) == Some("undisturbed");
    let seen = format!("{:?} at attempt {:?}", status.outcome, status.attempt);
    scene.row("all of it: another answer", is_undisturbed, &seen);
    scene.conclude();
}

/// What `edit` may do to any pod, and what it costs: an attempt.
#[tokio::test]
async fn an_evicted_runner_pod_costs_an_attempt() {
    let Some(release) = Release::shared().await else {
        return;
    };
    let namespace = release.namespace("evicted").await;
    release
        .constitution(constitution(release, namespace.name()))
        .await;
    bind_edit(&Kubectl::new(release.cluster(), None, namespace.name()));
    let dana = Kubectl::new(release.cluster(), Some(USER), namespace.name());
    let tasks = release.tasks(&namespace).await;
    let mut spec = sleeper(release, namespace.name(), 4);
    spec["retryLimit"] = json!(1);
    let task = tasks.apply("sleeper", spec).await.unwrap();
    let uid = task.metadata.uid.unwrap();
    let pod = Pods::of(release, &namespace).await.runner(&uid).await;
    let metadata = json!({"name": pod.name_any(), "namespace": namespace.name()});
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata});
    let (space, name) = (namespace.name(), pod.name_any());
    let url = format!("/api/v1/namespaces/{space}/pods/{name}/eviction");
    created(&dana.run(&["create", "--raw", &url, "-f", "-"], &eviction));
    let task = tasks.end("sleeper").await;
    let end = release.one_end(&task).await;
    assert_eq!(end.record.task().unwrap().attempt, 1);
    let status = task.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Answered), "{status:?}");
    assert_eq!((status.attempt, status.retries), (Some(1), Some(1)));
}

#[tokio::test]
async fn a_policy_that_opens_runner_pods_keeps_them_from_running() {
    let Some(release) = Release::shared().await else {
        return;
    };
    let namespace = release.namespace("opened").await;
    release
        .constitution(constitution(release, namespace.name()))
        .await;
    bind_edit(&Kubectl::new(release.cluster(), None, namespace.name()));
    let dana = Kubectl::new(release.cluster(), Some(USER), namespace.name());
    let tasks = release.tasks(&namespace).await;
    // Added while a task runs: its pod goes, and the attempt did not answer.
    let spec = sleeper(release, namespace.name(), 60);
    let task = tasks.apply("running", spec).await.unwrap();
    let uid = task.metadata.uid.unwrap();
    Pods::of(release, &namespace).await.runner(&uid).await;
    created(&dana.run(&["create", "-f", "-"], &everything()));
    let status = tasks.end("running").await.status.unwrap();
    eprintln!(
        "a policy added while it runs: {:?} {:?}",
        status.outcome, status.reason
    );
    assert_eq!(status.outcome, Some(Outcome::Failed), "{status:?}");
    assert_eq!(status.reason.as_deref(), Some("containmentFailed"));
    // Added before: no pod at all, and the status names it.
    let spec = sleeper(release, namespace.name(), 0);
    tasks.apply("waiting", spec).await.unwrap();
    let message = eventually("a task that says why it waits", 60, async || {
        let status = tasks.api.get("waiting").await.ok()?.status?;
        let condition = status
            .conditions
            .into_iter()
            .find(|it| it.type_ == "NetworkIsolated" && it.status == "False")?;
        Some(condition.message)
    })
    .await
    .unwrap();
    eprintln!("a policy added before: {message}");
    assert!(message.contains("everything"), "{message}");
    created(&dana.run(&["delete", "networkpolicy", "everything"], &Value::Null));
    let status = tasks.end("waiting").await.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Answered), "{status:?}");
}
