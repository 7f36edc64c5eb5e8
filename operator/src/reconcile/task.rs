//! One look at a task: steps until it waits.

use std::sync::Arc;
use std::time::Duration;

use axiom_hive_client::ledger::Proven;
use axiom_hive_core::record::{Body, Record};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::runtime::controller::Action;

use super::dispatch::{Dispatched, Ready, pinned, uid_of};
use super::write::write_status;
use super::{Context, ReconcileError};
use crate::api::SupervisedTask;
use crate::api::condition::{ConditionReason, ConditionType, find};
use crate::api::names::TASK_UID_LABEL;
use crate::api::task::SupervisedTaskStatus;
use crate::plan::decide::{Obstacle, SILENCE, Seen, Step, Waiting, decide};
use crate::plan::notice::notice;
use crate::plan::pods::PodSeen;
use crate::plan::status::{At, advanced, waiting};

/// Steps of one look; a task that needs more is looked at again.
const MAX_STEPS: usize = 12;
/// Upper bound of the pods of one task.
const MAX_PODS: u32 = 1100;
/// How soon a ledger that did not answer is asked again; a question itself waits for a while.
const LEDGER_PAUSE: SignedDuration = SignedDuration::from_secs(2);
/// A pod gets at least so long: 10 s are kept for recording.
const LEAST_DEADLINE_SECONDS: i64 = 15;

/// One look at a task.
pub(super) async fn reconcile(
    task: SupervisedTask,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    if task.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let status = task.status.clone().unwrap_or_default();
    if status.outcome.is_some() {
        return expire(&task, &status, &context).await;
    }
    let uid = uid_of(&task);
    let mut look = Look::new(task, status, &context).await?;
    let looked = match look.steps().await {
        Err(ReconcileError::Ledger(error)) if error.is_passing() => {
            tracing::warn!(uid, %error, "the ledger does not answer");
            look.wait(&without_ledger()).await
        }
        looked => looked,
    };
    match looked {
        Err(error) if error.is_conflict() => Ok(Action::requeue(Duration::from_millis(200))),
        Ok(action) => {
            context.succeeded(&uid);
            Ok(action)
        }
        Err(error) => Err(error),
    }
}

/// The same words at every look, so that looking writes nothing.
fn without_ledger() -> Waiting {
    Waiting {
        reason: ConditionReason::LedgerUnavailable,
        message: "the ledger must answer; without it nothing is started and nothing ends"
            .to_owned(),
        is_stalled: false,
        look_again: LEDGER_PAUSE,
    }
}

/// Deletes a task whose time after its end is over.
async fn expire(
    task: &SupervisedTask,
    status: &SupervisedTaskStatus,
    context: &Context,
) -> Result<Action, ReconcileError> {
    let (Some(ttl), Some(completed)) = (
        task.spec.ttl_seconds_after_finished,
        &status.completion_time,
    ) else {
        return Ok(Action::await_change());
    };
    let left = i64::from(ttl) - Timestamp::now().duration_since(completed.0).as_secs();
    if let Ok(left @ 1..) = u64::try_from(left) {
        return Ok(Action::requeue(Duration::from_secs(left)));
    }
    let metadata = &task.metadata;
    let (namespace, name) = (
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    );
    let api: Api<SupervisedTask> = Api::namespaced(context.client.clone(), namespace);
    delete(&api, name, &uid_of(task)).await?;
    Ok(Action::await_change())
}

/// Everything that is known while one look lasts.
pub(super) struct Look<'c> {
    pub(super) context: &'c Context,
    pub(super) task: SupervisedTask,
    pub(super) status: SupervisedTaskStatus,
    pub(super) uid: String,
    pub(super) pods: Vec<Pod>,
    pub(super) records: Option<Vec<Proven>>,
    /// Why the task ends, where this look ends it.
    pub(super) message: Option<String>,
}

impl<'c> Look<'c> {
    async fn new(
        task: SupervisedTask,
        status: SupervisedTaskStatus,
        context: &'c Context,
    ) -> Result<Self, ReconcileError> {
        let uid = uid_of(&task);
        let mut look = Self {
            context,
            task,
            status,
            uid,
            pods: Vec::new(),
            records: None,
            message: None,
        };
        let mine = ListParams::default()
            .labels(&format!("{TASK_UID_LABEL}={}", look.uid))
            .limit(MAX_PODS);
        let found = look.pod_api().list(&mine).await?.items;
        // A label proves nothing: only what the task owns is its pod.
        look.pods = found
            .into_iter()
            .filter(|pod| owns(&look.uid, pod))
            .collect();
        Ok(look)
    }

    pub(super) fn pod_api(&self) -> Api<Pod> {
        Api::namespaced(self.context.client.clone(), &self.namespace())
    }

    pub(super) fn namespace(&self) -> String {
        self.task.metadata.namespace.clone().unwrap_or_default()
    }

    async fn steps(&mut self) -> Result<Action, ReconcileError> {
        for _ in 0..MAX_STEPS {
            let (step, ready) = self.next().await?;
            tracing::debug!(uid = self.uid, ?step, "step");
            if let Some(action) = self.carry_out(step, ready).await? {
                return Ok(action);
            }
        }
        Ok(Action::requeue(Duration::from_secs(1)))
    }

