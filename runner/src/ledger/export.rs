//! Writes the strict static tree of C2SP tlog-tiles, for foreign tools and web servers.
//!
//! ```text
//! OUT/checkpoint                       the signed checkpoint of the whole ledger
//! OUT/tile/<L>/<N>[.p/<W>]             hash tiles, partial ones included
//! OUT/tile/entries/<N>[.p/<W>]         entry bundles: the records, never a payload
//! ```
//!
//! Each file appears in one step, the checkpoint last: whoever sees it sees the tree under it.

use std::path::Path;

use axiom_hive_core::tlog::tiles_of;

use super::error::{LedgerError, io_error};
use super::reader::LedgerReader;
use super::storage::{Disk, Storage};
use super::tiles;

/// What an export wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Records under the checkpoint.
    pub size: u64,
    /// Files, the checkpoint included.
    pub files: u64,
}

/// Exports the ledger in `dir` to the directory `out`, which must be empty or missing.
///
/// A ledger without a record has no signed checkpoint: nothing is written.
pub fn export(dir: &Path, out: &Path) -> Result<Exported, LedgerError> {
    let ledger = LedgerReader::open(dir)?;
    let target = Disk::new(out, 0o644);
    let names = target
        .list("")
        .map_err(io_error(format!("list {}", out.display())))?;
    if !names.is_empty() {
        return Err(LedgerError::OutputNotEmpty(out.to_owned()));
    }
    export_to(&ledger, &target)
}

/// Exports to any storage.
pub fn export_to(ledger: &LedgerReader, target: &dyn Storage) -> Result<Exported, LedgerError> {
    let size = ledger.size();
    let mut files = 0;
    let Some(checkpoint) = ledger.checkpoint() else {
        return Ok(Exported { size, files });
    };
    let mut write = |path: &str, content: &[u8]| {
        files += 1;
        let written = target.replace(path, content, false);
        written.map_err(io_error(format!("write {path}")))
    };
    for tile in tiles_of(size) {
        write(&tile.to_string(), &tiles::content(ledger, tile)?)?;
    }
    write("checkpoint", checkpoint.as_bytes())?;
    Ok(Exported { size, files })
}
