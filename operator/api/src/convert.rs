//! Between the custom resources and the core's models.
//!
//! The fields of both are written alike (`camelCase`, absent at their default), so a conversion writes
//! one and reads the other; the core validates what it reads.

use std::collections::BTreeMap;

use axiom_hive_core::constitution as core;
use axiom_hive_core::task::PromptSource as CorePromptSource;
use axiom_hive_core::task::{ProcessProtocol, PromptSourceKind, RuntimeSpec, TaskSpec};
use serde_json::Value;

use super::constitution::{ConstitutionSpec, NamespaceSelector};
use super::task::{PromptSource, Runtime, SupervisedTaskSpec};

/// What an object says cannot be said in the core's model. Schema and CEL refuse all of these; an
/// object that is older than a rule can still hold one.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A field of a constitution.
    #[error("spec: must be a constitution: {0}")]
    Constitution(#[from] serde_json::Error),
    /// A task without a prompt, or with two.
    #[error("spec.prompt: must have exactly one of `prompt` and `promptFrom`")]
    Prompt,
    /// A task without a place for its prompt, or with two.
    #[error("spec.promptFrom: must have exactly one of `configMapKeyRef` and `secretKeyRef`")]
    PromptSource,
    /// A task without a runtime, or with two.
    #[error("spec.runtime: must have exactly one of `process`, `openAI`, `http` and `echo`")]
    Runtime,
    /// An integer out of its range.
    #[error("spec.{0}: must not be negative")]
    Negative(&'static str),
}

impl ConstitutionSpec {
    /// The core's constitution; not yet validated.
    pub fn to_core(&self) -> Result<core::Constitution, ConvertError> {
        let mut value = serde_json::to_value(self)?;
        if let Value::Object(fields) = &mut value {
            fields.remove("namespaces");
        }
        Ok(serde_json::from_value(value)?)
    }

    /// The object's spec for a constitution, usable by the namespaces that `namespaces` selects.
    pub fn from_core(
        constitution: &core::Constitution,
        namespaces: NamespaceSelector,
    ) -> Result<Self, ConvertError> {
        let mut value: Value = serde_json::from_slice(&constitution.canonical_json())?;
        value["namespaces"] = serde_json::to_value(namespaces)?;
        Ok(serde_json::from_value(value)?)
    }
}

impl SupervisedTaskSpec {
    /// What is asked for, as the supervisor runs it and as the digest is computed over it. The prompt
    /// is empty where `promptFrom` is given.
    pub fn to_core(&self) -> Result<TaskSpec, ConvertError> {
        let (prompt, prompt_from) = match (&self.prompt, &self.prompt_from) {
            (Some(prompt), None) => (prompt.clone(), None),
            (None, Some(source)) => (String::new(), Some(source.to_core()?)),
            _ => return Err(ConvertError::Prompt),
        };
        Ok(TaskSpec {
            prompt,
            prompt_from,
            runtime: self.runtime.to_core()?,
            branches: unsigned("branches", self.branches)?,
        })
    }
}

impl PromptSource {
    fn to_core(&self) -> Result<CorePromptSource, ConvertError> {
        let (kind, key) = match (&self.config_map_key_ref, &self.secret_key_ref) {
            (Some(key), None) => (PromptSourceKind::ConfigMap, key),
            (None, Some(key)) => (PromptSourceKind::Secret, key),
            _ => return Err(ConvertError::PromptSource),
        };
        Ok(CorePromptSource {
            kind,
            name: key.name.clone(),
            key: key.key.clone(),
        })
    }
}

impl Runtime {
    /// The core's runtime. Arguments follow the command: the core knows one list.
    pub fn to_core(&self) -> Result<RuntimeSpec, ConvertError> {
        match (&self.process, &self.open_ai, &self.http, &self.echo) {
            (Some(process), None, None, None) => Ok(RuntimeSpec::Process {
                protocol: process.protocol.unwrap_or(ProcessProtocol::Text),
                command: [&process.command[..], &process.args[..]].concat(),
                env: process
                    .env
                    .iter()
                    .map(|variable| (variable.name.clone(), variable.value.clone()))
                    .collect::<BTreeMap<_, _>>(),
                image: Some(process.image.clone()),
            }),
            (None, Some(endpoint), None, None) => {
                let parameters = endpoint.parameters.clone().unwrap_or_default();
                Ok(RuntimeSpec::OpenAi {
                    base_url: endpoint.base_url.clone(),
                    model: endpoint.model.clone(),
                    system: parameters.system,
                    temperature_thousandths: unsigned(
                        "runtime.openAI.parameters.temperatureThousandths",
                        parameters.temperature_thousandths,
                    )?,
                    max_tokens: unsigned(
                        "runtime.openAI.parameters.maxTokens",
                        parameters.max_tokens,
                    )?,
                    ca_bundle: endpoint.ca_bundle.clone(),
                    api_key_secret: endpoint
                        .api_key_secret_ref
                        .as_ref()
                        .map(|secret| secret.name.clone()),
                })
            }
            (None, None, Some(service), None) => Ok(RuntimeSpec::Http {
                url: service.url.clone(),
            }),
            (None, None, None, Some(_)) => Ok(RuntimeSpec::Echo),
            _ => Err(ConvertError::Runtime),
        }
    }
}

fn unsigned(field: &'static str, value: Option<i32>) -> Result<Option<u32>, ConvertError> {
    value
        .map(|value| u32::try_from(value).map_err(|_| ConvertError::Negative(field)))
        .transpose()
}