    async fn next(&self) -> Result<(Step, Option<Ready>), ReconcileError> {
        let seen_pods: Vec<PodSeen> = self.pods.iter().filter_map(PodSeen::of).collect();
        let records: Option<Vec<Record>> = self
            .records
            .as_ref()
            .map(|all| all.iter().map(|it| it.verified.record.clone()).collect());
        let pin = pinned(&self.task, &self.pods, records.as_deref());
        let (ready, obstacle) = match self.context.resolve(&self.task, pin).await? {
            Ok(ready) => (Some(ready), None),
            Err(obstacle) => (None, Some(obstacle)),
        };
        let obstacle = match (obstacle, &ready) {
            (None, Some(ready)) => self.walls(ready).await?,
            (obstacle, _) => obstacle,
        };
        let intended = self.context.intended(&self.uid);
        let validated = ready.as_ref().map(|ready| &ready.validated);
        let seen = Seen {
            attempt: self.attempt(),
            retries: unsigned(self.status.retries),
            retry_limit: validated.map_or(0, |it| it.retry_limit),
            is_suspended: self.task.spec.suspend,
            is_resumed: !self.task.spec.suspend && self.status.suspend_time.is_some(),
            deadline: validated.and_then(|it| self.deadline(it.timeout_seconds)),
            obstacle: obstacle.as_ref(),
            pods: &seen_pods,
            records: records.as_deref(),
            intended_pod: intended.as_deref(),
            now: Timestamp::now(),
        };
        Ok((decide(&seen), ready))
    }

    /// What stands between a task that may run and its pod.
    async fn walls(&self, ready: &Ready) -> Result<Option<Obstacle>, ReconcileError> {
        if !self.context.is_guarded() {
            return Ok(Some(Obstacle {
                reason: ConditionReason::GuardMissing,
                message: "the guard policies of the chart must be installed".to_owned(),
                is_stalled: true,
            }));
        }
        let pod = self.context.build(&self.task, self.attempt(), ready, 60)?;
        let labels = pod.metadata.labels.unwrap_or_default();
        let egress = &ready.prepared.constitution().egress;
        let foreign = self
            .context
            .secure(&self.namespace(), egress, &labels)
            .await?;
        Ok((!foreign.is_empty()).then(|| Obstacle {
            reason: ConditionReason::ForeignPolicy,
            message: format!(
                "no other network policy may open runner pods; these do: {}",
                foreign.join(", ")
            ),
            is_stalled: true,
        }))
    }

    fn attempt(&self) -> u32 {
        unsigned(self.status.attempt)
    }

    /// When the first pod was created.
    pub(super) fn started(&self) -> Option<Timestamp> {
        let pods = self
            .pods
            .iter()
            .filter_map(|pod| Some(pod.metadata.creation_timestamp.as_ref()?.0));
        self.status
            .start_time
            .as_ref()
            .map(|time| time.0)
            .or_else(|| self.first_intent())
            .or_else(|| pods.min())
    }

    /// When the first intent was made, as far as the ledger was asked: the pod itself may be gone.
    fn first_intent(&self) -> Option<Timestamp> {
        let records = self.records.iter().flatten();
        let mut intents = records.filter_map(|it| match &it.verified.record.body {
            Body::Intent { observed, .. } => Some(observed.at_unix_ms),
            _ => None,
        });
        let at = i64::try_from(intents.next()?).ok()?;
        Timestamp::from_millisecond(at).ok()
    }

    /// When all attempts together must have ended. Time suspended does not count.
    fn deadline(&self, timeout_seconds: u32) -> Option<Timestamp> {
        let suspended = self.status.suspended_seconds.unwrap_or(0);
        let since = self
            .status
            .suspend_time
            .as_ref()
            .map_or(0, |time| Timestamp::now().duration_since(time.0).as_secs());
        let all = SignedDuration::from_secs(i64::from(timeout_seconds) + suspended + since.max(0));
        self.started()?.checked_add(all).ok()
    }

    pub(super) fn at(&self) -> At {
        At {
            now: Timestamp::now(),
            generation: self.task.metadata.generation,
        }
    }

