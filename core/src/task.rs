//! A task: one prompt to be answered under one constitution.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::constitution::RuntimeKind;

/// What a user asks for. In a cluster this is the `spec` of a `SupervisedTask`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskSpec {
    /// The prompt; bounded by the constitution's `max_prompt_bytes`. Empty in an operator's hands
    /// where `prompt_from` is given: only the supervisor reads it.
    pub prompt: String,
    /// Where the prompt was read from, if it did not come with the task. The spec's digest then has
    /// this place in it and not the prompt, so that whoever cannot read the prompt can compute it;
    /// the prompt has its own commitment in the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_from: Option<PromptSource>,
    /// Who answers.
    pub runtime: RuntimeSpec,
    /// Fewer or more branches than the constitution's `max_branches`, which is the upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branches: Option<u32>,
}

/// One key of an object in the task's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PromptSource {
    /// What kind of object.
    pub kind: PromptSourceKind,
    /// Its name; at most 253 bytes.
    pub name: String,
    /// The key; at most 253 bytes, beginning with `axiomhive-prompt`.
    pub key: String,
}

/// What a prompt is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PromptSourceKind {
    /// A `ConfigMap`.
    ConfigMap,
    /// A `Secret`.
    Secret,
}

/// Who answers. Every text in here is a user's choice, never a runtime's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "kind",
    deny_unknown_fields
)]
pub enum RuntimeSpec {
    /// A process over stdin and stdout.
    Process {
        /// How prompt and answer travel.
        protocol: ProcessProtocol,
        /// Program and arguments: 1..=64 items of at most 4096 bytes.
        command: Vec<String>,
        /// In a cluster: the image that the program is in; at most 512 bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<String>,
        /// Plain environment values: at most 64 of at most 4096 bytes.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
    },
    /// `POST` of `{"prompt", "branch", "seed"}`; the answer is `{"text", "usage"?}`.
    Http {
        /// `http://` or `https://`; at most 2048 bytes.
        url: String,
    },
    /// An OpenAI-compatible chat-completions endpoint.
    #[serde(rename = "openai")]
    OpenAi {
        /// The URL before `/chat/completions`; at most 2048 bytes.
        base_url: String,
        /// The model's name; at most 256 bytes.
        model: String,
        /// A system message put before the prompt; at most 65536 bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        system: Option<String>,
        /// Thousandths, 0..=2000; absent: the server's default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        temperature_thousandths: Option<u32>,
        /// Upper bound of generated tokens: 1..=131072; absent: the server's default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_tokens: Option<u32>,
        /// The endpoint's certificate authorities as PEM, in place of the machine's; at most 65536 bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca_bundle: Option<String>,
        /// In a cluster: the `Secret` whose API key is sent; at most 253 bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        api_key_secret: Option<String>,
    },
    /// Answers with the prompt.
    Echo,
}

/// How prompt and answer travel to and from a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProcessProtocol {
    /// One process a branch: prompt on stdin, answer on stdout until end of file.
    Text,
    /// One long-lived process: a JSON request and a JSON reply per line.
    Ndjson,
}

impl RuntimeSpec {
    /// The kind, as the constitution lists it.
    #[must_use]
    pub fn kind(&self) -> RuntimeKind {
        match self {
            Self::Process { .. } => RuntimeKind::Process,
            Self::Http { .. } => RuntimeKind::Http,
            Self::OpenAi { .. } => RuntimeKind::OpenAi,
            Self::Echo => RuntimeKind::Echo,
        }
    }

    /// The model that is named, if the kind has one.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::OpenAi { model, .. } => Some(model),
            Self::Process { .. } | Self::Http { .. } | Self::Echo => None,
        }
    }
}
