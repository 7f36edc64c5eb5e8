//! Tasks that are gone: their open intents are closed as cancelled; of those that had ended it is recorded
//! that they were deleted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axiom_hive_core::record::{Body, StopEvent};
use futures_util::StreamExt as _;
use kube::api::{ListParams, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use tokio_util::sync::CancellationToken;

use super::{Context, ReconcileError};
use crate::api::SupervisedTask;

/// How often what was missed is looked for.
const SWEEP_INTERVAL: Duration = Duration::from_mins(10);
/// Open intents of one sweep; the next one goes on.
const MAX_OPEN: usize = 100_000;
/// Tasks of one page.
const PAGE: u32 = 500;

/// Records that a task is gone at the moment its object goes.
pub(super) async fn watch_deletions(context: Arc<Context>, shutdown: CancellationToken) {
    use kube::runtime::WatchStreamExt as _;
    let apis = context.everywhere::<PartialObjectMeta<SupervisedTask>>();
    let events = apis.into_iter().map(|api| {
        let events = kube::runtime::watcher(api, watcher::Config::default());
        events.default_backoff().boxed()
    });
    let events = futures_util::stream::select_all(events);
    let work = events.for_each(|event| async {
        match event {
            Ok(Event::Delete(task)) => {
                let uid = task.metadata.uid.unwrap_or_default();
                if let Err(error) = context.gone(&uid).await {
                    tracing::warn!(uid, %error, "not recorded as gone; the sweep cancels what had not ended");
                }
            }
            Ok(_) => {}
            // It goes on by itself; what was missed meanwhile is swept up.
            Err(error) => tracing::warn!(%error, "deleted tasks cannot be watched"),
        }
    });
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = work => {}
    }
}

/// What was missed while nobody watched, at start and every ten minutes.
pub(super) async fn sweep(context: Arc<Context>, shutdown: CancellationToken) {
    loop {
        if let Err(error) = context.sweep_once().await {
            tracing::warn!(%error, "sweep");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(SWEEP_INTERVAL) => {}
        }
    }
}

impl Context {
    /// Records that a task is gone: as cancelled, or where it had ended otherwise as deleted.
    async fn gone(&self, uid: &str) -> Result<(), ReconcileError> {
        let mut records = self.records(uid).await?;
        if !records.iter().any(|it| it.verified.record.is_terminal()) {
            let intents = records.iter().map(|it| &it.verified.record);
            let mut intents = intents.filter(|it| matches!(it.body, Body::Intent { .. }));
            let Some(last) = intents.next_back() else {
                return Ok(());
            };
            self.close(last, StopEvent::Cancel).await?;
            tracing::info!(uid, "the task is gone: ended");
            // Its pod may have been faster.
            records = self.records(uid).await?;
        }
        let mut ends = records.iter().map(|it| &it.verified);
        let end = ends.find(|it| it.record.is_terminal());
        match end {
            Some(end) if !matches!(end.record.body, Body::Cancelled(_)) => {
                self.deleted(&end.record, end.index).await
            }
            _ => Ok(()),
        }
    }

    async fn sweep_once(&self) -> Result<(), ReconcileError> {
        // The intents first: a task that comes later than its list cannot be among them.
        let mut open = Vec::new();
        let mut from = Some(0);
        while let Some(start) = from.filter(|_| open.len() < MAX_OPEN) {
            let page = self
                .ledger
                .open_intents(start, self.ledger_deadline())
                .await?;
            open.extend(page.intents);
            from = page.next;
        }
        if open.is_empty() {
            return Ok(());
        }
        let living = self.living().await?;
        for uid in open
            .iter()
            .map(|intent| &intent.task.uid)
            .filter(|uid| !living.contains(*uid))
        {
            self.gone(uid).await?;
        }
        Ok(())
    }

    /// The UIDs of all tasks that are there. One in a namespace that was taken off the list is not: nobody
    /// runs it any more.
    async fn living(&self) -> Result<BTreeSet<String>, ReconcileError> {
        let mut uids = BTreeSet::new();
        for api in self.everywhere::<SupervisedTask>() {
            let mut page = ListParams::default().limit(PAGE);
            loop {
                let list = api.list_metadata(&page).await?;
                uids.extend(list.items.into_iter().filter_map(|task| task.metadata.uid));
                match list.metadata.continue_.filter(|more| !more.is_empty()) {
                    Some(more) => page = page.continue_token(&more),
                    None => break,
                }
            }
        }
        Ok(uids)
    }
}
