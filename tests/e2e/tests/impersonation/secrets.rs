//! Tasks that name Secrets which are not meant for them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axiom_hive_e2e::Release;
use axiom_hive_operator::api::task::Outcome;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// An OpenAI-compatible endpoint outside the cluster: what it was sent.
struct Endpoint {
    address: SocketAddr,
    heard: Arc<Mutex<String>>,
}

impl Endpoint {
    async fn listen(release: &Release) -> Self {
        let host = release.cluster().host_address().unwrap();
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(String::new()));
        let all = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 16 * 1024];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..read]).into_owned();
                all.lock().unwrap().push_str(&text);
                let body = r#"{"choices":[{"message":{"role":"assistant","content":"hello"}}]}"#;
                let start =
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
                let reply = format!("{start}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(reply.as_bytes()).await;
            }
        });
        Self { address, heard }
    }

    fn heard(&self, key: &str) -> bool {
        self.heard.lock().unwrap().contains(key)
    }
}

fn asks(constitution: &str, endpoint: &Endpoint, secret: &str) -> Value {
    json!({
        "constitutionRef": {"name": constitution},
        "prompt": "hello",
        "branches": 1,
        "retryLimit": 0,
        "timeoutSeconds": 15,
        "runtime": {"openAI": {
            "baseURL": format!("http://{}/v1", endpoint.address),
            "model": "any",
            "apiKeySecretRef": {"name": secret},
        }},
    })
}

#[tokio::test]
async fn a_task_gets_no_secret_that_is_not_meant_for_it() {
    let Some(release) = Release::shared().await else {
        return;
    };
    let namespace = release.namespace("secrets").await;
    let endpoint = Endpoint::listen(release).await;
    let (host, port) = (endpoint.address.ip(), endpoint.address.port());
    release
        .constitution(json!({
            "meta": {"name": namespace.name(), "version": "1.0.0", "catalogue": 1},
            "namespaces": {},
            "egress": {"allow": [{"cidr": format!("{host}/32"), "port": port}]},
        }))
        .await;
    let secrets: Api<Secret> = Api::namespaced(release.client().await, namespace.name());
    for (name, data) in [
        ("foreign", json!({"password": "of-a-database"})),
        (
            "elsewhere",
            json!({"axiomhive-api-key": "key-for-elsewhere", "axiomhive-allowed-hosts": "api.example.com"}),
        ),
        (
            "here",
            json!({"axiomhive-api-key": "key-for-here", "axiomhive-allowed-hosts": host.to_string()}),
        ),
    ] {
        let secret = json!({"metadata": {"name": name}, "stringData": data});
        let secret: Secret = serde_json::from_value(secret).unwrap();
        secrets
            .create(&PostParams::default(), &secret)
            .await
            .unwrap();
    }
    let tasks = release.tasks(&namespace).await;
    let spec = json!({
        "constitutionRef": {"name": namespace.name()},
        "promptFrom": {"secretKeyRef": {"name": "foreign", "key": "password"}},
        "runtime": {"echo": {}},
    });
    let said = tasks.apply("prompt", spec).await.unwrap_err().to_string();
    eprintln!("a prompt from a foreign Secret: {said}");
    assert!(said.contains("only such keys are open to tasks"), "{said}");
    for secret in ["foreign", "elsewhere", "here"] {
        let spec = asks(namespace.name(), &endpoint, secret);
        tasks.apply(secret, spec).await.unwrap();
    }
    for (secret, outcomes) in [
        ("here", &[Outcome::Answered][..]),
        ("elsewhere", &[Outcome::Refused, Outcome::Failed]),
        ("foreign", &[Outcome::Failed]),
    ] {
        let status = tasks.end(secret).await.status.unwrap();
        let said = &status.conditions[0].message;
        eprintln!(
            "an API key from Secret {secret}: {:?}: {said}",
            status.outcome
        );
        assert!(outcomes.contains(&status.outcome.unwrap()), "{status:?}");
    }
    assert!(endpoint.heard("key-for-here"));
    assert!(!endpoint.heard("key-for-elsewhere") && !endpoint.heard("of-a-database"));
}
