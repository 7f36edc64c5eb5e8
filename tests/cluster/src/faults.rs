//! Faults for tests: bounded in time, undone when they end.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::command::run_with_input;
use crate::component::Paused;
use crate::state::node_namespace;
use crate::{Error, network};

/// No fault lasts longer.
pub(crate) const MAX_SECONDS: u64 = 600;

/// What can go wrong in a cluster. Addresses are IPv4 with or without a prefix length, as in `10.244.1.0/24`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A component's process is stopped, for example `kube-apiserver` or `node-1/kubelet` (SIGSTOP).
    Pause {
        /// As in `cluster status`.
        component: String,
    },
    /// Stopped for 90 of every 100 ms: whatever it does, or passes on, comes late. This kernel has no netem.
    Slow {
        /// As in `cluster status`.
        component: String,
    },
    /// Packets that nodes forward from one address to another vanish.
    Drop {
        /// The packet's source.
        from: String,
        /// The packet's destination: a pod, since Services are resolved before.
        to: String,
    },
    /// They are answered with a TCP reset.
    Reject {
        /// The packet's source.
        from: String,
        /// The packet's destination.
        to: String,
    },
    /// Those above a rate vanish.
    Throttle {
        /// The packet's source.
        from: String,
        /// The packet's destination.
        to: String,
        /// The rate.
        kilobytes_per_second: u32,
    },
    /// A node loses its link to everything else.
    Partition {
        /// Counted from 1.
        node: u8,
    },
    /// The volume of a claim has no byte left.
    Fill {
        /// The claim's namespace.
        namespace: String,
        /// The claim's name.
        claim: String,
    },
}

impl Fault {
    /// One line, and [`Fault::parse`] reads it.
    pub(crate) fn to_line(&self) -> String {
        match self {
            Self::Pause { component } => format!("pause {component}"),
            Self::Slow { component } => format!("slow {component}"),
            Self::Drop { from, to } => format!("drop {from} {to}"),
            Self::Reject { from, to } => format!("reject {from} {to}"),
            Self::Throttle {
                from,
                to,
                kilobytes_per_second,
            } => {
                format!("throttle {from} {to} {kilobytes_per_second}")
            }
            Self::Partition { node } => format!("partition {node}"),
            Self::Fill { namespace, claim } => format!("fill {namespace} {claim}"),
        }
    }

    pub(crate) fn parse(words: &[&str]) -> Option<Self> {
        let owned = |word: &str| word.to_owned();
        Some(match words {
            ["pause", component] => Self::Pause {
                component: owned(component),
            },
            ["slow", component] => Self::Slow {
                component: owned(component),
            },
            ["drop", from, to] => Self::Drop {
                from: owned(from),
                to: owned(to),
            },
            ["reject", from, to] => Self::Reject {
                from: owned(from),
                to: owned(to),
            },
            ["throttle", from, to, rate] => Self::Throttle {
                from: owned(from),
                to: owned(to),
                kilobytes_per_second: rate.parse().ok()?,
            },
            ["partition", node] => Self::Partition {
                node: node.parse().ok()?,
            },
            ["fill", namespace, claim] => Self::Fill {
                namespace: owned(namespace),
                claim: owned(claim),
            },
            _ => return None,
        })
    }

    /// The rule of the packet filter, for the faults that are one.
    pub(crate) fn rule(&self) -> Option<String> {
        let matching = |from: &str, to: &str| format!("ip saddr {from} ip daddr {to}");
        Some(match self {
            Self::Drop { from, to } => format!("{} drop", matching(from, to)),
            Self::Reject { from, to } => {
                format!(
                    "{} meta l4proto tcp reject with tcp reset",
                    matching(from, to)
                )
            }
            Self::Throttle {
                from,
                to,
                kilobytes_per_second: rate,
            } => {
                format!(
                    "{} limit rate over {rate} kbytes/second drop",
                    matching(from, to)
                )
            }
            Self::Pause { .. } | Self::Slow { .. } | Self::Partition { .. } | Self::Fill { .. } => {
                return None;
            }
        })
    }
}

/// How to make it good again.
#[derive(Debug)]
pub(crate) enum Undo {
    /// The process goes on when this is dropped.
    Continue { _paused: Paused },
    /// The process goes on when this task is aborted.
    Slices(AbortHandle),
    /// The rules of this fault in the packet filters of these nodes.
    Rules { table: String, nodes: Vec<u8> },
    /// The link of a node.
    Link(u8),
    /// The file that fills a volume.
    File(PathBuf),
}

impl Undo {
    pub(crate) async fn now(self) -> Result<(), Error> {
        match self {
            Self::Continue { .. } => Ok(()),
            Self::Slices(task) => {
                task.abort();
                Ok(())
            }
            Self::Rules { table, nodes } => {
                for node in nodes {
                    // A node that was killed has taken its rules along.
                    let _ = filter(node, &format!("delete table ip {table}\n")).await;
                }
                Ok(())
            }
            Self::Link(node) => network::connect(node, true).await,
            Self::File(path) => std::fs::remove_file(&path).map_err(Error::file(&path)),
        }
    }
}

/// Lets a process run for a tenth of the time.
pub(crate) fn slow(pid: u32) -> Undo {
    let slices = tokio::task::spawn_local(async move {
        loop {
            let paused = Paused::stop(pid);
            tokio::time::sleep(Duration::from_millis(90)).await;
            drop(paused);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    Undo::Slices(slices.abort_handle())
}

/// Puts a rule before all others into the packet filters of nodes.
pub(crate) async fn add_rule(id: u64, rule: &str, nodes: Vec<u8>) -> Result<Undo, Error> {
    let table = format!("fault_{id}");
    let mut text = format!("table ip {table} {{\n");
    let _ = writeln!(
        text,
        " chain forward {{ type filter hook forward priority -150; {rule}; }}\n}}"
    );
    let undo = Undo::Rules {
        table,
        nodes: nodes.clone(),
    };
    for node in nodes {
        if let Err(error) = filter(node, &text).await {
            undo.now().await?;
            return Err(error);
        }
    }
    Ok(undo)
}

async fn filter(node: u8, rules: &str) -> Result<(), Error> {
    let namespace = format!("--net=/run/netns/{}", node_namespace(node));
    run_with_input(&["nsenter", &namespace, "nft", "-f", "-"], rules)
        .await
        .map(drop)
}

/// Writes zeros until the file system is full.
pub(crate) fn fill(directory: &std::path::Path) -> Result<Undo, Error> {
    let path = directory.join(".fault-fill");
    let mut file = File::create(&path).map_err(Error::file(&path))?;
    // Large pieces first, then single bytes, so that nothing is left.
    for piece in [1 << 20, 4096, 1] {
        let zeros = vec![0; piece];
        while file.write_all(&zeros).is_ok() {}
    }
    // Only a flush tells whether the blocks are really taken.
    let _ = file.sync_all();
    Ok(Undo::File(path))
}
