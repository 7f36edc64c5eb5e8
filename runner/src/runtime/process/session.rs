//! The task that owns a long-lived `ndjson` process: one loop, one owner of all its state.

use std::collections::{BTreeMap, BTreeSet};

use axiom_hive_core::record::BranchError;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};

use super::group::{Group, Pipes};
use super::pipes::{CHUNK_BYTES, read_tail};
use crate::runtime::model::{BranchFailure, BranchReply, Reply};

/// What a branch gets.
pub(super) type Answer = Result<BranchReply, BranchFailure>;

/// Room in a line for everything but the text: id, names, usage, an error message.
const LINE_OVERHEAD_BYTES: usize = 16 * 1024;

/// JSON writes a byte of text as at most `\u00XX`.
const JSON_GROWTH: usize = 6;

/// Given-up requests whose late reply is still expected. Beyond it the process is lost.
const MAX_ABANDONED: usize = 1024;

/// Request lines that wait for the process to read its stdin.
const MAX_QUEUED_LINES: usize = 64;

/// One request on its way.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: u64,
    pub(super) line: Vec<u8>,
    pub(super) max_answer_bytes: usize,
    pub(super) reply: oneshot::Sender<Answer>,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    #[serde(flatten)]
    reply: Reply,
}

/// Requests that were written and not answered.
#[derive(Default)]
struct InFlight {
    waiting: BTreeMap<u64, (usize, oneshot::Sender<Answer>)>,
    abandoned: BTreeSet<u64>,
}

pub(super) fn lost(detail: &str) -> BranchFailure {
    BranchFailure::new(BranchError::Lost, detail)
}

/// Runs until the process is lost, nobody is left to serve, or the task is aborted.
pub(super) async fn drive(group: Group, pipes: Pipes, mut inbox: mpsc::Receiver<Call>) {
    let (lines, unwritten) = mpsc::channel(MAX_QUEUED_LINES);
    let mut flight = InFlight::default();
    let mut stderr = tokio::spawn(read_tail(pipes.stderr));
    let failure = {
        let writer = write_lines(pipes.stdin, unwritten);
        tokio::pin!(writer);
        let serve = serve(&group, pipes.stdout, &mut inbox, lines, &mut flight);
        tokio::pin!(serve);
        // The writer ends only after `serve`, which holds its sender.
        tokio::select! {
            failure = &mut serve => failure,
            () = &mut writer => (&mut serve).await,
        }
    };
    // From here on a new call starts a new process; calls that were queued get the same failure.
    inbox.close();
    let status = group.reap().await;
    let status = status.map_or_else(|e| e.to_string(), |status| status.to_string());
    // Closed by the kill, unless a descendant left the group: then there is no more to wait for.
    let stderr = tokio::select! {
        biased;
        tail = &mut stderr => tail.unwrap_or_default(),
        () = tokio::time::sleep(std::time::Duration::from_millis(100)) => String::new(),
    };
    let from = stderr.ceil_char_boundary(stderr.len().saturating_sub(2 * 1024));
    let failure = BranchFailure::new(
        failure.kind,
        format!(
            "{}; {status}; stderr: {}",
            failure.detail,
            stderr[from..].trim()
        ),
    );
    for (_, reply) in flight.waiting.into_values() {
        let _ = reply.send(Err(failure.clone()));
    }
    while let Some(call) = inbox.recv().await {
        let _ = call.reply.send(Err(failure.clone()));
    }
}

/// Writes while `serve` reads, so that two full pipes never wait for each other. A process that
/// closed its stdin is not lost yet: it may still answer what it has read.
async fn write_lines(mut stdin: ChildStdin, mut lines: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        if stdin.write_all(&line).await.is_err() {
            break;
        }
    }
    // Refusing more lines without ending: the end is announced by stdout or by the process.
    while lines.recv().await.is_some() {}
}

