//! `axiom_hive_cli`: operator and supervisor at once, on one machine, with the same records.

mod args;
mod commands;
mod input;
mod output;

use std::process::ExitCode;

use axiom_hive_runner::exit::{Exit, Failure};
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use args::{Cli, Command, LogFormat};
use output::Printer;

fn main() -> ExitCode {
    axiom_hive_runner::containment::shim_main_if_requested();
    let exit = std::panic::catch_unwind(|| {
        #[cfg(feature = "crash-points")]
        assert!(
            std::env::var_os("AXIOM_HIVE_CRASH_AT").is_none_or(|point| point != "cli.panic"),
            "a test asked for a panic"
        );
        let cli = match Cli::try_parse() {
            Ok(cli) => cli,
            Err(error) => return usage(&error),
        };
        let printer = Printer::new(cli.global.output);
        start_log(cli.global.log_format);
        match dispatch(cli, &printer) {
            Ok(exit) => exit,
            Err(failure) => {
                printer.failure(&failure);
                failure.exit
            }
        }
    });
    ExitCode::from(exit.unwrap_or(Exit::Bug).code())
}

/// Help and version go to stdout with 0; wrong usage is the user's input (1, where clap says 2).
fn usage(error: &clap::Error) -> Exit {
    // Nothing is left to say when even this write fails.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok,
        _ => Exit::Input,
    }
}

fn dispatch(cli: Cli, printer: &Printer) -> Result<Exit, Failure> {
    match cli.command {
        None => commands::run::run(cli.run, printer),
        Some(Command::Run(args)) => commands::run::run(args, printer),
        Some(Command::Verify(args)) => commands::verify::verify(&args, printer),
        Some(Command::Replay { ledger_dir, index }) => {
            commands::replay::replay(&ledger_dir, index, printer)
        }
        Some(Command::Constitution(command)) => commands::constitution::run(&command, printer),
        Some(Command::Scan { constitution, file }) => {
            commands::scan::scan(&constitution, file.as_deref(), printer)
        }
        Some(Command::Ledger(command)) => commands::ledger::run(command, printer),
        Some(Command::Task(args)) => commands::task::run(&args, printer),
        Some(Command::Completions { shell }) => {
            let mut bytes = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "axiom_hive_cli", &mut bytes);
            output::raw(&bytes)
        }
        Some(Command::Man) => {
            let mut bytes = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut bytes)
                .map_err(Failure::with(Exit::Bug))?;
            output::raw(&bytes)
        }
    }
}

/// The log goes to stderr: stdout belongs to the answer.
fn start_log(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("AXIOM_HIVE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(output::is_colour_terminal()).init(),
        LogFormat::Json => builder.json().init(),
    }
}
