//! A task as the cache keeps it: of one that has ended, what is needed to delete it one day.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use serde::{Deserialize, Deserializer};

use crate::api::task::Runtime;
use crate::api::{SupervisedTask, SupervisedTaskStatus};

/// A task, stripped while it is read: prompts, answers and receipts of thousands of ended tasks are up to 192 KiB each.
#[derive(Debug, Clone)]
pub(super) struct Kept(DeserializeGuard<SupervisedTask>);

impl Kept {
    pub(super) fn read(&self) -> Result<&SupervisedTask, &InvalidObject> {
        self.0.0.as_ref()
    }

    pub(super) fn has_ended(&self) -> bool {
        let status = self.read().ok().and_then(|task| task.status.as_ref());
        status.is_some_and(|status| status.outcome.is_some())
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut guard = DeserializeGuard::<SupervisedTask>::deserialize(from)?;
        if let Ok(task) = &mut guard.0 {
            strip(task);
        }
        Ok(Self(guard))
    }
}

fn strip(task: &mut SupervisedTask) {
    // `kubectl apply` keeps a copy of the whole object in the one, the API server a list of its fields in the other.
    task.metadata.annotations = None;
    task.metadata.managed_fields = None;
    let ended = task.status.take_if(|status| status.outcome.is_some());
    if let Some(status) = ended {
        task.status = Some(SupervisedTaskStatus {
            outcome: status.outcome,
            completion_time: status.completion_time,
            ..SupervisedTaskStatus::default()
        });
        task.spec.prompt = None;
        task.spec.runtime = Runtime::default();
    }
}

impl Resource for Kept {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        SupervisedTask::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        SupervisedTask::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        SupervisedTask::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        SupervisedTask::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::Kept;

    fn task(status: &Value) -> Kept {
        let object = json!({
            "apiVersion": "axiomhive.io/v1alpha1",
            "kind": "SupervisedTask",
            "metadata": {"name": "one", "uid": "1", "annotations": {"a": "long"},
                "managedFields": [{"manager": "somebody"}]},
            "spec": {"constitutionRef": {"name": "open"}, "prompt": "long", "runtime": {"echo": {}},
                "ttlSecondsAfterFinished": 60},
            "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn of_an_ended_task_no_text_is_kept() {
        let running = task(&json!({"attempt": 1, "receipt": "long"}));
        let kept = running.read().unwrap();
        assert_eq!(kept.spec.prompt.as_deref(), Some("long"));
        assert!(kept.spec.runtime.echo.is_some() && !running.has_ended());
        assert_eq!(kept.status.as_ref().unwrap().attempt, Some(1));
        let ended = json!({"outcome": "Answered", "answer": "long", "receipt": "long",
            "completionTime": "2026-01-01T00:00:00Z"});
        let ended = task(&ended);
        assert!(ended.has_ended());
        let text = serde_json::to_string(ended.read().unwrap()).unwrap();
        assert!(!text.contains("long") && !text.contains("echo"), "{text}");
        let kept = ended.read().unwrap();
        assert_eq!(kept.spec.ttl_seconds_after_finished, Some(60));
        assert!(kept.status.as_ref().unwrap().completion_time.is_some());
    }

    #[test]
    fn one_that_cannot_be_read_is_kept_as_such() {
        let object = json!({"apiVersion": "axiomhive.io/v1alpha1", "kind": "SupervisedTask",
            "metadata": {"name": "one"}, "spec": {"prompt": 7}});
        let kept: Kept = serde_json::from_value(object).unwrap();
        assert!(kept.read().is_err() && !kept.has_ended());
    }
}
