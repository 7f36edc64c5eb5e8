//! `POST /v1/records`.

use std::sync::Arc;

use axiom_hive_core::record::{Record, Slot};
use axiom_hive_core::supervisor::Entry;
use axiom_hive_core::wire::{
    AppendEntry, AppendReply, AppendRequest, AppendResult, ErrorCode, MAX_APPEND_ENTRIES,
    StoredRecord,
};
use axum::extract::{Request, State};
use axum::{Extension, Json};

use super::authenticate::Caller;
use super::authorize::{Role, may_append};
use super::refusal::Refusal;
use super::service::{Received, Service};
use crate::ledger::{Appended, LedgerError};

pub(super) async fn append(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<AppendReply>, Refusal> {
    let role = caller.role()?;
    let received = service.receive(request).await?;
    let entries = parse(received).await?;
    for entry in &entries {
        authorize(&service, role, &entry.record)
            .await
            .inspect_err(|refusal| {
                tracing::warn!(
                    caller = caller.name,
                    why = refusal.message,
                    "an append was refused"
                );
            })?;
    }
    let appended = service.ledger.append_all(entries).await;
    let result = |appended: Result<Appended, LedgerError>| {
        let appended = appended.inspect_err(|error| {
            if matches!(error, LedgerError::Poisoned(_)) {
                // The log is the truth: the process ends, and the next one reads what is durable.
                service.stop.cancel();
            }
        })?;
        service
            .metrics
            .appended(&appended.record, appended.existing);
        Ok(AppendResult {
            existing: appended.existing,
            stored: StoredRecord::new(appended.index, appended.record, &appended.receipt),
        })
    };
    let results: Result<_, Refusal> = appended.into_iter().map(result).collect();
    Ok(Json(AppendReply { results: results? }))
}

/// Up to 56 MiB of base64 and JSON: not on a thread of the reactor.
async fn parse(received: Received) -> Result<Vec<Entry>, Refusal> {
    let parsed = tokio::task::spawn_blocking(move || {
        let parsed: Result<AppendRequest, _> = serde_json::from_slice(&received.bytes);
        parsed.map_err(|error| Refusal::malformed(format!("the body: {error}")))
    });
    let failed = |_| Refusal::new(ErrorCode::Internal, "the body could not be read");
    let request = parsed.await.map_err(failed)??;
    if !(1..=MAX_APPEND_ENTRIES).contains(&request.entries.len()) {
        let must = format!("entries must be 1..={MAX_APPEND_ENTRIES} records");
        return Err(Refusal::malformed(must));
    }
    let entry = |AppendEntry { record, payloads }| Entry { record, payloads };
    Ok(request.entries.into_iter().map(entry).collect())
}

async fn authorize(service: &Service, role: &Role, record: &Record) -> Result<(), Refusal> {
    let intent = match (role, record.task()) {
        (Role::Runner { .. }, Some(task)) => {
            let index = service.ledger.find(Slot::Intent(task.clone())).await?;
            match index {
                Some(index) => Some(service.ledger.record(index).await?),
                None => None,
            }
        }
        _ => None,
    };
    may_append(role, record, intent.as_ref()).map_err(Refusal::forbidden)
}
