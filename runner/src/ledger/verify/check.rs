//! What can be checked of one batch alone: checksums, hashes, payloads, records.

use std::sync::Arc;

use axiom_hive_core::tlog::tile::TILE_WIDTH;
use axiom_hive_core::tlog::{Hash, Tile, TileKind, bundle, leaf_hashes};
use sha2::{Digest as _, Sha256};

use super::super::error::Problem;
use super::super::frame::{Frame, SIGNATURE_BYTES, decode_frame};
use super::super::levels::Part;
use super::super::section::decode_payloads;
use super::super::storage::Storage;
use super::Depth;
use super::blocks::Batch;
use super::facts::{self, Facts, Note};

/// What became of a batch.
pub(super) struct Checked {
    pub number: usize,
    pub path: Arc<str>,
    /// Its part of the tree; shorter than the batch when a frame in it is damaged.
    pub part: Part,
    pub is_whole: bool,
    /// Of its records; with [`Depth::Records`] only.
    pub facts: Vec<Facts>,
    /// Of all of them, in their order.
    pub notes: Vec<Note>,
    /// Of the last frame; `None` also when that frame has none.
    pub signature: Option<[u8; SIGNATURE_BYTES]>,
    /// Where the last frame begins, in its file.
    pub last_offset: u64,
    pub problems: Vec<Problem>,
}

/// Checks one batch, and the derived files that overlap it.
pub(super) fn check(storage: &dyn Storage, batch: &Batch, depth: Depth) -> Checked {
    let mut entries = Vec::with_capacity(batch.ends.len());
    let mut checked = Checked {
        number: batch.number,
        path: Arc::clone(&batch.path),
        part: Part::default(),
        is_whole: true,
        facts: Vec::new(),
        notes: Vec::new(),
        signature: None,
        last_offset: batch.offset,
        problems: Vec::new(),
    };
    let mut start = 0;
    for (index, end) in (batch.first..).zip(&batch.ends) {
        let offset = batch.offset + start as u64;
        let no = |what: &str| Problem::of_file(&*batch.path, what).at(offset, index);
        match decode_frame(batch.salt, &batch.bytes[start..*end]) {
            Ok(frame) => {
                entries.push(frame.record);
                checked.signature = frame.signature.copied();
                checked.last_offset = offset;
                if let Err(what) = checked.check_frame(&frame, offset, depth) {
                    checked.problems.push(no(&what));
                }
            }
            Err(what) => {
                checked.problems.push(no(what));
                checked.is_whole = false;
                break;
            }
        }
        start = *end;
    }
    let leaves = leaf_hashes(&entries);
    checked.check_tiles(storage, batch.first, &entries, &leaves);
    checked.part = Part::new(batch.first, leaves);
    checked
}

/// The part of a full tile of 256 `items` that overlaps the run of items from `first` on.
fn overlap<T>(tile: u64, items: &[T], first: u64, run: usize) -> (&[T], usize) {
    let start = tile * u64::from(TILE_WIDTH);
    let (from, skip) = (first.saturating_sub(start), start.saturating_sub(first));
    let (from, skip) = (from as usize, skip as usize);
    let end = items.len().min(from + (run - skip));
    (&items[from..end], skip)
}

impl Checked {
    /// Full bundles and full tiles of leaf hashes, as far as they overlap this batch, must be what
    /// the log says. Missing ones are derived anew on open.
    fn check_tiles(
        &mut self,
        storage: &dyn Storage,
        first: u64,
        entries: &[&[u8]],
        leaves: &[Hash],
    ) {
        let width = u64::from(TILE_WIDTH);
        let end = first + entries.len() as u64;
        for index in first / width..end.div_ceil(width) {
            let check = |kind, is_content: &dyn Fn(&Tile, &[u8]) -> bool| {
                let tile = Tile {
                    kind,
                    index,
                    width: TILE_WIDTH,
                };
                let path = tile.to_string();
                let what = match storage.read(&path) {
                    Ok(None) => return None,
                    Ok(Some(content)) if is_content(&tile, &content) => return None,
                    Ok(Some(_)) => "this file is not what the log says".to_owned(),
                    Err(error) => error.to_string(),
                };
                Some(Problem::of_file(path, what))
            };
            let bundle = check(TileKind::Entries, &|tile, content| {
                bundle::parse(content, tile.width).is_ok_and(|found| {
                    let (found, skip) = overlap(index, &found, first, entries.len());
                    entries[skip..].starts_with(found)
                })
            });
            let hashes = check(TileKind::Hashes { level: 0 }, &|tile, content| {
                tile.parse_hashes(content).is_ok_and(|found| {
                    let (found, skip) = overlap(index, &found, first, leaves.len());
                    leaves[skip..].starts_with(found)
                })
            });
            self.problems.extend([bundle, hashes].into_iter().flatten());
        }
    }

    fn check_frame(&mut self, frame: &Frame<'_>, offset: u64, depth: Depth) -> Result<(), String> {
        let payloads = decode_payloads(frame.payloads)?;
        for payload in &payloads {
            let Some(encoded) = payload.encoded else {
                continue;
            };
            if Sha256::digest(encoded)[..] != payload.commitment.0 {
                return Err(format!("payload {} is not what it was", payload.commitment));
            }
        }
        if depth == Depth::Log {
            return Ok(());
        }
        let known = self.notes.len();
        match facts::read(frame.record, &payloads, &mut self.notes) {
            Ok(event) => self.facts.push(Facts {
                index: frame.index,
                offset,
                event,
                notes_end: self.notes.len(),
            }),
            Err(what) => {
                self.notes.truncate(known);
                return Err(what);
            }
        }
        Ok(())
    }
}
