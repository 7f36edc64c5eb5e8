//! Witnesses that others wrote: torchwood's litewitness (Go) and aics-witness (Python).
//!
//! `AXIOM_HIVE_LITEWITNESS` and `AXIOM_HIVE_AICS_WITNESS` name the programs (`tests/conformance/run.sh` installs both); without
//! them the tests end early and say so.

use std::path::PathBuf;
use std::thread;

use super::*;

/// A witness of another make that knows our log; killed when it is dropped.
struct Foreign {
    vkey: String,
    address: SocketAddr,
    _programs: Vec<Program>,
    _dir: TempDir,
}

/// What `variable` names.
fn named(variable: &str) -> Option<PathBuf> {
    let program = std::env::var_os(variable).map(PathBuf::from);
    if program.is_none() {
        eprintln!("skipped: needs {variable}, the path of that witness");
    }
    program
}

/// Runs to its end and gives what it printed.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits for the first line of `child` that has `mark`, and reads on so that it can write.
fn line_with(child: &mut Child, mark: &'static str) -> String {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let found = lines
        .by_ref()
        .map(Result::unwrap)
        .find(|line| line.contains(mark));
    thread::spawn(move || lines.for_each(drop));
    found.unwrap_or_else(|| panic!("ended before it said {mark}"))
}

/// The log's line in litewitness' database. Its own tool for that, witnessctl, cannot be installed from the module proxy.
const ADD_LOG: &str = r#"
import base64, hashlib, sqlite3, sys
database, origin, vkey = sys.argv[1:]
with sqlite3.connect(database, timeout=10) as db:
    empty = base64.b64encode(hashlib.sha256(b"").digest()).decode()
    db.execute("INSERT INTO log (origin, tree_size, tree_hash) VALUES (?, 0, ?)", (origin, empty))
    db.execute("INSERT INTO key (origin, key) VALUES (?, ?)", (origin, vkey))
"#;

/// litewitness, which has its key from an SSH agent.
async fn litewitness() -> Option<Foreign> {
    let program = named("AXIOM_HIVE_LITEWITNESS")?;
    let dir = TempDir::new().unwrap();
    let address = nobody().await;
    let (key, socket) = (dir.path().join("key"), dir.path().join("agent"));
    run(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key));
    let fingerprint = run(Command::new("ssh-keygen").arg("-lf").arg(&key));
    let agent = Command::new("ssh-agent")
        .arg("-D")
        .arg("-a")
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn();
    let agent = Program(agent.unwrap());
    until(async || socket.exists()).await;
    run(Command::new("ssh-add")
        .arg("-q")
        .arg(&key)
        .env("SSH_AUTH_SOCK", &socket));
    let mut witness = Command::new(program)
        .args(["-name", "lite.example", "-db", "db", "-ssh-agent", "agent"])
        .args(["-key", fingerprint.split(' ').nth(1).unwrap()])
        .args(["-listen", &address.to_string()])
        .current_dir(dir.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = line_with(&mut witness, "vkey=");
    let vkey = said.split("vkey=").nth(1).unwrap().trim().to_owned();
    let add = ["-c", ADD_LOG, "db", ORIGIN];
    run(Command::new("python3")
        .args(add)
        .arg(ledger_key().verifying_key().to_string())
        .current_dir(dir.path()));
    Some(Foreign {
        vkey,
        address,
        _programs: vec![Program(witness), agent],
        _dir: dir,
    })
}

async fn aics_witness() -> Option<Foreign> {
    let program = named("AXIOM_HIVE_AICS_WITNESS")?;
    let dir = TempDir::new().unwrap();
    let address = nobody().await;
    let command = |name: &str| {
        let mut command = Command::new(&program);
        command
            .args([name, "--config", "witness.json"])
            .current_dir(dir.path());
        command
    };
    let listen = address.to_string();
    let vkey = run(command("init").args(["--name", "aics.example", "--listen", &listen]));
    run(command("add-log")
        .args(["--origin", ORIGIN, "--vkey"])
        .arg(ledger_key().verifying_key().to_string()));
    let mut witness = command("serve").stderr(Stdio::piped()).spawn().unwrap();
    line_with(&mut witness, "listening on");
    Some(Foreign {
        vkey: vkey.trim().to_owned(),
        address,
        _programs: vec![Program(witness)],
        _dir: dir,
    })
}

fn policy_of(witnesses: &[Foreign]) -> String {
    let lines = (1..).zip(witnesses).map(|(number, witness)| {
        let Foreign { vkey, address, .. } = witness;
        format!("witness w{number} {vkey} http://{address}/\n")
    });
    let names = (1..=witnesses.len()).map(|number| format!(" w{number}"));
    let (lines, names) = (lines.collect::<String>(), names.collect::<String>());
    let log = ledger_key();
    let log = log.verifying_key();
    format!("log {log}\n{lines}group enough all{names}\nquorum enough\n")
}

#[tokio::test]
async fn foreign_witnesses_cosign_together() {
    let (Some(one), Some(two)) = (litewitness().await, aics_witness().await) else {
        return;
    };
    let witnesses = [one, two];
    let policy = policy_of(&witnesses);
    let served = served(&policy).await;
    served.begin(&served.operator(), &[("a", 0, "pod-a")]).await;
    for (size, uid) in [(2, "b"), (3, "c"), (4, "d")] {
        until(async || size_of_witnessed(&served, &policy).await == Some(size)).await;
        append(&served, uid).await;
    }
    let shown = witnessed(&served, &policy).await.unwrap();
    assert_eq!(shown.witnesses.len(), 2);
}

#[tokio::test]
async fn litewitness_finds_a_volume_that_was_rolled_back() {
    if let Some(witness) = litewitness().await {
        rolled_back_volume_is_found(&policy_of(std::slice::from_ref(&witness))).await;
    }
}

#[tokio::test]
async fn aics_witness_finds_a_volume_that_was_rolled_back() {
    if let Some(witness) = aics_witness().await {
        rolled_back_volume_is_found(&policy_of(std::slice::from_ref(&witness))).await;
    }
}
