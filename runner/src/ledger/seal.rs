//! Sealing: the end of a ledger, and the static files that it then publishes.
//!
//! A `sealed` record is the last but for erasures, so that the duty to erase survives. It is a record like
//! any other: signed, pinned, part of every later head. Then partial tiles and the checkpoint of the
//! whole ledger are written beside the full tiles; with them the folder `tile` and the file `checkpoint`
//! are a tree of C2SP tlog-tiles that any web server can serve.

use axiom_hive_core::record::{Body, Record, Slot};
use axiom_hive_core::tlog::{Tile, VerifyingKey, tiles_of};

use super::engine::{Appended, Ledger};
use super::error::{LedgerError, io_error};
use super::group::Group;
use super::reader::LedgerReader;
use super::tiles;

/// The checkpoint of a sealed ledger.
pub(super) const CHECKPOINT_FILE: &str = "checkpoint";

impl Ledger {
    /// Ends this ledger: from now on it takes erasures only. Refused while a task has not ended.
    ///
    /// `successor` is the key of the ledger that goes on. A ledger that is sealed stays as it is, and the
    /// seal that it has comes back with `existing: true`.
    pub fn seal(
        &mut self,
        successor: Option<&VerifyingKey>,
        at_unix_ms: u64,
    ) -> Result<Appended, LedgerError> {
        let record = Record::new(Body::Sealed {
            at_unix_ms,
            successor: successor.cloned(),
        });
        let appended = self.append(&record, &[])?;
        publish(&self.view)?;
        Ok(appended)
    }

    /// Whether this record, whose slot is free, may stand at the end of the ledger and this group.
    pub(super) fn check_seal(&self, group: &Group, record: &Record) -> Result<(), LedgerError> {
        if matches!(record.body, Body::Erasure { .. }) {
            return Ok(());
        }
        let slot = Slot::Sealed.to_string();
        let sealed = self.view.find_slot(&slot)?;
        if let Some(index) = sealed.or_else(|| group.find(&slot)) {
            return Err(LedgerError::Sealed(index));
        }
        match record.body {
            Body::Sealed { .. } if !group.frames.is_empty() => Err(LedgerError::SealInGroup),
            Body::Sealed { .. } => {
                let open = self.open_intents()?;
                if open.is_empty() {
                    Ok(())
                } else {
                    Err(LedgerError::OpenTasks(open))
                }
            }
            Body::Succession { .. } if group.first > 0 || !group.frames.is_empty() => {
                Err(LedgerError::LateSuccession)
            }
            _ => Ok(()),
        }
    }
}

/// The files below `tile` that the ledger should have: full ones, of a sealed ledger all.
pub(super) fn tiles_to_keep(
    ledger: &LedgerReader,
) -> Result<impl Iterator<Item = Tile> + use<>, LedgerError> {
    let is_sealed = ledger.find(&Slot::Sealed)?.is_some();
    Ok(tiles_of(ledger.size()).filter(move |tile| is_sealed || tile.is_full()))
}

/// Writes what a sealed ledger publishes, the checkpoint last: whoever sees it sees the tree under it.
/// Does nothing to a ledger that is not sealed, or whose checkpoint is there.
pub(super) fn publish(ledger: &LedgerReader) -> Result<(), LedgerError> {
    if !is_checkpoint_due(ledger)? {
        return Ok(());
    }
    tiles::write_missing(ledger, 0)?;
    for tile in tiles_to_keep(ledger)?.filter(|tile| !tile.is_full()) {
        tiles::write(ledger, tile)?;
    }
    write_checkpoint(ledger)
}

/// Whether the ledger is sealed, and its checkpoint is not that of the whole ledger.
pub(super) fn is_checkpoint_due(ledger: &LedgerReader) -> Result<bool, LedgerError> {
    if ledger.find(&Slot::Sealed)?.is_none() {
        return Ok(false);
    }
    let found = ledger.storage.read(CHECKPOINT_FILE);
    let found = found.map_err(io_error(format!("read {CHECKPOINT_FILE}")))?;
    Ok(found != ledger.checkpoint().map(String::into_bytes))
}

pub(super) fn write_checkpoint(ledger: &LedgerReader) -> Result<(), LedgerError> {
    let checkpoint = ledger.checkpoint().unwrap_or_default();
    let storage = &ledger.storage;
    let written = storage.replace(CHECKPOINT_FILE, checkpoint.as_bytes(), true);
    written.map_err(io_error(format!("write {CHECKPOINT_FILE}")))
}
