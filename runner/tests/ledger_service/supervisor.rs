//! `hive_supervisor run` as in a pod: what to do comes from the ledger service, what came of it goes
//! there. Only the network policy is missing: the canary port given to it is closed, or not.

use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{Body, Label, Payload, Reason, Record};
use axiom_hive_core::supervisor::replay;
use axiom_hive_core::task::{PromptSource, PromptSourceKind, TaskSpec};
use axiom_hive_core::wire::{RecordKind, payload_path};

use crate::pod::{Cluster, Pod, Ran, TASK, closed, echo, http};
use crate::records::cancelled;
use crate::support::ORIGIN;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_ends_in_the_ledger_and_leaves_a_pointer() {
    let cluster = Cluster::new().await;
    let pod = cluster.begin(echo("mail ann@example.org $(HOME)")).await;
    pod.run().await.expect(0);

    let records = cluster.records().await;
    let [intent, end] = &records[..] else {
        panic!("{records:?}");
    };
    assert!(matches!(end.body, Body::Answered(_)));
    let answer = cluster.payload(end, &Label::ANSWER).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.contains("[REDACTED:email]") && answer.contains("$(HOME)"),
        "{answer}"
    );

    let pointer = cluster.pointer();
    assert_eq!(
        (pointer.outcome, pointer.exit_code),
        (RecordKind::Answered, 0)
    );
    assert_eq!((pointer.task_uid.as_str(), pointer.attempt), (TASK, 0));
    assert_eq!((pointer.origin.as_str(), pointer.index), (ORIGIN, 2));
    let leaf = axiom_hive_core::tlog::leaf_hash(&end.to_canonical().unwrap());
    assert_eq!(pointer.leaf, leaf);

    // A second pod of the same attempt finds the end and runs nothing.
    pod.run().await.expect(0);
    assert_eq!(cluster.records().await, [intent.clone(), end.clone()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_intent_that_comes_late_is_waited_for() {
    let cluster = Cluster::new().await;
    let intent = cluster.intent(echo("hello"), "pod-a");
    let supervisor = cluster.pod(&intent).start();
    crate::support::until(|| async {
        let metrics = cluster.operator.get("/metrics").await.text().await.unwrap();
        metrics.contains(r#"requests_total{route="/v1/tasks/{uid}""#)
    })
    .await;
    cluster.operator.append(vec![intent]).await.unwrap();
    Ran::of(supervisor).await.expect(0);
    assert_eq!(cluster.records().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_over_is_not_run() {
    let cluster = Cluster::new().await;
    let pod = cluster.begin(echo("hello")).await;
    cluster
        .operator
        .append(vec![cancelled(TASK, 0)])
        .await
        .unwrap_err();
    let mut end = cancelled(TASK, 0);
    if let Body::Cancelled(outcome) = &mut end.record.body {
        outcome.decided.constitution = cluster.prepared.reference().clone();
    }
    cluster.operator.append(vec![end]).await.unwrap();
    pod.run().await.expect(8);
    let pointer = cluster.pointer();
    assert_eq!(
        (pointer.outcome, pointer.exit_code),
        (RecordKind::Cancelled, 8)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_ledger_says_must_be_what_the_pod_was_made_for() {
    let cluster = Cluster::new().await;
    let pod = cluster.begin(echo("hello")).await;
    let other = Digest::of(b"another");
    for (spec, constitution) in [(other, pod.constitution), (pod.spec, other)] {
        let pod = Pod {
            spec,
            constitution,
            more: Vec::new(),
            ..pod
        };
        pod.run().await.expect(7);
    }
    assert_eq!(cluster.records().await.len(), 1);
    assert!(!cluster.message().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_pod_cannot_end_the_attempt() {
    let cluster = Cluster::new().await;
    let intent = cluster.intent(echo("hello"), "pod-b");
    cluster.operator.append(vec![intent.clone()]).await.unwrap();
    // It cannot even read the prompt.
    let ran = cluster.pod(&intent).run().await;
    ran.expect(7);
    assert!(ran.log.contains("must be kept"), "{}", ran.log);
    assert_eq!(cluster.records().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_network_is_recorded_and_runs_nothing() {
    let cluster = Cluster::new().await;
    let mut pod = cluster.begin(echo("hello")).await;
    pod.canary = cluster.served.addresses.canary.port();
    pod.deadline_seconds = 13;
    pod.run().await.expect(6);
    let records = cluster.records().await;
    let outcome = records[1].outcome().unwrap();
    assert!(matches!(records[1].body, Body::Failed(_)));
    assert_eq!(outcome.decided.reason, Reason::ContainmentFailed);
    assert!(outcome.decided.branches.is_empty());
    let detail = cluster.payload(&records[1], &Label::DETAIL).await.unwrap();
    assert!(String::from_utf8(detail).unwrap().contains("canary"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_runtime_ends_the_attempt_and_not_the_task() {
    let nobody = closed();
    let cluster = Cluster::opening(nobody).await;
    let pod = cluster.begin(http(nobody)).await;
    pod.run().await.expect(3);
    let records = cluster.records().await;
    assert!(matches!(records[1].body, Body::Attempt(_)));
    let pointer = cluster.pointer();
    assert_eq!(
        (pointer.outcome, pointer.exit_code),
        (RecordKind::Attempt, 3)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_from_elsewhere_is_committed_to_by_the_pod_and_replays() {
    let cluster = Cluster::new().await;
    let spec = from_a_secret();
    let mut pod = cluster.begin(spec).await;
    pod.run().await.expect(7);
    let prompt = cluster.served.dir.path().join("prompt");
    std::fs::write(&prompt, "from a secret").unwrap();
    pod.more = vec![format!("--prompt={}", prompt.display())];
    pod.run().await.expect(0);

    let records = cluster.records().await;
    let [intent, end] = &records[..] else {
        panic!("{records:?}");
    };
    assert_ne!(intent.prompt(), end.prompt());
    let answer = cluster.payload(end, &Label::ANSWER).await.unwrap();
    assert_eq!(answer, b"from a secret");
    let mut payloads = Vec::new();
    for commitment in records.iter().flat_map(Record::commitments) {
        let response = cluster.operator.get(&payload_path(&commitment)).await;
        if response.status() == 200 {
            payloads.push(Payload::decode(&response.bytes().await.unwrap()).unwrap());
        }
    }
    let decided = replay(end, intent, cluster.prepared.constitution(), |commitment| {
        payloads
            .iter()
            .find(|p| p.commitment() == *commitment)
            .cloned()
    });
    assert_eq!(&decided.unwrap(), &end.outcome().unwrap().decided);
}

fn from_a_secret() -> TaskSpec {
    TaskSpec {
        prompt_from: Some(PromptSource {
            kind: PromptSourceKind::Secret,
            name: "prompts".to_owned(),
            key: "axiomhive-prompt".to_owned(),
        }),
        ..echo("")
    }
}

/// A prompt that must not be kept can only come from elsewhere: what the intent brings is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_is_not_kept_comes_from_elsewhere() {
    let policy = "[ledger]\nkeep_prompt = false\n";
    let cluster = Cluster::under(policy).await;
    let mut pod = cluster.begin(from_a_secret()).await;
    let prompt = cluster.served.dir.path().join("prompt");
    std::fs::write(&prompt, "from a secret").unwrap();
    pod.more = vec![format!("--prompt={}", prompt.display())];
    pod.run().await.expect(0);
    let records = cluster.records().await;
    for record in &records {
        assert_eq!(cluster.payload(record, &Label::PROMPT).await, None);
    }

    let cluster = Cluster::under(policy).await;
    let ran = cluster.begin(echo("hello")).await.run().await;
    ran.expect(7);
    assert!(ran.log.contains("prompt must be kept"), "{}", ran.log);
}
