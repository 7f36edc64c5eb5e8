//! `task`: what a user does with tasks of a cluster, with the kubeconfig and the rights that `kubectl` has.

mod cluster;
mod ended;
mod submit;
mod wait;

use axiom_hive_runner::exit::{Exit, Failure};

use crate::args::{TaskArgs, TaskCommand};
use crate::output::Printer;
use cluster::Cluster;

pub(crate) fn run(args: &TaskArgs, printer: &Printer) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::with(Exit::Bug))?;
    runtime.block_on(carry_out(args, printer))
}

async fn carry_out(args: &TaskArgs, printer: &Printer) -> Result<Exit, Failure> {
    let cluster = || Cluster::open(&args.cluster);
    match &args.command {
        TaskCommand::Submit(args) => {
            // What is wrong with a file is said before anybody is asked.
            let object = submit::read(args)?;
            submit::submit(&cluster().await?, object, printer).await
        }
        TaskCommand::Wait {
            name,
            timeout_seconds,
        } => wait::wait(&cluster().await?, name, *timeout_seconds, printer).await,
        TaskCommand::Receipt { name, out, key } => {
            ended::receipt(&cluster().await?, name, out, key.as_deref(), printer).await
        }
        TaskCommand::Answer { name } => ended::answer(&cluster().await?, name, printer).await,
        TaskCommand::Cancel { name } => ended::cancel(&cluster().await?, name, printer).await,
    }
}
