//! TLS for our own clients: rustls with ring, files in PEM. The ledger service reads its files with the
//! same functions.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// A connection that is not there within this time never will be.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Upper bound of a file of certificates or keys: 1 MiB.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or does not hold what it must.
    #[error("{path}: {must}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What must hold, or why it cannot be read.
        must: String,
    },
    /// The certificate, the key and the authorities do not go together.
    #[error("TLS: {0}")]
    Config(String),
}

/// A client certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    /// The certificate, then the ones that lead to an authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// An HTTPS client that trusts the authorities in `ca` (PEM) only, goes through no proxy and follows
/// no redirection.
pub fn http_client(ca: &[u8], own: Option<&ClientFiles>) -> Result<Client, TlsError> {
    let roots = authorities(ca).map_err(TlsError::Config)?;
    client(roots, own, true)
}

/// The same for `http://` too, where what is said is signed and no secret; without `ca` no `https://`.
pub fn http_client_of_any(ca: Option<&[u8]>) -> Result<Client, TlsError> {
    let roots = ca.map_or_else(|| Ok(RootCertStore::empty()), authorities);
    client(roots.map_err(TlsError::Config)?, None, false)
}

fn client(
    roots: RootCertStore,
    own: Option<&ClientFiles>,
    https_only: bool,
) -> Result<Client, TlsError> {
    let config = |error: &dyn std::fmt::Display| TlsError::Config(error.to_string());
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| config(&error))?
        .with_root_certificates(roots);
    let tls = match own {
        None => builder.with_no_client_auth(),
        Some(own) => builder
            .with_client_auth_cert(chain(&own.certificate)?, private_key(&own.key)?)
            .map_err(|error| config(&error))?,
    };
    Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(https_only)
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("axiom-hive/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| config(&error))
}

/// The one provider of cryptography: ring, given explicitly, so that no other crate's choice matters.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Certificate authorities out of PEM. The error says what must hold.
pub fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        let added = roots.add(certificate);
        added.map_err(|error| format!("must hold certificate authorities: {error}"))?;
    }
    Ok(roots)
}

/// The certificates in a file, the first of them its owner's.
pub fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates(&read(path)?).map_err(|must| file(path, must))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err("must hold 1 or more certificates as PEM".to_owned()),
        Err(error) => Err(format!("must hold certificates as PEM: {error}")),
    }
}

/// The private key in a file.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|error| file(path, format!("must hold a private key as PEM: {error}")))
}

/// A file of at most 1 MiB.
pub fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let opened = File::open(path).map_err(|error| file(path, error))?;
    let mut bytes = Vec::new();
    let read = opened.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| file(path, error))?;
    if bytes.len() as u64 > MAX_PEM_BYTES {
        return Err(file(path, "must be at most 1048576 bytes"));
    }
    Ok(bytes)
}

/// What must hold of a file.
#[expect(clippy::needless_pass_by_value, reason = "errors come by value")]
pub fn file(path: &Path, must: impl ToString) -> TlsError {
    TlsError::File {
        path: path.to_owned(),
        must: must.to_string(),
    }
}
