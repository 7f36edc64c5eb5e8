//! The canonical form: RFC 8785 JSON without the fields that are at their default.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::diagnostic::{Violation, quoted};
use super::model::{
    ClusterPolicy, Constitution, LedgerPolicy, Meta, RuntimePolicy, SupervisorPolicy,
};
use super::{MAX_CONSTITUTION_BYTES, validate};

/// Why bytes are not the canonical form of a valid constitution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// More than [`MAX_CONSTITUTION_BYTES`].
    #[error("the canonical form of a constitution must be at most {MAX_CONSTITUTION_BYTES} bytes")]
    TooLong,
    /// No JSON, or not that of a constitution.
    #[error("must be the JSON of a constitution: {0}")]
    Malformed(String),
    /// A valid constitution, in other bytes than its canonical ones.
    #[error("must be in canonical form: RFC 8785 JSON, with fields at their default left out")]
    NotCanonical,
    /// A rule of the model does not hold.
    #[error("must be a valid constitution: {}", list(.0))]
    Invalid(Vec<Violation>),
}

fn list(violations: &[Violation]) -> String {
    let texts: Vec<String> = violations.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// The canonical bytes; whether the constitution is valid does not matter.
pub(super) fn encode(constitution: &Constitution) -> Vec<u8> {
    let mut constitution = constitution.clone();
    constitution.runtime.kinds.sort_unstable();
    let mut document = to_value(&constitution);
    if let Value::Object(sections) = &mut document {
        leave_out(
            sections,
            "supervisor",
            &to_value(&SupervisorPolicy::default()),
        );
        leave_out(sections, "runtime", &to_value(&RuntimePolicy::default()));
        leave_out(sections, "cluster", &to_value(&ClusterPolicy::default()));
        leave_out(sections, "ledger", &to_value(&LedgerPolicy::default()));
    }
    serde_json_canonicalizer::to_vec(&document)
        .expect("a JSON value without floats has a canonical form")
}

fn to_value(part: &impl serde::Serialize) -> Value {
    serde_json::to_value(part).expect("the model has only string keys and integers")
}

/// Removes the fields of a section that are equal to those of its default, and the section itself
/// if nothing is left.
fn leave_out(sections: &mut Map<String, Value>, name: &str, default: &Value) {
    let Some(Value::Object(section)) = sections.get_mut(name) else {
        return;
    };
    section.retain(|key, value| default.get(key) != Some(&*value));
    if section.is_empty() {
        sections.remove(name);
    }
}

/// Reads the canonical form, and nothing else.
pub(super) fn decode(bytes: &[u8]) -> Result<Constitution, CanonicalError> {
    if bytes.len() > MAX_CONSTITUTION_BYTES {
        return Err(CanonicalError::TooLong);
    }
    let constitution: Constitution = serde_json::from_slice(bytes)
        .map_err(|error| CanonicalError::Malformed(quoted(&error.to_string())))?;
    // Also refuses duplicate and unknown keys, white space and every other freedom of JSON.
    if encode(&constitution) != bytes {
        return Err(CanonicalError::NotCanonical);
    }
    validate::validate(&constitution, &std::collections::BTreeSet::new())
        .map_err(CanonicalError::Invalid)?;
    Ok(constitution)
}

/// What a verifier of a ledger must know of a constitution, without compiling its rules. Whether the
/// text is the canonical one is seen by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Outline {
    /// Which one it is.
    pub meta: Meta,
    /// What is kept.
    #[serde(default)]
    pub ledger: LedgerPolicy,
}

impl Outline {
    /// Of a canonical text; `None` when it is none.
    #[must_use]
    pub fn of(canonical: &[u8]) -> Option<Self> {
        serde_json::from_slice(canonical).ok()
    }
}
