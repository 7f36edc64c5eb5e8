//! What can be read, by whom, and that it is one tree.

use axiom_hive_core::record::{Label, Payload};
use axiom_hive_core::tlog::{
    Checkpoint, Hash, Tile, TileKind, bundle, leaf_hash, root_of, tiles_of, verify_consistency,
};
use axiom_hive_core::wire::{
    ConsistencyReply, ErrorCode, OpenIntentsReply, StoredRecord, TaskReply, constitution_path,
    payload_path, record_path, task_path,
};

use crate::records::{answered, constitution, failed, intent, payload};
use crate::support::{Caller, Served, refused};

const RECORDS: u64 = 300;

/// The constitution and intents of tasks `t0`, `t1`, …: more than one full tile.
async fn grown() -> (Served, Vec<Vec<u8>>) {
    let served = Served::start().await;
    let operator = served.operator();
    let mut entries = vec![constitution()];
    entries.extend((1..RECORDS).map(|n| intent(&format!("t{n}"), 0, "pod-a")));
    for batch in entries.chunks(64) {
        operator.append(batch.to_vec()).await.unwrap();
    }
    let leaf = |entry: &axiom_hive_core::wire::AppendEntry| entry.record.to_canonical().unwrap();
    (served, entries.iter().map(leaf).collect())
}

