//! The pod of one attempt.
//!
//! ```text
//! install     init        our image      copies the static binary into `bin`       (process runtimes only)
//! runtime     sidecar     user's image   our shim from `bin`, then the user's program   (process runtimes only)
//! supervisor  main        our image      drives, votes, filters, records
//! ```
//!
//! The pod passes the restricted Pod Security Standard whatever task and constitution say. What a user
//! wrote stands in it only where Kubernetes has a field of its own for it (image, resources,
//! scheduling): prompt, command and environment travel in the ledger's `intent`, since Kubernetes would
//! expand `$(VAR)` in a container's arguments.

use std::collections::BTreeMap;

use axiom_hive_core::constitution::{Constitution, Containment, UserNamespaces};
use axiom_hive_core::digest::Digest;
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, EmptyDirVolumeSource, HostAlias, KeyToPath,
    LocalObjectReference, Pod, PodSecurityContext, PodSpec, ProjectedVolumeSource,
    ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext,
    ServiceAccountTokenProjection, Toleration, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::network::{EGRESS_LABEL, LedgerPods, egress_profile};
use super::resources::Limits;
use crate::api::SupervisedTask;
use crate::api::names::{
    ALLOWED_HOSTS_KEY, API_KEY_KEY, ATTEMPT_LABEL, COPIED_LABELS, ROLE_LABEL, RUNNER,
    RUNNER_SERVICE_ACCOUNT, TASK_UID_LABEL, TOKEN_AUDIENCE, pod_name,
};
use crate::api::task::{ProcessRuntime, PromptSource};

/// Everything of ours in the pod is below it, and no program of the runtime may read it.
pub const OWN_DIR: &str = "/axiom-hive";
/// Where our static binary is for the runtime's container.
pub const BIN_DIR: &str = "/axiom-hive/bin";
/// The directory of the one socket between supervisor and runtime.
pub const SOCKET_DIR: &str = "/axiom-hive/socket";
/// What the runtime may write.
pub const SCRATCH_DIR: &str = "/axiom-hive/scratch";
/// The directory of the token for the ledger.
pub const TOKEN_DIR: &str = "/axiom-hive/token";
/// The directory of a prompt that comes from a `ConfigMap` or `Secret`.
pub const PROMPT_DIR: &str = "/axiom-hive/prompt";
/// The directory of an API key and the hosts that it may be sent to.
pub const API_KEY_DIR: &str = "/axiom-hive/api-key";

/// The supervisor's user and group. The runtime's is derived and never this.
pub const SUPERVISOR_UID: i64 = 65_532;
/// The first and the number of the users that runtimes get: process limits count per user over all
/// pods of a node, so tasks must not share one.
pub const RUNTIME_UIDS: (i64, i64) = (1_900_000_000, 200_000_000);
/// How long a supervisor that is told to stop may wait for an append in flight.
const GRACE_SECONDS: i64 = 10;
/// A bound token lives at least so long (API server's minimum); the kubelet renews it.
const TOKEN_SECONDS: i64 = 600;
const BIN_MIB: u64 = 64;
const SOCKET_MIB: u64 = 1;

/// What the operator's own configuration says about runner pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerSettings {
    /// The runner image, with its digest.
    pub image: String,
    /// Where the ledger is.
    pub ledger: LedgerEndpoint,
}

/// How a runner pod reaches the ledger, and how it knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEndpoint {
    /// The name on its certificate.
    pub host: String,
    /// The address of its service: runners need no DNS for it.
    pub address: String,
    /// The port that answers nothing but a greeting, and that no policy opens.
    pub canary_port: u16,
    /// Its pods, for the policy.
    pub pods: LedgerPods,
    /// The authority of its certificate, as PEM.
    pub ca: String,
    /// Its public key (vkey).
    pub vkey: String,
}

/// What one attempt is.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The task.
    pub task: &'a SupervisedTask,
    /// The constitution that it runs under.
    pub constitution: &'a Constitution,
    /// Counted from 0.
    pub number: u32,
    /// What the record will say of the task.
    pub spec_digest: Digest,
    /// What is left of the task's time.
    pub deadline_seconds: u32,
}

