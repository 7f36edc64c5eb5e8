//! The pipeline: one task through runtime, supervisor and ledger.
//!
//! What drives the state machine of `axiom_hive_core::supervisor` owns the clock, the random bytes, the
//! processes and the connection to the ledger; every decision is the machine's. [`run_task`] is for
//! the command line: it owns the ledger and the task. [`run_attempt`] is for a pod: task, constitution
//! and intent come from a ledger service.

mod attempt;
mod branches;
mod drive;
mod error;
mod store;
mod sweep;
mod task;

pub use attempt::{Attempt, run_attempt};
pub use axiom_hive_client::build_ref;
pub use drive::Ended;
pub use error::PipelineError;
pub use sweep::close_dead_runs;
pub use task::{Finished, Job, run_task};

use std::time::{SystemTime, UNIX_EPOCH};

use axiom_hive_core::record::MAX_INTEGER;

/// Milliseconds since the Unix epoch, for the observed part of a record; 0 before 1970.
#[must_use]
pub fn now_unix_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis())
        .unwrap_or(MAX_INTEGER)
        .min(MAX_INTEGER)
}

/// 32 random bytes from the operating system.
pub fn random_32() -> Result<[u8; 32], PipelineError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| PipelineError::Random(error.to_string()))?;
    Ok(bytes)
}
