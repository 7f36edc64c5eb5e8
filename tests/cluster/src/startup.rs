//! The order in which a cluster comes up.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use crate::command::run;
use crate::control_plane::{ControlPlane, Shape, client_for};
use crate::node::{Node, Site};
use crate::pki::write_private;
use crate::state::{HOST_ADDRESS, node_name, pod_range};
use crate::{Error, eventually, network};

const NODE_READY_SECONDS: u64 = 60;
const DNS_READY_SECONDS: u64 = 90;

pub(crate) fn shape(nodes: u8) -> Shape {
    let address = if nodes > 0 {
        HOST_ADDRESS
    } else {
        std::net::Ipv4Addr::LOCALHOST
    };
    Shape {
        address,
        nodes: nodes > 0,
    }
}

/// Starts everything that runs; in parallel what can be.
pub(crate) async fn start(site: Arc<Site>) -> Result<(ControlPlane, Vec<Node>), Error> {
    let directory = site.state.directory().to_owned();
    let logs = site.state.path("log");
    std::fs::create_dir_all(&logs).map_err(Error::file(&logs))?;
    if site.nodes > 0 {
        network::create(&site.state).await?;
    }
    let mut starting = tokio::task::JoinSet::new();
    for number in 1..=site.nodes {
        let site = Arc::clone(&site);
        starting.spawn_local(async move { Node::start(&site, number).await });
    }
    let plane = ControlPlane::start(&directory, &site.programs, shape(site.nodes)).await?;
    let mut nodes = Vec::new();
    while let Some(node) = starting.join_next().await {
        nodes.push(node.map_err(|error| Error::Program(error.to_string()))??);
    }
    nodes.sort_by_key(|node: &Node| node.number);
    if site.nodes > 0 {
        let client = client_for(&plane.kubeconfig).await?;
        for node in &mut nodes {
            register(&client, node.number).await?;
            node.join(&site, &plane.authority, &plane.server)?;
        }
        apply_addons(&site, &plane).await?;
        for node in &mut nodes {
            wait_node_ready(&client, node.number, None).await?;
            node.enforce(&site, &plane.authority, &plane.server)?;
        }
        network::route_services(1).await?;
        wait_dns(&client).await?;
    }
    Ok((plane, nodes))
}

/// The Node exists before its kubelet, because nobody else gives it a pod range.
async fn register(client: &Client, number: u8) -> Result<(), Error> {
    let (name, range) = (node_name(number), pod_range(number));
    let object: NodeObject = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"podCIDR": range, "podCIDRs": [range]},
    }))
    .map_err(kube::Error::SerdeError)?;
    Api::<NodeObject>::all(client.clone())
        .create(&PostParams::default(), &object)
        .await?;
    Ok(())
}

async fn apply_addons(site: &Site, plane: &ControlPlane) -> Result<(), Error> {
    let manifest = site.state.path("addons.yaml");
    write_private(&manifest, include_str!("addons.yaml"))?;
    let text = |path: &std::path::Path| path.display().to_string();
    let kubectl = text(&site.programs.path("kubectl"));
    let cache = format!("--cache-dir={}", text(&site.state.path("kubectl-cache")));
    let kubeconfig = format!("--kubeconfig={}", text(&plane.kubeconfig));
    run(&[
        &kubectl,
        &kubeconfig,
        &cache,
        "apply",
        "--server-side",
        "-f",
        &text(&manifest),
    ])
    .await
    .map(drop)
}

/// The time of the kubelet's last report, and whether it said ready.
pub(crate) async fn heartbeat(client: &Client, number: u8) -> Option<(String, bool)> {
    let nodes: Api<NodeObject> = Api::all(client.clone());
    let node = nodes.get(&node_name(number)).await.ok()?;
    let conditions = node.status?.conditions?;
    let ready = conditions
        .into_iter()
        .find(|condition| condition.type_ == "Ready")?;
    Some((
        serde_json::to_string(&ready.last_heartbeat_time).ok()?,
        ready.status == "True",
    ))
}

/// Ready by a report other than `before`, the last one of the node's former life.
pub(crate) async fn wait_node_ready(
    client: &Client,
    number: u8,
    before: Option<String>,
) -> Result<(), Error> {
    eventually(
        &format!("Ready of {}", node_name(number)),
        NODE_READY_SECONDS,
        async || {
            let (time, ready) = heartbeat(client, number).await?;
            (ready && before.as_ref() != Some(&time)).then_some(())
        },
    )
    .await
}

async fn wait_dns(client: &Client) -> Result<(), Error> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "kube-system");
    eventually("cluster DNS", DNS_READY_SECONDS, async || {
        let status = deployments.get("coredns").await.ok()?.status?;
        (status.available_replicas? > 0).then_some(())
    })
    .await
}
