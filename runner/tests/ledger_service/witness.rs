//! Witnesses: real ones on loopback, in this process and as a program.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axiom_hive_client::tls::http_client_of_any;
use axiom_hive_core::tlog::policy::PolicyLog;
use axiom_hive_core::tlog::{
    AddCheckpoint, Checkpoint, KeyType, MemTree, Policy, SigningKey, VerifyingKey, Witnessed,
    consistency_proof, leaf_hash,
};
use axiom_hive_core::wire::ErrorCode;
use axiom_hive_runner::ledger::storage::{Disk, Storage as _};
use axiom_hive_runner::witness::{Witness, WitnessError};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::records::intent;
use crate::support::{CLIENTS, ORIGIN, Served, until};

mod foreign;

fn witness_key(number: u8) -> SigningKey {
    let name = format!("w{number}.example");
    // Every other one signs with ML-DSA-44.
    let key_type = if number.is_multiple_of(2) {
        KeyType::MlDsa44
    } else {
        KeyType::Cosignature
    };
    SigningKey::with_type(&name, key_type, &[200 + number; 32]).unwrap()
}

/// The key of every service of these tests.
fn ledger_key() -> SigningKey {
    SigningKey::new(ORIGIN, &[7; 32]).unwrap()
}

fn logs() -> Vec<PolicyLog> {
    let (key, url) = (ledger_key().verifying_key().clone(), None);
    vec![PolicyLog { key, url }]
}

fn open(dir: &Path, number: u8) -> Result<Witness, WitnessError> {
    let storage = Arc::new(Disk::new(dir, 0o600));
    Witness::open(
        witness_key(number),
        &logs(),
        storage,
        CancellationToken::new(),
    )
}

/// A witness that runs until this is dropped.
struct Running {
    address: SocketAddr,
    _dir: TempDir,
    _stop: DropGuard,
}

