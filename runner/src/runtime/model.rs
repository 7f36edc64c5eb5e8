//! What a branch asks of a runtime, and what it can get back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axiom_hive_core::record::{BranchError, MAX_INTEGER, Usage};
use serde::Deserialize;

/// Cancels a branch from outside; clones share one flag.
pub use tokio_util::sync::CancellationToken as CancelToken;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The upper bound of [`BranchFailure::detail`], in bytes.
pub const MAX_DETAIL_BYTES: usize = 4096;

/// One call of a runtime for one branch.
#[derive(Debug, Clone)]
pub struct BranchRequest {
    /// Branch number, from 0.
    pub index: u32,
    /// The derived seed of this branch; below 2^63.
    pub seed: u64,
    /// The prompt as the runtime shall see it.
    pub prompt: Arc<str>,
    /// From the call to the answer.
    pub deadline: Duration,
    /// Upper bound of the answer, in bytes of UTF-8.
    pub max_answer_bytes: usize,
}

/// A text a runtime gave. Untrusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchReply {
    /// At most `max_answer_bytes`, and not only white space.
    pub text: String,
    /// Tokens as the runtime reported them, each cut to 2^53 − 1; `branch_ms` is 0, the caller has the clock.
    pub usage: Option<Usage>,
}

/// Why a branch gave no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind:?}: {detail}")]
pub struct BranchFailure {
    /// The closed word that may stand in a record.
    pub kind: BranchError,
    /// For logs and the private detail payload only, never for a leaf; at most [`MAX_DETAIL_BYTES`].
    pub detail: String,
}

impl BranchFailure {
    /// A failure with its detail cut to [`MAX_DETAIL_BYTES`] at a character boundary.
    #[must_use]
    pub fn new(kind: BranchError, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        detail.truncate(detail.floor_char_boundary(MAX_DETAIL_BYTES));
        Self { kind, detail }
    }
}

/// How a branch can end without a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The branch failed; this is a result that the supervisor commits.
    #[error(transparent)]
    Failed(#[from] BranchFailure),
    /// The token was cancelled before an end; no result, nothing to commit.
    #[error("cancelled")]
    Cancelled,
}

/// Untrusted code or an untrusted service that turns a prompt into a text.
///
/// Dropping a returned future ends the call: a process of this branch is killed with its whole
/// process group, a connection is closed.
pub trait UntrustedRuntime: Send + Sync {
    /// Runs one branch, however long it takes.
    fn answer<'a>(
        &'a self,
        request: &'a BranchRequest,
    ) -> BoxFuture<'a, Result<BranchReply, BranchFailure>>;

    /// Runs one branch. Ends within `request.deadline`, or at once when `cancel` fires.
    fn run(
        &self,
        request: BranchRequest,
        cancel: CancelToken,
    ) -> BoxFuture<'_, Result<BranchReply, RunError>> {
        Box::pin(async move { bounded(request.deadline, &cancel, self.answer(&request)).await })
    }

    /// Ends whatever outlives a branch, and returns when it is gone.
    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// Holds `work` to the request's deadline and to the token. `work` is dropped on either.
async fn bounded(
    deadline: Duration,
    cancel: &CancelToken,
    work: impl Future<Output = Result<BranchReply, BranchFailure>>,
) -> Result<BranchReply, RunError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(RunError::Cancelled),
        ended = tokio::time::timeout(deadline, work) => match ended {
            Ok(result) => result.map_err(RunError::Failed),
            Err(_) => Err(timed_out(deadline).into()),
        },
    }
}

pub(super) fn timed_out(deadline: Duration) -> BranchFailure {
    BranchFailure::new(
        BranchError::Timeout,
        format!("no answer within {} ms", deadline.as_millis()),
    )
}

/// The checks every text passes, whatever brought it: length, then content.
pub(super) fn accept(text: String, max_bytes: usize) -> Result<String, BranchFailure> {
    if text.len() > max_bytes {
        return Err(too_long(max_bytes));
    }
    if text.trim().is_empty() {
        return Err(BranchFailure::new(
            BranchError::Empty,
            "nothing but white space came",
        ));
    }
    Ok(text)
}

pub(super) fn too_long(max_bytes: usize) -> BranchFailure {
    BranchFailure::new(
        BranchError::TooLong,
        format!("more than {max_bytes} bytes came"),
    )
}

/// What a process or a service says: `{"text":"…"}` or `{"error":"…"}`, either with an optional
/// `"usage":{"promptTokens":1,"completionTokens":2}`; unknown fields are ignored.
#[derive(Debug, Deserialize)]
pub(super) struct Reply {
    text: Option<String>,
    error: Option<String>,
    usage: Option<ReportedUsage>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReportedUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

impl Reply {
    /// The text, within its bound, or the error that was reported.
    pub(super) fn judge(self, max_answer_bytes: usize) -> Result<BranchReply, BranchFailure> {
        match (self.text, self.error) {
            (Some(text), None) => Ok(BranchReply {
                text: accept(text, max_answer_bytes)?,
                usage: self
                    .usage
                    .map(|usage| reported_usage(usage.prompt_tokens, usage.completion_tokens)),
            }),
            (None, Some(error)) => Err(BranchFailure::new(BranchError::Reported, error)),
            _ => Err(BranchFailure::new(
                BranchError::Malformed,
                "a reply must have either text or error",
            )),
        }
    }
}

/// Integers in a record stay within what every JSON reader holds exactly.
pub(super) fn reported_usage(prompt_tokens: u64, completion_tokens: u64) -> Usage {
    Usage {
        prompt_tokens: prompt_tokens.min(MAX_INTEGER),
        completion_tokens: completion_tokens.min(MAX_INTEGER),
        branch_ms: 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn detail_is_cut_at_a_character() {
        let failure = BranchFailure::new(BranchError::Lost, "é".repeat(MAX_DETAIL_BYTES));
        assert_eq!(failure.detail.len(), MAX_DETAIL_BYTES);
        let failure = BranchFailure::new(BranchError::Lost, format!("x{}", "é".repeat(4096)));
        assert_eq!(failure.detail.len(), MAX_DETAIL_BYTES - 1);
    }

    #[test]
    fn accept_has_exact_bounds() {
        assert_eq!(accept("abc".into(), 3).unwrap(), "abc");
        assert_eq!(
            accept("abcd".into(), 3).unwrap_err().kind,
            BranchError::TooLong
        );
        assert_eq!(
            accept(" \n\t".into(), 9).unwrap_err().kind,
            BranchError::Empty
        );
    }
}
