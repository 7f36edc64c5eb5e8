//! What was asked of the broker, and what became of it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axiom_hive_core::record::{EgressCounts, EgressRecord, MAX_INTEGER};
use tokio::sync::Notify;

use super::rules::Refusal;

/// How many different names are kept, for the authorised.
pub const MAX_NAMES: usize = 256;
/// After so many refusals a runtime is not looking for a way but for a hole: the branch fails.
pub const MAX_REFUSALS: u64 = 1_000;
/// The longest name that is kept, in bytes; the rest of it is cut off.
const MAX_NAME_BYTES: usize = 261;

/// Counts and names; shared by all connections of one attempt.
#[derive(Debug)]
pub struct Journal {
    inner: Mutex<Inner>,
    spent: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    record: EgressRecord,
    names: BTreeSet<String>,
    last_refusal: Option<Refusal>,
}

/// What [`Journal::not_opened`] counts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NotOpened {
    pub(crate) refused: u64,
    pub(crate) unreachable: u64,
    pub(crate) last_refusal: Option<Refusal>,
}

impl Inner {
    fn refusals(&self) -> u64 {
        let refused = self.record.refused;
        [
            refused.malformed,
            refused.unlisted,
            refused.address,
            refused.server_name,
            refused.limit,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

impl Journal {
    /// For a list of so many targets.
    #[must_use]
    pub fn new(targets: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                record: EgressRecord {
                    targets: vec![EgressCounts::default(); targets],
                    ..EgressRecord::default()
                },
                names: BTreeSet::new(),
                last_refusal: None,
            }),
            spent: Notify::new(),
        }
    }

    /// The counts so far, for the leaf.
    #[must_use]
    pub fn record(&self) -> EgressRecord {
        self.lock().record.clone()
    }

    /// The first [`MAX_NAMES`] different `host:port` that were asked for, sorted; text of the
    /// runtime's choice, so for the payload only.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.lock().names.iter().cloned().collect()
    }

    /// How often nothing was opened so far: refused, or listed and not reached.
    pub(crate) fn not_opened(&self) -> NotOpened {
        let inner = self.lock();
        let unreachable = inner.record.targets.iter().map(|target| target.unreachable);
        NotOpened {
            refused: inner.refusals(),
            unreachable: unreachable.fold(0, u64::saturating_add),
            last_refusal: inner.last_refusal,
        }
    }

    /// Waits until [`MAX_REFUSALS`] are reached.
    pub async fn refusals_spent(&self) {
        loop {
            let notified = self.spent.notified();
            if self.refusals() >= MAX_REFUSALS {
                return;
            }
            notified.await;
        }
    }

    fn refusals(&self) -> u64 {
        self.lock().refusals()
    }

    pub(super) fn asked(&self, authority: &str) {
        let mut inner = self.lock();
        if inner.names.len() < MAX_NAMES {
            let end = authority.floor_char_boundary(MAX_NAME_BYTES);
            inner.names.insert(authority[..end].to_owned());
        }
    }

    pub(super) fn refused(&self, why: Refusal) {
        let mut inner = self.lock();
        inner.last_refusal = Some(why);
        let refused = &mut inner.record.refused;
        let count = match why {
            Refusal::Malformed => &mut refused.malformed,
            Refusal::Unlisted => &mut refused.unlisted,
            Refusal::Address => &mut refused.address,
            Refusal::ServerName => &mut refused.server_name,
            Refusal::Limit => &mut refused.limit,
        };
        add(count, 1);
        drop(inner);
        self.spent.notify_waiters();
    }

    pub(super) fn connected(&self, target: usize) {
        if let Some(counts) = self.lock().record.targets.get_mut(target) {
            add(&mut counts.connections, 1);
        }
    }

    pub(super) fn unreachable(&self, target: usize) {
        if let Some(counts) = self.lock().record.targets.get_mut(target) {
            add(&mut counts.unreachable, 1);
        }
    }

    pub(super) fn moved(&self, target: usize, sent: u64, received: u64) {
        if let Some(counts) = self.lock().record.targets.get_mut(target) {
            add(&mut counts.sent_bytes, sent);
            add(&mut counts.received_bytes, received);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Counts stay whole even if a holder panicked: each is one addition.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more).min(MAX_INTEGER);
}
