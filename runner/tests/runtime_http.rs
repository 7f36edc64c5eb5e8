//! Services: a scripted server on loopback gives every answer a service can give.
#![allow(clippy::unwrap_used)]

mod runtime_support;
mod scripted;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use axiom_hive_core::constitution::RuntimePolicy;
use axiom_hive_core::record::{BranchError, ContainmentLevel};
use axiom_hive_core::task::RuntimeSpec;
use axiom_hive_runner::runtime::{
    ApiKey, BranchRequest, BuiltRuntime, CancelToken, RunError, RuntimeError, RuntimeOptions, build,
};
use runtime_support::*;
use scripted::{Server, ok, reply};
use serde_json::json;

fn completion(text: &str) -> Vec<u8> {
    ok(&json!({
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    }))
}

fn build_with(spec: &RuntimeSpec, api_key: Option<ApiKey>) -> BuiltRuntime {
    let options = RuntimeOptions {
        api_key,
        ..RuntimeOptions::default()
    };
    build(spec, &RuntimePolicy::default(), &options).unwrap()
}

fn openai_spec(base: &str) -> RuntimeSpec {
    RuntimeSpec::OpenAi {
        base_url: format!("{base}/v1/"),
        model: "small".into(),
        system: Some("Be brief.".into()),
        temperature_thousandths: Some(700),
        max_tokens: Some(16),
        ca_bundle: None,
        api_key_secret: None,
    }
}

fn openai(base: &str) -> BuiltRuntime {
    build_with(&openai_spec(base), None)
}

fn service(base: &str) -> BuiltRuntime {
    build_with(
        &RuntimeSpec::Http {
            url: format!("{base}/answer"),
        },
        None,
    )
}

fn key() -> ApiKey {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "sk-very-secret\n").unwrap();
    ApiKey::from_file(file.path()).unwrap()
}

#[tokio::test]
async fn openai_sends_what_it_should_and_reads_the_answer() {
    let server = Server::start(vec![completion("Paris")]);
    let runtime = build_with(&openai_spec(&server.base), Some(key()));
    assert_eq!(runtime.containment.reached, ContainmentLevel::NotApplicable);
    let asked = BranchRequest {
        seed: (1 << 40) + 5,
        ..request(2, "Capital of France?")
    };
    let answer = run(&runtime, asked).await.unwrap();
    assert_eq!(answer.text, "Paris");
    assert_eq!(
        answer.usage.map(|u| (u.prompt_tokens, u.completion_tokens)),
        Some((5, 7))
    );
    let seen = server.seen.recv().unwrap();
    assert!(
        seen.head
            .starts_with("POST /v1/chat/completions HTTP/1.1\r\n"),
        "{}",
        seen.head
    );
    assert!(
        seen.head
            .contains("authorization: Bearer sk-very-secret\r\n")
    );
    assert_eq!(
        seen.body,
        json!({
            "model": "small", "seed": 5, "stream": false, "temperature": 0.7, "max_tokens": 16,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Capital of France?"},
            ],
        })
    );
}

#[tokio::test]
async fn openai_tries_again_when_it_may_help() {
    let server = Server::start(vec![
        reply("429 Too Many Requests", "retry-after: 1\r\n", b"{}"),
        reply("503 Service Unavailable", "retry-after-ms: 3\r\n", b""),
        reply("500 Internal Server Error", "", b""),
        completion("well"),
    ]);
    let start = Instant::now();
    assert_eq!(text(&openai(&server.base), "x").await, "well");
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "the first pause was asked for"
    );
    assert_eq!(server.seen.iter().count(), 4);
}

