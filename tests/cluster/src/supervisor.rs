//! The process behind `cluster up`: parent of everything, provisioner of volumes, and the one who answers commands.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use kube::Api;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::Mutex;

use crate::component::Component;
use crate::control_plane::{ControlPlane, client_for};
use crate::faults::{self, Fault, Undo};
use crate::node::{Node, Site};
use crate::pki::write_private;
use crate::state::{Description, State, node_address, node_name};
use crate::{Error, network, provisioner, startup};

const MAX_COMMAND_BYTES: u64 = 4096;
const ENFORCER_HEALTH_PORT: u16 = 20244;
/// About ten seconds; a pause that a test asks for is shorter.
const ENFORCER_FAILURES_MAX: u32 = 5;

/// A cluster that is up.
#[derive(Debug)]
struct Supervisor {
    site: Arc<Site>,
    plane: ControlPlane,
    nodes: Mutex<Vec<Arc<Node>>>,
    faults: Mutex<BTreeMap<u64, (String, Undo)>>,
    /// For each node, how often the enforcer had to be started again.
    enforcer_restarts: Mutex<BTreeMap<u8, u32>>,
}

/// Makes the cluster and serves it until the process is killed or told to stop.
pub(crate) async fn supervise(site: Site) -> Result<(), Error> {
    let nodes = site.nodes;
    let site = Arc::new(site);
    let (plane, started) = startup::start(Arc::clone(&site)).await?;
    let supervisor = Arc::new(Supervisor {
        site,
        plane,
        nodes: Mutex::new(started.into_iter().map(Arc::new).collect()),
        faults: Mutex::default(),
        enforcer_restarts: Mutex::default(),
    });
    let state = supervisor.site.state.clone();
    let socket = state.path("supervisor.sock");
    let listener = UnixListener::bind(&socket).map_err(Error::file(&socket))?;
    if nodes > 0 {
        tokio::task::spawn_local(Arc::clone(&supervisor).provision());
        tokio::task::spawn_local(Arc::clone(&supervisor).watch_enforcers());
    }
    let description = Description {
        server: supervisor.plane.server.clone(),
        host_address: startup::shape(nodes).address,
        nodes,
    };
    // Its presence says that the cluster is ready.
    write_private(&state.path("cluster.json"), &json!(description).to_string())?;
    loop {
        let (stream, _) = listener.accept().await.map_err(Error::file(&socket))?;
        let supervisor = Arc::clone(&supervisor);
        tokio::task::spawn_local(async move {
            // A client that went away has no use for the answer.
            let _ = supervisor.serve(stream).await;
        });
    }
}

impl Supervisor {
    async fn serve(self: Arc<Self>, stream: UnixStream) -> std::io::Result<()> {
        let (reading, mut writing) = stream.into_split();
        let mut line = String::new();
        BufReader::new(reading.take(MAX_COMMAND_BYTES))
            .read_line(&mut line)
            .await?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let stop = words == ["stop"];
        let answer = match self.handle(&words).await {
            Ok(text) => format!("ok\n{text}"),
            Err(error) => format!("error\n{error}"),
        };
        writing.write_all(answer.as_bytes()).await?;
        writing.shutdown().await?;
        if stop {
            std::process::exit(0);
        }
        Ok(())
    }

    async fn handle(self: &Arc<Self>, words: &[&str]) -> Result<String, Error> {
        match words {
            ["status"] => Ok(self.status().await),
            ["stop"] => {
                self.stop().await;
                Ok(String::new())
            }
            ["node", "kill", number] => self.kill_node(number).await.map(|()| String::new()),
            ["node", "restart", number] => self.restart_node(number).await.map(|()| String::new()),
            ["component", "kill", name] => {
                self.with_component(name, |component| {
                    component.kill();
                    Ok(())
                })
                .await?;
                Ok(String::new())
            }
            ["component", "restart", name] => {
                self.with_component(name, Component::restart).await?;
                if *name == self.plane.api_server.name() {
                    self.plane.ready().await?;
                }
                Ok(String::new())
            }
            ["fault", seconds, fault @ ..] => self.add_fault(seconds, fault).await,
            ["undo", id] => {
                let id = id
                    .parse()
                    .map_err(|_| Error::Unsupported(format!("no fault {id}")))?;
                self.undo(id).await.map(|()| String::new())
            }
            _ => Err(Error::Unsupported(format!(
                "unknown command: {}",
                words.join(" ")
            ))),
        }
    }

    async fn stop(&self) {
        for node in self.nodes.lock().await.iter() {
            node.init.kill();
        }
        for component in self
            .plane
            .others
            .iter()
            .rev()
            .chain([&self.plane.api_server])
        {
            component.kill();
        }
    }

