//! The cluster as tests see it.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Event, Namespace as NamespaceObject, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::component::{Component, log_tail};
use crate::control_plane::{ControlPlane, Shape};
use crate::pki::{Authority, certificate_user, kubeconfig};
use crate::programs::Programs;
use crate::{Error, eventually};

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
pub struct TestCluster {
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Started by this process; ends with it.
    Own {
        plane: Box<ControlPlane>,
        directory: PathBuf,
        _directory_guard: DirectoryGuard,
    },
    /// The user's cluster.
    Context(String),
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
            eprintln!(
                "skipped: needs AXIOM_HIVE_CLUSTER={}",
                if size == Size::Api { "api" } else { "full" }
            );
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
        Ok(Self {
            source: Source::Own {
                plane,
                directory,
                _directory_guard: guard,
            },
        })
    }

    async fn named(name: &str) -> Result<Self, Error> {
        match name.split_once(':') {
            None if name == "api" => Self::own().await,
            Some(("context", context)) => Ok(Self {
                source: Source::Context(context.to_owned()),
            }),
            Some(("kind", cluster)) => Ok(Self {
                source: Source::Context(format!("kind-{cluster}")),
            }),
            _ => Err(Error::Unsupported(
                "must be api, full, kind:NAME or context:NAME".to_owned(),
            )),
        }
    }

    /// A client with all rights. It belongs to the runtime it was made on, so each test takes its own.
    pub async fn client(&self) -> Result<Client, Error> {
        client_from(self.kubeconfig()?).await
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> Result<Kubeconfig, Error> {
        Ok(match &self.source {
            Source::Own { plane, .. } => Kubeconfig::read_from(&plane.kubeconfig)?,
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
        if let Source::Own { plane, .. } = &self.source {
            let identity = plane.authority.client(user, group)?;
            return parse(&kubeconfig(
                &plane.server,
                plane.authority.certificate(),
                &certificate_user(&identity),
            ));
        }
        let mut kubeconfig = self.kubeconfig()?;
        for named in &mut kubeconfig.auth_infos {
            if let Some(auth) = &mut named.auth_info {
                auth.impersonate = Some(user.to_owned());
                auth.impersonate_groups = group.map(|group| vec![group.to_owned()]);
            }
        }
        Ok(kubeconfig)
    }

    /// A kubeconfig with a token of a service account, good for an hour.
    pub async fn kubeconfig_for_service_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Kubeconfig, Error> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(3600),
                ..Default::default()
            },
            ..Default::default()
        };
        let answer = api
            .create_token_request(name, &PostParams::default(), &request)
            .await?;
        let token = answer.status.map(|status| status.token).unwrap_or_default();
        let mut kubeconfig = self.kubeconfig()?;
        for named in &mut kubeconfig.auth_infos {
            let auth = kube::config::AuthInfo {
                token: Some(token.clone().into()),
                ..Default::default()
            };
            named.auth_info = Some(auth);
        }
        Ok(kubeconfig)
    }

    /// A fresh namespace whose `default` `ServiceAccount` exists; deleted when the value is dropped.
    pub async fn namespace(&self, prefix: &str) -> Result<Namespace<'_>, Error> {
        let client = self.client().await?;
        let object: NamespaceObject =
            serde_json::from_value(json!({"metadata": {"generateName": format!("{prefix}-")}}))
                .map_err(kube::Error::SerdeError)?;
        let created = Api::<NamespaceObject>::all(client.clone())
            .create(&PostParams::default(), &object)
            .await?;
        let namespace = Namespace {
            cluster: self,
            name: created.metadata.name.unwrap_or_default(),
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(client, &namespace.name);
        eventually("the ServiceAccount of a new namespace", 30, async || {
            accounts.get_opt("default").await.ok().flatten()
        })
        .await?;
        Ok(namespace)
    }

    /// The address under which the API server reaches a socket of this process that listens on it, for webhooks by URL.
    pub fn host_address(&self) -> Result<IpAddr, Error> {
        match &self.source {
            Source::Own { .. } => Ok(Ipv4Addr::LOCALHOST.into()),
            Source::Context(name) => Err(Error::Unsupported(format!(
                "how the API server of context {name} reaches this machine is not known"
            ))),
        }
    }

    /// The authority that signs for this cluster, for the certificates of webhooks.
    pub fn authority(&self) -> Result<&Authority, Error> {
        match &self.source {
            Source::Own { plane, .. } => Ok(&plane.authority),
            Source::Context(name) => Err(Error::Unsupported(format!(
                "the authority of context {name} is not ours"
            ))),
        }
    }

    /// The API server's process, to pause or kill it; only of a cluster from [`TestCluster::own`].
    pub fn api_server(&self) -> Result<&Component, Error> {
        match &self.source {
            Source::Own { plane, .. } => Ok(&plane.api_server),
            Source::Context(name) => Err(Error::Unsupported(format!(
                "the API server of {name} is not ours"
            ))),
        }
    }

    /// Kills the API server, starts it again, and returns when it is ready.
    pub async fn restart_api_server(&self) -> Result<(), Error> {
        self.api_server()?.restart()?;
        match &self.source {
            Source::Own { plane, .. } => plane.ready().await,
            Source::Context(_) => Ok(()),
        }
    }

    /// The audit log, one JSON object a line: who wrote what.
    pub fn audit_log(&self) -> Result<PathBuf, Error> {
        match &self.source {
            Source::Own { directory, .. } => Ok(directory.join("audit.log")),
            Source::Context(name) => Err(Error::Unsupported(format!(
                "the audit log of context {name} is not known"
            ))),
        }
    }

    fn logs(&self) -> Vec<PathBuf> {
        match &self.source {
            Source::Own { plane, .. } => {
                let others = plane.others.iter().map(Component::log);
                std::iter::once(plane.api_server.log())
                    .chain(others)
                    .map(Path::to_owned)
                    .collect()
            }
            Source::Context(_) => Vec::new(),
        }
    }
}

