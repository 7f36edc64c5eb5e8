//! `axiom_hive_cli task` before a real API server (`AXIOM_HIVE_CLUSTER=api`), as a user with the rights that the chart
//! aggregates to `edit`. Nobody operates: the tests write the status, with the receipt of a real ledger, as
//! the operator writes it.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::Child;

use axiom_hive_api::names::answer_secret_name;
use axiom_hive_api::task::{LedgerPointer, Outcome, SecretRef, SupervisedTaskStatus};
use axiom_hive_api::{SupervisedTask, crd};
use axiom_hive_core::digest::to_hex;
use axiom_hive_core::record::Receipt;
use axiom_hive_testcluster::{Namespace, Size, TestCluster, eventually};
use common::{Hive, Ran, finish};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

const USER: &str = "dana";
const TASK: &str = "apiVersion: axiomhive.io/v1alpha1
kind: SupervisedTask
metadata: {name: hello}
spec:
  constitutionRef: {name: open}
  prompt: hello
  runtime: {echo: {}}
";

/// A user with a kubeconfig, a namespace, and a ledger from which receipts come.
struct World {
    hive: Hive,
    client: Client,
    namespace: Namespace<'static>,
}

impl World {
    async fn new(prefix: &str) -> Option<Self> {
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        let cluster = TestCluster::shared(Size::Api).await?;
        let client = cluster.client().await.unwrap();
        INSTALLED.get_or_init(|| install(client.clone())).await;
        let namespace = cluster.namespace(prefix).await.unwrap();
        allow(&client, namespace.name()).await;
        let hive = Hive::default();
        let mut kubeconfig = cluster.kubeconfig_for(USER, None).unwrap();
        for named in &mut kubeconfig.contexts {
            let context = named.context.as_mut().unwrap();
            context.namespace = Some(namespace.name().to_owned());
        }
        hive.write("kubeconfig", &serde_json::to_string(&kubeconfig).unwrap());
        hive.write("task.yaml", TASK);
        Some(Self {
            hive,
            client,
            namespace,
        })
    }

    fn start(&self, args: &[&str]) -> Child {
        let mut command = self.hive.command();
        command.env("KUBECONFIG", self.hive.path("kubeconfig"));
        command.arg("task").args(args).spawn().unwrap()
    }

    /// Off the runtime: the program is waited for.
    async fn task(&self, args: &[&str]) -> Ran {
        done(self.start(args)).await
    }

    async fn submitted(&self) -> SupervisedTask {
        self.task(&["submit", "task.yaml"]).await.expect(0);
        self.api().get("hello").await.unwrap()
    }

    fn api(&self) -> Api<SupervisedTask> {
        Api::namespaced(self.client.clone(), self.namespace.name())
    }

    async fn write(&self, status: &SupervisedTaskStatus) {
        let patch = Patch::Merge(json!({"status": status}));
        let (api, parameters) = (self.api(), PatchParams::default());
        api.patch_status("hello", &parameters, &patch)
            .await
            .unwrap();
    }

    /// The end of a task as the operator writes it, from a real run with its UID.
    fn answered(&self, uid: &str) -> SupervisedTaskStatus {
        let args = ["--task-uid", uid, "--receipt", "local.tlog-proof", "hello"];
        self.hive.echo(&args).expect(0);
        let text = std::fs::read_to_string(self.hive.path("local.tlog-proof")).unwrap();
        let receipt = Receipt::parse(&text).unwrap();
        let vkey = self.hive.cli(&["ledger", "key", "ledger"]).expect(0).stdout;
        SupervisedTaskStatus {
            ledger: Some(LedgerPointer {
                origin: receipt
                    .proof()
                    .checkpoint
                    .lines()
                    .next()
                    .unwrap()
                    .to_owned(),
                index: i64::try_from(receipt.proof().index).unwrap(),
                leaf_hash: to_hex(&receipt.leaf().0),
                vkey: Some(vkey.trim().to_owned()),
            }),
            receipt: Some(text),
            answer: Some("hello".to_owned()),
            ..ended(Outcome::Answered, "agreed")
        }
    }
}

fn ended(outcome: Outcome, reason: &str) -> SupervisedTaskStatus {
    SupervisedTaskStatus {
        outcome: Some(outcome),
        reason: Some(reason.to_owned()),
        ..SupervisedTaskStatus::default()
    }
}

fn uid(task: &SupervisedTask) -> &str {
    task.metadata.uid.as_deref().unwrap()
}

async fn done(child: Child) -> Ran {
    tokio::task::spawn_blocking(|| finish(child)).await.unwrap()
}

async fn install(client: Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    for (_, definition) in crd::definitions().unwrap() {
        let name = definition.metadata.name.clone().unwrap();
        let (parameters, patch) = (
            PatchParams::apply("test").force(),
            Patch::Apply(&definition),
        );
        api.patch(&name, &parameters, &patch).await.unwrap();
        eventually("a definition in force", 30, async || {
            let conditions = api.get(&name).await.ok()?.status?.conditions?;
            let established = |it: &_| condition_is(it, "Established");
            conditions.iter().any(established).then_some(())
        })
        .await
        .unwrap();
    }
}

