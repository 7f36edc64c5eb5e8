//! Runtimes that are a service: a shared client with the bounds that both kinds need.
//!
//! TLS is rustls with the ring provider, given explicitly so that no other crate's choice of a
//! process-wide provider matters. Roots come from the system's store (`SSL_CERT_FILE` is honoured),
//! so that a platform's private authority works and nothing built in ages. Proxies from the
//! environment are not used: a prompt goes to the address that the task names and nowhere else. Where an
//! egress broker serves the runtime (in a pod), every call goes through it.

mod key;
mod openai;
mod service;

use std::sync::Arc;
use std::time::Duration;

use axiom_hive_core::record::BranchError;
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Proxy, Response, StatusCode, Url};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

pub use key::{ApiKey, ApiKeyError};
pub(super) use openai::OpenAi;
pub(super) use service::HttpService;

use super::build::RuntimeError;
use super::model::{BranchFailure, too_long};

/// The longest URL, in bytes.
const MAX_URL_BYTES: usize = 2048;
/// To be connected, TLS included; a branch's deadline may come earlier.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Redirects that are followed, all on the same host.
const MAX_REDIRECTS: usize = 3;
/// JSON writes a byte of text as at most `\u00XX`.
const JSON_GROWTH: usize = 6;
/// Room in a reply for everything but the text.
const REPLY_OVERHEAD_BYTES: usize = 64 * 1024;
/// The longest list of a task's own certificate authorities, in bytes.
const MAX_CA_BUNDLE_BYTES: usize = 65_536;
/// How much of an error's body is kept as detail.
const MAX_ERROR_BODY_BYTES: usize = 2048;

/// `http` or `https`, with a host, without user name and password.
fn parse_url(what: &str, text: &str) -> Result<Url, RuntimeError> {
    let invalid = |must: &str| RuntimeError::Invalid {
        what: what.to_owned(),
        must: must.to_owned(),
    };
    if text.len() > MAX_URL_BYTES {
        return Err(invalid("must be at most 2048 bytes"));
    }
    let url = Url::parse(text).map_err(|_| invalid("must be a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid("must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("must not contain a user name or a password"));
    }
    Ok(url)
}

/// A client for `url`. `ca_bundle` is PEM and stands in place of the system's authorities; `broker_port`
/// is that of the egress broker, where there is one.
fn client(
    url: &Url,
    ca_bundle: Option<&str>,
    broker_port: Option<u16>,
) -> Result<Client, RuntimeError> {
    let tls = |e: &dyn std::fmt::Display| RuntimeError::Tls(e.to_string());
    let mut roots = RootCertStore::empty();
    if let Some(pem) = ca_bundle {
        add_authorities(&mut roots, pem)?;
    } else if url.scheme() == "https" {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(tls(
                &"the system's store of certificate authorities must not be empty",
            ));
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| tls(&e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut builder = Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy();
    if let Some(port) = broker_port {
        let broker = Proxy::all(format!("http://127.0.0.1:{port}"));
        builder = builder.proxy(broker.map_err(|e| tls(&e))?);
    }
    builder
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(Policy::custom(same_host))
        .referer(false)
        .user_agent(concat!("axiom-hive/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| tls(&e))
}

fn add_authorities(roots: &mut RootCertStore, pem: &str) -> Result<(), RuntimeError> {
    let invalid = || RuntimeError::Invalid {
        what: "runtime.caBundle".to_owned(),
        must: format!("must be 1 or more certificates as PEM, at most {MAX_CA_BUNDLE_BYTES} bytes"),
    };
    if pem.len() > MAX_CA_BUNDLE_BYTES {
        return Err(invalid());
    }
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| invalid())?;
        roots.add(certificate).map_err(|_| invalid())?;
    }
    if roots.is_empty() {
        return Err(invalid());
    }
    Ok(())
}

/// Follows only where method, body and destination stay the same; anything else is given back as it
/// is, and is an error status.
fn same_host(attempt: Attempt<'_>) -> Action {
    let keeps_the_body = matches!(attempt.status().as_u16(), 307 | 308);
    let same = attempt.previous().first().is_some_and(|first| {
        let next = attempt.url();
        (first.scheme(), first.host(), first.port_or_known_default())
            == (next.scheme(), next.host(), next.port_or_known_default())
    });
    if keeps_the_body && same && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

fn transport(error: &reqwest::Error) -> BranchFailure {
    use std::error::Error as _;
    let kind = if error.is_connect() || error.is_builder() {
        BranchError::Unavailable
    } else {
        BranchError::Lost
    };
    let mut detail = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        detail = format!("{detail}: {cause}");
        source = cause.source();
    }
    BranchFailure::new(kind, detail)
}

/// Reads a body that may hold an answer of `max_answer_bytes`, and never more than its bound.
async fn read_body(mut from: Response, max_answer_bytes: usize) -> Result<Vec<u8>, BranchFailure> {
    let limit = max_answer_bytes * JSON_GROWTH + REPLY_OVERHEAD_BYTES;
    let mut body = Vec::new();
    while let Some(chunk) = from.chunk().await.map_err(|e| transport(&e))? {
        if body.len() + chunk.len() > limit {
            return Err(too_long(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error status with the beginning of its body.
async fn error_status(status: StatusCode, mut from: Response) -> BranchFailure {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = from.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= MAX_ERROR_BODY_BYTES {
            break;
        }
    }
    body.truncate(MAX_ERROR_BODY_BYTES);
    let note = if status.is_redirection() {
        " (redirects to another place are not followed)"
    } else {
        ""
    };
    let body = String::from_utf8_lossy(&body);
    BranchFailure::new(BranchError::HttpStatus, format!("{status}{note}: {body}"))
}

fn from_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, BranchFailure> {
    let text = std::str::from_utf8(body)
        .map_err(|e| BranchFailure::new(BranchError::NotUtf8, e.to_string()))?;
    serde_json::from_str(text).map_err(|e| {
        BranchFailure::new(
            BranchError::Malformed,
            format!("the reply must be JSON as documented: {e}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked() {
        assert!(parse_url("url", "http://127.0.0.1:80/v1").is_ok());
        for text in [
            "ftp://x/",
            "x",
            "http://",
            "https://user:secret@host/",
            "file:///etc/passwd",
        ] {
            assert!(parse_url("url", text).is_err(), "{text}");
        }
        assert!(parse_url("url", &format!("http://h/{}", "x".repeat(MAX_URL_BYTES))).is_err());
    }
}
