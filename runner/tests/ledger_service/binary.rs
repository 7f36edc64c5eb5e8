//! `hive_ledger` as a program.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use axiom_hive_core::digest::to_hex;
use axiom_hive_core::tlog::VerifyingKey;
use axiom_hive_core::wire::{AppendEntry, AppendReply, AppendRequest, ErrorCode};
use reqwest::{Client, Response};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::records::{constitution, intent};
use crate::support::{Authority, CLIENTS, refused};

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
pub(crate) fn prepared(dir: &Path) -> Authority {
    let authority = Authority::new(&dir.join("tls"));
    authority.issue("127.0.0.1");
    std::fs::write(dir.join("key"), keygen("log.example/hive").stdout).unwrap();
    std::fs::write(dir.join("settings.toml"), CLIENTS).unwrap();
    authority
}

pub(crate) fn serve(dir: &Path) -> Command {
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

/// Waits until it says where it listens, and gives what it said before.
pub(crate) fn started(child: &mut Child) -> (String, String) {
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut before = String::new();
    loop {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "{before}");
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
        if let Some(address) = said["fields"]["https"].as_str() {
            let base = format!("https://{address}");
            // Whatever it says later must not block it.
            std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
            return (base, before);
        }
        before.push_str(&line);
    }
}

/// As a power cut ends it.
pub(crate) async fn kill(mut child: Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    tokio::task::spawn_blocking(move || child.wait())
        .await
        .unwrap()
        .unwrap();
}

async fn stop(mut child: Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let ended = tokio::task::spawn_blocking(move || child.wait());
    assert_eq!(ended.await.unwrap().unwrap().code(), Some(0));
}

async fn append(operator: &Client, base: &str, entries: Vec<AppendEntry>) -> Response {
    let body = serde_json::to_vec(&AppendRequest { entries }).unwrap();
    let sent = operator.post(format!("{base}/v1/records")).body(body);
    sent.send().await.unwrap()
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
        let (base, _) = started(&mut child);
        let operator = authority.client(Some("operator.example"));
        let ready = operator.get(format!("{base}/readyz")).send().await.unwrap();
        assert_eq!(ready.status(), 200);
        let task = format!("t{size}");
        let entries = vec![
            crate::records::constitution(),
            crate::records::intent(&task, 0, "pod-a"),
        ];
        let reply = append(&operator, &base, entries).await;
        let reply: AppendReply = reply.json().await.unwrap();
        assert_eq!(reply.results[0].existing, size > 0);
        let (_, verified) = reply.results[1].stored.verify(&vkey).unwrap();
        assert_eq!(verified.index, 1 + size);

        stop(child).await;
    }
}

/// The service is down for it: the volume has one writer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_erased_between_two_runs_is_gone_for_the_second() {
    let dir = TempDir::new().unwrap();
    let authority = prepared(dir.path());
    let keep = |arguments: &[&str]| {
        let mut command = hive_ledger();
        command.current_dir(dir.path()).args(arguments);
        let said = command.args(["--ledger=ledger", "--state=state", "--key=key"]);
        let said = said.output().unwrap();
        let json: Option<Value> = serde_json::from_slice(&said.stdout).ok();
        (said.status.code(), json.unwrap_or_default())
    };
    assert_eq!(keep(&["erase", "1"]).0, Some(5), "there is no ledger yet");
    let entry = crate::records::intent("t", 0, "pod-a");
    let address = to_hex(&entry.payloads[0].commitment().0);
    for status in [200, 410] {
        let mut child = serve(dir.path()).spawn().unwrap();
        let (base, _) = started(&mut child);
        let operator = authority.client(Some("operator.example"));
        let entries = vec![
            crate::records::constitution(),
            crate::records::intent("t", 0, "pod-a"),
        ];
        assert_eq!(append(&operator, &base, entries).await.status(), 200);
        let payload = operator.get(format!("{base}/v1/payloads/{address}"));
        assert_eq!(payload.send().await.unwrap().status(), status);
        stop(child).await;
        if status == 200 {
            assert_eq!(keep(&["hold", "t"]).1["changed"], true);
            assert_eq!(keep(&["erase", "1"]).0, Some(1));
            assert_eq!(keep(&["unhold", "t"]).1["changed"], true);
            let (code, said) = keep(&["erase", "1"]);
            assert_eq!((code, &said["erased"][0]["erasure"]), (Some(0), &2.into()));
            let due = keep(&["retain", "--dry-run"]).1;
            assert_eq!(due["due"].as_array().unwrap().len(), 0);
        }
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

/// The volume (and the pin beside it) is put back to what it was some records ago.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_was_rolled_back_is_read_only() {
    let dir = TempDir::new().unwrap();
    let authority = prepared(dir.path());
    let operator = authority.client(Some("operator.example"));
    let volumes = ["ledger", "state"].map(|name| dir.path().join(name));
    let copies = ["ledger.old", "state.old"].map(|name| dir.path().join(name));
    let anchored = || {
        let mut command = serve(dir.path());
        command.arg("--anchor=anchor");
        command
    };
    let mut checkpoint = String::new();
    for entry in [constitution(), intent("t", 0, "pod-a")] {
        // On the first start nobody has kept anything.
        let mut child = anchored().spawn().unwrap();
        let (base, _) = started(&mut child);
        assert_eq!(append(&operator, &base, vec![entry]).await.status(), 200);
        let head = operator.get(format!("{base}/checkpoint")).send().await;
        checkpoint = head.unwrap().text().await.unwrap();
        stop(child).await;
        if !copies[0].exists() {
            for (volume, copy) in volumes.iter().zip(&copies) {
                copy_tree(volume, copy);
            }
        }
    }
    std::fs::write(dir.path().join("anchor"), &checkpoint).unwrap();
    let mut child = anchored().spawn().unwrap();
    let (base, before) = started(&mut child);
    assert!(!before.contains("read-only"), "{before}");
    assert_eq!(
        append(&operator, &base, vec![constitution()])
            .await
            .status(),
        200
    );
    stop(child).await;

    for (volume, copy) in volumes.iter().zip(&copies) {
        std::fs::remove_dir_all(volume).unwrap();
        copy_tree(copy, volume);
    }
    let mut child = anchored().spawn().unwrap();
    let (base, before) = started(&mut child);
    // Which file, where, and what is missing.
    assert!(
        before.contains("log/") && before.contains("record 1"),
        "{before}"
    );
    assert!(
        before.contains("2 records were released, as anchor knows"),
        "{before}"
    );
    let ready = operator.get(format!("{base}/readyz")).send().await.unwrap();
    assert_eq!(refused(ready).await.code, ErrorCode::ReadOnly);
    let entries = vec![intent("u", 0, "pod-a")];
    let no = append(&operator, &base, entries).await;
    assert_eq!(refused(no).await.code, ErrorCode::ReadOnly);
    // What is there can be read, and it serves on until a person acts.
    let kept = operator.get(format!("{base}/v1/records/0")).send().await;
    assert_eq!(kept.unwrap().status(), 200);
    stop(child).await;

    // A volume that is gone is not begun anew.
    std::fs::remove_dir_all(&volumes[0]).unwrap();
    let gone = anchored().output().unwrap();
    assert_eq!(gone.status.code(), Some(5));
    assert!(!volumes[0].join("log").exists());
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (
            entry.as_ref().unwrap().path(),
            to.join(entry.unwrap().file_name()),
        );
        if from.is_dir() {
            copy_tree(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}
