//! From a task to what an attempt needs, and to its pod.

use std::sync::{Arc, PoisonError};

use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{Body, Record, TaskRef};
use axiom_hive_core::supervisor::Prepared;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;

use super::records::Intention;
use super::{Context, ReconcileError};
use crate::api::SupervisedTask;
use crate::api::condition::ConditionReason;
use crate::api::task::ConstitutionRef;
use crate::plan::decide::Obstacle;
use crate::plan::pod::{Attempt, pod};
use crate::plan::resolve::{Constitutions, NamespaceLabels, Resolved, Unresolved};
use crate::plan::validate::{Validated, validate};

/// The argument of a runner pod that names its constitution.
const DIGEST_ARGUMENT: &str = "--constitution-digest=";

/// A task that may run.
pub(super) struct Ready {
    pub(super) prepared: Arc<Prepared>,
    pub(super) validated: Validated,
}

/// The pod was created, or why it was not.
pub(super) enum Dispatched {
    Pod(Box<Pod>),
    /// The API server refuses for now.
    Wait(String),
    /// The API server refuses this pod for good.
    Refused(String),
}

/// A constitution that a task began under.
pub(super) struct Pinned {
    digest: Digest,
    /// Unknown where only a pod names it.
    version: Option<String>,
}

/// The constitution that earlier attempts of the task ran under.
pub(super) fn pinned(
    task: &SupervisedTask,
    pods: &[Pod],
    records: Option<&[Record]>,
) -> Option<Pinned> {
    let status = task
        .status
        .as_ref()
        .and_then(|status| status.constitution.as_ref());
    let from_status = status.and_then(|it| {
        Some(Pinned {
            digest: it.digest.parse().ok()?,
            version: Some(it.version.clone()),
        })
    });
    let from_records = || {
        let mut intents = records?.iter().filter_map(|record| match &record.body {
            Body::Intent { constitution, .. } => Some(constitution),
            _ => None,
        });
        let last = intents.next_back()?;
        Some(Pinned {
            digest: last.digest,
            version: Some(last.version.clone()),
        })
    };
    let from_pods = || {
        let digest = pods.iter().find_map(digest_argument)?;
        Some(Pinned {
            digest,
            version: None,
        })
    };
    from_status.or_else(from_records).or_else(from_pods)
}

fn digest_argument(pod: &Pod) -> Option<Digest> {
    let containers = &pod.spec.as_ref()?.containers;
    let args = containers
        .iter()
        .find(|it| it.name == "supervisor")?
        .args
        .as_ref()?;
    let digest = args
        .iter()
        .find_map(|arg| arg.strip_prefix(DIGEST_ARGUMENT))?;
    digest.parse().ok()
}

impl Context {
    /// What the task needs to run, or why it may not.
    pub(super) async fn resolve(
        &self,
        task: &SupervisedTask,
        pinned: Option<Pinned>,
    ) -> Result<Result<Ready, Obstacle>, ReconcileError> {
        let reference = &task.spec.constitution_ref;
        let resolved = match pinned {
            Some(pinned) => self.held(&reference.name, pinned)?,
            None => match self.referenced(task).await? {
                Ok(resolved) => resolved,
                Err(obstacle) => return Ok(Err(obstacle)),
            },
        };
        let Resolved {
            version,
            digest,
            content,
        } = resolved;
        let prepared = self
            .ready(&reference.name, &version, digest, content)
            .await?;
        Ok(match validate(&task.spec, prepared.constitution()) {
            Ok(validated) => Ok(Ready {
                prepared,
                validated,
            }),
            Err(violations) => {
                let all: Vec<String> = violations
                    .iter()
                    .map(|it| format!("{}: {}", it.path, it.message))
                    .collect();
                Err(Obstacle {
                    reason: ConditionReason::NotAllowed,
                    message: all.join("; "),
                    is_stalled: true,
                })
            }
        })
    }

