//! The webhook asks itself, over its own port, before it calls itself ready: a listener, a certificate
//! of the right name and a handler that refuses what is bad are then known to be there.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::certificate::Serving;
use super::http::PATH;

/// How long both questions together may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why the webhook does not work.
#[derive(Debug, thiserror::Error)]
pub(super) enum SelfReviewError {
    #[error("the webhook must answer itself within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("the webhook's name must be a DNS name or an address: {0}")]
    Name(#[from] rustls::pki_types::InvalidDnsNameError),
    #[error("the webhook must be reachable for itself: {0}")]
    Connect(#[from] std::io::Error),
    #[error("the webhook must speak TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the webhook must speak HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the webhook must take its own request: {0}")]
    Request(#[from] axum::http::Error),
    #[error("the webhook must answer with an AdmissionReview: {0}")]
    Answer(#[from] serde_json::Error),
    #[error("the webhook must allow a good constitution and refuse a bad one")]
    Verdict,
}

/// Asks about a good constitution and a bad one.
pub(super) async fn self_review(
    address: SocketAddr,
    name: &str,
    serving: &Serving,
) -> Result<(), SelfReviewError> {
    let both = async {
        let good = ask(address, name, serving, "ab").await?;
        let bad = ask(address, name, serving, "(").await?;
        if good && !bad {
            Ok(())
        } else {
            Err(SelfReviewError::Verdict)
        }
    };
    timeout(TIMEOUT, both)
        .await
        .unwrap_or(Err(SelfReviewError::Timeout))
}

async fn ask(
    address: SocketAddr,
    name: &str,
    serving: &Serving,
    pattern: &str,
) -> Result<bool, SelfReviewError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(Arc::clone(&serving.roots))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(reachable(address)).await?;
    let server = ServerName::try_from(name.to_owned())?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(server, stream)
        .await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let body = serde_json::to_vec(&question(pattern))?;
    let request = Request::post(PATH)
        .header(header::HOST, name)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, body.len())
        .body(Body::from(body))?;
    let answer = sender.send_request(request).await?;
    let answer = answer.into_body().collect().await?.to_bytes();
    let answer: Value = serde_json::from_slice(&answer)?;
    answer["response"]["allowed"]
        .as_bool()
        .ok_or(SelfReviewError::Verdict)
}

/// Who listens on every address is reached on the loopback one.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(it) if it.ip().is_unspecified() => {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        SocketAddr::V6(it) if it.ip().is_unspecified() => {
            address.set_ip(Ipv6Addr::LOCALHOST.into());
        }
        _ => {}
    }
    address
}

fn question(pattern: &str) -> Value {
    let name = "axh-self-review";
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": name,
            "kind": {"group": "axiomhive.io", "version": "v1alpha1", "kind": "Constitution"},
            "resource": {"group": "axiomhive.io", "version": "v1alpha1", "resource": "constitutions"},
            "name": name,
            "operation": "CREATE",
            "userInfo": {},
            "dryRun": true,
            "object": {
                "apiVersion": "axiomhive.io/v1alpha1",
                "kind": "Constitution",
                "metadata": {"name": name},
                "spec": {
                    "meta": {"name": name, "version": "0.0.0", "catalogue": 1},
                    "namespaces": {},
                    "interceptor": {"patterns": [{"id": "p", "pattern": pattern, "examples": ["ab"]}]},
                },
            },
        },
    })
}
