//! The pipeline: one task through runtime, supervisor and ledger.
//!
//! [`run_task`] drives the state machine of `axiom_hive_core::supervisor`: it owns the clock, the
//! random bytes, the processes and the ledger; every decision is the machine's. The command line and
//! the pod's supervisor both call it.

mod branches;
mod build;
mod drive;
mod sweep;

pub use build::build_ref;
pub use drive::{Finished, Job, PipelineError, run_task};
pub use sweep::close_dead_runs;

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
