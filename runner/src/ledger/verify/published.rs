//! What a sealed ledger publishes: a checkpoint, and every tile and bundle of the tree under it.

use axiom_hive_core::tlog::tile::TILE_WIDTH;
use axiom_hive_core::tlog::{
    Checkpoint, NodeReader as _, Tile, TileKind, VerifyingKey, bundle, leaf_hash, root_at, tiles_of,
};

use super::super::error::{LedgerError, Problem, io_error};
use super::super::levels::Levels;
use super::super::seal::CHECKPOINT_FILE;
use super::super::storage::Storage;

/// Checks the checkpoint, if there is one, and that what it covers is there and right. It may be of
/// fewer records than the log has: an erasure may be going on. What full files hold is checked elsewhere.
pub(super) fn check(
    storage: &dyn Storage,
    key: &VerifyingKey,
    tree: &Levels,
    is_sealed: bool,
) -> Result<Vec<Problem>, LedgerError> {
    let read = storage.read(CHECKPOINT_FILE);
    let Some(note) = read.map_err(io_error(format!("read {CHECKPOINT_FILE}")))? else {
        let what = "a sealed ledger must have its checkpoint; opening it for writing writes it";
        let missing = is_sealed.then(|| Problem::of_file(CHECKPOINT_FILE, what));
        return Ok(missing.into_iter().collect());
    };
    let note = String::from_utf8(note).ok();
    let opened = note.and_then(|note| Checkpoint::open(&note, key).ok());
    let is_ours = |checkpoint: &Checkpoint| {
        checkpoint.size <= tree.size()
            && root_at(checkpoint.size, tree).is_ok_and(|root| root == checkpoint.root)
    };
    let Some(checkpoint) = opened.filter(is_ours) else {
        let what = "this is no signed checkpoint of this log";
        return Ok(vec![Problem::of_file(CHECKPOINT_FILE, what)]);
    };
    let mut problems = Vec::new();
    for tile in tiles_of(checkpoint.size) {
        let path = tile.to_string();
        let what = if tile.is_full() {
            let length = storage.length(&path);
            let length = length.map_err(io_error(format!("read {path}")))?;
            length.is_none().then_some("this file is missing")
        } else {
            let found = storage.read(&path);
            match found.map_err(io_error(format!("read {path}")))? {
                None => Some("this file is missing"),
                Some(found) => (!is_content(tile, &found, tree))
                    .then_some("this file is not what the log says"),
            }
        };
        problems.extend(what.map(|what| Problem::of_file(path, what)));
    }
    Ok(problems)
}

/// Whether a tile or bundle holds what the tree says.
fn is_content(tile: Tile, found: &[u8], tree: &Levels) -> bool {
    if tile.kind != TileKind::Entries {
        return tile.hashes(tree).is_ok_and(|hashes| hashes == found);
    }
    let first = tile.index * u64::from(TILE_WIDTH);
    let entries = bundle::parse(found, tile.width).unwrap_or_default();
    entries.len() == usize::from(tile.width)
        && (first..)
            .zip(entries)
            .all(|(index, entry)| tree.node(0, index) == Ok(leaf_hash(entry)))
}
