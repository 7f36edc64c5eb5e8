//! `run`: the main job.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use axiom_hive_core::record::{
    AnswerSource, BuildRef, ContainmentLevel, ContainmentRequest, Outcome, TaskRef, explain,
};
use axiom_hive_core::supervisor::{Prepared, Released};
use axiom_hive_core::task::{ProcessProtocol, RuntimeSpec, TaskSpec};
use axiom_hive_runner::exit::{Exit, Failure};
use axiom_hive_runner::ledger::{KeyStore, Ledger};
use axiom_hive_runner::pipeline::{Finished, Job, build_ref, random_32, run_task};
use axiom_hive_runner::runtime::{
    ApiKey, CancelToken, PYTHON_BIN, RuntimeOptions, default_python_command,
};
use serde_json::{Value, json};

use crate::args::{Containment, Protocol, RunArgs, RuntimeArgs, RuntimeChoice};
use crate::input::{read_constitution, read_stdin};
use crate::output::Printer;

/// Holds the API key of an OpenAI-compatible endpoint when no file is named.
const API_KEY: &str = "AXIOM_HIVE_API_KEY";

pub(crate) fn run(args: RunArgs, printer: &Printer) -> Result<Exit, Failure> {
    let constitution = read_constitution(&args.constitution)?;
    let prepared = Prepared::new(constitution).map_err(Failure::with(Exit::Constitution))?;
    let prompt = match args.prompt {
        Some(prompt) => prompt,
        None => read_stdin("the prompt")?,
    };
    let spec = TaskSpec {
        prompt,
        prompt_from: None,
        runtime: runtime_spec(&args.runtime)?,
        branches: args.branches,
    };
    let task_uid = match args.task_uid {
        Some(uid) => check_uid(uid)?,
        None => fresh_uid()?,
    };
    let build = build_ref().map_err(Failure::with(Exit::Bug))?;
    let keys = KeyStore::of_user().map_err(Failure::with(Exit::Ledger))?;
    let mut ledger = open_ledger(&args.ledger, &keys, printer)?;
    let options = runtime_options(&args.runtime, args.containment, &args.ledger)?;
    if args.containment != Containment::Required {
        printer.note(&format!(
            "containment: {:?}, as asked for",
            options.containment
        ));
    }
    printer.note(&format!("task {task_uid}"));
    let finished = drive(&mut ledger, &prepared, spec, task_uid, &options, build)?;
    if let Some(path) = &args.receipt {
        write_receipt(path, &finished)?;
    }
    report(&finished, printer)
}

/// The async part: signals become the cancel event.
fn drive(
    ledger: &mut Ledger,
    prepared: &Prepared,
    spec: TaskSpec,
    task_uid: String,
    options: &RuntimeOptions,
    build: BuildRef,
) -> Result<Finished, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::with(Exit::Bug))?;
    runtime.block_on(async {
        let cancel = CancelToken::new();
        cancel_on_signal(cancel.clone()).map_err(Failure::with(Exit::Bug))?;
        let job = Job {
            prepared,
            spec,
            task_uid,
            options,
            build,
            cancel,
        };
        run_task(ledger, job).await.map_err(Failure::from)
    })
}

fn cancel_on_signal(cancel: CancelToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancel.cancel();
    });
    Ok(())
}

fn open_ledger(dir: &Path, keys: &KeyStore, printer: &Printer) -> Result<Ledger, Failure> {
    let ledger = Ledger::open(dir, keys).map_err(Failure::with(Exit::Ledger))?;
    for problem in ledger.repaired() {
        printer.note(&format!("ledger repaired: {problem}"));
    }
    if let [first, ..] = ledger.read_only() {
        let message = format!("the ledger is read-only: {first}; `verify` has the whole report");
        return Err(Failure::new(Exit::Ledger, message));
    }
    Ok(ledger)
}

/// A UUID of version 4 (RFC 9562).
fn fresh_uid() -> Result<String, Failure> {
    let random = random_32().map_err(Failure::with(Exit::Bug))?;
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&random[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = axiom_hive_core::digest::to_hex(&bytes);
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    Ok(parts.join("-"))
}

fn check_uid(uid: String) -> Result<String, Failure> {
    let reference = TaskRef { uid, attempt: 0 };
    reference
        .validate()
        .map_err(|error| Failure::new(Exit::Input, format!("--task-uid: {error}")))?;
    Ok(reference.uid)
}

fn runtime_spec(args: &RuntimeArgs) -> Result<RuntimeSpec, Failure> {
    let need = |value: &Option<String>, flag: &str| {
        value.clone().ok_or_else(|| {
            Failure::new(
                Exit::Input,
                format!("{flag} must be given for this runtime"),
            )
        })
    };
    let protocol = match args.protocol {
        Protocol::Text => ProcessProtocol::Text,
        Protocol::Ndjson => ProcessProtocol::Ndjson,
    };
    Ok(match args.runtime {
        RuntimeChoice::Python => {
            let python_bin = std::env::var(PYTHON_BIN).ok();
            let more: Vec<&str> = args.args.iter().map(String::as_str).collect();
            let command = default_python_command(protocol, python_bin.as_deref(), &more);
            RuntimeSpec::Process {
                protocol,
                command,
                env: environment(&args.env)?,
                image: None,
            }
        }
        RuntimeChoice::Process => {
            let mut command = vec![need(&args.command, "--command")?];
            command.extend(args.args.iter().cloned());
            RuntimeSpec::Process {
                protocol,
                command,
                env: environment(&args.env)?,
                image: None,
            }
        }
        RuntimeChoice::Http => RuntimeSpec::Http {
            url: need(&args.url, "--url")?,
        },
        RuntimeChoice::OpenAi => RuntimeSpec::OpenAi {
            base_url: need(&args.url, "--url")?,
            model: need(&args.model, "--model")?,
            system: args.system.clone(),
            temperature_thousandths: args.temperature_thousandths,
            max_tokens: args.max_tokens,
            ca_bundle: None,
            api_key_secret: None,
        },
        RuntimeChoice::Echo => RuntimeSpec::Echo,
    })
}

fn environment(items: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    items
        .iter()
        .map(|item| match item.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Failure::new(
                Exit::Input,
                format!("--env {item}: must be NAME=VALUE"),
            )),
        })
        .collect()
}

