//! Kind `openai`: an OpenAI-compatible chat-completions endpoint.
//!
//! One separate request per branch, `POST BASE/chat/completions`, not streamed, `n` left at 1: the
//! order of a server's choices never decides a vote. `seed` is the branch's seed modulo 2^31, since
//! common servers keep 32 bits and take all ones for "random".
//!
//! 429 and 5xx are tried again, at most [`MAX_TRIES`] times, after what `retry-after-ms` or
//! `Retry-After` (RFC 9110, in seconds) asks for, else after 0.25 s, doubled each time. A wait that
//! would pass the branch's deadline is not begun: the status is the result.

use std::time::Duration;

use axiom_hive_core::record::BranchError;
use axiom_hive_core::task::RuntimeSpec;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{ApiKey, client, error_status, from_json, parse_url, read_body, transport};
use crate::runtime::build::RuntimeError;
use crate::runtime::model::{
    BoxFuture, BranchFailure, BranchReply, BranchRequest, UntrustedRuntime, accept, reported_usage,
};

/// Requests for one branch, the first included.
const MAX_TRIES: u32 = 4;
/// The wait before the second try, if the server names none.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Seeds are sent modulo this.
const SEED_MODULUS: u64 = 1 << 31;

/// An OpenAI-compatible endpoint.
pub(crate) struct OpenAi {
    client: Client,
    url: Url,
    key: Option<ApiKey>,
    authorization: Option<HeaderValue>,
    model: String,
    system: Option<String>,
    temperature_thousandths: Option<u32>,
    max_tokens: Option<u32>,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    seed: u64,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Deserialize)]
struct Reply {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Said,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl OpenAi {
    /// `spec` must be of kind `openai`.
    pub(crate) fn new(
        spec: &RuntimeSpec,
        key: Option<ApiKey>,
        broker_port: Option<u16>,
    ) -> Result<Self, RuntimeError> {
        let invalid = |what: &str, must: &str| RuntimeError::Invalid {
            what: what.to_owned(),
            must: must.to_owned(),
        };
        let RuntimeSpec::OpenAi {
            base_url,
            model,
            system,
            temperature_thousandths,
            max_tokens,
            ca_bundle,
            api_key_secret: _,
        } = spec
        else {
            return Err(invalid("runtime.kind", "must be openai"));
        };
        if model.is_empty() || model.len() > 256 {
            return Err(invalid("runtime.model", "must be 1 to 256 bytes"));
        }
        if system.as_ref().is_some_and(|text| text.len() > 65_536) {
            return Err(invalid("runtime.system", "must be at most 65536 bytes"));
        }
        if temperature_thousandths.is_some_and(|value| value > 2000) {
            return Err(invalid(
                "runtime.temperatureThousandths",
                "must be at most 2000",
            ));
        }
        if max_tokens.is_some_and(|value| !(1..=131_072).contains(&value)) {
            return Err(invalid("runtime.maxTokens", "must be 1 to 131072"));
        }
        let base = base_url.trim_end_matches('/');
        let url = parse_url("runtime.baseUrl", &format!("{base}/chat/completions"))?;
        let authorization = key.as_ref().map(ApiKey::header).transpose();
        Ok(Self {
            client: client(&url, ca_bundle.as_deref(), broker_port)?,
            url,
            authorization: authorization
                .map_err(|_| invalid("API key", "must be visible ASCII characters"))?,
            key,
            model: model.clone(),
            system: system.clone(),
            temperature_thousandths: *temperature_thousandths,
            max_tokens: *max_tokens,
        })
    }

    async fn complete(&self, request: &BranchRequest) -> Result<BranchReply, BranchFailure> {
        let response = self.ask(request).await?;
        let body = read_body(response, request.max_answer_bytes).await?;
        let reply: Reply = from_json(&body)?;
        let usage = reply
            .usage
            .map(|usage| reported_usage(usage.prompt_tokens, usage.completion_tokens));
        let Some(choice) = reply.choices.into_iter().next() else {
            return Err(BranchFailure::new(
                BranchError::Malformed,
                "choices must not be empty",
            ));
        };
        if choice.finish_reason.as_deref() == Some("content_filter") {
            let detail = "the endpoint stopped the answer by its own content filter";
            return Err(BranchFailure::new(BranchError::Reported, detail));
        }
        match (choice.message.content, choice.message.refusal) {
            (Some(text), _) => Ok(BranchReply {
                text: accept(text, request.max_answer_bytes)?,
                usage,
            }),
            (None, Some(refusal)) => Err(BranchFailure::new(BranchError::Reported, refusal)),
            (None, None) => {
                let detail = "message.content must be a text";
                Err(BranchFailure::new(BranchError::Malformed, detail))
            }
        }
    }

    /// A response of status 200 to 299.
    async fn ask(&self, request: &BranchRequest) -> Result<Response, BranchFailure> {
        let ends = Instant::now() + request.deadline;
        let mut wait = FIRST_WAIT;
        let mut tries = 1;
        loop {
            let response = self.send(request).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let pause = asked_pause(response.headers()).unwrap_or(wait);
            let may_help = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
            let in_time = Instant::now()
                .checked_add(pause)
                .is_some_and(|then| then < ends);
            if !may_help || !in_time || tries == MAX_TRIES {
                return Err(error_status(status, response).await);
            }
            drop(response);
            tokio::time::sleep(pause).await;
            wait *= 2;
            tries += 1;
        }
    }

    async fn send(&self, request: &BranchRequest) -> Result<Response, BranchFailure> {
        let system = self.system.as_deref().map(|content| Message {
            role: "system",
            content,
        });
        let user = Message {
            role: "user",
            content: &request.prompt,
        };
        let body = Request {
            model: &self.model,
            messages: system.into_iter().chain([user]).collect(),
            seed: request.seed % SEED_MODULUS,
            stream: false,
            temperature: self.temperature_thousandths.map(|t| f64::from(t) / 1000.0),
            max_tokens: self.max_tokens,
        };
        let mut call = self.client.post(self.url.clone()).json(&body);
        if let Some(authorization) = &self.authorization {
            call = call.header(AUTHORIZATION, authorization.clone());
        }
        call.send().await.map_err(|e| transport(&e))
    }

    /// A server may repeat the key in what it says.
    fn without_key(&self, failure: BranchFailure) -> BranchFailure {
        match &self.key {
            Some(key) => BranchFailure::new(failure.kind, key.redact(&failure.detail)),
            None => failure,
        }
    }
}

/// What the server asks for before the next try.
fn asked_pause(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    number("retry-after-ms")
        .map(Duration::from_millis)
        .or_else(|| number(RETRY_AFTER.as_str()).map(Duration::from_secs))
}

impl UntrustedRuntime for OpenAi {
    fn answer<'a>(
        &'a self,
        request: &'a BranchRequest,
    ) -> BoxFuture<'a, Result<BranchReply, BranchFailure>> {
        Box::pin(async {
            let completed = self.complete(request).await;
            completed.map_err(|failure| self.without_key(failure))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pauses_are_read_in_both_forms() {
        let pause = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            asked_pause(&headers)
        };
        assert_eq!(pause("retry-after", "2").unwrap(), Duration::from_secs(2));
        assert_eq!(
            pause("retry-after-ms", "7").unwrap(),
            Duration::from_millis(7)
        );
        assert_eq!(pause("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(pause("retry-after", "-1"), None);
    }
}
