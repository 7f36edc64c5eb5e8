//! The task behind an intent that somebody else appended.
//!
//! In a cluster the operator appends the intent, with the task as payloads. The supervisor takes the
//! task from there, and with it the salts under which the intent commits to it; for what it adds
//! itself it has salts of its own.

use serde::Deserialize;

use crate::interceptor::HashKey;
use crate::record::{Body, Commitment, Label, Payload, Record, Salts, TaskRef};
use crate::task::{PromptSource, RuntimeSpec, TaskSpec};

use super::prepared::Task;

/// Why an intent cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntentError {
    /// Another kind of record.
    #[error("a task must begin with an intent; this record is of another kind")]
    NotAnIntent,
    /// A payload is not there.
    #[error("the intent's {0} must be kept with it")]
    Missing(Label),
    /// A payload is not what its label says.
    #[error("the intent's {0} must be what its label says")]
    Malformed(Label),
    /// A prompt came with the task and from elsewhere, or from neither.
    #[error("a prompt must come with the task, or be read from where the task says, and not both")]
    Prompt,
}

impl Task {
    /// The task that `intent` commits to, out of its `payloads`. `prompt` is the text that was read
    /// from where the task says, if it says so; the intent then commits to an empty one, which nobody
    /// reads. That the intent commits to this very task, [`Supervisor::new`](super::Supervisor::new) checks.
    pub fn intended(
        intent: &Record,
        payloads: &[Payload],
        prompt: Option<String>,
        seed: [u8; 32],
        hash_key: HashKey,
    ) -> Result<Self, IntentError> {
        let Body::Intent {
            task,
            runtime,
            task_text,
            prompt: intended,
            ..
        } = &intent.body
        else {
            return Err(IntentError::NotAnIntent);
        };
        let find = |label: Label, commitment: &Commitment| {
            let found = payloads.iter().find(|p| p.commitment() == *commitment);
            let found = found.ok_or_else(|| IntentError::Missing(label.clone()))?;
            let is_labelled = found.label == label;
            is_labelled
                .then_some(found)
                .ok_or(IntentError::Malformed(label))
        };
        let text = find(Label::TASK, task_text)?;
        let mut own = vec![text, find(Label::RUNTIME, &runtime.spec)?];
        let is_elsewhere = prompt.is_some();
        let prompt = if let Some(prompt) = prompt {
            prompt
        } else {
            let sent = find(Label::PROMPT, intended)?;
            own.push(sent);
            let sent = String::from_utf8(sent.bytes.clone());
            sent.map_err(|_| IntentError::Malformed(Label::PROMPT))?
        };
        let spec = spec_of(&text.bytes, prompt).ok_or(IntentError::Malformed(Label::TASK))?;
        if spec.prompt_from.is_some() != is_elsewhere {
            return Err(IntentError::Prompt);
        }
        Ok(Self {
            spec,
            reference: TaskRef::clone(task),
            salts: Salts::Continued {
                recorded: own.iter().map(|p| (p.label.clone(), p.salt)).collect(),
                seed,
            },
            hash_key,
        })
    }
}

/// The `task` payload.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TaskText {
    prompt_from: Option<PromptSource>,
    runtime: RuntimeSpec,
    branches: Option<u32>,
}

/// The task of a `task` payload and a prompt.
pub(super) fn spec_of(task_text: &[u8], prompt: String) -> Option<TaskSpec> {
    let TaskText {
        prompt_from,
        runtime,
        branches,
    } = serde_json::from_slice(task_text).ok()?;
    Some(TaskSpec {
        prompt,
        prompt_from,
        runtime,
        branches,
    })
}
