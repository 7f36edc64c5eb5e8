//! The ledger for many tasks at once: one thread that writes, and handles to it.
//!
//! What queues while one group is being synced becomes the next group. A lone caller therefore
//! waits for nobody, and many callers share one sync. Records are encoded and hashed on the way
//! into the queue and receipts are made on the way out, by the callers; the writer only sorts out
//! slots, writes, syncs and signs. Tiles are written by a second thread, after the replies.
//!
//! Readers never wait for the disk of the writer: they see the ledger as of the last group.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use axiom_hive_core::record::{Commitment, Payload, Receipt, Record, Slot};
use axiom_hive_core::supervisor::Entry;
use axiom_hive_core::tlog::{Hash, Tile, VerifyingKey};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::engine::{Appended, Ledger, Settled, State};
use super::error::{LedgerError, Problem};
use super::frame::MAX_GROUP_FRAMES;
use super::group::{MAX_GROUP_BYTES, Prepared};
use super::log::OpenIntent;
use super::reader::LedgerReader;
use super::tiles;

/// Records that may wait for the writer, those that it is writing included.
pub const MAX_QUEUED_ENTRIES: usize = 16_384;
/// Bytes that may wait for the writer, payloads included: 128 MiB.
pub const MAX_QUEUED_BYTES: usize = 128 * 1024 * 1024;
/// The queue counts bytes in pieces of this length.
const PIECE_BYTES: usize = 1024;
/// An append of more payload bytes is hashed on a thread that may be kept busy: 64 KiB.
const INLINE_BYTES: usize = 64 * 1024;

/// One of many handles to one open ledger.
#[derive(Debug, Clone)]
pub struct Handle {
    view: LedgerReader,
    queue: UnboundedSender<Message>,
    /// Room for records, and for pieces of bytes.
    room: [Arc<Semaphore>; 2],
    /// Why nothing can be appended any more.
    refusal: Arc<Mutex<Option<LedgerError>>>,
    /// Closed when writer and lock are gone.
    ended: watch::Receiver<()>,
}

enum Message {
    Append(Request),
    /// Somebody off the volume knows of more records than there are.
    Distrust(Problem),
    Close,
}

/// Entries of one caller, with their room in the queue.
struct Request {
    entries: Vec<Result<Prepared, LedgerError>>,
    bytes: usize,
    reply: oneshot::Sender<Vec<Result<Settled, LedgerError>>>,
    room: [OwnedSemaphorePermit; 2],
}

impl Handle {
    /// Takes the ledger and starts its writer. It ends, and releases the lock, after
    /// [`Handle::close`] or when the last handle is dropped; what was queued is written first.
    #[must_use]
    pub fn new(ledger: Ledger) -> Self {
        let view = ledger.view().clone();
        let refusal = Arc::new(Mutex::new(ledger.writable().err()));
        let (queue, requests) = unbounded_channel();
        let (ends, ended) = watch::channel(());
        let shared = Arc::clone(&refusal);
        thread::spawn(move || {
            let refusal = shared;
            Writer { ledger, refusal }.run(requests);
            drop(ends);
        });
        let pieces = MAX_QUEUED_BYTES / PIECE_BYTES;
        Self {
            view,
            queue,
            room: [MAX_QUEUED_ENTRIES, pieces].map(|room| Arc::new(Semaphore::new(room))),
            refusal,
            ended,
        }
    }

