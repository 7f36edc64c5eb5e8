//! The command line as a user meets it: the real program, real files, real processes.
#![allow(clippy::unwrap_used)]

mod common;

use common::Hive;

#[test]
fn a_prompt_is_answered_recorded_and_verified() {
    let hive = Hive::default();
    let ran = hive
        .echo(&["call 555-0199 or mail ann@example.org"])
        .expect(0);
    assert!(!ran.stdout.contains("ann@example.org"), "{}", ran.stdout);
    assert!(ran.stdout.contains("[REDACTED:email]"), "{}", ran.stdout);
    assert!(
        ran.stderr.contains("4 of 4") || ran.stderr.contains("3 of 4"),
        "{}",
        ran.stderr
    );
    hive.verify().expect(0);
}

#[test]
fn the_short_form_and_standard_input_are_the_same_as_run() {
    let hive = Hive::default();
    let short = hive
        .cli(&[
            "--constitution",
            "constitution.toml",
            "--ledger",
            "ledger",
            "--runtime",
            "echo",
            "hello",
        ])
        .expect(0);
    let stdin = hive
        .run_with_stdin(&["--runtime", "echo"], b"hello")
        .expect(0);
    assert_eq!(short.stdout, "hello\n");
    assert_eq!(stdin.stdout, "hello\n");
}

#[test]
fn the_same_uid_returns_the_recorded_answer() {
    let hive = Hive::default();
    let run = || {
        hive.echo(&["--task-uid", "t-1", "--output", "json", "hi"])
            .expect(0)
    };
    let (first, again) = (run(), run());
    assert_eq!(first.json()["answer"], "hi");
    assert_eq!(
        first.json()["ledger"]["index"],
        again.json()["ledger"]["index"]
    );
    assert_eq!(again.json()["answer"], "hi");
    let other = hive
        .echo(&["--task-uid", "t-1", "another prompt"])
        .expect(1);
    assert!(other.stderr.contains("t-1"), "{}", other.stderr);
}

#[test]
fn exit_1_for_wrong_input() {
    let hive = Hive::new("[supervisor]\nmax_prompt_bytes = 8\n");
    hive.echo(&["  "]).expect(1);
    hive.echo(&["nine bytes"]).expect(1);
    hive.run(&["--no-such-flag"]).expect(1);
    hive.run_with_stdin(&["--runtime", "echo"], &[0xff, 0xfe])
        .expect(1);
    // Refusals are outcomes: they are in the ledger.
    hive.verify().expect(0);
    let list = hive.cli(&["ledger", "list", "ledger"]).expect(0);
    assert!(list.stdout.contains("refused"), "{}", list.stdout);
}

#[test]
fn exit_2_for_a_wrong_constitution() {
    let hive = Hive::default();
    hive.write(
        "constitution.toml",
        "[meta]\nname = \"t\"\nversion = \"1.0.0\"\n[supervisor]\nmax_branchs = 4\n",
    );
    let ran = hive.echo(&["hi"]).expect(2);
    assert!(
        ran.stderr.contains("constitution.toml:5:1"),
        "{}",
        ran.stderr
    );
}

