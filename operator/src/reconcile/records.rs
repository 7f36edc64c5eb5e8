//! The ledger, as the operator asks it.

use std::sync::Arc;

use axiom_hive_client::ledger::Proven;
use axiom_hive_core::constitution::Constitution;
use axiom_hive_core::digest::{Digest, to_hex};
use axiom_hive_core::interceptor::HashKey;
use axiom_hive_core::record::{Body, Observed, ObservedIntent, Record, Salts, StopEvent, TaskRef};
use axiom_hive_core::supervisor::{
    Command, Done, Entry, IntentBy, Prepared, Supervisor, Task, closed, concluded,
};
use axiom_hive_core::task::TaskSpec;
use k8s_openapi::jiff::Timestamp;

use super::{Context, ReconcileError};
use crate::api::task::LedgerPointer;

/// What an attempt's intent needs to say.
pub(super) struct Intention<'a> {
    pub(super) spec: &'a TaskSpec,
    pub(super) prepared: &'a Prepared,
    pub(super) task: TaskRef,
    /// `None` as long as the pod is not there: the spec's digest does not depend on it.
    pub(super) pod_uid: Option<&'a str>,
}

impl Context {
    /// The record and payloads of an intent. Salts are derived, so that the same attempt has the same ones
    /// after a restart.
    pub(super) fn intent(&self, intention: Intention<'_>) -> Result<Entry, ReconcileError> {
        let task = Task {
            spec: intention.spec.clone(),
            salts: Salts::of_attempt(&self.settings.salt_key, &intention.task),
            reference: intention.task,
            // The supervisor takes one of its own.
            hash_key: HashKey([0; 32]),
        };
        let observed = ObservedIntent {
            at_unix_ms: unix_ms(Timestamp::now()),
            build: self.build.clone(),
            pod_uid: intention.pod_uid.map(str::to_owned),
        };
        let by = IntentBy::Machine(observed);
        let (_, commands) = Supervisor::new(intention.prepared, &task, by, false)?;
        let first = commands.into_iter().next();
        match first {
            Some(Command::Append(entry)) => Ok(entry),
            _ => Err(ReconcileError::Unexpected(
                "a task must begin with an intent".to_owned(),
            )),
        }
    }

    /// Every record of a task, by index.
    pub(super) async fn records(&self, uid: &str) -> Result<Vec<Proven>, ReconcileError> {
        Ok(self.ledger.task(uid, self.ledger_deadline()).await?)
    }

    /// Ends a task that nobody decided. Gives the record that fills the slot.
    pub(super) async fn close(
        &self,
        intent: &Record,
        stop: StopEvent,
    ) -> Result<Record, ReconcileError> {
        let observed = Observed::nothing_ran(self.build.clone(), unix_ms(Timestamp::now()));
        let record = closed(intent, stop, observed);
        let record =
            record.ok_or_else(|| ReconcileError::Unexpected("an intent is expected".to_owned()))?;
        self.end(record).await
    }

    /// Ends a task with what its attempt recorded of its failure. Gives the record that fills the slot.
    pub(super) async fn conclude(
        &self,
        records: &[Proven],
        attempt: u32,
    ) -> Result<Record, ReconcileError> {
        let mut ends = records
            .iter()
            .filter_map(|it| concluded(&it.verified.record));
        let end = ends.find(|end| end.task().is_some_and(|task| task.attempt == attempt));
        let end = end.ok_or_else(|| {
            ReconcileError::Unexpected("the record of an attempt is expected".to_owned())
        })?;
        self.end(end).await
    }

    /// Records that the object of a task, which `end` at `ended_index` ended, was deleted.
    pub(super) async fn deleted(
        &self,
        end: &Record,
        ended_index: u64,
    ) -> Result<(), ReconcileError> {
        let Some(task) = end.task() else {
            return Ok(());
        };
        let deleted = Record::new(Body::Deleted {
            task: task.clone(),
            ended_index,
            at_unix_ms: unix_ms(Timestamp::now()),
        });
        self.end(deleted).await.map(drop)
    }

    /// The payloads of such a record are those of earlier ones.
    async fn end(&self, record: Record) -> Result<Record, ReconcileError> {
        let entry = Entry {
            record,
            payloads: Vec::new(),
        };
        Ok(self
            .ledger
            .append(&entry, self.ledger_deadline())
            .await?
            .proven
            .verified
            .record)
    }

    /// The text that a terminal record releases; `None` when it shows none, or it is no longer kept.
    pub(super) async fn answer(
        &self,
        record: &Record,
        uid: &str,
    ) -> Result<Option<String>, ReconcileError> {
        let answer = record
            .outcome()
            .and_then(|outcome| outcome.decided.answer.as_ref());
        let Some(answer) = answer else {
            return Ok(None);
        };
        let payload = self
            .ledger
            .payload(&answer.text, self.ledger_deadline())
            .await?;
        let Some(payload) = payload else {
            return Ok(None);
        };
        let done = Done::stored(record.clone(), uid, Some(&payload))?;
        Ok(done.released.map(|released| released.text().to_owned()))
    }

    /// A constitution ready to decide: from memory, or with its text from the ledger.
    pub(super) async fn ready(
        &self,
        name: &str,
        version: &str,
        digest: Digest,
        content: Option<Arc<Constitution>>,
    ) -> Result<Arc<Prepared>, ReconcileError> {
        if let Some(prepared) = self.prepared(&digest) {
            return Ok(prepared);
        }
        let constitution = match content {
            Some(content) => (*content).clone(),
            None => self.archived(name, version).await?,
        };
        if constitution.digest() != digest {
            let must = format!("constitution {name} {version} must have the digest {digest}");
            return Err(ReconcileError::Unexpected(must));
        }
        let prepared = Arc::new(Prepared::new(constitution)?);
        self.remember_prepared(Arc::clone(&prepared));
        Ok(prepared)
    }

    /// The text that the ledger holds of a version.
    async fn archived(&self, name: &str, version: &str) -> Result<Constitution, ReconcileError> {
        let gone = || {
            ReconcileError::Unexpected(format!(
                "the ledger must hold constitution {name} {version}"
            ))
        };
        let deadline = self.ledger_deadline();
        let record = self.ledger.constitution(name, version, deadline).await?;
        let Some(Body::Constitution { text, .. }) =
            record.map(|proven| proven.verified.record.body)
        else {
            return Err(gone());
        };
        let payload = self
            .ledger
            .payload(&text, deadline)
            .await?
            .ok_or_else(gone)?;
        Constitution::from_canonical(&payload.bytes).map_err(|_| gone())
    }

    /// Where a record is, for a status.
    pub(super) fn pointer(&self, proven: &Proven) -> LedgerPointer {
        let hash = proven.receipt.leaf();
        LedgerPointer {
            origin: self.settings.runner.ledger.origin(),
            index: i64::try_from(proven.verified.index).unwrap_or(i64::MAX),
            leaf_hash: to_hex(&hash.0),
            vkey: Some(self.settings.runner.ledger.vkey.clone()),
        }
    }
}

/// Milliseconds since the Unix epoch; 0 before it.
pub(super) fn unix_ms(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}
