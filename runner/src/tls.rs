//! TLS of our own server: rustls with ring, files in PEM.

use std::path::PathBuf;
use std::sync::Arc;

use axiom_hive_client::tls::{TlsError, authorities, chain, file, private_key, provider, read};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

/// The files of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFiles {
    /// Its certificate, then the ones that lead to an authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of client certificates; none: no client certificate is asked for.
    pub client_ca: Option<PathBuf>,
}

impl ServerFiles {
    /// The bytes of all files, to see whether one changed.
    pub(crate) fn read(&self) -> Result<Vec<Vec<u8>>, TlsError> {
        let files = [
            Some(&self.certificate),
            Some(&self.key),
            self.client_ca.as_ref(),
        ];
        files.into_iter().flatten().map(|path| read(path)).collect()
    }

    /// The configuration of a server that speaks HTTP/2 and HTTP/1.1.
    pub(crate) fn load(&self) -> Result<ServerConfig, TlsError> {
        let chain = chain(&self.certificate)?;
        let key = private_key(&self.key)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Config(error.to_string()))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = authorities(&read(path)?).map_err(|must| file(path, must))?;
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| file(path, error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| TlsError::Config(error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}