fn condition_is(
    condition: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionCondition,
    type_: &str,
) -> bool {
    condition.type_ == type_ && condition.status == "True"
}

/// What `edit` has by the chart and by itself, as far as it concerns tasks.
async fn allow(client: &Client, namespace: &str) {
    let role: Role = serde_json::from_value(json!({
        "metadata": {"name": "edit-tasks"},
        "rules": [
            {"apiGroups": ["axiomhive.io"], "resources": ["supervisedtasks"],
             "verbs": ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
        ],
    }))
    .unwrap();
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "edit-tasks"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "edit-tasks"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
    }))
    .unwrap();
    let parameters = PostParams::default();
    let roles: Api<Role> = Api::namespaced(client.clone(), namespace);
    roles.create(&parameters, &role).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    bindings.create(&parameters, &binding).await.unwrap();
}

#[tokio::test]
async fn a_task_is_submitted_from_a_file_or_from_flags() {
    let Some(world) = World::new("submit").await else {
        return;
    };
    let ran = world.task(&["submit", "task.yaml"]).await.expect(0);
    assert_eq!(ran.stdout, "hello\n");
    let again = world.task(&["submit", "task.yaml"]).await.expect(1);
    assert!(again.stderr.contains("already exists"), "{}", again.stderr);
    world.hive.write("runtime.yaml", "echo: {}\n");
    let flags = [
        "submit",
        "--constitution",
        "open",
        "--prompt",
        "- what?",
        "--runtime",
        "runtime.yaml",
    ];
    let ran = world
        .task(&[&flags[..], &["--output", "json"]].concat())
        .await;
    let name = ran.expect(0).json()["name"].as_str().unwrap().to_owned();
    let task = world.api().get(&name).await.unwrap();
    assert!(name.starts_with("task-"), "{name}");
    assert_eq!(task.spec.prompt.as_deref(), Some("- what?"));
    assert!(task.spec.runtime.echo.is_some());
}