async fn bytes(caller: &Caller, path: &str) -> Option<Vec<u8>> {
    let response = caller.get(path).await;
    if response.status() == 404 {
        assert_eq!(refused(response).await.code, ErrorCode::NotFound);
        return None;
    }
    assert_eq!(response.status(), 200, "{path}");
    Some(response.bytes().await.unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tree_over_http_is_the_tree_of_the_records() {
    let (served, leaves) = grown().await;
    let nobody = served.caller("");
    let note = String::from_utf8(bytes(&nobody, "/checkpoint").await.unwrap()).unwrap();
    let head = Checkpoint::open(&note, &served.vkey).unwrap();
    assert_eq!((head.size, head.root), (RECORDS, root_of(&leaves)));
    assert_eq!(head.origin, crate::support::ORIGIN);
    for tile in tiles_of(RECORDS) {
        let content = bytes(&nobody, &format!("/{tile}")).await.unwrap();
        match tile.kind {
            TileKind::Entries => {
                let first = tile.index as usize * 256;
                let entries = bundle::parse(&content, tile.width).unwrap();
                assert_eq!(entries, leaves[first..first + usize::from(tile.width)]);
            }
            TileKind::Hashes { level: 0 } => {
                let first = tile.index as usize * 256;
                let own = &leaves[first..first + usize::from(tile.width)];
                let own: Vec<Hash> = own.iter().map(|leaf| leaf_hash(leaf)).collect();
                assert_eq!(tile.parse_hashes(&content).unwrap(), own);
            }
            TileKind::Hashes { .. } => {
                let hashes = tile.parse_hashes(&content).unwrap();
                assert_eq!(hashes, [root_of(&leaves[..256])]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_width_that_was_ever_reached_is_served_for_good() {
    let (served, _) = grown().await;
    let nobody = served.caller("");
    let tile = |kind, index, width| format!("/{}", Tile { kind, index, width });
    for kind in [TileKind::Hashes { level: 0 }, TileKind::Entries] {
        let full = bytes(&nobody, &tile(kind, 0, 256)).await.unwrap();
        for width in [1, 100, 255] {
            let part = bytes(&nobody, &tile(kind, 0, width)).await.unwrap();
            assert!(full.starts_with(&part) && part.len() < full.len());
        }
        assert!(bytes(&nobody, &tile(kind, 1, 44)).await.is_some());
        for (index, width) in [(1, 45), (1, 256), (2, 1)] {
            assert!(bytes(&nobody, &tile(kind, index, width)).await.is_none());
        }
    }
    for path in [
        "/tile/0/000.p/0",
        "/tile/0/000.p/256",
        "/tile/0/0",
        "/tile/64/000",
        "/tile/0/000/",
        "/tile/entries/..%2f0/000",
        "/nothing",
    ] {
        assert!(bytes(&nobody, path).await.is_none(), "{path}");
    }
    let response = nobody.get("/tile/0/000").await;
    let caching = response.headers()["cache-control"].to_str().unwrap();
    assert!(caching.contains("immutable"), "{caching}");
    assert_eq!(
        response.headers()["content-type"],
        "application/octet-stream"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_two_sizes_are_consistent() {
    let (served, leaves) = grown().await;
    let nobody = served.caller("");
    for (from, to) in [
        (1, 300),
        (255, 257),
        (256, 300),
        (299, 300),
        (300, 300),
        (3, 7),
    ] {
        let reply = nobody
            .get(&format!("/v1/consistency?from={from}&to={to}"))
            .await;
        let reply: ConsistencyReply = reply.json().await.unwrap();
        let root = |size: u64| root_of(&leaves[..size as usize]);
        verify_consistency(from, to, &root(from), &root(to), &reply.hashes).unwrap();
    }
    for query in [
        "from=0&to=1",
        "from=2&to=1",
        "from=1&to=301",
        "from=1",
        "to=1",
        "",
        "from=1&to=1&x=1",
    ] {
        let reply = nobody.get(&format!("/v1/consistency?{query}")).await;
        assert_eq!(refused(reply).await.code, ErrorCode::Malformed, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_found_by_index_task_and_constitution() {
    let served = Served::start().await;
    let (operator, nobody) = (served.operator(), served.caller(""));
    served
        .begin(&operator, &[("t", 0, "pod-a"), ("u", 0, "pod-b")])
        .await;
    let pod = served.caller("spiffe://example/pod-a");
    pod.append(vec![answered("t", 0, "42")]).await.unwrap();

    let task: TaskReply = nobody.get(&task_path("t")).await.json().await.unwrap();
    let indices: Vec<u64> = task.records.iter().map(|record| record.index).collect();
    assert_eq!((indices, task.next), (vec![1, 3], None));
    for stored in &task.records {
        stored.verify(&served.vkey).unwrap();
        let by_index: StoredRecord = nobody
            .get(&record_path(stored.index))
            .await
            .json()
            .await
            .unwrap();
        by_index.verify(&served.vkey).unwrap();
        assert_eq!(by_index.record, stored.record);
    }
    assert_eq!(task.records[1].record, answered("t", 0, "42").record);
    let rest: TaskReply = nobody.get("/v1/tasks/t?from=2").await.json().await.unwrap();
    assert_eq!(rest.records[0].index, 3);
    let none: TaskReply = nobody.get("/v1/tasks/nobody").await.json().await.unwrap();
    assert!(none.records.is_empty());

    let path = constitution_path("default", "1.0.0");
    let first: StoredRecord = nobody.get(&path).await.json().await.unwrap();
    let (_, verified) = first.verify(&served.vkey).unwrap();
    assert_eq!(verified.record, constitution().record);
    for path in [constitution_path("default", "1.0.1"), record_path(4)] {
        assert_eq!(
            refused(nobody.get(&path).await).await.code,
            ErrorCode::NotFound
        );
    }
    for path in ["/v1/records/x", "/v1/records/01", "/v1/records/-1"] {
        assert_eq!(
            refused(nobody.get(path).await).await.code,
            ErrorCode::Malformed
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_task_comes_in_pages() {
    let served = Served::start().await;
    let operator = served.operator();
    let mut entries = vec![constitution()];
    entries.extend((0..150).map(|attempt| intent("t", attempt, "pod-a")));
    for batch in entries.chunks(64) {
        operator.append(batch.to_vec()).await.unwrap();
    }
    let (mut seen, mut from) = (Vec::new(), Some(0));
    while let Some(start) = from {
        let path = format!("/v1/tasks/t?from={start}");
        let page: TaskReply = operator.get(&path).await.json().await.unwrap();
        assert!(page.records.len() <= 100);
        seen.extend(page.records.iter().map(|record| record.index));
        from = page.next;
    }
    assert_eq!(seen, (1..=150).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_is_for_those_it_concerns() {
    let served = Served::start().await;
    let operator = served.operator();
    served
        .begin(&operator, &[("t", 0, "pod-a"), ("u", 0, "pod-b")])
        .await;
    let (a, b) = (
        served.caller("spiffe://example/pod-a"),
        served.caller("pod-b.example"),
    );
    a.append(vec![answered("t", 0, "42")]).await.unwrap();
    let (auditor, nobody) = (served.caller("auditor.example"), served.caller(""));

    let prompt = payload(Label::PROMPT, "t/0?");
    let answer = payload(Label::ANSWER, "42");
    let policy = payload(Label::CONSTITUTION, "{}");
    for (own, others) in [(&prompt, 404), (&answer, 404), (&policy, 200)] {
        let path = payload_path(&own.commitment());
        for caller in [&operator, &auditor, &a] {
            let response = caller.get(&path).await;
            assert_eq!(response.headers()["cache-control"], "no-store");
            let file = response.bytes().await.unwrap();
            assert_eq!(Payload::decode(&file).unwrap(), *own);
        }
        assert_eq!(b.get(&path).await.status(), others);
        assert_eq!(
            refused(nobody.get(&path).await).await.code,
            ErrorCode::Unauthenticated
        );
    }
    let unknown = payload_path(&payload(Label::PROMPT, "never").commitment());
    assert_eq!(
        refused(operator.get(&unknown).await).await.code,
        ErrorCode::NotFound
    );
    let upper = payload_path(&prompt.commitment())
        .to_uppercase()
        .replace("/V1/PAYLOADS", "/v1/payloads");
    assert_eq!(
        refused(operator.get(&upper).await).await.code,
        ErrorCode::Malformed
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_intents_are_for_the_sweep() {
    let served = Served::start().await;
    let operator = served.operator();
    served
        .begin(
            &operator,
            &[("t", 0, "pod-a"), ("u", 0, "pod-b"), ("t", 1, "pod-b")],
        )
        .await;
    operator.append(vec![failed("u", 0)]).await.unwrap();
    let open: OpenIntentsReply = operator.get("/v1/intents/open").await.json().await.unwrap();
    assert_eq!(open.next, None);
    let open: Vec<_> = open
        .intents
        .iter()
        .map(|i| (i.task.uid.as_str(), i.task.attempt, i.index))
        .collect();
    assert_eq!(open, [("t", 1, 3)]);
    let later: OpenIntentsReply = operator
        .get("/v1/intents/open?from=4")
        .await
        .json()
        .await
        .unwrap();
    assert!(later.intents.is_empty());
    let pod = served.caller("pod-b.example");
    assert_eq!(
        refused(pod.get("/v1/intents/open").await).await.code,
        ErrorCode::Forbidden
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_public_shows_a_text_or_a_salt() {
    let served = Served::start().await;
    let operator = served.operator();
    served.begin(&operator, &[("t", 0, "pod-a")]).await;
    let pod = served.caller("spiffe://example/pod-a");
    pod.append(vec![answered("t", 0, "the secret answer")])
        .await
        .unwrap();
    let nobody = served.caller("");
    for path in [
        "/checkpoint",
        "/tile/0/000.p/3",
        "/tile/entries/000.p/3",
        "/v1/tasks/t",
        "/metrics",
    ] {
        let shown = String::from_utf8_lossy(&bytes(&nobody, path).await.unwrap()).into_owned();
        for secret in [
            payload(Label::PROMPT, "t/0?"),
            payload(Label::ANSWER, "the secret answer"),
        ] {
            let text = String::from_utf8(secret.bytes.clone()).unwrap();
            let salt = String::from(secret.salt);
            assert!(!shown.contains(&text) && !shown.contains(&salt), "{path}");
        }
    }
}
