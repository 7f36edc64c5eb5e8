//! Tasks that name Secrets which are not meant for them.

use axiom_hive_e2e::Release;
use axiom_hive_e2e::pods::{Pods, pod};
use axiom_hive_operator::api::task::Outcome;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

/// An OpenAI-compatible endpoint, which writes the key of each request to its log.
const ENDPOINT: &str = r#"
import http.server
class Endpoint(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers['Content-Length']))
        print(self.headers['Authorization'], flush=True)
        body = b'{"choices":[{"message":{"role":"assistant","content":"hello"}}]}'
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(('', 8080), Endpoint).serve_forever()
"#;

fn asks(constitution: &str, host: &str, secret: &str) -> Value {
    json!({
        "constitutionRef": {"name": constitution},
        "prompt": "hello",
        "branches": 1,
        "retryLimit": 0,
        "timeoutSeconds": 15,
        "runtime": {"openAI": {
            "baseURL": format!("http://{host}:8080/v1"),
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
    let pods = Pods::of(release, &namespace).await;
    let image = release.image("python-runtime").reference();
    let labels = json!({"app": "endpoint"});
    let command = ["python3", "-c", ENDPOINT];
    pods.create(pod("endpoint", &image, &command, &labels, &json!({})))
        .await;
    pods.service("endpoint", "endpoint", 8080, false).await;
    let host = format!("endpoint.{}.svc", namespace.name());
    release
        .constitution(json!({
            "meta": {"name": namespace.name(), "version": "1.0.0", "catalogue": 1},
            "namespaces": {},
            "egress": {"allow": [
                {"service": {"namespace": namespace.name(), "name": "endpoint", "port": 8080, "podLabels": labels}},
            ]},
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
            json!({"axiomhive-api-key": "key-for-here", "axiomhive-allowed-hosts": host}),
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
        let spec = asks(namespace.name(), &host, secret);
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
    let heard = pods.log("endpoint").await;
    assert!(heard.contains("key-for-here"), "{heard}");
    assert!(!heard.contains("key-for-elsewhere") && !heard.contains("of-a-database"));
}
