//! The egress broker on loopback, with a real proxy client, a real TLS server and raw sockets.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;

use axiom_hive_core::constitution::{EgressPolicy, EgressTarget};
use axiom_hive_core::record::EgressRefusals;
use axiom_hive_runner::egress::{Broker, MAX_NAMES, MAX_REFUSALS, Rules};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A TLS server for `localhost` that answers every connection with `hello`, and its certificate.
async fn tls_server() -> (SocketAddr, rustls::pki_types::CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                    .await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (address, certificate)
}

/// A plain server that sends back what it read, as the body of a reply.
async fn mirror() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 64 * 1024];
                let count = stream.read(&mut request).await.unwrap_or(0);
                let head = format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {count}\r\n\r\n"
                );
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(&request[..count]).await;
            });
        }
    });
    address
}

async fn broker(allow: Vec<EgressTarget>) -> Broker {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Broker::start(listener, Rules::new(&EgressPolicy { allow })).unwrap()
}

fn loopback(port: u16) -> EgressTarget {
    EgressTarget::Cidr {
        cidr: "127.0.0.1/32".to_owned(),
        port,
    }
}

fn localhost(port: u16) -> EgressTarget {
    EgressTarget::Host {
        host: "localhost".to_owned(),
        port,
    }
}

/// Sends bytes to the broker and reads until it closes.
async fn raw(broker: &Broker, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(broker.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut reply = Vec::new();
    // A closed connection is an answer too.
    let _ = stream.read_to_end(&mut reply).await;
    String::from_utf8_lossy(&reply).into_owned()
}

fn refused(broker: &Broker) -> EgressRefusals {
    broker.journal().record().refused
}

fn proxied(broker: &Broker, roots: rustls::RootCertStore) -> reqwest::Client {
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .proxy(reqwest::Proxy::all(format!("http://{}", broker.address())).unwrap())
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_listed_host_is_reached_over_tls() {
    let (server, certificate) = tls_server().await;
    let broker = broker(vec![localhost(server.port()), loopback(server.port())]).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let url = format!("https://localhost:{}/", server.port());
    let text = proxied(&broker, roots)
        .get(url)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(text, "hello");
    let record = broker.journal().record();
    assert_eq!(record.targets[0].connections, 1);
    assert_eq!(record.refused, EgressRefusals::default());
    assert_eq!(
        broker.journal().names(),
        [format!("localhost:{}", server.port())]
    );
}

#[tokio::test]
async fn a_plain_request_arrives_as_it_was_checked() {
    let server = mirror().await;
    let broker = broker(vec![loopback(server.port())]).await;
    let reply = proxied(&broker, rustls::RootCertStore::empty())
        .post(format!("http://{server}/path?q=1"))
        .header("proxy-authorization", "Basic c2VjcmV0")
        .body("a body")
        .send()
        .await
        .unwrap();
    let seen = reply.text().await.unwrap();
    assert!(seen.starts_with("POST /path?q=1 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.ends_with("\r\n\r\na body"), "{seen}");
    assert!(
        !seen.to_lowercase().contains("proxy-authorization"),
        "{seen}"
    );
    let counts = broker.journal().record().targets[0];
    assert_eq!((counts.connections, counts.sent_bytes), (1, 6));
    assert_eq!(counts.received_bytes, seen.len() as u64);
}

#[tokio::test]
async fn what_is_not_listed_is_refused_and_counted() {
    let server = mirror().await;
    let broker = broker(vec![loopback(server.port())]).await;
    let other = mirror().await;
    for request in [
        format!("CONNECT {other} HTTP/1.1\r\nHost: {other}\r\n\r\n"),
        format!("GET http://{other}/ HTTP/1.1\r\nHost: {other}\r\nConnection: close\r\n\r\n"),
        format!("CONNECT 169.254.169.254:{} HTTP/1.1\r\n\r\n", server.port()),
        "CONNECT exfiltrated-data.example.com:443 HTTP/1.1\r\n\r\n".to_owned(),
    ] {
        let reply = raw(&broker, &[request.as_bytes(), b"x"].concat()).await;
        assert!(reply.starts_with("HTTP/1.1 403"), "{request}: {reply}");
        assert!(reply.contains("must be listed under [egress]"), "{reply}");
    }
    assert_eq!(refused(&broker).unlisted, 4);
    assert!(
        broker
            .journal()
            .names()
            .contains(&"exfiltrated-data.example.com:443".to_owned())
    );
}

#[tokio::test]
async fn a_listed_name_does_not_lead_home() {
    let (server, _) = tls_server().await;
    let broker = broker(vec![localhost(server.port())]).await;
    let request = format!("CONNECT localhost:{} HTTP/1.1\r\n\r\nx", server.port());
    let reply = raw(&broker, request.as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 403"), "{reply}");
    assert_eq!(refused(&broker).address, 1);
}

#[tokio::test]
async fn a_tunnel_carries_tls_for_its_host_or_nothing() {
    let server = mirror().await;
    let broker = broker(vec![loopback(server.port())]).await;
    let request =
        format!("CONNECT {server} HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: internal\r\n\r\n");
    let reply = raw(&broker, request.as_bytes()).await;
    assert_eq!(
        reply,
        "HTTP/1.1 200 OK\r\n".to_owned() + reply.trim_start_matches("HTTP/1.1 200 OK\r\n")
    );
    assert!(!reply.contains("internal"), "{reply}");
    assert_eq!(refused(&broker).server_name, 1);
}

#[tokio::test]
async fn a_second_request_cannot_hide_behind_the_first() {
    let server = mirror().await;
    let broker = broker(vec![loopback(server.port())]).await;
    let first = format!("GET http://{server}/ HTTP/1.1\r\nHost: {server}\r\n\r\n");
    let second = "GET http://10.0.0.1/ HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: close\r\n\r\n";
    let reply = raw(&broker, format!("{first}{second}").as_bytes()).await;
    assert!(!reply.contains("GET http://10.0.0.1"), "{reply}");
    assert!(reply.contains("HTTP/1.1 403"), "{reply}");
    // Length and chunks together are how requests are smuggled.
    let both = format!(
        "POST http://{server}/ HTTP/1.1\r\nHost: {server}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\n\r\n"
    );
    let reply = raw(&broker, both.as_bytes()).await;
    assert!(!reply.contains("/hidden"), "{reply}");
}

#[tokio::test]
async fn host_header_and_url_must_agree() {
    let server = mirror().await;
    let broker = broker(vec![loopback(server.port())]).await;
    let request = format!(
        "GET http://{server}/ HTTP/1.1\r\nHost: internal.example.com\r\nConnection: close\r\n\r\n"
    );
    let reply = raw(&broker, request.as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 403"), "{reply}");
    assert_eq!(refused(&broker).server_name, 1);
}

#[tokio::test]
async fn nobody_listening_is_told_apart_from_refused() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let broker = broker(vec![loopback(closed.port())]).await;
    let reply = raw(
        &broker,
        format!("CONNECT {closed} HTTP/1.1\r\n\r\nx").as_bytes(),
    )
    .await;
    assert!(reply.starts_with("HTTP/1.1 502"), "{reply}");
    assert_eq!(broker.journal().record().targets[0].unreachable, 1);
}

#[tokio::test]
async fn too_many_refusals_end_the_branch_and_names_are_bounded() {
    let broker = broker(Vec::new()).await;
    let asking = async {
        for index in 0..MAX_REFUSALS {
            let host = format!("h{index}.example.com");
            raw(
                &broker,
                format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(),
            )
            .await;
        }
    };
    tokio::join!(asking, broker.journal().refusals_spent());
    assert_eq!(refused(&broker).unlisted, MAX_REFUSALS);
    assert_eq!(broker.journal().names().len(), MAX_NAMES);
}

#[tokio::test]
async fn a_dropped_broker_ends_its_tunnels() {
    let server = mirror().await;
    let broker = broker(vec![loopback(server.port())]).await;
    let mut stream = TcpStream::connect(broker.address()).await.unwrap();
    stream
        .write_all(format!("CONNECT {server} HTTP/1.1\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut reply = [0; 15];
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"HTTP/1.1 200 OK");
    let address = broker.address();
    drop(broker);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn only_loopback_is_served() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    assert!(Broker::start(listener, Rules::default()).is_err());
}
