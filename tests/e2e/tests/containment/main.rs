//! The walls of a runner pod, tried by a runtime that wants out, beside a bare pod of the same image.
#![allow(clippy::unwrap_used)]

mod attempts;
mod bombs;
mod modules;

use attempts::{ATTEMPTS, PRELUDE, UNTIL_CONNECTED};
use axiom_hive_core::record::{Body, ContainmentLevel, Observed};
use axiom_hive_e2e::pods::{Pods, pod};
use axiom_hive_e2e::{Release, Tasks};
use axiom_hive_operator::api::task::Outcome;
use serde_json::{Value, json};

/// An item of `command` has at most 4,096 bytes.
const PIECE_BYTES: usize = 4_000;
/// Joins the pieces of a program that come as arguments.
const JOIN: &str = "import sys; exec(''.join(sys.argv[1:]))";
/// What must get through: without it, that nothing else does would prove nothing.
const LISTED: &str = "proxy('GET http://LISTED:8080/ HTTP/1.1\\r\\nHost: LISTED:8080\\r\\nConnection: close\\r\\n\\r\\n', b'web-listed')";

/// Where attempts are aimed at.
struct Targets {
    other: String,
    listener: String,
    ledger: String,
    api_server: String,
    dns: String,
    namespace: String,
}

impl Targets {
    async fn start(release: &Release, namespace: &str, pods: &Pods) -> Self {
        let none = json!({});
        let (other, listed, listener) = tokio::join!(
            pods.serve("web-unlisted", 8080, &none),
            pods.serve("web-listed", 8080, &none),
            pods.serve("listener", 39128, &none),
        );
        drop(listed);
        pods.service("web-unlisted", "web-unlisted", 8080, false)
            .await;
        pods.service("web-listed", "web-listed", 8080, false).await;
        // Its name leads to a private address, which the constitution does not list.
        pods.service("rebound", "web-unlisted", 8080, true).await;
        let [api_server, dns] = release.services_of_the_cluster().await;
        Self {
            api_server,
            dns,
            other,
            listener,
            ledger: release.ledger_address().await.to_string(),
            namespace: namespace.to_owned(),
        }
    }

    fn aim(&self, code: &str) -> String {
        let service = |name: &str| format!("{name}.{}.svc", self.namespace);
        code.replace("OTHER", &self.other)
            .replace("APISERVER", &self.api_server)
            .replace("NAMESERVER", &self.dns)
            .replace("LISTENER", &self.listener)
            .replace("LEDGER", &self.ledger)
            .replace("UNLISTED", &service("web-unlisted"))
            .replace("LISTED", &service("web-listed"))
            .replace(
                "REBOUND",
                &format!("rebound.{}.svc.cluster.local", self.namespace),
            )
    }

    /// Prints one character an attempt, `+` if it got through; the last is the one that must.
    fn program(&self) -> String {
        let mut program = PRELUDE.to_owned();
        let all = ATTEMPTS.iter().map(|it| it.code).chain([LISTED]);
        program.push_str("result = ''\n");
        for code in all {
            let code = self.aim(code);
            program.push_str("try:\n    ");
            program.push_str(&code);
            program.push_str(
                "\n    result += '+'\nexcept (OSError, ValueError, KeyError):\n    result += '-'\n",
            );
        }
        program.push_str("print(result)\n");
        program
    }
}

/// A constitution for a namespace of its own; what it lists is in that namespace.
pub(crate) async fn constitution(release: &Release, namespace: &str, egress: Value) {
    let [node, _] = release.cluster().two_nodes().await.unwrap();
    let spec = json!({
        "meta": {"name": namespace, "version": "1.0.0", "catalogue": 1},
        "namespaces": {},
        "supervisor": {"maxBranches": 2, "minConsensusRatio": "0.75", "taskTimeoutSeconds": 90},
        "egress": {"allow": egress},
        "cluster": {
            "images": [release.image("python-runtime").name],
            "requireImageDigest": true,
            "nodeSelector": {"kubernetes.io/hostname": [node]},
        },
    });
    release.constitution(spec).await;
}

