//! The page at `/` in a real browser: against the service over HTTPS, and behind a front that gives it a key and lies.
//!
//! `AXIOM_HIVE_BROWSER` names Chromium; without it the tests end early and say so.

use std::process::Stdio;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::records::{answered, constitution, intent};
use crate::support::{Caller, PATIENCE, Served, serve};

/// More than one tile, so that a proof crosses a border of one.
const RECORDS: u64 = 300;

pub(crate) struct Browser {
    program: String,
    profile: TempDir,
}

impl Browser {
    pub(crate) fn new() -> Option<Self> {
        let Ok(program) = std::env::var("AXIOM_HIVE_BROWSER") else {
            eprintln!("skipped: needs AXIOM_HIVE_BROWSER=chromium");
            return None;
        };
        let profile = TempDir::new().unwrap();
        Some(Self { program, profile })
    }

    async fn run(&self, last: &[&str]) -> String {
        let mut command = Command::new(&self.program);
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--ignore-certificate-errors", "--virtual-time-budget=20000"])
            .arg(format!("--user-data-dir={}", self.profile.path().display()))
            .args(last)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(2 * PATIENCE, command.output()).await;
        let output = output.unwrap().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the page looks like to a program, once it is done.
    pub(crate) async fn dom(&self, url: &str) -> String {
        let dom = self.run(&["--dump-dom", url]).await;
        assert!(dom.contains("data-is-done"), "{dom}");
        if let Ok(folder) = std::env::var("AXIOM_HIVE_SCREENSHOTS") {
            self.shoot(&folder, url).await;
        }
        dom
    }

    /// For people who change the page.
    async fn shoot(&self, folder: &str, url: &str) {
        let name = url
            .rsplit("://")
            .next()
            .unwrap()
            .replace(['/', ':', '#'], "_");
        let file = format!("--screenshot={folder}/{name}.png");
        self.run(&[&file, "--window-size=1200,1100", url]).await;
    }
}

/// Gives the page a key as a visitor would, and changes what it was told to.
struct Front {
    nobody: Caller,
    key: String,
    lies_about: Option<&'static str>,
}

impl Front {
    async fn start(served: &Served, lies_about: Option<&'static str>) -> String {
        let front = Arc::new(Self {
            nobody: served.caller(""),
            key: served.vkey.to_string(),
            lies_about,
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().fallback(forward).with_state(front);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(router.clone(), stream));
            }
        });
        url
    }
}

async fn forward(State(front): State<Arc<Front>>, request: Request) -> Response {
    let path = request.uri().path_and_query().unwrap().as_str();
    if path == "/key.js" {
        let script = format!("localStorage.setItem('key', '{}')", front.key);
        return ([(header::CONTENT_TYPE, "text/javascript")], script).into_response();
    }
    let reply = front.nobody.get(path).await;
    let status = StatusCode::from_u16(reply.status().as_u16()).unwrap();
    let kind = reply.headers()[header::CONTENT_TYPE].clone();
    let mut bytes = reply.bytes().await.unwrap().to_vec();
    if path == "/" {
        let text = String::from_utf8(bytes).unwrap();
        bytes = text
            .replacen("<script", "<script src=\"key.js\"></script><script", 1)
            .into();
    }
    if front.lies_about == Some(path) {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    }
    (status, [(header::CONTENT_TYPE, kind)], bytes).into_response()
}

/// A constitution, tasks that were answered, and intents.
async fn grown() -> Served {
    let served = Served::start().await;
    let operator = served.operator();
    let intents = (1..RECORDS - 1).map(|n| intent(&format!("task-{n}"), 0, "pod-a"));
    let entries: Vec<_> = std::iter::once(constitution()).chain(intents).collect();
    for batch in entries.chunks(64) {
        operator.append(batch.to_vec()).await.unwrap();
    }
    let runner = served.caller("spiffe://example/pod-a");
    runner
        .append(vec![answered("task-7", 0, "hello")])
        .await
        .unwrap();
    served
}

fn has_verdict(dom: &str, state: &str, text: &str) {
    let verdict = dom.split("id=\"verdict\"").nth(1).unwrap();
    let verdict = verdict.split("</p>").next().unwrap();
    assert!(
        verdict.contains(&format!("data-state=\"{state}\"")),
        "{verdict}"
    );
    assert!(verdict.contains(text), "{verdict}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_verifies_what_the_page_shows() {
    let Some(browser) = Browser::new() else {
        return;
    };
    let empty = Served::start().await;
    let dom = browser.dom(&empty.url("/")).await;
    has_verdict(&dom, "open", "no record yet");

    let served = grown().await;
    let dom = browser.dom(&served.url("/")).await;
    has_verdict(&dom, "open", "NOT authenticated");
    assert!(
        dom.contains("not seen this ledger before") && dom.contains("task-298"),
        "{dom}"
    );
    let dom = browser.dom(&served.url("/#/record/299")).await;
    has_verdict(&dom, "open", "Record 299 is in the tree");
    assert!(
        dom.contains("0 records added, none of the 300 before changed"),
        "{dom}"
    );
    assert!(dom.contains("\"kind\": \"answered\""), "{dom}");

    let operator = served.operator();
    operator
        .append(vec![intent("later", 0, "pod-a")])
        .await
        .unwrap();
    let dom = browser.dom(&served.url("/")).await;
    assert!(
        dom.contains("1 records added, none of the 300 before changed"),
        "{dom}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_with_the_key_trusts_the_ledger_and_finds_every_lie() {
    let Some(browser) = Browser::new() else {
        return;
    };
    let served = grown().await;
    let honest = Front::start(&served, None).await;
    let dom = browser.dom(&honest).await;
    has_verdict(&dom, "verified", "signed with your key");
    let dom = browser.dom(&format!("{honest}#/record/7")).await;
    has_verdict(
        &dom,
        "verified",
        "Record 7 is in the ledger, under a head signed with your key",
    );
    for (path, page, said) in [
        ("/checkpoint", "", "FAILED"),
        ("/tile/1/000.p/1", "", "do not lead to the root"),
        ("/tile/entries/000", "#/record/128", "FAILED"),
        ("/tile/entries/001.p/44", "", "FAILED"),
        ("/tile/0/000", "#/record/127", "FAILED"),
    ] {
        let liar = Front::start(&served, Some(path)).await;
        let dom = browser.dom(&format!("{liar}{page}")).await;
        has_verdict(&dom, "failed", said);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_loads_nothing_from_elsewhere() {
    let served = Served::start().await;
    let nobody = served.caller("");
    for path in ["/", "/page/page.css", "/page/page.js", "/page/verify.js"] {
        let reply = nobody.get(path).await;
        assert_eq!(reply.status(), 200, "{path}");
        let policy = reply.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert_eq!(reply.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        let text = reply.text().await.unwrap();
        // The name of the format of pictures is the one address that it holds.
        let text = text.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !text.contains("http://") && !text.contains("https://"),
            "{path}"
        );
    }
    assert_eq!(nobody.get("/page/other.js").await.status(), 404);
}