fn runtime_options(
    args: &RuntimeArgs,
    containment: Containment,
    ledger: &Path,
) -> Result<RuntimeOptions, Failure> {
    let api_key = match (&args.api_key_file, args.runtime) {
        (Some(path), _) => Some(ApiKey::from_file(path).map_err(Failure::with(Exit::Input))?),
        (None, RuntimeChoice::OpenAi) if std::env::var_os(API_KEY).is_some() => {
            Some(ApiKey::from_env(API_KEY).map_err(Failure::with(Exit::Input))?)
        }
        (None, _) => None,
    };
    let ledger = std::path::absolute(ledger).map_err(Failure::with(Exit::Input))?;
    Ok(RuntimeOptions {
        containment: match containment {
            Containment::Required => ContainmentRequest::Required,
            Containment::BestEffort => ContainmentRequest::BestEffort,
            Containment::Off => ContainmentRequest::Off,
        },
        private_paths: vec![ledger],
        api_key,
        ..RuntimeOptions::default()
    })
}

/// The receipt may be published; the opening beside it is private (0600).
fn write_receipt(path: &Path, finished: &Finished) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let refuse = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Input,
            format!("cannot write {}: {error}", path.display()),
        )
    };
    std::fs::write(path, finished.receipt.to_string()).map_err(|error| refuse(path, &error))?;
    let opening = finished
        .opening
        .to_canonical()
        .map_err(Failure::with(Exit::Bug))?;
    let mut name = path.as_os_str().to_owned();
    name.push(".opening");
    let path = PathBuf::from(name);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&path).map_err(|error| refuse(&path, &error))?;
    file.write_all(&opening)
        .map_err(|error| refuse(&path, &error))
}

/// Answer on stdout; everything about it on stderr.
fn report(finished: &Finished, printer: &Printer) -> Result<Exit, Failure> {
    let Some(outcome) = finished.done.record.outcome() else {
        return Err(Failure::new(Exit::Bug, "a task must end with an outcome"));
    };
    let exit = Exit::of(outcome.decided.reason);
    let released = finished.done.released.as_ref();
    if printer.is_json() {
        printer.result("", &to_json(finished, outcome, exit))?;
        return Ok(exit);
    }
    if let Some(released) = released {
        printer.result(released.text(), &Value::Null)?;
    }
    for line in remarks(finished, outcome, released) {
        printer.note(&line);
    }
    Ok(exit)
}

fn remarks(finished: &Finished, outcome: &Outcome, released: Option<&Released>) -> Vec<String> {
    let decided = &outcome.decided;
    let mut lines = vec![format!(
        "{}: {}",
        super::ledger::kind(&finished.done.record),
        explain(decided)
    )];
    if released.is_some_and(|text| text.source() == AnswerSource::Fallback) {
        lines.push("this is the constitution's fallback text, not an answer".to_owned());
    }
    if let Some(vote) = &decided.vote {
        let key_only =
            released.is_some_and(|text| text.source() == AnswerSource::BranchTextKeyOnly);
        let on = if key_only {
            " (agreed on: key only)"
        } else {
            ""
        };
        lines.push(format!(
            "agreement: {} of {} branches, {} asked, {} needed{on}",
            vote.leader, vote.asked, vote.committed, vote.ratio
        ));
    }
    if decided.branches.iter().any(|branch| branch.error.is_some()) {
        // What a runtime said of it is not shown unasked: nobody supervised it.
        lines.push("AXIOM_HIVE_LOG=info says more of the branches that failed".to_owned());
    }
    if let Some(answer) = &decided.answer {
        let removed = answer.removed;
        lines.push(format!(
            "removed: {} spans, {} words, {} bytes",
            removed.spans, removed.words, removed.bytes
        ));
    }
    if outcome.observed.containment.reached != ContainmentLevel::NotApplicable {
        lines.push(format!(
            "containment: {:?}",
            outcome.observed.containment.reached
        ));
    }
    let earlier = if finished.done.existing {
        " (recorded earlier)"
    } else {
        ""
    };
    lines.push(format!("record: index {}{earlier}", finished.index));
    lines
}

fn to_json(finished: &Finished, outcome: &Outcome, exit: Exit) -> Value {
    let decided = &outcome.decided;
    json!({
        "taskUid": outcome.task.uid,
        "attempt": outcome.task.attempt,
        "outcome": super::ledger::kind(&finished.done.record),
        "reason": decided.reason,
        "exitCode": exit.code(),
        "answer": finished.done.released.as_ref().map(Released::text),
        "source": finished.done.released.as_ref().map(Released::source),
        "agreement": decided.vote.as_ref().map(|vote| json!({
            "leader": vote.leader, "asked": vote.asked, "committed": vote.committed,
        })),
        "removed": decided.answer.as_ref().map(|answer| answer.removed),
        "containment": outcome.observed.containment,
        "existing": finished.done.existing,
        "ledger": {
            "index": finished.index,
            "origin": origin(finished),
        },
    })
}

fn origin(finished: &Finished) -> &str {
    finished
        .receipt
        .proof()
        .checkpoint
        .lines()
        .next()
        .unwrap_or_default()
}
