//! Kind `http`: any service that takes `POST` of `{"prompt","branch","seed"}`.
//!
//! `seed` is a decimal string, as it may exceed 2^53. A reply with a status of 200 to 299 is
//! `{"text":"…"}` or `{"error":"…"}`, either with an optional
//! `"usage":{"promptTokens":1,"completionTokens":2}`; unknown fields are ignored. One request per
//! branch, never repeated: whether a repetition is harmless is not ours to know.

use axiom_hive_core::record::BranchError;
use reqwest::{Client, Url};
use serde::{Deserialize, Serialize};

use super::{client, error_status, from_json, parse_url, read_body, transport};
use crate::runtime::build::RuntimeError;
use crate::runtime::model::{
    BoxFuture, BranchFailure, BranchReply, BranchRequest, CancelToken, RunError, UntrustedRuntime,
    accept, bounded, reported_usage,
};

/// A service that takes and answers JSON.
#[derive(Debug)]
pub(crate) struct HttpService {
    client: Client,
    url: Url,
}

#[derive(Serialize)]
struct Request<'a> {
    prompt: &'a str,
    branch: u32,
    seed: String,
}

#[derive(Deserialize)]
struct Reply {
    text: Option<String>,
    error: Option<String>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

impl HttpService {
    pub(crate) fn new(url: &str) -> Result<Self, RuntimeError> {
        let url = parse_url("runtime.url", url)?;
        Ok(Self {
            client: client(&url, None)?,
            url,
        })
    }

    async fn answer(&self, request: &BranchRequest) -> Result<BranchReply, BranchFailure> {
        let body = Request {
            prompt: &request.prompt,
            branch: request.index,
            seed: request.seed.to_string(),
        };
        let call = self.client.post(self.url.clone()).json(&body);
        let response = call.send().await.map_err(|e| transport(&e))?;
        let status = response.status();
        if !status.is_success() {
            return Err(error_status(status, response).await);
        }
        let body = read_body(response, request.max_answer_bytes).await?;
        let reply: Reply = from_json(&body)?;
        match (reply.text, reply.error) {
            (Some(text), None) => Ok(BranchReply {
                text: accept(text, request.max_answer_bytes)?,
                usage: reply
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

impl UntrustedRuntime for HttpService {
    fn run(
        &self,
        request: BranchRequest,
        cancel: CancelToken,
    ) -> BoxFuture<'_, Result<BranchReply, RunError>> {
        Box::pin(async move { bounded(request.deadline, &cancel, self.answer(&request)).await })
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
