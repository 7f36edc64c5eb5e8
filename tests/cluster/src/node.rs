//! A node: a kubelet with its own containerd in network, mount and PID namespaces of its own.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::command::run;
use crate::component::Component;
use crate::pki::{Authority, write_private};
use crate::programs::Programs;
use crate::state::{
    DNS_ADDRESS, POD_RANGE, State, node_address, node_name, node_namespace, pod_range,
};
use crate::{Error, cgroup, eventually, network};

/// Runs in pods and as their first process.
pub(crate) const TESTBOX_IMAGE: &str = "localhost/axiom-hive/testbox:test";
const READY_SECONDS: u64 = 30;

/// What all nodes share.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) state: State,
    pub(crate) programs: Programs,
    pub(crate) nodes: u8,
}

/// One node. Dropping it kills all of its processes, since they live in one PID namespace.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) number: u8,
    /// Its first process; the others end with it.
    pub(crate) init: Component,
    /// In the order in which they were started.
    pub(crate) parts: Vec<Component>,
}

impl Node {
    /// Starts the node's namespaces and containerd, and loads the images that every node needs. No API server is needed yet.
    pub(crate) async fn start(site: &Site, number: u8) -> Result<Self, Error> {
        let directory = site.state.node(number);
        for name in ["var", "work", "containerd", "cni", "volumes"] {
            let path = directory.join(name);
            fs::create_dir_all(&path).map_err(Error::file(&path))?;
        }
        let ready = directory.join("ready");
        let _ = fs::remove_file(&ready);
        network::detach(number).await;
        network::attach(number, site.nodes).await?;
        cgroup::create(&node_namespace(number))?;
        write_private(
            &directory.join("containerd.toml"),
            &containerd_config(&directory),
        )?;
        write_private(&directory.join("cni/pods.conflist"), &cni_config(number))?;
        write_private(&directory.join("node.sh"), include_str!("node.sh"))?;

        let namespace = format!("--net=/run/netns/{}", node_namespace(number));
        let script = directory.join("node.sh").display().to_string();
        let line = [
            &namespace,
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            &script,
        ];
        let arguments = line.iter().map(ToString::to_string);
        let arguments = arguments.chain([
            directory.display().to_string(),
            site.programs.path("testbox").display().to_string(),
        ]);
        let name = format!("{}/init", node_name(number));
        let init = Component::start_wrapped(
            &name,
            Path::new("nsenter"),
            arguments,
            &site.state.log(&name),
        )?;
        eventually("the namespaces of a node", READY_SECONDS, async || {
            (ready.exists() || !init.is_running()).then_some(())
        })
        .await?;
        let mut node = Self {
            number,
            init,
            parts: Vec::new(),
        };
        let config = directory.join("containerd.toml").display().to_string();
        node.run(
            site,
            "containerd",
            Path::new("/usr/bin/containerd"),
            &["--config", &config],
        )?;
        let socket = containerd_socket(&site.state, number);
        eventually("containerd", READY_SECONDS, async || {
            run(&["ctr", "--address", &socket, "version"]).await.ok()
        })
        .await?;
        for image in ["testbox.tar", "coredns.tar"] {
            load(&site.state, number, &site.programs.path(image)).await?;
        }
        Ok(node)
    }