async fn serve(
    group: &Group,
    mut stdout: ChildStdout,
    inbox: &mut mpsc::Receiver<Call>,
    lines: mpsc::Sender<Vec<u8>>,
    flight: &mut InFlight,
) -> BranchFailure {
    let mut buffer = Vec::new();
    let mut chunk = vec![0_u8; CHUNK_BYTES];
    let mut ended = false;
    loop {
        let was_serving = !flight.waiting.is_empty();
        tokio::select! {
            biased;
            read = stdout.read(&mut chunk) => match read {
                Ok(0) | Err(_) => return lost("the process closed its stdout"),
                Ok(n) => {
                    buffer.extend_from_slice(&chunk[..n]);
                    if let Err(failure) = flight.take_lines(&mut buffer) {
                        return failure;
                    }
                }
            },
            _ = group.ended(), if !ended => {
                // Its last words may still be in the pipe; whatever else holds it dies now.
                ended = true;
                group.kill();
            }
            call = inbox.recv() => match call {
                None => return lost("the runtime was shut down"),
                Some(call) => {
                    if lines.try_send(call.line).is_err() {
                        let _ = call.reply.send(Err(lost("the process does not read its stdin")));
                        return lost("the process does not read its stdin");
                    }
                    flight.waiting.insert(call.id, (call.max_answer_bytes, call.reply));
                }
            },
            () = flight.given_up(), if was_serving => {
                if flight.waiting.is_empty() {
                    return lost("nobody waits for the process any more");
                }
                if flight.abandoned.len() > MAX_ABANDONED {
                    return lost("too many requests were given up");
                }
            }
        }
    }
}

impl InFlight {
    /// Waits until a waiting branch has given up, and moves every such branch to the abandoned.
    async fn given_up(&mut self) {
        std::future::poll_fn(|cx| {
            let gone: Vec<u64> = self
                .waiting
                .iter_mut()
                .filter_map(|(id, (_, reply))| reply.poll_closed(cx).is_ready().then_some(*id))
                .collect();
            if gone.is_empty() {
                return std::task::Poll::Pending;
            }
            for id in gone {
                self.waiting.remove(&id);
                self.abandoned.insert(id);
            }
            std::task::Poll::Ready(())
        })
        .await;
    }

    /// Takes every whole line out of the buffer. What is left is a bounded beginning of a line.
    fn take_lines(&mut self, buffer: &mut Vec<u8>) -> Result<(), BranchFailure> {
        let mut start = 0;
        while let Some(length) = buffer[start..].iter().position(|byte| *byte == b'\n') {
            self.take_line(&buffer[start..start + length])?;
            start += length + 1;
        }
        buffer.drain(..start);
        let longest = self
            .waiting
            .values()
            .map(|(max, _)| *max)
            .max()
            .unwrap_or(0);
        let limit = longest * JSON_GROWTH + LINE_OVERHEAD_BYTES;
        if buffer.len() > limit {
            return Err(BranchFailure::new(
                BranchError::TooLong,
                format!("a line of more than {limit} bytes came"),
            ));
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), BranchFailure> {
        let line = std::str::from_utf8(line)
            .map_err(|e| BranchFailure::new(BranchError::NotUtf8, e.to_string()))?;
        let malformed = |what: String| BranchFailure::new(BranchError::Malformed, what);
        let Line { id, reply } = serde_json::from_str(line)
            .map_err(|e| malformed(format!("a reply must be JSON: {e}")))?;
        let known = id.parse::<u64>().ok().filter(|n| n.to_string() == id);
        let Some(id) = known else {
            return Err(malformed(
                "a reply must have the id of a request".to_owned(),
            ));
        };
        if self.abandoned.remove(&id) {
            return Ok(());
        }
        let Some((max, waiting)) = self.waiting.remove(&id) else {
            return Err(malformed(
                "a reply must have the id of a request in flight".to_owned(),
            ));
        };
        // A branch that gave up in this moment needs no answer.
        let _ = waiting.send(reply.judge(max));
        Ok(())
    }
}
