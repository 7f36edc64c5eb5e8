//! A service with its certificates, and whoever asks it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axiom_hive_client::ledger::{Credential, Endpoint, LedgerClient};
use axiom_hive_client::tls::ClientFiles;
use axiom_hive_core::tlog::{SigningKey, VerifyingKey};
use axiom_hive_core::wire::{
    AppendEntry, AppendReply, AppendRequest, ErrorBody, ErrorCode, RECORDS_PATH,
};
use axiom_hive_runner::ledger::{KeyStore, Ledger};
use axiom_hive_runner::ledger_service::{Addresses, Bound, Config};
use axiom_hive_runner::tls::ServerFiles;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use reqwest::{Client, RequestBuilder, Response};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub(crate) const ORIGIN: &str = "ledger.example/hive";
pub(crate) const AUDIENCE: &str = "axiom-hive-ledger";
pub(crate) const OPERATOR: &str = "system:serviceaccount:hive:operator";
/// What the service shows to the API server.
const OWN_TOKEN: &str = "the-service";
/// Bounds every wait of these tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Clients by certificate, without an API server.
pub(crate) const CLIENTS: &str = r#"
[[clients]]
name = "operator.example"
role = "operator"
[[clients]]
name = "auditor.example"
role = "auditor"
[[clients]]
name = "spiffe://example/pod-a"
role = "runner"
pod_uid = "pod-a"
[[clients]]
name = "pod-b.example"
role = "runner"
pod_uid = "pod-b"
"#;

/// A certificate authority in a directory.
pub(crate) struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("ca.pem"), certificate.pem()).unwrap();
        Self {
            dir: dir.to_owned(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A certificate and its key for `name`: an address, a DNS name or a URI.
    pub(crate) fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new([]).unwrap();
        params.subject_alt_names = vec![match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) if name.contains("://") => SanType::URI(name.try_into().unwrap()),
            Err(_) => SanType::DnsName(name.try_into().unwrap()),
        }];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |suffix: &str| self.dir.join(format!("{}{suffix}", name.replace('/', "_")));
        std::fs::write(file(".pem"), certificate.pem()).unwrap();
        std::fs::write(file(".key"), key.serialize_pem()).unwrap();
        (file(".pem"), file(".key"))
    }

    /// A client that trusts this authority, with the certificate for `name`, if any.
    pub(crate) fn client(&self, name: Option<&str>) -> Client {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(self.ca()).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let (certificate, key) = self.issue(name);
                let chain = CertificateDer::pem_file_iter(certificate).unwrap();
                let chain = chain.collect::<Result<_, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let client = Client::builder().tls_backend_preconfigured(config);
        client.no_proxy().timeout(PATIENCE).build().unwrap()
    }
}

/// A running service.
pub(crate) struct Served {
    pub(crate) dir: TempDir,
    pub(crate) authority: Authority,
    pub(crate) addresses: Addresses,
    settings: String,
    pub(crate) vkey: VerifyingKey,
    pub(crate) api: Arc<ApiServer>,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
}

impl Served {
    /// With the clients above.
    pub(crate) async fn start() -> Self {
        Self::with(CLIENTS).await
    }

    /// With `settings`, and an API server that `settings` may name (see [`Served::kubernetes`]).
    pub(crate) async fn with(settings: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let authority = Authority::new(&dir.path().join("tls"));
        let (certificate, key) = authority.issue("127.0.0.1");
        let (api, api_address) = ApiServer::start(&certificate, &key).await;
        std::fs::write(dir.path().join("token"), OWN_TOKEN).unwrap();
        let settings = settings
            .replace("API_SERVER", &format!("https://{api_address}"))
            .replace("DIR", &dir.path().display().to_string());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let addresses = Addresses {
            https: any,
            canary: any,
        };
        let stop = CancellationToken::new();
        let bound = open(dir.path(), &authority, &settings, addresses, &stop).await;
        Self {
            addresses: bound.addresses().unwrap(),
            serving: tokio::spawn(bound.serve()),
            dir,
            authority,
            settings,
            vkey: signing_key().verifying_key().clone(),
            api,
            stop,
        }
    }

    /// Ends the service and waits until its ledger is free.
    pub(crate) async fn halt(&mut self) {
        self.stop.cancel();
        (&mut self.serving).await.unwrap();
    }

