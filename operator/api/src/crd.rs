//! The definitions of the custom resources, as they are applied.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::{Constitution, SupervisedTask};

/// Where the templates of the chart of the definitions are, from the root of the repository.
pub const CHART_TEMPLATES: &str = "charts/axiom-hive-crds/templates";

/// Why a definition could not be made or printed: always a mistake in the types, found by the tests.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// The definition is not what its type says.
    #[error("a custom resource definition must be readable: {0}")]
    Shape(#[from] serde_json::Error),
    /// It cannot be written.
    #[error("a custom resource definition must be printable: {0}")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

/// Every definition with the name of its file in `crds/`.
pub fn definitions() -> Result<Vec<(&'static str, CustomResourceDefinition)>, CrdError> {
    Ok(vec![
        (
            "constitutions.axiomhive.io.yaml",
            finish(Constitution::crd(), &["Ready"])?,
        ),
        (
            "supervisedtasks.axiomhive.io.yaml",
            finish(SupervisedTask::crd(), &["Ready", "Succeeded"])?,
        ),
    ])
}

/// A definition as YAML, as it stands in `crds/`.
pub fn to_yaml(definition: &CustomResourceDefinition) -> Result<String, CrdError> {
    let mut value = serde_json::to_value(definition)?;
    write_integers(&mut value);
    let yaml = serde_saphyr::to_string(&value)?;
    Ok(format!(
        "# Generated from the Rust types by `make generate`; do not edit.\n{yaml}"
    ))
}

/// A definition as a chart's template: Helm upgrades it with the release and keeps it when the release
/// goes, and every object with it.
pub fn to_template(mut definition: CustomResourceDefinition) -> Result<String, CrdError> {
    let keep = ("helm.sh/resource-policy".to_owned(), "keep".to_owned());
    let annotations = definition.metadata.annotations.get_or_insert_default();
    annotations.extend([keep]);
    // What looks like a template in a description must come out as it is.
    Ok(to_yaml(&definition)?.replace("{{", "{{ \"{{\" }}"))
}

/// What the derive cannot say: no field takes `null`, and a new object has its first conditions
/// without a write, so that it is in progress for whoever waits for it.
fn finish(
    definition: CustomResourceDefinition,
    first_conditions: &[&str],
) -> Result<CustomResourceDefinition, CrdError> {
    let mut value = serde_json::to_value(definition)?;
    for version in value["spec"]["versions"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        let schema = &mut version["schema"]["openAPIV3Schema"];
        refuse_null(schema);
        let conditions: Vec<Value> = first_conditions
            .iter()
            .map(|type_| {
                json!({
                    "type": type_,
                    "status": "Unknown",
                    "reason": "Pending",
                    "message": "Waiting for the operator",
                    "lastTransitionTime": "1970-01-01T00:00:00Z",
                })
            })
            .collect();
        // Rules on the name can only be shown at a field that the schema knows.
        schema["properties"]["metadata"] =
            json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}});
        schema["properties"]["status"]["default"] = json!({"conditions": conditions});
    }
    Ok(serde_json::from_value(value)?)
}

/// Bounds are doubles in the type and integers in the file, as the API server writes them.
fn write_integers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64()
                && float.fract() == 0.0
                && let Ok(integer) = format!("{float:.0}").parse::<i64>()
            {
                *number = integer.into();
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(write_integers),
        Value::Array(items) => items.iter_mut().for_each(write_integers),
        _ => {}
    }
}

fn refuse_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            fields.values_mut().for_each(refuse_null);
        }
        Value::Array(items) => items.iter_mut().for_each(refuse_null),
        _ => {}
    }
}
