//! The labels of namespaces, which say who may use a constitution.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::readiness::{Part, Readiness};

/// A namespace that was made a moment ago is asked for; at most so many at once,
const MAX_LOOKUPS: usize = 4;
/// and for so long.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// What is known of every namespace.
pub(super) struct Namespaces {
    store: Store<PartialObjectMeta<Namespace>>,
    api: Api<PartialObjectMeta<Namespace>>,
    lookups: Semaphore,
}

impl Namespaces {
    /// Reads all namespaces and then follows them, in a task that ends with the returned guard.
    pub(super) fn follow(
        client: Client,
        readiness: &Readiness,
    ) -> (Self, tokio_util::task::AbortOnDropHandle<()>) {
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(client);
        let (store, writer) = reflector::store();
        let events = watcher(api.clone(), watcher::Config::default());
        let events = events.default_backoff().modify(|namespace| {
            namespace.metadata.managed_fields = None;
            namespace.metadata.annotations = None;
        });
        let mut changes = reflector::reflector(writer, events).boxed();
        let readiness = readiness.clone();
        let task = tokio::spawn(async move {
            while let Some(change) = changes.next().await {
                if matches!(change, Ok(watcher::Event::InitDone)) {
                    readiness.set(Part::Namespaces);
                }
                if let Err(error) = change {
                    tracing::warn!(%error, "namespaces cannot be followed");
                }
            }
        });
        (
            Self {
                store,
                api,
                lookups: Semaphore::new(MAX_LOOKUPS),
            },
            tokio_util::task::AbortOnDropHandle::new(task),
        )
    }

    /// The labels of a namespace, or `None` where they cannot be had at once.
    pub(super) async fn labels(&self, name: &str) -> Option<BTreeMap<String, String>> {
        if let Some(known) = self.store.get(&ObjectRef::new(name)) {
            return Some(known.metadata.labels.clone().unwrap_or_default());
        }
        let _permit = self.lookups.try_acquire().ok()?;
        let found = timeout(LOOKUP_TIMEOUT, self.api.get_opt(name)).await;
        let found = found.ok()?.ok()??;
        Some(found.metadata.labels.unwrap_or_default())
    }
}
