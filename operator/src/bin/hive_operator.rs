//! The operator: webhook in every replica, reconciliation in the one that leads.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, RwLock};

use axiom_hive_client::build_ref;
use axiom_hive_client::ledger::{Credential, Endpoint, LedgerClient};
use axiom_hive_operator::admission::authority::Periods;
use axiom_hive_operator::admission::readiness::Readiness;
use axiom_hive_operator::admission::{Certificates, Webhook, serve};
use axiom_hive_operator::leader::Candidate;
use axiom_hive_operator::ledger_secrets::{LedgerSecrets, Trust};
use axiom_hive_operator::plan::pod::{LedgerEndpoint, RunnerSettings};
use axiom_hive_operator::plan::resolve::Constitutions;
use axiom_hive_operator::reconcile::{Context, MAX_NAMESPACES, Settings, follow, run};
use axiom_hive_operator::telemetry::metrics::{CONTENT_TYPE, Metrics};
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use clap::Parser;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// The lease of the one that reconciles.
const LEASE: &str = "axiom-hive-operator";
/// The guard's policies and bindings, as the chart names them.
const GUARD: [&str; 6] = [
    "axiom-hive-guard-pods",
    "axiom-hive-guard-runner-pods",
    "axiom-hive-guard-connect",
    "axiom-hive-guard-tokens",
    "axiom-hive-guard-objects",
    "axiom-hive-guard-status",
];

/// The control plane of Axiom Hive
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The release's namespace
    #[arg(long)]
    namespace: String,
    /// A namespace whose tasks are run; give it once for each. Default: all namespaces
    #[arg(long = "watch-namespace")]
    watch_namespaces: Vec<String>,
    /// The log level: error, warn, info, debug, or directives of tracing-subscriber
    #[arg(long, default_value = "info")]
    log_level: String,
    /// Where /livez and /readyz are served
    #[arg(long, default_value = "[::]:8080")]
    http: SocketAddr,
    /// Where the webhook is served
    #[arg(long, default_value = "[::]:9443")]
    webhook: SocketAddr,
    /// The name under which API servers know the webhook
    #[arg(long)]
    webhook_name: String,
    /// A directory with tls.crt, tls.key and ca.crt that somebody else keeps fresh
    #[arg(long, conflicts_with = "webhook_configuration")]
    webhook_certificates: Option<PathBuf>,
    /// The webhook configuration whose `caBundle` is kept current
    #[arg(long)]
    webhook_configuration: Option<String>,
    /// The image of runner pods
    #[arg(long)]
    runner_image: String,
    /// The ledger's Service, in the release's namespace
    #[arg(long)]
    ledger_service: String,
    /// Names the ledger, when its key is made
    #[arg(long)]
    ledger_origin: Option<String>,
    /// A file with a token for the ledger
    #[arg(long)]
    ledger_token: PathBuf,
    /// Names this replica; default: the host's name, which is the pod's
    #[arg(long)]
    identity: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(tracing_subscriber::EnvFilter::new(&args.log_level))
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = runtime
        .map_err(|error| error.to_string())
        .and_then(|it| it.block_on(operate(args)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "ended");
            ExitCode::from(2)
        }
    }
}

async fn operate(args: Args) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    if args.watch_namespaces.len() > MAX_NAMESPACES {
        return Err(format!(
            "--watch-namespace must be given at most {MAX_NAMESPACES} times"
        ));
    }
    let client = Client::try_default().await.map_err(|error| text(&error))?;
    let shutdown = CancellationToken::new();
    let mut told = signal(SignalKind::terminate()).map_err(|error| text(&error))?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(|error| text(&error))?;
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = told.recv() => {}, _ = interrupted.recv() => {} }
        stop.cancel();
    });
    let constitutions = Arc::new(RwLock::new(Constitutions::default()));
    let readiness = Readiness::default();
    let listener = TcpListener::bind(args.http)
        .await
        .map_err(|error| text(&error))?;
    let metrics = Arc::new(Metrics::default());
    let (health, stop) = (
        Health(readiness.clone(), Arc::clone(&metrics)),
        shutdown.clone(),
    );
    tokio::spawn(health.serve(listener, stop));
    tokio::spawn(follow(
        client.clone(),
        Arc::clone(&constitutions),
        readiness.clone(),
        shutdown.clone(),
    ));
    let webhook = Webhook {
        listener: TcpListener::bind(args.webhook)
            .await
            .map_err(|error| text(&error))?,
        names: vec![args.webhook_name.clone()],
        certificates: certificates(&args),
        constitutions: Arc::clone(&constitutions),
        client: client.clone(),
        readiness,
    };
    let admission = tokio::spawn(serve(webhook, shutdown.clone()));
    let led = lead(&args, client, constitutions, metrics, &shutdown).await;
    // A replica that lost its lease starts afresh: nothing of what it knew is trusted.
    shutdown.cancel();
    let served = admission.await.map_err(|error| text(&error))?;
    served.map_err(|error| text(&error))?;
    led
}

