//! The command `cluster`.

use std::process::ExitCode;

use axiom_hive_testcluster::cli::{Arguments, execute};
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match tokio::task::LocalSet::new()
        .run_until(execute(arguments))
        .await
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error}");
            ExitCode::FAILURE
        }
    }
}
