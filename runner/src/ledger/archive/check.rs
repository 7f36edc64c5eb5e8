//! Verifies an archive: every file by its checksum, the tree and its records by the signed checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use axiom_hive_core::digest::Digest;
use axiom_hive_core::manifest::{MANIFEST_FILE, MAX_MANIFEST_BYTES, Manifest};
use axiom_hive_core::record::{Body, Record};
use axiom_hive_core::tlog::tile::TILE_WIDTH;
use axiom_hive_core::tlog::{
    Checkpoint, EMPTY_ROOT, Hash, TileKind, VerifyingKey, bundle, leaf_hashes, root_at, tiles_of,
};

use super::{CHECKPOINT_FILE, CONSTITUTIONS_FOLDER, KEY_FILE, constitution_path};
use crate::ledger::error::{LedgerError, Problem, io_error};
use crate::ledger::levels::{Levels, Part};
use crate::ledger::storage::{Disk, Storage};
use crate::ledger::verify::MAX_PROBLEMS;

/// Upper bound of a file: a full bundle of the longest entries is about 16 MiB.
const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;
/// Folders in folders, at most: `tile/entries/x000/x000/…`.
const MAX_DEPTH: usize = 12;

/// What was found in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveReport {
    /// Records under the checkpoint.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// Files that the manifest lists.
    pub files: u64,
    /// Texts of constitutions, each that of a record.
    pub constitutions: u64,
    /// What does not hold, at most [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
}

/// Verifies the archive in `dir`, of the ledger of `key`.
pub fn verify_archive(dir: &Path, key: &VerifyingKey) -> Result<ArchiveReport, LedgerError> {
    verify_archive_on(&Disk::new(dir, 0o644), key)
}

/// The same on any storage.
pub fn verify_archive_on(
    storage: &dyn Storage,
    key: &VerifyingKey,
) -> Result<ArchiveReport, LedgerError> {
    let mut check = Check {
        storage,
        constitutions: BTreeMap::new(),
        report: ArchiveReport {
            size: 0,
            root: EMPTY_ROOT,
            files: 0,
            constitutions: 0,
            problems: Vec::new(),
        },
    };
    let manifest = check.read_up_to(MANIFEST_FILE, MAX_MANIFEST_BYTES as u64)?;
    let manifest = manifest.and_then(|bytes| Manifest::parse(&bytes));
    let manifest = if let Some(manifest) = manifest {
        manifest
    } else {
        check.no(
            MANIFEST_FILE,
            "there must be a list of checksums, sorted by path",
        );
        Manifest::default()
    };
    check.files(&manifest)?;
    check.others("", &manifest, 0)?;
    check.log(key)?;
    check.texts(&manifest)?;
    check.report.problems.truncate(MAX_PROBLEMS);
    Ok(check.report)
}

struct Check<'s> {
    storage: &'s dyn Storage,
    /// By path: the digest of each constitution that a record names.
    constitutions: BTreeMap<String, Digest>,
    report: ArchiveReport,
}