#[tokio::test]
async fn what_is_no_valid_task_is_refused_with_what_must_hold() {
    let Some(world) = World::new("refuse").await else {
        return;
    };
    let unknown = TASK.replace("prompt:", "promt: hi\n  prompt:");
    let two = TASK.replace(
        "{echo: {}}",
        "{echo: {}, http: {url: \"https://example.com\"}}",
    );
    let elsewhere = TASK.replace("{name: hello}", "{name: hello, namespace: elsewhere}");
    let other = TASK.replace("kind: SupervisedTask", "kind: Constitution");
    for (text, said) in [
        (unknown.as_str(), "unknown field \"spec.promt\""),
        (&two, "must have exactly one of"),
        (&elsewhere, "--namespace must be the same"),
        (&other, "must hold a SupervisedTask"),
        ("- a list\n", "must be one YAML or JSON object"),
    ] {
        world.hive.write("bad.yaml", text);
        let ran = world.task(&["submit", "bad.yaml"]).await.expect(1);
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
    let foreign = world.task(&["wait", "hello", "-n", "default"]).await;
    let said = foreign.expect(2).stderr;
    assert!(said.contains("forbidden"), "{said}");
    let absent = world.task(&["wait", "nobody"]).await.expect(1);
    assert!(
        absent.stderr.contains("must be in namespace"),
        "{}",
        absent.stderr
    );
    world
        .task(&["wait", "hello", "--context", "none"])
        .await
        .expect(2);
}

#[tokio::test]
async fn waiting_ends_with_the_task_and_with_its_exit_code() {
    let Some(world) = World::new("wait").await else {
        return;
    };
    for (outcome, reason, code) in [
        (Outcome::Answered, "agreed", 0),
        (Outcome::Refused, "promptTooLong", 1),
        (Outcome::Failed, "deadlineExceeded", 3),
        (Outcome::Withheld, "noAgreement", 4),
        (Outcome::Failed, "containmentFailed", 6),
        (Outcome::Cancelled, "cancelled", 8),
        (Outcome::Withheld, "aWordOfTomorrow", 4),
    ] {
        world.submitted().await;
        let waiting = world.start(&[
            "wait",
            "hello",
            "--timeout-seconds",
            "60",
            "--output",
            "json",
        ]);
        world.write(&ended(outcome, reason)).await;
        let ran = done(waiting).await.expect(code);
        assert_eq!(ran.json()["reason"], reason);
        assert_eq!(ran.json()["exitCode"], code);
        world
            .api()
            .delete("hello", &kube::api::DeleteParams::default())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn waiting_is_bounded_and_hears_of_a_deletion() {
    let Some(world) = World::new("bounded").await else {
        return;
    };
    world.submitted().await;
    let ran = world
        .task(&["wait", "hello", "--timeout-seconds", "1"])
        .await;
    let said = ran.expect(3).stderr;
    assert!(said.contains("must end within 1 s"), "{said}");
    let early = world.task(&["answer", "hello"]).await.expect(1);
    assert!(
        early.stderr.contains("must have ended; it is Pending"),
        "{}",
        early.stderr
    );
    let mut waiting = world.start(&["wait", "hello", "--timeout-seconds", "60"]);
    // It says where the task stands once it has seen it.
    let stderr = waiting.stderr.take().unwrap();
    let first = tokio::task::spawn_blocking(|| BufReader::new(stderr).lines().next());
    let line = first.await.unwrap().unwrap().unwrap();
    assert!(line.contains("Pending"), "{line}");
    let cancelled = world.task(&["cancel", "hello"]).await.expect(0);
    assert_eq!(cancelled.stdout, "hello is deleted\n");
    done(waiting).await.expect(8);
    assert!(world.api().get_opt("hello").await.unwrap().is_none());
}

#[tokio::test]
async fn a_task_that_has_ended_is_not_cancelled() {
    let Some(world) = World::new("late").await else {
        return;
    };
    world.submitted().await;
    world.write(&ended(Outcome::Answered, "agreed")).await;
    let ran = world.task(&["cancel", "hello"]).await.expect(1);
    assert!(ran.stderr.contains("must not have ended"), "{}", ran.stderr);
    assert!(world.api().get_opt("hello").await.unwrap().is_some());
}

#[tokio::test]
async fn an_answer_comes_from_the_status_or_from_the_secret_of_the_task() {
    let Some(world) = World::new("answer").await else {
        return;
    };
    let task = world.submitted().await;
    let mut status = ended(Outcome::Answered, "agreed");
    status.answer = Some("Paris".to_owned());
    world.write(&status).await;
    assert_eq!(
        world.task(&["answer", "hello"]).await.expect(0).stdout,
        "Paris\n"
    );
    let name = answer_secret_name(uid(&task));
    let long = "long ".repeat(10_000);
    let secret =
        json!({"metadata": {"name": name}, "stringData": {"answer": long}, "immutable": true});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), world.namespace.name());
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    let patch =
        Patch::Merge(json!({"status": {"answer": null, "answerSecretRef": SecretRef { name }}}));
    let (api, parameters) = (world.api(), PatchParams::default());
    api.patch_status("hello", &parameters, &patch)
        .await
        .unwrap();
    let ran = world.task(&["answer", "hello", "--output", "json"]).await;
    assert_eq!(ran.expect(0).json()["answer"], Value::from(long));
    let patch = Patch::Merge(
        json!({"status": {"answerSecretRef": null, "outcome": "Withheld", "reason": "tie"}}),
    );
    api.patch_status("hello", &parameters, &patch)
        .await
        .unwrap();
    let ran = world.task(&["answer", "hello"]).await.expect(4);
    assert_eq!(ran.stdout, "");
    assert!(
        ran.stderr.contains("there is no answer: withheld: tie"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn a_receipt_is_written_only_when_it_verifies_for_this_task() {
    let Some(world) = World::new("receipt").await else {
        return;
    };
    let task = world.submitted().await;
    let status = world.answered(uid(&task));
    world.write(&status).await;
    let vkey = status.ledger.clone().unwrap().vkey.unwrap();
    let out = ["receipt", "hello", "--out", "hello.tlog-proof"];
    let ran = world.task(&out).await.expect(0);
    assert!(
        ran.stdout
            .contains("verified: record, inclusion, signature, task"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stderr.contains("as good as this cluster"),
        "{}",
        ran.stderr
    );
    // The file that a local run writes, and it verifies without the cluster.
    let read = |name: &str| std::fs::read(world.hive.path(name)).unwrap();
    assert_eq!(read("hello.tlog-proof"), read("local.tlog-proof"));
    world
        .hive
        .cli(&["verify", "--receipt", "hello.tlog-proof", "--key", &vkey])
        .expect(0);
    world
        .task(&[&out[..], &["--key", &vkey]].concat())
        .await
        .expect(0);
    let elsewhere = Hive::default();
    elsewhere.echo(&["hello"]).expect(0);
    let other = elsewhere.cli(&["ledger", "key", "ledger"]).expect(0).stdout;
    let forged = ["receipt", "hello", "--out", "forged.tlog-proof"];
    world
        .task(&[&forged[..], &["--key", other.trim()]].concat())
        .await
        .expect(7);
    // A good receipt, of another task.
    let stranger = world.answered("another-task");
    world.write(&stranger).await;
    let ran = world.task(&forged).await.expect(7);
    assert!(
        ran.stderr.contains("must be that of this task's end"),
        "{}",
        ran.stderr
    );
    assert!(!world.hive.path("forged.tlog-proof").exists());
    let patch = Patch::Merge(json!({"status": {"receipt": null}}));
    let api = world.api();
    api.patch_status("hello", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let ran = world.task(&forged).await.expect(5);
    assert!(ran.stderr.contains("/v1/records/"), "{}", ran.stderr);
}