    /// Lets the writer finish what is queued, and waits until the ledger's lock is released. From
    /// the call on, every handle refuses appends with [`LedgerError::Closed`]; reading goes on.
    pub async fn close(&self) {
        // An error says that it has ended already.
        let _ = self.queue.send(Message::Close);
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    /// Ends appending: `from` knows that the ledger had `released` records, which is more than it has. What is queued
    /// before is still written.
    pub fn distrust(&self, from: &str, released: u64) {
        let size = self.view.size();
        let what = format!("{released} records were released, as {from} knows, the log has {size}");
        // An error says that the writer has ended already.
        let _ = self
            .queue
            .send(Message::Distrust(Problem::of_file("log", what)));
    }

    /// The verifier key of the log.
    #[must_use]
    pub fn verifying_key(&self) -> &VerifyingKey {
        self.view.verifying_key()
    }

    /// Appends one record with its payloads, as [`Ledger::append`] does.
    ///
    /// A full queue is [`LedgerError::Busy`] at once. Who drops the future before it is ready does
    /// not know whether the record was appended; the same append again finds it.
    pub async fn append(
        &self,
        record: Record,
        payloads: Vec<Payload>,
    ) -> Result<Appended, LedgerError> {
        let replies = self.append_all(vec![Entry { record, payloads }]).await;
        let reply = replies.into_iter().next();
        reply.unwrap_or(Err(LedgerError::Closed))
    }

    /// Appends several, in this order; each succeeds or fails on its own.
    pub async fn append_all(&self, entries: Vec<Entry>) -> Vec<Result<Appended, LedgerError>> {
        let number = entries.len();
        match self.settle(entries).await {
            Ok(settled) => self.receipts(settled).await,
            Err(error) => (0..number).map(|_| Err(error.shared())).collect(),
        }
    }

    async fn settle(
        &self,
        entries: Vec<Entry>,
    ) -> Result<Vec<Result<Settled, LedgerError>>, LedgerError> {
        let payloads = entries.iter().flat_map(|entry| &entry.payloads);
        let is_large = payloads.map(|payload| payload.bytes.len()).sum::<usize>() > INLINE_BYTES;
        let prepare = move || {
            let entries = entries.into_iter();
            let prepared = entries.map(|entry| Prepared::new(entry.record, &entry.payloads));
            prepared.collect::<Vec<_>>()
        };
        let entries = if is_large {
            blocking(prepare).await?
        } else {
            prepare()
        };
        let bytes = entries.iter().flatten().map(Prepared::frame_bytes).sum();
        let room = self.take_room(entries.len(), bytes)?;
        let (reply, settled) = oneshot::channel();
        let request = Request {
            entries,
            bytes,
            reply,
            room,
        };
        let sent = self.queue.send(Message::Append(request));
        sent.map_err(|_| self.refused())?;
        settled.await.map_err(|_| self.refused())
    }

    fn take_room(
        &self,
        entries: usize,
        bytes: usize,
    ) -> Result<[OwnedSemaphorePermit; 2], LedgerError> {
        if entries > MAX_QUEUED_ENTRIES || bytes > MAX_QUEUED_BYTES {
            return Err(LedgerError::TooLarge {
                must: "at most 16384 records of together 128 MiB",
            });
        }
        let [records, pieces] = &self.room;
        let take = |room: &Arc<Semaphore>, number: usize| {
            let taken = Arc::clone(room).try_acquire_many_owned(number as u32);
            taken.map_err(|_| LedgerError::Busy)
        };
        Ok([
            take(records, entries)?,
            take(pieces, bytes.div_ceil(PIECE_BYTES))?,
        ])
    }

    /// Why the writer took nothing more.
    fn refused(&self) -> LedgerError {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal
            .as_ref()
            .map_or(LedgerError::Closed, LedgerError::shared)
    }

    /// Makes the receipts. The records of filled slots are read from the disk.
    async fn receipts(
        &self,
        settled: Vec<Result<Settled, LedgerError>>,
    ) -> Vec<Result<Appended, LedgerError>> {
        let number = settled.len();
        let reads = settled
            .iter()
            .flatten()
            .any(|settled| settled.own.is_none());
        let view = self.view.clone();
        let make = move || {
            let settled = settled.into_iter();
            let made = settled.map(|settled| settled.and_then(|s| view.appended(s)));
            made.collect::<Vec<_>>()
        };
        if !reads {
            return make();
        }
        let lost = |error: LedgerError| (0..number).map(|_| Err(error.shared())).collect();
        blocking(make).await.unwrap_or_else(lost)
    }
}

/// Reading. All of it may be awaited, whether it goes to the disk or not.
#[allow(clippy::unused_async)]
impl Handle {
    /// Whether something may be appended; else why not.
    pub fn writable(&self) -> Result<(), LedgerError> {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal.as_ref().map_or(Ok(()), |why| Err(why.shared()))
    }

    /// Records in the ledger.
    pub async fn size(&self) -> Result<u64, LedgerError> {
        Ok(self.view.size())
    }

    /// Why nothing may be appended; empty for a ledger in order.
    pub async fn read_only(&self) -> Result<Vec<Problem>, LedgerError> {
        Ok(match self.writable() {
            Err(LedgerError::ReadOnly(problems)) => problems.0,
            _ => Vec::new(),
        })
    }

    /// The signed checkpoint of the whole ledger; `None` while it is empty.
    pub async fn checkpoint(&self) -> Result<Option<String>, LedgerError> {
        Ok(self.view.checkpoint())
    }

    /// The index of the record that fills `slot`.
    pub async fn find(&self, slot: Slot) -> Result<Option<u64>, LedgerError> {
        self.read(move |view| view.find(&slot)).await?
    }

    /// A record.
    pub async fn record(&self, index: u64) -> Result<Record, LedgerError> {
        self.read(move |view| view.record(index)).await?
    }

    /// A receipt for a record, under the checkpoint of the whole ledger.
    pub async fn receipt(&self, index: u64) -> Result<Receipt, LedgerError> {
        self.read(move |view| view.receipt(index)).await?
    }

