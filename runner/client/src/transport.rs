//! One question, asked until there is an answer that counts.

use std::time::Duration;

use axiom_hive_core::wire::{ErrorBody, ErrorCode};
use hyper::body::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, RequestBuilder};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::error::ClientError;
use crate::ledger::{Credential, Endpoint};
use crate::tls::http_client;

/// The first pause before a request is sent again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause that nobody asked for.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause that the service may ask for (`Retry-After`).
const LONGEST_ASKED_PAUSE: Duration = Duration::from_secs(30);
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A service that is asked over HTTPS.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    http: Client,
    endpoint: Endpoint,
}

/// One question, as often as it is asked.
pub(crate) struct Ask {
    path: String,
    /// For an append.
    body: Option<Bytes>,
    max_reply_bytes: usize,
}

impl Ask {
    pub(crate) fn get(path: String, max_reply_bytes: usize) -> Self {
        Self {
            path,
            body: None,
            max_reply_bytes,
        }
    }

    pub(crate) fn post(path: &str, body: Vec<u8>, max_reply_bytes: usize) -> Self {
        Self {
            path: path.to_owned(),
            body: Some(body.into()),
            max_reply_bytes,
        }
    }
}

/// What one request came to.
enum Answer {
    Here(Vec<u8>),
    /// Not there, which is an answer.
    Nothing,
    /// Perhaps later, and not before this pause.
    Later(String, Duration),
}

impl Transport {
    pub(crate) fn new(endpoint: Endpoint) -> Result<Self, ClientError> {
        let own = match &endpoint.credential {
            Credential::Token(_) => None,
            Credential::Certificate(files) => Some(files),
        };
        Ok(Self {
            http: http_client(endpoint.ca.as_bytes(), own)?,
            endpoint,
        })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Asks until there is an answer that counts. `None`: it is not there, or no longer.
    pub(crate) async fn answer(
        &self,
        ask: &Ask,
        deadline: Instant,
    ) -> Result<Option<Vec<u8>>, ClientError> {
        let mut own = FIRST_PAUSE;
        loop {
            let request = self.request(ask).await?;
            let answer = timeout_at(deadline, send(request, ask.max_reply_bytes)).await;
            let answer = answer.map_err(|_| ClientError::Deadline("no reply".to_owned()))??;
            let (why, asked) = match answer {
                Answer::Here(body) => return Ok(Some(body)),
                Answer::Nothing => return Ok(None),
                Answer::Later(why, asked) => (why, asked),
            };
            tracing::info!(why, path = ask.path, "the ledger is asked again");
            let next = Instant::now() + pause(own, asked);
            // What cannot be in time is not begun.
            if next >= deadline {
                return Err(ClientError::Deadline(why));
            }
            sleep_until(next).await;
            own = (own * 2).min(LONGEST_PAUSE);
        }
    }

    async fn request(&self, ask: &Ask) -> Result<RequestBuilder, ClientError> {
        let url = format!("{}{}", self.endpoint.url.trim_end_matches('/'), ask.path);
        let mut request = match &ask.body {
            None => self.http.get(url),
            Some(body) => {
                let request = self.http.post(url).body(body.clone());
                request.header(CONTENT_TYPE, "application/json")
            }
        };
        request = request.timeout(REQUEST_TIMEOUT);
        if let Credential::Token(path) = &self.endpoint.credential {
            let token = tokio::fs::read_to_string(path).await;
            let token = token.map_err(|source| ClientError::Token {
                path: path.clone(),
                source,
            })?;
            request = request.bearer_auth(token.trim());
        }
        Ok(request)
    }
}

/// At least what was asked for, within its bound.
fn pause(own: Duration, asked: Duration) -> Duration {
    own.max(asked.min(LONGEST_ASKED_PAUSE))
}

async fn send(request: RequestBuilder, max_reply_bytes: usize) -> Result<Answer, ClientError> {
    let later = |error: &reqwest::Error| Ok(Answer::Later(cause(error), Duration::ZERO));
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_builder() => return Err(ClientError::Malformed(cause(&error))),
        Err(error) => return later(&error),
    };
    let status = response.status();
    let retry = response.headers().get(RETRY_AFTER);
    let retry = retry.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            // A reply that breaks off is no reply: the append is idempotent.
            Err(error) => return later(&error),
            Ok(None) => break,
            Ok(Some(chunk)) if body.len() + chunk.len() > max_reply_bytes => {
                let must = format!("a reply must be at most {max_reply_bytes} bytes");
                return Err(ClientError::Malformed(must));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
        }
    }
    if status.is_success() {
        return Ok(Answer::Here(body));
    }
    let asked = Duration::from_secs(retry.unwrap_or(0));
    match serde_json::from_slice(&body) {
        Ok(ErrorBody { code, message }) => match code {
            ErrorCode::NotFound | ErrorCode::Gone => Ok(Answer::Nothing),
            _ if code.is_transient() => Ok(Answer::Later(message, asked)),
            _ => Err(ClientError::Refused { code, message }),
        },
        // Something in between, such as a proxy without a backend.
        Err(_) if status.is_server_error() => Ok(Answer::Later(format!("status {status}"), asked)),
        Err(_) => Err(ClientError::Malformed(format!("status {status}"))),
    }
}

/// An error with what lies beneath it.
fn cause(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut beneath = std::error::Error::source(error);
    while let Some(error) = beneath {
        text = format!("{text}: {error}");
        beneath = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_waited_within_its_bound() {
        let pause = |own, asked| pause(Duration::from_secs(own), Duration::from_secs(asked));
        assert_eq!(pause(1, 0), Duration::from_secs(1));
        assert_eq!(pause(1, 7), Duration::from_secs(7));
        assert_eq!(pause(5, 2), Duration::from_secs(5));
        assert_eq!(pause(1, u64::MAX), LONGEST_ASKED_PAUSE);
    }
}
