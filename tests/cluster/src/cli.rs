//! The command line.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Parser, Subcommand, ValueEnum};

use crate::command::run;
use crate::component::log_tail;
use crate::programs::Programs;
use crate::state::{NODES_MAX, State, node_name};
use crate::supervisor::request;
use crate::{Error, Fault, lifecycle, node};

/// A real Kubernetes on this machine, without a registry.
#[derive(Debug, Parser)]
#[command(name = "cluster", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the cluster; nothing happens when it is up.
    Up {
        /// `api`: API server and controllers; `full`: nodes that run pods, which needs root.
        #[arg(long, value_enum, default_value = "full")]
        size: UpSize,
        /// How many nodes the full size has.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(NODES_MAX)))]
        nodes: u8,
    },
    /// Remove everything that `up` made, also after a crash.
    Down,
    /// What runs, and whether network policies are in force.
    Status,
    /// The last lines of all logs, or of one component.
    Logs {
        /// As in `status`, for example `node-1/kubelet`.
        component: Option<String>,
    },
    /// The path of the administrator's kubeconfig.
    Kubeconfig,
    /// Put an image archive into every node, under its name and under NAME@DIGEST.
    Load {
        /// Made by `docker save`, `buildah push oci-archive:…` or alike.
        archive: PathBuf,
    },
    /// Do something to a node, counted from 1.
    Node {
        #[command(subcommand)]
        action: NodeAction,
    },
    /// Do something to the API server.
    Apiserver {
        #[command(subcommand)]
        action: ServerAction,
    },
    #[command(hide = true)]
    Supervise {
        #[arg(long)]
        nodes: u8,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum UpSize {
    Api,
    Full,
}

#[derive(Debug, Subcommand)]
enum NodeAction {
    /// Evict its pods and let no more in.
    Drain { number: u8 },
    /// Kill all of its processes and take its network away, as when its power goes.
    Kill { number: u8 },
    /// Kill it, if it lives, and start it again; its volumes and images are kept.
    Restart { number: u8 },
    /// Cut it off from everything for a time.
    Partition {
        number: u8,
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

#[derive(Debug, Subcommand)]
enum ServerAction {
    /// Kill it and start it again.
    Restart,
    /// Stop it for a time.
    Pause {
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
}

/// Does what the command line says.
pub async fn execute(arguments: Arguments) -> Result<(), Error> {
    let state = State::here()?;
    match arguments.command {
        Action::Up { size, nodes } => {
            let started = Instant::now();
            let nodes = if matches!(size, UpSize::Api) {
                0
            } else {
                nodes
            };
            lifecycle::up(&state, nodes).await?;
            let kubeconfig = state.path("pki/admin.kubeconfig");
            let seconds = started.elapsed().as_secs_f64();
            say(&format!(
                "cluster is up ({seconds:.1} s): export KUBECONFIG={}\n",
                kubeconfig.display()
            ))
        }
        Action::Down => lifecycle::down(&state).await,
        Action::Status => say(&request(&state, "status")?),
        Action::Logs { component: None } => say(&lifecycle::all_log_tails(&state)),
        Action::Logs {
            component: Some(name),
        } => say(&format!("{}\n", log_tail(&state.log(&name), 200))),
        Action::Kubeconfig => {
            state.description()?;
            say(&format!(
                "{}\n",
                state.path("pki/admin.kubeconfig").display()
            ))
        }
        Action::Load { archive } => {
            let mut loaded = String::new();
            for number in 1..=state.description()?.nodes {
                loaded = node::load(&state, number, &archive).await?;
            }
            say(&loaded)
        }
        Action::Node {
            action: NodeAction::Drain { number },
        } => drain(&state, number).await,
        Action::Node { action } => node_command(&state, &action),
        Action::Apiserver {
            action: ServerAction::Restart,
        } => request(&state, "component restart kube-apiserver").map(drop),
        Action::Apiserver {
            action: ServerAction::Pause { seconds },
        } => {
            let fault = Fault::Pause {
                component: "kube-apiserver".to_owned(),
            };
            request(&state, &format!("fault {seconds} {}", fault.to_line())).map(drop)
        }
        Action::Supervise { nodes } => lifecycle::supervisor_process(state, nodes).await,
    }
}

fn node_command(state: &State, action: &NodeAction) -> Result<(), Error> {
    let line = match action {
        NodeAction::Drain { .. } => return Ok(()),
        NodeAction::Kill { number } => format!("node kill {number}"),
        NodeAction::Restart { number } => format!("node restart {number}"),
        NodeAction::Partition { number, seconds } => {
            format!(
                "fault {seconds} {}",
                Fault::Partition { node: *number }.to_line()
            )
        }
    };
    request(state, &line).map(drop)
}

async fn drain(state: &State, number: u8) -> Result<(), Error> {
    let kubectl = Programs::locate(&["kubernetes"])?
        .path("kubectl")
        .display()
        .to_string();
    let kubeconfig = format!(
        "--kubeconfig={}",
        state.path("pki/admin.kubeconfig").display()
    );
    let node = node_name(number);
    let options = [
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=120s",
    ];
    let line = [
        &[kubectl.as_str(), &kubeconfig, "drain", &node],
        &options[..],
    ]
    .concat();
    run(&line).await.map(drop)
}

fn say(text: &str) -> Result<(), Error> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Error::Program(format!("standard output: {error}")))
}
