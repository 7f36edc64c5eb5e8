//! `hive_supervisor run` as in a pod: what to do comes from the ledger service, what came of it goes
//! there. Only the network policy is missing: the canary port given to it is closed, or not.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use axiom_hive_core::constitution::Constitution;
use axiom_hive_core::digest::Digest;
use axiom_hive_core::interceptor::HashKey;
use axiom_hive_core::record::{
    Body, BuildRef, Label, ObservedIntent, Payload, Reason, Record, Salt, Salts,
};
use axiom_hive_core::supervisor::{Command as Next, IntentBy, Prepared, Supervisor, Task, replay};
use axiom_hive_core::task::{PromptSource, PromptSourceKind, RuntimeSpec, TaskSpec};
use axiom_hive_core::wire::{AppendEntry, Pointer, RecordKind, TaskReply, payload_path, task_path};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt as _;

use crate::records::{cancelled, task};
use crate::support::{AUDIENCE, Caller, OPERATOR, ORIGIN, Served};

const POLICY: &str = "[meta]\nname = \"default\"\nversion = \"1.0.0\"\n";
const TASK: &str = "6d1f0e8c-2b7a-4935-9c11-000000000001";

/// A cluster of one service, one operator and one pod.
struct Cluster {
    served: Served,
    operator: Caller,
    prepared: Prepared,
}

impl Cluster {
    async fn new() -> Self {
        let served = Served::with(&Served::kubernetes("")).await;
        served.api.issue("operator", OPERATOR, None, &[AUDIENCE]);
        let account = "system:serviceaccount:team:axh-runner";
        served.api.issue("pod", account, Some("pod-a"), &[AUDIENCE]);
        std::fs::write(served.dir.path().join("pod-token"), "pod\n").unwrap();
        let constitution = Constitution::parse("policy.toml", POLICY).unwrap();
        let prepared = Prepared::new(constitution).unwrap();
        let operator = served.with_token("operator");
        let text = Payload {
            label: Label::CONSTITUTION,
            salt: Salt([1; 32]),
            bytes: prepared.constitution().canonical_json(),
        };
        let record = Record::new(Body::Constitution {
            constitution: prepared.reference().clone(),
            text: text.commitment(),
        });
        let payloads = vec![text];
        operator
            .append(vec![AppendEntry { record, payloads }])
            .await
            .unwrap();
        Self {
            served,
            operator,
            prepared,
        }
    }

    /// The intent of an attempt of `spec` for the pod `pod`, as an operator writes it.
    fn intent(&self, spec: TaskSpec, pod: &str) -> AppendEntry {
        let task = Task {
            spec,
            reference: task(TASK, 0),
            salts: Salts::Seed([2; 32]),
            hash_key: HashKey([3; 32]),
        };
        let observed = ObservedIntent {
            at_unix_ms: 1,
            build: BuildRef {
                version: "0.1.0".to_owned(),
                executable: Digest::of(b"operator"),
            },
            pod_uid: Some(pod.to_owned()),
        };
        let by = IntentBy::Machine(observed);
        let (_, commands) = Supervisor::new(&self.prepared, &task, by, false).unwrap();
        let [Next::Append(entry)] = &commands[..] else {
            panic!("{commands:?}");
        };
        AppendEntry {
            record: entry.record.clone(),
            payloads: entry.payloads.clone(),
        }
    }

