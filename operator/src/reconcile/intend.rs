//! Intents: the record that names the pod of an attempt.

use axiom_hive_core::record::{Body, Record, TaskRef};
use kube::runtime::controller::Action;

use super::ReconcileError;
use super::dispatch::Ready;
use super::records::Intention;
use super::task::Look;
use crate::plan::pods::PodSeen;
use crate::plan::status::advanced;

impl Look<'_> {
    /// The last intent up to this attempt. An attempt that ended before its intent was appended gets it
    /// now: no task ends without one.
    pub(super) async fn intent_to_close(
        &self,
        attempt: u32,
        ready: Option<Ready>,
    ) -> Result<Record, ReconcileError> {
        let all = self.context.records(&self.uid).await?;
        let mut intents = all
            .into_iter()
            .map(|it| it.verified.record)
            .filter(|it| matches!(&it.body, Body::Intent { task, .. } if task.attempt <= attempt));
        if let Some(intent) = intents.next_back() {
            return Ok(intent);
        }
        let mut pods = self.pods.iter().filter_map(PodSeen::of);
        let pod = pods.find(|pod| pod.attempt == attempt);
        let pod_uid = pod.map(|pod| pod.uid);
        self.append_intent(attempt, pod_uid.as_deref(), ready).await
    }

    /// Gives the intent that fills the slot.
    async fn append_intent(
        &self,
        attempt: u32,
        pod_uid: Option<&str>,
        ready: Option<Ready>,
    ) -> Result<Record, ReconcileError> {
        let Some(ready) = ready else {
            return Err(ReconcileError::Unexpected(
                "an intent needs a constitution".to_owned(),
            ));
        };
        let entry = self.context.intent(Intention {
            spec: &ready.validated.task,
            prepared: &ready.prepared,
            task: TaskRef {
                uid: self.uid.clone(),
                attempt,
            },
            pod_uid,
        })?;
        let deadline = self.context.ledger_deadline();
        let appended = self.context.ledger.append(&entry, deadline).await?;
        Ok(appended.proven.verified.record)
    }

    /// Appends the intent of a pod. Where it names another pod, this attempt is not to be had any more.
    pub(super) async fn intend(
        &mut self,
        attempt: u32,
        pod_uid: &str,
        ready: Option<Ready>,
    ) -> Result<Option<Action>, ReconcileError> {
        let intent = self.append_intent(attempt, Some(pod_uid), ready).await?;
        let is_this_pod = matches!(&intent.body, Body::Intent { observed, .. } if observed.pod_uid.as_deref() == Some(pod_uid));
        if is_this_pod {
            self.context.remember_intended(&self.uid, pod_uid);
        } else {
            let message = "the intent of this attempt names another pod";
            let status = advanced(
                &self.status,
                (attempt + 1, false),
                message,
                self.started(),
                self.at(),
            );
            self.write(status).await?;
        }
        Ok(None)
    }
}
