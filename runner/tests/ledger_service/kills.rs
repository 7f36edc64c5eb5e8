//! `SIGKILL` of the real program while clients append, again and again on the same ledger.
//!
//! The kill comes with the n-th acknowledgement of a run, while other appends are under way. Whoever had
//! no answer asks again, of the process that comes next. The full count is `AXIOM_HIVE_BUDGET_SERVICE_KILLS`.

use std::collections::BTreeMap;
use std::path::Path;

use axiom_hive_core::record::Body;
use axiom_hive_core::tlog::{MemTree, SigningKey, TlogProof, VerifyingKey, leaf_hash};
use axiom_hive_core::wire::{AppendEntry, AppendReply, AppendRequest};
use axiom_hive_runner::ledger::storage::Disk;
use axiom_hive_runner::ledger::{Depth, KeyStore, Ledger, Trust, verify_on};
use reqwest::Client;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::binary::{kill, prepared, serve, started};
use crate::records::{constitution, intent};

const CLIENTS: usize = 3;
/// A kill comes with the first to the last of so many acknowledgements.
const MOST_ACKNOWLEDGED: usize = 9;

/// What a client wants appended: tasks of its own, in groups of one to three.
struct Appender {
    client: Client,
    number: usize,
    next: usize,
}

impl Appender {
    /// The group that is not yet acknowledged.
    fn group(&self) -> Vec<AppendEntry> {
        let task = |part| format!("client-{}-{}-{part}", self.number, self.next);
        let length = 1 + self.next % 3;
        (0..length)
            .map(|part| intent(&task(part), 0, "pod-a"))
            .collect()
    }

    /// Appends until the service is gone; gives each reply away.
    async fn run(mut self, base: String, replies: mpsc::UnboundedSender<AppendReply>) -> Self {
        loop {
            let entries = self.group();
            let body = serde_json::to_vec(&AppendRequest { entries }).unwrap();
            let request = self.client.post(format!("{base}/v1/records")).body(body);
            let Ok(response) = request.send().await else {
                return self;
            };
            let status = response.status();
            let Ok(text) = response.text().await else {
                return self;
            };
            assert_eq!(status, 200, "{text}");
            let _ = replies.send(serde_json::from_str(&text).unwrap());
            self.next += 1;
        }
    }
}

/// What was acknowledged: index by task, and the heads that receipts were signed under.
#[derive(Default)]
struct Acknowledged {
    indices: BTreeMap<String, u64>,
    heads: BTreeMap<u64, [u8; 32]>,
}

impl Acknowledged {
    fn add(&mut self, reply: &AppendReply, key: &VerifyingKey) {
        for result in &reply.results {
            let (_, verified) = result.stored.verify(key).unwrap();
            let Body::Intent { task, .. } = &verified.record.body else {
                continue;
            };
            let before = self.indices.insert(task.uid.clone(), verified.index);
            assert!(
                before.is_none_or(|index| index == verified.index),
                "{}",
                task.uid
            );
            let proof = TlogProof::parse(&result.stored.receipt).unwrap();
            let head = proof.verify(&proof.extra.clone().unwrap(), key).unwrap();
            let before = self.heads.insert(head.size, head.root.0);
            assert!(
                before.is_none_or(|root| root == head.root.0),
                "two heads of size {}",
                head.size
            );
        }
    }

    /// Everything is there, once, under every head that was given out.
    fn check(&self, dir: &Path, key: &SigningKey) {
        // The constitution of these records is a stand-in: what they say is not checked.
        let disk = Disk::new(&dir.join("ledger"), 0o600);
        let report = verify_on(&disk, Trust::Key(key.verifying_key()), Depth::Log).unwrap();
        assert!(report.is_ok(), "{report:?}");
        let keys = KeyStore::of_key(&dir.join("state"), key.clone()).unwrap();
        let ledger = Ledger::open(&dir.join("ledger"), &keys).unwrap();
        assert_eq!(ledger.read_only(), []);
        let mut tree = MemTree::new();
        let mut found = BTreeMap::new();
        for index in 0..ledger.view().size() {
            tree.push(leaf_hash(&ledger.view().record_bytes(index).unwrap()));
            if let Body::Intent { task, .. } = ledger.record(index).unwrap().body {
                assert_eq!(
                    found.insert(task.uid.clone(), index),
                    None,
                    "{} twice",
                    task.uid
                );
            }
        }
        for (uid, index) in &self.indices {
            assert_eq!(found.get(uid), Some(index), "{uid}");
        }
        for (size, root) in &self.heads {
            assert_eq!(
                tree.root_at(*size).unwrap().0,
                *root,
                "the head of size {size}"
            );
        }
    }
}

/// One life of the service, ended with the `kill_at`-th acknowledgement.
async fn life(
    dir: &Path,
    key: &VerifyingKey,
    appenders: &mut Vec<Appender>,
    acknowledged: &mut Acknowledged,
    kill_at: usize,
) {
    let mut child = serve(dir).spawn().unwrap();
    let (base, before) = started(&mut child);
    assert!(!before.contains("read-only"), "{before}");
    let (sender, mut replies) = mpsc::unbounded_channel();
    let mut running = JoinSet::new();
    for appender in appenders.drain(..) {
        running.spawn(appender.run(base.clone(), sender.clone()));
    }
    drop(sender);
    for _ in 0..kill_at {
        acknowledged.add(&replies.recv().await.unwrap(), key);
    }
    kill(child).await;
    while let Some(reply) = replies.recv().await {
        acknowledged.add(&reply, key);
    }
    while let Some(appender) = running.join_next().await {
        appenders.push(appender.unwrap());
    }
}

fn kills() -> usize {
    let set = std::env::var("AXIOM_HIVE_BUDGET_SERVICE_KILLS");
    set.ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_of_the_service_loses_or_doubles_what_was_acknowledged() {
    let dir = TempDir::new().unwrap();
    let authority = prepared(dir.path());
    let private = std::fs::read_to_string(dir.path().join("key")).unwrap();
    let key = SigningKey::from_private(private.trim()).unwrap();
    let client = authority.client(Some("operator.example"));
    let mut acknowledged = Acknowledged::default();
    let mut appenders = Vec::new();
    let mut child = serve(dir.path()).spawn().unwrap();
    let (base, _) = started(&mut child);
    let body = serde_json::to_vec(&AppendRequest {
        entries: vec![constitution()],
    })
    .unwrap();
    let first = client.post(format!("{base}/v1/records")).body(body).send();
    assert_eq!(first.await.unwrap().status(), 200);
    kill(child).await;
    for number in 0..CLIENTS {
        let client = client.clone();
        appenders.push(Appender {
            client,
            number,
            next: 0,
        });
    }
    for round in 0..kills() {
        let kill_at = round % MOST_ACKNOWLEDGED;
        life(
            dir.path(),
            key.verifying_key(),
            &mut appenders,
            &mut acknowledged,
            kill_at,
        )
        .await;
        if round % 100 == 0 {
            acknowledged.check(dir.path(), &key);
        }
    }
    acknowledged.check(dir.path(), &key);
    assert!(!acknowledged.indices.is_empty());
}
