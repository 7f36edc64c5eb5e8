//! What a namespace has before a runner pod starts in it.

use axiom_hive_core::constitution::EgressPolicy;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{ListParams, PostParams};
use std::collections::BTreeMap;

use super::{Context, ReconcileError};
use crate::api::names::RUNNER_SERVICE_ACCOUNT;
use crate::plan::isolation::openings;
use crate::plan::network::policies;

/// Upper bound of the network policies of a namespace that are looked at; with more no pod starts.
const MAX_POLICIES: u32 = 500;

impl Context {
    /// The labels of a namespace.
    pub(super) async fn namespace_labels(
        &self,
        name: &str,
    ) -> Result<BTreeMap<String, String>, ReconcileError> {
        let namespace = Api::<Namespace>::all(self.client.clone())
            .get_metadata(name)
            .await?;
        Ok(namespace.metadata.labels.unwrap_or_default())
    }

    /// Makes sure of the service account and of our policies, and gives the names of foreign policies that
    /// open a pod with these labels.
    pub(super) async fn secure(
        &self,
        namespace: &str,
        egress: &EgressPolicy,
        labels: &BTreeMap<String, String>,
    ) -> Result<Vec<String>, ReconcileError> {
        let api: Api<NetworkPolicy> = Api::namespaced(self.client.clone(), namespace);
        let ours = policies(namespace, &self.settings.runner.ledger.pods, egress)?;
        let mut all = every_policy(&api).await?;
        let is_there = |name| all.iter().any(|it| it.metadata.name == name);
        let is_prepared =
            self.has_account(namespace) && ours.iter().all(|it| is_there(it.metadata.name.clone()));
        // Tasks that come together would each write the same: one at a time, which then sees what the one before it wrote.
        let _turn = if is_prepared {
            None
        } else {
            let turn = self.preparing.lock().await;
            all = every_policy(&api).await?;
            Some(turn)
        };
        for policy in &ours {
            self.ensure_policy(&api, &all, policy).await?;
        }
        if !self.has_account(namespace) {
            self.ensure_account(namespace).await?;
            self.remember_account(namespace, true);
        }
        Ok(openings(&all, &ours, labels))
    }

    async fn ensure_policy(
        &self,
        api: &Api<NetworkPolicy>,
        all: &[NetworkPolicy],
        policy: &NetworkPolicy,
    ) -> Result<(), ReconcileError> {
        let name = policy.metadata.name.as_deref().unwrap_or_default();
        match all
            .iter()
            .find(|it| it.metadata.name == policy.metadata.name)
        {
            Some(found) if found.spec == policy.spec => Ok(()),
            Some(found) => {
                let mut wanted = policy.clone();
                wanted
                    .metadata
                    .resource_version
                    .clone_from(&found.metadata.resource_version);
                tracing::warn!(
                    namespace = found.metadata.namespace,
                    name,
                    "a policy of ours was changed; it is put back"
                );
                Ok(api
                    .replace(name, &PostParams::default(), &wanted)
                    .await
                    .map(drop)?)
            }
            None => ignore_conflict(api.create(&PostParams::default(), policy).await),
        }
    }

    async fn ensure_account(&self, namespace: &str) -> Result<(), ReconcileError> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(RUNNER_SERVICE_ACCOUNT.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        };
        ignore_conflict(api.create(&PostParams::default(), &account).await)
    }
}

async fn every_policy(api: &Api<NetworkPolicy>) -> Result<Vec<NetworkPolicy>, ReconcileError> {
    let all = api.list(&ListParams::default().limit(MAX_POLICIES)).await?;
    if all.metadata.continue_.is_some_and(|more| !more.is_empty()) {
        let must = format!(
            "a namespace with runner pods must have at most {MAX_POLICIES} network policies"
        );
        return Err(ReconcileError::Unexpected(must));
    }
    Ok(all.items)
}

/// It is there already, which is what was wanted.
fn ignore_conflict<T>(created: Result<T, kube::Error>) -> Result<(), ReconcileError> {
    match created {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        created => Ok(created.map(drop)?),
    }
}