    /// Serves again what [`Served::halt`] left, at the same addresses.
    pub(crate) async fn resume(&mut self) {
        self.stop = CancellationToken::new();
        let (dir, addresses) = (self.dir.path(), self.addresses);
        let bound = open(dir, &self.authority, &self.settings, addresses, &self.stop).await;
        self.serving = tokio::spawn(bound.serve());
    }

    /// What a program needs to know to be a client.
    pub(crate) fn endpoint(&self, credential: Credential) -> Endpoint {
        Endpoint {
            url: self.url(""),
            ca: std::fs::read_to_string(self.authority.ca()).unwrap(),
            key: self.vkey.clone(),
            credential,
        }
    }

    /// A client with the certificate for `name`.
    pub(crate) fn client(&self, name: &str) -> LedgerClient {
        let (certificate, key) = self.authority.issue(name);
        let files = ClientFiles { certificate, key };
        LedgerClient::new(self.endpoint(Credential::Certificate(files))).unwrap()
    }

    /// Settings for tokens, with `more` below `[kubernetes]`.
    pub(crate) fn kubernetes(more: &str) -> String {
        format!(
            "[kubernetes]\naudience = \"{AUDIENCE}\"\noperator = \"{OPERATOR}\"\n\
             auditors = [\"jane\"]\nrunner_service_account = \"axh-runner\"\n\
             api_server = \"API_SERVER\"\nca_file = \"DIR/tls/ca.pem\"\ntoken_file = \"DIR/token\"\n\
             {more}\n"
        )
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.addresses.https)
    }

    /// Whoever has the certificate for `name`; `""` has none.
    pub(crate) fn caller(&self, name: &str) -> Caller {
        Caller {
            client: self.authority.client((!name.is_empty()).then_some(name)),
            base: self.url(""),
            token: None,
        }
    }

    pub(crate) fn operator(&self) -> Caller {
        self.caller("operator.example")
    }

    /// Whoever has `token`.
    pub(crate) fn with_token(&self, token: &str) -> Caller {
        Caller {
            token: Some(token.to_owned()),
            ..self.caller("")
        }
    }

    /// The constitution and an intent for each (task, attempt, pod).
    pub(crate) async fn begin(&self, operator: &Caller, intents: &[(&str, u32, &str)]) {
        let mut entries = vec![crate::records::constitution()];
        let intent =
            |(uid, attempt, pod): &(&str, u32, &str)| crate::records::intent(uid, *attempt, pod);
        entries.extend(intents.iter().map(intent));
        operator.append(entries).await.unwrap();
    }
}

fn signing_key() -> SigningKey {
    SigningKey::new(ORIGIN, &[7; 32]).unwrap()
}

async fn open(
    dir: &Path,
    authority: &Authority,
    settings: &str,
    addresses: Addresses,
    stop: &CancellationToken,
) -> Bound {
    let keys = KeyStore::of_key(&dir.join("state"), signing_key()).unwrap();
    let ledger = Ledger::open(&dir.join("ledger"), &keys).unwrap();
    let files = ServerFiles {
        certificate: dir.join("tls/127.0.0.1.pem"),
        key: dir.join("tls/127.0.0.1.key"),
        client_ca: Some(authority.ca()),
    };
    let config = Config::parse(settings).unwrap();
    let bound = Bound::new(ledger, &config, files, addresses, stop.clone());
    bound.await.unwrap()
}

/// Somebody with a credential.
pub(crate) struct Caller {
    pub(crate) client: Client,
    base: String,
    token: Option<String>,
}

impl Caller {
    fn send(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        let request = self.client.get(format!("{}{path}", self.base));
        self.send(request).send().await.unwrap()
    }

    pub(crate) fn post(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let request = self.client.post(format!("{}{RECORDS_PATH}", self.base));
        self.send(request).body(body)
    }

    pub(crate) async fn append(&self, entries: Vec<AppendEntry>) -> Result<AppendReply, Refused> {
        let body = serde_json::to_vec(&AppendRequest { entries }).unwrap();
        let response = self.post(body).send().await.unwrap();
        if response.status().is_success() {
            return Ok(response.json().await.unwrap());
        }
        Err(refused(response).await)
    }
}

/// What a refusal said.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) retry_after_seconds: Option<u64>,
}

