//! A client of the ledger service: appends until they are acknowledged, believes nothing that does not
//! verify.
//!
//! Every call ends by its deadline. What may succeed later (the service cannot be reached, 429, 500,
//! 503) is sent again after a growing pause, and not before the time that the service asks for
//! (`Retry-After`); an append that was sent twice is one record, because its slot is its idempotency
//! key. What the service refuses is not repeated.

use std::path::PathBuf;

use axiom_hive_core::record::{
    Commitment, MAX_ATTEMPT, MAX_PAYLOAD_BYTES, Payload, Receipt, VerifiedReceipt,
};
use axiom_hive_core::supervisor::Entry;
use axiom_hive_core::tlog::{Checkpoint, VerifyingKey, verify_consistency};
use axiom_hive_core::wire::{
    AppendEntry, AppendReply, AppendRequest, CHECKPOINT_PATH, ConsistencyReply, MAX_REPLY_INTENTS,
    OpenIntentsReply, RECORDS_PATH, StoredRecord, TaskReply, consistency_path, constitution_path,
    open_intents_path, payload_path, task_path,
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::tls::ClientFiles;
use crate::transport::{Ask, Transport};

pub use crate::error::ClientError;

/// Upper bound of a reply, in bytes: 100 records with their receipts.
const MAX_REPLY_BYTES: usize = 16 * 1024 * 1024;
/// Upper bound of a payload's file: the bytes, and what stands before them.
const MAX_FILE_BYTES: usize = MAX_PAYLOAD_BYTES + 1024;
/// Upper bound of a checkpoint with its signatures, in bytes.
const MAX_CHECKPOINT_BYTES: usize = 64 * 1024;
/// An intent and an end for each attempt, and the end of the task.
const MAX_TASK_RECORDS: usize = (MAX_ATTEMPT as usize + 1) * 2 + 1;

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

/// A ledger service as its client sees it. Clones share their connections.
#[derive(Debug, Clone)]
pub struct LedgerClient(Transport);

/// A record of the ledger, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Record, number and tree.
    pub verified: VerifiedReceipt,
    /// The receipt that proves them.
    pub receipt: Receipt,
}

/// What an append gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The record that fills the slot: the caller's own, or with `existing` the stored one.
    pub proven: Proven,
    /// Whether the slot was already filled. The caller then discards its own record and text.
    pub existing: bool,
}

/// A head of the ledger, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The signed note, to be kept off the ledger's volume.
    pub note: String,
}

impl LedgerClient {
    /// A client that has not asked anything yet.
    pub fn new(endpoint: Endpoint) -> Result<Self, ClientError> {
        Transport::new(endpoint).map(Self)
    }

    /// The verifier key of the ledger.
    #[must_use]
    pub fn key(&self) -> &VerifyingKey {
        &self.0.endpoint().key
    }

    /// Appends, and verifies the receipt: it is for this very record, or with `existing` for the one
    /// that fills its slot. `docs/LEDGER-API.md` says who may append which kind.
    pub async fn append(&self, entry: &Entry, deadline: Instant) -> Result<Appended, ClientError> {
        let request = AppendRequest {
            entries: vec![AppendEntry {
                record: entry.record.clone(),
                payloads: entry.payloads.clone(),
            }],
        };
        let body = serde_json::to_vec(&request);
        let body = body.map_err(|error| ClientError::Malformed(error.to_string()))?;
        let ask = Ask::post(RECORDS_PATH, body, MAX_REPLY_BYTES);
        let reply: AppendReply = self.there(ask, deadline).await?;
        let [result] = <[_; 1]>::try_from(reply.results)
            .map_err(|_| ClientError::Malformed("one result for one entry".to_owned()))?;
        let proven = self.verify(&result.stored)?;
        let record = &proven.verified.record;
        if result.existing {
            if record.slot() != entry.record.slot() {
                return Err(ClientError::Other("the record that fills the same slot"));
            }
        } else if *record != entry.record {
            return Err(ClientError::Other("the record that was appended"));
        }
        Ok(Appended {
            proven,
            existing: result.existing,
        })
    }

