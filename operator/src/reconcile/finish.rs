//! The end of a task: what the ledger holds, into the status.

use std::time::Duration;

use axiom_hive_core::record::Reason;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::PostParams;
use kube::runtime::controller::Action;

use super::ReconcileError;
use super::task::{Look, delete};
use crate::api::names::{ANSWER_KEY, answer_secret_name};
use crate::api::task::PodRef;
use crate::plan::pods::{PodPhase, PodSeen};
use crate::plan::status::{Answer, Ended, MAX_STATUS_ANSWER_BYTES, ended};

impl Look<'_> {
    /// Writes what the terminal record says, and leaves no pod behind.
    pub(super) async fn finish(&mut self) -> Result<Action, ReconcileError> {
        let all = self.records.take().unwrap_or_default();
        let Some(proven) = all.iter().find(|it| it.verified.record.is_terminal()) else {
            return Err(ReconcileError::Unexpected(
                "a terminal record is expected".to_owned(),
            ));
        };
        let record = &proven.verified.record;
        let answer = match self.context.answer(record, &self.uid).await? {
            Some(text) if text.len() > MAX_STATUS_ANSWER_BYTES => {
                Some(Answer::Secret(self.keep(text).await?))
            }
            text => text.map(Answer::Text),
        };
        let attempt = record.outcome().map(|outcome| outcome.task.attempt);
        let pods = self.pods.iter().filter_map(PodSeen::of);
        let of_attempt = pods.clone().find(|pod| Some(pod.attempt) == attempt);
        // An operator that died before it wrote the status knew why.
        let is_interrupted = record
            .outcome()
            .is_some_and(|it| it.decided.reason == Reason::Interrupted);
        let lost = of_attempt
            .as_ref()
            .filter(|_| is_interrupted)
            .and_then(PodSeen::loss);
        let end = Ended {
            record,
            ledger: self.context.pointer(proven),
            receipt: proven.receipt.to_string(),
            answer,
            pod: of_attempt.map(|pod| PodRef {
                name: pod.name,
                uid: pod.uid,
            }),
            started: self.started(),
            message: self.message.take().or(lost),
        };
        let running: Vec<PodSeen> = pods.filter(PodSeen::is_active).collect();
        let status = ended(&self.status, end, self.at());
        let status = status.ok_or_else(|| {
            ReconcileError::Unexpected("a terminal record is expected".to_owned())
        })?;
        tracing::info!(uid = self.uid, outcome = ?status.outcome, index = proven.verified.index, "ended");
        let ttl = self.task.spec.ttl_seconds_after_finished;
        self.write(status).await?;
        let applied = self.task.metadata.creation_timestamp.as_ref();
        let after = applied.map(|at| self.at().now.duration_since(at.0));
        let after = after.and_then(|after| Duration::try_from(after).ok());
        self.context
            .metrics
            .ended(record, after.unwrap_or_default());
        for pod in running {
            // A supervisor that has just recorded ends by itself within its grace time.
            if pod.phase != PodPhase::Running {
                delete(&self.pod_api(), &pod.name, &pod.uid).await?;
            }
        }
        Ok(ttl.map_or_else(Action::await_change, |ttl| {
            Action::requeue(Duration::from_secs(u64::try_from(ttl).unwrap_or(0)))
        }))
    }

    /// A long answer goes into a Secret of the task's namespace, which goes with the task.
    async fn keep(&self, text: String) -> Result<String, ReconcileError> {
        let name = answer_secret_name(&self.uid);
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(self.namespace()),
                owner_references: Some(vec![OwnerReference {
                    api_version: "axiomhive.io/v1alpha1".to_owned(),
                    kind: "SupervisedTask".to_owned(),
                    name: self.task.metadata.name.clone().unwrap_or_default(),
                    uid: self.uid.clone(),
                    controller: Some(true),
                    block_owner_deletion: Some(false),
                }]),
                ..ObjectMeta::default()
            },
            immutable: Some(true),
            string_data: Some([(ANSWER_KEY.to_owned(), text)].into()),
            ..Secret::default()
        };
        let api: Api<Secret> = Api::namespaced(self.context.client.clone(), &self.namespace());
        match api.create(&PostParams::default(), &secret).await {
            // Immutable and made for this UID by nobody else: the guard keeps the name for us.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(name),
            created => created.map(|_| name).map_err(ReconcileError::from),
        }
    }
}
