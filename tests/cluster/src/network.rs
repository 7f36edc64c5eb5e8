//! Links between this machine and the nodes: a bridge in a network namespace of ours, so that neither the machine's packet
//! filter nor its forwarding has a part in it. On the machine itself there is one link, `axh0`, and a route to each node's pods.

use crate::Error;
use crate::command::{run, run_lines};
use crate::control_plane::SERVICE_RANGE;
use crate::pki::write_private;
use crate::state::{HOST_ADDRESS, PREFIX, State, node_address, node_namespace, pod_range};

const NAMESPACES: &str = "/run/netns";
const NAMESPACES_OURS: &str = "netns-mount-is-ours";

/// The bridge's namespace.
fn fabric() -> String {
    format!("{PREFIX}-fabric")
}

/// The bridge, and this machine's link to it.
pub(crate) async fn create(state: &State) -> Result<(), Error> {
    let fabric = fabric();
    if !is_mounted(NAMESPACES) {
        // `ip netns` mounts it; so it is ours to unmount.
        write_private(&state.path(NAMESPACES_OURS), "")?;
    }
    run_lines(
        "ip",
        &[
            format!("netns add {fabric}"),
            format!("link add {PREFIX}0 type veth peer name host netns {fabric}"),
            format!("-n {fabric} link add nodes type bridge"),
            format!("-n {fabric} link set nodes up"),
            format!("-n {fabric} link set host master nodes up"),
            format!("addr add {HOST_ADDRESS}/24 dev {PREFIX}0"),
            format!("link set {PREFIX}0 up"),
        ],
    )
    .await
}

/// Node `number`'s namespace with its link to the bridge and routes to the pods of the other nodes.
pub(crate) async fn attach(number: u8, nodes: u8) -> Result<(), Error> {
    let (fabric, node, address) = (fabric(), node_namespace(number), node_address(number));
    let mut lines = vec![
        format!("netns add {node}"),
        format!("link add eth0 netns {node} type veth peer name node-{number} netns {fabric}"),
        format!("-n {fabric} link set node-{number} master nodes up"),
        format!("-n {node} addr add {address}/24 dev eth0"),
        format!("-n {node} link set lo up"),
        format!("-n {node} link set eth0 up"),
        format!("-n {node} route add default via {HOST_ADDRESS}"),
        format!("route replace {} via {address}", pod_range(number)),
    ];
    for other in (1..=nodes).filter(|other| *other != number) {
        let (range, via) = (pod_range(other), node_address(other));
        lines.push(format!("-n {node} route add {range} via {via}"));
    }
    run_lines("ip", &lines).await?;
    let forward = "echo 1 >/proc/sys/net/ipv4/ip_forward";
    run(&[
        "nsenter",
        &format!("--net=/run/netns/{node}"),
        "sh",
        "-c",
        forward,
    ])
    .await?;
    Ok(())
}

/// Takes a node's namespace and links away, if they are there.
pub(crate) async fn detach(number: u8) {
    // The link goes first: a namespace ends some time after its name is gone.
    let _ = run(&[
        "ip",
        "-n",
        &fabric(),
        "link",
        "del",
        &format!("node-{number}"),
    ])
    .await;
    let _ = run(&["ip", "netns", "del", &node_namespace(number)]).await;
}

/// Cuts a node off, or connects it again.
pub(crate) async fn connect(number: u8, connected: bool) -> Result<(), Error> {
    let state = if connected { "up" } else { "down" };
    run_lines(
        "ip",
        &[format!("-n {} link set node-{number} {state}", fabric())],
    )
    .await
}

/// The API server reaches Services through the packet filter of a node that is alive.
pub(crate) async fn route_services(node: u8) -> Result<(), Error> {
    let via = node_address(node);
    run_lines("ip", &[format!("route replace {SERVICE_RANGE} via {via}")]).await
}

/// Removes everything that this module makes, whatever of it there is.
pub(crate) async fn remove_all(state: &State) -> Result<(), Error> {
    // Its routes go with it.
    if std::path::Path::new("/sys/class/net")
        .join(format!("{PREFIX}0"))
        .exists()
    {
        run_lines("ip", &[format!("link del {PREFIX}0")]).await?;
    }
    let Ok(namespaces) = run(&["ip", "netns", "list"]).await else {
        return Ok(());
    };
    for name in namespaces
        .lines()
        .filter_map(|line| line.split_whitespace().next())
    {
        if name.starts_with(&format!("{PREFIX}-")) {
            run_lines("ip", &[format!("netns del {name}")]).await?;
        }
    }
    if state.path(NAMESPACES_OURS).exists() && is_mounted(NAMESPACES) {
        let others =
            std::fs::read_dir(NAMESPACES).is_ok_and(|mut entries| entries.next().is_some());
        if !others {
            run(&["umount", NAMESPACES]).await?;
            run(&["rmdir", NAMESPACES]).await?;
        }
    }
    Ok(())
}

fn is_mounted(path: &str) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts
        .lines()
        .any(|line| line.split_whitespace().nth(4) == Some(path))
}
