//! The disk fails under the real program: `strace` injects what the kernel would say. Without it the
//! tests end early and say so.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use axiom_hive_core::tlog::{SigningKey, VerifyingKey};
use axiom_hive_core::wire::{AppendEntry, AppendReply, AppendRequest, ErrorCode};
use reqwest::{Client, Response};
use tempfile::TempDir;

use crate::binary::{kill, prepared, serve, started};
use crate::records::{constitution, intent};
use crate::support::refused;

/// Far more appends than calls that are let through.
const MOST_APPENDS: u64 = 64;

/// A ledger with its service, and who asks it.
struct Faulty {
    dir: TempDir,
    operator: Client,
    key: VerifyingKey,
}

impl Faulty {
    /// None where `strace` does not work.
    fn new() -> Option<Self> {
        // A container may forbid tracing.
        let mut trial = Command::new("strace");
        let tried = trial.args(["-qq", "--trace=none", "true"]).output();
        if !tried.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: needs strace, and the right to trace");
            return None;
        }
        let dir = TempDir::new().unwrap();
        let operator = prepared(dir.path()).client(Some("operator.example"));
        let private = std::fs::read_to_string(dir.path().join("key")).unwrap();
        let key = SigningKey::from_private(private.trim()).unwrap();
        let key = key.verifying_key().clone();
        Some(Self { dir, operator, key })
    }

    /// The service under `inject`, an expression of `strace`; the process is the service itself.
    fn start(&self, inject: &str) -> (Child, String) {
        let inner = serve(self.dir.path());
        let mut command = Command::new("strace");
        let inject = format!("--inject={inject}");
        command
            .args(["-D", "-f", "-qq", "-y", "-o", "trace"])
            .args(["--trace=pwrite64,fdatasync,mkdirat", &inject])
            .arg(inner.get_program())
            .args(inner.get_args())
            .current_dir(self.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        begin(command)
    }

    /// None when the service is gone.
    async fn append(&self, base: &str, entry: AppendEntry) -> Option<Response> {
        let body = serde_json::to_vec(&AppendRequest {
            entries: vec![entry],
        })
        .unwrap();
        let request = self.operator.post(format!("{base}/v1/records")).body(body);
        request.send().await.ok()
    }

    /// Appends until one fails: how many were acknowledged, and the refusal.
    async fn until_it_fails(&self, base: &str) -> (u64, Option<Response>) {
        for number in 0..MOST_APPENDS {
            let entry = match number {
                0 => constitution(),
                _ => intent(&format!("task-{number}"), 0, "pod-a"),
            };
            match self.append(base, entry).await {
                Some(reply) if reply.status() == 200 => {
                    let reply: AppendReply = reply.json().await.unwrap();
                    assert_eq!(reply.results[0].stored.index, number);
                    reply.results[0].stored.verify(&self.key).unwrap();
                }
                other => return (number, other),
            }
        }
        panic!("the fault never came");
    }

    /// On a disk that works: everything acknowledged is there, and what was not can be appended.
    async fn check(&self, acknowledged: u64, what: &str) {
        let (child, base) = begin(serve(self.dir.path()));
        for number in 0..acknowledged {
            let path = format!("{base}/v1/records/{number}");
            let found = self.operator.get(path).send().await.unwrap();
            assert_eq!(found.status(), 200, "{what}: record {number}");
        }
        for number in acknowledged..=acknowledged + 1 {
            let entry = match number {
                0 => constitution(),
                _ => intent(&format!("task-{number}"), 0, "pod-a"),
            };
            let reply = self.append(&base, entry).await.unwrap();
            assert_eq!(reply.status(), 200, "{what}");
            let reply: AppendReply = reply.json().await.unwrap();
            // The first may have been written before the fault; it is there once all the same.
            assert_eq!(reply.results[0].stored.index, number, "{what}");
        }
        kill(child).await;
    }
}

fn begin(mut command: Command) -> (Child, String) {
    let mut child = command.spawn().unwrap();
    let (base, _) = started(&mut child);
    (child, base)
}

