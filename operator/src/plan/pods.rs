//! What a runner pod's status says. The supervisor's container counts, and no other: a runtime can make
//! the pod's phase what it likes.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use k8s_openapi::jiff::Timestamp;

use crate::api::names::ATTEMPT_LABEL;

/// Exit codes of a supervisor that was told to stop, and of one that was not asked.
pub(super) const TERMINATED: i32 = 143;
pub(super) const KILLED: i32 = 137;

/// A runner pod, as far as decisions look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSeen {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Which attempt it is.
    pub attempt: u32,
    /// Since when it is there.
    pub created: Timestamp,
    /// Where it stands.
    pub phase: PodPhase,
}

/// Where a runner pod stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodPhase {
    /// Nothing of note yet.
    Starting,
    /// The scheduler finds no node.
    Unschedulable(String),
    /// An image is not there yet.
    ImagePull(String),
    /// It can never start.
    Broken(String),
    /// The supervisor runs.
    Running,
    /// The supervisor ended.
    Ended {
        /// With this.
        exit_code: i32,
    },
    /// It ended, and its supervisor never did: evicted, node lost, an init container failed.
    Lost(String),
    /// It is being deleted and has not ended.
    Terminating,
}

impl PodSeen {
    /// `None` for a pod without a UID, a time or an attempt: it is not ours.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let metadata = &pod.metadata;
        let attempt = metadata.labels.as_ref()?.get(ATTEMPT_LABEL)?.parse().ok()?;
        Some(Self {
            name: metadata.name.clone()?,
            uid: metadata.uid.clone()?,
            attempt,
            created: metadata.creation_timestamp.as_ref()?.0,
            phase: phase(pod),
        })
    }

    /// It runs or may yet run.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.has_ended() && self.phase != PodPhase::Terminating
    }

    /// What became of one whose supervisor left no record of the end.
    #[must_use]
    pub fn loss(&self) -> Option<String> {
        match &self.phase {
            PodPhase::Ended { exit_code } => {
                let (attempt, meaning) = (self.attempt, meaning(*exit_code));
                Some(format!(
                    "attempt {attempt} ended with exit code {exit_code}{meaning}"
                ))
            }
            PodPhase::Lost(why) => Some(format!("the attempt's pod was lost: {why}")),
            _ => None,
        }
    }

    /// It will not run again.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, PodPhase::Ended { .. } | PodPhase::Lost(_))
    }
}

/// What an exit code of a supervisor says, where it could not record an end (`docs/USAGE.md`).
fn meaning(exit_code: i32) -> &'static str {
    match exit_code {
        1 => ": its input could not be used",
        2 => ": the constitution or the configuration could not be used",
        5 => ": it could not reach the ledger",
        6 => ": the runtime could not be isolated",
        7 => ": what the ledger gave it did not verify",
        70 => ": a bug, which its log describes",
        KILLED => ": killed, by its node or for its memory",
        TERMINATED => ": told to stop, by its node or by whoever deleted its pod",
        _ => "",
    }
}

fn phase(pod: &Pod) -> PodPhase {
    let empty = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&empty);
    let supervisor = status
        .container_statuses
        .iter()
        .flatten()
        .find(|it| it.name == "supervisor");
    let state = supervisor.and_then(|it| it.state.as_ref());
    if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
        return PodPhase::Ended {
            exit_code: ended.exit_code,
        };
    }
    if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        let reason = status
            .reason
            .clone()
            .unwrap_or_else(|| "it ended".to_owned());
        return PodPhase::Lost(reason);
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return PodPhase::Terminating;
    }
    if state.is_some_and(|state| state.running.is_some()) {
        return PodPhase::Running;
    }
    waiting(status)
}

fn waiting(status: &PodStatus) -> PodPhase {
    let containers = status.init_container_statuses.iter().flatten();
    let containers = containers.chain(status.container_statuses.iter().flatten());
    for container in containers {
        if let Some((reason, message)) = cause(container) {
            let why = format!("{} ({reason}): {message}", container.name);
            match reason {
                "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" => {
                    return PodPhase::ImagePull(why);
                }
                "InvalidImageName"
                | "ErrImageNeverPull"
                | "CreateContainerConfigError"
                | "CreateContainerError"
                | "ImageInspectError" => return PodPhase::Broken(why),
                _ => {}
            }
        }
    }
    let mut conditions = status.conditions.iter().flatten();
    let unplaced = conditions.find(|it| it.type_ == "PodScheduled" && it.status == "False");
    match unplaced {
        Some(condition) => PodPhase::Unschedulable(condition.message.clone().unwrap_or_default()),
        None => PodPhase::Starting,
    }
}

fn cause(container: &ContainerStatus) -> Option<(&str, &str)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    Some((reason, waiting.message.as_deref().unwrap_or_default()))
}
