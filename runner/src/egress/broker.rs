//! The proxy itself: connections in, connections out.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::http as plain_http;
use super::journal::Journal;
use super::rules::{Destination, Host, Refusal, Rules};
use super::tunnel::{Allowance, client_hello, pump};

/// Connections at the same time.
pub const MAX_CONNECTIONS: usize = 64;
/// Bytes both ways, over all connections of an attempt: 4 GiB.
pub const MAX_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// A request's head, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long a request's head, a look-up and a connection may take, each.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The broker of one attempt. It ends when dropped, with every connection.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    shared: Arc<Shared>,
    _connections: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    rules: Rules,
    journal: Journal,
    allowance: Arc<Allowance>,
    slots: Arc<Semaphore>,
}

impl Broker {
    /// Begins to serve `listener`, which must be on loopback.
    pub fn start(listener: TcpListener, rules: Rules) -> io::Result<Self> {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            return Err(io::Error::other("the broker must listen on loopback"));
        }
        let shared = Arc::new(Shared {
            journal: Journal::new(rules.len()),
            rules,
            allowance: Allowance::new(MAX_BYTES),
            slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        });
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            _connections: connections,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was asked of it.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }
}

/// One task an accepted connection; they end with the set.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        // A full house lets callers wait in the kernel's queue, which is bounded too.
        let Ok(slot) = Arc::clone(&shared.slots).acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or a caller that is gone already: both pass, the first in its time.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            serve(stream, shared).await;
            drop(slot);
        });
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let (tunnels, mut asked) = tokio::sync::mpsc::channel(1);
    let service = service_fn(move |request| {
        let (shared, tunnels) = (Arc::clone(&shared), tunnels.clone());
        async move {
            let reply = match answer(request, &shared, &tunnels).await {
                Ok(reply) => reply,
                Err(refused) => {
                    if let Failed::Refused(why) = refused {
                        shared.journal.refused(why);
                    }
                    refused.reply()
                }
            };
            Ok::<_, Infallible>(reply)
        }
    });
    let connection = server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(STEP_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // What a runtime does to its own connection is its own affair.
    let _ = connection.await;
    if let Some(tunnel) = asked.recv().await {
        run_tunnel(tunnel).await;
    }
}

