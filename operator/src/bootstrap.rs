//! What the release needs and no template can make: the ledger's key and certificate, made once and kept.
//!
//! | Secret | keys |
//! |---|---|
//! | `axh-ledger-key` | `key` (private), `vkey` (public), `salts` (from which the salts of intents are derived) |
//! | `axh-ledger-tls` | `ca.crt`, `tls.crt`, `tls.key` |
//!
//! Two replicas may try at once: a Secret is created once, and whoever was late reads what is there.

use std::collections::BTreeMap;

use axiom_hive_core::tlog::SigningKey;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::plan::network::LedgerPods;
use crate::plan::pod::LedgerEndpoint;

/// The Secret with the ledger's key.
pub const KEY_SECRET: &str = "axh-ledger-key";
/// The Secret with the ledger's certificate.
pub const TLS_SECRET: &str = "axh-ledger-tls";
/// The origin of a ledger that was given none begins so.
const LOCAL_ORIGIN: &str = "axiom-hive.local";
/// Runner pods get the authority as an argument, so it outlives every one of them.
const LAST_YEAR: i32 = 2099;

/// Why the ledger's key or certificate is not there.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The API server.
    #[error("API server: {0}")]
    Kube(#[from] kube::Error),
    /// The library refuses.
    #[error("a certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// No random bytes.
    #[error("random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The origin cannot be one.
    #[error("ledger.origin: {0}")]
    Origin(String),
    /// A Secret or Service that is there lacks something.
    #[error("{0}")]
    Missing(String),
}

/// The ledger as runner pods and the operator know it.
#[derive(Clone)]
pub struct LedgerSecrets {
    /// Where it is.
    pub endpoint: LedgerEndpoint,
    /// The key from which the salts of intents are derived.
    pub salt_key: [u8; 32],
}

/// Makes what is missing and reads the rest.
pub async fn ledger(
    client: &Client,
    namespace: &str,
    service: &str,
    origin: Option<&str>,
) -> Result<LedgerSecrets, BootstrapError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let key = ensure(&secrets, KEY_SECRET, || key_data(origin)).await?;
    let host = format!("{service}.{namespace}.svc");
    let tls = ensure(&secrets, TLS_SECRET, || tls_data(&host)).await?;
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let spec = services.get(service).await?.spec.unwrap_or_default();
    let address = spec.cluster_ip.filter(|ip| ip != "None");
    let address =
        address.ok_or_else(|| missing(format!("Service {service} must have a cluster IP")))?;
    let ports = spec.ports.unwrap_or_default();
    let port = |name: &str| {
        let found = ports.iter().find(|port| port.name.as_deref() == Some(name));
        let port = found.and_then(|port| u16::try_from(port.port).ok());
        port.ok_or_else(|| missing(format!("Service {service} must have a port {name}")))
    };
    let salts = bytes(&key, KEY_SECRET, "salts")?;
    Ok(LedgerSecrets {
        endpoint: LedgerEndpoint {
            host,
            address,
            canary_port: port("canary")?,
            pods: LedgerPods {
                namespace: namespace.to_owned(),
                labels: spec.selector.unwrap_or_default(),
                port: port("https")?,
            },
            ca: text(&tls, TLS_SECRET, "ca.crt")?,
            vkey: text(&key, KEY_SECRET, "vkey")?,
        },
        salt_key: salts
            .try_into()
            .map_err(|_| missing(format!("Secret {KEY_SECRET}: salts must have 32 bytes")))?,
    })
}

type Data = BTreeMap<String, ByteString>;

async fn ensure(
    secrets: &Api<Secret>,
    name: &str,
    make: impl FnOnce() -> Result<Data, BootstrapError>,
) -> Result<Data, BootstrapError> {
    if let Some(found) = secrets.get_opt(name).await? {
        return Ok(found.data.unwrap_or_default());
    }
    let wanted = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(make()?),
        ..Secret::default()
    };
    match secrets.create(&PostParams::default(), &wanted).await {
        Ok(made) => Ok(made.data.unwrap_or_default()),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            Ok(secrets.get(name).await?.data.unwrap_or_default())
        }
        Err(error) => Err(error.into()),
    }
}

fn key_data(origin: Option<&str>) -> Result<Data, BootstrapError> {
    let (mut seed, mut salts, mut number) = ([0; 32], [0; 32], [0; 8]);
    for bytes in [&mut seed[..], &mut salts[..], &mut number[..]] {
        getrandom::fill(bytes)?;
    }
    let number = u64::from_be_bytes(number);
    let origin = origin.map_or_else(|| format!("{LOCAL_ORIGIN}/{number:016x}"), str::to_owned);
    let key = SigningKey::new(&origin, &seed);
    let key = key.map_err(|error| BootstrapError::Origin(error.to_string()))?;
    let vkey = key.verifying_key().to_string();
    Ok(data([
        ("key", key.to_private().as_bytes().to_vec()),
        ("vkey", vkey.into_bytes()),
        ("salts", salts.to_vec()),
    ]))
}

fn tls_data(host: &str) -> Result<Data, BootstrapError> {
    let valid = |parameters: &mut CertificateParams| {
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(LAST_YEAR, 1, 1);
    };
    let mut own = CertificateParams::default();
    own.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    own.distinguished_name
        .push(DnType::CommonName, "axiom-hive-ledger-ca");
    valid(&mut own);
    let own_key = KeyPair::generate()?;
    let authority = own.self_signed(&own_key)?.pem();
    let issuer = Issuer::new(own, own_key);
    let mut leaf = CertificateParams::new(vec![host.to_owned()])?;
    leaf.distinguished_name
        .push(DnType::CommonName, "axiom-hive-ledger");
    valid(&mut leaf);
    let leaf_key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&leaf_key, &issuer)?.pem();
    Ok(data([
        ("ca.crt", authority.into_bytes()),
        ("tls.crt", certificate.into_bytes()),
        ("tls.key", leaf_key.serialize_pem().into_bytes()),
    ]))
}

fn data<const N: usize>(pairs: [(&str, Vec<u8>); N]) -> Data {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), ByteString(value)))
        .collect()
}

fn bytes(data: &Data, secret: &str, key: &str) -> Result<Vec<u8>, BootstrapError> {
    let found = data.get(key).map(|value| value.0.clone());
    found.ok_or_else(|| missing(format!("Secret {secret} must have the key {key}")))
}

fn text(data: &Data, secret: &str, key: &str) -> Result<String, BootstrapError> {
    let text = String::from_utf8(bytes(data, secret, key)?);
    text.map_err(|_| missing(format!("Secret {secret}: {key} must be text")))
}

fn missing(must: String) -> BootstrapError {
    BootstrapError::Missing(must)
}
