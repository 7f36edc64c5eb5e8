//! A service on loopback that says what a test wants it to say.
#![allow(clippy::unwrap_used, dead_code)]

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::Value;

/// What the server saw.
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Value,
}

/// Serves the replies in order, one connection each, then stops listening.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) base: String,
    pub(crate) seen: Receiver<Seen>,
}

impl Server {
    pub(crate) fn start(replies: Vec<Vec<u8>>) -> Self {
        Self::start_over(replies, |connection| connection)
    }

    /// The same over what `wrap` makes of each connection.
    pub(crate) fn start_over<S: Read + Write>(
        replies: Vec<Vec<u8>>,
        wrap: impl Fn(TcpStream) -> S + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (log, seen) = channel();
        std::thread::spawn(move || {
            for reply in replies {
                let (connection, _) = listener.accept().unwrap();
                // A client may hang up before it has said or read everything.
                let _ = answer(wrap(connection), &reply, &log);
            }
        });
        Self {
            port,
            base: format!("http://127.0.0.1:{port}"),
            seen,
        }
    }
}

fn answer(connection: impl Read + Write, reply: &[u8], log: &Sender<Seen>) -> io::Result<()> {
    let mut reader = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let length = |line: &str| -> Option<usize> {
        let line = line.to_lowercase();
        line.strip_prefix("content-length: ")?.parse().ok()
    };
    let mut body = vec![0; head.lines().find_map(length).unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let _ = log.send(Seen { head, body });
    let mut connection = reader.into_inner();
    connection.write_all(reply)?;
    connection.flush()
}

pub(crate) fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut reply = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    )
    .into_bytes();
    reply.extend_from_slice(body);
    reply
}

pub(crate) fn ok(body: &Value) -> Vec<u8> {
    reply("200 OK", "", body.to_string().as_bytes())
}
