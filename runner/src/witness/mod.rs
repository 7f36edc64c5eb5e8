//! A witness: it cosigns checkpoints of logs that it knows, each only if it extends the one before
//! (C2SP tlog-witness). Who asks for its cosignature can no longer show two people two histories.
//!
//! ```text
//! POST /add-checkpoint            cosign
//! GET  /<sha256 of origin>/checkpoint   what was cosigned last, for monitors
//! GET  /livez
//! ```
//!
//! It speaks plain HTTP: nothing that is said is secret, and what counts is signed. TLS is the business of
//! whatever stands before it.

mod state;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axiom_hive_core::tlog::policy::PolicyLog;
use axiom_hive_core::tlog::witness::{MAX_ADD_CHECKPOINT_BYTES, Refused};
use axiom_hive_core::tlog::{AddCheckpoint, SigningKey};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::ledger::storage::Storage;
pub use state::WitnessError;
use state::{Failed, Known};

/// Connections at once; further ones wait.
const MAX_CONNECTIONS: usize = 256;
/// How long the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Upper bound of a request's head, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// After an accept fails (too many open files), this long nothing is accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What a conflict is answered with (C2SP tlog-witness).
const SIZE_TYPE: &str = "text/x.tlog.size";

/// A witness with its key and what it knows.
pub struct Witness {
    known: Known,
    /// Set when the disk fails: what is on it is then unknown, and nothing more is cosigned.
    stop: CancellationToken,
}

impl Witness {
    /// Reads what was cosigned before. Of each log of `logs` there is one file in `storage`; one that this
    /// key did not cosign is refused.
    pub fn open(
        key: SigningKey,
        logs: &[PolicyLog],
        storage: Arc<dyn Storage>,
        stop: CancellationToken,
    ) -> Result<Self, WitnessError> {
        let known = Known::open(key, logs, storage)?;
        Ok(Self { known, stop })
    }

    /// Serves until it is stopped. Requests that are being answered then are cut off: whoever asked asks again.
    pub async fn serve(self, listener: TcpListener) {
        let stop = self.stop.clone();
        let router = Router::new()
            .route("/add-checkpoint", post(add_checkpoint))
            .route("/{log}/checkpoint", get(checkpoint))
            .route("/livez", get(async || "ok\n"))
            .with_state(Arc::new(self));
        tokio::select! {
            () = stop.cancelled() => {}
            () = accept(&listener, &router) => {}
        }
    }
}

async fn accept(listener: &TcpListener, router: &Router) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(permit) = Arc::clone(&connections).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    connection(stream, router).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let inner = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        hyper::service::Service::call(&inner, request.map(Body::new))
    });
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(error, "a connection ended early");
    }
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, request: Request) -> Response {
    let body = to_bytes(request.into_body(), MAX_ADD_CHECKPOINT_BYTES);
    let body = match timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => String::from_utf8(body.to_vec()).ok(),
        _ => None,
    };
    let request = body.ok_or(Refused::Malformed);
    let request = request.and_then(|body| AddCheckpoint::parse(&body));
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let answer = match request {
        Ok(request) => witness.known.cosign(request, now).await,
        Err(refused) => Err(refused.into()),
    };
    match answer {
        Ok(line) => line.into_response(),
        Err(Failed::Refused(refused)) => refusal(&refused),
        Err(Failed::Disk(error)) => {
            // It may be there or not: a start reads what is.
            tracing::error!(%error, "what is cosigned cannot be kept: the witness ends");
            witness.stop.cancel();
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn refusal(refused: &Refused) -> Response {
    let status = StatusCode::from_u16(refused.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Refused::Conflict { size } = refused {
        let kind = [(header::CONTENT_TYPE, SIZE_TYPE)];
        return (status, kind, format!("{size}\n")).into_response();
    }
    (status, format!("{refused}\n")).into_response()
}

async fn checkpoint(State(witness): State<Arc<Witness>>, Path(log): Path<String>) -> Response {
    match witness.known.last(&log).await {
        Some(note) => note.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
