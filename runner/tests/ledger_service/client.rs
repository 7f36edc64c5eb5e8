//! The client: waits as long as it may, believes nothing that does not verify.

use std::time::Duration;

use axiom_hive_core::record::Label;
use axiom_hive_core::supervisor::Entry;
use axiom_hive_core::tlog::SigningKey;
use axiom_hive_core::wire::{AppendEntry, ErrorCode};
use axiom_hive_runner::ledger_client::{ClientError, Credential, LedgerClient};
use axiom_hive_runner::tls::ClientFiles;
use tokio::time::Instant;

use crate::records::{answered, constitution, failed, intent, payload};
use crate::support::{ORIGIN, PATIENCE, Served};

fn entry(AppendEntry { record, payloads }: AppendEntry) -> Entry {
    Entry { record, payloads }
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

const POD_A: &str = "spiffe://example/pod-a";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_appended_can_be_read_back_verified() {
    let served = Served::start().await;
    let operator = served.client("operator.example");
    for sent in [constitution(), intent("t", 0, "pod-a")] {
        let sent = entry(sent);
        assert!(!operator.append(&sent, soon()).await.unwrap().existing);
        assert!(operator.append(&sent, soon()).await.unwrap().existing);
    }
    let pod = served.client(POD_A);
    let ours = entry(answered("t", 0, "42"));
    let appended = pod.append(&ours, soon()).await.unwrap();
    assert_eq!((appended.index, &appended.record), (2, &ours.record));
    // Another answer of the same task gets the first one.
    let other = pod
        .append(&entry(answered("t", 0, "43")), soon())
        .await
        .unwrap();
    assert!(other.existing);
    assert_eq!(other.record, ours.record);

    let task = pod.task("t", soon()).await.unwrap();
    let indices: Vec<u64> = task.iter().map(|proven| proven.verified.index).collect();
    assert_eq!(indices, [1, 2]);
    let policy = pod.constitution("default", "1.0.0", soon()).await.unwrap();
    assert_eq!(policy, Some(constitution().record));
    assert_eq!(
        pod.constitution("default", "2.0.0", soon()).await.unwrap(),
        None
    );
    let prompt = payload(Label::PROMPT, "t/0?");
    let kept = pod.payload(&prompt.commitment(), soon()).await.unwrap();
    assert_eq!(kept, Some(prompt.clone()));
    let stranger = served.client("pod-b.example");
    let kept = stranger
        .payload(&prompt.commitment(), soon())
        .await
        .unwrap();
    assert_eq!(kept, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_not_repeated() {
    let served = Served::start().await;
    let pod = served.client(POD_A);
    let before = Instant::now();
    let refused = pod.append(&entry(failed("t", 0)), soon()).await;
    let is_forbidden = matches!(
        &refused,
        Err(ClientError::Refused {
            code: ErrorCode::Forbidden,
            ..
        })
    );
    assert!(is_forbidden, "{refused:?}");
    assert!(before.elapsed() < PATIENCE / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_away_is_waited_for() {
    let mut served = Served::start().await;
    let operator = served.client("operator.example");
    let first = entry(constitution());
    operator.append(&first, soon()).await.unwrap();
    served.halt().await;
    let waiting = tokio::spawn(async move {
        let sent = entry(intent("t", 0, "pod-a"));
        operator.append(&sent, soon()).await
    });
    served.resume().await;
    let appended = waiting.await.unwrap().unwrap();
    assert_eq!((appended.index, appended.existing), (1, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_ends_every_wait() {
    let mut served = Served::start().await;
    let operator = served.client("operator.example");
    served.halt().await;
    let deadline = Instant::now() + Duration::from_millis(700);
    let late = operator.append(&entry(constitution()), deadline).await;
    assert!(matches!(late, Err(ClientError::Deadline(_))), "{late:?}");
    // Somebody else who listens and says nothing.
    let _mute = tokio::net::TcpListener::bind(served.addresses.https)
        .await
        .unwrap();
    let deadline = Instant::now() + Duration::from_millis(700);
    let late = operator.task("t", deadline).await;
    assert!(matches!(late, Err(ClientError::Deadline(_))), "{late:?}");
    assert!(deadline.elapsed() < PATIENCE / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_ledger_is_not_believed() {
    let served = Served::start().await;
    let (certificate, key) = served.authority.issue("operator.example");
    let mut endpoint = served.endpoint(Credential::Certificate(ClientFiles { certificate, key }));
    let other = SigningKey::new(ORIGIN, &[8; 32]).unwrap();
    endpoint.key = other.verifying_key().clone();
    let client = LedgerClient::new(endpoint).unwrap();
    let sent = entry(constitution());
    let unverified = client.append(&sent, soon()).await;
    assert!(
        matches!(unverified, Err(ClientError::Unverified(_))),
        "{unverified:?}"
    );
    let unverified = client.constitution("default", "1.0.0", soon()).await;
    assert!(
        matches!(unverified, Err(ClientError::Unverified(_))),
        "{unverified:?}"
    );

    // Nor is a service whose certificate another authority signed.
    let elsewhere = crate::support::Authority::new(&served.dir.path().join("elsewhere"));
    let (certificate, key) = served.authority.issue("operator.example");
    let mut endpoint = served.endpoint(Credential::Certificate(ClientFiles { certificate, key }));
    endpoint.ca = std::fs::read_to_string(elsewhere.ca()).unwrap();
    let client = LedgerClient::new(endpoint).unwrap();
    let deadline = Instant::now() + Duration::from_millis(500);
    let refused = client.append(&sent, deadline).await;
    assert!(
        matches!(refused, Err(ClientError::Deadline(_))),
        "{refused:?}"
    );
}