    async fn begin(&self, spec: TaskSpec) -> Pod<'_> {
        let intent = self.intent(spec, "pod-a");
        self.operator.append(vec![intent.clone()]).await.unwrap();
        self.pod(&intent)
    }

    /// The pod that an operator makes for `intent`.
    fn pod(&self, intent: &AppendEntry) -> Pod<'_> {
        let Body::Intent {
            spec, constitution, ..
        } = &intent.record.body
        else {
            panic!("no intent");
        };
        Pod {
            cluster: self,
            spec: *spec,
            constitution: constitution.digest,
            canary: closed().port(),
            deadline_seconds: 40,
            more: Vec::new(),
        }
    }

    async fn records(&self) -> Vec<Record> {
        let reply: TaskReply = self
            .operator
            .get(&task_path(TASK))
            .await
            .json()
            .await
            .unwrap();
        let verified = reply.records.iter().map(|stored| {
            let (_, verified) = stored.verify(&self.served.vkey).unwrap();
            verified.record
        });
        verified.collect()
    }

    async fn payload(&self, record: &Record, label: &Label) -> Option<Vec<u8>> {
        for commitment in record.commitments() {
            let response = self.operator.get(&payload_path(&commitment)).await;
            if response.status() == 200 {
                let payload = Payload::decode(&response.bytes().await.unwrap()).unwrap();
                if payload.label == *label {
                    return Some(payload.bytes);
                }
            }
        }
        None
    }

    fn message(&self) -> PathBuf {
        self.served.dir.path().join("termination-message")
    }
}

/// A port where nobody listens.
fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

struct Pod<'a> {
    cluster: &'a Cluster,
    spec: Digest,
    constitution: Digest,
    canary: u16,
    deadline_seconds: u32,
    more: Vec<String>,
}

