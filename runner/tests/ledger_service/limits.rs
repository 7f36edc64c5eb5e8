//! Every bound, reached.

use axiom_hive_core::wire::{ErrorCode, RECORDS_PATH};
use futures_util::stream;

use crate::records::constitution;
use crate::support::{CLIENTS, Served, refused};

fn settings(limits: &str) -> String {
    format!("{CLIENTS}\n[limits]\n{limits}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_says_its_length_and_keeps_to_it() {
    let served = Served::with(&settings("request_bytes = 2048")).await;
    let operator = served.operator();
    let response = operator.post(vec![b' '; 2049]).send().await.unwrap();
    assert_eq!(refused(response).await.code, ErrorCode::TooLarge);
    let response = operator.post(vec![b' '; 2048]).send().await.unwrap();
    assert_eq!(refused(response).await.code, ErrorCode::Malformed);
    let chunks = stream::iter([Ok::<_, std::io::Error>("{}")]);
    let response = operator
        .post(reqwest::Body::wrap_stream(chunks))
        .send()
        .await;
    assert_eq!(
        refused(response.unwrap()).await.code,
        ErrorCode::LengthRequired
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let served = Served::with(&settings("body_seconds = 1")).await;
    let operator = served.operator();
    let stuck = stream::pending::<Result<&str, std::io::Error>>();
    let request = operator.post(reqwest::Body::wrap_stream(stuck));
    let response = request.header("content-length", 10).send().await.unwrap();
    assert_eq!(refused(response).await.code, ErrorCode::Malformed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_in_flight_share_a_budget() {
    let limits = "request_bytes = 1048576\nbodies_in_flight_bytes = 1048576\nbody_seconds = 20";
    let served = Served::with(&settings(limits)).await;
    let (first, second) = (served.operator(), served.operator());
    // The whole budget; while the other one has any of it, this is refused and sent again.
    let held = tokio::spawn(async move {
        loop {
            let stuck = stream::pending::<Result<&str, std::io::Error>>();
            let held = first.post(reqwest::Body::wrap_stream(stuck));
            let _ = held.header("content-length", 1_048_576).send().await;
        }
    });
    crate::support::until(|| async {
        let result = second.append(vec![constitution()]).await;
        result.is_err_and(|refused| refused.code == ErrorCode::Unavailable)
    })
    .await;
    held.abort();
    crate::support::until(|| async { second.append(vec![constitution()]).await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_identity_has_its_own_rate() {
    let limits = "runner_requests_per_second = 1\nreader_requests_per_second = 1";
    let served = Served::with(&settings(limits)).await;
    let operator = served.operator();
    served
        .begin(&operator, &[("t", 0, "pod-a"), ("u", 0, "pod-b")])
        .await;
    let busy = served.caller("spiffe://example/pod-a");
    let mut limited = None;
    for _ in 0..20 {
        let reply = busy.append(vec![crate::records::attempt("t", 0)]).await;
        if let Err(refused) = reply {
            assert_eq!(refused.code, ErrorCode::RateLimited);
            limited = refused.retry_after_seconds;
            break;
        }
    }
    assert_eq!(limited, Some(1));
    // Others are not held back by it, and it may go on when it was told to.
    let other = served.caller("pod-b.example");
    other
        .append(vec![crate::records::attempt("u", 0)])
        .await
        .unwrap();
    operator.append(vec![constitution()]).await.unwrap();
    crate::support::until(|| async {
        let again = vec![crate::records::attempt("t", 0)];
        busy.append(again).await.is_ok()
    })
    .await;

    let nobody = served.caller("");
    let mut codes = Vec::new();
    for _ in 0..20 {
        codes.push(nobody.get("/checkpoint").await.status().as_u16());
    }
    assert_eq!(codes[0], 200);
    assert!(codes.contains(&429));
    // Probes and metrics are not limited.
    assert_eq!(nobody.get("/livez").await.status(), 200);
    assert_eq!(
        nobody
            .client
            .post(served.url(RECORDS_PATH))
            .send()
            .await
            .unwrap()
            .status(),
        429
    );
}
