//! Secrets of the operator's own: written only where nobody else wrote in between.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;

/// The key for certificate authorities with their private keys.
pub(crate) const AUTHORITIES_KEY: &str = "authorities.json";
/// The key for what clients trust (PEM), also for people.
pub(crate) const BUNDLE_KEY: &str = "ca.crt";

/// Why a Secret was not written.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// The API server did not take it.
    Kube(Box<kube::Error>),
    /// Another replica was faster.
    Conflict,
}

/// Replaces the data of `stored`, or creates the Secret where there was none.
pub(crate) async fn store(
    api: &Api<Secret>,
    name: &str,
    stored: Option<Secret>,
    data: BTreeMap<String, ByteString>,
) -> Result<(), StoreError> {
    let exists = stored.is_some();
    let mut secret = stored.unwrap_or_default();
    secret.data = Some(data);
    let written = if exists {
        // With the version that was read: a change in between is a conflict.
        api.replace(name, &PostParams::default(), &secret).await
    } else {
        secret.metadata.name = Some(name.to_owned());
        api.create(&PostParams::default(), &secret).await
    };
    match written {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Err(StoreError::Conflict),
        Err(error) => Err(StoreError::Kube(Box::new(error))),
    }
}

/// The wall clock.
pub(crate) fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}