impl Check<'_> {
    fn no(&mut self, file: &str, what: impl Into<String>) {
        if self.report.problems.len() < MAX_PROBLEMS {
            self.report.problems.push(Problem::of_file(file, what));
        }
    }

    /// `None` for a file that is missing or too long.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        self.read_up_to(path, MAX_FILE_BYTES)
    }

    fn read_up_to(&self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, LedgerError> {
        let length = self.storage.length(path);
        let length = length.map_err(io_error(format!("read {path}")))?;
        if length.is_none_or(|length| length > max_bytes) {
            return Ok(None);
        }
        self.storage
            .read(path)
            .map_err(io_error(format!("read {path}")))
    }

    /// Every file that is listed is there and whole.
    fn files(&mut self, manifest: &Manifest) -> Result<(), LedgerError> {
        for (path, digest) in manifest.files() {
            self.report.files += 1;
            let length = self.storage.length(path);
            match length.map_err(io_error(format!("read {path}")))? {
                None => self.no(path, "this file is missing"),
                Some(length) if length > MAX_FILE_BYTES => self.no(path, "this file is too long"),
                Some(_) => {
                    let found = self.read(path)?.unwrap_or_default();
                    if Digest::of(&found) != *digest {
                        self.no(path, "this file does not match its checksum");
                    }
                }
            }
        }
        Ok(())
    }

    /// No other file is there.
    fn others(
        &mut self,
        folder: &str,
        manifest: &Manifest,
        depth: usize,
    ) -> Result<(), LedgerError> {
        let names = self.storage.list(folder.trim_end_matches('/'));
        for name in names.map_err(io_error(format!("list {folder}")))? {
            let path = format!("{folder}{name}");
            if name.ends_with('/') && depth < MAX_DEPTH {
                self.others(&path, manifest, depth + 1)?;
            } else if path != MANIFEST_FILE && !manifest.contains(&path) {
                self.no(&path, "this file is not listed");
            }
        }
        Ok(())
    }

    /// The checkpoint is signed, and the bundles and tiles are those of its tree.
    fn log(&mut self, key: &VerifyingKey) -> Result<(), LedgerError> {
        let named = self.read(KEY_FILE)?;
        if named != Some(format!("{key}\n").into_bytes()) {
            self.no(KEY_FILE, format!("the archive is not of {key}"));
        }
        let note = self.read(CHECKPOINT_FILE)?.map(String::from_utf8);
        let opened = note.and_then(Result::ok);
        let Some(checkpoint) = opened.and_then(|note| Checkpoint::open(&note, key).ok()) else {
            self.no(
                CHECKPOINT_FILE,
                format!("this is no checkpoint that {key} signed"),
            );
            return Ok(());
        };
        let Some(tree) = self.bundles(checkpoint.size)? else {
            return Ok(());
        };
        self.report.size = checkpoint.size;
        self.report.root = checkpoint.root;
        if root_at(checkpoint.size, &tree) != Ok(checkpoint.root) {
            let what = "the records are not those of the checkpoint";
            self.no("tile/entries", what);
        }
        let is_hashes = |kind| matches!(kind, TileKind::Hashes { .. });
        for tile in tiles_of(checkpoint.size).filter(|tile| is_hashes(tile.kind)) {
            let path = tile.to_string();
            if self.read(&path)? != tile.hashes(&tree).ok() {
                self.no(&path, "this tile is not what the records say");
            }
        }
        Ok(())
    }

    /// The tree over all entries; `None` where one cannot be read.
    fn bundles(&mut self, size: u64) -> Result<Option<Levels>, LedgerError> {
        let mut tree = Levels::default();
        for tile in tiles_of(size).filter(|tile| tile.kind == TileKind::Entries) {
            let path = tile.to_string();
            let content = self.read(&path)?.unwrap_or_default();
            let Ok(entries) = bundle::parse(&content, tile.width) else {
                self.no(
                    &path,
                    "this is no bundle of the entries that it should hold",
                );
                return Ok(None);
            };
            let first = tile.index * u64::from(TILE_WIDTH);
            for (index, entry) in (first..).zip(&entries) {
                self.record(&path, index, entry);
            }
            tree.push(Part::new(first, leaf_hashes(&entries)));
        }
        Ok(Some(tree))
    }

    fn record(&mut self, path: &str, index: u64, entry: &[u8]) {
        match Record::from_canonical(entry) {
            Ok(record) => {
                let text = constitution_path(&record);
                if let (Some(text), Body::Constitution { constitution, .. }) = (text, &record.body)
                {
                    self.constitutions.insert(text, constitution.digest);
                }
            }
            Err(error) => self.no(path, format!("record {index}: {error}")),
        }
    }

    /// Every text of a constitution is that of a record.
    fn texts(&mut self, manifest: &Manifest) -> Result<(), LedgerError> {
        let texts = manifest.files().map(|(path, _)| path);
        for path in texts.filter(|path| path.starts_with(CONSTITUTIONS_FOLDER)) {
            let found = self.read(path)?.map(|text| Digest::of(&text));
            if found.is_some() && found.as_ref() == self.constitutions.get(path) {
                self.report.constitutions += 1;
            } else {
                self.no(path, "no record names a constitution with this text");
            }
        }
        Ok(())
    }
}