/// Reads a refusal, and holds it to its documented form.
pub(crate) async fn refused(response: Response) -> Refused {
    let status = response.status().as_u16();
    let retry = response.headers().get("retry-after");
    let retry_after_seconds = retry.map(|seconds| seconds.to_str().unwrap().parse().unwrap());
    let body: ErrorBody = response.json().await.unwrap();
    assert_eq!(status, body.code.status());
    assert_eq!(retry_after_seconds.is_some(), matches!(status, 429 | 503));
    Refused {
        code: body.code,
        message: body.message,
        retry_after_seconds,
    }
}

/// Serves one connection.
pub(crate) async fn serve(router: Router, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service = TowerToHyperService::new(router);
    let connection = hyper::server::conn::http1::Builder::new();
    let _ = connection
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Serves `router` over TLS on loopback, for as long as the test runs.
pub(crate) async fn serve_tls(router: Router, certificate: &Path, key: &Path) -> SocketAddr {
    let chain = CertificateDer::pem_file_iter(certificate).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            chain.collect::<Result<_, _>>().unwrap(),
            PrivateKeyDer::from_pem_file(key).unwrap(),
        );
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                serve(router, stream).await;
            });
        }
    });
    address
}

/// A stand-in for an API server that answers token reviews and nothing else.
#[derive(Default)]
pub(crate) struct ApiServer {
    /// By token: the status of its review.
    statuses: Mutex<HashMap<String, Value>>,
    pub(crate) reviews: AtomicUsize,
    pub(crate) is_down: AtomicBool,
}

impl ApiServer {
    async fn start(certificate: &Path, key: &Path) -> (Arc<Self>, SocketAddr) {
        let api = Arc::new(Self::default());
        let router = Router::new()
            .route("/apis/authentication.k8s.io/v1/tokenreviews", post(review))
            .with_state(Arc::clone(&api));
        let address = serve_tls(router, certificate, key).await;
        (api, address)
    }

    /// A token that names `user`, of the pod `pod`, for `audiences`.
    pub(crate) fn issue(&self, token: &str, user: &str, pod: Option<&str>, audiences: &[&str]) {
        let mut extra = json!({});
        if let Some(pod) = pod {
            extra["authentication.kubernetes.io/pod-name"] = json!(["pod"]);
            extra["authentication.kubernetes.io/pod-uid"] = json!([pod]);
        }
        let user = json!({"username": user, "extra": extra});
        let status = json!({"authenticated": true, "user": user, "audiences": audiences});
        self.statuses
            .lock()
            .unwrap()
            .insert(token.to_owned(), status);
    }

    pub(crate) fn revoke(&self, token: &str) {
        self.statuses.lock().unwrap().remove(token);
    }

    pub(crate) fn reviews(&self) -> usize {
        self.reviews.load(Ordering::SeqCst)
    }
}

/// Answers as an API server does: it knows which of the audiences asked for a token is for.
async fn review(
    State(api): State<Arc<ApiServer>>,
    headers: HeaderMap,
    Json(review): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    api.reviews.fetch_add(1, Ordering::SeqCst);
    if api.is_down.load(Ordering::SeqCst) {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    if headers["authorization"] != format!("Bearer {OWN_TOKEN}").as_str() {
        return Err(StatusCode::UNAUTHORIZED);
    }
    assert_eq!(review["kind"], "TokenReview");
    let token = review["spec"]["token"].as_str().unwrap();
    let mut status = api.statuses.lock().unwrap().get(token).cloned();
    if let Some(status) = &mut status {
        let asked = review["spec"]["audiences"].as_array().unwrap().clone();
        let granted = status["audiences"].as_array().unwrap();
        let both: Vec<Value> = granted
            .iter()
            .filter(|a| asked.contains(a))
            .cloned()
            .collect();
        if both.is_empty() {
            *status = json!({"authenticated": false, "error": "token audiences do not match"});
        } else {
            status["audiences"] = json!(both);
        }
    }
    let unknown = json!({"authenticated": false, "error": "unknown token"});
    Ok(Json(json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "status": status.unwrap_or(unknown),
    })))
}

/// Asks until `is_so`, for at most [`PATIENCE`].
pub(crate) async fn until<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    let start = tokio::time::Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "it never became so");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
