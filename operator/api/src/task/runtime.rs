//! `spec.runtime`.

use axiom_hive_core::task::ProcessProtocol;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::SecretRef;
use crate::schema;

/// Who answers: exactly one kind.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.process), has(self.openAI), has(self.http), has(self.echo)].exists_one(given, given)")
    .message("must have exactly one of `process`, `openAI`, `http` and `echo`"))]
pub struct Runtime {
    /// A program in a container of its own, spoken to over its standard input and output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessRuntime>,
    /// An OpenAI-compatible chat-completions endpoint.
    #[serde(default, rename = "openAI", skip_serializing_if = "Option::is_none")]
    pub open_ai: Option<OpenAiRuntime>,
    /// A service that takes and answers JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpRuntime>,
    /// The built-in runtime that answers with the prompt; for trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<EchoRuntime>,
}

/// A program in a container of its own.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.command.size() + (has(self.args) ? self.args.size() : 0) <= 64")
    .message("`command` and `args` must together have at most 64 items").field_path(".args"))]
pub struct ProcessRuntime {
    /// The image: one that the constitution lists, pinned by digest where it demands that.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^[-a-zA-Z0-9._:/@]+$')")
        .message("must be an image reference, such as \"registry.example.com/team/runtime@sha256:…\""))]
    pub image: String,
    /// The program and its first arguments. An image's own entry point is not used: the shim that
    /// confines the program must know what it starts.
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)), extend("x-kubernetes-list-type" = "atomic"))]
    pub command: Vec<String>,
    /// Further arguments. Nothing in them is expanded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)), extend("x-kubernetes-list-type" = "atomic"))]
    pub args: Vec<String>,
    /// Environment variables with plain values; at most 64. No Secret can be named here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,
    /// `text` (the default): one process a branch, prompt on standard input, answer on standard output.
    /// `ndjson`: one long-lived process, a JSON request and a JSON reply per line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::protocol")]
    pub protocol: Option<ProcessProtocol>,
}

/// An environment variable with a plain value.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Its name: letters, digits and `_`, not beginning with a digit.
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$")
    )]
    pub name: String,
    /// Its value. Nothing in it is expanded.
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// An OpenAI-compatible chat-completions endpoint.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OpenAiRuntime {
    /// The URL before `/chat/completions`. The constitution's `egress` must open its host and port.
    #[serde(rename = "baseURL")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@]+(/[^?#]*)?$')")
        .message("must be an http or https URL without user, query and fragment"))]
    pub base_url: String,
    /// The model: one that the constitution lists, where it lists any.
    #[schemars(length(min = 1, max = 256))]
    pub model: String,
    /// How the model is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<ModelParameters>,
    /// A Secret with the key `axiomhive-api-key`, sent only to the hosts that its key
    /// `axiomhive-allowed-hosts` lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_secret_ref: Option<SecretRef>,
    /// Certificate authorities of the endpoint, as PEM, in place of the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    #[x_kube(validation = Rule::new("self.startsWith('-----BEGIN CERTIFICATE-----')")
        .message("must be PEM: one or more certificates, and nothing before them"))]
    pub ca_bundle: Option<String>,
}

/// How a model is asked. The seed is the supervisor's.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ModelParameters {
    /// A system message before the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub system: Option<String>,
    /// The temperature in thousandths: 700 is 0.7; default the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2000))]
    pub temperature_thousandths: Option<i32>,
    /// Upper bound of generated tokens; default the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 131_072))]
    pub max_tokens: Option<i32>,
}

/// A service that takes `{"prompt", "branch", "seed"}` and answers `{"text", "usage"?}`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HttpRuntime {
    /// The URL that is posted to. The constitution's `egress` must open its host and port.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@]+([/?][^#]*)?$')")
        .message("must be an http or https URL without user and fragment"))]
    pub url: String,
}

/// The built-in runtime that answers with the prompt. It has no settings.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct EchoRuntime {}
