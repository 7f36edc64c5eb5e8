//! Bearer tokens and what an API server says of them.

use std::sync::atomic::Ordering;

use axiom_hive_core::wire::ErrorCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::records::{answered, constitution, failed};
use crate::support::{AUDIENCE, OPERATOR, Served, until};

const RUNNER: &str = "system:serviceaccount:team:axh-runner";

async fn served(more: &str) -> Served {
    let served = Served::with(&Served::kubernetes(more)).await;
    let api = &served.api;
    api.issue("operator", OPERATOR, Some("pod-o"), &[AUDIENCE]);
    api.issue("a", RUNNER, Some("pod-a"), &[AUDIENCE]);
    api.issue("b", RUNNER, Some("pod-b"), &[AUDIENCE]);
    let operator = served.with_token("operator");
    served.begin(&operator, &[("t", 0, "pod-a")]).await;
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_speaks_for_its_pod_and_is_reviewed_once() {
    let served = served("").await;
    let pod = served.with_token("a");
    let before = served.api.reviews();
    for _ in 0..5 {
        let reply = pod.append(vec![answered("t", 0, "42")]).await.unwrap();
        reply.results[0].stored.verify(&served.vkey).unwrap();
    }
    assert_eq!(served.api.reviews(), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_does_not_hold_is_refused() {
    let served = served("").await;
    let api = &served.api;
    let claims = URL_SAFE_NO_PAD.encode(br#"{"exp":1700000000}"#);
    let over = format!("h.{claims}.s");
    api.issue(
        "other audience",
        RUNNER,
        Some("pod-a"),
        &["https://kubernetes.default.svc"],
    );
    api.issue("no pod", RUNNER, None, &[AUDIENCE]);
    api.issue(
        "other account",
        "system:serviceaccount:team:default",
        Some("pod-a"),
        &[AUDIENCE],
    );
    api.issue("not an account", "axh-runner", Some("pod-a"), &[AUDIENCE]);
    api.issue(
        "looks like the operator",
        "system:serviceaccount:team:operator",
        Some("pod-a"),
        &[AUDIENCE],
    );
    // The API server would not say so of a token that is over; its own end counts all the same.
    api.issue(&over, RUNNER, Some("pod-a"), &[AUDIENCE]);
    for token in [
        "unknown",
        "other audience",
        "no pod",
        "other account",
        "not an account",
        "looks like the operator",
        &over,
        "",
    ] {
        let refused = served.with_token(token).append(vec![failed("t", 0)]).await;
        let code = refused.unwrap_err().code;
        assert_eq!(code, ErrorCode::Unauthenticated, "{token}");
    }
    let other_pod = served.with_token("b").append(vec![failed("t", 0)]).await;
    assert_eq!(other_pod.unwrap_err().code, ErrorCode::Forbidden);
    let no_operator = served.with_token("a").append(vec![constitution()]).await;
    assert_eq!(no_operator.unwrap_err().code, ErrorCode::Forbidden);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verdict_is_kept_for_a_bounded_time() {
    let served = served("review_cache_seconds = 1").await;
    let pod = served.with_token("a");
    pod.append(vec![failed("t", 0)]).await.unwrap();
    // The pod is deleted.
    served.api.revoke("a");
    until(|| async {
        let result = pod.append(vec![failed("t", 0)]).await;
        result.is_err_and(|refused| refused.code == ErrorCode::Unauthenticated)
    })
    .await;
    // And a refusal is kept as well: guessing does not reach the API server each time.
    let before = served.api.reviews();
    pod.append(vec![failed("t", 0)]).await.unwrap_err();
    assert_eq!(served.api.reviews(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_api_server_the_caller_is_told_to_come_back() {
    let served = served("").await;
    served.api.is_down.store(true, Ordering::SeqCst);
    let pod = served.with_token("a");
    let refused = pod.append(vec![failed("t", 0)]).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unavailable);
    assert_eq!(refused.retry_after_seconds, Some(1));
    served.api.is_down.store(false, Ordering::SeqCst);
    pod.append(vec![failed("t", 0)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auditor_is_a_user_of_the_settings() {
    let served = served("").await;
    served.api.issue("jane", "jane", None, &[AUDIENCE]);
    served.api.issue("joe", "joe", None, &[AUDIENCE]);
    let payload = crate::records::payload(axiom_hive_core::record::Label::PROMPT, "t/0?");
    let path = axiom_hive_core::wire::payload_path(&payload.commitment());
    assert_eq!(served.with_token("jane").get(&path).await.status(), 200);
    assert_eq!(served.with_token("joe").get(&path).await.status(), 401);
}
