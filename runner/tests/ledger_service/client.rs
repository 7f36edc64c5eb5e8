//! The client: waits as long as it may, believes nothing that does not verify.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axiom_hive_client::ledger::{ClientError, Credential, LedgerClient};
use axiom_hive_client::tls::ClientFiles;
use axiom_hive_core::record::{Body, Label, StopEvent};
use axiom_hive_core::supervisor::{Entry, closed};
use axiom_hive_core::tlog::SigningKey;
use axiom_hive_core::wire::{AppendEntry, ErrorCode};
use tokio::time::Instant;

use crate::records::{answered, constitution, failed, intent, payload, refused, withheld};
use crate::support::{AUDIENCE, CLIENTS, OPERATOR, ORIGIN, PATIENCE, Served, until};

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
    let stored = &appended.proven.verified;
    assert_eq!((stored.index, &stored.record), (2, &ours.record));
    // Another answer of the same task gets the first one.
    let other = pod
        .append(&entry(answered("t", 0, "43")), soon())
        .await
        .unwrap();
    assert!(other.existing);
    assert_eq!(other.proven.verified.record, ours.record);

    let task = pod.task("t", soon()).await.unwrap();
    let indices: Vec<u64> = task.iter().map(|proven| proven.verified.index).collect();
    assert_eq!(indices, [1, 2]);
    let policy = pod.constitution("default", "1.0.0", soon()).await.unwrap();
    let policy = policy.unwrap().verified;
    assert_eq!((policy.index, policy.record), (0, constitution().record));
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
    let index = appended.proven.verified.index;
    assert_eq!((index, appended.existing), (1, false));
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

/// What an operator does for tasks that it alone can end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_closes_what_its_sweep_finds() {
    let served = Served::start().await;
    let operator = served.client("operator.example");
    operator
        .append(&entry(constitution()), soon())
        .await
        .unwrap();
    for uid in ["t", "u", "v", "w"] {
        let sent = entry(intent(uid, 0, "pod-a"));
        operator.append(&sent, soon()).await.unwrap();
    }
    let mut from = Some(0);
    let mut open = Vec::new();
    while let Some(start) = from {
        let page = operator.open_intents(start, soon()).await.unwrap();
        open.extend(page.intents);
        from = page.next;
    }
    let uids: Vec<&str> = open.iter().map(|open| open.task.uid.as_str()).collect();
    assert_eq!(uids, ["t", "u", "v", "w"]);
    let stops = [
        StopEvent::Cancel,
        StopEvent::Deadline,
        StopEvent::Interrupted,
    ];
    for (open, stop) in open.iter().zip(stops) {
        let records = operator.task(&open.task.uid, soon()).await.unwrap();
        let intent = &records[0].verified;
        assert_eq!(intent.index, open.index);
        let observed = failed("x", 0).record.outcome().unwrap().observed.clone();
        let record = closed(&intent.record, stop, observed).unwrap();
        let end = Entry {
            record,
            payloads: Vec::new(),
        };
        let appended = operator.append(&end, soon()).await.unwrap();
        assert!(!appended.existing);
    }
    let refused = operator
        .append(&entry(refused("w", 0)), soon())
        .await
        .unwrap();
    assert!(!refused.existing);
    let page = operator.open_intents(0, soon()).await.unwrap();
    assert_eq!((page.intents.len(), page.next), (0, None));
    // A pod that is late finds the end.
    let pod = served.client(POD_A);
    let late = pod
        .append(&entry(answered("t", 0, "42")), soon())
        .await
        .unwrap();
    assert!(late.existing);
    assert!(matches!(
        late.proven.verified.record.body,
        Body::Cancelled(_)
    ));
    // What only a pod can say, nobody else says; and the sweep is the operator's.
    for not_ours in [answered("u", 0, "42"), withheld("u", 0)] {
        let not_ours = operator.append(&entry(not_ours), soon()).await;
        assert_eq!(code(&not_ours.unwrap_err()), Some(ErrorCode::Forbidden));
    }
    let not_theirs = pod.open_intents(0, soon()).await.unwrap_err();
    assert_eq!(code(&not_theirs), Some(ErrorCode::Forbidden));
}

