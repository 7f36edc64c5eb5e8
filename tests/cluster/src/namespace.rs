//! A namespace for one test.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Namespace as NamespaceObject, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::{Error, TestCluster, eventually};

const ACCOUNT_SECONDS: u64 = 30;
const END_SECONDS: u64 = 10;
const EVENTS_MAX: u32 = 100;

/// A namespace of one test. Dropping it asks for its deletion and does not wait; when the test panics it first prints what
/// happened there.
#[derive(Debug)]
pub struct Namespace<'a> {
    cluster: &'a TestCluster,
    name: String,
}

impl<'a> Namespace<'a> {
    pub(crate) async fn create(cluster: &'a TestCluster, prefix: &str) -> Result<Self, Error> {
        let client = cluster.client().await?;
        let metadata = json!({"metadata": {"generateName": format!("{prefix}-")}});
        let object: NamespaceObject =
            serde_json::from_value(metadata).map_err(kube::Error::SerdeError)?;
        let namespaces = Api::<NamespaceObject>::all(client.clone());
        let created = namespaces.create(&PostParams::default(), &object).await?;
        let namespace = Self {
            cluster,
            name: created.metadata.name.unwrap_or_default(),
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(client, &namespace.name);
        let what = "the ServiceAccount of a new namespace";
        eventually(what, ACCOUNT_SECONDS, async || {
            accounts.get_opt("default").await.ok().flatten()
        })
        .await?;
        Ok(namespace)
    }

    /// Its name: the prefix that was asked for and five random characters.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn end(&self, failed: bool) -> Result<(), Error> {
        let client = self.cluster.client().await?;
        if failed {
            let limit = ListParams::default().limit(EVENTS_MAX);
            for event in Api::<Event>::namespaced(client.clone(), &self.name)
                .list(&limit)
                .await?
            {
                let object = event.involved_object;
                let words = [
                    event.type_,
                    object.kind,
                    object.name,
                    event.reason,
                    event.message,
                ];
                let words: Vec<String> = words.into_iter().flatten().collect();
                eprintln!("event: {}", words.join(" "));
            }
        }
        Api::<NamespaceObject>::all(client)
            .delete(&self.name, &DeleteParams::default())
            .await?;
        Ok(())
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            eprintln!("{}", self.cluster.log_tails());
        }
        // Dropping happens on the test's runtime, which must not be blocked on; so a thread with one of its own.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let Ok(runtime) = runtime else { return };
                let limit = Duration::from_secs(END_SECONDS);
                let end = async { tokio::time::timeout(limit, self.end(failed)).await };
                let ended = runtime.block_on(end);
                if !matches!(ended, Ok(Ok(()))) {
                    eprintln!("namespace {} was not deleted: {ended:?}", self.name);
                }
            });
        });
    }
}
