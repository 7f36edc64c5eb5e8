//! `hive_ledger` as a program.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use axiom_hive_core::tlog::VerifyingKey;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Authority, CLIENTS};

fn hive_ledger() -> Command {
    Command::new(env!("CARGO_BIN_EXE_hive_ledger"))
}

fn keygen(origin: &str) -> Output {
    hive_ledger()
        .args(["keygen", "--origin", origin])
        .output()
        .unwrap()
}

/// A directory with everything that `serve` needs.
fn prepared(dir: &Path) -> Authority {
    let authority = Authority::new(&dir.join("tls"));
    authority.issue("127.0.0.1");
    std::fs::write(dir.join("key"), keygen("log.example/hive").stdout).unwrap();
    std::fs::write(dir.join("settings.toml"), CLIENTS).unwrap();
    authority
}

fn serve(dir: &Path) -> Command {
    let mut command = hive_ledger();
    command
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .args([
            "serve",
            "--ledger=ledger",
            "--state=state",
            "--key=key",
            "--settings=settings.toml",
            "--tls-certificate=tls/127.0.0.1.pem",
            "--tls-key=tls/127.0.0.1.key",
            "--client-ca=tls/ca.pem",
            "--listen=127.0.0.1:0",
            "--canary=127.0.0.1:0",
        ]);
    command
}

/// Waits for its first words, which say where it listens.
fn address(child: &mut Child) -> String {
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    // Whatever it says later must not block it.
    std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
    let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
    line["fields"]["https"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_until_it_is_told_to_stop_and_goes_on_where_it_was() {
    let dir = TempDir::new().unwrap();
    let authority = prepared(dir.path());
    let vkey = hive_ledger()
        .args(["vkey", "--key"])
        .arg(dir.path().join("key"))
        .output();
    let vkey: VerifyingKey = String::from_utf8(vkey.unwrap().stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert_eq!(vkey.name(), "log.example/hive");
    for size in 0..2 {
        let mut child = serve(dir.path()).spawn().unwrap();
        let base = format!("https://{}", address(&mut child));
        let operator = authority.client(Some("operator.example"));
        let ready = operator.get(format!("{base}/readyz")).send().await.unwrap();
        assert_eq!(ready.status(), 200);
        let task = format!("t{size}");
        let entries = vec![
            crate::records::constitution(),
            crate::records::intent(&task, 0, "pod-a"),
        ];
        let body = serde_json::to_vec(&axiom_hive_core::wire::AppendRequest { entries }).unwrap();
        let reply = operator
            .post(format!("{base}/v1/records"))
            .body(body)
            .send()
            .await;
        let reply: axiom_hive_core::wire::AppendReply = reply.unwrap().json().await.unwrap();
        assert_eq!(reply.results[0].existing, size > 0);
        let (_, verified) = reply.results[1].stored.verify(&vkey).unwrap();
        assert_eq!(verified.index, 1 + size);

        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let status = tokio::task::spawn_blocking(move || child.wait())
            .await
            .unwrap();
        assert_eq!(status.unwrap().code(), Some(0));
    }
}

#[test]
fn what_it_cannot_use_is_named_with_its_exit_code() {
    let dir = TempDir::new().unwrap();
    prepared(dir.path());
    let other = keygen("log.example/other").stdout;
    for (file, content, code, named) in [
        (
            "settings.toml",
            b"[limits]\nconnections = 0\n".to_vec(),
            2,
            "limits.connections",
        ),
        ("key", b"PRIVATE+KEY+x\n".to_vec(), 2, "private key"),
        ("tls/127.0.0.1.key", b"nothing".to_vec(), 2, "127.0.0.1.key"),
    ] {
        let path = dir.path().join(file);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, content).unwrap();
        let output = serve(dir.path()).output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{log}");
        assert!(log.contains(named), "{log}");
        std::fs::write(&path, before).unwrap();
    }
    for origin in ["", "a b", "a+b"] {
        assert_eq!(keygen(origin).status.code(), Some(1), "{origin:?}");
    }
    assert_eq!(
        hive_ledger().arg("serve").output().unwrap().status.code(),
        Some(1)
    );
    assert!(!String::from_utf8_lossy(&other).contains("log.example/hive"));
}