#[tokio::test]
async fn openai_gives_up_after_four_tries() {
    let busy = reply("503 Service Unavailable", "retry-after-ms: 1\r\n", b"busy");
    let server = Server::start(vec![busy; 5]);
    let said = detail(run(&openai(&server.base), request(0, "x")).await);
    assert!(said.contains("503") && said.ends_with("busy"), "{said}");
    assert_eq!(server.seen.try_iter().count(), 4);
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_not_begun() {
    let server = Server::start(vec![reply(
        "429 Too Many Requests",
        "retry-after: 3600\r\n",
        b"",
    )]);
    let start = Instant::now();
    assert_eq!(
        kind(run(&openai(&server.base), request(0, "x")).await),
        BranchError::HttpStatus
    );
    assert!(start.elapsed() < AMPLE / 2);
}

#[tokio::test]
async fn a_refusal_is_not_tried_again_and_the_key_is_not_repeated() {
    let server = Server::start(vec![reply(
        "401 Unauthorized",
        "",
        b"bad key: sk-very-secret",
    )]);
    let runtime = build_with(&openai_spec(&server.base), Some(key()));
    let said = detail(run(&runtime, request(0, "x")).await);
    assert!(said.contains("401") && said.contains("[api key]"), "{said}");
    assert!(!said.contains("sk-very-secret"));
    assert_eq!(server.seen.iter().count(), 1);
}

#[tokio::test]
async fn a_redirect_is_followed_on_the_same_host_only() {
    let other = Server::start(vec![completion("stolen")]);
    for (status, location) in [
        (
            "307 Temporary Redirect",
            format!("{}/v1/chat/completions", other.base),
        ),
        ("308 Permanent Redirect", "http://localhost:1/".to_owned()),
        ("302 Found", "/elsewhere".to_owned()),
    ] {
        let server = Server::start(vec![reply(
            status,
            &format!("location: {location}\r\n"),
            b"",
        )]);
        let result = run(&openai(&server.base), request(0, "x")).await;
        assert_eq!(kind(result), BranchError::HttpStatus, "{location}");
    }
    assert!(other.seen.try_recv().is_err());
    let server = Server::start(vec![
        reply("307 Temporary Redirect", "location: /moved\r\n", b""),
        completion("here"),
    ]);
    assert_eq!(text(&openai(&server.base), "x").await, "here");
    let second = server.seen.iter().nth(1).unwrap();
    assert!(second.head.starts_with("POST /moved "));
    assert_eq!(second.body["model"], "small");
}

#[tokio::test]
async fn every_failure_has_its_own_word() {
    let endless = || {
        let mut reply = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        reply.extend(vec![b'x'; 1 << 20]);
        reply
    };
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_vec();
    let long = "y".repeat(40_000);
    for (answer, expected) in [
        (endless(), BranchError::TooLong),
        (completion(&long), BranchError::TooLong),
        (cut, BranchError::Lost),
        (Vec::new(), BranchError::Lost),
        (b"not http\r\n\r\n".to_vec(), BranchError::Lost),
        (
            reply("200 OK", "", b"{\"choices\":"),
            BranchError::Malformed,
        ),
        (reply("200 OK", "", b"<html>"), BranchError::Malformed),
        (
            reply(
                "200 OK",
                "",
                b"{\"choices\":[{\"message\":{\"content\":\"\xff\"}}]}",
            ),
            BranchError::NotUtf8,
        ),
        (ok(&json!({"choices": []})), BranchError::Malformed),
        (
            ok(&json!({"choices": [{"message": {"content": null}}]})),
            BranchError::Malformed,
        ),
        (
            ok(&json!({"choices": [{"message": {"content": 7}}]})),
            BranchError::Malformed,
        ),
        (completion(" \n"), BranchError::Empty),
        (
            ok(&json!({"choices": [{"message": {"content": null, "refusal": "no"}}]})),
            BranchError::Reported,
        ),
        (
            ok(
                &json!({"choices": [{"message": {"content": "x"}, "finish_reason": "content_filter"}]}),
            ),
            BranchError::Reported,
        ),
        (reply("404 Not Found", "", b""), BranchError::HttpStatus),
    ] {
        let server = Server::start(vec![answer.clone()]);
        let result = run(&openai(&server.base), request(0, "x")).await;
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
        assert_eq!(kind(result), expected, "{shown}");
    }
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let result = run(&openai(&format!("http://{closed}")), request(0, "x")).await;
    assert_eq!(kind(result), BranchError::Unavailable);
}

#[tokio::test]
async fn a_silent_service_ends_at_the_deadline_or_with_the_token() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    for runtime in [openai(&base), service(&base)] {
        let brief = BranchRequest {
            deadline: Duration::from_millis(100),
            ..request(0, "x")
        };
        assert_eq!(kind(run(&runtime, brief).await), BranchError::Timeout);
        let cancel = CancelToken::new();
        cancel.cancel();
        let ended = runtime.runtime.run(request(0, "x"), cancel).await;
        assert_eq!(ended, Err(RunError::Cancelled));
    }
}

#[tokio::test]
async fn http_sends_what_it_should_and_reads_the_answer() {
    let server = Server::start(vec![ok(&json!({
        "text": "Paris", "usage": {"promptTokens": 1, "completionTokens": u64::MAX}, "more": 1
    }))]);
    let asked = BranchRequest {
        seed: (1 << 62) + 1,
        ..request(2, "Capital?")
    };
    let answer = run(&service(&server.base), asked).await.unwrap();
    assert_eq!(answer.text, "Paris");
    let tokens = answer.usage.map(|u| (u.prompt_tokens, u.completion_tokens));
    assert_eq!(tokens, Some((1, (1 << 53) - 1)));
    let seen = server.seen.recv().unwrap();
    assert!(seen.head.starts_with("POST /answer HTTP/1.1\r\n"));
    let expected = json!({"prompt": "Capital?", "branch": 2, "seed": "4611686018427387905"});
    assert_eq!(seen.body, expected);
}

#[tokio::test]
async fn http_failures_have_their_own_word() {
    for (answer, expected) in [
        (
            ok(&json!({"error": "out of memory"})),
            BranchError::Reported,
        ),
        (ok(&json!({})), BranchError::Malformed),
        (
            ok(&json!({"text": "a", "error": "b"})),
            BranchError::Malformed,
        ),
        (ok(&json!({"text": ""})), BranchError::Empty),
        (reply("200 OK", "", b"plain"), BranchError::Malformed),
        (
            reply("503 Service Unavailable", "retry-after: 0\r\n", b""),
            BranchError::HttpStatus,
        ),
    ] {
        let server = Server::start(vec![answer.clone()]);
        let result = run(&service(&server.base), request(0, "x")).await;
        assert_eq!(
            kind(result),
            expected,
            "{}",
            String::from_utf8_lossy(&answer)
        );
        assert_eq!(server.seen.iter().count(), 1);
    }
}

#[test]
fn urls_and_numbers_are_checked_before_anything_is_sent() {
    let spec = |base_url: &str, temperature, max_tokens| RuntimeSpec::OpenAi {
        base_url: base_url.into(),
        model: "m".into(),
        system: None,
        temperature_thousandths: temperature,
        max_tokens,
        ca_bundle: None,
        api_key_secret: None,
    };
    for spec in [
        spec("ftp://host", None, None),
        spec("http://user:password@host", None, None),
        spec("http://host", Some(2001), None),
        spec("http://host", None, Some(0)),
        RuntimeSpec::Http { url: "host".into() },
    ] {
        let refused = build(&spec, &RuntimePolicy::default(), &RuntimeOptions::default());
        assert!(
            matches!(refused, Err(RuntimeError::Invalid { .. })),
            "{spec:?}"
        );
    }
}
