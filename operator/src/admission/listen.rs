//! The socket: TLS with the certificate of the moment, HTTP/1.1 and HTTP/2, and the end.

use std::sync::Arc;
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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::certificate::Serving;

/// How long a TLS handshake, or the head of a request, may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle HTTP/2 connection is asked whether it is still there this often.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// Connections at once: each API server keeps a few.
const MAX_CONNECTIONS: usize = 256;
/// Requests of one connection at once.
const MAX_STREAMS: u32 = 64;
/// Upper bound of a request's head, in bytes.
const MAX_HEAD_BYTES: u32 = 32 * 1024;
/// After an accept fails (too many open files), this long nothing is accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long requests in flight may take at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until `shutdown`, then lets requests in flight end. Connections wait until there is a
/// certificate.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    mut serving: watch::Receiver<Option<Serving>>,
    shutdown: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &connections, &mut serving) => accepted,
        };
        match accepted {
            Some((stream, acceptor, permit)) => {
                let (router, watcher) = (router.clone(), graceful.watcher());
                tokio::spawn(async move {
                    let _permit = permit;
                    if let Err(error) = connection(stream, &acceptor, router, watcher).await {
                        tracing::debug!(error, "a connection ended early");
                    }
                });
            }
            None => sleep(ACCEPT_PAUSE).await,
        }
    }
    drop(listener);
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still in flight at the end");
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
    serving: &mut watch::Receiver<Option<Serving>>,
) -> Option<(TcpStream, TlsAcceptor, OwnedSemaphorePermit)> {
    serving.wait_for(Option::is_some).await.ok()?;
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    let accepted = listener.accept().await;
    let (stream, _) = accepted
        .inspect_err(|error| tracing::warn!(%error, "a connection could not be accepted"))
        .ok()?;
    stream.set_nodelay(true).ok()?;
    let config = serving.borrow().as_ref()?.config.clone();
    Some((stream, TlsAcceptor::from(config), permit))
}

async fn connection(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    router: Router,
    watcher: Watcher,
) -> Result<(), String> {
    let stream = timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await;
    let stream = stream.map_err(|_| "the handshake took too long".to_owned())?;
    let stream = stream.map_err(|error| error.to_string())?;
    let inner = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| inner.call(request.map(Body::new)));
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
