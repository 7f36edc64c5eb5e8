//! `make bench`: how fast, next to how fast it could be.
//!
//! Four tables: the interceptor next to a copy and a bare Aho-Corasick pass; one append next to a
//! bare `fdatasync`; verification next to bare SHA-256; and the bars that
//! have to be reached. Numbers of one row are medians of rounds
//! that alternate between the two. With the argument `ledger` (`make bench-ledger`), the ledger under
//! many callers instead, next to another log under the same load.

mod corpus;
mod interceptor;
mod ledger;
mod load;
mod machine;
mod measure;
mod peer;
mod records;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;

use axiom_hive_runner::ledger::LedgerError;

use crate::table::Table;

/// Why no table was made.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    /// The tables cannot be printed, or a file of the bench cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The default rules do not compile.
    #[error("the default rules have {0} errors")]
    Rules(usize),
    /// The ledger refuses what the bench does.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The bench built something that core refuses.
    #[error("{0}")]
    Setup(String),
}

fn main() -> ExitCode {
    match run(&mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do when standard error is closed too.
            let _ = writeln!(io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(out: &mut dyn Write) -> Result<(), BenchError> {
    if std::env::args().nth(1).as_deref() == Some("ledger") {
        let bars = load::run(out)?;
        return print_bars(out, bars);
    }
    writeln!(
        out,
        "{}\n{} rounds, medians\n",
        machine::describe(),
        measure::ROUNDS
    )?;
    let mut bars = interceptor::run(out)?;
    bars.push(ledger::append(out)?);
    bars.push(ledger::verify(out)?);
    print_bars(out, bars)
}

fn print_bars(out: &mut dyn Write, bars: Vec<Bar>) -> Result<(), BenchError> {
    let mut table = Table::new(&["bar", "measured", "met"]);
    for bar in bars {
        let met = if bar.is_met { "yes" } else { "NO" };
        table.row([bar.what.to_owned(), bar.measured, met.to_owned()]);
    }
    table.print(out)?;
    Ok(())
}

/// What has to be reached, and what was.
struct Bar {
    what: &'static str,
    measured: String,
    is_met: bool,
}
