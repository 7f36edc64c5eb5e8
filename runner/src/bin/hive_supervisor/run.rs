//! One attempt in a pod.
//!
//! The arguments are the operator's; what the user wrote is in the ledger, since Kubernetes would
//! expand `$(VAR)` in an argument. What is in the ledger must be what the arguments name.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axiom_hive_client::ledger::{Credential, Endpoint, LedgerClient};
use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::TaskRef;
use axiom_hive_core::tlog::VerifyingKey;
use axiom_hive_core::wire::{MAX_POINTER_ORIGIN_BYTES, Pointer, RecordKind};
use axiom_hive_runner::containment::isolation::Targets;
use axiom_hive_runner::exit::{Exit, Failure};
use axiom_hive_runner::pipeline::{Attempt, Ended, PipelineError, build_ref, run_attempt};
use axiom_hive_runner::runtime::pod::Expected;
use axiom_hive_runner::runtime::{ApiKey, CancelToken, RuntimeOptions};
use tokio::net::lookup_host;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout};

/// Upper bound of a prompt's and a host list's file: 4 MiB.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// How long an append in flight may take after the pod was told to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How long the image of the neighbouring container may take to be pulled and started.
const NEIGHBOUR_TIMEOUT: Duration = Duration::from_mins(2);
/// The key of a Secret that holds an API key, and the one that lists where it may be sent.
const API_KEY_FILES: [&str; 2] = ["axiomhive-api-key", "axiomhive-allowed-hosts"];

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names the task
    #[arg(long, value_name = "UID")]
    task_uid: String,
    /// Which attempt of it
    #[arg(long, value_name = "NUMBER")]
    attempt: u32,
    /// The digest of the task's spec, which the intent must name
    #[arg(long, value_name = "DIGEST")]
    spec_digest: Digest,
    /// The digest of the constitution, which the intent must name
    #[arg(long, value_name = "DIGEST")]
    constitution_digest: Digest,
    /// The ledger service
    #[arg(long, value_name = "https://HOST:PORT")]
    ledger: reqwest::Url,
    /// Its port that no policy may open
    #[arg(long, value_name = "PORT")]
    ledger_canary_port: u16,
    /// The authorities of its certificate
    #[arg(long, value_name = "PEM")]
    ledger_ca: String,
    /// The verifier key of its log
    #[arg(long, value_name = "VKEY")]
    ledger_key: VerifyingKey,
    /// This pod's token for the ledger
    #[arg(long, value_name = "FILE")]
    token: PathBuf,
    /// After so many seconds the pod is ended; the task ends 10 s before
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    deadline_seconds: u32,
    /// Where the runtime's container connects, for a process
    #[arg(long, value_name = "FILE", requires = "runtime_uid")]
    runtime_socket: Option<PathBuf>,
    /// The user of the runtime's container
    #[arg(long, value_name = "UID", requires = "runtime_socket")]
    runtime_uid: Option<u32>,
    /// The prompt, where the task says that it is read from elsewhere
    #[arg(long, value_name = "FILE")]
    prompt: Option<PathBuf>,
    /// A directory with an API key and the list of hosts that it may be sent to
    #[arg(long, value_name = "DIR")]
    api_key: Option<PathBuf>,
    /// Where the pointer to the record goes
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log")]
    termination_message: PathBuf,
}

/// `None` when it was told to stop.
pub(crate) fn run(args: &Args) -> Result<Option<Exit>, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::with(Exit::Bug))?;
    let ended = runtime.block_on(async {
        let mut told = signal(SignalKind::terminate()).map_err(Failure::with(Exit::Bug))?;
        let stop = CancelToken::new();
        let attempt = attempt(args, stop.clone());
        tokio::pin!(attempt);
        tokio::select! {
            biased;
            _ = told.recv() => {
                stop.cancel();
                // An append in flight may end; whether it did, the ledger knows.
                if let Ok(Err(failure)) = timeout(STOP_PATIENCE, attempt).await {
                    tracing::info!(%failure, "told to stop");
                }
                Ok(None)
            }
            ended = &mut attempt => ended.map(Some),
        }
    });
    // A look-up that hangs in the system's resolver must not hold up the end.
    runtime.shutdown_background();
    ended
}

/// When the pod is ended: counted from its start, of which its token tells. The kubelet writes it when
/// it sets the pod up, before any image is pulled; a pod whose image took long has less time left. Once
/// it is renewed (after 8 minutes) it tells of a later time, which is no worse than to know nothing.
fn end(args: &Args) -> Instant {
    let written = std::fs::metadata(&args.token).and_then(|token| token.modified());
    let age = written.ok().and_then(|written| written.elapsed().ok());
    let seconds = Duration::from_secs(args.deadline_seconds.into());
    Instant::now() + seconds.saturating_sub(age.unwrap_or_default())
}

