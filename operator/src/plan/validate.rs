//! A task against the constitution that it is to run under.
//!
//! The webhook asks when a task is applied, and whoever starts a pod asks again: both say the same
//! sentences, and all of them at once.

use axiom_hive_core::constitution::{Constitution, Quorum, RuntimeKind, TolerationRule, Violation};
use axiom_hive_core::task::{RuntimeSpec, TaskSpec};

use super::image::Image;
use super::quantity::{mebibytes, thousandths};
use super::reach::is_open;
use super::resources::Limits;
use crate::api::SupervisedTaskSpec;
use crate::api::task::{Toleration, TolerationOperator};

/// Upper bound of a prompt in a task, in bytes; the schema's counts characters.
pub const MAX_PROMPT_BYTES: usize = 131_072;
/// `retryLimit` where a task names none, unless the constitution allows fewer.
const DEFAULT_RETRY_LIMIT: u32 = 2;
/// Limits of a runtime where a task names none, unless the constitution allows less.
const DEFAULT_CPU_MILLIS: u32 = 500;
const DEFAULT_MEMORY_MIB: u32 = 512;
const DEFAULT_EPHEMERAL_STORAGE_MIB: u32 = 256;

/// A task that may run, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validated {
    /// What the supervisor runs.
    pub task: TaskSpec,
    /// How many branches are asked: 1..=64.
    pub branches: u32,
    /// Deadline over all attempts.
    pub timeout_seconds: u32,
    /// How many attempts may follow a failed one.
    pub retry_limit: u32,
    /// What the runtime may use.
    pub limits: Limits,
}

/// What the task asks for, or everything about it that the constitution does not allow.
pub fn validate(
    spec: &SupervisedTaskSpec,
    constitution: &Constitution,
) -> Result<Validated, Vec<Violation>> {
    let task = spec.to_core().map_err(|error| {
        let text = error.to_string();
        let (path, message) = text.split_once(": ").unwrap_or(("spec", &text));
        vec![violation(path, message)]
    })?;
    let mut check = Check {
        constitution,
        violations: Vec::new(),
    };
    check.prompt(&task);
    check.runtime(&task.runtime);
    let branches = check.branches(task.branches);
    let timeout_seconds = check.timeout(spec);
    let retry_limit = check.retries(spec);
    let limits = check.limits(spec);
    check.scheduling(spec);
    if check.violations.is_empty() {
        Ok(Validated {
            task,
            branches,
            timeout_seconds,
            retry_limit,
            limits,
        })
    } else {
        Err(check.violations)
    }
}

fn violation(path: &str, message: impl Into<String>) -> Violation {
    Violation {
        path: path.to_owned(),
        message: message.into(),
    }
}

struct Check<'c> {
    constitution: &'c Constitution,
    violations: Vec<Violation>,
}

