//! Where the serving certificate comes from, and how it stays fresh.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::own_secret::{AUTHORITIES_KEY, BUNDLE_KEY, StoreError, store, unix_seconds};

use super::authority::{Authorities, AuthorityError, Leaf, Periods};

/// The Secret with our own authorities.
pub const SECRET: &str = "axh-webhook-tls";
/// One round of requests to the API server may take so long.
const ROUND_TIMEOUT: Duration = Duration::from_secs(20);
/// How often files are looked at: a mounted Secret changes by a link, which is cheaper read than watched.
const FILES_INTERVAL: Duration = Duration::from_secs(2);
/// Upper bound of a file: 1 MiB.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where the certificate comes from.
#[derive(Debug, Clone)]
pub enum Certificates {
    /// Our own authority, in the Secret [`SECRET`].
    Own {
        /// The namespace of that Secret.
        namespace: String,
        /// The webhook configuration whose `caBundle` is kept current; none: somebody else does that.
        configuration: Option<String>,
        /// How long certificates live.
        periods: Periods,
    },
    /// Files that somebody else keeps fresh, such as cert-manager.
    Files {
        /// The certificate and the ones that lead to the authority (PEM).
        certificate: PathBuf,
        /// Its private key (PEM).
        key: PathBuf,
        /// The authority (PEM), for the self-review.
        ca: PathBuf,
    },
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The API server does not give or take what is needed.
    #[error("the API server must keep Secret {SECRET} and the webhook configuration: {0}")]
    Kube(#[from] Box<kube::Error>),
    /// It took too long.
    #[error("the API server must answer within {} s", ROUND_TIMEOUT.as_secs())]
    Timeout,
    /// Another replica was faster; the next round sees what it did.
    #[error(
        "another replica changed Secret {SECRET} or the webhook configuration at the same time"
    )]
    Conflict,
    /// An authority or certificate of our own.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file cannot be read, or does not hold what it must.
    #[error("{path}: {must}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What must hold.
        must: String,
    },
    /// Certificate and key do not go together.
    #[error("certificate and key must go together: {0}")]
    Tls(#[from] rustls::Error),
}

impl From<StoreError> for CertificateError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Kube(error) => Self::Kube(error),
            StoreError::Conflict => Self::Conflict,
        }
    }
}

/// What is served with.
#[derive(Debug, Clone)]
pub(super) struct Serving {
    pub(super) config: Arc<ServerConfig>,
    /// What a client must trust.
    pub(super) roots: Arc<RootCertStore>,
}

/// Keeps `serving` fresh for ever. An error leaves what is there in use.
pub(super) async fn keep_fresh(
    certificates: Certificates,
    names: Vec<String>,
    client: Client,
    serving: watch::Sender<Option<Serving>>,
) {
    match certificates {
        Certificates::Own {
            namespace,
            configuration,
            periods,
        } => {
            let mut own = Own {
                secrets: Api::namespaced(client.clone(), &namespace),
                configurations: Api::all(client),
                configuration,
                names,
                periods,
                leaf: None,
            };
            loop {
                let round = timeout(ROUND_TIMEOUT, own.round()).await;
                match round.unwrap_or(Err(CertificateError::Timeout)) {
                    Ok(Some(fresh)) => {
                        tracing::info!("a new certificate of the webhook is in use");
                        serving.send_replace(Some(fresh));
                    }
                    Ok(None) => {}
                    Err(CertificateError::Conflict) => {
                        sleep(Duration::from_millis(200)).await;
                        continue;
                    }
                    Err(error) => tracing::warn!(%error, "the certificate could not be renewed"),
                }
                // Until there is one, nothing can be admitted: then every second counts.
                let has_one = serving.borrow().is_some();
                let seconds = if has_one {
                    own.periods.check_seconds
                } else {
                    1
                };
                sleep(Duration::from_secs(seconds.into())).await;
            }
        }
        Certificates::Files {
            certificate,
            key,
            ca,
        } => {
            let mut seen = None;
            loop {
                match from_files(&certificate, &key, &ca, &mut seen) {
                    Ok(Some(fresh)) => {
                        tracing::info!("a new certificate of the webhook is in use");
                        serving.send_replace(Some(fresh));
                    }
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "the certificate is not used"),
                }
                sleep(FILES_INTERVAL).await;
            }
        }
    }
}

struct Own {
    secrets: Api<Secret>,
    configurations: Api<ValidatingWebhookConfiguration>,
    configuration: Option<String>,
    names: Vec<String>,
    periods: Periods,
    leaf: Option<Leaf>,
}

