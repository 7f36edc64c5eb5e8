//! A real Kubernetes for tests: etcd, API server, controller manager and, in the full size, scheduler, kubelets,
//! containers, enforced network policies and volumes. Nothing is simulated, and no registry is needed.
//!
//! # In a test
//!
//! ```no_run
//! use axiom_hive_testcluster::{Size, TestCluster};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // None, with a line on stderr, unless AXIOM_HIVE_CLUSTER asks for a cluster; panics if it asks and there is none.
//! let Some(cluster) = TestCluster::shared(Size::Api).await else { return Ok(()) };
//! let namespace = cluster.namespace("example").await?; // deleted at the end
//! let client = cluster.client().await?; // an administrator; one per test, since it belongs to the test's runtime
//! let edit = cluster.kubeconfig_for("dana", None)?; // the RBAC name of a user; bind it to `edit` in the namespace
//! # let _ = (namespace.name(), client, edit);
//! # Ok(())
//! # }
//! ```
//!
//! | `AXIOM_HIVE_CLUSTER` | what tests get |
//! |---|---|
//! | unset | nothing: they end early and say so |
//! | `api` | a control plane of size `api`, started once per test program, about 5 s |
//! | `full` | the cluster that `cluster up` started; never started by a test |
//! | `context:NAME` | a context of the user's kubeconfig; `kind:NAME` is short for `context:kind-NAME` |
//!
//! A test that breaks its cluster, or needs one to itself, takes [`TestCluster::own`]: size `api`, own ports, directories and
//! certificates, several at once. When a test panics, dropping its [`Namespace`] prints the namespace's events and the last
//! lines of every component's log.

pub mod audit;
mod cgroup;
pub mod cli;
mod command;
mod component;
mod control_plane;
mod error;
mod faults;
mod fixture;
mod lifecycle;
mod namespace;
mod network;
mod node;
mod pki;
pub mod pods;
mod programs;
mod provisioner;
mod startup;
mod state;
mod supervisor;
pub mod tool;

pub use component::{Component, Paused};
pub use error::Error;
pub use faults::Fault;
pub use fixture::{ActiveFault, Size, TestCluster, client_from};
pub use namespace::Namespace;
pub use pki::{Authority, Identity};

/// Asks `probe` every 50 ms until it gives something, for at most `seconds`.
pub async fn eventually<T>(
    what: &str,
    seconds: u64,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> Result<T, Error> {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(seconds);
    loop {
        if let Some(found) = probe().await {
            return Ok(found);
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(Error::Timeout {
                what: what.to_owned(),
                seconds,
                detail: String::new(),
            });
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