    async fn status(&self) -> String {
        let nodes = self.nodes.lock().await.clone();
        let restarts = self.enforcer_restarts.lock().await.clone();
        let mut text = String::new();
        let components = std::iter::once(&self.plane.api_server).chain(&self.plane.others);
        let parts = nodes
            .iter()
            .flat_map(|node| std::iter::once(&node.init).chain(&node.parts));
        for component in components.chain(parts) {
            let (name, pid) = (component.name(), component.pid());
            if component.is_running() {
                let _ = writeln!(
                    text,
                    "{name} running, pid {pid}, {} MB",
                    resident_megabytes(pid)
                );
            } else {
                let _ = writeln!(text, "{name} STOPPED, log {}", component.log().display());
            }
        }
        for node in &nodes {
            let (name, number) = (node_name(node.number), node.number);
            let state = if enforcer_is_healthy(number).await {
                "in force"
            } else {
                "NOT ENFORCED"
            };
            let restarted = restarts.get(&number).copied().unwrap_or(0);
            let _ = writeln!(
                text,
                "{name} network policies {state}, enforcer restarted {restarted} times"
            );
        }
        for (id, (fault, _)) in self.faults.lock().await.iter() {
            let _ = writeln!(text, "fault {id}: {fault}");
        }
        text
    }

    async fn node(&self, number: &str) -> Result<Arc<Node>, Error> {
        let nodes = self.nodes.lock().await;
        let found = nodes.iter().find(|node| node.number.to_string() == number);
        found.cloned().ok_or_else(|| {
            Error::Unsupported(format!(
                "no node {number}; there are {}, counted from 1",
                nodes.len()
            ))
        })
    }

    async fn with_component(
        &self,
        name: &str,
        action: impl FnOnce(&Component) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let nodes = self.nodes.lock().await.clone();
        let components = std::iter::once(&self.plane.api_server).chain(&self.plane.others);
        let mut all = components.chain(nodes.iter().flat_map(|node| &node.parts));
        let found = all.find(|component| component.name() == name);
        action(found.ok_or_else(|| {
            Error::Unsupported(format!("no component {name}; see cluster status"))
        })?)
    }

    async fn kill_node(&self, number: &str) -> Result<(), Error> {
        let node = self.node(number).await?;
        node.init.kill();
        network::detach(node.number).await;
        self.route_services().await
    }

    async fn restart_node(&self, number: &str) -> Result<(), Error> {
        self.kill_node(number).await?;
        let old = self.node(number).await?;
        let client = client_for(&self.plane.kubeconfig).await?;
        let before = startup::heartbeat(&client, old.number)
            .await
            .map(|(time, _)| time);
        let mut node = Node::start(&self.site, old.number).await?;
        provisioner::mount_all(&self.site.state, &node).await?;
        node.join(&self.site, &self.plane.authority, &self.plane.server)?;
        startup::wait_node_ready(&client, node.number, before).await?;
        node.enforce(&self.site, &self.plane.authority, &self.plane.server)?;
        let number = node.number;
        let mut nodes = self.nodes.lock().await;
        nodes.retain(|old| old.number != number);
        nodes.push(Arc::new(node));
        nodes.sort_by_key(|node| node.number);
        drop(nodes);
        self.route_services().await
    }

    async fn route_services(&self) -> Result<(), Error> {
        let nodes = self.nodes.lock().await;
        match nodes.iter().find(|node| node.init.is_running()) {
            Some(node) => network::route_services(node.number).await,
            None => Ok(()),
        }
    }