impl Own {
    /// One round: the Secret, then the bundle that API servers read, and only then a certificate that
    /// needs it. `None` where the certificate in use is still good.
    async fn round(&mut self) -> Result<Option<Serving>, CertificateError> {
        let now = unix_seconds();
        // Read before the Secret: whoever read an older Secret has then read an older configuration too,
        // and its version makes a late replica fail instead of going back.
        let configuration = match &self.configuration {
            Some(name) => Some(self.configurations.get(name).await.map_err(Box::new)?),
            None => None,
        };
        let authorities = self.authorities(now).await?;
        if let Some(stored) = configuration {
            self.publish(stored, &authorities.bundle()).await?;
        }
        let is_good = |leaf: &Leaf| !authorities.is_due(leaf, now, &self.periods);
        if self.leaf.as_ref().is_some_and(is_good) {
            return Ok(None);
        }
        let Some(leaf) = authorities.leaf(&self.names, now, &self.periods)? else {
            return Ok(None);
        };
        let path = Path::new(SECRET);
        let chain = pem(path, leaf.certificate.as_bytes())?;
        let config = config(chain, private_key(path, leaf.key.as_bytes())?)?;
        let roots = roots(Path::new(BUNDLE_KEY), authorities.bundle().as_bytes())?;
        self.leaf = Some(leaf);
        Ok(Some(Serving { config, roots }))
    }

    /// The authorities of the Secret, advanced to now. Writes are refused where another replica wrote
    /// in between, so all replicas see one history.
    async fn authorities(&self, now: i64) -> Result<Authorities, CertificateError> {
        let stored = self.secrets.get_opt(SECRET).await.map_err(Box::new)?;
        let data = stored.as_ref().and_then(|it| it.data.as_ref());
        let held = match data.and_then(|data| data.get(AUTHORITIES_KEY)) {
            Some(json) => Authorities::parse(&json.0)?,
            None => Authorities::default(),
        };
        let wanted = held.advance(now, &self.periods)?;
        if wanted == held {
            return Ok(wanted);
        }
        let data = [
            (AUTHORITIES_KEY.to_owned(), ByteString(wanted.to_json()?)),
            (
                BUNDLE_KEY.to_owned(),
                ByteString(wanted.bundle().into_bytes()),
            ),
        ];
        store(&self.secrets, SECRET, stored, data.into()).await?;
        Ok(wanted)
    }

    /// Has the API server trust the bundle, in every webhook of the configuration.
    async fn publish(
        &self,
        stored: ValidatingWebhookConfiguration,
        bundle: &str,
    ) -> Result<(), CertificateError> {
        let webhooks = stored.webhooks.unwrap_or_default();
        let wanted = ByteString(bundle.as_bytes().to_vec());
        let stale = webhooks
            .iter()
            .filter(|it| it.client_config.ca_bundle.as_ref() != Some(&wanted))
            .map(|it| json!({"name": it.name, "clientConfig": {"caBundle": wanted}}));
        let stale: Vec<_> = stale.collect();
        if stale.is_empty() {
            return Ok(());
        }
        // Webhooks are merged by name.
        let name = stored.metadata.name.unwrap_or_default();
        let patch = json!({
            "metadata": {"resourceVersion": stored.metadata.resource_version},
            "webhooks": stale,
        });
        let (parameters, patch) = (PatchParams::default(), Patch::Strategic(patch));
        match self.configurations.patch(&name, &parameters, &patch).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Err(CertificateError::Conflict),
            Err(error) => Err(Box::new(error).into()),
        }
    }
}

/// `None` where the files are those of before.
fn from_files(
    certificate: &Path,
    key: &Path,
    ca: &Path,
    seen: &mut Option<[Vec<u8>; 3]>,
) -> Result<Option<Serving>, CertificateError> {
    let now = [read(certificate)?, read(key)?, read(ca)?];
    if seen.as_ref() == Some(&now) {
        return Ok(None);
    }
    let chain = pem(certificate, &now[0])?;
    let private = private_key(key, &now[1])?;
    let serving = Serving {
        config: config(chain, private)?,
        roots: roots(ca, &now[2])?,
    };
    *seen = Some(now);
    Ok(Some(serving))
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(path: &Path, bytes: &[u8]) -> Result<Arc<RootCertStore>, CertificateError> {
    let mut roots = RootCertStore::empty();
    for certificate in pem(path, bytes)? {
        roots.add(certificate)?;
    }
    Ok(Arc::new(roots))
}

fn private_key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(bytes)
        .map_err(|error| file(path, format!("must hold a private key as PEM: {error}")))
}

fn pem(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(file(path, "must hold 1 or more certificates as PEM")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    use std::io::Read as _;
    let opened = std::fs::File::open(path).map_err(|error| file(path, error.to_string()))?;
    let mut bytes = Vec::new();
    let read = opened.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| file(path, error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(file(path, "must be at most 1048576 bytes"));
    }
    Ok(bytes)
}

fn file(path: &Path, must: impl Into<String>) -> CertificateError {
    CertificateError::File {
        path: path.to_owned(),
        must: must.into(),
    }
}
