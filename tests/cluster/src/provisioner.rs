//! The default storage class: one file system of the size that was asked for, in a file of the node that the scheduler chose.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::Error;
use crate::command::run;
use crate::node::Node;
use crate::state::{State, node_name};

/// The class in `addons.yaml`.
pub(crate) const CLASS: &str = "standard";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// What a volume without a size would get.
const DEFAULT_BYTES: u64 = 64 << 20;
const MAX_BYTES: u64 = 16 << 30;

/// A volume's mount point; its file is beside it.
pub(crate) fn directory(state: &State, node: u8, volume: &str) -> PathBuf {
    state.node(node).join("volumes").join(volume)
}

/// Makes the volumes that claims wait for, and deletes those that no claim holds any more.
pub(crate) async fn sync(client: &Client, state: &State, nodes: &[Arc<Node>]) -> Result<(), Error> {
    // From the API server's cache: cheap enough to ask for several times a second.
    let cached = ListParams::default().match_any();
    let claims: Api<PersistentVolumeClaim> = Api::all(client.clone());
    for claim in claims.list(&cached).await? {
        if let Some((node, volume)) = wanted(&claim, nodes) {
            create(client, state, node, &volume, &claim).await?;
        }
    }
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    for volume in volumes.list(&cached).await? {
        let phase = volume
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        let released = matches!(phase, Some("Released" | "Failed"));
        let ours = volume
            .spec
            .as_ref()
            .is_some_and(|spec| spec.storage_class_name.as_deref() == Some(CLASS));
        if released && ours {
            delete(&volumes, state, nodes, &volume).await?;
        }
    }
    Ok(())
}

/// The node and the volume's name, for a claim of our class that has a node and no volume.
fn wanted<'a>(claim: &PersistentVolumeClaim, nodes: &'a [Arc<Node>]) -> Option<(&'a Node, String)> {
    let spec = claim.spec.as_ref()?;
    if spec.volume_name.is_some() || spec.storage_class_name.as_deref() != Some(CLASS) {
        return None;
    }
    let selected = claim.metadata.annotations.as_ref()?.get(SELECTED_NODE)?;
    let node = nodes
        .iter()
        .find(|node| node_name(node.number) == *selected)?;
    Some((node, format!("pvc-{}", claim.metadata.uid.as_ref()?)))
}

async fn create(
    client: &Client,
    state: &State,
    node: &Node,
    volume: &str,
    claim: &PersistentVolumeClaim,
) -> Result<(), Error> {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    if volumes.get_opt(volume).await?.is_some() {
        return Ok(());
    }
    let requested = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get("storage"));
    let bytes = requested
        .map_or(Some(DEFAULT_BYTES), |quantity| bytes(&quantity.0))
        .filter(|bytes| *bytes <= MAX_BYTES);
    let Some(bytes) = bytes else {
        return Err(Error::Unsupported(format!(
            "{volume}: a size must be a whole number of bytes, Ki, Mi or Gi, up to 16Gi"
        )));
    };
    let path = directory(state, node.number, volume);
    let (target, image) = (
        path.display().to_string(),
        format!("{}.img", path.display()),
    );
    std::fs::create_dir_all(&path).map_err(Error::file(&path))?;
    run(&["truncate", "--size", &bytes.to_string(), &image]).await?;
    run(&["mkfs.ext4", "-q", "-F", "-m", "0", &image]).await?;
    mount(node, &image, &target).await?;
    let object: PersistentVolume = serde_json::from_value(json!({
        "metadata": {"name": volume},
        "spec": {
            "storageClassName": CLASS,
            "capacity": {"storage": bytes.to_string()},
            "accessModes": claim.spec.as_ref().and_then(|spec| spec.access_modes.clone()),
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": claim.metadata.namespace,
                "name": claim.metadata.name,
                "uid": claim.metadata.uid,
            },
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node_name(node.number)]},
            ]}]}},
        },
    }))
    .map_err(kube::Error::SerdeError)?;
    volumes.create(&PostParams::default(), &object).await?;
    Ok(())
}

async fn delete(
    volumes: &Api<PersistentVolume>,
    state: &State,
    nodes: &[Arc<Node>],
    volume: &PersistentVolume,
) -> Result<(), Error> {
    let Some(name) = volume.metadata.name.as_deref() else {
        return Ok(());
    };
    for node in nodes {
        let path = directory(state, node.number, name);
        if path.exists() {
            let target = path.display().to_string();
            // Not mounted when the node was started again since.
            let _ = in_node(node, &["umount", &target]).await;
            run(&[
                "rm",
                "-rf",
                "--one-file-system",
                &target,
                &format!("{target}.img"),
            ])
            .await?;
        }
    }
    volumes.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Mounts the volumes of a node that was started again.
pub(crate) async fn mount_all(state: &State, node: &Node) -> Result<(), Error> {
    let directory = state.node(node.number).join("volumes");
    for entry in std::fs::read_dir(&directory)
        .map_err(Error::file(&directory))?
        .flatten()
    {
        if entry.path().is_dir() {
            let target = entry.path().display().to_string();
            mount(node, &format!("{target}.img"), &target).await?;
        }
    }
    Ok(())
}

async fn mount(node: &Node, image: &str, target: &str) -> Result<(), Error> {
    in_node(node, &["mount", "-o", "loop", image, target]).await?;
    // As other provisioners do: whoever runs in the pod may write, whatever its user.
    in_node(node, &["chmod", "0777", target]).await
}

async fn in_node(node: &Node, line: &[&str]) -> Result<(), Error> {
    let enter = node.enter();
    let mut words = vec!["nsenter"];
    words.extend(enter.iter().map(String::as_str));
    words.extend(line);
    run(&words).await.map(drop)
}

/// `64Mi` in bytes; the suffixes that tests use.
fn bytes(quantity: &str) -> Option<u64> {
    let suffixes = BTreeMap::from([("Ki", 10), ("Mi", 20), ("Gi", 30)]);
    let found = suffixes
        .iter()
        .find_map(|(suffix, shift)| Some((quantity.strip_suffix(suffix)?, shift)));
    let (number, shift) = found.unwrap_or((quantity, &0));
    number.parse::<u64>().ok()?.checked_shl(*shift)
}