#[test]
fn exit_2_when_a_version_comes_back_with_other_content() {
    let hive = Hive::default();
    hive.echo(&["hi"]).expect(0);
    hive.write(
        "constitution.toml",
        "[meta]\nname = \"t\"\nversion = \"1.0.0\"\n[supervisor]\nmax_branches = 2\n",
    );
    let ran = hive.echo(&["hi"]).expect(2);
    assert!(
        ran.stderr.contains("raise [meta] version"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("t 1.0.0 was sha256:"), "{}", ran.stderr);
}

#[test]
fn exit_3_when_every_branch_fails() {
    let hive = Hive::default();
    let ran = hive
        .run(&["--runtime", "process", "--command", "/bin/false", "hi"])
        .expect(3);
    assert_eq!(ran.stdout, "");
    let said = "no branch of the runtime gave an answer: in 4 of 4 the process ended with a status other than 0";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    hive.verify().expect(0);
}

#[test]
fn exit_4_without_an_agreement_or_by_policy() {
    let hive = Hive::new(
        "[[interceptor.terms]]\nid = \"secret_plan\"\nterms = [\"plan nine\"]\naction = \"withhold\"\n",
    );
    let script = "echo $AXIOM_HIVE_SEED";
    let ran = hive
        .run(&[
            "--runtime",
            "process",
            "--command",
            "/bin/sh",
            "--arg",
            "-c",
            "--arg",
            script,
            "hi",
        ])
        .expect(4);
    assert_eq!(ran.stdout, "");
    let policy = hive.echo(&["this is plan nine"]).expect(4);
    assert_eq!(policy.stdout, "");
    hive.verify().expect(0);
}

#[test]
fn exit_5_when_the_ledger_is_damaged() {
    let hive = Hive::default();
    hive.echo(&["hi"]).expect(0);
    let files: Vec<_> = walk(&hive.ledger());
    let log = files
        .iter()
        .max_by_key(|path| std::fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(log, bytes).unwrap();
    let ran = hive.echo(&["hi"]).expect(5);
    assert_eq!(ran.stdout, "");
    hive.verify().expect(7);
}

#[test]
fn exit_7_without_a_key_or_pin() {
    let hive = Hive::default();
    hive.echo(&["hi"]).expect(0);
    let key = hive.cli(&["ledger", "key", "ledger"]).expect(0).stdout;
    std::fs::remove_dir_all(hive.path("state")).unwrap();
    let ran = hive.verify().expect(7);
    assert!(
        format!("{}{}", ran.stdout, ran.stderr).contains("self-consistent, NOT authenticated"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    hive.cli(&["verify", "ledger", "--key", key.trim()])
        .expect(0);
    // Nor is anything derived from a log that nobody vouches for.
    hive.cli(&["ledger", "repair", "ledger"]).expect(7);
    let repaired = hive.cli(&["ledger", "repair", "ledger", "--key", key.trim()]);
    assert!(repaired.expect(0).stdout.contains("0 of 0 derived files"));
    hive.cli(&["ledger", "repair", "nowhere"]).expect(5);
    assert!(!hive.path("nowhere").exists());
}

#[test]
fn a_receipt_is_verified_offline_and_notices_another_answer() {
    let hive = Hive::default();
    let receipt = hive.path("r.tlog-proof").display().to_string();
    hive.echo(&["--receipt", &receipt, "hello"]).expect(0);
    let key = hive.cli(&["ledger", "key", "ledger"]).expect(0).stdout;
    std::fs::remove_dir_all(hive.ledger()).unwrap();
    let opening = format!("{receipt}.opening");
    let prompt = hive.write("prompt.txt", "hello").display().to_string();
    let answer = hive.write("answer.txt", "hello").display().to_string();
    let other = hive.write("other.txt", "goodbye").display().to_string();
    let verify = |answer: &str| {
        hive.cli(&[
            "verify",
            "--receipt",
            &receipt,
            "--key",
            key.trim(),
            "--opening",
            &opening,
            "--prompt",
            &prompt,
            "--answer",
            answer,
        ])
    };
    verify(&answer).expect(0);
    verify(&other).expect(7);
    let text = std::fs::read_to_string(&receipt).unwrap();
    assert!(!text.contains("hello"));
    std::fs::write(&receipt, text.replacen("index ", "index 1", 1)).unwrap();
    verify(&answer).expect(7);
}

#[test]
fn every_record_replays() {
    let hive = Hive::default();
    hive.echo(&["mail ann@example.org"]).expect(0);
    hive.run(&["--runtime", "process", "--command", "/bin/false", "hi"])
        .expect(3);
    hive.echo(&[" "]).expect(1);
    // 0 is the constitution; then intent and terminal alternate.
    for index in ["2", "4", "6"] {
        hive.cli(&["replay", "ledger", index]).expect(0);
    }
}

#[test]
fn a_prompt_that_is_not_kept_is_accounted_for() {
    let hive = Hive::new("[ledger]\nkeep_prompt = false\n");
    hive.echo(&["hello"]).expect(0);
    let verified = hive.verify().expect(0);
    let counts = "8 kept, 0 erased, 1 not kept, 0 lost";
    assert!(verified.stdout.contains(counts), "{}", verified.stdout);
    let replayed = hive.cli(&["replay", "ledger", "2"]).expect(7);
    let why = "not kept, as the constitution has it";
    assert!(replayed.stderr.contains(why), "{}", replayed.stderr);
}

#[test]
fn completions_manual_and_help_print() {
    let hive = Hive::default();
    assert!(
        hive.cli(&["--help"])
            .expect(0)
            .stdout
            .contains("axiom_hive_cli")
    );
    assert!(hive.cli(&["man"]).expect(0).stdout.contains(".TH"));
    assert!(
        hive.cli(&["completions", "bash"])
            .expect(0)
            .stdout
            .contains("complete")
    );
}

#[test]
fn scan_explains_each_span() {
    let hive = Hive::default();
    let file = hive
        .write("text.txt", "write to ann@example.org")
        .display()
        .to_string();
    let ran = hive
        .cli(&["scan", "--constitution", "constitution.toml", &file])
        .expect(0);
    assert_eq!(ran.stdout, "write to [REDACTED:email]\n");
    assert!(ran.stderr.contains("9..24  email"), "{}", ran.stderr);
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Inside the shim's own walls Landlock cannot be set up again, so a second containment fails as on a
/// kernel without it.
#[test]
fn exit_6_when_containment_cannot_be_had() {
    let hive = Hive::default();
    let program = env!("CARGO_BIN_EXE_axiom_hive_cli");
    let bin = std::path::Path::new(program).parent().unwrap();
    let settings = serde_json::json!({
        "required": true, "read": [bin, "/proc"], "scratch": hive.dir.path(),
        "memoryBytes": 8_u64 << 30, "processes": 100, "supervisorPid": std::process::id(),
    });
    let state = format!("XDG_STATE_HOME={}", hive.path("state").display());
    let ran = hive.cli(&[
        "__contain",
        &settings.to_string(),
        &state,
        "--",
        program,
        "run",
        "--constitution",
        &hive.path("constitution.toml").display().to_string(),
        "--ledger",
        &hive.ledger().display().to_string(),
        "--runtime",
        "process",
        "--command",
        "/bin/cat",
        "hi",
    ]);
    ran.expect(6);
    let list = hive.cli(&["ledger", "list", "ledger"]).expect(0);
    assert!(list.stdout.contains("ContainmentFailed"), "{}", list.stdout);
    hive.verify().expect(0);
}

/// Only a build for tests can be made to panic.
#[cfg(feature = "crash-points")]
#[test]
fn exit_70_for_a_bug() {
    let hive = Hive::default();
    let output = hive
        .command()
        .args(["man"])
        .env("AXIOM_HIVE_CRASH_AT", "cli.panic")
        .output();
    assert_eq!(output.unwrap().status.code(), Some(70));
}

/// Invariant 5, and the privacy of what may be published: policy, task, runtime and build are in the
/// record; no text, salt or key is in a leaf, a tree or a receipt.
#[test]
fn an_erased_answer_is_gone_and_every_command_says_by_what() {
    let hive = Hive::new("[ledger]\nretention_days = 200\n");
    hive.echo(&["--task-uid", "t-1", "zebra"]).expect(0);
    hive.cli(&["ledger", "erase", "nowhere", "2"]).expect(5);
    hive.cli(&["ledger", "erase", "ledger", "0"]).expect(1);
    hive.cli(&["ledger", "hold", "ledger", "t-1"]).expect(0);
    let held = hive.cli(&["ledger", "erase", "ledger", "2"]).expect(1);
    assert!(held.stderr.contains("t-1 is on hold"), "{}", held.stderr);
    let listed = hive.cli(&["ledger", "hold", "ledger"]).expect(0);
    assert_eq!(listed.stdout, "t-1\n");
    hive.cli(&["ledger", "unhold", "ledger", "t-1"]).expect(0);
    let due = ["ledger", "retain", "ledger", "--dry-run"];
    let due = hive.cli(&due).expect(0);
    assert!(
        due.stdout
            .contains("payloads of 0 records of 0 tasks would be"),
        "{}",
        due.stdout
    );

    let erased = hive.cli(&["ledger", "erase", "ledger", "2"]).expect(0);
    let said = "payloads erased by record 3\nrecords of the same task that hold payloads: 1\n";
    assert!(erased.stdout.ends_with(said), "{}", erased.stdout);
    hive.cli(&["ledger", "erase", "ledger", "1"]).expect(0);
    for file in walk(&hive.path("ledger")) {
        let bytes = std::fs::read(&file).unwrap();
        let is_there = bytes.windows(5).any(|found| found == b"zebra");
        assert!(!is_there, "{}", file.display());
    }
    let replayed = hive.cli(&["replay", "ledger", "2"]).expect(7);
    assert!(
        replayed.stderr.contains("erased by record 4"),
        "{}",
        replayed.stderr
    );
    let verified = hive.verify().expect(0);
    assert!(verified.stdout.contains("1 kept"), "{}", verified.stdout);
    hive.echo(&["again"]).expect(0);
}

#[test]
fn a_record_names_its_policy_and_holds_no_text() {
    let hive = Hive::default();
    let prompt = "zebra crossing ann@example.org quagga";
    hive.echo(&["--receipt", "r.tlog-proof", prompt]).expect(0);
    let shown = hive
        .cli(&["ledger", "show", "ledger", "2", "--output", "json"])
        .expect(0)
        .json();
    let decided = &shown["record"]["decided"];
    let digest = hive
        .cli(&["constitution", "digest", "constitution.toml"])
        .expect(0)
        .stdout;
    assert_eq!(decided["constitution"]["digest"], digest.trim());
    assert_eq!(decided["constitution"]["name"], "t");
    assert_eq!(decided["constitution"]["version"], "1.0.0");
    assert_eq!(decided["runtime"]["kind"], "echo");
    assert!(decided["spec"].as_str().unwrap().starts_with("sha256:"));
    let build = &shown["record"]["observed"]["build"]["executable"];
    assert!(build.as_str().unwrap().starts_with("sha256:"));

    hive.cli(&["ledger", "export", "ledger", "out"]).expect(0);
    let opening = std::fs::read_to_string(hive.path("r.tlog-proof.opening")).unwrap();
    let opening: serde_json::Value = serde_json::from_str(&opening).unwrap();
    let salts = opening["salts"].as_object().unwrap().values();
    let mut secrets: Vec<String> = salts
        .map(|salt| salt.as_str().unwrap().to_owned())
        .collect();
    assert!(secrets.len() >= 3);
    secrets.extend(["zebra", "quagga", "ann@"].map(str::to_owned));
    let mut published = walk(&hive.path("out"));
    published.push(hive.path("r.tlog-proof"));
    for path in published {
        let bytes = std::fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for secret in &secrets {
            assert!(
                !text.contains(secret.as_str()),
                "{} holds {secret}",
                path.display()
            );
        }
    }
}

#[cfg(feature = "crash-points")]
#[test]
fn the_next_run_closes_what_a_dead_one_left() {
    let hive = Hive::default();
    let point = axiom_hive_runner::ledger::CRASH_POINTS.last().unwrap();
    // The second append of a run on a new ledger is the intent.
    let dead = hive
        .run_command(&["--runtime", "echo", "--task-uid", "dead", "hi"])
        .env("AXIOM_HIVE_CRASH_AT", format!("{point}:2"))
        .output();
    assert_eq!(dead.unwrap().status.code(), None);
    assert!(
        hive.verify()
            .expect(0)
            .stdout
            .contains("unfinished: task dead")
    );
    hive.echo(&["--task-uid", "alive", "hi"]).expect(0);
    let list = hive.cli(&["ledger", "list", "ledger"]).expect(0).stdout;
    let closed = list
        .lines()
        .find(|line| line.contains("Interrupted"))
        .unwrap();
    assert!(
        closed.contains("failed") && closed.contains("dead"),
        "{list}"
    );
    assert!(!hive.verify().expect(0).stdout.contains("unfinished"));
    // The closed task stays closed.
    let again = hive.echo(&["--task-uid", "dead", "hi"]).expect(3);
    assert_eq!(again.stdout, "");
}
