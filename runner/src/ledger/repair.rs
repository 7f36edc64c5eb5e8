//! Writes again what is derived from the log: full tiles and entry bundles. Nothing else is touched.
//!
//! A log that does not verify under a key or pin is nobody's source: then nothing is written, since a
//! tile that differs from such a log may be the one that is right.

use std::path::Path;
use std::sync::Arc;

use super::error::{LedgerError, Problem, Problems, io_error};
use super::indexes::write_indexes;
use super::log::read_log;
use super::open::{LOCK_FILE, take_lock};
use super::reader::LedgerReader;
use super::seal::{self, CHECKPOINT_FILE};
use super::storage::{Disk, Storage};
use super::tiles;
use super::verify::{Depth, MAX_PROBLEMS, Trust, verify_on};

/// The folder of everything that is derived.
const DERIVED_FOLDER: &str = "tile/";

/// What a repair wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// Files that were written again, relative to the ledger directory.
    pub written: Vec<String>,
    /// Tiles and bundles that the log has: full ones, of a sealed ledger all.
    pub files: u64,
}

/// Repairs the ledger in `dir`, of which `trust` vouches for the log. Waits at most 10 s for a writer.
pub fn repair(dir: &Path, trust: Trust<'_>) -> Result<Repaired, LedgerError> {
    let storage = Arc::new(Disk::new(dir, 0o600));
    repair_on(storage, trust, &dir.display().to_string())
}

/// The same on any storage; `name` is for messages.
pub fn repair_on(
    storage: Arc<dyn Storage>,
    trust: Trust<'_>,
    name: &str,
) -> Result<Repaired, LedgerError> {
    // A reader must not make a lock file where there is no ledger.
    let missing = |why: &str| LedgerError::NotALedger {
        path: name.to_owned(),
        why: why.to_owned(),
    };
    let Some(read) = read_log(&*storage)? else {
        return Err(missing("it has no log"));
    };
    drop(read);
    let _lock = take_lock(&*storage, LOCK_FILE, &format!("{name}/{LOCK_FILE}"))?;
    check(&*storage, trust)?;
    let read = read_log(&*storage)?.ok_or_else(|| missing("its log disappeared"))?;
    let ledger = LedgerReader::new(storage, read.log);
    let mut repaired = Repaired {
        written: Vec::new(),
        files: 0,
    };
    for tile in seal::tiles_to_keep(&ledger)? {
        repaired.files += 1;
        let path = tile.to_string();
        let found = ledger.storage.read(&path);
        let found = found.map_err(io_error(format!("read {path}")))?;
        if found != Some(tiles::content(&ledger, tile)?) {
            tiles::write(&ledger, tile)?;
            repaired.written.push(path);
        }
    }
    repaired.written.extend(write_indexes(&ledger)?);
    if seal::is_checkpoint_due(&ledger)? {
        seal::write_checkpoint(&ledger)?;
        repaired.written.push(CHECKPOINT_FILE.to_owned());
    }
    Ok(repaired)
}

/// Whether what is wrong, if anything, is with derived files alone.
fn check(storage: &dyn Storage, trust: Trust<'_>) -> Result<(), LedgerError> {
    let report = verify_on(storage, trust, Depth::Records)?;
    let is_cut_off = report.problems.len() >= MAX_PROBLEMS;
    let mut others = report.problems;
    others.retain(|problem| {
        !problem.file.starts_with(DERIVED_FOLDER) && problem.file != CHECKPOINT_FILE
    });
    if is_cut_off && others.is_empty() {
        let what = format!(
            "{MAX_PROBLEMS} files differ from the log, so other problems may be hidden; \
             move the folder away, and this repair writes it again"
        );
        others.push(Problem::of_file(DERIVED_FOLDER, what));
    }
    if !report.authenticated {
        let what = "no key or pin vouches for the log: nothing may be derived from it";
        others.push(Problem::of_file("log", what));
    }
    if others.is_empty() {
        return Ok(());
    }
    Err(LedgerError::Damaged(Problems(others)))
}
