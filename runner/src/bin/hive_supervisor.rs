//! The entry point of a runner pod: one task from a file, through the same pipeline as the command
//! line, its receipt to a file.
//!
//! Until the ledger service exists it appends to a ledger directory itself, intent included.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use axiom_hive_core::constitution::Constitution;
use axiom_hive_core::supervisor::Prepared;
use axiom_hive_core::task::TaskSpec;
use axiom_hive_runner::exit::{Exit, Failure};
use axiom_hive_runner::ledger::{KeyStore, Ledger};
use axiom_hive_runner::pipeline::{Finished, Job, build_ref, run_task};
use axiom_hive_runner::runtime::pod::{Agent, serve};
use axiom_hive_runner::runtime::{CancelToken, RuntimeOptions};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// The upper bound of the task's and of the constitution's file: 2 MiB.
const MAX_FILE_BYTES: u64 = 2 * 1024 * 1024;
/// 128 + SIGTERM: told to stop. Only whoever told it knows what that means, so nothing is recorded.
const EXIT_STOPPED: u8 = 143;

/// The programs of a runner pod
#[derive(Debug, Parser)]
#[command(name = "hive_supervisor", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one task
    Run(Args),
    /// Start a task's program in the neighbouring container, for the supervisor
    Runtime(RuntimeArgs),
    /// Copy this program into a directory, for a container that does not have it
    Install {
        /// The directory
        directory: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct RuntimeArgs {
    /// Where the supervisor listens
    #[arg(long, value_name = "FILE")]
    socket: PathBuf,
    /// What the program may write
    #[arg(long, value_name = "DIR")]
    scratch: PathBuf,
    /// What the program must not read; may be repeated
    #[arg(long, value_name = "DIR")]
    private: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Args {
    /// The task (JSON of its spec)
    #[arg(long, value_name = "FILE")]
    task: PathBuf,
    /// Names the task
    #[arg(long, value_name = "UID")]
    task_uid: String,
    /// The constitution (TOML)
    #[arg(long, value_name = "FILE")]
    constitution: PathBuf,
    /// The ledger
    #[arg(long, value_name = "DIR")]
    ledger: PathBuf,
    /// Where the receipt goes
    #[arg(long, value_name = "FILE")]
    receipt: PathBuf,
}

fn main() -> ExitCode {
    axiom_hive_runner::containment::shim_main_if_requested();
    let code = std::panic::catch_unwind(|| {
        let cli = match Cli::try_parse() {
            Ok(cli) => cli,
            Err(error) => {
                // Nothing is left to say when even this write fails.
                let _ = error.print();
                let is_wrong = error.use_stderr();
                return if is_wrong {
                    Exit::Input.code()
                } else {
                    Exit::Ok.code()
                };
            }
        };
        tracing_subscriber::fmt()
            .json()
            .with_writer(std::io::stderr)
            .init();
        let result = match &cli.command {
            Command::Run(args) => run(args),
            Command::Runtime(args) => runtime(args).map(Some),
            Command::Install { directory } => install(directory).map(|()| Some(Exit::Ok)),
        };
        match result {
            Ok(Some(exit)) => exit.code(),
            Ok(None) => EXIT_STOPPED,
            Err(failure) => {
                tracing::error!(exit_code = failure.exit.code(), "{failure}");
                failure.exit.code()
            }
        }
    });
    ExitCode::from(code.unwrap_or(Exit::Bug.code()))
}

/// Serves one supervisor. In a container this is process 1, which no signal ends by itself.
fn runtime(args: &RuntimeArgs) -> Result<Exit, Failure> {
    let agent = Agent {
        socket: args.socket.clone(),
        scratch: args.scratch.clone(),
        shim: std::env::current_exe().map_err(Failure::with(Exit::Bug))?,
        private_paths: args.private.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::with(Exit::Bug))?;
    runtime.block_on(async {
        let mut stop = signal(SignalKind::terminate()).map_err(Failure::with(Exit::Bug))?;
        tokio::select! {
            biased;
            _ = stop.recv() => Ok(Exit::Ok),
            served = serve(&agent) => served.map(|()| Exit::Ok).map_err(Failure::with(Exit::Runtime)),
        }
    })
}

/// The copy can be run by every user of the pod.
fn install(directory: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let copy = directory.join("hive_supervisor");
    let own = std::env::current_exe().map_err(Failure::with(Exit::Bug))?;
    std::fs::copy(own, &copy)
        .and_then(|_| std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o555)))
        .map_err(|error| {
            Failure::new(
                Exit::Containment,
                format!("cannot install {}: {error}", copy.display()),
            )
        })
}

/// `None` when it was told to stop.
fn run(args: &Args) -> Result<Option<Exit>, Failure> {
    let name = args.constitution.display().to_string();
    let text = read(&args.constitution, Exit::Constitution)?;
    let constitution =
        Constitution::parse_bytes(&name, &text).map_err(Failure::with(Exit::Constitution))?;
    let prepared = Prepared::new(constitution).map_err(Failure::with(Exit::Constitution))?;
    let spec: TaskSpec = serde_json::from_slice(&read(&args.task, Exit::Input)?)
        .map_err(|error| Failure::new(Exit::Input, format!("{}: {error}", args.task.display())))?;
    let keys = KeyStore::of_user().map_err(Failure::with(Exit::Ledger))?;
    let mut ledger = Ledger::open(&args.ledger, &keys).map_err(Failure::with(Exit::Ledger))?;
    let options = RuntimeOptions {
        private_paths: vec![std::path::absolute(&args.ledger).map_err(Failure::with(Exit::Input))?],
        ..RuntimeOptions::default()
    };
    let job = Job {
        prepared: &prepared,
        spec,
        task_uid: args.task_uid.clone(),
        options: &options,
        build: build_ref().map_err(Failure::with(Exit::Bug))?,
        cancel: CancelToken::new(),
    };
    let Some(finished) = drive(&mut ledger, job)? else {
        return Ok(None);
    };
    write_receipt(&args.receipt, &finished)?;
    let outcome = finished.done.record.outcome();
    Ok(Some(outcome.map_or(Exit::Bug, |outcome| {
        Exit::of(outcome.decided.reason)
    })))
}

/// Runs the task until it ends or the pod is told to stop. An append runs to its end either way.
fn drive(ledger: &mut Ledger, job: Job<'_>) -> Result<Option<Finished>, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::with(Exit::Bug))?;
    runtime.block_on(async {
        let mut stop = signal(SignalKind::terminate()).map_err(Failure::with(Exit::Bug))?;
        tokio::select! {
            biased;
            _ = stop.recv() => Ok(None),
            finished = run_task(ledger, job) => Ok(Some(finished?)),
        }
    })
}

fn read(path: &Path, exit: Exit) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let refuse = |error: &dyn std::fmt::Display| {
        Failure::new(exit, format!("cannot read {}: {error}", path.display()))
    };
    let file = std::fs::File::open(path).map_err(|error| refuse(&error))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refuse(&error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(refuse(&format_args!(
            "it must be at most {MAX_FILE_BYTES} bytes"
        )));
    }
    Ok(bytes)
}

fn write_receipt(path: &Path, finished: &Finished) -> Result<(), Failure> {
    std::fs::write(path, finished.receipt.to_string()).map_err(|error| {
        Failure::new(
            Exit::Input,
            format!("cannot write {}: {error}", path.display()),
        )
    })
}