    /// `None`: see what is next.
    async fn carry_out(
        &mut self,
        step: Step,
        ready: Option<Ready>,
    ) -> Result<Option<Action>, ReconcileError> {
        match step {
            Step::AskLedger => {
                self.records = Some(self.context.records(&self.uid).await?);
                Ok(None)
            }
            Step::Dispatch { attempt } => self.dispatch(attempt, ready).await,
            Step::Intend { attempt, pod_uid } => self.intend(attempt, &pod_uid, ready).await,
            Step::Advance {
                attempt,
                is_retry,
                message,
            } => {
                let status = advanced(
                    &self.status,
                    (attempt, is_retry),
                    &message,
                    self.started(),
                    self.at(),
                );
                self.write(status).await?;
                self.context.metrics.advanced(is_retry);
                Ok(None)
            }
            Step::DeletePod { name, uid } => {
                delete(&self.pod_api(), &name, &uid).await?;
                // Its end is seen as a change.
                Ok(Some(Action::requeue(Duration::from_secs(15))))
            }
            Step::Close {
                attempt,
                stop,
                message,
            } => {
                let intent = self.intent_to_close(attempt, ready).await?;
                self.context.close(&intent, stop).await?;
                self.message = Some(message);
                self.records = Some(self.context.records(&self.uid).await?);
                Ok(None)
            }
            Step::Conclude { attempt } => {
                let all = self.records.as_deref().unwrap_or_default();
                self.context.conclude(all, attempt).await?;
                self.records = Some(self.context.records(&self.uid).await?);
                Ok(None)
            }
            Step::Finish => self.finish().await.map(Some),
            Step::Wait(why) => self.wait(&why).await.map(Some),
        }
    }

    async fn dispatch(
        &mut self,
        attempt: u32,
        ready: Option<Ready>,
    ) -> Result<Option<Action>, ReconcileError> {
        let Some(ready) = ready else {
            return Err(ReconcileError::Unexpected(
                "a pod needs a constitution".to_owned(),
            ));
        };
        let timeout = i64::from(ready.validated.timeout_seconds);
        let left = self
            .deadline(ready.validated.timeout_seconds)
            .map_or(timeout, |deadline| {
                deadline.duration_since(Timestamp::now()).as_secs()
            });
        let left = u32::try_from(left.max(LEAST_DEADLINE_SECONDS)).unwrap_or(u32::MAX);
        let pod = self.context.build(&self.task, attempt, &ready, left)?;
        match self.context.create(&pod).await? {
            Dispatched::Pod(pod) => {
                tracing::info!(
                    uid = self.uid,
                    attempt,
                    pod = pod.metadata.name,
                    "dispatched"
                );
                self.pods.retain(|old| old.metadata.uid != pod.metadata.uid);
                self.pods.push(*pod);
                Ok(None)
            }
            Dispatched::Wait(message) => {
                self.refused(ConditionReason::Waiting, message, false).await
            }
            Dispatched::Refused(message) => {
                self.refused(ConditionReason::NotAllowed, message, true)
                    .await
            }
        }
    }

    async fn refused(
        &mut self,
        reason: ConditionReason,
        message: String,
        is_stalled: bool,
    ) -> Result<Option<Action>, ReconcileError> {
        let why = Waiting {
            reason,
            message,
            is_stalled,
            look_again: SignedDuration::from_secs(15),
        };
        self.wait(&why).await.map(Some)
    }

    /// Says why, unless it is soon or said already.
    async fn wait(&mut self, why: &Waiting) -> Result<Action, ReconcileError> {
        let look_again = Duration::from_secs(u64::try_from(why.look_again.as_secs()).unwrap_or(60));
        let said =
            find(&self.status.conditions, ConditionType::Succeeded).map(|it| it.reason.clone());
        let is_silent = matches!(said.as_deref(), None | Some("Pending"));
        if is_silent {
            if why.reason == ConditionReason::Running {
                return Ok(Action::requeue(look_again));
            }
            let created = self
                .task
                .metadata
                .creation_timestamp
                .as_ref()
                .map(|time| time.0);
            let age = created.map_or(SILENCE, |created| Timestamp::now().duration_since(created));
            if age < SILENCE && why.reason != ConditionReason::Suspended && !why.is_stalled {
                let left = u64::try_from((SILENCE - age).as_millis()).unwrap_or(0);
                return Ok(Action::requeue(
                    Duration::from_millis(left + 100).min(look_again),
                ));
            }
        }
        let status = waiting(&self.status, why, self.at());
        if status != self.status {
            self.write(status).await?;
        }
        Ok(Action::requeue(look_again))
    }

    /// One write, which fails when somebody else wrote in between; then an event, where the change is worth one.
    pub(super) async fn write(
        &mut self,
        status: SupervisedTaskStatus,
    ) -> Result<(), ReconcileError> {
        let api: Api<SupervisedTask> =
            Api::namespaced(self.context.client.clone(), &self.namespace());
        self.task = write_status(&api, &self.task, &self.status, &status).await?;
        let now = self.task.status.clone().unwrap_or_default();
        let before = std::mem::replace(&mut self.status, now);
        if let Some(notice) = notice(&before, &self.status) {
            self.context.announce(&self.task, notice).await;
        }
        Ok(())
    }
}

fn owns(uid: &str, pod: &Pod) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

fn unsigned(number: Option<i32>) -> u32 {
    number
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0)
}

/// Deletes this very object; one that is gone or another of its name is left alone.
pub(super) async fn delete<K>(api: &Api<K>, name: &str, uid: &str) -> Result<(), ReconcileError>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let parameters = DeleteParams::background().preconditions(Preconditions {
        uid: Some(uid.to_owned()),
        resource_version: None,
    });
    match api.delete(name, &parameters).await {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        deleted => Ok(deleted.map(drop)?),
    }
}
