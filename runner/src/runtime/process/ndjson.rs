//! Protocol `ndjson`: one long-lived process, one JSON object per line each way.
//!
//! Request: `{"id":"7","prompt":"…","branch":0,"seed":"123"}`. Reply, in any order, matched by `id`:
//! `{"id":"7","text":"…"}` or `{"id":"7","error":"…"}`, either with an optional
//! `"usage":{"promptTokens":1,"completionTokens":2}`; unknown fields are ignored. A line is UTF-8 and ends with `\n`.
//!
//! The process starts with the first branch and again with the next branch after it was lost. When
//! it ends, or says something that is no reply to a request in flight, it is killed with its group
//! and every branch in flight fails. A branch that gives up (deadline, cancel) is forgotten and its
//! late reply ignored; when nobody is waiting any more, the process is killed rather than left
//! working for nobody.

use std::sync::atomic::{AtomicU64, Ordering};

use axiom_hive_core::record::BranchError;
use serde::Serialize;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::launch::Launch;
use super::session::{self, Answer, Call};
use crate::runtime::model::{BoxFuture, BranchFailure, BranchRequest, UntrustedRuntime};

/// Calls that wait for the session's task; a constitution has at most 64 branches.
const MAX_QUEUED_CALLS: usize = 64;

/// One long-lived process.
#[derive(Debug)]
pub(crate) struct NdjsonProcess {
    launch: Launch,
    next_id: AtomicU64,
    session: Mutex<Option<Session>>,
}

/// The task that owns the process.
#[derive(Debug)]
struct Session {
    calls: mpsc::Sender<Call>,
    task: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // The task owns the process group: it dies with it.
        self.task.abort();
    }
}

#[derive(Serialize)]
struct Request<'a> {
    id: &'a str,
    prompt: &'a str,
    branch: u32,
    seed: String,
}

impl NdjsonProcess {
    pub(crate) fn new(launch: Launch) -> Self {
        Self {
            launch,
            next_id: AtomicU64::new(0),
            session: Mutex::new(None),
        }
    }

    /// The running session, or a new one.
    async fn calls(&self) -> Result<mpsc::Sender<Call>, BranchFailure> {
        let mut session = self.session.lock().await;
        if let Some(running) = session.as_ref()
            && !running.calls.is_closed()
        {
            return Ok(running.calls.clone());
        }
        let started = self.launch.start(&[])?;
        let (calls, inbox) = mpsc::channel(MAX_QUEUED_CALLS);
        let task = tokio::spawn(session::drive(started.group, started.pipes, inbox));
        *session = Some(Session {
            calls: calls.clone(),
            task,
        });
        Ok(calls)
    }

    async fn call(&self, request: &BranchRequest) -> Answer {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut line = serde_json::to_vec(&Request {
            id: &id.to_string(),
            prompt: &request.prompt,
            branch: request.index,
            seed: request.seed.to_string(),
        })
        .map_err(|e| BranchFailure::new(BranchError::Malformed, e.to_string()))?;
        line.push(b'\n');
        let (reply, answer) = oneshot::channel();
        let mut call = Call {
            id,
            line,
            max_answer_bytes: request.max_answer_bytes,
            reply,
        };
        // A session may end between the look and the send: then the call comes back unread, once.
        for _ in 0..2 {
            match self.calls().await?.send(call).await {
                Ok(()) => {
                    return answer
                        .await
                        .unwrap_or_else(|_| Err(session::lost("the process was stopped")));
                }
                Err(unsent) => call = unsent.0,
            }
        }
        Err(session::lost(
            "the process ended twice before it took the request",
        ))
    }
}

impl UntrustedRuntime for NdjsonProcess {
    fn answer<'a>(&'a self, request: &'a BranchRequest) -> BoxFuture<'a, Answer> {
        Box::pin(self.call(request))
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Some(mut session) = self.session.lock().await.take() else {
                return;
            };
            session.task.abort();
            let _ = (&mut session.task).await;
        })
    }
}
