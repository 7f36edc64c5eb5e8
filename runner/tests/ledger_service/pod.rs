//! A pod without a cluster: the real service and the real supervisor, with what an operator gives it.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use axiom_hive_core::constitution::Constitution;
use axiom_hive_core::digest::Digest;
use axiom_hive_core::interceptor::HashKey;
use axiom_hive_core::record::{
    Body, BuildRef, Label, ObservedIntent, Payload, Record, Salt, Salts,
};
use axiom_hive_core::supervisor::{Command as Next, IntentBy, Prepared, Supervisor, Task};
use axiom_hive_core::task::{RuntimeSpec, TaskSpec};
use axiom_hive_core::wire::{
    AppendEntry, MAX_POINTER_BYTES, Pointer, TaskReply, payload_path, task_path,
};

use crate::records::task;
use crate::support::{AUDIENCE, Caller, OPERATOR, Served};

const POLICY: &str = "[meta]\nname = \"default\"\nversion = \"1.0.0\"\n";
pub(crate) const TASK: &str = "6d1f0e8c-2b7a-4935-9c11-000000000001";

/// A cluster of one service, one operator and one pod.
pub(crate) struct Cluster {
    pub(crate) served: Served,
    pub(crate) operator: Caller,
    pub(crate) prepared: Prepared,
}

impl Cluster {
    pub(crate) async fn new() -> Self {
        Self::under("").await
    }

    /// One whose constitution opens `address`, which is on loopback.
    pub(crate) async fn opening(address: SocketAddr) -> Self {
        let port = address.port();
        Self::listing(&format!("cidr = \"127.0.0.1/32\"\nport = {port}")).await
    }

    /// One whose constitution lists `target` under `[[egress.allow]]`.
    pub(crate) async fn listing(target: &str) -> Self {
        Self::under(&format!("[[egress.allow]]\n{target}\n")).await
    }

    /// One whose constitution has these sections.
    pub(crate) async fn under(sections: &str) -> Self {
        let served = Served::with(&Served::kubernetes("")).await;
        served.api.issue("operator", OPERATOR, None, &[AUDIENCE]);
        let account = "system:serviceaccount:team:axh-runner";
        served.api.issue("pod", account, Some("pod-a"), &[AUDIENCE]);
        std::fs::write(served.dir.path().join("pod-token"), "pod\n").unwrap();
        let constitution =
            Constitution::parse("policy.toml", &format!("{POLICY}{sections}")).unwrap();
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
    pub(crate) fn intent(&self, spec: TaskSpec, pod: &str) -> AppendEntry {
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

    pub(crate) async fn begin(&self, spec: TaskSpec) -> Pod<'_> {
        let intent = self.intent(spec, "pod-a");
        self.operator.append(vec![intent.clone()]).await.unwrap();
        self.pod(&intent)
    }

    /// The pod that an operator makes for `intent`.
    pub(crate) fn pod(&self, intent: &AppendEntry) -> Pod<'_> {
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

    pub(crate) async fn records(&self) -> Vec<Record> {
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

    pub(crate) async fn payload(&self, record: &Record, label: &Label) -> Option<Vec<u8>> {
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

    pub(crate) fn message(&self) -> PathBuf {
        self.served.dir.path().join("termination-message")
    }

    /// What the pod left for its operator.
    pub(crate) fn pointer(&self) -> Pointer {
        let message = std::fs::read_to_string(self.message()).unwrap();
        assert!(message.len() <= MAX_POINTER_BYTES);
        message.parse().unwrap()
    }
}

/// A port where nobody listens.
pub(crate) fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

pub(crate) struct Pod<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) spec: Digest,
    pub(crate) constitution: Digest,
    pub(crate) canary: u16,
    pub(crate) deadline_seconds: u32,
    pub(crate) more: Vec<String>,
}

impl Pod<'_> {
    pub(crate) fn start(&self) -> Child {
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

    pub(crate) async fn run(&self) -> Ran {
        Ran::of(self.start()).await
    }
}

pub(crate) struct Ran {
    code: Option<i32>,
    pub(crate) log: String,
}

impl Ran {
    pub(crate) async fn of(child: Child) -> Self {
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
        let Output { status, stderr, .. } = ended.await.unwrap().unwrap();
        Self {
            code: status.code(),
            log: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn expect(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{}", self.log);
    }
}

pub(crate) fn echo(prompt: &str) -> TaskSpec {
    TaskSpec {
        prompt: prompt.to_owned(),
        prompt_from: None,
        runtime: RuntimeSpec::Echo,
        branches: None,
    }
}

pub(crate) fn http(address: SocketAddr) -> TaskSpec {
    TaskSpec {
        runtime: RuntimeSpec::Http {
            url: format!("http://{address}/"),
        },
        ..echo("Where?")
    }
}
