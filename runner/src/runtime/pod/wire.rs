//! The messages between supervisor and agent.

use std::io;
use std::time::Duration;

use axiom_hive_core::constitution::RuntimePolicy;
use axiom_hive_core::record::{BranchError, ContainmentRecord, ContainmentRequest, Usage};
use axiom_hive_core::task::RuntimeSpec;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::body::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::runtime::model::{BranchFailure, BranchReply, BranchRequest};

/// The longest message: a prompt or an answer of 1 MiB at JSON's worst growth, and room for the rest.
pub(super) const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// From the supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ToAgent {
    /// Find the program, put up the walls, prove them. The first message, and the only one of its kind.
    Build {
        /// What to run; it travels here, and never in the pod's own description.
        spec: RuntimeSpec,
        /// Limits.
        policy: RuntimePolicy,
        /// How much containment is demanded.
        containment: ContainmentRequest,
        /// The broker's port, if the constitution lists any target.
        broker_port: Option<u16>,
    },
    /// Run one branch.
    Run {
        /// Branch number, from 0.
        index: u32,
        /// Its seed, as decimal digits: JSON numbers end at 2^53.
        seed: String,
        /// The prompt.
        prompt: String,
        /// Milliseconds from the call to the answer.
        deadline_ms: u64,
        /// Upper bound of the answer.
        max_answer_bytes: u64,
    },
    /// Nobody waits for this branch any more.
    Cancel {
        /// Branch number.
        index: u32,
    },
}

/// From the agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum FromAgent {
    /// The program is there and the walls hold.
    Built {
        /// For the record.
        containment: ContainmentRecord,
        /// Walls that are missing, in words.
        missing_walls: Vec<String>,
    },
    /// No branch can run.
    NotBuilt {
        /// Whether it is for want of containment.
        is_containment: bool,
        /// Why.
        why: String,
    },
    /// The end of a branch.
    Finished {
        /// Branch number.
        index: u32,
        /// What came.
        result: Ended,
    },
}

/// How a branch ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum Ended {
    /// With a text.
    Text {
        /// Untrusted.
        text: String,
        /// As the runtime reported it.
        usage: Option<Usage>,
    },
    /// Without one.
    Failed {
        /// Why, as one word.
        kind: BranchError,
        /// Why, in words.
        detail: String,
    },
}

impl ToAgent {
    /// The message that runs a branch.
    pub(super) fn run(request: &BranchRequest) -> Self {
        Self::Run {
            index: request.index,
            seed: request.seed.to_string(),
            prompt: request.prompt.to_string(),
            deadline_ms: u64::try_from(request.deadline.as_millis()).unwrap_or(u64::MAX),
            max_answer_bytes: request.max_answer_bytes as u64,
        }
    }
}

/// The request behind a `Run` message; `None` where the seed is no number.
pub(super) fn request(
    index: u32,
    seed: &str,
    prompt: String,
    deadline_ms: u64,
    max_answer_bytes: u64,
) -> Option<BranchRequest> {
    Some(BranchRequest {
        index,
        seed: seed.parse().ok()?,
        prompt: prompt.into(),
        deadline: Duration::from_millis(deadline_ms),
        max_answer_bytes: usize::try_from(max_answer_bytes).ok()?,
    })
}

impl From<Result<BranchReply, BranchFailure>> for Ended {
    fn from(result: Result<BranchReply, BranchFailure>) -> Self {
        match result {
            Ok(BranchReply { text, usage }) => Self::Text { text, usage },
            Err(BranchFailure { kind, detail }) => Self::Failed { kind, detail },
        }
    }
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .max_frame_length(MAX_MESSAGE_BYTES)
        .new_codec()
}

/// Reads messages.
pub(super) struct Reader<R>(FramedRead<R, LengthDelimitedCodec>);

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        Self(FramedRead::new(from, codec()))
    }

    /// The next message; `None` at the end. May be dropped and asked again: nothing is lost.
    pub(super) async fn next<M: DeserializeOwned>(&mut self) -> io::Result<Option<M>> {
        match self.0.next().await {
            None => Ok(None),
            Some(bytes) => Ok(Some(serde_json::from_slice(&bytes?)?)),
        }
    }
}

/// Writes messages.
pub(super) struct Writer<W>(FramedWrite<W, LengthDelimitedCodec>);

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) fn new(to: W) -> Self {
        Self(FramedWrite::new(to, codec()))
    }

    pub(super) async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let bytes = Bytes::from(serde_json::to_vec(message)?);
        self.0.send(bytes).await
    }
}