impl Running {
    async fn new(number: u8) -> Self {
        let dir = TempDir::new().unwrap();
        let stop = CancellationToken::new();
        let storage = Arc::new(Disk::new(dir.path(), 0o600));
        let witness = Witness::open(witness_key(number), &logs(), storage, stop.clone()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(witness.serve(listener));
        Self {
            address,
            _dir: dir,
            _stop: stop.drop_guard(),
        }
    }
}

/// Where nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

fn policy(witnesses: &[SocketAddr], quorum: &str) -> String {
    let witnesses = (1_u8..).zip(witnesses);
    let lines = witnesses.clone().map(|(number, address)| {
        let key = witness_key(number);
        format!(
            "witness w{number} {} http://{address}/",
            key.verifying_key()
        )
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    let names = witnesses.map(|(number, _)| format!("w{number}"));
    let names = names.collect::<Vec<_>>().join(" ");
    let log = ledger_key();
    let log = log.verifying_key();
    format!("log {log}\n{lines}\ngroup enough {quorum} {names}\nquorum enough\n")
}

async fn served(policy: &str) -> Served {
    let witnesses = "folder = \"DIR/witnessed\"\ninterval_seconds = 1";
    Served::with(&format!(
        "{CLIENTS}\n[witnesses]\n{witnesses}\npolicy = '''{policy}'''\n"
    ))
    .await
}

async fn append(served: &Served, uid: &str) {
    served
        .operator()
        .append(vec![intent(uid, 0, "pod-a")])
        .await
        .unwrap();
}

/// What is cosigned, if it is enough.
async fn witnessed(served: &Served, policy: &str) -> Option<Witnessed> {
    let response = served.caller("").get("/v1/witnessed").await;
    if response.status() != 200 {
        return None;
    }
    let policy: Policy = policy.parse().unwrap();
    Some(policy.check(&response.text().await.unwrap()).unwrap())
}

async fn size_of_witnessed(served: &Served, policy: &str) -> Option<u64> {
    let witnessed = witnessed(served, policy).await?;
    Some(witnessed.checkpoint.size)
}

async fn metrics(served: &Served) -> String {
    served
        .caller("")
        .get("/metrics")
        .await
        .text()
        .await
        .unwrap()
}

#[tokio::test]
async fn what_enough_witnesses_cosigned_is_served_and_kept() {
    let (one, two) = (Running::new(1).await, Running::new(2).await);
    let policy = policy(&[one.address, two.address, nobody().await], "2");
    let mut served = served(&policy).await;
    let none = served.caller("").get("/v1/witnessed").await;
    assert_eq!(none.status(), 404);
    served.begin(&served.operator(), &[("a", 0, "pod-a")]).await;
    until(async || size_of_witnessed(&served, &policy).await == Some(2)).await;
    // From there on with proofs, at every size.
    for (size, uid) in [(3, "b"), (4, "c")] {
        append(&served, uid).await;
        until(async || size_of_witnessed(&served, &policy).await == Some(size)).await;
    }
    let who: Vec<usize> = witnessed(&served, &policy)
        .await
        .unwrap()
        .witnesses
        .iter()
        .map(|it| it.0)
        .collect();
    assert_eq!(who, [0, 1]);
    // Nobody appends: the newest checkpoint has them too, and is what everybody reads.
    let newest = served
        .caller("")
        .get("/checkpoint")
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(
        policy
            .parse::<Policy>()
            .unwrap()
            .check(&newest)
            .unwrap()
            .checkpoint
            .size,
        4
    );
    let text = metrics(&served).await;
    for line in [
        "axiom_hive_ledger_witnessed_records 4",
        "witness_requests_total{witness=\"w1\",result=\"cosigned\"}",
        "witness_requests_total{witness=\"w3\",result=\"unreachable\"}",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    // Kept over a restart, also while no witness answers.
    served.halt().await;
    drop((one, two));
    served.resume().await;
    until(async || size_of_witnessed(&served, &policy).await == Some(4)).await;
}

#[tokio::test]
async fn too_few_cosignatures_are_not_served_and_stop_no_append() {
    let one = Running::new(1).await;
    let policy = policy(&[one.address, nobody().await], "all");
    let served = served(&policy).await;
    served.begin(&served.operator(), &[("a", 0, "pod-a")]).await;
    until(async || {
        metrics(&served)
            .await
            .contains("{witness=\"w1\",result=\"cosigned\"}")
    })
    .await;
    append(&served, "b").await;
    assert!(witnessed(&served, &policy).await.is_none());
    assert_eq!(served.caller("").get("/readyz").await.status(), 200);
    assert!(
        metrics(&served)
            .await
            .contains("axiom_hive_ledger_witnessed_records 0")
    );
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_witness_finds_a_volume_that_was_rolled_back() {
    let one = Running::new(1).await;
    rolled_back_volume_is_found(&policy(&[one.address], "any")).await;
}

/// A volume that is put back to an older copy as a whole, with heads, pin and all: only somebody else, the one witness of
/// `policy`, can know.
async fn rolled_back_volume_is_found(policy: &str) {
    let mut served = served(policy).await;
    served.begin(&served.operator(), &[("a", 0, "pod-a")]).await;
    served.halt().await;
    let folders = ["ledger", "state", "witnessed"];
    let old = TempDir::new().unwrap();
    for folder in folders {
        let from = served.dir.path().join(folder);
        if from.exists() {
            copy(&from, &old.path().join(folder));
        }
    }
    served.resume().await;
    append(&served, "b").await;
    until(async || size_of_witnessed(&served, policy).await == Some(3)).await;
    served.halt().await;
    for folder in folders {
        let to = served.dir.path().join(folder);
        std::fs::remove_dir_all(&to).unwrap();
        let from = old.path().join(folder);
        if from.exists() {
            copy(&from, &to);
        }
    }
    served.resume().await;
    until(async || served.caller("").get("/readyz").await.status() == 503).await;
    let refused = served
        .operator()
        .append(vec![intent("c", 0, "pod-a")])
        .await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::ReadOnly);
    assert!(
        metrics(&served)
            .await
            .contains("{witness=\"w1\",result=\"behind\"}")
    );
    // What is there can still be read.
    assert_eq!(
        served
            .caller("auditor.example")
            .get("/v1/records/1")
            .await
            .status(),
        200
    );
}

fn tree(size: u64) -> MemTree {
    let mut tree = MemTree::new();
    for n in 0..size {
        tree.push(leaf_hash(&n.to_be_bytes()));
    }
    tree
}

fn request(old: u64, new: u64) -> String {
    let proof = if old == 0 {
        Vec::new()
    } else {
        consistency_proof(old, new, &tree(new)).unwrap()
    };
    let note = Checkpoint::new(ORIGIN, new, tree(new).root())
        .sign(&ledger_key())
        .unwrap();
    AddCheckpoint { old, proof, note }.to_string()
}

/// Killed when it is dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `hive_ledger witness` with the key and the logs in `dir`.
fn program(dir: &Path) -> (Program, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hive_ledger"))
        .current_dir(dir)
        .args([
            "witness",
            "--key=key",
            "--logs=logs",
            "--state=state",
            "--listen=127.0.0.1:0",
        ])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
    let base = format!(
        "http://{}",
        said["fields"]["http"]
            .as_str()
            .unwrap_or_else(|| panic!("{line}"))
    );
    (Program(child), base)
}

fn client() -> reqwest::Client {
    http_client_of_any(None).unwrap()
}

async fn post(base: &str, body: String) -> (u16, String) {
    let sent = client().post(format!("{base}/add-checkpoint"));
    let response = sent.body(body).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn a_witness_that_is_killed_forgets_nothing() {
    let dir = TempDir::new().unwrap();
    let keygen = Command::new(env!("CARGO_BIN_EXE_hive_ledger"))
        .args(["keygen", "--witness", "--ml-dsa", "--origin", "w.example"])
        .output()
        .unwrap();
    std::fs::write(dir.path().join("key"), &keygen.stdout).unwrap();
    let own =
        SigningKey::from_private(std::str::from_utf8(&keygen.stdout).unwrap().trim_end()).unwrap();
    assert_eq!(own.verifying_key().key_type(), KeyType::MlDsa44);
    let logs = format!("log {}\nquorum none\n", ledger_key().verifying_key());
    std::fs::write(dir.path().join("logs"), logs).unwrap();
    let (mut child, mut base) = program(dir.path());
    let mut old = 0;
    for new in [1, 5, 9] {
        let (status, line) = post(&base, request(old, new)).await;
        assert_eq!(status, 200, "{line}");
        assert!(line.starts_with("— w.example "));
        drop(child);
        (child, base) = program(dir.path());
        // Whoever shows it the past again learns where it stands.
        assert_eq!(
            post(&base, request(old, new)).await,
            (409, format!("{new}\n"))
        );
        old = new;
    }
    let mut fork = Checkpoint::new(ORIGIN, 9, tree(8).root());
    let body = |checkpoint: &Checkpoint| {
        let note = checkpoint.sign(&ledger_key()).unwrap();
        AddCheckpoint {
            old: 9,
            proof: vec![],
            note,
        }
        .to_string()
    };
    assert_eq!(post(&base, body(&fork)).await.0, 422);
    "unknown.example/log".clone_into(&mut fork.origin);
    let stranger = SigningKey::new("unknown.example/log", &[9; 32]).unwrap();
    let note = fork.sign(&stranger).unwrap();
    assert_eq!(
        post(
            &base,
            AddCheckpoint {
                old: 0,
                proof: vec![],
                note
            }
            .to_string()
        )
        .await
        .0,
        404
    );
    assert_eq!(post(&base, "nonsense".to_owned()).await.0, 400);
    // For monitors: the log's signature and its own.
    let name = axiom_hive_core::digest::to_hex(&<sha2::Sha256 as sha2::Digest>::digest(ORIGIN));
    let kept = client()
        .get(format!("{base}/{name}/checkpoint"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let keys: [VerifyingKey; 2] = [
        ledger_key().verifying_key().clone(),
        own.verifying_key().clone(),
    ];
    for key in keys {
        assert_eq!(
            axiom_hive_core::tlog::open_note(&kept, &[key])
                .unwrap()
                .signers
                .len(),
            1
        );
    }
    drop(child);
}

#[tokio::test]
async fn a_damaged_state_and_a_second_witness_are_refused() {
    let dir = TempDir::new().unwrap();
    let first = open(dir.path(), 1).unwrap();
    assert!(matches!(open(dir.path(), 1), Err(WitnessError::Locked)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(first.serve(listener));
    assert_eq!(post(&base, request(0, 3)).await.0, 200);
    serving.abort();
    let _ = serving.await;
    until(async || !matches!(open(dir.path(), 1), Err(WitnessError::Locked))).await;
    assert!(matches!(
        open(dir.path(), 2),
        Err(WitnessError::State { .. })
    ));
    let disk = Disk::new(dir.path(), 0o600);
    let file = disk
        .list("")
        .unwrap()
        .into_iter()
        .find(|name| name.len() == 64)
        .unwrap();
    let whole = disk.read(&file).unwrap().unwrap();
    let changed = String::from_utf8(whole)
        .unwrap()
        .replacen("\n3\n", "\n2\n", 1);
    disk.replace(&file, changed.as_bytes(), true).unwrap();
    assert!(matches!(
        open(dir.path(), 1),
        Err(WitnessError::State { .. })
    ));
    let key = ledger_key();
    let wrong = Witness::open(key, &logs(), Arc::new(disk), CancellationToken::new());
    assert!(matches!(wrong, Err(WitnessError::Key)));
}