fn code(error: &ClientError) -> Option<ErrorCode> {
    match error {
        ClientError::Refused { code, .. } => Some(*code),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_continues_the_one_that_is_known() {
    let served = Served::start().await;
    let operator = served.client("operator.example");
    assert_eq!(operator.head(None, soon()).await.unwrap(), None);
    operator
        .append(&entry(constitution()), soon())
        .await
        .unwrap();
    let first = operator.head(None, soon()).await.unwrap().unwrap();
    assert_eq!(first.checkpoint.size, 1);
    for attempt in 0..4 {
        let sent = entry(intent("t", attempt, "pod-a"));
        operator.append(&sent, soon()).await.unwrap();
    }
    let known = Some(&first.checkpoint);
    let later = operator.head(known, soon()).await.unwrap().unwrap();
    assert_eq!(later.checkpoint.size, 5);
    let again = operator
        .head(Some(&later.checkpoint), soon())
        .await
        .unwrap();
    assert_eq!(again.as_ref(), Some(&later));

    // Another history of the same length, and a longer one.
    let mut other = first.checkpoint.clone();
    other.root = later.checkpoint.root;
    let mut longer = later.checkpoint.clone();
    longer.size += 1;
    for known in [&other, &longer] {
        let forked = operator.head(Some(known), soon()).await;
        assert!(
            matches!(forked, Err(ClientError::Forked { .. })),
            "{forked:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_too_fast_waits_as_long_as_it_is_told() {
    let limits = format!("{CLIENTS}\n[limits]\noperator_requests_per_second = 1\n");
    let served = Served::with(&limits).await;
    let operator = served.client("operator.example");
    let before = Instant::now();
    for _ in 0..4 {
        operator
            .append(&entry(constitution()), soon())
            .await
            .unwrap();
    }
    // Two at once, then one a second.
    assert!(
        before.elapsed() >= Duration::from_secs(1),
        "{:?}",
        before.elapsed()
    );
    let nobody = served.caller("");
    let metrics = nobody.get("/metrics").await.text().await.unwrap();
    let count = metrics.lines().find_map(|line| {
        let value =
            line.strip_prefix(r#"axiom_hive_ledger_refusals_total{code="rateLimited"} "#)?;
        value.parse::<u32>().ok()
    });
    // It was told when to come back, and came no earlier.
    assert!((1..=4).contains(&count.unwrap()), "{count:?}");
    // What cannot be in time is not waited for.
    let before = Instant::now();
    let deadline = before + Duration::from_millis(500);
    let mut late = None;
    for _ in 0..3 {
        late = operator
            .append(&entry(constitution()), deadline)
            .await
            .err();
    }
    assert!(matches!(late, Some(ClientError::Deadline(_))), "{late:?}");
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_cannot_review_tokens_is_waited_for() {
    let served = Served::with(&Served::kubernetes("")).await;
    served.api.issue("operator", OPERATOR, None, &[AUDIENCE]);
    let file = served.dir.path().join("operator-token");
    std::fs::write(&file, "operator\n").unwrap();
    let operator = LedgerClient::new(served.endpoint(Credential::Token(file.clone()))).unwrap();
    served.api.is_down.store(true, Ordering::SeqCst);
    let waiting = {
        let operator = operator.clone();
        tokio::spawn(async move { operator.append(&entry(constitution()), soon()).await })
    };
    until(|| async { served.api.reviews() > 0 }).await;
    served.api.is_down.store(false, Ordering::SeqCst);
    assert!(!waiting.await.unwrap().unwrap().existing);
    // The file is read for each request; a token that does not hold is not tried again.
    std::fs::write(&file, "another").unwrap();
    let refused = operator.append(&entry(constitution()), soon()).await;
    assert_eq!(
        code(&refused.unwrap_err()),
        Some(ErrorCode::Unauthenticated)
    );
}
