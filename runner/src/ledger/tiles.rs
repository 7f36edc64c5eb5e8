//! Full tiles and entry bundles: derived from the log, written once when they are full.
//!
//! A growing log has no partial tiles on disk: each is a prefix of the full one, and the log has
//! every record anyway. An export writes them for its one checkpoint.

use axiom_hive_core::tlog::tile::TILE_WIDTH;
use axiom_hive_core::tlog::{Tile, TileKind, bundle, tiles_of};

use super::error::{LedgerError, Problem, Problems, io_error};
use super::indexes::write_indexes;
use super::nodes::Nodes;
use super::reader::LedgerReader;

/// The content of a tile of the ledger's tree.
pub(super) fn content(ledger: &LedgerReader, tile: Tile) -> Result<Vec<u8>, LedgerError> {
    let outside = |what: String| {
        LedgerError::Damaged(Problems(vec![Problem::of_file(tile.to_string(), what)]))
    };
    if tile.kind != TileKind::Entries {
        let hashes = tile.hashes(&Nodes(ledger));
        return hashes.map_err(|error| outside(error.to_string()));
    }
    let first = tile.index * u64::from(TILE_WIDTH);
    let mut content = Vec::new();
    for index in first..first + u64::from(tile.width) {
        let entry = ledger.record_bytes(index)?;
        bundle::push_entry(&mut content, &entry).map_err(|error| outside(error.to_string()))?;
    }
    Ok(content)
}

/// The full tiles of a tree of `size` entries.
pub(super) fn full_tiles(size: u64) -> impl Iterator<Item = Tile> {
    tiles_of(size).filter(Tile::is_full)
}

/// The full tiles that a tree of `size` entries has and one of `old` entries has not.
fn new_full_tiles(old: u64, size: u64) -> impl Iterator<Item = Tile> {
    let levels = (0..8_u8).flat_map(move |level| {
        let width = 8 * (u32::from(level) + 1);
        // A tile of level 7 would have 2^64 entries.
        let tiles = |size: u64| size.checked_shr(width).unwrap_or(0);
        (tiles(old)..tiles(size)).map(move |index| (TileKind::Hashes { level }, index))
    });
    let width = u64::from(TILE_WIDTH);
    let bundles = (old / width..size / width).map(|index| (TileKind::Entries, index));
    levels.chain(bundles).map(|(kind, index)| Tile {
        kind,
        index,
        width: TILE_WIDTH,
    })
}

/// Writes the full tiles that became full since the tree had `old` entries. What it gives is up to
/// where all are written.
pub(super) fn write_new(ledger: &LedgerReader, old: u64) -> Result<u64, LedgerError> {
    let size = ledger.size();
    new_full_tiles(old, size).try_for_each(|tile| write(ledger, tile))?;
    // Only now may the tree let go of what the tiles say.
    write_indexes(ledger)?;
    Ok(size)
}

/// Writes every full tile that is missing or cut short, of those that became full since the tree had `old`
/// entries; a crash leaves out at most the last ones.
pub(super) fn write_missing(ledger: &LedgerReader, old: u64) -> Result<(), LedgerError> {
    for tile in new_full_tiles(old, ledger.size()) {
        let path = tile.to_string();
        let length = ledger
            .storage
            .length(&path)
            .map_err(io_error(format!("read {path}")))?;
        if length.is_none_or(|length| length == 0) {
            write(ledger, tile)?;
        }
    }
    Ok(())
}

pub(super) fn write(ledger: &LedgerReader, tile: Tile) -> Result<(), LedgerError> {
    let path = tile.to_string();
    let content = content(ledger, tile)?;
    ledger
        .storage
        .replace(&path, &content, true)
        .map_err(io_error(format!("write {path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_full_tiles_are_those_that_were_not_full_before() {
        let sizes = [0, 1, 255, 256, 257, 1030, 65_535, 65_536, 65_537, 131_072];
        for (at, old) in sizes.iter().enumerate() {
            for size in &sizes[at..] {
                let before: Vec<Tile> = full_tiles(*old).collect();
                let mut new: Vec<Tile> =
                    full_tiles(*size).filter(|t| !before.contains(t)).collect();
                let mut found: Vec<Tile> = new_full_tiles(*old, *size).collect();
                new.sort();
                found.sort();
                assert_eq!(found, new, "{old} to {size}");
            }
        }
        assert_eq!(new_full_tiles(u64::MAX, u64::MAX).count(), 0);
    }
}