/// The pod of an attempt. `task` must have a name, a namespace and a UID, as every stored object has.
#[must_use]
pub fn pod(attempt: &Attempt<'_>, limits: &Limits, settings: &RunnerSettings) -> Pod {
    let metadata = &attempt.task.metadata;
    let uid = metadata.uid.clone().unwrap_or_default();
    let name = pod_name(
        metadata.name.as_deref().unwrap_or_default(),
        &uid,
        attempt.number,
    );
    Pod {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: metadata.namespace.clone(),
            labels: Some(labels(attempt, &uid)),
            owner_references: Some(vec![OwnerReference {
                api_version: "axiomhive.io/v1alpha1".to_owned(),
                kind: "SupervisedTask".to_owned(),
                name: metadata.name.clone().unwrap_or_default(),
                uid: uid.clone(),
                controller: Some(true),
                block_owner_deletion: Some(false),
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(spec(attempt, limits, settings, &uid)),
        status: None,
    }
}

fn labels(attempt: &Attempt<'_>, uid: &str) -> BTreeMap<String, String> {
    let own = [
        (ROLE_LABEL, RUNNER.to_owned()),
        (TASK_UID_LABEL, uid.to_owned()),
        (ATTEMPT_LABEL, attempt.number.to_string()),
        ("app.kubernetes.io/name", "axiom-hive-runner".to_owned()),
        ("app.kubernetes.io/managed-by", "axiom-hive".to_owned()),
    ];
    let given = attempt.task.metadata.labels.iter().flatten();
    let copied = given.filter(|(key, _)| COPIED_LABELS.contains(&key.as_str()));
    let mut labels: BTreeMap<String, String> =
        copied.map(|(k, v)| (k.clone(), v.clone())).collect();
    labels.extend(own.map(|(key, value)| (key.to_owned(), value)));
    labels.extend(
        egress_profile(&attempt.constitution.egress).map(|it| (EGRESS_LABEL.to_owned(), it)),
    );
    labels
}

fn spec(attempt: &Attempt<'_>, limits: &Limits, settings: &RunnerSettings, uid: &str) -> PodSpec {
    let task = &attempt.task.spec;
    let cluster = &attempt.constitution.cluster;
    let process = task.runtime.process.as_ref();
    let names = |names: Vec<String>| {
        (!names.is_empty()).then(|| {
            names
                .into_iter()
                .map(|name| LocalObjectReference { name })
                .collect()
        })
    };
    PodSpec {
        restart_policy: Some("Never".to_owned()),
        service_account_name: Some(RUNNER_SERVICE_ACCOUNT.to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        host_users: (cluster.user_namespaces == UserNamespaces::Required).then_some(false),
        runtime_class_name: match &cluster.containment {
            Containment::Sandboxed { runtime_class_name } => Some(runtime_class_name.clone()),
            Containment::Strict | Containment::NoNetwork => None,
        },
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(SUPERVISOR_UID),
            run_as_group: Some(SUPERVISOR_UID),
            // Both sides of the socket reach its directory by this group.
            fs_group: Some(SUPERVISOR_UID),
            seccomp_profile: Some(runtime_default()),
            ..PodSecurityContext::default()
        }),
        active_deadline_seconds: Some(i64::from(attempt.deadline_seconds)),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        priority_class_name: task.priority_class_name.clone(),
        node_selector: (!task.node_selector.is_empty()).then(|| task.node_selector.clone()),
        tolerations: (!task.tolerations.is_empty())
            .then(|| task.tolerations.iter().map(toleration).collect()),
        image_pull_secrets: names(
            task.image_pull_secrets
                .iter()
                .map(|it| it.name.clone())
                .collect(),
        ),
        host_aliases: Some(vec![HostAlias {
            ip: settings.ledger.address.clone(),
            hostnames: Some(vec![settings.ledger.host.clone()]),
        }]),
        init_containers: process
            .map(|process| vec![install(settings), runtime(process, limits, uid)]),
        containers: vec![supervisor(attempt, settings, uid)],
        volumes: Some(volumes(attempt, limits)),
        ..PodSpec::default()
    }
}

/// Copies our static binary to where the runtime's container finds it.
fn install(settings: &RunnerSettings) -> Container {
    Container {
        name: "install".to_owned(),
        image: Some(settings.image.clone()),
        command: Some(vec![
            "/bin/hive_supervisor".to_owned(),
            "install".to_owned(),
            BIN_DIR.to_owned(),
        ]),
        resources: Some(Limits::small().requirements()),
        security_context: Some(restricted(SUPERVISOR_UID)),
        volume_mounts: Some(vec![mount("bin", BIN_DIR, false)]),
        ..Container::default()
    }
}

/// The user's image, in which nothing runs before our agent has put up the walls. What it is to run,
/// and behind which walls, the supervisor tells it.
fn runtime(process: &ProcessRuntime, limits: &Limits, uid: &str) -> Container {
    let command = vec![
        format!("{BIN_DIR}/hive_supervisor"),
        "runtime".to_owned(),
        format!("--socket={SOCKET_DIR}/runtime"),
        format!("--scratch={SCRATCH_DIR}"),
        format!("--private={OWN_DIR}"),
    ];
    Container {
        name: "runtime".to_owned(),
        image: Some(process.image.clone()),
        command: Some(command),
        restart_policy: Some("Always".to_owned()),
        resources: Some(limits.requirements()),
        security_context: Some(restricted(runtime_uid(uid))),
        volume_mounts: Some(vec![
            mount("bin", BIN_DIR, true),
            mount("socket", SOCKET_DIR, false),
            mount("scratch", SCRATCH_DIR, false),
        ]),
        ..Container::default()
    }
}

fn supervisor(attempt: &Attempt<'_>, settings: &RunnerSettings, uid: &str) -> Container {
    let task = &attempt.task.spec;
    let ledger = &settings.ledger;
    let mut args = vec![
        "run".to_owned(),
        format!("--task-uid={uid}"),
        format!("--attempt={}", attempt.number),
        format!("--spec-digest={}", attempt.spec_digest),
        format!("--constitution-digest={}", attempt.constitution.digest()),
        format!("--ledger=https://{}:{}", ledger.host, ledger.pods.port),
        format!("--ledger-canary-port={}", ledger.canary_port),
        format!("--ledger-ca={}", ledger.ca),
        format!("--ledger-key={}", ledger.vkey),
        format!("--token={TOKEN_DIR}/token"),
        format!("--deadline-seconds={}", attempt.deadline_seconds),
    ];
    let mut mounts = vec![mount("token", TOKEN_DIR, true)];
    if task.runtime.process.is_some() {
        args.push(format!("--runtime-socket={SOCKET_DIR}/runtime"));
        args.push(format!("--runtime-uid={}", runtime_uid(uid)));
        mounts.push(mount("socket", SOCKET_DIR, false));
    }
    if task.prompt_from.is_some() {
        args.push(format!("--prompt={PROMPT_DIR}/prompt"));
        mounts.push(mount("prompt", PROMPT_DIR, true));
    }
    if api_key_secret(attempt.task).is_some() {
        args.push(format!("--api-key={API_KEY_DIR}"));
        mounts.push(mount("api-key", API_KEY_DIR, true));
    }
    Container {
        name: "supervisor".to_owned(),
        image: Some(settings.image.clone()),
        command: Some(vec!["/bin/hive_supervisor".to_owned()]),
        // A dollar sign is doubled, so that nothing in an argument is taken for a variable.
        args: Some(args.into_iter().map(|arg| arg.replace('$', "$$")).collect()),
        resources: Some(Limits::supervisor().requirements()),
        security_context: Some(restricted(SUPERVISOR_UID)),
        termination_message_path: Some("/dev/termination-log".to_owned()),
        termination_message_policy: Some("File".to_owned()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

fn volumes(attempt: &Attempt<'_>, limits: &Limits) -> Vec<Volume> {
    let task = &attempt.task.spec;
    let mut volumes = vec![token()];
    if task.runtime.process.is_some() {
        volumes.push(empty_dir("bin", BIN_MIB, true));
        volumes.push(empty_dir("socket", SOCKET_MIB, true));
        volumes.push(empty_dir("scratch", limits.ephemeral_storage_mib, false));
    }
    volumes.extend(task.prompt_from.as_ref().and_then(prompt_volume));
    if let Some(name) = api_key_secret(attempt.task) {
        let items = [API_KEY_KEY, ALLOWED_HOSTS_KEY];
        volumes.push(Volume {
            name: "api-key".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(name.to_owned()),
                items: Some(items.map(|key| item(key, key)).into()),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        });
    }
    volumes
}

fn api_key_secret(task: &SupervisedTask) -> Option<&str> {
    let model = task.spec.runtime.open_ai.as_ref()?;
    model.api_key_secret_ref.as_ref().map(|it| it.name.as_str())
}

/// The one key of the one object that the task names, and nothing beside it.
fn prompt_volume(from: &PromptSource) -> Option<Volume> {
    let mut volume = Volume {
        name: "prompt".to_owned(),
        ..Volume::default()
    };
    if let Some(key) = &from.config_map_key_ref {
        volume.config_map = Some(ConfigMapVolumeSource {
            name: key.name.clone(),
            items: Some(vec![item(&key.key, "prompt")]),
            ..ConfigMapVolumeSource::default()
        });
    } else {
        let key = from.secret_key_ref.as_ref()?;
        volume.secret = Some(SecretVolumeSource {
            secret_name: Some(key.name.clone()),
            items: Some(vec![item(&key.key, "prompt")]),
            ..SecretVolumeSource::default()
        });
    }
    Some(volume)
}

fn item(key: &str, path: &str) -> KeyToPath {
    KeyToPath {
        key: key.to_owned(),
        path: path.to_owned(),
        mode: None,
    }
}

/// A token for the ledger and for nobody else, which dies with the pod.
fn token() -> Volume {
    Volume {
        name: "token".to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![VolumeProjection {
                service_account_token: Some(ServiceAccountTokenProjection {
                    audience: Some(TOKEN_AUDIENCE.to_owned()),
                    expiration_seconds: Some(TOKEN_SECONDS),
                    path: "token".to_owned(),
                }),
                ..VolumeProjection::default()
            }]),
            default_mode: None,
        }),
        ..Volume::default()
    }
}

fn empty_dir(name: &str, mib: u64, in_memory: bool) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: in_memory.then(|| "Memory".to_owned()),
            size_limit: Some(Quantity(format!("{mib}Mi"))),
        }),
        ..Volume::default()
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(read_only),
        ..VolumeMount::default()
    }
}

