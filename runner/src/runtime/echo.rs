//! The built-in runtime that answers with the prompt: for trials and tests, no foreign code.

use super::model::{
    BoxFuture, BranchReply, BranchRequest, CancelToken, RunError, UntrustedRuntime, accept,
};

/// Answers with the prompt.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

impl UntrustedRuntime for Echo {
    fn run(
        &self,
        request: BranchRequest,
        cancel: CancelToken,
    ) -> BoxFuture<'_, Result<BranchReply, RunError>> {
        Box::pin(async move {
            if cancel.is_cancelled() {
                return Err(RunError::Cancelled);
            }
            let text = accept(request.prompt.to_string(), request.max_answer_bytes)?;
            Ok(BranchReply { text, usage: None })
        })
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