fn was_injected(dir: &Path) -> bool {
    let trace = std::fs::read_to_string(dir.join("trace")).unwrap();
    trace.contains("(INJECTED)")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_ends_the_service_and_acknowledges_nothing() {
    for number in [1, 2, 5] {
        let Some(faulty) = Faulty::new() else {
            return;
        };
        let inject = format!("fdatasync:error=EIO:when={number}");
        let (mut child, base) = faulty.start(&inject);
        let (acknowledged, refusal) = faulty.until_it_fails(&base).await;
        assert!(was_injected(faulty.dir.path()), "{inject}");
        if let Some(refusal) = refusal {
            assert_ne!(refusal.status(), 200);
        }
        let ended = tokio::task::spawn_blocking(move || child.wait());
        let status = tokio::time::timeout(crate::support::PATIENCE, ended);
        let status = status.await.expect("it must end").unwrap().unwrap();
        assert!(!status.success(), "{inject}: {status}");
        faulty.check(acknowledged, &inject).await;
    }
}

/// Which of its thread's writes go to files of `folder`, in a run of some appends without a fault.
async fn writes_to(folder: &str) -> Vec<usize> {
    let Some(whole) = Faulty::new() else {
        return Vec::new();
    };
    let (child, base) = whole.start("mkdirat:error=EIO:when=65535");
    for number in 0..6 {
        let entry = match number {
            0 => constitution(),
            _ => intent(&format!("task-{number}"), 0, "pod-a"),
        };
        whole.append(&base, entry).await.unwrap();
    }
    kill(child).await;
    let trace = std::fs::read_to_string(whole.dir.path().join("trace")).unwrap();
    let mut numbers = BTreeMap::new();
    let mut found = Vec::new();
    for line in trace.lines().filter(|line| line.contains(" pwrite64(")) {
        let thread = line.split(' ').next().unwrap();
        let number: &mut usize = numbers.entry(thread).or_default();
        *number += 1;
        // `strace` counts for each thread: the first few would also strike the making of the ledger.
        if *number > 3 && line.contains(folder) && !line.contains(".tmp>") {
            found.push(*number);
        }
    }
    assert!(!found.is_empty(), "{trace}");
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_makes_the_service_read_only_with_a_clear_error() {
    for number in writes_to("/ledger/log/").await.into_iter().step_by(2) {
        let faulty = Faulty::new().unwrap();
        // From here on every write fails.
        let inject = format!("pwrite64:error=ENOSPC:when={number}+");
        let (child, base) = faulty.start(&inject);
        let (acknowledged, refusal) = faulty.until_it_fails(&base).await;
        assert!(was_injected(faulty.dir.path()), "{inject}");
        let refusal = refused(refusal.expect("it goes on reading")).await;
        assert_eq!(
            refusal.code,
            ErrorCode::ReadOnly,
            "{inject}: {}",
            refusal.message
        );
        assert!(refusal.message.contains("read-only"), "{}", refusal.message);
        let again = faulty.append(&base, intent("again", 0, "pod-a")).await;
        assert_eq!(refused(again.unwrap()).await.code, ErrorCode::ReadOnly);
        for number in 0..acknowledged {
            let path = format!("{base}/v1/records/{number}");
            let found = faulty.operator.get(path).send().await.unwrap();
            assert_eq!(found.status(), 200, "{inject}: record {number}");
        }
        kill(child).await;
        faulty.check(acknowledged, &inject).await;
    }
}

/// Heads are written over others of the same length: a disk without room for that is a broken one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_cannot_be_written_ends_the_service() {
    for number in writes_to("/heads/").await.into_iter().step_by(3) {
        let faulty = Faulty::new().unwrap();
        let inject = format!("pwrite64:error=EIO:when={number}");
        let (mut child, base) = faulty.start(&inject);
        let (acknowledged, _) = faulty.until_it_fails(&base).await;
        assert!(was_injected(faulty.dir.path()), "{inject}");
        let ended = tokio::task::spawn_blocking(move || child.wait());
        let status = tokio::time::timeout(crate::support::PATIENCE, ended);
        let status = status.await.expect("it must end").unwrap().unwrap();
        assert!(!status.success(), "{inject}: {status}");
        faulty.check(acknowledged, &inject).await;
    }
}