    /// The indices of a task's records, ascending.
    pub async fn task(&self, uid: String) -> Result<Vec<u64>, LedgerError> {
        self.read(move |view| view.task(&uid)).await?
    }

    /// The record whose append brought the payload with this address.
    pub async fn holder(&self, commitment: Commitment) -> Result<Option<u64>, LedgerError> {
        self.read(move |view| view.holder(&commitment)).await?
    }

    /// The payload with this address; `None` when it was never kept, or is erased.
    pub async fn payload(&self, commitment: Commitment) -> Result<Option<Payload>, LedgerError> {
        self.read(move |view| view.payload(&commitment)).await?
    }

    /// The content of a tile or entry bundle; `None` when the tree does not reach that far.
    pub async fn tile(&self, tile: Tile) -> Result<Option<Vec<u8>>, LedgerError> {
        self.read(move |view| view.tile(tile)).await?
    }

    /// The proof that the tree of `old` entries is a prefix of that of `new`; `None` unless
    /// `1 ≤ old ≤ new ≤ size`.
    pub async fn consistency(&self, old: u64, new: u64) -> Result<Option<Vec<Hash>>, LedgerError> {
        self.read(move |view| view.consistency(old, new)).await?
    }

    /// Tasks with an intent and without a terminal record.
    pub async fn open_intents(&self) -> Result<Vec<OpenIntent>, LedgerError> {
        self.read(LedgerReader::open_intents).await?
    }

    /// Reads on a thread that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&LedgerReader) -> T + Send + 'static,
    ) -> Result<T, LedgerError> {
        let view = self.view.clone();
        blocking(move || read(&view)).await
    }
}

/// Runs `work` on a thread of tokio that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LedgerError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| LedgerError::Poisoned(error.to_string()))
}

/// What the writer's thread owns.
struct Writer {
    ledger: Ledger,
    refusal: Arc<Mutex<Option<LedgerError>>>,
}

impl Writer {
    /// Writes group after group until nobody can ask for more.
    fn run(mut self, mut requests: UnboundedReceiver<Message>) {
        let (wake, woken) = mpsc::sync_channel(1);
        let (view, derived) = (self.ledger.view().clone(), self.ledger.derived);
        let tiles = thread::spawn(move || write_tiles(&view, derived, &woken));
        while let Some(first) = requests.blocking_recv() {
            let (group, problem) = collect(first, &mut requests);
            if !group.is_empty() {
                self.write(group);
                // Full: it knows already.
                let _ = wake.try_send(());
            }
            if let Some(problem) = problem {
                self.distrust(problem);
            }
        }
        drop(wake);
        // Before the lock is released: nothing is written behind the next writer's back.
        let _ = tiles.join();
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal.get_or_insert(LedgerError::Closed);
    }

    fn distrust(&mut self, problem: Problem) {
        if self.ledger.writable().is_ok() {
            tracing::error!(%problem, "the ledger is read-only");
            self.ledger.state = State::ReadOnly(vec![problem]);
            let why = self.ledger.writable().err();
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = why;
        }
    }

    fn write(&mut self, group: Vec<Request>) {
        let mut replies = Vec::with_capacity(group.len());
        let mut entries = Vec::new();
        for request in group {
            replies.push((request.entries.len(), request.reply, request.room));
            entries.extend(request.entries);
        }
        let mut settled = self.ledger.settle(entries).into_iter();
        if let Err(why) = self.ledger.writable() {
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        }
        for (number, reply, room) in replies {
            drop(room);
            // Who does not wait any more needs no reply.
            let _ = reply.send(settled.by_ref().take(number).collect());
        }
    }
}

/// What is queued, up to about one group or what ends appending.
fn collect(
    first: Message,
    requests: &mut UnboundedReceiver<Message>,
) -> (Vec<Request>, Option<Problem>) {
    let mut group = Vec::new();
    let (mut entries, mut bytes) = (0, 0);
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Append(request) => {
                entries += request.entries.len();
                bytes += request.bytes;
                group.push(request);
            }
            Message::Distrust(problem) => return (group, Some(problem)),
            Message::Close => requests.close(),
        }
        let has_room = entries < MAX_GROUP_FRAMES && bytes < MAX_GROUP_BYTES;
        next = has_room.then(|| requests.try_recv().ok()).flatten();
    }
    (group, None)
}

/// Writes tiles as they become full, until the writer ends.
fn write_tiles(view: &LedgerReader, mut derived: u64, woken: &mpsc::Receiver<()>) {
    while let Ok(()) = woken.recv() {
        match tiles::write_new(view, derived) {
            Ok(size) => derived = size,
            // Derived data: it is tried again after the next group, and on the next open.
            Err(error) => tracing::warn!(%error, "a full tile could not be written"),
        }
    }
}