    /// Starts what needs the API server and the Node object: the kubelet and the packet filters' writers.
    pub(crate) fn join(
        &mut self,
        site: &Site,
        authority: &Authority,
        server: &str,
    ) -> Result<(), Error> {
        let number = self.number;
        let name = node_name(number);
        let user = format!("system:node:{name}");
        let address = IpAddr::V4(node_address(number));
        authority.write(&name, &authority.server(&user, &[&name], &[address])?)?;
        let kubeconfig = authority.write_kubeconfig(&name, server, &user, Some("system:nodes"))?;
        let directory = site.state.node(number);
        // Pods get cluster DNS and no search path of this machine.
        write_private(&directory.join("resolv.conf"), "")?;
        write_private(
            &directory.join("kubelet.json"),
            &kubelet_config(site, number),
        )?;
        let kubelet = [
            format!("--config={}", directory.join("kubelet.json").display()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--hostname-override={name}"),
            format!("--node-ip={address}"),
            format!("--root-dir={}", directory.join("kubelet").display()),
        ];
        let kubelet: Vec<&str> = kubelet.iter().map(String::as_str).collect();
        self.run(site, "kubelet", &site.programs.path("kubelet"), &kubelet)?;

        let kubeconfig = authority.write_kubeconfig(
            &format!("{name}-proxy"),
            server,
            "system:kube-proxy",
            None,
        )?;
        let config = directory.join("kube-proxy.json");
        write_private(&config, &proxy_config(&name, &kubeconfig))?;
        let config = format!("--config={}", config.display());
        self.run(
            site,
            "kube-proxy",
            &site.programs.path("kube-proxy"),
            &[&config],
        )
    }

    /// Starts the enforcer of network policies. It ends at once unless the Node has a pod range and an address.
    pub(crate) fn enforce(
        &mut self,
        site: &Site,
        authority: &Authority,
        server: &str,
    ) -> Result<(), Error> {
        let name = node_name(self.number);
        let kubeconfig = authority.write_kubeconfig(
            &format!("{name}-router"),
            server,
            "kube-router",
            Some("system:masters"),
        )?;
        let arguments = [
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--hostname-override={name}"),
            format!(
                "--service-cluster-ip-range={}",
                crate::control_plane::SERVICE_RANGE
            ),
        ];
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.extend([
            "--run-firewall=true",
            "--run-router=false",
            "--run-service-proxy=false",
            "--run-loadbalancer=false",
            "--enable-cni=false",
            "--enable-ipv6=false",
            // Without it every new pod is open for seconds; with it the window is small, and still there.
            "--netpol-default-deny=true",
        ]);
        self.run(
            site,
            "kube-router",
            &site.programs.path("kube-router"),
            &arguments,
        )
    }

    /// A part by its name, such as `kubelet`.
    pub(crate) fn part(&self, name: &str) -> Option<&Component> {
        self.parts
            .iter()
            .find(|part| part.name().rsplit('/').next() == Some(name))
    }

    /// `nsenter` with the node's namespaces, as the beginning of a command line.
    pub(crate) fn enter(&self) -> [String; 5] {
        let target = format!("--target={}", self.init.pid());
        [
            target,
            "--mount".to_owned(),
            "--pid".to_owned(),
            "--net".to_owned(),
            "--".to_owned(),
        ]
    }

    fn run(
        &mut self,
        site: &Site,
        name: &str,
        program: &Path,
        arguments: &[&str],
    ) -> Result<(), Error> {
        let name = format!("{}/{name}", node_name(self.number));
        let line = self
            .enter()
            .into_iter()
            .chain([program.display().to_string()]);
        let line = line.chain(arguments.iter().map(ToString::to_string));
        let log = site.state.log(&name);
        self.parts.push(Component::start_wrapped(
            &name,
            Path::new("nsenter"),
            line,
            &log,
        )?);
        Ok(())
    }
}

/// Puts the images of an archive (OCI or docker) into a node, under their names and under `NAME@DIGEST`, so that manifests may
/// pin them. Gives one `NAME DIGEST` a line.
pub(crate) async fn load(state: &State, number: u8, archive: &Path) -> Result<String, Error> {
    let (socket, archive) = (
        containerd_socket(state, number),
        archive.display().to_string(),
    );
    let images = ["ctr", "--address", &socket, "-n", "k8s.io", "images"];
    let imported = run(&[&images[..], &["import", &archive]].concat()).await?;
    let mut loaded = String::new();
    // "unpacking NAME (sha256:HEX)...done"
    for line in imported
        .lines()
        .filter_map(|line| line.strip_prefix("unpacking "))
    {
        let Some((name, rest)) = line.split_once(" (") else {
            continue;
        };
        let digest = rest.split(')').next().unwrap_or_default();
        let repository = name
            .rsplit_once(':')
            .map_or(name, |(repository, _)| repository);
        let pinned = format!("{repository}@{digest}");
        run(&[&images[..], &["tag", "--force", name, &pinned]].concat()).await?;
        let _ = writeln!(loaded, "{name} {digest}");
    }
    Ok(loaded)
}

fn containerd_socket(state: &State, number: u8) -> String {
    // Not below /run, which only the node sees.
    state
        .node(number)
        .join("containerd.sock")
        .display()
        .to_string()
}

fn containerd_config(directory: &Path) -> String {
    let path = |name: &str| directory.join(name).display().to_string();
    let [root, socket, cni, opt] = ["containerd", "containerd.sock", "cni", "opt"].map(path);
    format!(
        r#"version = 2
root = "{root}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{opt}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{TESTBOX_IMAGE}"
# Without CAP_SYS_RESOURCE a lower score than our own cannot be set, and no pod would start.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "/usr/sbin/runc"
SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{cni}"
"#
    )
}

/// Point-to-point links: every packet of a pod passes the node's forwarding, where policies are enforced.
fn cni_config(number: u8) -> String {
    json!({"cniVersion": "0.4.0", "name": "pods", "plugins": [
        {"type": "ptp", "ipMasq": false, "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": pod_range(number)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }},
        {"type": "portmap", "capabilities": {"portMappings": true}},
    ]})
    .to_string()
}

fn kubelet_config(site: &Site, number: u8) -> String {
    let (name, directory) = (node_name(number), site.state.node(number));
    let pki = |file: &str| site.state.path("pki").join(file);
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": pki(&format!("{name}.crt")),
        "tlsPrivateKeyFile": pki(&format!("{name}.key")),
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": directory.join("resolv.conf"),
        "containerRuntimeEndpoint": format!("unix://{}", containerd_socket(&site.state, number)),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", node_namespace(number)),
        "failCgroupV1": false,
        "failSwapOn": false,
        "volumePluginDir": directory.join("volume-plugins"),
        // Images that were loaded by hand could not be pulled again.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    })
    .to_string()
}

fn proxy_config(name: &str, kubeconfig: &PathBuf) -> String {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": name,
        "clusterCIDR": POD_RANGE,
        "clientConnection": {"kubeconfig": kubeconfig},
        // The machine's table of connections is not a namespace's to size.
        "conntrack": {"maxPerCore": 0, "min": 0},
    })
    .to_string()
}
