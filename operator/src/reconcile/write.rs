//! Status, written once.

use std::fmt::Debug;

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::ReconcileError;

/// Makes the status `new`, in one write that fails when somebody else wrote since `object` was read. The
/// role of the operator may patch a status and nothing else.
pub(super) async fn write_status<K, S>(
    api: &Api<K>,
    object: &K,
    old: &S,
    new: &S,
) -> Result<K, ReconcileError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
    S: Serialize,
{
    let text = |status: &S| {
        serde_json::to_value(status).map_err(|error| ReconcileError::Unexpected(error.to_string()))
    };
    let (old, mut new) = (text(old)?, text(new)?);
    // In a merge patch (RFC 7396) what is to go must be named.
    if let (Value::Object(old), Value::Object(new)) = (&old, &mut new) {
        for key in old.keys() {
            new.entry(key.clone()).or_insert(Value::Null);
        }
    }
    let metadata = object.meta();
    let patch = json!({"metadata": {"resourceVersion": metadata.resource_version}, "status": new});
    let name = metadata.name.as_deref().unwrap_or_default();
    Ok(api
        .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
        .await?)
}