/// A task that runs a program of any length.
pub(crate) fn task(release: &Release, constitution: &str, program: &str) -> Value {
    let image = release.image("python-runtime");
    let pieces = program.as_bytes().chunks(PIECE_BYTES);
    let pieces: Vec<_> = pieces
        .map(|piece| std::str::from_utf8(piece).unwrap())
        .collect();
    json!({
        "constitutionRef": {"name": constitution},
        "prompt": "try",
        "retryLimit": 0,
        "runtime": {"process": {
            "image": image.reference(),
            "command": ["python3", "-c", JOIN],
            "args": pieces,
            // What a dynamic program would load before its first instruction, were it not behind the walls by then.
            "env": [
                {"name": "LD_PRELOAD", "value": "/axiom-hive/scratch/evil.so"},
                {"name": "LD_AUDIT", "value": "/axiom-hive/scratch/evil.so"},
                {"name": "http_proxy", "value": "http://kubernetes.default.svc:443"},
            ],
            "protocol": "text",
        }},
    })
}

/// What the last record of a task says of its run.
pub(crate) async fn observed(release: &Release, uid: &str) -> Observed {
    let records = release.records(uid).await;
    let last = records
        .into_iter()
        .find(|it| it.record.is_terminal())
        .unwrap();
    match last.record.body {
        Body::Answered(it)
        | Body::Withheld(it)
        | Body::Refused(it)
        | Body::Failed(it)
        | Body::Cancelled(it) => it.observed,
        other => panic!("{other:?}"),
    }
}

async fn in_a_task(release: &Release, tasks: &Tasks, namespace: &str, program: &str) -> String {
    let task = tasks.run("walls", task(release, namespace, program)).await;
    let status = task.status.clone().unwrap();
    assert_eq!(
        status.outcome,
        Some(Outcome::Answered),
        "{}",
        tasks.report("walls").await
    );
    let observed = observed(release, &task.metadata.uid.unwrap()).await;
    assert_eq!(observed.containment.reached, ContainmentLevel::Strict);
    let egress = observed.egress.unwrap();
    eprintln!("the record counts {:?}", egress.refused);
    // Two branches; what was asked of the broker is known, and counted by reason.
    let refused = egress.refused;
    assert!(refused.unlisted >= 2 * 6, "{refused:?}");
    assert!(refused.address >= 2, "{refused:?}");
    assert!(refused.server_name >= 2 * 2, "{refused:?}");
    status.answer.unwrap().trim().to_owned()
}

#[tokio::test]
async fn nothing_gets_through_the_walls() {
    let Some(release) = Release::shared().await else {
        return;
    };
    let namespace = release.namespace("containment").await;
    let pods = Pods::of(release, &namespace).await;
    let targets = Targets::start(release, namespace.name(), &pods).await;
    let listed = json!([
        {"service": {"namespace": namespace.name(), "name": "web-listed", "port": 8080, "podLabels": {"app": "web-listed"}}},
        {"host": format!("rebound.{}.svc.cluster.local", namespace.name()), "port": 8080},
    ]);
    constitution(release, namespace.name(), listed).await;
    let tasks = release.tasks(&namespace).await;
    let program = targets.program();
    let image = release.image("python-runtime").reference();
    let connected = format!("{PRELUDE}{}{program}", targets.aim(UNTIL_CONNECTED));
    let bare = pod(
        "bare",
        &image,
        &["python3", "-c", &connected],
        &json!({}),
        &json!({}),
    );
    let bare = pods.create(bare).await;
    let walled = in_a_task(release, &tasks, namespace.name(), &program).await;
    let bare = pods.end(&bare).await;
    let bare = bare.trim();
    assert_eq!(
        (walled.len(), bare.len()),
        (ATTEMPTS.len() + 1, ATTEMPTS.len() + 1),
        "{walled}\n{bare}"
    );
    let mut wrong = Vec::new();
    eprintln!("| runner pod | bare pod | attempt |\n|---|---|---|");
    for ((attempt, walled), bare) in ATTEMPTS.iter().zip(walled.chars()).zip(bare.chars()) {
        let word = |sign| {
            if sign == '+' {
                "**through**"
            } else {
                "stopped"
            }
        };
        eprintln!("| {} | {} | {} |", word(walled), word(bare), attempt.name);
        if walled != '-' || (attempt.in_bare_pod && bare != '+') {
            wrong.push(attempt.name);
        }
    }
    assert!(
        walled.ends_with('+'),
        "the listed service was not reached through the broker"
    );
    assert_eq!(wrong, Vec::<&str>::new());
}
