//! Which payloads are past their time, by the constitution that each task was under.

use std::collections::HashMap;
use std::sync::Arc;

use axiom_hive_core::constitution::Outline;
use axiom_hive_core::record::{Body, ConstitutionRef, Record};

use super::error::LedgerError;
use super::group::constitution_slot;
use super::hold::Holds;
use super::reader::LedgerReader;

/// Payloads are kept at least so many days after their task ended, whatever a constitution says: six
/// months, as Regulation (EU) 2024/1689 asks of logs in its articles 19 and 26(6).
pub const MIN_RETENTION_DAYS: u32 = 183;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What is past its time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// Records that hold payloads past their time, ascending.
    pub due: Vec<u64>,
    /// Tasks that they belong to.
    pub tasks: u64,
    /// Tasks that are past their time too, but on hold.
    pub held: Vec<String>,
}

impl LedgerReader {
    /// What is past its time at `now_unix_ms`: the payloads of each task that ended at least as long ago
    /// as the `retention_days` of its constitution, and no less than 183 days. A constitution with 0 days,
    /// or of which the text is gone, keeps for ever. [`Ledger::erase`](super::Ledger::erase) erases them.
    pub fn retention(&self, now_unix_ms: u64) -> Result<Retention, LedgerError> {
        let holds = Holds::read(&*self.storage)?;
        let mut days = HashMap::new();
        let mut retention = Retention::default();
        // An index knows a task only by name: all of them are found by reading the log.
        let ended = Self::on(Arc::clone(&self.storage))?.log().ended_tasks();
        for (uid, records) in ended {
            let Some(ends) = self.keeps_until(&records, &mut days)? else {
                continue;
            };
            let mut due = Vec::new();
            for index in records {
                if now_unix_ms >= ends && !self.kept(index)?.is_empty() {
                    due.push(index);
                }
            }
            if due.is_empty() {
                continue;
            }
            if holds.contains(&uid) {
                retention.held.push(uid);
            } else {
                retention.tasks += 1;
                retention.due.extend(due);
            }
        }
        retention.due.sort_unstable();
        Ok(retention)
    }

    /// Until when the payloads of a task with these records are kept; `None`: for ever.
    fn keeps_until(
        &self,
        records: &[u64],
        days: &mut HashMap<String, Option<u32>>,
    ) -> Result<Option<u64>, LedgerError> {
        for index in records.iter().rev() {
            let record = self.record(*index)?;
            let Some(outcome) = record.outcome().filter(|_| record.is_terminal()) else {
                continue;
            };
            let used = &outcome.decided.constitution;
            let slot = constitution_slot(used);
            let known = days.get(&slot).copied();
            let kept_days = match known {
                Some(known) => known,
                None => self.retention_days(&slot, used)?,
            };
            days.insert(slot, kept_days);
            let kept_ms = kept_days.map(|days| u64::from(days) * DAY_MS);
            return Ok(kept_ms.map(|ms| outcome.observed.ended_unix_ms.saturating_add(ms)));
        }
        Ok(None)
    }

    /// How many days the constitution in `slot` keeps payloads; `None`: for ever.
    fn retention_days(
        &self,
        slot: &str,
        used: &ConstitutionRef,
    ) -> Result<Option<u32>, LedgerError> {
        let index = self.find_slot(slot)?;
        let Some(Record {
            body: Body::Constitution { constitution, text },
            ..
        }) = index.map(|index| self.record(index)).transpose()?
        else {
            return Ok(None);
        };
        let text = self
            .payload(&text)?
            .filter(|_| constitution.digest == used.digest);
        let outline = text.and_then(|text| Outline::of(&text.bytes));
        let days = outline.map_or(0, |outline| outline.ledger.retention_days);
        Ok((days > 0).then_some(days.max(MIN_RETENTION_DAYS)))
    }
}
