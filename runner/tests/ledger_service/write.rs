//! Who may append what, and what comes back.

use axiom_hive_core::wire::{AppendEntry, ErrorCode, MAX_APPEND_ENTRIES};
use serde_json::{Value, json};

use crate::records::{
    answered, attempt, cancelled, constitution, erasure, failed, intent, payload, refused, sealed,
    withheld,
};
use crate::support::{Caller, Served, refused as refusal};
use axiom_hive_core::record::Label;

const POD_A: &str = "spiffe://example/pod-a";
const POD_B: &str = "pod-b.example";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_comes_back_with_a_receipt_that_verifies() {
    let served = Served::start().await;
    let (operator, pod) = (served.operator(), served.caller(POD_A));
    let batch = vec![constitution(), intent("t", 0, "pod-a")];
    let begun = operator.append(batch.clone()).await.unwrap();
    let ended = pod.append(vec![answered("t", 0, "42")]).await.unwrap();
    let results = [begun.results.clone(), ended.results.clone()].concat();
    let sent = [batch.clone(), vec![answered("t", 0, "42")]].concat();
    for (index, (result, entry)) in results.iter().zip(&sent).enumerate() {
        assert!(!result.existing);
        let (_, verified) = result.stored.verify(&served.vkey).unwrap();
        assert_eq!(
            (verified.index, &verified.record),
            (index as u64, &entry.record)
        );
        assert!(verified.checkpoint.size > verified.index);
    }

    // Whatever is sent again, or instead, gets what is there.
    let again = operator.append(batch).await.unwrap();
    assert!(again.results.iter().all(|result| result.existing));
    let other = pod.append(vec![answered("t", 0, "43")]).await.unwrap();
    assert!(other.results[0].existing);
    assert_eq!(other.results[0].stored.record, sent[2].record);
    let late = operator.append(vec![cancelled("t", 0)]).await.unwrap();
    assert_eq!(late.results[0].stored.index, ended.results[0].stored.index);
}

#[track_caller]
fn assert_refused(result: &Result<impl std::fmt::Debug, crate::support::Refused>, code: ErrorCode) {
    match result {
        Err(refused) if refused.code == code => {}
        other => panic!("expected {code:?}, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_appends_what_is_not_theirs() {
    let served = Served::start().await;
    let operator = served.operator();
    let intents = [("t", 0, "pod-a"), ("t", 1, "pod-b"), ("u", 0, "pod-b")];
    served.begin(&operator, &intents).await;
    let (a, b) = (served.caller(POD_A), served.caller(POD_B));
    let (auditor, nobody) = (served.caller("auditor.example"), served.caller(""));
    let table: Vec<(&str, &Caller, AppendEntry)> = vec![
        (
            "the operator never answers",
            &operator,
            answered("t", 0, "x"),
        ),
        ("the operator never withholds", &operator, withheld("t", 0)),
        ("nobody erases", &operator, erasure()),
        ("a pod erases nothing", &a, erasure()),
        ("nobody seals", &operator, sealed()),
        ("a pod seals nothing", &a, sealed()),
        ("a pod starts nothing", &a, intent("t", 2, "pod-a")),
        ("a pod makes no policy", &a, constitution()),
        ("another task", &a, answered("u", 0, "x")),
        ("another attempt of its task", &a, answered("t", 1, "x")),
        ("another pod's attempt", &b, failed("t", 0)),
        ("an attempt without an intent", &a, attempt("t", 7)),
        ("a task without an intent", &a, failed("v", 0)),
        ("an auditor only reads", &auditor, failed("t", 0)),
        ("not even an intent", &auditor, intent("t", 2, "pod-a")),
    ];
    for (why, caller, entry) in table {
        let result = caller.append(vec![entry]).await;
        assert!(
            matches!(&result, Err(refused) if refused.code == ErrorCode::Forbidden),
            "{why}: {result:?}"
        );
    }
    let result = nobody.append(vec![failed("t", 0)]).await;
    assert_refused(&result, ErrorCode::Unauthenticated);
    // One entry that is not allowed keeps all others out.
    let mixed = vec![attempt("t", 0), answered("u", 0, "x")];
    assert_refused(&a.append(mixed).await, ErrorCode::Forbidden);
    let checkpoint = nobody.get("/checkpoint").await.text().await.unwrap();
    assert_eq!(checkpoint.lines().nth(1), Some("4"), "nothing was appended");

    for (caller, entry) in [
        (&a, attempt("t", 0)),
        (&b, withheld("t", 1)),
        (&operator, refused("w", 0)),
        (&operator, attempt("u", 0)),
        (&operator, failed("u", 0)),
    ] {
        assert!(!caller.append(vec![entry]).await.unwrap().results[0].existing);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_without_a_role_is_no_credential() {
    let served = Served::start().await;
    let stranger = served.caller("stranger.example");
    let result = stranger.append(vec![constitution()]).await;
    assert_refused(&result, ErrorCode::Unauthenticated);
    let bearer = served.with_token("anything");
    let result = bearer.append(vec![constitution()]).await;
    assert_refused(&result, ErrorCode::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_append_is_refused_with_what_must_hold() {
    let served = Served::start().await;
    let operator = served.operator();
    let entry: Value = serde_json::to_value(constitution()).unwrap();
    let mut spaced = serde_json::to_string(&json!({"entries": [entry]})).unwrap();
    spaced = spaced.replacen(r#""kind":"#, r#""kind": "#, 1);
    let many = vec![entry; MAX_APPEND_ENTRIES + 1];
    for body in [
        "{}".to_owned(),
        r#"{"entries":[]}"#.to_owned(),
        r#"{"entries":[{"record":{}}]}"#.to_owned(),
        spaced,
        serde_json::to_string(&json!({ "entries": many })).unwrap(),
    ] {
        let response = operator.post(body.clone()).send().await.unwrap();
        let refused = refusal(response).await;
        assert_eq!(refused.code, ErrorCode::Malformed, "{body}");
        assert!(!refused.message.is_empty());
    }

    let unknown = operator.append(vec![intent("t", 0, "pod-a")]).await;
    assert_refused(&unknown, ErrorCode::ConstitutionUnknown);
    operator.append(vec![constitution()]).await.unwrap();
    let mut stray = intent("t", 0, "pod-a");
    stray.payloads.push(payload(Label::DETAIL, "stray"));
    assert_refused(&operator.append(vec![stray]).await, ErrorCode::Malformed);
    let changed = serde_json::to_string(&json!({"entries": [constitution()]})).unwrap();
    let digest = axiom_hive_core::digest::Digest::of(b"{}").to_string();
    let other = axiom_hive_core::digest::Digest::of(b"{ }").to_string();
    let response = operator.post(changed.replace(&digest, &other)).send().await;
    let refused = refusal(response.unwrap()).await;
    assert_eq!(refused.code, ErrorCode::ConstitutionChanged);
}
