//! Sockets: TLS, HTTP/1.1 and HTTP/2, the canary, and the end.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::authenticate::Peer;
use super::metrics::ReloadLabels;
use super::service::Service;
use crate::tls::ServerFiles;
use axiom_hive_client::tls::TlsError;

/// How long a TLS handshake, or the head of a request, may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the certificate files are looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// An idle HTTP/2 connection is asked whether it is still there this often.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Requests of one connection at once.
const MAX_STREAMS: u32 = 64;
/// Upper bound of a request's head, in bytes.
const MAX_HEAD_BYTES: u32 = 32 * 1024;
/// What the canary port says.
const GREETING: &[u8] = b"axiom-hive canary\n";
/// After an accept fails (too many open files), this long nothing is accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The certificate in use, and the files it came from.
pub(super) struct Certificate {
    files: ServerFiles,
    current: RwLock<Arc<ServerConfig>>,
}

impl Certificate {
    pub(super) fn load(files: ServerFiles) -> Result<Self, TlsError> {
        let current = RwLock::new(Arc::new(files.load()?));
        Ok(Self { files, current })
    }

    fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over changed files as soon as they go together; until then the old ones stay.
    pub(super) async fn keep_fresh(&self, service: &Service) {
        let mut seen = self.files.read().ok();
        loop {
            sleep(RELOAD_INTERVAL).await;
            let now = self.files.read().ok();
            if now.is_none() || now == seen {
                continue;
            }
            let result = match self.files.load() {
                Ok(config) => {
                    let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                    *current = Arc::new(config);
                    tracing::info!("the certificate was replaced");
                    "ok"
                }
                Err(error) => {
                    tracing::error!(%error, "the changed certificate is not used");
                    "error"
                }
            };
            seen = now;
            let labels = ReloadLabels { result };
            service
                .metrics
                .certificate_reloads
                .get_or_create(&labels)
                .inc();
        }
    }
}

/// Serves until the service is to stop, then lets requests in flight end within the limit.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    certificate: &Certificate,
    service: &Arc<Service>,
) {
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(service.limits.connections as usize));
    loop {
        let accepted = tokio::select! {
            biased;
            () = service.stop.cancelled() => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let (stream, address, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let acceptor = TlsAcceptor::from(certificate.current());
        let (router, watcher) = (router.clone(), graceful.watcher());
        let open = service.metrics.connections.clone();
        tokio::spawn(async move {
            let _permit = permit;
            open.inc();
            if let Err(error) = connection(stream, address, &acceptor, router, watcher).await {
                tracing::debug!(%address, error, "a connection ended early");
            }
            open.dec();
        });
    }
    drop(listener);
    let limit = Duration::from_secs(service.limits.drain_seconds.into());
    if timeout(limit, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still in flight at the end");
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await;
    let permit = permit.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, address, permit))
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: &TlsAcceptor,
    router: Router,
    watcher: Watcher,
) -> Result<(), String> {
    let stream = timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await;
    let stream = stream.map_err(|_| "the handshake took too long".to_owned())?;
    let stream = stream.map_err(|error| error.to_string())?;
    let certificates = stream.get_ref().1.peer_certificates();
    let peer = Peer {
        address: address.ip().to_canonical(),
        names: certificates.map_or_else(|| Arc::from([]), names_of),
    };
    let inner = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        inner.call(request.map(Body::new))
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let served = watcher.watch(connection.into_owned()).await;
    served.map_err(|error| error.to_string())
}

/// The DNS names and URIs of a client's certificate, which was verified in the handshake.
fn names_of(chain: &[CertificateDer<'_>]) -> Arc<[String]> {
    let Some(Ok(certificate)) = chain.first().map(webpki::EndEntityCert::try_from) else {
        return Arc::from([]);
    };
    let names = certificate
        .valid_dns_names()
        .chain(certificate.valid_uri_names());
    names.map(str::to_owned).collect()
}

/// Greets whoever gets through, and nothing else.
pub(super) async fn canary(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((mut stream, _)) => {
                // A new connection has room for one line; whoever is gone already misses nothing.
                let _ = timeout(ACCEPT_PAUSE, stream.write_all(GREETING)).await;
            }
            Err(error) => {
                tracing::warn!(%error, "the canary could not accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