impl Check<'_> {
    /// `message` says what must hold; who says so is added.
    fn fail(&mut self, path: &str, message: &str) {
        let meta = &self.constitution.meta;
        let by = format!("(constitution {} {})", meta.name, meta.version);
        self.violations
            .push(violation(path, format!("{message} {by}")));
    }

    /// `value`, or else `default`; either is at most `most`.
    fn at_most(&mut self, path: &str, value: Option<i32>, default: u32, most: u32) -> u32 {
        let value = value.map_or(default.min(most), |value| u32::try_from(value).unwrap_or(0));
        if value > most {
            self.fail(path, &format!("must be at most {most}, not {value}"));
        }
        value
    }

    fn prompt(&mut self, task: &TaskSpec) {
        if task.prompt_from.is_some() {
            return;
        }
        let most = MAX_PROMPT_BYTES.min(self.constitution.supervisor.max_prompt_bytes as usize);
        let length = task.prompt.len();
        if length > most {
            let message = format!("must have at most {most} bytes, not {length}");
            self.fail("spec.prompt", &message);
        }
        if !self.constitution.ledger.keep_prompt {
            // The supervisor gets an inline prompt with the intent, and an intent keeps what it brings.
            let message = "must come by `promptFrom` where `ledger.keepPrompt` is false";
            self.fail("spec.prompt", message);
        }
        if task.prompt.trim().is_empty() {
            self.violations
                .push(violation("spec.prompt", "must not be blank"));
        }
    }

    fn runtime(&mut self, runtime: &RuntimeSpec) {
        let kinds = &self.constitution.runtime.kinds;
        if !kinds.contains(&runtime.kind()) {
            let kinds: Vec<&str> = kinds.iter().map(|kind| field_of(*kind)).collect();
            let message = format!("must be one of {}", kinds.join(", "));
            self.fail("spec.runtime", &message);
        }
        match runtime {
            RuntimeSpec::Process { image, .. } => {
                self.image(image.as_deref().unwrap_or_default());
            }
            RuntimeSpec::OpenAi {
                base_url, model, ..
            } => {
                if !self.constitution.runtime.allows_model(model) {
                    let models = self.constitution.runtime.models.join(", ");
                    let message = format!("must be one of the listed models: {models}");
                    self.fail("spec.runtime.openAI.model", &message);
                }
                self.endpoint("spec.runtime.openAI.baseURL", base_url);
            }
            RuntimeSpec::Http { url } => self.endpoint("spec.runtime.http.url", url),
            RuntimeSpec::Echo => {}
        }
    }

    fn image(&mut self, reference: &str) {
        let path = "spec.runtime.process.image";
        let Some(image) = Image::parse(reference) else {
            let message = "must be an image reference, such as \
                \"registry.example.com/team/runtime@sha256:…\"";
            self.violations.push(violation(path, message));
            return;
        };
        let policy = &self.constitution.cluster;
        if !policy.images.iter().any(|it| image.is_listed_as(it)) {
            let message = match policy.images.len() {
                0 => "must be listed in `cluster.images`, which is empty".to_owned(),
                _ => format!(
                    "must be of a repository in `cluster.images` ({}), not {}",
                    policy.images.join(", "),
                    image.repository
                ),
            };
            self.fail(path, &message);
        }
        if policy.require_image_digest && !image.is_pinned {
            self.fail(path, "must be pinned by digest (@sha256:…)");
        }
    }

    fn endpoint(&mut self, path: &str, url: &str) {
        match is_open(&self.constitution.egress, url) {
            Some(true) => {}
            Some(false) => self.fail(path, "must name a host and port that `egress.allow` lists"),
            None => {
                let message = "must be an http or https URL without a user";
                self.violations.push(violation(path, message));
            }
        }
    }

    fn branches(&mut self, asked: Option<u32>) -> u32 {
        let policy = &self.constitution.supervisor;
        let least = match policy.quorum {
            Quorum::All => 1,
            Quorum::Valid => policy.min_valid_branches.unwrap_or(1),
        };
        let most = policy.max_branches;
        let branches = asked.unwrap_or(most);
        if !(least..=most).contains(&branches) {
            let message = format!("must be from {least} to {most}, not {branches}");
            self.fail("spec.branches", &message);
        }
        branches
    }

    fn timeout(&mut self, spec: &SupervisedTaskSpec) -> u32 {
        let most = self.constitution.supervisor.task_timeout_seconds;
        self.at_most("spec.timeoutSeconds", spec.timeout_seconds, most, most)
    }

    fn retries(&mut self, spec: &SupervisedTaskSpec) -> u32 {
        let most = self.constitution.cluster.max_retry_limit;
        self.at_most(
            "spec.retryLimit",
            spec.retry_limit,
            DEFAULT_RETRY_LIMIT,
            most,
        )
    }

    fn limits(&mut self, spec: &SupervisedTaskSpec) -> Limits {
        let policy = &self.constitution.cluster;
        let (cpu, memory, storage) = (
            policy.max_cpu_millis,
            policy.max_memory_mib,
            policy.max_ephemeral_storage_mib,
        );
        let mut limits = Limits {
            cpu_millis: DEFAULT_CPU_MILLIS.min(cpu).into(),
            memory_mib: DEFAULT_MEMORY_MIB.min(memory).into(),
            ephemeral_storage_mib: DEFAULT_EPHEMERAL_STORAGE_MIB.min(storage).into(),
            extended: std::collections::BTreeMap::new(),
        };
        let asked = spec.resources.iter().flat_map(|it| &it.limits);
        for (name, quantity) in asked {
            let path = format!("spec.resources.limits[{name}]");
            let (amount, most, unit) = match name.as_str() {
                "cpu" => (thousandths(quantity), cpu, "m"),
                "memory" => (mebibytes(quantity), memory, "Mi"),
                "ephemeral-storage" => (mebibytes(quantity), storage, "Mi"),
                _ => {
                    let listed = &self.constitution.cluster.max_extended_resources;
                    let Some(most) = listed.get(name) else {
                        self.fail(&path, "must be listed in `cluster.maxExtendedResources`");
                        continue;
                    };
                    // Whole devices only.
                    let whole = thousandths(quantity).filter(|it| it % 1000 == 0);
                    (whole.map(|it| it / 1000), *most, "")
                }
            };
            let amount = amount.and_then(|it| u64::try_from(it).ok());
            let Some(amount) = amount.filter(|it| (1..=u64::from(most)).contains(it)) else {
                self.fail(&path, &format!("must be above 0 and at most {most}{unit}"));
                continue;
            };
            match name.as_str() {
                "cpu" => limits.cpu_millis = amount,
                "memory" => limits.memory_mib = amount,
                "ephemeral-storage" => limits.ephemeral_storage_mib = amount,
                _ => drop(limits.extended.insert(name.clone(), amount)),
            }
        }
        limits
    }

    fn scheduling(&mut self, spec: &SupervisedTaskSpec) {
        let policy = &self.constitution.cluster;
        let mut failures = Vec::new();
        if let Some(class) = &spec.priority_class_name
            && !policy.priority_classes.contains(class)
        {
            let path = "spec.priorityClassName".to_owned();
            failures.push((path, "must be listed in `cluster.priorityClasses`"));
        }
        for (key, value) in &spec.node_selector {
            let values = policy.node_selector.get(key);
            if !values.is_some_and(|values| values.contains(value)) {
                let path = format!("spec.nodeSelector[{key}]");
                failures.push((path, "must have a value that `cluster.nodeSelector` lists"));
            }
        }
        for (index, toleration) in spec.tolerations.iter().enumerate() {
            if !policy
                .tolerations
                .iter()
                .any(|it| is_tolerable(toleration, it))
            {
                let path = format!("spec.tolerations[{index}]");
                failures.push((
                    path,
                    "must tolerate no more than `cluster.tolerations` lists",
                ));
            }
        }
        for (index, secret) in spec.image_pull_secrets.iter().enumerate() {
            if !policy.image_pull_secrets.contains(&secret.name) {
                let path = format!("spec.imagePullSecrets[{index}].name");
                failures.push((path, "must be listed in `cluster.imagePullSecrets`"));
            }
        }
        for (path, message) in failures {
            self.fail(&path, message);
        }
    }
}

/// Whether a toleration tolerates no more than the rule names.
fn is_tolerable(toleration: &Toleration, rule: &TolerationRule) -> bool {
    let any_value = toleration.operator == Some(TolerationOperator::Exists);
    let value = toleration.value.clone().unwrap_or_default();
    toleration.key == rule.key
        && rule
            .value
            .as_ref()
            .is_none_or(|only| !any_value && *only == value)
        && rule
            .effect
            .is_none_or(|only| toleration.effect == Some(only))
}

/// The field of `spec.runtime` for a kind.
fn field_of(kind: RuntimeKind) -> &'static str {
    match kind {
        RuntimeKind::Process => "process",
        RuntimeKind::Http => "http",
        RuntimeKind::OpenAi => "openAI",
        RuntimeKind::Echo => "echo",
    }
}
