//! The built-in runtime that answers with the prompt: for trials and tests, no foreign code.

use std::future::ready;

use super::model::{
    BoxFuture, BranchFailure, BranchReply, BranchRequest, UntrustedRuntime, accept,
};

/// Answers with the prompt.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

impl UntrustedRuntime for Echo {
    fn answer<'a>(
        &'a self,
        request: &'a BranchRequest,
    ) -> BoxFuture<'a, Result<BranchReply, BranchFailure>> {
        let text = accept(request.prompt.to_string(), request.max_answer_bytes);
        Box::pin(ready(text.map(|text| BranchReply { text, usage: None })))
    }
}
