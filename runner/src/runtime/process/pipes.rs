//! Reading pipes of an untrusted process without ever holding more than a written bound.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What is kept of a process's stderr: its last bytes, where a traceback ends.
pub(super) const MAX_STDERR_BYTES: usize = 16 * 1024;

/// Bytes read at once.
pub(super) const CHUNK_BYTES: usize = 8 * 1024;

/// More than the bound came.
#[derive(Debug)]
pub(super) struct Overflow;

/// Reads to the end of file, at most `max` bytes. A broken pipe is an end.
pub(super) async fn read_to_end(
    mut from: impl AsyncRead + Unpin,
    max: usize,
) -> Result<Vec<u8>, Overflow> {
    let mut all = Vec::new();
    let mut chunk = vec![0_u8; CHUNK_BYTES];
    loop {
        match from.read(&mut chunk).await {
            Ok(0) | Err(_) => return Ok(all),
            Ok(n) if all.len() + n > max => return Err(Overflow),
            Ok(n) => all.extend_from_slice(&chunk[..n]),
        }
    }
}

/// Reads to the end of file and keeps the last [`MAX_STDERR_BYTES`], as text.
pub(super) async fn read_tail(mut from: impl AsyncRead + Unpin) -> String {
    let mut tail = VecDeque::new();
    let mut chunk = vec![0_u8; CHUNK_BYTES];
    loop {
        match from.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(n) => {
                tail.extend(&chunk[..n]);
                let surplus = tail.len().saturating_sub(MAX_STDERR_BYTES);
                tail.drain(..surplus);
            }
        }
    }
    String::from_utf8_lossy(tail.make_contiguous()).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn bounds_are_exact() {
        assert_eq!(read_to_end(&b"abc"[..], 3).await.unwrap(), b"abc");
        assert!(read_to_end(&b"abcd"[..], 3).await.is_err());
    }

    #[tokio::test]
    async fn the_tail_is_the_end() {
        let mut text = "x".repeat(MAX_STDERR_BYTES);
        text.push_str("last words");
        let tail = read_tail(text.as_bytes()).await;
        assert_eq!(tail.len(), MAX_STDERR_BYTES);
        assert!(tail.ends_with("last words"));
    }
}
