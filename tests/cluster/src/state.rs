//! Where the one cluster of this machine lives, and the addresses it uses.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;

/// Every link, network namespace and cgroup of ours begins with this.
pub(crate) const PREFIX: &str = "axh";
/// This machine, as nodes and pods see it; the API server listens here.
pub(crate) const HOST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 89, 0, 1);
/// All pods of all nodes.
pub(crate) const POD_RANGE: &str = "10.244.0.0/16";
/// What pods ask for names.
pub(crate) const DNS_ADDRESS: &str = "10.96.0.10";
/// More fit neither the address plan nor a small machine.
pub(crate) const NODES_MAX: u8 = 8;

/// The address of node `number`, counted from 1.
pub(crate) fn node_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 89, 0, 10 + number)
}

/// The addresses of the pods of node `number`.
pub(crate) fn pod_range(number: u8) -> String {
    format!("10.244.{number}.0/24")
}

/// The node's name in the API.
pub(crate) fn node_name(number: u8) -> String {
    format!("node-{number}")
}

/// The node's network namespace and cgroup.
pub(crate) fn node_namespace(number: u8) -> String {
    format!("{PREFIX}-node-{number}")
}

/// What a running cluster says of itself, in `cluster.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Description {
    /// The API server's URL.
    pub(crate) server: String,
    /// This machine, as the API server sees it.
    pub(crate) host_address: Ipv4Addr,
    /// 0 in the size `api`.
    pub(crate) nodes: u8,
}

/// The directory of the cluster that `cluster up` makes.
#[derive(Debug, Clone)]
pub(crate) struct State(PathBuf);

impl State {
    /// Below `AXIOM_HIVE_CLUSTER_CACHE`, or `~/.cache/axiom-hive-testcluster`.
    pub(crate) fn here() -> Result<Self, Error> {
        let cache = std::env::var_os("AXIOM_HIVE_CLUSTER_CACHE")
            .map(PathBuf::from)
            .or_else(|| {
                std::env::var_os("HOME")
                    .map(|home| Path::new(&home).join(".cache/axiom-hive-testcluster"))
            });
        let cache = cache.ok_or_else(|| Error::Unsupported("HOME must be set".to_owned()))?;
        fs::create_dir_all(&cache).map_err(Error::file(&cache))?;
        Ok(Self(cache.join("cluster")))
    }

    /// The directory itself.
    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    /// A file or directory of the cluster.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The directory of a node.
    pub(crate) fn node(&self, number: u8) -> PathBuf {
        self.0.join(node_name(number))
    }

    /// The log of a component; `node-1/kubelet` becomes `node-1-kubelet.log`.
    pub(crate) fn log(&self, component: &str) -> PathBuf {
        self.0
            .join("log")
            .join(format!("{}.log", component.replace('/', "-")))
    }

    /// What runs, if `cluster up` got as far as that.
    pub(crate) fn description(&self) -> Result<Description, Error> {
        let path = self.path("cluster.json");
        let text = fs::read_to_string(&path).map_err(|_| {
            Error::Unsupported("no cluster is up on this machine: make cluster".to_owned())
        })?;
        serde_json::from_str(&text)
            .map_err(|error| Error::Program(format!("{}: {error}", path.display())))
    }
}
