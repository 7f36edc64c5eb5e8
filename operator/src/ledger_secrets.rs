//! What the ledger service needs before it can start: its key, and a certificate that is always fresh.
//!
//! The operator makes both at its first start, in Secrets that no chart owns: they stay when a release
//! goes, and a later one finds them again. The key is made once and never changed: whoever holds its
//! public half can tell a ledger from any other for ever.

use std::time::Duration;

use axiom_hive_core::digest::Digest;
use axiom_hive_core::tlog::SigningKey;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::admission::authority::{Authorities, AuthorityError, Leaf, Periods};
use crate::own_secret::{AUTHORITIES_KEY, BUNDLE_KEY, StoreError, store, unix_seconds};

/// The Secret with the ledger's key: `key`, and its public half `vkey`.
pub const KEY_SECRET: &str = "axh-ledger-key";
/// The Secret with the ledger's certificate: `tls.crt`, `tls.key`, and `ca.crt` for its clients.
pub const TLS_SECRET: &str = "axh-ledger-tls";
const KEY: &str = "key";
const VKEY: &str = "vkey";
const LEAF_KEY: &str = "leaf.json";
const DAY_SECONDS: i64 = 24 * 3600;
/// A round that failed is repeated after this.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// One round of requests to the API server may take so long.
const ROUND_TIMEOUT: Duration = Duration::from_secs(20);

/// A runner pod trusts what was published when it was made, for as long as the longest task: a day. So
/// an authority is published for two days before it signs.
pub const PERIODS: Periods = Periods {
    authority_seconds: 365 * DAY_SECONDS,
    leaf_seconds: 30 * DAY_SECONDS,
    overlap_seconds: 2 * DAY_SECONDS,
    check_seconds: 600,
};

/// How a client knows the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The authorities of its certificate (PEM).
    pub ca: String,
    /// Its public key.
    pub vkey: String,
}

/// Why the Secrets are not there.
#[derive(Debug, thiserror::Error)]
pub enum LedgerSecretsError {
    /// The API server does not give or take them.
    #[error("the API server must keep Secrets {KEY_SECRET} and {TLS_SECRET}: {0}")]
    Kube(#[from] Box<kube::Error>),
    /// It took too long.
    #[error("the API server must answer within {} s", ROUND_TIMEOUT.as_secs())]
    Timeout,
    /// Another replica was faster; the next round sees what it did.
    #[error("another replica changed Secret {KEY_SECRET} or {TLS_SECRET} at the same time")]
    Conflict,
    /// An authority or certificate.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The key, which only a person may put right: a new one would be another ledger.
    #[error("Secret {KEY_SECRET} must hold the ledger's key: {0}")]
    Key(String),
    /// No randomness.
    #[error("the operating system must give random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

impl From<StoreError> for LedgerSecretsError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Kube(error) => Self::Kube(error),
            StoreError::Conflict => Self::Conflict,
        }
    }
}

/// Makes the Secrets and keeps them fresh.
pub struct LedgerSecrets {
    /// In the operator's namespace.
    pub secrets: Api<Secret>,
    /// The names on the certificate, the first the one that clients use.
    pub names: Vec<String>,
    /// Names the log where it has no key yet; absent: `axiom-hive.local/` and a random number.
    pub origin: Option<String>,
    /// [`PERIODS`].
    pub periods: Periods,
}

