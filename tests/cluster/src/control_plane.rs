//! etcd, API server, controller manager and scheduler as plain processes.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::component::{Component, log_tail};
use crate::pki::{Authority, write_private};
use crate::programs::Programs;
use crate::{Error, eventually};

/// The addresses that Services get; the first one is the API server's.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";
const FIRST_SERVICE_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const READY_SECONDS: u64 = 60;

/// Every request without bodies; what tests need to see who wrote what.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
"rules": [{"level": "None", "nonResourceURLs": ["/readyz*", "/livez*", "/healthz*"]}, {"level": "Metadata"}]}"#;

/// Where the API server listens, and whether there are nodes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Loopback, or an address that nodes reach.
    pub(crate) address: Ipv4Addr,
    /// With nodes there is a scheduler, and the API server is in the `kubernetes` Service.
    pub(crate) nodes: bool,
}

/// A running control plane; its directory holds `pki/`, `log/`, `etcd/` and `audit.log`.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    pub(crate) authority: Authority,
    pub(crate) server: String,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) api_server: Component,
    pub(crate) others: Vec<Component>,
}

impl ControlPlane {
    /// Starts everything and returns when `/readyz` is ok.
    pub(crate) async fn start(
        directory: &Path,
        programs: &Programs,
        shape: Shape,
    ) -> Result<Self, Error> {
        let pki = directory.join("pki");
        let authority = Authority::create(&pki)?;
        write_certificates(&authority, shape)?;
        let logs = directory.join("log");
        fs::create_dir_all(&logs).map_err(Error::file(&logs))?;
        let [
            client_port,
            peer_port,
            api_port,
            manager_port,
            scheduler_port,
        ] = free_ports()?;
        // Where nodes are, a policy may name the port that API servers usually have.
        let api_port = if shape.nodes { 6443 } else { api_port };
        let server = format!("https://{}:{api_port}", shape.address);
        let kubeconfig =
            authority.write_kubeconfig("admin", &server, "admin", Some("system:masters"))?;

        let run = |name: &str, arguments: Vec<String>| {
            Component::start(
                name,
                &programs.path(name),
                arguments,
                &logs.join(format!("{name}.log")),
            )
        };
        let etcd = run("etcd", etcd_arguments(directory, client_port, peer_port))?;
        let api_server = run(
            "kube-apiserver",
            api_server_arguments(directory, shape, client_port, api_port)?,
        )?;
        wait_ready(&kubeconfig, &api_server).await?;

        // Started before the API server is ready, these two meet "forbidden" and back off for seconds.
        let mut others = vec![etcd];
        let manager = "system:kube-controller-manager";
        authority.write_kubeconfig("controller-manager", &server, manager, None)?;
        others.push(run(
            "kube-controller-manager",
            controller_manager_arguments(&pki, manager_port),
        )?);
        if shape.nodes {
            let path =
                authority.write_kubeconfig("scheduler", &server, "system:kube-scheduler", None)?;
            others.push(run(
                "kube-scheduler",
                scheduler_arguments(&path, scheduler_port),
            )?);
        }
        Ok(Self {
            authority,
            server,
            kubeconfig,
            api_server,
            others,
        })
    }

    /// Waits until the API server, which was started again, is ready.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        wait_ready(&self.kubeconfig, &self.api_server).await
    }
}

/// A client for a kubeconfig file.
pub(crate) async fn client_for(kubeconfig: &Path) -> Result<Client, Error> {
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &options);
    Ok(Client::try_from(config.await?)?)
}

async fn wait_ready(kubeconfig: &Path, api_server: &Component) -> Result<(), Error> {
    let client = client_for(kubeconfig).await?;
    let ready = eventually("a ready API server", READY_SECONDS, async || {
        if !api_server.is_running() {
            return Some(false);
        }
        // A paused or dying server may never answer.
        let answer = tokio::time::timeout(Duration::from_secs(2), readyz(&client)).await;
        matches!(answer, Ok(true)).then_some(true)
    });
    match ready.await {
        Ok(true) => Ok(()),
        other => {
            let tail = log_tail(api_server.log(), 10);
            let reason = other
                .err()
                .map_or("it ended".to_owned(), |error| error.to_string());
            Err(Error::Program(format!("kube-apiserver: {reason}\n{tail}")))
        }
    }
}

async fn readyz(client: &Client) -> bool {
    match http::Request::get("/readyz").body(Vec::new()) {
        Ok(request) => client
            .request_text(request)
            .await
            .is_ok_and(|text| text == "ok"),
        Err(_) => false,
    }
}

fn write_certificates(authority: &Authority, shape: Shape) -> Result<(), Error> {
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let addresses = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        shape.address.into(),
        FIRST_SERVICE_ADDRESS,
    ];
    authority.write(
        "apiserver",
        &authority.server("kube-apiserver", &names, &addresses)?,
    )?;
    authority.write(
        "kubelet-client",
        &authority.client("kube-apiserver", Some("system:masters"))?,
    )
}

fn etcd_arguments(directory: &Path, client_port: u16, peer_port: u16) -> Vec<String> {
    let client = format!("http://127.0.0.1:{client_port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    vec![
        format!("--data-dir={}", directory.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        // A test cluster need not survive a power cut, and a disk flush is most of what a write costs.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

fn api_server_arguments(
    directory: &Path,
    shape: Shape,
    etcd_port: u16,
    port: u16,
) -> Result<Vec<String>, Error> {
    let policy = directory.join("audit-policy.json");
    write_private(&policy, AUDIT_POLICY)?;
    let pki = directory.join("pki");
    let file = |name: &str| pki.join(name).display().to_string();
    let mut arguments = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        format!("--bind-address={}", shape.address),
        format!("--advertise-address={}", shape.address),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--service-account-issuer={ISSUER}"),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        format!(
            "--kubelet-client-certificate={}",
            file("kubelet-client.crt")
        ),
        format!("--kubelet-client-key={}", file("kubelet-client.key")),
        format!("--kubelet-certificate-authority={}", file("ca.crt")),
        // Nodes have names that no DNS server knows.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", directory.join("audit.log").display()),
        "--audit-log-maxsize=64".to_owned(),
        "--audit-log-maxbackup=1".to_owned(),
        "--profiling=false".to_owned(),
    ];
    if !shape.nodes {
        // A loopback address may not stand in an Endpoints object.
        arguments.push("--endpoint-reconciler-type=none".to_owned());
    }
    Ok(arguments)
}

fn controller_manager_arguments(pki: &Path, port: u16) -> Vec<String> {
    let file = |name: &str| pki.join(name).display().to_string();
    vec![
        format!("--kubeconfig={}", file("controller-manager.kubeconfig")),
        format!("--service-account-private-key-file={}", file("sa.key")),
        format!("--root-ca-file={}", file("ca.crt")),
        format!("--cluster-signing-cert-file={}", file("ca.crt")),
        format!("--cluster-signing-key-file={}", file("ca.key")),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--use-service-account-credentials=true".to_owned(),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        // With the default rates the first ServiceAccount comes 5 s later.
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
    ]
}

fn scheduler_arguments(kubeconfig: &Path, port: u16) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
    ]
}

/// Ports that were free a moment ago, all different.
fn free_ports<const N: usize>() -> Result<[u16; N], Error> {
    let failed =
        |error: std::io::Error| Error::Program(format!("no free port on loopback: {error}"));
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        *port = listener.local_addr().map_err(failed)?.port();
        listeners.push(listener);
    }
    Ok(ports)
}
