//! Sockets: protocols, certificates, the canary, the end.

use std::sync::Arc;

use axiom_hive_core::wire::{AppendReply, AppendRequest, ErrorCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::records::constitution;
use crate::support::{PATIENCE, Served, refused, until};

async fn connect(served: &Served, alpn: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(served.authority.ca()).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(served.addresses.https).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_speaks_http_2() {
    let served = Served::start().await;
    let stream = connect(&served, b"h2").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = TokioIo::new(stream);
    let (mut send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let uri = format!("https://{}/livez", served.addresses.https);
    let request = hyper::Request::get(uri)
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = send.send_request(request).await.unwrap();
    assert_eq!(response.version(), hyper::Version::HTTP_2);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], b"ok\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_canary_greets_and_hangs_up() {
    let served = Served::start().await;
    for _ in 0..3 {
        let mut stream = TcpStream::connect(served.addresses.canary).await.unwrap();
        let mut greeting = String::new();
        stream.read_to_string(&mut greeting).await.unwrap();
        assert_eq!(greeting, "axiom-hive canary\n");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_certificate_is_taken_over_without_a_restart() {
    let served = Served::start().await;
    let shown = || async {
        let stream = connect(&served, b"http/1.1").await;
        stream.get_ref().1.peer_certificates().unwrap()[0]
            .clone()
            .into_owned()
    };
    let first = shown().await;
    // Half of a change: the key does not belong to the certificate, so the old pair stays.
    let dir = served.dir.path().join("tls");
    std::fs::write(dir.join("127.0.0.1.key"), "nothing").unwrap();
    until(|| async {
        let metrics = served
            .caller("")
            .get("/metrics")
            .await
            .text()
            .await
            .unwrap();
        metrics.contains(r#"certificate_reloads_total{result="error"} 1"#)
    })
    .await;
    assert_eq!(shown().await, first);
    served.authority.issue("127.0.0.1");
    until(|| async { shown().await != first }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_requests_in_flight_end() {
    let served = Served::start().await;
    let body = serde_json::to_vec(&AppendRequest {
        entries: vec![constitution()],
    });
    let body = body.unwrap();
    let operator = served.operator();
    assert_eq!(operator.get("/readyz").await.status(), 200);
    // The first half arrives before the stop, the second after it.
    let (half, rest) = (body[..100].to_vec(), body[100..].to_vec());
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let rest = futures_util::stream::once(async move {
        released.await.unwrap();
        Ok::<_, std::io::Error>(rest)
    });
    let chunks = futures_util::StreamExt::chain(futures_util::stream::iter([Ok(half)]), rest);
    let request = operator.post(reqwest::Body::wrap_stream(chunks));
    let request = tokio::spawn(request.header("content-length", body.len()).send());
    until(|| async {
        let metrics = operator.get("/metrics").await.text().await.unwrap();
        !metrics.contains("body_in_flight_bytes 0")
    })
    .await;
    served.stop.cancel();
    until(|| async { TcpStream::connect(served.addresses.https).await.is_err() }).await;
    assert!(!served.serving.is_finished());
    release.send(()).unwrap();
    let reply: AppendReply = request.await.unwrap().unwrap().json().await.unwrap();
    reply.results[0].stored.verify(&served.vkey).unwrap();
    tokio::time::timeout(PATIENCE, served.serving)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_does_is_counted() {
    let served = Served::start().await;
    let operator = served.operator();
    operator.append(vec![constitution()]).await.unwrap();
    operator.append(vec![constitution()]).await.unwrap();
    let nobody = served.caller("");
    refused(nobody.get("/v1/intents/open").await).await;
    let metrics = nobody.get("/metrics").await.text().await.unwrap();
    for line in [
        r#"axiom_hive_ledger_appends_total{kind="constitution",existing="false"} 1"#,
        r#"axiom_hive_ledger_appends_total{kind="constitution",existing="true"} 1"#,
        r#"axiom_hive_ledger_refusals_total{code="unauthenticated"} 1"#,
        r#"axiom_hive_ledger_requests_total{route="/v1/records",status="200"} 2"#,
        "axiom_hive_ledger_records 1",
        "axiom_hive_ledger_writable 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_says_nothing_is_hung_up_on() {
    let served = Served::start().await;
    let mut stream = connect(&served, b"http/1.1").await;
    stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    let mut reply = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut reply)).await;
    assert!(
        ended.is_ok(),
        "the head of a request is waited for without end"
    );
    let other = served
        .caller("")
        .client
        .delete(served.url("/checkpoint"))
        .send()
        .await;
    assert_eq!(refused(other.unwrap()).await.code, ErrorCode::NotFound);
}