impl LedgerSecrets {
    /// For the ledger behind a service of the operator's namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str, service: &str, origin: Option<String>) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
            names: vec![format!("{service}.{namespace}.svc")],
            origin,
            periods: PERIODS,
        }
    }

    /// Keeps them fresh for ever, and says how the ledger is known.
    pub async fn keep(self, trust: watch::Sender<Option<Trust>>) {
        loop {
            let round = timeout(ROUND_TIMEOUT, self.round(unix_seconds())).await;
            let pause = match round.unwrap_or(Err(LedgerSecretsError::Timeout)) {
                Ok(now) => {
                    trust.send_if_modified(|held| held.replace(now.clone()) != Some(now));
                    Duration::from_secs(self.periods.check_seconds.into())
                }
                Err(LedgerSecretsError::Conflict) => RETRY_PAUSE,
                Err(error) => {
                    tracing::warn!(%error, "the ledger's Secrets are not there");
                    RETRY_PAUSE
                }
            };
            sleep(pause).await;
        }
    }

    /// Makes what is missing and replaces what is due.
    pub async fn round(&self, now_seconds: i64) -> Result<Trust, LedgerSecretsError> {
        let vkey = self.key().await?;
        let ca = self.certificate(now_seconds).await?;
        Ok(Trust { ca, vkey })
    }

    /// From which the salts of intents are derived: a function of the ledger's key, so that every replica
    /// and every later one has the same, and nobody else.
    pub async fn salt_key(&self) -> Result<[u8; 32], LedgerSecretsError> {
        let stored = self.secrets.get(KEY_SECRET).await.map_err(Box::new)?;
        let private = text_of(&stored, KEY);
        let private =
            private.ok_or_else(|| LedgerSecretsError::Key("it is not text".to_owned()))?;
        let context = format!("axiomhive.io/salt-key/v1 {}", private.trim_end());
        Ok(Digest::of(context.as_bytes()).0)
    }

    async fn key(&self) -> Result<String, LedgerSecretsError> {
        if let Some(stored) = self.secrets.get_opt(KEY_SECRET).await.map_err(Box::new)? {
            let private = text_of(&stored, KEY).unwrap_or_default();
            let key = SigningKey::from_private(private.trim_end());
            let key = key.map_err(|error| LedgerSecretsError::Key(error.to_string()))?;
            return Ok(key.verifying_key().to_string());
        }
        let origin = if let Some(origin) = &self.origin {
            origin.clone()
        } else {
            let mut number = [0; 8];
            getrandom::fill(&mut number)?;
            format!("axiom-hive.local/{:016x}", u64::from_be_bytes(number))
        };
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed)?;
        let key = SigningKey::new(&origin, &seed);
        let key = key.map_err(|error| LedgerSecretsError::Key(error.to_string()))?;
        let vkey = key.verifying_key().to_string();
        let data = [
            (KEY, key.to_private().as_bytes().to_vec()),
            (VKEY, vkey.clone().into_bytes()),
        ];
        let data = data.map(|(name, bytes)| (name.to_owned(), ByteString(bytes)));
        store(&self.secrets, KEY_SECRET, None, data.into()).await?;
        tracing::info!(vkey, "the ledger has a key");
        Ok(vkey)
    }

    async fn certificate(&self, now_seconds: i64) -> Result<String, LedgerSecretsError> {
        let stored = self.secrets.get_opt(TLS_SECRET).await.map_err(Box::new)?;
        let text = |key| stored.as_ref().and_then(|it| text_of(it, key));
        let held = match text(AUTHORITIES_KEY) {
            Some(json) => Authorities::parse(json.as_bytes())?,
            None => Authorities::default(),
        };
        let leaf: Option<Leaf> = text(LEAF_KEY).and_then(|json| serde_json::from_str(&json).ok());
        let wanted = held.advance(now_seconds, &self.periods)?;
        let good = leaf.filter(|leaf| !wanted.is_due(leaf, now_seconds, &self.periods));
        if wanted == held && good.is_some() {
            return Ok(wanted.bundle());
        }
        let leaf = match good {
            Some(leaf) => Some(leaf),
            None => wanted.leaf(&self.names, now_seconds, &self.periods)?,
        };
        let mut data = vec![
            (AUTHORITIES_KEY, wanted.to_json()?),
            (BUNDLE_KEY, wanted.bundle().into_bytes()),
        ];
        if let Some(leaf) = leaf {
            let json = serde_json::to_vec(&leaf).map_err(AuthorityError::from)?;
            data.push((LEAF_KEY, json));
            data.push(("tls.crt", leaf.certificate.into_bytes()));
            data.push(("tls.key", leaf.key.into_bytes()));
        }
        let data = data.into_iter();
        let data = data.map(|(name, bytes)| (name.to_owned(), ByteString(bytes)));
        store(&self.secrets, TLS_SECRET, stored, data.collect()).await?;
        Ok(wanted.bundle())
    }
}

fn text_of(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok()
}