fn toleration(from: &crate::api::task::Toleration) -> Toleration {
    Toleration {
        key: Some(from.key.clone()),
        operator: from.operator.map(|operator| format!("{operator:?}")),
        value: from.value.clone(),
        effect: from.effect.map(|effect| format!("{effect:?}")),
        toleration_seconds: from.toleration_seconds,
    }
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile {
        type_: "RuntimeDefault".to_owned(),
        localhost_profile: None,
    }
}

fn restricted(user: i64) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        run_as_user: Some(user),
        run_as_group: Some(user),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        seccomp_profile: Some(runtime_default()),
        ..SecurityContext::default()
    }
}

/// The runtime's user: a function of the task's UID.
#[must_use]
pub fn runtime_uid(task_uid: &str) -> i64 {
    let (first, count) = RUNTIME_UIDS;
    let digest = Digest::of(task_uid.as_bytes());
    let low = digest
        .0
        .iter()
        .take(6)
        .fold(0_i64, |number, byte| number << 8 | i64::from(*byte));
    first + low % count
}

impl Limits {
    /// As a container's resources: requests are the limits, so that no task lives on its neighbours.
    #[must_use]
    pub fn requirements(&self) -> ResourceRequirements {
        let mut all = BTreeMap::from([
            ("cpu".to_owned(), Quantity(format!("{}m", self.cpu_millis))),
            (
                "memory".to_owned(),
                Quantity(format!("{}Mi", self.memory_mib)),
            ),
            (
                "ephemeral-storage".to_owned(),
                Quantity(format!("{}Mi", self.ephemeral_storage_mib)),
            ),
        ]);
        let more = self
            .extended
            .iter()
            .map(|(name, count)| (name.clone(), Quantity(count.to_string())));
        all.extend(more);
        ResourceRequirements {
            limits: Some(all.clone()),
            requests: Some(all),
            claims: None,
        }
    }
}
