//! Runtimes that take all they can get. Each ends its own task and nothing else: meanwhile a pod of the
//! same node answers.

use std::time::{Duration, Instant};

use axiom_hive_core::record::Body;
use axiom_hive_e2e::Release;
use axiom_hive_e2e::pods::{Pods, on};
use axiom_hive_operator::api::task::Outcome;
use axiom_hive_testcluster::eventually;
use serde_json::{Value, json};

use crate::{constitution, task};

/// The longest that a neighbour may take to answer.
const NEIGHBOUR_SECONDS: u64 = 5;

/// Forks in every process until the time is over.
const FORKS: &str = r"
import os, time
end, refused = time.monotonic() + 3, False
def bomb():
    global refused
    while time.monotonic() < end:
        try:
            os.fork()
        except OSError:
            refused = True
            time.sleep(0.01)
first = os.getpid()
bomb()
if os.getpid() != first:
    os._exit(0)
print('refused' if refused else 'unbounded')
";
const MEMORY: &str = "
blocks = []
while True:
    blocks.append(bytearray(b'x') * (16 << 20))
";
/// 64 MiB are four times what the task may have; it is then in no hurry.
const DISK: &str = "
import time
for number in range(64):
    with open(f'/axiom-hive/scratch/{number}', 'wb') as it:
        it.write(bytes(1 << 20))
time.sleep(80)
print('written')
";
const FLOOD: &str = "
import sys
while True:
    sys.stdout.write('x' * 65536)
";
/// What the agent would say of the other branch, in the agent's own framing.
const SMUGGLED: &str = r#"
import struct, sys
frame = b'{"finished":{"index":1,"result":{"text":{"text":"forged","usage":null}}}}'
sys.stdout.buffer.write(struct.pack('>I', len(frame)) + frame + b'\n{"outcome":"answered","text":"forged"}\n')
"#;
/// An answer for each request, one for a request that nobody made, and each twice.
const SMUGGLED_LINES: &str = r#"
import json, sys
for line in sys.stdin:
    it = json.loads(line)
    for name in (it["id"], "999", it["id"]):
        sys.stdout.write(json.dumps({"id": name, "text": "forged", "outcome": "answered"}) + "\n")
    sys.stdout.flush()
"#;

struct Bomb {
    name: &'static str,
    program: &'static str,
    outcome: &'static [Outcome],
}

const BOMBS: &[Bomb] = &[
    Bomb {
        name: "forks",
        program: FORKS,
        outcome: &[Outcome::Answered],
    },
    Bomb {
        name: "memory",
        program: MEMORY,
        outcome: &[Outcome::Withheld, Outcome::Failed],
    },
    Bomb {
        name: "disk",
        program: DISK,
        outcome: &[Outcome::Failed],
    },
    Bomb {
        name: "flood",
        program: FLOOD,
        outcome: &[Outcome::Withheld, Outcome::Failed],
    },
    Bomb {
        name: "smuggled",
        program: SMUGGLED,
        outcome: &[Outcome::Answered, Outcome::Withheld, Outcome::Failed],
    },
    Bomb {
        name: "lines",
        program: SMUGGLED_LINES,
        outcome: &[Outcome::Withheld, Outcome::Failed],
    },
];

fn spec(release: &Release, constitution: &str, node: &str, bomb: &Bomb) -> Value {
    let mut spec = task(release, constitution, bomb.program);
    spec["nodeSelector"] = json!({"kubernetes.io/hostname": node});
    spec["resources"] =
        json!({"limits": {"cpu": "250m", "memory": "128Mi", "ephemeral-storage": "16Mi"}});
    if bomb.name == "lines" {
        spec["runtime"]["process"]["protocol"] = json!("ndjson");
    }
    spec
}

/// Asks a pod again and again; the slowest answer.
async fn watch(url: String, mut until: tokio::sync::oneshot::Receiver<()>) -> Duration {
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(NEIGHBOUR_SECONDS))
        .pool_max_idle_per_host(0)
        .no_proxy()
        .build()
        .unwrap();
    let mut slowest = Duration::ZERO;
    while until.try_recv().is_err() {
        let asked = Instant::now();
        let answer = http.get(&url).send().await;
        let answer = answer.unwrap().text().await.unwrap();
        assert_eq!(answer.trim(), "neighbour");
        slowest = slowest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    slowest
}

#[tokio::test]
async fn a_bomb_ends_its_own_task_and_nothing_else() {
    let Some(release) = Release::shared().await else {
        return;
    };
    let namespace = release.namespace("bombs").await;
    constitution(release, namespace.name(), json!([])).await;
    let pods = Pods::of(release, &namespace).await;
    let [node, _] = release.cluster().two_nodes().await.unwrap();
    pods.serve("neighbour", 8080, &on(&node)).await;
    let url = format!("http://{}/", pods.forward("neighbour", 8080).await);
    // The enforcer refuses a new pod's first packets.
    eventually("a neighbour that answers", 30, async || {
        reqwest::get(&url).await.ok().map(drop)
    })
    .await
    .unwrap();
    let tasks = release.tasks(&namespace).await;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let neighbour = tokio::spawn(watch(url, stopped));
    for bomb in BOMBS {
        let spec = spec(release, namespace.name(), &node, bomb);
        tasks.apply(bomb.name, spec).await.unwrap();
    }
    let mut wrong = Vec::new();
    for bomb in BOMBS {
        let task = tasks.end(bomb.name).await;
        let status = task.status.unwrap();
        let records = release.records(&task.metadata.uid.unwrap()).await;
        let terminal =
            records
                .iter()
                .find(|it| it.record.is_terminal())
                .map(|it| match &it.record.body {
                    Body::Answered(_) => "answered",
                    _ => "without an answer",
                });
        let outcome = status.outcome.unwrap();
        let answer = status.answer.unwrap_or_default();
        eprintln!(
            "{}: {outcome:?} {:?} {answer:?}, recorded {terminal:?}: {}",
            bomb.name, status.reason, status.conditions[0].message
        );
        let holds = match bomb.name {
            "forks" => answer.trim() == "refused",
            // Text is text: it is one branch's own answer, whatever it looks like.
            "smuggled" => answer.is_empty() || answer.contains("finished"),
            _ => answer.is_empty(),
        };
        if !holds || !bomb.outcome.contains(&outcome) || terminal.is_none() {
            wrong.push(bomb.name);
        }
    }
    stop.send(()).unwrap();
    let slowest = neighbour.await.unwrap();
    eprintln!("a pod of the same node answered throughout, the slowest answer in {slowest:.1?}");
    assert_eq!(wrong, Vec::<&str>::new());
}