impl Pod<'_> {
    fn start(&self) -> Child {
        let served = &self.cluster.served;
        let dir = served.dir.path();
        let ca = std::fs::read_to_string(served.authority.ca()).unwrap();
        Command::new(env!("CARGO_BIN_EXE_hive_supervisor"))
            .arg("run")
            .arg(format!("--task-uid={TASK}"))
            .arg("--attempt=0")
            .arg(format!("--spec-digest={}", self.spec))
            .arg(format!("--constitution-digest={}", self.constitution))
            .arg(format!("--ledger={}", served.url("")))
            .arg(format!("--ledger-canary-port={}", self.canary))
            .arg(format!("--ledger-ca={ca}"))
            .arg(format!("--ledger-key={}", served.vkey))
            .arg(format!("--token={}", dir.join("pod-token").display()))
            .arg(format!("--deadline-seconds={}", self.deadline_seconds))
            .arg(format!(
                "--termination-message={}",
                self.cluster.message().display()
            ))
            .args(&self.more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    async fn run(&self) -> Ran {
        Ran::of(self.start()).await
    }
}

struct Ran {
    code: Option<i32>,
    log: String,
}

impl Ran {
    async fn of(child: Child) -> Self {
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
        let Output { status, stderr, .. } = ended.await.unwrap().unwrap();
        Self {
            code: status.code(),
            log: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    #[track_caller]
    fn expect(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{}", self.log);
    }
}

fn echo(prompt: &str) -> TaskSpec {
    TaskSpec {
        prompt: prompt.to_owned(),
        prompt_from: None,
        runtime: RuntimeSpec::Echo,
        branches: None,
    }
}

fn http(address: SocketAddr) -> TaskSpec {
    TaskSpec {
        runtime: RuntimeSpec::Http {
            url: format!("http://{address}/"),
        },
        ..echo("Where?")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_ends_in_the_ledger_and_leaves_a_pointer() {
    let cluster = Cluster::new().await;
    let pod = cluster.begin(echo("mail ann@example.org $(HOME)")).await;
    pod.run().await.expect(0);

    let records = cluster.records().await;
    let [intent, end] = &records[..] else {
        panic!("{records:?}");
    };
    assert!(matches!(end.body, Body::Answered(_)));
    let answer = cluster.payload(end, &Label::ANSWER).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.contains("[REDACTED:email]") && answer.contains("$(HOME)"),
        "{answer}"
    );

    let message = std::fs::read_to_string(cluster.message()).unwrap();
    let pointer: Pointer = message.parse().unwrap();
    assert_eq!(
        (pointer.outcome, pointer.exit_code),
        (RecordKind::Answered, 0)
    );
    assert_eq!((pointer.task_uid.as_str(), pointer.attempt), (TASK, 0));
    assert_eq!((pointer.origin.as_str(), pointer.index), (ORIGIN, 2));
    let leaf = axiom_hive_core::tlog::leaf_hash(&end.to_canonical().unwrap());
    assert_eq!(pointer.leaf, leaf);

    // A second pod of the same attempt finds the end and runs nothing.
    pod.run().await.expect(0);
    assert_eq!(cluster.records().await, [intent.clone(), end.clone()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_that_comes_late_is_waited_for() {
    let cluster = Cluster::new().await;
    let intent = cluster.intent(echo("hello"), "pod-a");
    let supervisor = cluster.pod(&intent).start();
    crate::support::until(|| async {
        let metrics = cluster.operator.get("/metrics").await.text().await.unwrap();
        metrics.contains(r#"requests_total{route="/v1/tasks/{uid}""#)
    })
    .await;
    cluster.operator.append(vec![intent]).await.unwrap();
    Ran::of(supervisor).await.expect(0);
    assert_eq!(cluster.records().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_over_is_not_run() {
    let cluster = Cluster::new().await;
    let pod = cluster.begin(echo("hello")).await;
    cluster
        .operator
        .append(vec![cancelled(TASK, 0)])
        .await
        .unwrap_err();
    let mut end = cancelled(TASK, 0);
    if let Body::Cancelled(outcome) = &mut end.record.body {
        outcome.decided.constitution = cluster.prepared.reference().clone();
    }
    cluster.operator.append(vec![end]).await.unwrap();
    pod.run().await.expect(8);
    let pointer = std::fs::read_to_string(cluster.message()).unwrap();
    let pointer: Pointer = pointer.parse().unwrap();
    assert_eq!(
        (pointer.outcome, pointer.exit_code),
        (RecordKind::Cancelled, 8)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_ledger_says_must_be_what_the_pod_was_made_for() {
    let cluster = Cluster::new().await;
    let pod = cluster.begin(echo("hello")).await;
    let other = Digest::of(b"another");
    for (spec, constitution) in [(other, pod.constitution), (pod.spec, other)] {
        let pod = Pod {
            spec,
            constitution,
            more: Vec::new(),
            ..pod
        };
        pod.run().await.expect(7);
    }
    assert_eq!(cluster.records().await.len(), 1);
    assert!(!cluster.message().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_pod_cannot_end_the_attempt() {
    let cluster = Cluster::new().await;
    let intent = cluster.intent(echo("hello"), "pod-b");
    cluster.operator.append(vec![intent.clone()]).await.unwrap();
    // It cannot even read the prompt.
    let ran = cluster.pod(&intent).run().await;
    ran.expect(7);
    assert!(ran.log.contains("must be kept"), "{}", ran.log);
    assert_eq!(cluster.records().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_network_is_recorded_and_runs_nothing() {
    let cluster = Cluster::new().await;
    let mut pod = cluster.begin(echo("hello")).await;
    pod.canary = cluster.served.addresses.canary.port();
    pod.deadline_seconds = 13;
    pod.run().await.expect(6);
    let records = cluster.records().await;
    let outcome = records[1].outcome().unwrap();
    assert!(matches!(records[1].body, Body::Failed(_)));
    assert_eq!(outcome.decided.reason, Reason::ContainmentFailed);
    assert!(outcome.decided.branches.is_empty());
    let detail = cluster.payload(&records[1], &Label::DETAIL).await.unwrap();
    assert!(String::from_utf8(detail).unwrap().contains("canary"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_runtime_ends_the_attempt_and_not_the_task() {
    let cluster = Cluster::new().await;
    let pod = cluster.begin(http(closed())).await;
    pod.run().await.expect(3);
    let records = cluster.records().await;
    assert!(matches!(records[1].body, Body::Attempt(_)));
    let pointer: Pointer = std::fs::read_to_string(cluster.message())
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(
        (pointer.outcome, pointer.exit_code),
        (RecordKind::Attempt, 3)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_records_nothing() {
    let cluster = Cluster::new().await;
    let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pod = cluster.begin(http(service.local_addr().unwrap())).await;
    let supervisor = pod.start();
    // A branch is running.
    let (mut branch, _) = service.accept().await.unwrap();
    branch.read_u8().await.unwrap();
    let pid = Pid::from_raw(i32::try_from(supervisor.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    Ran::of(supervisor).await.expect(143);
    assert_eq!(cluster.records().await.len(), 1);
    assert!(!cluster.message().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_waits_for_a_ledger_that_is_away() {
    let mut cluster = Cluster::new().await;
    let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let supervisor = cluster
        .begin(http(service.local_addr().unwrap()))
        .await
        .start();
    let mut held = Vec::new();
    for _ in 0..4 {
        let (mut branch, _) = service.accept().await.unwrap();
        branch.read_u8().await.unwrap();
        held.push(branch);
    }
    // The ledger goes away while the branches run, and comes back after they ended.
    cluster.served.halt().await;
    drop(held);
    drop(service);
    let ledger = cluster.served.addresses.https;
    crate::support::until(|| async {
        // It asks again and again; one of its attempts reaches us.
        let Ok(listener) = tokio::net::TcpListener::bind(ledger).await else {
            return false;
        };
        let asked = tokio::time::timeout(crate::support::PATIENCE, listener.accept()).await;
        asked.is_ok()
    })
    .await;
    cluster.served.resume().await;
    Ran::of(supervisor).await.expect(3);
    assert_eq!(cluster.records().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_from_elsewhere_is_committed_to_by_the_pod_and_replays() {
    let cluster = Cluster::new().await;
    let spec = TaskSpec {
        prompt_from: Some(PromptSource {
            kind: PromptSourceKind::Secret,
            name: "prompts".to_owned(),
            key: "axiomhive-prompt".to_owned(),
        }),
        ..echo("")
    };
    let mut pod = cluster.begin(spec).await;
    pod.run().await.expect(7);
    let prompt = cluster.served.dir.path().join("prompt");
    std::fs::write(&prompt, "from a secret").unwrap();
    pod.more = vec![format!("--prompt={}", prompt.display())];
    pod.run().await.expect(0);

    let records = cluster.records().await;
    let [intent, end] = &records[..] else {
        panic!("{records:?}");
    };
    assert_ne!(intent.prompt(), end.prompt());
    let answer = cluster.payload(end, &Label::ANSWER).await.unwrap();
    assert_eq!(answer, b"from a secret");
    let mut payloads = Vec::new();
    for commitment in records.iter().flat_map(Record::commitments) {
        let response = cluster.operator.get(&payload_path(&commitment)).await;
        if response.status() == 200 {
            payloads.push(Payload::decode(&response.bytes().await.unwrap()).unwrap());
        }
    }
    let decided = replay(end, intent, cluster.prepared.constitution(), |commitment| {
        payloads
            .iter()
            .find(|p| p.commitment() == *commitment)
            .cloned()
    });
    assert_eq!(&decided.unwrap(), &end.outcome().unwrap().decided);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_key_goes_only_where_its_keeper_allows() {
    let cluster = Cluster::new().await;
    let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let spec = TaskSpec {
        runtime: RuntimeSpec::OpenAi {
            base_url: format!("http://{}/v1", service.local_addr().unwrap()),
            model: "small".to_owned(),
            system: None,
            temperature_thousandths: None,
            max_tokens: None,
            ca_bundle: None,
            api_key_secret: Some("key".to_owned()),
        },
        ..echo("Where?")
    };
    let mut pod = cluster.begin(spec).await;
    let dir = cluster.served.dir.path().join("api-key");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("axiomhive-api-key"), "sk-secret").unwrap();
    std::fs::write(
        dir.join("axiomhive-allowed-hosts"),
        "api.example, 127.0.0.2\n",
    )
    .unwrap();
    pod.more = vec![format!("--api-key={}", dir.display())];
    let ran = pod.run().await;
    ran.expect(3);
    let asked = tokio::time::timeout(std::time::Duration::ZERO, service.accept()).await;
    assert!(asked.is_err(), "the key was sent");
    let records = cluster.records().await;
    let detail = cluster.payload(&records[1], &Label::DETAIL).await.unwrap();
    assert!(
        String::from_utf8(detail)
            .unwrap()
            .contains("127.0.0.1 must be in the list")
    );
    assert!(!ran.log.contains("sk-secret"));
}
