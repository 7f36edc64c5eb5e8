//! `/livez`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axiom_hive_core::wire::ErrorCode;
use axum::extract::State;
use axum::http::{HeaderName, header};

use super::metrics::CONTENT_TYPE;
use super::refusal::Refusal;
use super::service::Service;

pub(super) async fn live() -> &'static str {
    "ok\n"
}

pub(super) async fn ready(State(service): State<Arc<Service>>) -> Result<&'static str, Refusal> {
    if service.stop.is_cancelled() {
        return Err(Refusal::unavailable("the service is about to stop"));
    }
    if service.ledger.read_only().await?.is_empty() {
        Ok("ok\n")
    } else {
        let message = "the ledger is read-only; the log says why";
        Err(Refusal::new(ErrorCode::ReadOnly, message))
    }
}

pub(super) async fn metrics(
    State(service): State<Arc<Service>>,
) -> Result<([(HeaderName, &'static str); 1], String), Refusal> {
    let records = service.ledger.size().await?;
    let is_writable = service.ledger.read_only().await?.is_empty();
    let text = service
        .metrics
        .text(records, is_writable, service.body_bytes_in_flight());
    let failed = |_| Refusal::new(ErrorCode::Internal, "the metrics could not be written");
    Ok((
        [(header::CONTENT_TYPE, CONTENT_TYPE)],
        text.map_err(failed)?,
    ))
}
