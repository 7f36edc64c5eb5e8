//! A contained process and the egress broker, through the real program.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use common::Hive;
use serde_json::Value;

/// A server that answers `GET` with one word, for as long as the test runs.
fn server(word: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let length = word.len();
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
            let _ = stream.write_all(format!("{head}{word}").as_bytes());
        }
    });
    address
}

/// One branch of a Python program; the answer is what it prints.
fn ask(hive: &Hive, program: &str) -> (Option<i32>, String, Value) {
    let program = format!("--arg={program}");
    let ran = hive.run(&[
        "--runtime",
        "process",
        "--command",
        "python3",
        "--arg=-c",
        &program,
        "--branches",
        "1",
        "--output",
        "json",
        "x",
    ]);
    let shown = hive.cli(&["ledger", "show", "ledger", "2", "--output", "json"]);
    hive.cli(&["replay", "ledger", "2"]).expect(0);
    (ran.code, ran.stdout, shown.json())
}

fn constitution(listed: &str) -> Hive {
    Hive::new(&format!(
        "[supervisor]\nmin_consensus_ratio = 1\n[[egress.allow]]\n{listed}\n"
    ))
}

#[test]
fn a_process_reaches_what_is_listed_and_nothing_else() {
    let (open, closed) = (server("listed"), server("not listed"));
    let hive = constitution(&format!("cidr = \"127.0.0.1/32\"\nport = {}", open.port()));
    let program = format!(
        "import urllib.request, urllib.error, socket
print(urllib.request.urlopen('http://{open}/').read().decode())
try:
    urllib.request.urlopen('http://{closed}/')
except urllib.error.HTTPError as error:
    print(error.code)
for port in ({}, {}):
    try:
        socket.create_connection(('127.0.0.1', port))
        print('reached')
    except PermissionError:
        print('denied')
",
        open.port(),
        closed.port()
    );
    let (code, stdout, record) = ask(&hive, &program);
    assert_eq!(code, Some(0), "{stdout}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(answer["answer"], "listed\n403\ndenied\ndenied");
    let egress = &record["record"]["observed"]["egress"];
    assert_eq!(egress["targets"][0]["connections"], 1, "{record}");
    assert_eq!(egress["refused"]["unlisted"], 1, "{record}");
    hive.verify().expect(0);
}

#[test]
fn a_process_that_looks_for_a_hole_fails() {
    let hive = constitution("host = \"api.example.com\"\nport = 443");
    let program = "import urllib.request
while True:
    try:
        urllib.request.urlopen('http://169.254.169.254/latest/meta-data/')
    except OSError:
        pass
";
    let (code, stdout, record) = ask(&hive, program);
    assert_eq!(code, Some(3), "{stdout}");
    let refused = record["record"]["observed"]["egress"]["refused"]["unlisted"].as_u64();
    assert!(refused >= Some(1_000), "{record}");
    assert_eq!(
        record["record"]["decided"]["branches"][0]["error"], "egress",
        "{record}"
    );
}
