//! The programs of a runner pod: the supervisor, the agent that starts a task's program for it in the
//! neighbouring container, and the one that brings this binary there.

mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use axiom_hive_runner::exit::{Exit, Failure};
use axiom_hive_runner::runtime::pod::{Agent, serve};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

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
    /// Run one attempt of a task: what to do comes from the ledger service
    Run(Box<run::Args>),
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
            Command::Run(args) => run::run(args),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use clap::CommandFactory as _;

    use super::*;

    /// What the operator starts containers with, as its own test holds it.
    const STARTED: &str = include_str!("../../../../operator/tests/data/pod-commands.json");

    #[test]
    fn what_the_operator_starts_is_understood() {
        Cli::command().debug_assert();
        let pods: Vec<BTreeMap<String, Vec<String>>> = serde_json::from_str(STARTED).unwrap();
        assert_eq!(pods.len(), 2);
        for (container, line) in pods.iter().flatten() {
            // The kubelet turns two dollar signs into one.
            let line = line.iter().map(|item| item.replace("$$", "$"));
            let cli = Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{error}"));
            let is_right = matches!(
                (container.as_str(), &cli.command),
                ("install", Command::Install { .. })
                    | ("runtime", Command::Runtime(_))
                    | ("supervisor", Command::Run(_))
            );
            assert!(is_right, "{container}: {cli:?}");
        }
    }
}
