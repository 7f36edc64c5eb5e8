//! A tunnel after `CONNECT`: the first bytes must be a TLS client hello for the name that was asked for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::rules::{Destination, Host, Refusal, name};

/// How long the first bytes may take.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest client hello with its records, in bytes; post-quantum key shares need about 2 KiB.
const MAX_HELLO_BYTES: usize = 16 * 1024;
/// What is moved at once, in bytes.
const CHUNK_BYTES: usize = 16 * 1024;

/// Bytes that may still be moved by all connections of an attempt together.
#[derive(Debug)]
pub(super) struct Allowance(AtomicU64);

impl Allowance {
    pub(super) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(bytes)))
    }

    /// Takes `bytes`, or nothing and says no.
    pub(super) fn take(&self, bytes: usize) -> bool {
        self.0
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes as u64)
            })
            .is_ok()
    }
}

/// Reads until the client hello is whole, and gives back every byte read, to be sent on.
pub(super) async fn client_hello(
    from: &mut (impl AsyncRead + Unpin),
    to: &Destination,
) -> Result<Vec<u8>, Refusal> {
    let read = async {
        let mut acceptor = Acceptor::default();
        let mut bytes = Vec::new();
        loop {
            let mut chunk = [0; 4096];
            let count = from.read(&mut chunk).await.unwrap_or(0);
            if count == 0 || bytes.len() + count > MAX_HELLO_BYTES {
                return Err(Refusal::ServerName);
            }
            bytes.extend_from_slice(&chunk[..count]);
            let mut unread = &chunk[..count];
            while !unread.is_empty() {
                acceptor
                    .read_tls(&mut unread)
                    .map_err(|_| Refusal::ServerName)?;
                match acceptor.accept() {
                    Ok(Some(accepted)) => {
                        let is_same = is_same(accepted.client_hello().server_name(), &to.host);
                        return is_same.then_some(bytes).ok_or(Refusal::ServerName);
                    }
                    Ok(None) => {}
                    Err(_) => return Err(Refusal::ServerName),
                }
            }
        }
    };
    timeout(HELLO_TIMEOUT, read)
        .await
        .unwrap_or(Err(Refusal::ServerName))
}

/// A name must be named; an address cannot be (RFC 6066, section 3).
fn is_same(server_name: Option<&str>, host: &Host) -> bool {
    match (server_name, host) {
        (Some(given), Host::Name(asked)) => name(given).as_ref() == Some(asked),
        (None, Host::Address(_)) => true,
        _ => false,
    }
}

/// Moves bytes from one side to the other until it ends, or until the allowance is spent. `moved` hears
/// of them as they pass: whoever takes the count need not wait for the end.
pub(super) async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    allowance: &Allowance,
    moved: impl Fn(u64),
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = from.read(&mut chunk).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        if !allowance.take(count) {
            return Err(io::Error::other(Refusal::Limit));
        }
        to.write_all(&chunk[..count]).await?;
        moved(count as u64);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::ring};

    fn hello(server: &'static str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let server = ServerName::try_from(server).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), server).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    async fn check(mut bytes: &[u8], asked: &str) -> Result<Vec<u8>, Refusal> {
        client_hello(&mut bytes, &Destination::parse(asked, None).unwrap()).await
    }

    #[tokio::test]
    async fn the_server_name_must_be_the_host() {
        let for_a = hello("a.example.com");
        assert_eq!(check(&for_a, "a.example.com:443").await, Ok(for_a.clone()));
        assert_eq!(check(&for_a, "A.example.com.:443").await, Ok(for_a.clone()));
        assert_eq!(
            check(&for_a, "b.example.com:443").await,
            Err(Refusal::ServerName)
        );
        assert_eq!(
            check(&for_a, "10.0.0.1:443").await,
            Err(Refusal::ServerName)
        );
        let for_address = hello("10.0.0.1");
        assert!(check(&for_address, "10.0.0.1:443").await.is_ok());
        assert_eq!(
            check(&for_address, "a.example.com:443").await,
            Err(Refusal::ServerName)
        );
    }

    #[tokio::test]
    async fn anything_but_tls_is_refused() {
        let whole = hello("a.example.com");
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n"[..],
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"",
            &whole[..whole.len() - 1],
            &[0x16; MAX_HELLO_BYTES],
        ] {
            assert_eq!(
                check(bytes, "a.example.com:443").await,
                Err(Refusal::ServerName)
            );
        }
    }
}
