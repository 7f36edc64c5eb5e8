//! Writes the archive of a ledger: the strict static tree of C2SP tlog-tiles, for foreign tools, web
//! servers and object stores, with what a verifier needs beside it.
//!
//! ```text
//! OUT/checkpoint                       the signed checkpoint of the whole ledger
//! OUT/tile/<L>/<N>[.p/<W>]             hash tiles, partial ones included
//! OUT/tile/entries/<N>[.p/<W>]         entry bundles: the records, never a task's payload
//! OUT/vkey                             the ledger's public key
//! OUT/constitutions/<name>/<version>.json   canonical texts, on request
//! OUT/README.txt                       how to verify it
//! OUT/SHA256SUMS                       of every file but itself
//! ```
//!
//! Each file appears in one step, the checkpoint last: whoever sees it sees the tree under it.

use std::path::Path;

use axiom_hive_core::manifest::{MANIFEST_FILE, Manifest};
use axiom_hive_core::tlog::tiles_of;

use super::archive::{CHECKPOINT_FILE, KEY_FILE, README_FILE, constitutions, readme};
use super::error::{LedgerError, io_error};
use super::reader::LedgerReader;
use super::storage::{Disk, Storage};
use super::tiles;

/// Whether the texts of constitutions are part of an archive. They are no secret of a task, but policy
/// that not every publisher wants to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constitutions {
    /// Their digests in the records only.
    Omitted,
    /// Their canonical texts too.
    Included,
}

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
pub fn export(dir: &Path, out: &Path, texts: Constitutions) -> Result<Exported, LedgerError> {
    let ledger = LedgerReader::open(dir)?;
    let target = Disk::new(out, 0o644);
    let names = target
        .list("")
        .map_err(io_error(format!("list {}", out.display())))?;
    if !names.is_empty() {
        return Err(LedgerError::OutputNotEmpty(out.to_owned()));
    }
    export_to(&ledger, &target, texts)
}

/// Exports to any storage.
pub fn export_to(
    ledger: &LedgerReader,
    target: &dyn Storage,
    texts: Constitutions,
) -> Result<Exported, LedgerError> {
    let size = ledger.size();
    let Some(checkpoint) = ledger.checkpoint() else {
        return Ok(Exported { size, files: 0 });
    };
    let mut files = 0;
    let mut manifest = Manifest::default();
    let mut write = |path: &str, content: &[u8]| {
        files += 1;
        let written = target.replace(path, content, false);
        written.map_err(io_error(format!("write {path}")))
    };
    let mut add = |path: &str, content: &[u8]| {
        manifest.add(path, content);
        write(path, content)
    };
    for tile in tiles_of(size) {
        add(&tile.to_string(), &tiles::content(ledger, tile)?)?;
    }
    if texts == Constitutions::Included {
        for (path, text) in constitutions(ledger)? {
            add(&path, &text)?;
        }
    }
    add(KEY_FILE, format!("{}\n", ledger.verifying_key()).as_bytes())?;
    add(README_FILE, readme(ledger, &checkpoint).as_bytes())?;
    manifest.add(CHECKPOINT_FILE, checkpoint.as_bytes());
    write(MANIFEST_FILE, manifest.to_text().as_bytes())?;
    write(CHECKPOINT_FILE, checkpoint.as_bytes())?;
    Ok(Exported { size, files })
}