async fn attempt(args: &Args, stop: CancelToken) -> Result<Exit, Failure> {
    let end = end(args);
    let task = TaskRef {
        uid: args.task_uid.clone(),
        attempt: args.attempt,
    };
    task.validate().map_err(Failure::with(Exit::Input))?;
    if args.ledger_key.name().len() > MAX_POINTER_ORIGIN_BYTES {
        let must = format!("the ledger's name must be at most {MAX_POINTER_ORIGIN_BYTES} bytes");
        return Err(Failure::new(Exit::Constitution, must));
    }
    let client = LedgerClient::new(Endpoint {
        url: args.ledger.to_string(),
        ca: args.ledger_ca.clone(),
        key: args.ledger_key.clone(),
        credential: Credential::Token(args.token.clone()),
    });
    let client = client.map_err(Failure::with(Exit::Constitution))?;
    let mut options = RuntimeOptions::default();
    let mut allowed_hosts = Vec::new();
    if let Some(directory) = &args.api_key {
        let [key, hosts] = API_KEY_FILES.map(|name| directory.join(name));
        options.api_key = Some(ApiKey::from_file(&key).map_err(Failure::with(Exit::Input))?);
        allowed_hosts = hosts_in(&read(&hosts)?);
    }
    let targets = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(PipelineError::Stopped.into()),
        targets = targets(args) => targets?,
    };
    let neighbour = args.runtime_socket.clone().zip(args.runtime_uid);
    let attempt = Attempt {
        task,
        spec: args.spec_digest,
        constitution: args.constitution_digest,
        prompt: args.prompt.as_deref().map(read).transpose()?,
        targets,
        options: &options,
        allowed_hosts,
        neighbour: neighbour.map(|(socket, uid)| Expected {
            socket,
            uid,
            timeout: NEIGHBOUR_TIMEOUT,
        }),
        build: build_ref().map_err(Failure::with(Exit::Bug))?,
        stop,
        end,
    };
    let ended = run_attempt(&client, &attempt).await;
    let ended = ended.map_err(|error: PipelineError| Failure::from(error))?;
    let pointer = pointer(args, &ended)?;
    let exit_code = pointer.exit;
    let written = std::fs::write(&args.termination_message, pointer.text);
    if let Err(error) = written {
        // A hint: the ledger has the record.
        tracing::warn!(%error, "the termination message could not be written");
    }
    Ok(exit_code)
}

/// Both ports at the address that the ledger's name has in this pod.
async fn targets(args: &Args) -> Result<Targets, Failure> {
    let unknown =
        |why: &dyn std::fmt::Display| Failure::new(Exit::Ledger, format!("{}: {why}", args.ledger));
    let host = args.ledger.host_str().unwrap_or_default();
    let port = args.ledger.port_or_known_default().unwrap_or_default();
    // An IPv6 address stands in brackets in a URL.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut addresses = lookup_host((host, port)).await.map_err(|e| unknown(&e))?;
    let ledger = addresses.next();
    let ledger = ledger.ok_or_else(|| unknown(&"the host must have an address"))?;
    Ok(Targets {
        ledger,
        canary: SocketAddr::new(ledger.ip(), args.ledger_canary_port),
    })
}

struct Written {
    text: String,
    exit: Exit,
}

fn pointer(args: &Args, ended: &Ended) -> Result<Written, Failure> {
    let bug = || Failure::new(Exit::Bug, "an attempt must end with an outcome");
    let record = &ended.done.record;
    let (outcome, kind) = record
        .outcome()
        .zip(RecordKind::of(&record.body))
        .ok_or_else(bug)?;
    let exit = Exit::of(outcome.decided.reason);
    let pointer = Pointer {
        task_uid: outcome.task.uid.clone(),
        attempt: outcome.task.attempt,
        outcome: kind,
        exit_code: exit.code(),
        origin: args.ledger_key.name().to_owned(),
        index: ended.index,
        leaf: ended.receipt.leaf(),
    };
    tracing::info!(
        index = pointer.index,
        ?kind,
        exit_code = exit.code(),
        "recorded"
    );
    Ok(Written {
        text: pointer.to_string(),
        exit,
    })
}

/// Host names between white space or commas, in lower case.
fn hosts_in(text: &str) -> Vec<String> {
    let names = text.split(|c: char| c.is_whitespace() || c == ',');
    let names = names.filter(|name| !name.is_empty());
    names.map(str::to_ascii_lowercase).collect()
}

fn read(path: &Path) -> Result<String, Failure> {
    let refuse = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Input,
            format!("cannot read {}: {error}", path.display()),
        )
    };
    let file = File::open(path).map_err(|error| refuse(&error))?;
    let mut text = String::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    let length = read.map_err(|error| refuse(&error))?;
    if length as u64 > MAX_FILE_BYTES {
        return Err(refuse(&format_args!(
            "it must be at most {MAX_FILE_BYTES} bytes"
        )));
    }
    Ok(text)
}
