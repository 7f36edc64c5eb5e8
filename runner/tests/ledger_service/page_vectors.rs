//! The page's verifier, in a real browser, gives the published test vectors their verdicts.

use std::path::Path;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

use crate::page::Browser;
use crate::support::serve;

const PAGE: &str =
    "<!doctype html><meta charset=utf-8><body><script type=module src=/vectors.js></script>";

/// The page, its two scripts, and the vectors as they lie in the tree.
async fn file(request: Request) -> Response {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (kind, file) = match request.uri().path() {
        "/" => return ([(header::CONTENT_TYPE, "text/html")], PAGE).into_response(),
        "/verify.js" => (
            "text/javascript",
            root.join("src/ledger_service/page/verify.js"),
        ),
        "/vectors.js" => (
            "text/javascript",
            root.join("tests/ledger_service/vectors.js"),
        ),
        path if path.starts_with("/vectors/") => {
            let folder = root.join("../tests/conformance");
            (
                "application/json",
                folder.join(path.trim_start_matches('/')),
            )
        }
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let bytes = std::fs::read(file).unwrap();
    ([(header::CONTENT_TYPE, kind)], bytes).into_response()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_gives_the_published_vectors_their_verdicts() {
    let Some(browser) = Browser::new() else {
        return;
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(Router::new().fallback(file), stream));
        }
    });
    let dom = browser.dom(&url).await;
    assert!(dom.contains(" cases, 0 disagreements"), "{dom}");
    assert!(!dom.contains(">0 cases"), "{dom}");
}
