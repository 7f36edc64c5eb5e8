//! Names of everything that the operator makes or looks for, and their bounds.
//!
//! Objects that the operator owns begin with [`PREFIX`], which the guard policies reserve. A pod's name
//! is also its host name, so it has at most 63 bytes.

/// What the names of our own objects begin with.
pub const PREFIX: &str = "axh-";
/// The service account of runner pods; it has no rights.
pub const RUNNER_SERVICE_ACCOUNT: &str = "axh-runner";
/// What the answer Secret's name begins with.
pub const ANSWER_SECRET_PREFIX: &str = "axh-answer-";
/// The key of the answer in that Secret.
pub const ANSWER_KEY: &str = "answer";
/// The anchor: a `ConfigMap` with the last verified head of the ledger.
pub const LEDGER_HEAD: &str = "axh-ledger-head";
/// The audience of the tokens that runner pods present to the ledger.
pub const TOKEN_AUDIENCE: &str = "axiom-hive-ledger";

/// The label that marks a runner pod, with the value [`RUNNER`].
pub const ROLE_LABEL: &str = "axiomhive.io/role";
/// The value of [`ROLE_LABEL`] on runner pods.
pub const RUNNER: &str = "runner";
/// The label with the task's UID on everything made for a task.
pub const TASK_UID_LABEL: &str = "axiomhive.io/task-uid";
/// The label with the attempt's number on a runner pod.
pub const ATTEMPT_LABEL: &str = "axiomhive.io/attempt";
/// The labels that are copied from a task to its pod: Kueue's, and no other.
pub const COPIED_LABELS: [&str; 2] = ["kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"];

/// The key of a Secret from which an API key is read.
pub const API_KEY_KEY: &str = "axiomhive-api-key";
/// The key of the same Secret with the hosts that the API key may be sent to, one a line.
pub const ALLOWED_HOSTS_KEY: &str = "axiomhive-allowed-hosts";
/// What a key must begin with for a prompt to be read from it.
pub const PROMPT_KEY_PREFIX: &str = "axiomhive-prompt";

/// Upper bound of a task's name, in bytes.
pub const MAX_TASK_NAME_BYTES: usize = 52;
/// Upper bound of a pod's name, in bytes.
pub const MAX_POD_NAME_BYTES: usize = 63;

/// The name of the pod of one attempt: `axh-TASK-UID-ATTEMPT`, of which the task's name is cut so that
/// all of it fits. The first 12 hexadecimal digits of the UID tell tasks of one name apart.
#[must_use]
pub fn pod_name(task: &str, uid: &str, attempt: u32) -> String {
    let uid: String = uid
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(12)
        .collect();
    let tail = format!("-{uid}-{attempt}");
    let room = MAX_POD_NAME_BYTES.saturating_sub(PREFIX.len() + tail.len());
    let task = &task[..task.floor_char_boundary(room)];
    format!("{PREFIX}{}{tail}", task.trim_end_matches('-'))
}

/// The name of the Secret with a task's long answer.
#[must_use]
pub fn answer_secret_name(uid: &str) -> String {
    format!("{ANSWER_SECRET_PREFIX}{uid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "6f0b2c1e-8a44-4f0e-9d3b-1c2d3e4f5a6b";

    #[test]
    fn a_pod_is_named_by_task_uid_and_attempt() {
        assert_eq!(pod_name("hello", UID, 0), "axh-hello-6f0b2c1e8a44-0");
        let longest = pod_name(&"a".repeat(MAX_TASK_NAME_BYTES), UID, 1000);
        assert_eq!(longest.len(), MAX_POD_NAME_BYTES);
        assert!(longest.ends_with("-6f0b2c1e8a44-1000"), "{longest}");
    }

    #[test]
    fn a_cut_name_keeps_no_double_dash() {
        let task = format!("{}-{}", "a".repeat(40), "b".repeat(11));
        assert!(!pod_name(&task, UID, 1000).contains("--"));
    }
}