/// A client for a kubeconfig, on the runtime it is made on.
pub async fn client_from(kubeconfig: Kubeconfig) -> Result<Client, Error> {
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn parse(text: &str) -> Result<Kubeconfig, Error> {
    Ok(Kubeconfig::from_yaml(text)?)
}

/// A namespace of one test. Dropping it asks for its deletion and does not wait; when the test panics it first prints what
/// happened there.
#[derive(Debug)]
pub struct Namespace<'a> {
    cluster: &'a TestCluster,
    name: String,
}

impl Namespace<'_> {
    /// Its name: the prefix that was asked for and five random characters.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn end(&self, failed: bool) -> Result<(), Error> {
        let client = self.cluster.client().await?;
        if failed {
            let limit = ListParams::default().limit(100);
            for event in Api::<Event>::namespaced(client.clone(), &self.name)
                .list(&limit)
                .await?
            {
                let object = event.involved_object;
                let text = |value: Option<String>| value.unwrap_or_default();
                eprintln!(
                    "event {} {} {}: {} {}",
                    text(event.type_),
                    text(object.kind),
                    text(object.name),
                    text(event.reason),
                    text(event.message)
                );
            }
        }
        Api::<NamespaceObject>::all(client)
            .delete(&self.name, &DeleteParams::default())
            .await?;
        Ok(())
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            for log in self.cluster.logs() {
                eprintln!("--- {}\n{}", log.display(), log_tail(&log, 10));
            }
        }
        // Dropping happens on the test's runtime, which must not be blocked on; so a thread with one of its own.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                else {
                    return;
                };
                let limit = std::time::Duration::from_secs(10);
                let ended =
                    runtime.block_on(async { tokio::time::timeout(limit, self.end(failed)).await });
                if !matches!(ended, Ok(Ok(()))) {
                    eprintln!("namespace {} was not deleted: {ended:?}", self.name);
                }
            });
        });
    }
}

/// Removes a directory when this process ends, however it ends: a shell waits for the end of a pipe that only we hold.
#[derive(Debug)]
struct DirectoryGuard(std::process::Child);

impl DirectoryGuard {
    fn new(directory: &Path) -> Result<Self, Error> {
        // The programs that write there die in the same moment; a second attempt catches what they wrote last.
        let script = r#"read -r _; rm -rf "$0" 2>/dev/null || { sleep 1; rm -rf "$0"; }"#;
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .arg(directory)
            .stdin(Stdio::piped())
            .process_group(0);
        let shell = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self(
            shell.map_err(|error| Error::Program(format!("sh: {error}")))?,
        ))
    }
}

impl Drop for DirectoryGuard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
