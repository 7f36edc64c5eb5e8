//! One of several replicas reconciles: a Lease says which. Correctness does not need it: names and slots
//! make everything that two of them do harmless. It only halves the work.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

/// How long a lease holds without being renewed.
const DURATION_SECONDS: i32 = 15;
/// How often it is renewed or asked for.
const INTERVAL: Duration = Duration::from_secs(5);
/// A holder that could not renew for so long has lost it, well before another one may take it.
const PATIENCE: SignedDuration = SignedDuration::from_secs(10);

/// A place in the queue for the lease `name`.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
}

impl Candidate {
    /// Nothing is asked yet. `identity` is at most one of the replicas'.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
        }
    }

    /// Waits until the lease is ours; false when `shutdown` came first.
    pub async fn lead(&self, shutdown: &CancellationToken) -> bool {
        loop {
            match self.try_once().await {
                Ok(true) => {
                    tracing::info!(identity = self.identity, "leading");
                    return true;
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the lease cannot be had"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return false,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// Renews the lease until it is lost or `shutdown` comes; then gives it up, so that another replica need not wait.
    pub async fn keep(&self, shutdown: &CancellationToken) {
        let mut held = Timestamp::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            match self.try_once().await {
                Ok(true) => held = Timestamp::now(),
                Ok(false) => return,
                Err(error) if Timestamp::now().duration_since(held) > PATIENCE => {
                    tracing::error!(%error, "the lease is lost");
                    return;
                }
                Err(error) => tracing::warn!(%error, "the lease could not be renewed"),
            }
        }
        if let Err(error) = self.release().await {
            tracing::warn!(%error, "the lease could not be given up");
        }
    }

    /// Takes or renews it; false while another one holds it.
    async fn try_once(&self) -> Result<bool, kube::Error> {
        let now = Timestamp::now();
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.spec(None, now)),
            };
            return is_ours(self.api.create(&PostParams::default(), &lease).await);
        };
        if !self.may_take(lease.spec.as_ref(), now) {
            return Ok(false);
        }
        lease.spec = Some(self.spec(lease.spec.take(), now));
        is_ours(
            self.api
                .replace(&self.name, &PostParams::default(), &lease)
                .await,
        )
    }

    fn may_take(&self, spec: Option<&LeaseSpec>, now: Timestamp) -> bool {
        let Some(spec) = spec else { return true };
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let seconds = i64::from(spec.lease_duration_seconds.unwrap_or(0));
        let end = spec
            .renew_time
            .as_ref()
            .and_then(|time| time.0.checked_add(SignedDuration::from_secs(seconds)).ok());
        holder.is_empty() || holder == self.identity || end.is_none_or(|end| end < now)
    }

    fn spec(&self, old: Option<LeaseSpec>, now: Timestamp) -> LeaseSpec {
        let old = old.unwrap_or_default();
        let is_new = old.holder_identity.as_deref() != Some(self.identity.as_str());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(DURATION_SECONDS),
            acquire_time: if is_new {
                Some(MicroTime(now))
            } else {
                old.acquire_time.clone()
            },
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(old.lease_transitions.unwrap_or(0) + i32::from(is_new)),
            ..old
        }
    }

    async fn release(&self) -> Result<(), kube::Error> {
        let mut lease = self.api.get(&self.name).await?;
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(self.identity.as_str()) {
            spec.holder_identity = Some(String::new());
            self.api
                .replace(&self.name, &PostParams::default(), &lease)
                .await?;
        }
        Ok(())
    }
}

/// Another one was faster.
fn is_ours(written: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
