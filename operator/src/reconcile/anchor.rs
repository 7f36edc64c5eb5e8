//! The anchor: the last head of the ledger that was verified, kept off the ledger's volume.
//!
//! Whoever rolls the volume back, or forks the ledger, cannot change what stands here. The operator takes
//! no head that does not continue it, and says so.

use std::sync::Arc;
use std::time::Duration;

use axiom_hive_client::ledger::ClientError;
use axiom_hive_core::tlog::Checkpoint;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use tokio_util::sync::CancellationToken;

use super::{Context, ReconcileError};
use crate::api::names::LEDGER_HEAD;

/// How often the head is looked at; it is written at most so often, and only when it changed.
const INTERVAL: Duration = Duration::from_mins(1);
/// The key of the signed note.
const KEY: &str = "checkpoint";

/// Keeps the anchor until `shutdown`.
pub(super) async fn keep(context: Arc<Context>, shutdown: CancellationToken) {
    loop {
        match context.anchor().await {
            Ok(()) => {}
            Err(ReconcileError::Ledger(error)) if error.is_forked() => {
                context.metrics.refused();
                tracing::error!(%error, "the ledger does not continue its anchor, ConfigMap {LEDGER_HEAD}");
            }
            // Another operator was faster, or it is for the next time.
            Err(error) => tracing::warn!(%error, "the ledger's head was not anchored"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

impl Context {
    async fn anchor(&self) -> Result<(), ReconcileError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.settings.namespace);
        let stored = api.get_opt(LEDGER_HEAD).await?;
        let note = stored.as_ref().and_then(|it| it.data.as_ref()?.get(KEY));
        let known = note.map(|note| Checkpoint::open(note, self.ledger.key()));
        let known = known.transpose().map_err(ClientError::from)?;
        let deadline = self.ledger_deadline();
        let Some(head) = self.ledger.head(known.as_ref(), deadline).await? else {
            return Ok(());
        };
        self.metrics.anchored(head.checkpoint.size);
        if known.is_some_and(|known| known.size == head.checkpoint.size) {
            return Ok(());
        }
        let data = Some([(KEY.to_owned(), head.note)].into());
        let parameters = PostParams::default();
        if let Some(mut stored) = stored {
            // With the version that was read: nobody's later head is overwritten.
            stored.data = data;
            api.replace(LEDGER_HEAD, &parameters, &stored).await?;
        } else {
            let created = ConfigMap {
                metadata: ObjectMeta {
                    name: Some(LEDGER_HEAD.to_owned()),
                    ..ObjectMeta::default()
                },
                data,
                ..ConfigMap::default()
            };
            api.create(&parameters, &created).await?;
        }
        Ok(())
    }
}
