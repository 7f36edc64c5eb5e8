//! Kind `http`: any service that takes `POST` of `{"prompt","branch","seed"}`.
//!
//! `seed` is a decimal string, as it may exceed 2^53. A reply with a status of 200 to 299 is
//! `{"text":"…"}` or `{"error":"…"}`, either with an optional
//! `"usage":{"promptTokens":1,"completionTokens":2}`; unknown fields are ignored. One request per
//! branch, never repeated: whether a repetition is harmless is not ours to know.

use reqwest::{Client, Url};
use serde::Serialize;

use super::{client, error_status, from_json, parse_url, read_body, transport};
use crate::runtime::build::RuntimeError;
use crate::runtime::model::{
    BoxFuture, BranchFailure, BranchReply, BranchRequest, Reply, UntrustedRuntime,
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

impl HttpService {
    pub(crate) fn new(url: &str, broker_port: Option<u16>) -> Result<Self, RuntimeError> {
        let url = parse_url("runtime.url", url)?;
        Ok(Self {
            client: client(&url, None, broker_port)?,
            url,
        })
    }

    async fn ask(&self, request: &BranchRequest) -> Result<BranchReply, BranchFailure> {
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
        from_json::<Reply>(&body)?.judge(request.max_answer_bytes)
    }
}

impl UntrustedRuntime for HttpService {
    fn answer<'a>(
        &'a self,
        request: &'a BranchRequest,
    ) -> BoxFuture<'a, Result<BranchReply, BranchFailure>> {
        Box::pin(self.ask(request))
    }
}