    /// Every record of a task, verified, by index; none for a task that the ledger does not know.
    pub async fn task(&self, uid: &str, deadline: Instant) -> Result<Vec<Proven>, ClientError> {
        let mut records = Vec::new();
        let mut from = Some(0);
        while let Some(start) = from {
            let path = format!("{}?from={start}", task_path(uid));
            let page: TaskReply = self
                .there(Ask::get(path, MAX_REPLY_BYTES), deadline)
                .await?;
            goes_on(start, page.next)?;
            for stored in &page.records {
                let proven = self.verify(stored)?;
                if proven.verified.record.task().map(|task| task.uid.as_str()) != Some(uid) {
                    return Err(ClientError::Other("records of the task that was asked for"));
                }
                records.push(proven);
            }
            if records.len() > MAX_TASK_RECORDS {
                let must = format!("a task must have at most {MAX_TASK_RECORDS} records");
                return Err(ClientError::Malformed(must));
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
    ) -> Result<Option<Proven>, ClientError> {
        let path = constitution_path(name, version);
        let stored: Option<StoredRecord> =
            self.json(Ask::get(path, MAX_REPLY_BYTES), deadline).await?;
        stored.map(|stored| self.verify(&stored)).transpose()
    }

    /// A payload, which is what its address says; `None` when it is not kept, or not for this client.
    pub async fn payload(
        &self,
        commitment: &Commitment,
        deadline: Instant,
    ) -> Result<Option<Payload>, ClientError> {
        let ask = Ask::get(payload_path(commitment), MAX_FILE_BYTES);
        let Some(file) = self.0.answer(&ask, deadline).await? else {
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

    /// One page of the tasks that have an intent and no end, from this index on: for the operator's
    /// sweep, which begins at 0 and goes on at `next`. Not proven: whoever closes one reads
    /// [`LedgerClient::task`] first.
    pub async fn open_intents(
        &self,
        from: u64,
        deadline: Instant,
    ) -> Result<OpenIntentsReply, ClientError> {
        let ask = Ask::get(open_intents_path(from), MAX_REPLY_BYTES);
        let page: OpenIntentsReply = self.there(ask, deadline).await?;
        goes_on(from, page.next)?;
        if page.intents.len() > MAX_REPLY_INTENTS {
            let must = format!("a page must have at most {MAX_REPLY_INTENTS} intents");
            return Err(ClientError::Malformed(must));
        }
        Ok(page)
    }

    /// The ledger's head, verified, and proven to continue `known`; `None` while it is empty.
    pub async fn head(
        &self,
        known: Option<&Checkpoint>,
        deadline: Instant,
    ) -> Result<Option<Head>, ClientError> {
        let ask = Ask::get(CHECKPOINT_PATH.to_owned(), MAX_CHECKPOINT_BYTES);
        let Some(note) = self.0.answer(&ask, deadline).await? else {
            return match known {
                None => Ok(None),
                Some(_) => Err(ClientError::Other("a head that continues the known one")),
            };
        };
        let note = String::from_utf8(note);
        let note = note.map_err(|error| ClientError::Malformed(error.to_string()))?;
        let checkpoint = Checkpoint::open(&note, self.key())?;
        if let Some(known) = known {
            self.continues(known, &checkpoint, deadline).await?;
        }
        Ok(Some(Head { checkpoint, note }))
    }

    async fn continues(
        &self,
        known: &Checkpoint,
        now: &Checkpoint,
        deadline: Instant,
    ) -> Result<(), ClientError> {
        let hashes = if known.size < now.size {
            let ask = Ask::get(consistency_path(known.size, now.size), MAX_REPLY_BYTES);
            let reply: ConsistencyReply = self.there(ask, deadline).await?;
            reply.hashes
        } else {
            Vec::new()
        };
        verify_consistency(known.size, now.size, &known.root, &now.root, &hashes).map_err(|why| {
            ClientError::Forked {
                before: known.size,
                now: now.size,
                why,
            }
        })
    }

    fn verify(&self, stored: &StoredRecord) -> Result<Proven, ClientError> {
        let (receipt, verified) = stored.verify(self.key())?;
        Ok(Proven { verified, receipt })
    }

    /// What is always there, if only empty.
    async fn there<T: DeserializeOwned>(
        &self,
        ask: Ask,
        deadline: Instant,
    ) -> Result<T, ClientError> {
        let reply = self.json(ask, deadline).await?;
        reply.ok_or_else(|| ClientError::Malformed("404 for what is always there".to_owned()))
    }

    async fn json<T: DeserializeOwned>(
        &self,
        ask: Ask,
        deadline: Instant,
    ) -> Result<Option<T>, ClientError> {
        let Some(body) = self.0.answer(&ask, deadline).await? else {
            return Ok(None);
        };
        let reply = serde_json::from_slice(&body);
        reply.map_err(|error| ClientError::Malformed(error.to_string()))
    }
}

/// Pages that did not go on would never end.
fn goes_on(from: u64, next: Option<u64>) -> Result<(), ClientError> {
    if next.is_some_and(|next| next <= from) {
        return Err(ClientError::Malformed("pages must go on".to_owned()));
    }
    Ok(())
}
