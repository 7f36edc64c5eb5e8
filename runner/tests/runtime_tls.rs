//! Services over TLS: a real server with a certificate of a private authority.
#![allow(clippy::unwrap_used)]

mod common;
mod scripted;

use std::path::PathBuf;
use std::sync::Arc;

use common::{Hive, Ran, finish};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use scripted::{Server, ok, reply};
use serde_json::json;

/// A platform's private authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// What a machine that trusts it has in `SSL_CERT_FILE`.
    fn bundle(&self, hive: &Hive) -> PathBuf {
        hive.write("authority.pem", &self.0.pem())
    }

    /// A server with a certificate for `name`.
    fn serve(&self, name: &str, replies: Vec<Vec<u8>>) -> Server {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let chain = vec![CertificateDer::from(certificate)];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let config = Arc::new(config);
        Server::start_over(replies, move |connection| {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            StreamOwned::new(tls, connection)
        })
    }
}

fn paris() -> Vec<u8> {
    ok(&json!({"text": "Paris"}))
}

/// Asks the service at `https://localhost:<port>` on a machine that trusts `bundle`.
fn ask(hive: &Hive, port: u16, bundle: &PathBuf) -> Ran {
    let url = format!("https://localhost:{port}/answer");
    let child = hive
        .run_command(&["--runtime", "http", "--url", &url, "--branches", "1"])
        .arg("Capital of France?")
        .env("SSL_CERT_FILE", bundle)
        .env("AXIOM_HIVE_LOG", "info")
        .env_remove("SSL_CERT_DIR")
        .spawn();
    finish(child.unwrap())
}

#[test]
fn a_service_of_a_trusted_authority_answers() {
    let (hive, authority) = (Hive::default(), Authority::new());
    let server = authority.serve("localhost", vec![paris()]);
    let ran = ask(&hive, server.port, &authority.bundle(&hive)).expect(0);
    assert_eq!(ran.stdout, "Paris\n");
    let seen = server.seen.recv().unwrap();
    assert!(seen.head.starts_with("POST /answer HTTP/1.1\r\n"));
    assert_eq!(seen.body["prompt"], "Capital of France?");
}

#[test]
fn a_service_of_an_unknown_authority_or_of_another_name_gets_nothing() {
    let (hive, authority) = (Hive::default(), Authority::new());
    let bundle = authority.bundle(&hive);
    for server in [
        Authority::new().serve("localhost", vec![paris()]),
        authority.serve("example.org", vec![paris()]),
    ] {
        let ran = ask(&hive, server.port, &bundle).expect(3);
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.contains("certificate"), "{}", ran.stderr);
        assert!(server.seen.try_recv().is_err(), "the prompt was sent");
    }
}

#[test]
fn a_machine_that_trusts_nobody_asks_nobody() {
    let (hive, authority) = (Hive::default(), Authority::new());
    let server = authority.serve("localhost", vec![paris()]);
    let nobody = hive.write("nobody.pem", "");
    let ran = ask(&hive, server.port, &nobody);
    assert_ne!(ran.code, Some(0));
    assert!(ran.stderr.contains("authorities"), "{}", ran.stderr);
    assert!(server.seen.try_recv().is_err(), "the prompt was sent");
}

#[test]
fn a_redirect_leads_neither_to_another_host_nor_out_of_tls() {
    let (hive, authority) = (Hive::default(), Authority::new());
    let bundle = authority.bundle(&hive);
    let other = authority.serve("127.0.0.1", vec![paris()]);
    let plain = Server::start(vec![paris()]);
    for location in [
        format!("https://127.0.0.1:{}/answer", other.port),
        format!("{}/answer", plain.base),
    ] {
        let headers = format!("location: {location}\r\n");
        let moved = reply("307 Temporary Redirect", &headers, b"");
        let server = authority.serve("localhost", vec![moved]);
        let ran = ask(&hive, server.port, &bundle).expect(3);
        assert!(ran.stderr.contains("307"), "{}", ran.stderr);
        assert_eq!(server.seen.iter().count(), 1);
    }
    assert!(other.seen.try_recv().is_err() && plain.seen.try_recv().is_err());
}
