//! The entry point of a runner pod.

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    axiom_hive_runner::containment::shim_main_if_requested();
    let _ = writeln!(std::io::stderr(), "usage: hive_supervisor TASK_FILE");
    ExitCode::from(1)
}
