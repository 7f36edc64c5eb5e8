//! The first packets of new pods, which enforcers are known to let through: of runner pods, beside bare
//! pods under the same policy.
#![allow(clippy::unwrap_used)]

use axiom_hive_e2e::pods::{Pods, pod};
use axiom_hive_e2e::{Release, budget};
use axiom_hive_operator::api::task::Outcome;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

/// Tasks, and bare pods, at the same time.
const BATCH: usize = 8;
/// Attempts of each.
const ATTEMPTS: usize = 20;
/// The one port for which no wall but the network policy stands before a runtime: the broker's own.
const PORT: u16 = 39_128;

/// Begins an attempt every 20 ms from its first instruction on, then sees which of them got through.
fn knock(address: &str) -> String {
    format!(
        r"
import socket, time
knocks = []
for _ in range({ATTEMPTS}):
    it = socket.socket()
    it.setblocking(False)
    knocks.append(it)
    try:
        it.connect(('{address}', {PORT}))
    except OSError:
        pass
    time.sleep(0.02)
time.sleep(1)
def through(it):
    try:
        it.getpeername()
        return '+'
    except OSError:
        return '-'
print(''.join(through(it) for it in knocks))
"
    )
}

/// Selects the bare pods, and opens for them what is open for runner pods.
fn same_policy(ledger: &str, listed: &str) -> NetworkPolicy {
    let to = |namespace: &str, labels: Value, port: u16| {
        json!({
            "to": [{
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "podSelector": {"matchLabels": labels},
            }],
            "ports": [{"port": port}],
        })
    };
    let ledger = to(
        ledger,
        json!({"app.kubernetes.io/name": "axiom-hive-ledger"}),
        8443,
    );
    let listed = to(listed, json!({"app": "listed"}), 8080);
    serde_json::from_value(json!({
        "metadata": {"name": "same"},
        "spec": {
            "podSelector": {"matchLabels": {"role": "bare"}},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [ledger, listed],
        },
    }))
    .unwrap()
}

fn constitution(release: &Release, namespace: &str) -> Value {
    json!({
        "meta": {"name": namespace, "version": "1.0.0", "catalogue": 1},
        "namespaces": {},
        "supervisor": {"maxBranches": 1, "minConsensusRatio": "0.75"},
        // With a target listed a runtime has sockets, and one port.
        "egress": {"allow": [
            {"service": {"namespace": namespace, "name": "listed", "port": 8080, "podLabels": {"app": "listed"}}},
        ]},
        "cluster": {"images": [release.image("python-runtime").name], "requireImageDigest": true},
    })
}

fn task(constitution: &str, image: &str, program: &str) -> Value {
    json!({
        "constitutionRef": {"name": constitution},
        "prompt": "knock",
        "runtime": {"process": {"image": image, "command": ["python3", "-c", program], "protocol": "text"}},
        "resources": {"limits": {"cpu": "100m", "memory": "64Mi", "ephemeral-storage": "16Mi"}},
    })
}

#[derive(Default)]
struct Count {
    pods: usize,
    leaking: usize,
    through: usize,
}

impl Count {
    fn add(&mut self, knocks: &str) {
        let knocks = knocks.trim();
        assert_eq!(knocks.len(), ATTEMPTS, "{knocks}");
        let through = knocks.matches('+').count();
        self.pods += 1;
        self.leaking += usize::from(through > 0);
        self.through += through;
    }

    fn print(&self, what: &str) {
        let (pods, leaking, through) = (self.pods, self.leaking, self.through);
        let attempts = pods * ATTEMPTS;
        eprintln!(
            "| {what} | {pods} | {attempts} | {through} got through, from {leaking} of the pods |"
        );
    }
}

#[tokio::test]
async fn of_runner_pods_no_first_packet_gets_through() {
    let Some(release) = Release::shared().await else {
        return;
    };
    let count = budget("first_packets", 8);
    let namespace = release.namespace("packets").await;
    // Another, so that its policy is not in the tasks' namespace.
    let beside = release.namespace("packets-bare").await;
    let pods = Pods::of(release, &beside).await;
    let address = pods.serve("listener", PORT, &json!({})).await;
    let policies: Api<NetworkPolicy> = Api::namespaced(release.client().await, beside.name());
    let policy = same_policy(axiom_hive_e2e::RELEASE_NAMESPACE, namespace.name());
    let created = policies.create(&PostParams::default(), &policy).await;
    created.unwrap();
    release
        .constitution(constitution(release, namespace.name()))
        .await;
    let tasks = release.tasks(&namespace).await;
    let image = release.image("python-runtime").reference();
    let program = knock(&address);
    let (mut walled, mut bare) = (Count::default(), Count::default());
    let names: Vec<String> = (0..count).map(|number| format!("knock-{number}")).collect();
    for batch in names.chunks(BATCH) {
        for name in batch {
            let spec = task(namespace.name(), &image, &program);
            tasks.apply(name, spec).await.unwrap();
            let command = ["python3", "-c", &program];
            let labels = json!({"role": "bare"});
            pods.create(pod(name, &image, &command, &labels, &json!({})))
                .await;
        }
        for name in batch {
            let status = tasks.end(name).await.status.unwrap();
            assert_eq!(status.outcome, Some(Outcome::Answered), "{status:?}");
            walled.add(&status.answer.unwrap());
            bare.add(&pods.end(name).await);
        }
    }
    eprintln!("| who | pods | attempts | |\n|---|---:|---:|---|");
    walled.print("runtimes in runner pods");
    bare.print("bare pods under the same policy");
    assert_eq!(walled.through, 0);
    assert!(
        bare.through < bare.pods * ATTEMPTS / 2,
        "no policy is in force for bare pods"
    );
}
