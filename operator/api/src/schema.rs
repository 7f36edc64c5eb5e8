//! Parts of schemas that a derive cannot say: closed lists of words that the core's enums own, and
//! Kubernetes types with the bounds that theirs lack.

use kube::core::Rule;
use schemars::{Schema, SchemaGenerator, json_schema};

/// A schema of the words in which an enum of the core is written. `tests/api_convert.rs` shows that
/// the core reads each of them.
macro_rules! words {
    ($($name:ident: [$($word:literal),+ $(,)?];)+) => {
        $(
            pub(super) fn $name(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "enum": [$($word),+]})
            }
        )+
    };
}

words! {
    quorum: ["all", "valid"];
    equivalence_kind: ["text", "bytes", "json", "number", "regex", "choice"];
    take: ["first", "last"];
    show: ["agreed", "branch"];
    tie: ["refuse", "lowestIndex"];
    on_no_agreement_kind: ["fail", "fallback"];
    prompt_screening: ["off", "withhold", "redact"];
    action: ["redact", "remove", "mask", "hash", "withhold"];
    category: ["custom", "harmful", "pii", "secret"];
    containment_kind: ["strict", "noNetwork", "sandboxed"];
    user_namespaces: ["off", "required"];
    taint_effect: ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    protocol: ["text", "ndjson"];
}

/// A rule: keys of a map, which a schema cannot bound, are no longer than a qualified name.
pub(super) fn has_short_keys() -> Rule {
    Rule::new("self.all(key, key.size() <= 317)")
        .message("every key must have at most 317 characters")
}

/// A rule: an optional field is there if it was, and as it was.
pub(super) fn is_unchanged(field: &str) -> String {
    format!(
        "has(self.{field}) == has(oldSelf.{field}) && \
         (!has(self.{field}) || self.{field} == oldSelf.{field})"
    )
}

/// Detectors by id.
pub(super) fn detectors(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {
            "type": "string",
            "enum": ["off", "redact", "remove", "mask", "hash", "withhold"],
        },
    })
}

/// Runtime kinds, each once.
pub(super) fn kinds(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "set",
        "minItems": 1,
        "maxItems": 4,
        "items": {"type": "string", "enum": ["process", "http", "openai", "echo"]},
    })
}

/// At most 16 labels.
pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 63},
    })
}

/// Label values by key.
pub(super) fn label_values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "type": "array",
            "x-kubernetes-list-type": "atomic",
            "minItems": 1,
            "maxItems": 16,
            "items": {"type": "string", "maxLength": 63},
        },
    })
}

/// Whole amounts by resource name.
pub(super) fn extended_resources(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 8,
        "additionalProperties": {
            "type": "integer", "format": "int32", "minimum": 1, "maximum": 64,
        },
    })
}

/// Quantities by resource name: a number, or a text such as `500m` or `1Gi`.
pub(super) fn limits(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 11,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "maxLength": 20,
            "pattern": "^[0-9]{1,12}(\\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$",
        },
    })
}

/// `metav1.Condition`, with the bounds that the type has in Go's markers.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "description": "What the condition is about.",
                    "type": "string", "maxLength": 64, "pattern": "^[A-Za-z]+$",
                },
                "status": {
                    "description": "Whether it holds.",
                    "type": "string", "enum": ["True", "False", "Unknown"],
                },
                "reason": {
                    "description": "Why, as one word for programs.",
                    "type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z]+$",
                },
                "message": {
                    "description": "Why, as a sentence for people.",
                    "type": "string", "maxLength": 4096,
                },
                "lastTransitionTime": {
                    "description": "When the status last changed.",
                    "type": "string", "format": "date-time",
                },
                "observedGeneration": {
                    "description": "The generation that the condition was computed from.",
                    "type": "integer", "format": "int64", "minimum": 0,
                },
            },
        },
    })
}
