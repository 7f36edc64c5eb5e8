//! Full tiles and entry bundles: derived from the log, written once when they are full.
//!
//! A growing log has no partial tiles on disk: each is a prefix of the full one, and the log has
//! every record anyway. An export writes them for its one checkpoint.

use axiom_hive_core::tlog::tile::TILE_WIDTH;
use axiom_hive_core::tlog::{Tile, TileKind, bundle, tiles_of};

use super::error::{LedgerError, Problem, Problems, io_error};
use super::reader::LedgerReader;

/// The content of a tile of the ledger's tree.
pub(super) fn content(ledger: &LedgerReader, tile: Tile) -> Result<Vec<u8>, LedgerError> {
    let outside = |what: String| {
        LedgerError::Damaged(Problems(vec![Problem::of_file(tile.to_string(), what)]))
    };
    if tile.kind != TileKind::Entries {
        let hashes = tile.hashes(&ledger.log.tree);
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

/// The tiles that the last record completed: one of each level that ends with it, and the bundle.
fn completed(size: u64) -> impl Iterator<Item = Tile> {
    let width = u64::from(TILE_WIDTH);
    let levels = (0..8_u8).map_while(move |level| {
        let nodes = size >> (8 * u32::from(level));
        let is_whole = size > 0 && size.trailing_zeros() >= 8 * (u32::from(level) + 1);
        is_whole.then(|| Tile {
            kind: TileKind::Hashes { level },
            index: nodes / width - 1,
            width: TILE_WIDTH,
        })
    });
    let bundle = (size > 0 && size.is_multiple_of(width)).then(|| Tile {
        kind: TileKind::Entries,
        index: size / width - 1,
        width: TILE_WIDTH,
    });
    levels.chain(bundle)
}

/// Writes the tiles that the last record completed.
pub(super) fn write_completed(ledger: &LedgerReader) -> Result<(), LedgerError> {
    completed(ledger.size()).try_for_each(|tile| write(ledger, tile))
}

/// Writes every full tile that is missing or cut short; a crash leaves out at most the last ones.
pub(super) fn write_missing(ledger: &LedgerReader) -> Result<(), LedgerError> {
    for tile in full_tiles(ledger.size()) {
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

fn write(ledger: &LedgerReader, tile: Tile) -> Result<(), LedgerError> {
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
    fn completed_tiles_are_the_new_full_ones() {
        for size in (0..=1030).chain([65_535, 65_536, 65_537, 131_072]) {
            let before: Vec<Tile> = full_tiles(size.max(1) - 1).collect();
            let mut new: Vec<Tile> = full_tiles(size).filter(|t| !before.contains(t)).collect();
            let mut found: Vec<Tile> = completed(size).collect();
            new.sort();
            found.sort();
            assert_eq!(found, new, "size {size}");
        }
    }
}
