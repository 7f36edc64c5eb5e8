//! Runs that died leave an intent without an end; the next writer closes them.

use axiom_hive_core::record::{BuildRef, Observed, StopEvent, TaskRef};
use axiom_hive_core::supervisor::closed;

use super::{PipelineError, now_unix_ms};
use crate::ledger::Ledger;

/// Writes `failed: interrupted` for every open intent but those of `except`. Under the lock no other
/// run is alive, so an open intent is a dead run's. Returns the tasks closed.
pub fn close_dead_runs(
    ledger: &mut Ledger,
    except: &str,
    build: &BuildRef,
) -> Result<Vec<TaskRef>, PipelineError> {
    let mut ended = Vec::new();
    for open in ledger.open_intents()? {
        if open.task.uid == except {
            continue;
        }
        let intent = ledger.record(open.index)?;
        let now = now_unix_ms();
        let observed = Observed::nothing_ran(build.clone(), now);
        if let Some(record) = closed(&intent, StopEvent::Interrupted, observed) {
            ledger.append(&record, &[])?;
            ended.push(open.task);
        }
    }
    Ok(ended)
}
