//! Records, receipts, payloads, proofs.

use std::sync::Arc;

use axiom_hive_core::digest::from_hex_32;
use axiom_hive_core::record::{Body, Commitment, Record, Slot};
use axiom_hive_core::tlog::Tile;
use axiom_hive_core::wire::{
    ConsistencyReply, ErrorCode, MAX_REPLY_INTENTS, MAX_REPLY_RECORDS, OpenIntentRef,
    OpenIntentsReply, StoredRecord, TaskReply,
};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, header};
use axum::{Extension, Json};
use serde::Deserialize;

use super::authenticate::Caller;
use super::authorize::{Role, may_read};
use super::refusal::Refusal;
use super::service::Service;
use super::witnessing::Witnessing;

type Shared = State<Arc<Service>>;
type QueryOf<T> = Result<Query<T>, QueryRejection>;

const BYTES: (HeaderName, &str) = (header::CONTENT_TYPE, "application/octet-stream");
const IMMUTABLE: (HeaderName, &str) =
    (header::CACHE_CONTROL, "public, max-age=31536000, immutable");
/// The head changes with every append; a reader may be this far behind.
const BRIEF: (HeaderName, &str) = (header::CACHE_CONTROL, "public, max-age=1");
/// A signed note.
const TEXT: (HeaderName, &str) = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
/// Payloads are for whoever asked.
const PRIVATE: (HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

pub(super) async fn checkpoint(
    State(service): Shared,
) -> Result<([(HeaderName, &'static str); 2], String), Refusal> {
    let checkpoint = service.ledger.checkpoint().await?;
    let text = checkpoint.ok_or_else(|| Refusal::not_found("the ledger has no record yet"))?;
    let text = match &service.witnessing {
        Some(witnessing) => witnessing.cosigned(text),
        None => text,
    };
    Ok(([TEXT, BRIEF], text))
}

/// The newest checkpoint that enough witnesses cosigned.
pub(super) async fn witnessed(
    State(service): Shared,
) -> Result<([(HeaderName, &'static str); 2], String), Refusal> {
    let newest = service.witnessing.as_ref().and_then(Witnessing::newest);
    let none = || Refusal::not_found("no checkpoint is cosigned by enough witnesses yet");
    Ok(([TEXT, BRIEF], newest.ok_or_else(none)?))
}

pub(super) async fn tile(
    State(service): Shared,
    Path(path): Path<String>,
) -> Result<([(HeaderName, &'static str); 2], Vec<u8>), Refusal> {
    let tile: Tile = format!("tile/{path}").parse().map_err(Refusal::not_found)?;
    let content = service.ledger.tile(tile).await?;
    let missing = || Refusal::not_found("the ledger has not grown over this tile");
    Ok(([BYTES, IMMUTABLE], content.ok_or_else(missing)?))
}

pub(super) async fn record(
    State(service): Shared,
    Path(index): Path<String>,
) -> Result<Json<StoredRecord>, Refusal> {
    let index = number(&index)?;
    stored(&service, index).await.map(Json)
}

pub(super) async fn constitution(
    State(service): Shared,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<StoredRecord>, Refusal> {
    let index = service
        .ledger
        .find(Slot::Constitution { name, version })
        .await?;
    let unknown = || Refusal::not_found("no such constitution is recorded");
    stored(&service, index.ok_or_else(unknown)?).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    #[serde(default)]
    from: u64,
}

pub(super) async fn task(
    State(service): Shared,
    Path(uid): Path<String>,
    query: QueryOf<From>,
) -> Result<Json<TaskReply>, Refusal> {
    let Query(From { from }) = query.map_err(Refusal::malformed)?;
    let mut indices = service.ledger.task(uid).await?;
    indices.retain(|index| *index >= from);
    let next = indices.get(MAX_REPLY_RECORDS).copied();
    let mut records = Vec::new();
    for index in indices.into_iter().take(MAX_REPLY_RECORDS) {
        records.push(stored(&service, index).await?);
    }
    Ok(Json(TaskReply { records, next }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sizes {
    from: u64,
    to: u64,
}

pub(super) async fn consistency(
    State(service): Shared,
    query: QueryOf<Sizes>,
) -> Result<Json<ConsistencyReply>, Refusal> {
    let Query(Sizes { from, to }) = query.map_err(Refusal::malformed)?;
    let hashes = service.ledger.consistency(from, to).await?;
    let must = "a consistency proof needs 1 <= from <= to <= the ledger's size";
    let hashes = hashes.ok_or_else(|| Refusal::malformed(must))?;
    Ok(Json(ConsistencyReply { from, to, hashes }))
}

pub(super) async fn open_intents(
    State(service): Shared,
    Extension(caller): Extension<Caller>,
    query: QueryOf<From>,
) -> Result<Json<OpenIntentsReply>, Refusal> {
    if *caller.role()? != Role::Operator {
        return Err(Refusal::forbidden("open intents are for the operator"));
    }
    let Query(From { from }) = query.map_err(Refusal::malformed)?;
    let mut open = service.ledger.open_intents().await?;
    open.retain(|intent| intent.index >= from);
    let next = open.get(MAX_REPLY_INTENTS).map(|intent| intent.index);
    let intents = open.into_iter().take(MAX_REPLY_INTENTS);
    let intents = intents.map(|open| OpenIntentRef {
        task: open.task,
        index: open.index,
    });
    Ok(Json(OpenIntentsReply {
        intents: intents.collect(),
        next,
    }))
}

pub(super) async fn payload(
    State(service): Shared,
    Extension(caller): Extension<Caller>,
    Path(address): Path<String>,
) -> Result<([(HeaderName, &'static str); 2], Vec<u8>), Refusal> {
    let role = caller.role()?;
    let must = "a payload's address must be 64 lowercase hexadecimal digits";
    let address = from_hex_32(&address).ok_or_else(|| Refusal::malformed(must))?;
    let commitment = Commitment(address);
    let unknown = || Refusal::not_found("no such payload is kept for this caller");
    let holder = service
        .ledger
        .holder(commitment)
        .await?
        .ok_or_else(unknown)?;
    let record = service.ledger.record(holder).await?;
    let intents = intents_of(&service, role, &record).await?;
    if !may_read(role, &record, &intents) {
        // Whether it exists is not for this caller either.
        return Err(unknown());
    }
    let payload = service.ledger.payload(commitment).await?;
    let erased = || Refusal::new(ErrorCode::Gone, "the payload was erased");
    Ok(([BYTES, PRIVATE], payload.ok_or_else(erased)?.encode()))
}

/// Only a runner's permission depends on them.
async fn intents_of(
    service: &Service,
    role: &Role,
    record: &Record,
) -> Result<Vec<Record>, Refusal> {
    let (Role::Runner { .. }, Some(task)) = (role, record.task()) else {
        return Ok(Vec::new());
    };
    let mut intents = Vec::new();
    for index in service.ledger.task(task.uid.clone()).await? {
        let record = service.ledger.record(index).await?;
        if matches!(record.body, Body::Intent { .. }) {
            intents.push(record);
        }
    }
    Ok(intents)
}

async fn stored(service: &Service, index: u64) -> Result<StoredRecord, Refusal> {
    let receipt = service.ledger.receipt(index).await?;
    let record = Record::from_canonical(receipt.entry())
        .map_err(|error| Refusal::new(ErrorCode::Internal, error))?;
    Ok(StoredRecord::new(index, record, &receipt))
}

fn number(text: &str) -> Result<u64, Refusal> {
    let number = text.parse().ok().filter(|n: &u64| n.to_string() == text);
    number.ok_or_else(|| Refusal::malformed("an index must be a decimal number"))
}
