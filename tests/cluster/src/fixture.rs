//! The cluster as tests see it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::api::{ListParams, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::OnceCell;

use crate::component::{Component, DirectoryGuard, log_tail};
use crate::control_plane::{ControlPlane, Shape};
use crate::faults::Fault;
use crate::pki::{Authority, certificate_user, kubeconfig};
use crate::programs::Programs;
use crate::state::State;
use crate::supervisor::request;
use crate::{Error, Namespace, lifecycle, node};

/// What a test needs of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// An API server with controllers; pods stay Pending.
    Api,
    /// Nodes that run pods.
    Full,
}

/// A cluster that a test may use.
#[derive(Debug)]
pub struct TestCluster(Source);

#[derive(Debug)]
enum Source {
    /// Started by this process; ends with it. Fields are dropped in this order: programs, then files.
    Own {
        plane: Box<ControlPlane>,
        local: Local,
        _guard: DirectoryGuard,
    },
    /// What `cluster up` made.
    Up { state: State, local: Local },
    /// The user's cluster, a context of the kubeconfig.
    Context(String),
}

/// What is known of a cluster on this machine.
#[derive(Debug)]
struct Local {
    directory: PathBuf,
    server: String,
    authority: Authority,
    host_address: Ipv4Addr,
}

impl TestCluster {
    /// The cluster that `AXIOM_HIVE_CLUSTER` asks for, shared by all tests of one program. `None`, with a line on stderr, when
    /// it asks for none or for a smaller one.
    ///
    /// # Panics
    /// When a cluster is asked for and cannot be had: a test must not pass because its cluster is missing.
    pub async fn shared(size: Size) -> Option<&'static Self> {
        static SHARED: OnceCell<TestCluster> = OnceCell::const_new();
        let wanted = std::env::var("AXIOM_HIVE_CLUSTER").unwrap_or_default();
        let enough = match wanted.as_str() {
            "" => false,
            "api" => size == Size::Api,
            _ => true,
        };
        if !enough {
            let needed = if size == Size::Api { "api" } else { "full" };
            eprintln!("skipped: needs AXIOM_HIVE_CLUSTER={needed}");
            return None;
        }
        let cluster = SHARED.get_or_init(async || match Self::named(&wanted).await {
            Ok(cluster) => cluster,
            Err(error) => panic!("AXIOM_HIVE_CLUSTER={wanted}: {error}"),
        });
        Some(cluster.await)
    }

    /// A new control plane for one test, of size `api`.
    pub async fn own() -> Result<Self, Error> {
        let programs = Programs::locate(&["kubernetes", "etcd"])?;
        let directory = tempfile::Builder::new()
            .prefix("axiom-hive-cluster-")
            .tempdir()
            .map_err(Error::file(&std::env::temp_dir()))?
            .keep();
        let guard = DirectoryGuard::new(&directory)?;
        let shape = Shape {
            address: Ipv4Addr::LOCALHOST,
            nodes: false,
        };
        let plane = Box::new(ControlPlane::start(&directory, &programs, shape).await?);
        let local = Local::open(directory, plane.server.clone(), shape.address)?;
        Ok(Self(Source::Own {
            plane,
            local,
            _guard: guard,
        }))
    }

    async fn named(name: &str) -> Result<Self, Error> {
        Ok(match name.split_once(':') {
            None if name == "api" => Self::own().await?,
            None if name == "full" => {
                let state = State::here()?;
                let description = state.description()?;
                request(&state, "status")?;
                if description.nodes == 0 {
                    return Err(Error::Unsupported(
                        "the cluster that is up has no nodes".to_owned(),
                    ));
                }
                let directory = state.directory().to_owned();
                let local = Local::open(directory, description.server, description.host_address)?;
                Self(Source::Up { state, local })
            }
            Some(("context", context)) => Self(Source::Context(context.to_owned())),
            Some(("kind", cluster)) => Self(Source::Context(format!("kind-{cluster}"))),
            _ => {
                let choices = "must be api, full, kind:NAME or context:NAME";
                return Err(Error::Unsupported(choices.to_owned()));
            }
        })
    }

    /// A client with all rights. It belongs to the runtime it was made on, so each test takes its own.
    pub async fn client(&self) -> Result<Client, Error> {
        client_from(self.kubeconfig()?).await
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> Result<Kubeconfig, Error> {
        Ok(match &self.0 {
            Source::Own { local, .. } | Source::Up { local, .. } => {
                Kubeconfig::read_from(local.kubeconfig())?
            }
            Source::Context(context) => {
                let mut kubeconfig = Kubeconfig::read()?;
                kubeconfig.current_context = Some(context.clone());
                kubeconfig
            }
        })
    }

    /// A kubeconfig for a user with no rights but those that RBAC gives to that name or group: a client certificate of the
    /// cluster's authority, or impersonation on a user's cluster.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<Kubeconfig, Error> {
        if let Ok(local) = self.local() {
            let auth = certificate_user(&local.authority.client(user, group)?);
            let text = kubeconfig(&local.server, local.authority.certificate(), &auth);
            return Ok(Kubeconfig::from_yaml(&text)?);
        }
        self.kubeconfig_with(|auth| {
            auth.impersonate = Some(user.to_owned());
            auth.impersonate_groups = group.map(|group| vec![group.to_owned()]);
        })
    }

    /// A kubeconfig with a token of a service account, good for an hour.
    pub async fn kubeconfig_for_service_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Kubeconfig, Error> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let spec = TokenRequestSpec {
            expiration_seconds: Some(3600),
            ..Default::default()
        };
        let request = TokenRequest {
            spec,
            ..Default::default()
        };
        let answer = api
            .create_token_request(name, &PostParams::default(), &request)
            .await?;
        let token = answer.status.map(|status| status.token).unwrap_or_default();
        self.kubeconfig_with(|auth| {
            *auth = AuthInfo {
                token: Some(token.clone().into()),
                ..Default::default()
            };
        })
    }

    fn kubeconfig_with(&self, change: impl Fn(&mut AuthInfo)) -> Result<Kubeconfig, Error> {
        let mut kubeconfig = self.kubeconfig()?;
        for named in &mut kubeconfig.auth_infos {
            change(named.auth_info.get_or_insert_default());
        }
        Ok(kubeconfig)
    }

    /// A fresh namespace whose `default` `ServiceAccount` exists; deleted when the value is dropped.
    pub async fn namespace(&self, prefix: &str) -> Result<Namespace<'_>, Error> {
        Namespace::create(self, prefix).await
    }

    /// Two nodes that take pods, by the label `kubernetes.io/hostname`; the same one twice where there is no other.
    pub async fn two_nodes(&self) -> Result<[String; 2], Error> {
        let nodes: Api<Node> = Api::all(self.client().await?);
        let nodes = nodes.list(&ListParams::default()).await?.items;
        let takes_pods = |node: &&Node| {
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
            taints.is_none_or(Vec::is_empty)
        };
        let mut names: Vec<String> = nodes
            .iter()
            .filter(takes_pods)
            .filter_map(|node| node.labels().get("kubernetes.io/hostname").cloned())
            .collect();
        names.sort_unstable();
        let Some(one) = names.first() else {
            let what = "no node of the cluster takes pods";
            return Err(Error::Unsupported(what.to_owned()));
        };
        Ok([one.clone(), names.get(1).unwrap_or(one).clone()])
    }

    /// The address under which the API server, and pods where there are any, reach a socket of this process that listens on it:
    /// for webhooks by URL and for targets outside the cluster.
    pub fn host_address(&self) -> Result<IpAddr, Error> {
        Ok(self.local()?.host_address.into())
    }

    /// The authority that signs for this cluster, for the certificates of webhooks.
    pub fn authority(&self) -> Result<&Authority, Error> {
        Ok(&self.local()?.authority)
    }

    /// The audit log, one JSON object a line: who wrote what.
    pub fn audit_log(&self) -> Result<PathBuf, Error> {
        Ok(self.local()?.directory.join("audit.log"))
    }

    /// A program that the cluster was built with, such as `kubectl` or `helm`.
    pub fn program(&self, name: &str) -> Result<PathBuf, Error> {
        let tool = if name == "kubectl" {
            "kubernetes"
        } else {
            name
        };
        Ok(Programs::locate(&[tool])?.path(name))
    }

    /// The API server's process, to pause or kill it; only of a cluster from [`TestCluster::own`].
    pub fn api_server(&self) -> Result<&Component, Error> {
        match &self.0 {
            Source::Own { plane, .. } => Ok(&plane.api_server),
            _ => Err(Error::Unsupported(
                "the API server is not a child of this process".to_owned(),
            )),
        }
    }

    /// Kills the API server, starts it again, and returns when it is ready.
    pub async fn restart_api_server(&self) -> Result<(), Error> {
        match &self.0 {
            Source::Own { plane, .. } => {
                plane.api_server.restart()?;
                plane.ready().await
            }
            _ => self.restart_component("kube-apiserver").await,
        }
    }

    /// Does something bad to the cluster that `cluster up` made, for at most `seconds`.
    pub async fn fault(&self, fault: &Fault, seconds: u64) -> Result<ActiveFault, Error> {
        let id = self
            .command(format!("fault {seconds} {}", fault.to_line()))
            .await?;
        Ok(ActiveFault {
            state: self.up()?.clone(),
            id,
        })
    }

    /// Kills a component, such as `node-1/kubelet`, for good. An enforcer, `node-1/kube-router`, comes back by itself.
    pub async fn kill_component(&self, name: &str) -> Result<(), Error> {
        self.command(format!("component kill {name}"))
            .await
            .map(drop)
    }

    /// Starts a component again, after killing it if it runs.
    pub async fn restart_component(&self, name: &str) -> Result<(), Error> {
        self.command(format!("component restart {name}"))
            .await
            .map(drop)
    }

    /// Ends a node as a power cut does. Nodes count from 1 and are called `node-1` and so on.
    pub async fn kill_node(&self, number: u8) -> Result<(), Error> {
        self.command(format!("node kill {number}")).await.map(drop)
    }

    /// Starts a node again, after killing it if it lives; returns when it is Ready. Its volumes are kept.
    pub async fn restart_node(&self, number: u8) -> Result<(), Error> {
        self.command(format!("node restart {number}"))
            .await
            .map(drop)
    }

    /// What `cluster status` prints.
    pub async fn status(&self) -> Result<String, Error> {
        self.command("status".to_owned()).await
    }

    /// Puts the images of an archive into every node. Gives one `NAME DIGEST` a line; pods may name them `NAME:TAG` or
    /// `NAME@DIGEST`, with a pull policy other than Always.
    pub async fn load(&self, archive: &Path) -> Result<String, Error> {
        let state = self.up()?;
        let mut loaded = String::new();
        for number in 1..=state.description()?.nodes {
            loaded = node::load(state, number, archive).await?;
        }
        Ok(loaded)
    }

    async fn command(&self, line: String) -> Result<String, Error> {
        let state = self.up()?.clone();
        let answer = tokio::task::spawn_blocking(move || request(&state, &line)).await;
        answer.map_err(|error| Error::Program(error.to_string()))?
    }

    fn up(&self) -> Result<&State, Error> {
        match &self.0 {
            Source::Up { state, .. } => Ok(state),
            _ => Err(Error::Unsupported(
                "needs the cluster that `cluster up` makes".to_owned(),
            )),
        }
    }

    fn local(&self) -> Result<&Local, Error> {
        match &self.0 {
            Source::Own { local, .. } | Source::Up { local, .. } => Ok(local),
            Source::Context(name) => Err(Error::Unsupported(format!(
                "the cluster of context {name} is not on this machine"
            ))),
        }
    }

    /// The last lines of every component's log.
    pub(crate) fn log_tails(&self) -> String {
        match &self.0 {
            Source::Own { plane, .. } => {
                let all = std::iter::once(&plane.api_server).chain(&plane.others);
                let tails =
                    all.map(|one| format!("--- {}\n{}\n", one.name(), log_tail(one.log(), 10)));
                tails.collect()
            }
            Source::Up { state, .. } => lifecycle::all_log_tails(state),
            Source::Context(_) => String::new(),
        }
    }
}

impl Local {
    fn open(directory: PathBuf, server: String, host_address: Ipv4Addr) -> Result<Self, Error> {
        let authority = Authority::open(&directory.join("pki"))?;
        Ok(Self {
            directory,
            server,
            authority,
            host_address,
        })
    }

    fn kubeconfig(&self) -> PathBuf {
        self.directory.join("pki/admin.kubeconfig")
    }
}

/// A client for a kubeconfig, on the runtime it is made on.
pub async fn client_from(kubeconfig: Kubeconfig) -> Result<Client, Error> {
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    Ok(Client::try_from(config)?)
}

/// A fault that goes on until this is dropped, or its time is over.
#[derive(Debug)]
pub struct ActiveFault {
    state: State,
    id: String,
}

impl Drop for ActiveFault {
    fn drop(&mut self) {
        if let Err(error) = request(&self.state, &format!("undo {}", self.id)) {
            eprintln!("fault {} ends only when its time is over: {error}", self.id);
        }
    }
}
