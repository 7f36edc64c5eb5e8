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
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Method, RequestBuilder, Response};
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

/// What one request came to.
enum Answer {
    Here(Response),
    /// Not there, which is an answer.
    Nothing,
    /// Perhaps later, and not before this pause if the service said so.
    Later(String, Option<Duration>),
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
        let reply: AppendReply = self
            .json(Method::POST, RECORDS_PATH, Some(body), deadline)
            .await?
            .ok_or_else(|| ClientError::Malformed("404 for an append".to_owned()))?;
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
            let page: Option<TaskReply> = self.json(Method::GET, &path, None, deadline).await?;
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
        let stored: Option<StoredRecord> = self.json(Method::GET, &path, None, deadline).await?;
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
        let path = payload_path(commitment);
        let Some(mut response) = self.answer(Method::GET, &path, None, deadline).await? else {
            return Ok(None);
        };
        let file = read(&mut response, MAX_FILE_BYTES, deadline).await?;
        let payload = Payload::decode(&file);
        let payload = payload.map_err(|error| ClientError::Malformed(error.to_string()))?;
        if payload.commitment() == *commitment {
            Ok(Some(payload))
        } else {
            Err(ClientError::Other("the payload with the address that was asked for"))
        }
    }

    fn verify(&self, stored: &StoredRecord) -> Result<Proven, ClientError> {
        let (receipt, verified) = stored.verify(&self.endpoint.key)?;
        Ok(Proven { verified, receipt })
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        deadline: Instant,
    ) -> Result<Option<T>, ClientError> {
        let Some(mut response) = self.answer(method, path, body, deadline).await? else {
            return Ok(None);
        };
        let body = read(&mut response, MAX_REPLY_BYTES, deadline).await?;
        let reply = serde_json::from_slice(&body);
        reply.map_err(|error| ClientError::Malformed(error.to_string()))
    }

    /// Asks until there is an answer that counts. `None`: it is not there, or no longer.
    async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        deadline: Instant,
    ) -> Result<Option<Response>, ClientError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let request = self.request(method.clone(), path, body.clone()).await?;
            let asked = timeout_at(deadline, ask(request)).await;
            let (why, at_least) = match asked {
                Ok(answer) => match answer? {
                    Answer::Here(response) => return Ok(Some(response)),
                    Answer::Nothing => return Ok(None),
                    Answer::Later(why, pause) => (why, pause.unwrap_or_default()),
                },
                Err(_) => return Err(ClientError::Deadline("it did not answer".to_owned())),
            };
            tracing::info!(why, path, "the ledger is asked again");
            let next = Instant::now() + pause.max(at_least).min(LONGEST_PAUSE);
            if next >= deadline {
                return Err(ClientError::Deadline(why));
            }
            sleep_until(next).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<RequestBuilder, ClientError> {
        let url = format!("{}{path}", self.endpoint.url.trim_end_matches('/'));
        let mut request = self.http.request(method, url).timeout(REQUEST_TIMEOUT);
        if let Credential::Token(path) = &self.endpoint.credential {
            let token = tokio::fs::read_to_string(path).await;
            let token = token.map_err(|source| ClientError::Token {
                path: path.clone(),
                source,
            })?;
            request = request.bearer_auth(token.trim());
        }
        Ok(match body {
            Some(body) => request.header("content-type", "application/json").body(body),
            None => request,
        })
    }
}

async fn ask(request: RequestBuilder) -> Result<Answer, ClientError> {
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_builder() => return Err(ClientError::Malformed(cause(&error))),
        Err(error) => return Ok(Answer::Later(cause(&error), None)),
    };
    let status = response.status();
    if status.is_success() {
        return Ok(Answer::Here(response));
    }
    let retry = response.headers().get(RETRY_AFTER);
    let retry = retry.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    let body = read(&mut response, MAX_REPLY_BYTES, deadline).await?;
    let Ok(ErrorBody { code, message }) = serde_json::from_slice(&body) else {
        // Something in between, such as a proxy without a backend.
        let why = format!("status {status}");
        return if status.is_server_error() {
            Ok(Answer::Later(why, None))
        } else {
            Err(ClientError::Malformed(why))
        };
    };
    match code {
        ErrorCode::NotFound | ErrorCode::Gone => Ok(Answer::Nothing),
        _ if code.is_transient() => Ok(Answer::Later(message, retry.map(Duration::from_secs))),
        _ => Err(ClientError::Refused { code, message }),
    }
}

async fn read(
    response: &mut Response,
    max_bytes: usize,
    deadline: Instant,
) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    loop {
        let chunk = timeout_at(deadline, response.chunk()).await;
        let chunk = chunk.map_err(|_| ClientError::Deadline("its reply broke off".to_owned()))?;
        let chunk = chunk.map_err(|error| ClientError::Deadline(cause(&error)))?;
        let Some(chunk) = chunk else {
            return Ok(body);
        };
        if body.len() + chunk.len() > max_bytes {
            let must = format!("a reply must be at most {max_bytes} bytes");
            return Err(ClientError::Malformed(must));
        }
        body.extend_from_slice(&chunk);
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