async fn lead(
    args: &Args,
    client: Client,
    constitutions: Arc<RwLock<Constitutions>>,
    metrics: Arc<Metrics>,
    shutdown: &CancellationToken,
) -> Result<(), String> {
    let secrets = || {
        let (service, origin) = (&args.ledger_service, args.ledger_origin.clone());
        LedgerSecrets::new(client.clone(), &args.namespace, service, origin)
    };
    // Every replica: whoever is first makes them, the others find them.
    let (sender, mut trusts) = watch::channel(None::<Trust>);
    let _keeping = AbortOnDropHandle::new(tokio::spawn(secrets().keep(sender)));
    let trust = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        trust = trusts.wait_for(Option::is_some) => trust.map_err(|error| error.to_string())?.clone(),
    };
    let Some(trust) = trust else { return Ok(()) };
    let host = || {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    };
    let identity = args.identity.clone().unwrap_or_else(host);
    let candidate = Candidate::new(client.clone(), &args.namespace, LEASE, &identity);
    if !candidate.lead(shutdown).await {
        return Ok(());
    }
    let salt_key = secrets().salt_key().await;
    let salt_key = salt_key.map_err(|error| error.to_string())?;
    let (settings, client_of_ledger) = settings(args, &client, &trust, salt_key).await?;
    let build = build_ref().map_err(|error| error.to_string())?;
    let context = Arc::new(Context::new(
        client,
        client_of_ledger,
        settings,
        constitutions,
        build,
        Arc::clone(&metrics),
    ));
    metrics.leading.set(1);
    let stop = shutdown.child_token();
    let work = tokio::spawn(run(context, stop.clone()));
    tokio::select! {
        () = candidate.keep(shutdown) => {}
        // New authorities: whoever starts next gives them to its pods.
        _ = trusts.wait_for(|now| now.as_ref() != Some(&trust)) => {}
    }
    stop.cancel();
    work.await.map_err(|error| error.to_string())
}

/// What the leader works with, and its way to the ledger.
async fn settings(
    args: &Args,
    client: &Client,
    trust: &Trust,
    salt_key: [u8; 32],
) -> Result<(Settings, LedgerClient), String> {
    let services: Api<Service> = Api::namespaced(client.clone(), &args.namespace);
    let service = services.get(&args.ledger_service).await;
    let service = service.map_err(|error| error.to_string())?;
    let ledger = LedgerEndpoint::behind(&service, (trust.ca.clone(), trust.vkey.clone()))?;
    let key = trust.vkey.parse();
    let endpoint = Endpoint {
        url: format!("https://{}:{}", ledger.host, ledger.pods.port),
        ca: trust.ca.clone(),
        key: key.map_err(|error| format!("the ledger's vkey: {error}"))?,
        credential: Credential::Token(args.ledger_token.clone()),
    };
    let settings = Settings {
        namespace: args.namespace.clone(),
        namespaces: args.watch_namespaces.clone(),
        runner: RunnerSettings {
            image: args.runner_image.clone(),
            ledger,
        },
        guard: GUARD.map(str::to_owned).into(),
        salt_key,
    };
    let client = LedgerClient::new(endpoint).map_err(|error| error.to_string())?;
    Ok((settings, client))
}

fn certificates(args: &Args) -> Certificates {
    match &args.webhook_certificates {
        Some(directory) => Certificates::Files {
            certificate: directory.join("tls.crt"),
            key: directory.join("tls.key"),
            ca: directory.join("ca.crt"),
        },
        None => Certificates::Own {
            namespace: args.namespace.clone(),
            configuration: args.webhook_configuration.clone(),
            periods: Periods::default(),
        },
    }
}

/// `/livez`, `/readyz` and `/metrics`.
struct Health(Readiness, Arc<Metrics>);

impl Health {
    async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let Self(readiness, metrics) = self;
        let ready = move || async move {
            let missing = readiness.missing();
            if missing.is_empty() {
                (StatusCode::OK, "ok".to_owned())
            } else {
                let missing = format!("missing: {}", missing.join(", "));
                (StatusCode::SERVICE_UNAVAILABLE, missing)
            }
        };
        let metrics =
            move || async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.text()) };
        let router = Router::new()
            .route("/livez", get(|| async { "ok" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics));
        let serving = axum::serve(listener, router);
        let serving = serving.with_graceful_shutdown(shutdown.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::error!(%error, "health");
        }
    }
}
