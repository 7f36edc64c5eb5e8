//! Where the records of an attempt go.

use axiom_hive_core::record::{Commitment, Payload};
use axiom_hive_core::supervisor::Entry;
use tokio::time::Instant;

use super::PipelineError;
use crate::ledger::{Appended, Ledger};
use axiom_hive_client::ledger::{LedgerClient, Proven};

/// A ledger of our own, or a service.
pub(super) enum Store<'a> {
    Embedded(&'a mut Ledger),
    Service {
        client: &'a LedgerClient,
        /// Until when it is asked again.
        deadline: Instant,
    },
}

impl Store<'_> {
    pub(super) async fn append(&mut self, entry: &Entry) -> Result<Appended, PipelineError> {
        match self {
            // Blocks for one disk sync.
            Self::Embedded(ledger) => Ok(tokio::task::block_in_place(|| {
                ledger.append(&entry.record, &entry.payloads)
            })?),
            Self::Service { client, deadline } => {
                let appended = client.append(entry, *deadline).await?;
                let Proven { verified, receipt } = appended.proven;
                Ok(Appended {
                    index: verified.index,
                    record: verified.record,
                    receipt,
                    existing: appended.existing,
                })
            }
        }
    }

    pub(super) async fn payload(
        &self,
        commitment: &Commitment,
    ) -> Result<Option<Payload>, PipelineError> {
        match self {
            Self::Embedded(ledger) => Ok(ledger.payload(commitment)?),
            Self::Service { client, deadline } => Ok(client.payload(commitment, *deadline).await?),
        }
    }
}
