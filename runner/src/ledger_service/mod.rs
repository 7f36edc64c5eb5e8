//! The ledger service: one ledger for many writers and readers, over HTTPS.
//!
//! `docs/LEDGER-API.md` describes what it says. The ledger itself decides nothing here: this is who may
//! ask it, how much, and how long.
//!
//! ```text
//! TLS ─► who? (token review · client certificate) ─► how often? ─► may they? ─► ledger ─► reply
//!        authenticate · token_review                 limits        authorize    write · read
//! ```

mod authenticate;
mod authorize;
mod config;
mod health;
mod limits;
mod listen;
mod metrics;
mod page;
mod read;
mod refusal;
mod service;
mod token_review;
mod witnessing;
mod write;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::{
    ClientConfig, ClientRole, Config, ConfigError, KubernetesConfig, LimitsConfig, WitnessesConfig,
};

use crate::ledger::{Handle, Ledger};
use crate::tls::ServerFiles;
use axiom_hive_client::tls::TlsError;
use listen::Certificate;
use refusal::Refusal;
use service::Service;

/// A service whose sockets are open and which serves nothing yet.
pub struct Bound {
    service: Arc<Service>,
    certificate: Certificate,
    listener: TcpListener,
    canary: TcpListener,
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Certificates, keys, authorities.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address is taken, or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Where the service is found.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// HTTPS.
    pub https: SocketAddr,
    /// The port that only greets.
    pub canary: SocketAddr,
}

impl Bound {
    /// Opens the sockets. `stop` ends the service; the service sets it itself when its disk fails.
    pub async fn new(
        ledger: Ledger,
        config: &Config,
        files: ServerFiles,
        addresses: Addresses,
        stop: CancellationToken,
    ) -> Result<Self, ServiceError> {
        let certificate = Certificate::load(files)?;
        let service = Service::new(Handle::new(ledger), config, stop)?;
        Ok(Self {
            service: Arc::new(service),
            certificate,
            listener: listen(addresses.https).await?,
            canary: listen(addresses.canary).await?,
        })
    }

    /// Where it listens, with the ports that the system chose for port 0.
    pub fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses {
            https: self.listener.local_addr()?,
            canary: self.canary.local_addr()?,
        })
    }

    /// Serves until it is stopped, and requests in flight have ended. The ledger is closed then.
    pub async fn serve(self) {
        let router = router(Arc::clone(&self.service));
        let canary = tokio::spawn(listen::canary(self.canary));
        let witnessing = tokio::spawn(witnessing::run(Arc::clone(&self.service)));
        let served = listen::serve(self.listener, router, &self.certificate, &self.service);
        tokio::select! {
            () = served => {}
            () = self.certificate.keep_fresh(&self.service) => {}
        }
        canary.abort();
        witnessing.abort();
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServiceError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| ServiceError::Listen { address, source })
}

fn router(service: Arc<Service>) -> Router {
    let nothing = || async { Refusal::not_found("no such path and method") };
    Router::new()
        .route("/v1/records", post(write::append))
        .route("/v1/records/{index}", get(read::record))
        .route("/v1/tasks/{uid}", get(read::task))
        .route(
            "/v1/constitutions/{name}/{version}",
            get(read::constitution),
        )
        .route("/v1/payloads/{address}", get(read::payload))
        .route("/v1/consistency", get(read::consistency))
        .route("/v1/intents/open", get(read::open_intents))
        .route("/checkpoint", get(read::checkpoint))
        .route("/v1/witnessed", get(read::witnessed))
        .route("/tile/{*path}", get(read::tile))
        .merge(page::routes())
        .route_layer(from_fn_with_state(Arc::clone(&service), service::admit))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(nothing)
        .method_not_allowed_fallback(nothing)
        .layer(from_fn_with_state(Arc::clone(&service), service::measure))
        .with_state(service)
}