    async fn add_fault(self: &Arc<Self>, seconds: &str, words: &[&str]) -> Result<String, Error> {
        let seconds = seconds
            .parse()
            .ok()
            .filter(|seconds| (1..=faults::MAX_SECONDS).contains(seconds));
        let (Some(seconds), Some(fault)) = (seconds, Fault::parse(words)) else {
            let max = faults::MAX_SECONDS;
            return Err(Error::Unsupported(format!(
                "a fault needs 1 to {max} seconds and what it is"
            )));
        };
        let mut faults = self.faults.lock().await;
        let id = faults.last_key_value().map_or(1, |(id, _)| id + 1);
        let undo = self.inject(id, &fault).await?;
        faults.insert(id, (fault.to_line(), undo));
        let supervisor = Arc::clone(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let _ = supervisor.undo(id).await;
        });
        Ok(id.to_string())
    }

    async fn inject(&self, id: u64, fault: &Fault) -> Result<Undo, Error> {
        if let Some(rule) = fault.rule() {
            let nodes = self.nodes.lock().await;
            let alive = nodes.iter().filter(|node| node.init.is_running());
            let alive = alive.map(|node| node.number).collect();
            return faults::add_rule(id, &rule, alive).await;
        }
        match fault {
            Fault::Pause { component } => {
                let mut paused = None;
                self.with_component(component, |component| {
                    paused = Some(component.pause());
                    Ok(())
                })
                .await?;
                paused
                    .map(|paused| Undo::Continue { _paused: paused })
                    .ok_or_else(|| Error::Program(format!("{component} was not paused")))
            }
            Fault::Slow { component } => {
                let mut pid = 0;
                self.with_component(component, |component| {
                    pid = component.pid();
                    Ok(())
                })
                .await?;
                Ok(faults::slow(pid))
            }
            Fault::Partition { node } => {
                let node = self.node(&node.to_string()).await?.number;
                network::connect(node, false).await?;
                Ok(Undo::Link(node))
            }
            Fault::Fill { namespace, claim } => self.fill(namespace, claim).await,
            Fault::Drop { .. } | Fault::Reject { .. } | Fault::Throttle { .. } => {
                Err(Error::Unsupported("a rule is expected".to_owned()))
            }
        }
    }

    async fn fill(&self, namespace: &str, claim: &str) -> Result<Undo, Error> {
        use k8s_openapi::api::core::v1::PersistentVolumeClaim;
        let client = client_for(&self.plane.kubeconfig).await?;
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client, namespace);
        let volume = claims
            .get(claim)
            .await?
            .spec
            .and_then(|spec| spec.volume_name)
            .unwrap_or_default();
        for node in self.nodes.lock().await.iter() {
            let path = provisioner::directory(&self.site.state, node.number, &volume);
            if !volume.is_empty() && path.exists() {
                // The file system is mounted in the node alone.
                let root = format!("/proc/{}/root{}", node.init.pid(), path.display());
                let filled = tokio::task::spawn_blocking(move || faults::fill(root.as_ref())).await;
                return filled.map_err(|error| Error::Program(error.to_string()))?;
            }
        }
        Err(Error::Unsupported(format!(
            "{namespace}/{claim} has no volume of class {}",
            provisioner::CLASS
        )))
    }

    async fn undo(&self, id: u64) -> Result<(), Error> {
        // A fault whose time was over is undone already.
        let Some((_, undo)) = self.faults.lock().await.remove(&id) else {
            return Ok(());
        };
        undo.now().await
    }

    async fn provision(self: Arc<Self>) {
        let mut said = String::new();
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let nodes = self.nodes.lock().await.clone();
            let alive: Vec<Arc<Node>> = nodes
                .into_iter()
                .filter(|node| node.init.is_running())
                .collect();
            let sync = async {
                let client = client_for(&self.plane.kubeconfig).await?;
                provisioner::sync(&client, &self.site.state, &alive).await
            };
            // Goes to the supervisor's log, once for each new reason.
            if let Err(error) = sync.await.map_err(|error| error.to_string()) {
                if error != said {
                    eprintln!("provisioner: {error}");
                }
                said = error;
            }
        }
    }

    /// An enforcer that ended, or that says it is unwell for a while, is started again: nothing else would tell.
    async fn watch_enforcers(self: Arc<Self>) {
        let mut failures: BTreeMap<u8, u32> = BTreeMap::new();
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            for node in self.nodes.lock().await.clone() {
                let Some(enforcer) = node.part("kube-router").filter(|_| node.init.is_running())
                else {
                    continue;
                };
                let failed = failures.entry(node.number).or_default();
                *failed = if enforcer_is_healthy(node.number).await {
                    0
                } else {
                    *failed + 1
                };
                if enforcer.is_running() && *failed < ENFORCER_FAILURES_MAX {
                    continue;
                }
                eprintln!("{}: the enforcer is started again", node_name(node.number));
                *failed = 0;
                if let Err(error) = enforcer.restart() {
                    eprintln!("{error}");
                }
                *self
                    .enforcer_restarts
                    .lock()
                    .await
                    .entry(node.number)
                    .or_default() += 1;
            }
        }
    }
}

async fn enforcer_is_healthy(number: u8) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect((node_address(number), ENFORCER_HEALTH_PORT)).await?;
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.take(1024).read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer.split_whitespace().nth(1) == Some("200"))
    };
    matches!(
        tokio::time::timeout(Duration::from_secs(1), asked).await,
        Ok(Ok(true))
    )
}

fn resident_megabytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1024
}

/// Sends one command to the supervisor of a cluster and gives its answer.
pub(crate) fn request(state: &State, line: &str) -> Result<String, Error> {
    use std::io::{Read, Write};
    let socket = state.path("supervisor.sock");
    let failed = |error: std::io::Error| {
        Error::Unsupported(format!(
            "no cluster answers at {}: {error}; make cluster",
            socket.display()
        ))
    };
    let mut stream = std::os::unix::net::UnixStream::connect(&socket).map_err(failed)?;
    stream
        .set_read_timeout(Some(Duration::from_mins(3)))
        .map_err(failed)?;
    stream
        .write_all(format!("{line}\n").as_bytes())
        .map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    match answer.split_once('\n') {
        Some(("ok", text)) => Ok(text.to_owned()),
        Some(("error", text)) => Err(Error::Program(text.to_owned())),
        _ => Err(Error::Program(format!(
            "{line}: the supervisor gave no answer"
        ))),
    }
}
