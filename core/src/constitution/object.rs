//! A constitution as the object that a cluster takes.

use serde_json::{Value, json};

use super::Constitution;

/// `apiVersion` of the object.
pub const OBJECT_API_VERSION: &str = "axiomhive.io/v1alpha1";

/// The `Constitution` object: the canonical form as its spec, and every namespace selected (`{}`).
pub(super) fn render(constitution: &Constitution) -> Value {
    // The canonical form is JSON of an object; were it not, the object would be refused.
    let mut spec: Value =
        serde_json::from_slice(&constitution.canonical_json()).unwrap_or_default();
    spec["namespaces"] = json!({});
    json!({
        "apiVersion": OBJECT_API_VERSION,
        "kind": "Constitution",
        "metadata": {"name": constitution.meta.name},
        "spec": spec,
    })
}
