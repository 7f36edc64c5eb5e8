//! A client of the ledger service: appends until they are acknowledged, believes nothing that does not
//! verify.
//!
//! Every call ends by its deadline. What may succeed later (the service cannot be reached, 429, 500,
//! 503) is sent again with a growing pause; an append that was sent twice is one record, because its
//! slot is its idempotency key.

use std::path::PathBuf;
use std::time::Duration;

use axiom_hive_core::record::{
    Commitment, MAX_PAYLOAD_BYTES, Payload, Receipt, Record, VerifiedReceipt,
};
use axiom_hive_core::supervisor::Entry;
use axiom_hive_core::tlog::VerifyingKey;
use axiom_hive_core::wire::{
    AppendEntry, AppendReply, AppendRequest, ErrorBody, ErrorCode, RECORDS_PATH, StoredRecord,
    StoredRecordError, TaskReply, constitution_path, payload_path, task_path,
};
use hyper::body::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, RequestBuilder};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::ledger::Appended;
use crate::tls::{ClientFiles, TlsError, http_client};

/// The first pause before a request is sent again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause, also when the service asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Upper bound of a reply, in bytes: 100 records with their receipts.
const MAX_REPLY_BYTES: usize = 16 * 1024 * 1024;
/// Upper bound of a payload's file: the bytes, and what stands before them.
const MAX_FILE_BYTES: usize = MAX_PAYLOAD_BYTES + 1024;

/// What a client shows of itself.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A file with a bearer token, read for each request: it is replaced before it ends.
    Token(PathBuf),
    /// A client certificate.
    Certificate(ClientFiles),
}

/// Where a ledger service is, and how it is known.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// `https://host:port`.
    pub url: String,
    /// The authorities of its certificate, as PEM.
    pub ca: String,
    /// The verifier key of its log.
    pub key: VerifyingKey,
    /// What is shown to it.
    pub credential: Credential,
}

