//! The ledger for many tasks at once: an async handle over the one writer.
//!
//! A clone is another handle to the same ledger. Disk work runs on the threads of tokio that may
//! block, so none of these calls stalls the reactor.

use std::sync::{Arc, Mutex, PoisonError};

use axiom_hive_core::record::{Commitment, Payload, Receipt, Record, Slot};
use axiom_hive_core::supervisor::Entry;
use axiom_hive_core::tlog::{Hash, Tile, VerifyingKey};

use super::engine::{Appended, Ledger};
use super::error::{LedgerError, Problem};
use super::log::OpenIntent;

/// One of many handles to one open ledger.
#[derive(Debug, Clone)]
pub struct Handle {
    ledger: Arc<Mutex<Ledger>>,
    key: Arc<VerifyingKey>,
}

impl Handle {
    /// Takes the writer. It is released, with its lock, when the last handle is dropped.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        let key = Arc::new(ledger.view().verifying_key().clone());
        Self {
            ledger: Arc::new(Mutex::new(ledger)),
            key,
        }
    }

    /// The verifier key of the log.
    #[must_use]
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.key
    }

    /// Appends one record with its payloads, as [`Ledger::append`] does.
    pub async fn append(
        &self,
        record: Record,
        payloads: Vec<Payload>,
    ) -> Result<Appended, LedgerError> {
        self.with(move |ledger| ledger.append(&record, &payloads))
            .await?
    }

    /// Appends several, in this order; each succeeds or fails on its own.
    pub async fn append_all(&self, entries: Vec<Entry>) -> Vec<Result<Appended, LedgerError>> {
        let number = entries.len();
        let append = move |ledger: &mut Ledger| {
            let one = |entry: &Entry| ledger.append(&entry.record, &entry.payloads);
            entries.iter().map(one).collect()
        };
        let lost = |error: LedgerError| {
            let why = error.to_string();
            let each = || Err(LedgerError::Poisoned(why.clone()));
            std::iter::repeat_with(each).take(number).collect()
        };
        self.with(append).await.unwrap_or_else(lost)
    }

    /// Records in the ledger.
    pub async fn size(&self) -> Result<u64, LedgerError> {
        self.with(|ledger| ledger.view().size()).await
    }

    /// Why nothing may be appended; empty for a ledger in order.
    pub async fn read_only(&self) -> Result<Vec<Problem>, LedgerError> {
        self.with(|ledger| ledger.read_only().to_vec()).await
    }

    /// The signed checkpoint of the whole ledger; `None` while it is empty.
    pub async fn checkpoint(&self) -> Result<Option<String>, LedgerError> {
        self.with(|ledger| ledger.view().checkpoint()).await
    }

    /// The index of the record that fills `slot`.
    pub async fn find(&self, slot: Slot) -> Result<Option<u64>, LedgerError> {
        self.with(move |ledger| ledger.find(&slot)).await
    }

    /// A record.
    pub async fn record(&self, index: u64) -> Result<Record, LedgerError> {
        self.with(move |ledger| ledger.record(index)).await?
    }

    /// A receipt for a record, under the checkpoint of the whole ledger.
    pub async fn receipt(&self, index: u64) -> Result<Receipt, LedgerError> {
        self.with(move |ledger| ledger.view().receipt(index))
            .await?
    }

    /// The indices of a task's records, ascending.
    pub async fn task(&self, uid: String) -> Result<Vec<u64>, LedgerError> {
        self.with(move |ledger| ledger.view().task(&uid)).await
    }

    /// The record whose append brought the payload with this address.
    pub async fn holder(&self, commitment: Commitment) -> Result<Option<u64>, LedgerError> {
        self.with(move |ledger| ledger.view().holder(&commitment))
            .await
    }

    /// The payload with this address; `None` when it was never kept, or is erased.
    pub async fn payload(&self, commitment: Commitment) -> Result<Option<Payload>, LedgerError> {
        self.with(move |ledger| ledger.payload(&commitment)).await?
    }

    /// The content of a tile or entry bundle; `None` when the tree does not reach that far.
    pub async fn tile(&self, tile: Tile) -> Result<Option<Vec<u8>>, LedgerError> {
        self.with(move |ledger| ledger.view().tile(tile)).await?
    }

    /// The proof that the tree of `old` entries is a prefix of that of `new`; `None` unless
    /// `1 ≤ old ≤ new ≤ size`.
    pub async fn consistency(&self, old: u64, new: u64) -> Result<Option<Vec<Hash>>, LedgerError> {
        self.with(move |ledger| ledger.view().consistency(old, new))
            .await
    }

    /// Tasks with an intent and without a terminal record.
    pub async fn open_intents(&self) -> Result<Vec<OpenIntent>, LedgerError> {
        self.with(|ledger| ledger.open_intents()).await
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Ledger) -> T + Send + 'static,
    ) -> Result<T, LedgerError> {
        let ledger = Arc::clone(&self.ledger);
        let done = tokio::task::spawn_blocking(move || {
            // A writer that panicked half-way is in no known state.
            let why = |_: PoisonError<_>| LedgerError::Poisoned("the writer panicked".to_owned());
            let mut ledger = ledger.lock().map_err(why)?;
            Ok(work(&mut ledger))
        });
        done.await
            .unwrap_or_else(|error| Err(LedgerError::Poisoned(error.to_string())))
    }
}