    fn held(&self, name: &str, pinned: Pinned) -> Result<Resolved, ReconcileError> {
        let Pinned { digest, version } = pinned;
        if let Some(resolved) = self.known().held(name, &digest) {
            return Ok(resolved);
        }
        let must = || {
            format!(
                "constitution {name} with digest {digest} must be known; it comes from the ledger"
            )
        };
        let version = version.ok_or_else(|| ReconcileError::Unexpected(must()))?;
        Ok(Resolved {
            version,
            digest,
            content: None,
        })
    }

    pub(super) fn known(&self) -> std::sync::RwLockReadGuard<'_, Constitutions> {
        self.constitutions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn referenced(
        &self,
        task: &SupervisedTask,
    ) -> Result<Result<Resolved, Obstacle>, ReconcileError> {
        let namespace = task.metadata.namespace.as_deref().unwrap_or_default();
        let labels = self.namespace_labels(namespace).await?;
        let labels = NamespaceLabels {
            name: namespace,
            labels: &labels,
        };
        let reference: &ConstitutionRef = &task.spec.constitution_ref;
        let mut found = self.known().resolve(reference, labels);
        if let Err(Unresolved::Version { name, version }) = &found
            && self.learn(name, version).await?.is_some()
        {
            found = self.known().resolve(reference, labels);
        }
        Ok(found.map_err(|error| Obstacle {
            reason: if error.may_come() {
                ConditionReason::ConstitutionNotFound
            } else {
                ConditionReason::NamespaceNotSelected
            },
            message: error.to_string(),
            is_stalled: !error.may_come(),
        }))
    }

    /// The pod of an attempt, as it is built: the same every time.
    pub(super) fn build(
        &self,
        task: &SupervisedTask,
        number: u32,
        ready: &Ready,
        deadline_seconds: u32,
    ) -> Result<Pod, ReconcileError> {
        let entry = self.intent(Intention {
            spec: &ready.validated.task,
            prepared: &ready.prepared,
            task: TaskRef {
                uid: uid_of(task),
                attempt: number,
            },
            pod_uid: None,
        })?;
        let Body::Intent { spec, .. } = entry.record.body else {
            return Err(ReconcileError::Unexpected(
                "an intent is expected".to_owned(),
            ));
        };
        let attempt = Attempt {
            task,
            constitution: ready.prepared.constitution(),
            number,
            spec_digest: spec,
            deadline_seconds,
        };
        Ok(pod(
            &attempt,
            &ready.validated.limits,
            &self.settings.runner,
        ))
    }

    /// Creates the pod. One of its name that is there is ours if it belongs to this very task.
    pub(super) async fn create(&self, wanted: &Pod) -> Result<Dispatched, ReconcileError> {
        let namespace = wanted.metadata.namespace.as_deref().unwrap_or_default();
        let name = wanted.metadata.name.as_deref().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let status = match api.create(&PostParams::default(), wanted).await {
            Ok(pod) => return Ok(Dispatched::Pod(Box::new(pod))),
            Err(kube::Error::Api(status)) => status,
            Err(error) => return Err(error.into()),
        };
        match status.code {
            409 => {
                let found = api.get(name).await?;
                if owner(&found) == owner(wanted) {
                    Ok(Dispatched::Pod(Box::new(found)))
                } else {
                    Ok(Dispatched::Refused(format!(
                        "pod {name} must belong to this task, and does not"
                    )))
                }
            }
            403 => {
                self.remember_account(namespace, false);
                Ok(Dispatched::Wait(status.message.clone()))
            }
            400 | 422 => Ok(Dispatched::Refused(status.message.clone())),
            _ => Err(kube::Error::Api(status).into()),
        }
    }
}

fn owner(pod: &Pod) -> Option<&str> {
    let owners = pod.metadata.owner_references.iter().flatten();
    owners
        .filter(|it| it.controller == Some(true))
        .map(|it| it.uid.as_str())
        .next()
}

/// The UID, which every stored object has.
pub(super) fn uid_of(task: &SupervisedTask) -> String {
    task.metadata.uid.clone().unwrap_or_default()
}
