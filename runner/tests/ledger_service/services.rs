//! The supervisor's own calls to a service obey the constitution's list, and are counted like those of
//! a process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axiom_hive_core::constitution::BROKER_PORT;
use axiom_hive_core::record::{Body, BranchError, EgressRecord, Label, Record};
use axiom_hive_core::task::{RuntimeSpec, TaskSpec};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::pod::{Cluster, echo, http};
use crate::support::{Authority, serve, serve_tls, until};

/// A service that says `Paris`, in both protocols, and how often it was asked.
struct Service {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Service {
    fn router() -> (Router, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let router = Router::new()
            .route("/", post(|| async { Json(json!({"text": "Paris"})) }))
            .route(
                "/v1/chat/completions",
                post(|Json(_): Json<Value>| async {
                    Json(json!({"choices": [{"message": {"content": "Paris"}}]}))
                }),
            )
            .layer(axum::middleware::map_request(
                move |request: axum::extract::Request| {
                    count.fetch_add(1, Ordering::SeqCst);
                    async move { request }
                },
            ));
        (router, asked)
    }

    async fn plain() -> Self {
        let (router, asked) = Self::router();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(router.clone(), stream));
            }
        });
        Self { address, asked }
    }

    async fn tls(authority: &Authority) -> Self {
        let (router, asked) = Self::router();
        let (certificate, key) = authority.issue("127.0.0.1");
        let address = serve_tls(router, &certificate, &key).await;
        Self { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn openai(base_url: String, ca_bundle: Option<String>) -> TaskSpec {
    TaskSpec {
        runtime: RuntimeSpec::OpenAi {
            base_url,
            model: "small".to_owned(),
            system: None,
            temperature_thousandths: None,
            max_tokens: None,
            ca_bundle,
            api_key_secret: None,
        },
        ..echo("Where?")
    }
}

fn egress(record: &Record) -> &EgressRecord {
    record.outcome().unwrap().observed.egress.as_ref().unwrap()
}

fn errors(record: &Record) -> Vec<Option<BranchError>> {
    let branches = &record.outcome().unwrap().decided.branches;
    branches.iter().map(|branch| branch.error).collect()
}

async fn detail(cluster: &Cluster, record: &Record) -> String {
    let detail = cluster.payload(record, &Label::DETAIL).await.unwrap();
    String::from_utf8(detail).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listed_service_is_called_and_counted() {
    let service = Service::plain().await;
    let cluster = Cluster::opening(service.address).await;
    cluster
        .begin(http(service.address))
        .await
        .run()
        .await
        .expect(0);
    let records = cluster.records().await;
    assert!(matches!(records[1].body, Body::Answered(_)));
    let counts = egress(&records[1]).targets[0];
    assert!((2..=4).contains(&counts.connections), "{counts:?}");
    assert!(
        counts.sent_bytes > 0 && counts.received_bytes > 0,
        "{counts:?}"
    );
    assert!(service.asked() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listed_service_behind_tls_is_called_and_counted() {
    let dir = tempfile::TempDir::new().unwrap();
    let authority = Authority::new(dir.path());
    let service = Service::tls(&authority).await;
    let cluster = Cluster::opening(service.address).await;
    let ca = std::fs::read_to_string(authority.ca()).unwrap();
    let spec = openai(format!("https://{}/v1", service.address), Some(ca));
    cluster.begin(spec).await.run().await.expect(0);
    let records = cluster.records().await;
    let counts = egress(&records[1]).targets[0];
    assert!(
        counts.sent_bytes > 500 && counts.received_bytes > 500,
        "{counts:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_not_listed_is_not_called() {
    let service = Service::plain().await;
    let elsewhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let nothing = Cluster::new().await;
    let others = Cluster::opening(elsewhere).await;
    for (cluster, spec) in [
        (nothing, http(service.address)),
        (
            others,
            openai(format!("https://{}/v1", service.address), None),
        ),
    ] {
        cluster.begin(spec).await.run().await.expect(3);
        let records = cluster.records().await;
        assert_eq!(errors(&records[1]), [Some(BranchError::Egress); 4]);
        assert_eq!(egress(&records[1]).refused.unlisted, 4);
        let detail = detail(&cluster, &records[1]).await;
        assert!(detail.contains("must be listed under [egress]"), "{detail}");
    }
    assert_eq!(service.asked(), 0);
}

/// What a name server says today it need not have said when the constitution was written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listed_name_leads_to_no_private_address() {
    let service = Service::plain().await;
    let port = service.address.port();
    let cluster = Cluster::listing(&format!("host = \"localhost\"\nport = {port}")).await;
    let spec = TaskSpec {
        runtime: RuntimeSpec::Http {
            url: format!("http://localhost:{port}/"),
        },
        ..echo("Where?")
    };
    cluster.begin(spec).await.run().await.expect(3);
    let records = cluster.records().await;
    assert_eq!(errors(&records[1]), [Some(BranchError::Egress); 4]);
    assert_eq!(egress(&records[1]).refused.address, 4);
    assert_eq!(service.asked(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listed_service_that_is_away_is_counted_as_such() {
    let nobody = crate::pod::closed();
    let cluster = Cluster::opening(nobody).await;
    cluster.begin(http(nobody)).await.run().await.expect(3);
    let records = cluster.records().await;
    assert_eq!(errors(&records[1]), [Some(BranchError::Unavailable); 4]);
    assert_eq!(egress(&records[1]).targets[0].unreachable, 4);
}

/// A process of a pod that was made without a container for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_process_runs_beside_the_supervisor() {
    let cluster = Cluster::new().await;
    let spec = TaskSpec {
        runtime: RuntimeSpec::Process {
            protocol: axiom_hive_core::task::ProcessProtocol::Text,
            command: vec!["cat".to_owned()],
            env: std::collections::BTreeMap::new(),
            image: None,
        },
        ..echo("Where?")
    };
    cluster.begin(spec).await.run().await.expect(3);
    let records = cluster.records().await;
    let detail = detail(&cluster, &records[1]).await;
    assert!(detail.contains("a container of its own"), "{detail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_key_goes_only_where_its_keeper_allows() {
    let service = Service::plain().await;
    let cluster = Cluster::opening(service.address).await;
    let spec = openai(format!("http://{}/v1", service.address), None);
    let mut pod = cluster.begin(spec).await;
    let dir = cluster.served.dir.path().join("api-key");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("axiomhive-api-key"), "sk-secret").unwrap();
    std::fs::write(
        dir.join("axiomhive-allowed-hosts"),
        "api.example, 127.0.0.2\n",
    )
    .unwrap();
    pod.more = vec![format!("--api-key={}", dir.display())];
    let ran = pod.run().await;
    ran.expect(3);
    assert_eq!(service.asked(), 0, "the key was sent");
    let records = cluster.records().await;
    let detail = detail(&cluster, &records[1]).await;
    assert!(detail.contains("127.0.0.1 must be in the list"), "{detail}");
    assert!(!ran.log.contains("sk-secret"));
}

/// The agent of the runtime's container, ended with the test.
struct Agent(std::process::Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_runs_next_door_and_reaches_what_is_listed() {
    let service = Service::plain().await;
    let cluster = Cluster::opening(service.address).await;
    let program = format!(
        "import os, urllib.request\n\
         ask = urllib.request.Request('http://{}/', data=b'{{}}', method='POST')\n\
         print(urllib.request.urlopen(ask).read().decode())\n\
         try:\n\
         \x20   urllib.request.urlopen('http://127.0.0.1:9/')\n\
         except Exception as error:\n\
         \x20   print(error)",
        service.address
    );
    let command = ["/usr/bin/env", "python3", "-c", &program];
    let spec = TaskSpec {
        runtime: RuntimeSpec::Process {
            protocol: axiom_hive_core::task::ProcessProtocol::Text,
            command: command.map(str::to_owned).to_vec(),
            env: std::collections::BTreeMap::new(),
            image: Some("example/python@sha256:00".to_owned()),
        },
        ..echo("Where?")
    };
    let mut pod = cluster.begin(spec).await;
    let dir = cluster.served.dir.path();
    std::fs::create_dir(dir.join("scratch")).unwrap();
    let socket = format!("--socket={}", dir.join("runtime").display());
    let agent = std::process::Command::new(env!("CARGO_BIN_EXE_hive_supervisor"))
        .arg("runtime")
        .arg(&socket)
        .arg(format!("--scratch={}", dir.join("scratch").display()))
        .arg(format!("--private={}", dir.display()))
        .stderr(std::process::Stdio::null())
        .spawn();
    let _agent = Agent(agent.unwrap());
    let user = rustix::process::getuid().as_raw();
    pod.more = vec![
        socket.replace("--socket", "--runtime-socket"),
        format!("--runtime-uid={user}"),
    ];
    // The port is the same in every pod; on this machine somebody else's test may have it.
    until(|| async { std::net::TcpListener::bind(("127.0.0.1", BROKER_PORT)).is_ok() }).await;
    pod.run().await.expect(0);
    let records = cluster.records().await;
    let answer = cluster.payload(&records[1], &Label::ANSWER).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.contains("Paris") && answer.contains("403"),
        "{answer}"
    );
    let egress = egress(&records[1]);
    assert!(egress.targets[0].connections >= 2 && egress.refused.unlisted >= 2);
    let containment = records[1].outcome().unwrap().observed.containment;
    assert_eq!(containment.loopback_port, BROKER_PORT);
}