fn whole(text: String) -> Body {
    Full::from(text)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Why a request was not served.
enum Failed {
    Refused(Refusal),
    Unreachable,
}

impl From<Refusal> for Failed {
    fn from(why: Refusal) -> Self {
        Self::Refused(why)
    }
}

impl Failed {
    fn reply(&self) -> Response<Body> {
        let (status, text) = match self {
            Self::Refused(Refusal::Malformed) => {
                (StatusCode::BAD_REQUEST, Refusal::Malformed.to_string())
            }
            Self::Refused(why) => (StatusCode::FORBIDDEN, why.to_string()),
            Self::Unreachable => (
                StatusCode::BAD_GATEWAY,
                "the host could not be reached".to_owned(),
            ),
        };
        let mut reply = Response::new(whole(format!("axiom-hive egress: {text}\n")));
        *reply.status_mut() = status;
        // Whoever is refused begins anew: nothing that followed in the same breath is read.
        reply
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
        reply
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: &Arc<Shared>,
    tunnels: &tokio::sync::mpsc::Sender<Tunnel>,
) -> Result<Response<Body>, Failed> {
    let is_tunnel = request.method() == Method::CONNECT;
    let to = if is_tunnel {
        let authority = request.uri().authority().ok_or(Refusal::Malformed)?;
        shared.journal.asked(authority.as_str());
        Destination::parse(authority.as_str(), None).ok_or(Refusal::Malformed)?
    } else {
        if let Some(authority) = request.uri().authority() {
            shared.journal.asked(authority.as_str());
        }
        plain_http::destination(&request)?
    };
    let target = shared.rules.admit(&to)?;
    let upstream = connect(shared, target, &to).await?;
    if is_tunnel {
        let tunnel = Tunnel {
            upgrade: hyper::upgrade::on(request),
            upstream,
            to,
            target,
            shared: Arc::clone(shared),
        };
        // One request a connection can be a tunnel, and there is room for one.
        tunnels.try_send(tunnel).map_err(|_| Refusal::Malformed)?;
        return Ok(Response::new(whole(String::new())));
    }
    forward(request, upstream, target, shared).await
}

/// Looks a name up and connects to the first of its addresses that is allowed and answers.
async fn connect(shared: &Shared, target: usize, to: &Destination) -> Result<TcpStream, Failed> {
    let addresses: Vec<SocketAddr> = match &to.host {
        Host::Address(address) => vec![SocketAddr::new(*address, to.port)],
        Host::Name(name) => {
            match timeout(STEP_TIMEOUT, lookup_host((name.as_str(), to.port))).await {
                Ok(Ok(found)) => found.take(MAX_ADDRESSES).collect(),
                _ => Vec::new(),
            }
        }
    };
    let mut failed = Failed::Unreachable;
    for address in addresses {
        if let Err(why) = shared.rules.admit_address(target, address.ip(), to.port) {
            failed = Failed::Refused(why);
            continue;
        }
        if let Ok(Ok(stream)) = timeout(STEP_TIMEOUT, TcpStream::connect(address)).await {
            shared.journal.connected(target);
            return Ok(stream);
        }
        failed = Failed::Unreachable;
    }
    if matches!(failed, Failed::Unreachable) {
        shared.journal.unreachable(target);
    }
    Err(failed)
}

/// A tunnel that was promised with a 200.
struct Tunnel {
    upgrade: hyper::upgrade::OnUpgrade,
    upstream: TcpStream,
    to: Destination,
    target: usize,
    shared: Arc<Shared>,
}

async fn run_tunnel(tunnel: Tunnel) {
    let Ok(upgraded) = tunnel.upgrade.await else {
        return;
    };
    let journal = &tunnel.shared.journal;
    let mut inside = TokioIo::new(upgraded);
    let hello = match client_hello(&mut inside, &tunnel.to).await {
        Ok(hello) => hello,
        Err(why) => return journal.refused(why),
    };
    let (from_inside, to_inside) = tokio::io::split(inside);
    let (from_outside, to_outside) = tunnel.upstream.into_split();
    let from_inside = tokio::io::AsyncReadExt::chain(&hello[..], from_inside);
    let allowance = &tunnel.shared.allowance;
    // Either side may end first; the other is heard to its end.
    let (out, back) = tokio::join!(
        pump(from_inside, to_outside, allowance, |bytes| journal.moved(
            tunnel.target,
            bytes,
            0
        )),
        pump(from_outside, to_inside, allowance, |bytes| journal.moved(
            tunnel.target,
            0,
            bytes
        )),
    );
    if [out, back].into_iter().any(is_limit) {
        journal.refused(Refusal::Limit);
    }
}

fn is_limit(result: io::Result<()>) -> bool {
    result.is_err_and(|error| {
        error
            .get_ref()
            .is_some_and(<dyn std::error::Error + Send + Sync>::is::<Refusal>)
    })
}

/// Sends one request on and its reply back.
async fn forward(
    request: Request<Incoming>,
    upstream: TcpStream,
    target: usize,
    shared: &Arc<Shared>,
) -> Result<Response<Body>, Failed> {
    let (mut sender, connection) = client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(upstream))
        .await
        .map_err(|_| Failed::Unreachable)?;
    let connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let (out, back) = (Arc::clone(shared), Arc::clone(shared));
    let request = plain_http::onward(request)
        .map(|body| metered(body, move |bytes| out.moved(target, bytes, 0)));
    let mut reply = sender
        .send_request(request)
        .await
        .map_err(|_| Failed::Unreachable)?;
    plain_http::strip(reply.headers_mut());
    Ok(reply.map(|body| {
        metered(body, move |bytes| {
            // The connection lives as long as the body that is read from it.
            let _ = &connection;
            back.moved(target, 0, bytes)
        })
    }))
}

/// A body whose bytes are counted as they pass, and which breaks off where `count` says so.
fn metered(
    body: Incoming,
    count: impl Fn(usize) -> Result<(), Refusal> + Send + Sync + 'static,
) -> Body {
    let frames = BodyStream::new(body).map(move |frame| {
        let frame = frame.map_err(io::Error::other)?;
        if let Some(data) = frame.data_ref() {
            count(data.len()).map_err(io::Error::other)?;
        }
        Ok(frame)
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Shared {
    /// Counts bytes of a plain request, while there is an allowance for them.
    fn moved(&self, target: usize, sent: usize, received: usize) -> Result<(), Refusal> {
        if !self.allowance.take(sent + received) {
            self.journal.refused(Refusal::Limit);
            return Err(Refusal::Limit);
        }
        self.journal.moved(target, sent as u64, received as u64);
        Ok(())
    }
}