/// A ledger service as its client sees it.
#[derive(Debug, Clone)]
pub struct LedgerClient {
    http: Client,
    endpoint: Endpoint,
}

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client cannot be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The token cannot be read.
    #[error("{path}: {source}")]
    Token {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No answer that counts came before the deadline.
    #[error("the ledger must answer before the deadline: {0}")]
    Deadline(String),
    /// The service refuses.
    #[error("the ledger refuses ({code:?}): {message}")]
    Refused {
        /// For programs.
        code: ErrorCode,
        /// In its own words.
        message: String,
    },
    /// The service does not keep to its interface.
    #[error("the ledger's reply must be as documented: {0}")]
    Malformed(String),
    /// A record or receipt that does not verify.
    #[error("the ledger's reply does not verify: {0}")]
    Unverified(#[from] StoredRecordError),
    /// A receipt for something else.
    #[error("the ledger must prove {0}")]
    Other(&'static str),
}

/// A record of the ledger, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Record, number and tree.
    pub verified: VerifiedReceipt,
    /// The receipt that proves them.
    pub receipt: Receipt,
}

impl LedgerClient {
    /// A client that has not asked anything yet.
    pub fn new(endpoint: Endpoint) -> Result<Self, ClientError> {
        let own = match &endpoint.credential {
            Credential::Token(_) => None,
            Credential::Certificate(files) => Some(files),
        };
        Ok(Self {
            http: http_client(endpoint.ca.as_bytes(), own)?,
            endpoint,
        })
    }

    /// Appends, and verifies the receipt: it is for this very record, or with `existing` for the one
    /// that fills its slot.
    pub async fn append(&self, entry: &Entry, deadline: Instant) -> Result<Appended, ClientError> {
        let request = AppendRequest {
            entries: vec![AppendEntry {
                record: entry.record.clone(),
                payloads: entry.payloads.clone(),
            }],
        };
        let body = serde_json::to_vec(&request);
        let body = body.map_err(|error| ClientError::Malformed(error.to_string()))?;
        let ask = Ask {
            body: Some(body.into()),
            ..Ask::get(RECORDS_PATH.to_owned(), MAX_REPLY_BYTES)
        };
        let reply: Option<AppendReply> = self.json(ask, deadline).await?;
        let reply = reply.ok_or_else(|| ClientError::Malformed("404 for an append".to_owned()))?;
        let [result] = <[_; 1]>::try_from(reply.results)
            .map_err(|_| ClientError::Malformed("one result for one entry".to_owned()))?;
        let Proven { verified, receipt } = self.verify(&result.stored)?;
        if result.existing {
            if verified.record.slot() != entry.record.slot() {
                return Err(ClientError::Other("the record that fills the same slot"));
            }
        } else if verified.record != entry.record {
            return Err(ClientError::Other("the record that was appended"));
        }
        Ok(Appended {
            index: verified.index,
            record: verified.record,
            receipt,
            existing: result.existing,
        })
    }

    /// Every record of a task, verified, by index.
    pub async fn task(&self, uid: &str, deadline: Instant) -> Result<Vec<Proven>, ClientError> {
        let mut records = Vec::new();
        let mut from = Some(0);
        while let Some(start) = from {
            let path = format!("{}?from={start}", task_path(uid));
            let page: Option<TaskReply> =
                self.json(Ask::get(path, MAX_REPLY_BYTES), deadline).await?;
            let page = page.ok_or_else(|| ClientError::Malformed("404 for a task".to_owned()))?;
            if page.next.is_some_and(|next| next <= start) {
                return Err(ClientError::Malformed("pages that go on".to_owned()));
            }
            for stored in &page.records {
                let proven = self.verify(stored)?;
                if proven.verified.record.task().map(|task| task.uid.as_str()) != Some(uid) {
                    return Err(ClientError::Other("records of the task that was asked for"));
                }
                records.push(proven);
            }
            from = page.next;
        }
        Ok(records)
    }

    /// The record of a constitution's first use, verified; `None` when there is none.
    pub async fn constitution(
        &self,
        name: &str,
        version: &str,
        deadline: Instant,
    ) -> Result<Option<Record>, ClientError> {
        let path = constitution_path(name, version);
        let stored: Option<StoredRecord> =
            self.json(Ask::get(path, MAX_REPLY_BYTES), deadline).await?;
        stored
            .map(|stored| Ok(self.verify(&stored)?.verified.record))
            .transpose()
    }

    /// A payload, which is what its address says; `None` when it is not kept, or not for this client.
    pub async fn payload(
        &self,
        commitment: &Commitment,
        deadline: Instant,
    ) -> Result<Option<Payload>, ClientError> {
        let ask = Ask::get(payload_path(commitment), MAX_FILE_BYTES);
        let Some(file) = self.answer(&ask, deadline).await? else {
            return Ok(None);
        };
        let payload = Payload::decode(&file);
        let payload = payload.map_err(|error| ClientError::Malformed(error.to_string()))?;
        if payload.commitment() == *commitment {
            Ok(Some(payload))
        } else {
            Err(ClientError::Other(
                "the payload with the address that was asked for",
            ))
        }
    }

    fn verify(&self, stored: &StoredRecord) -> Result<Proven, ClientError> {
        let (receipt, verified) = stored.verify(&self.endpoint.key)?;
        Ok(Proven { verified, receipt })
    }

    async fn json<T: DeserializeOwned>(
        &self,
        ask: Ask,
        deadline: Instant,
    ) -> Result<Option<T>, ClientError> {
        let Some(body) = self.answer(&ask, deadline).await? else {
            return Ok(None);
        };
        let reply = serde_json::from_slice(&body);
        reply.map_err(|error| ClientError::Malformed(error.to_string()))
    }

    /// Asks until there is an answer that counts. `None`: it is not there, or no longer.
    async fn answer(&self, ask: &Ask, deadline: Instant) -> Result<Option<Vec<u8>>, ClientError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let request = self.request(ask).await?;
            let answer = timeout_at(deadline, send(request, ask.max_reply_bytes)).await;
            let answer = answer.map_err(|_| ClientError::Deadline("no reply".to_owned()))??;
            let (why, at_least) = match answer {
                Answer::Here(body) => return Ok(Some(body)),
                Answer::Nothing => return Ok(None),
                Answer::Later(why, at_least) => (why, at_least),
            };
            tracing::info!(why, path = ask.path, "the ledger is asked again");
            let next = Instant::now() + pause.max(at_least).min(LONGEST_PAUSE);
            if next >= deadline {
                return Err(ClientError::Deadline(why));
            }
            sleep_until(next).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
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

/// One question, as often as it is asked.
struct Ask {
    path: String,
    /// For an append.
    body: Option<Bytes>,
    max_reply_bytes: usize,
}

impl Ask {
    fn get(path: String, max_reply_bytes: usize) -> Self {
        Self {
            path,
            body: None,
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
    let pause = Duration::from_secs(retry.unwrap_or(0));
    match serde_json::from_slice(&body) {
        Ok(ErrorBody { code, message }) => match code {
            ErrorCode::NotFound | ErrorCode::Gone => Ok(Answer::Nothing),
            _ if code.is_transient() => Ok(Answer::Later(message, pause)),
            _ => Err(ClientError::Refused { code, message }),
        },
        // Something in between, such as a proxy without a backend.
        Err(_) if status.is_server_error() => Ok(Answer::Later(format!("status {status}"), pause)),
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
