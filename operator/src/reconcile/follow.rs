//! What every replica knows of constitutions, the one that reconciles or not: what their status says is
//! in force.

use std::sync::{Arc, PoisonError, RwLock};

use futures_util::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::admission::readiness::{Part, Readiness};
use crate::api::Constitution;
use crate::plan::resolve::{Constitutions, Version};

/// Follows constitutions until `shutdown`.
pub async fn follow(
    client: Client,
    constitutions: Arc<RwLock<Constitutions>>,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    let api: Api<Constitution> = Api::all(client);
    let events = kube::runtime::watcher(api, watcher::Config::default()).default_backoff();
    let mut events = events.take_until(shutdown.cancelled_owned()).boxed();
    while let Some(event) = events.next().await {
        let mut known = constitutions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => learn(&mut known, &object),
            Ok(Event::Delete(object)) => {
                known.remove_object(object.metadata.name.as_deref().unwrap_or_default());
            }
            Ok(Event::InitDone) => readiness.set(Part::Constitutions),
            Ok(Event::Init) => {}
            Err(error) => tracing::warn!(%error, "constitutions cannot be followed"),
        }
    }
}

fn learn(known: &mut Constitutions, object: &Constitution) {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let in_force = object
        .status
        .as_ref()
        .and_then(|status| status.in_force.as_ref());
    if let Some(version) = in_force
        && let Ok(digest) = version.digest.parse()
    {
        let content = object
            .spec
            .to_core()
            .ok()
            .filter(|core| core.digest() == digest);
        let held = Version {
            digest,
            index: u64::try_from(version.ledger.index).unwrap_or(0),
            content: content.map(Arc::new),
        };
        known.set_version(name, &version.version, held);
    }
    known.set_object(
        name,
        object.spec.namespaces.clone(),
        in_force.map(|it| it.version.clone()),
    );
}
