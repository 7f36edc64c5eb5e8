//! The nodes of the whole tree: those in memory, and those below an old full tile.
//!
//! A tile is derived data, and its file has no checksum. Its root, however, is in memory, under the signed
//! head: a file that is missing or does not give it is passed over, and the records are hashed instead.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axiom_hive_core::tlog::tile::TILE_WIDTH;
use axiom_hive_core::tlog::{Hash, NodeReader, Tile, TileKind, leaf_hash, node_hashes};

use super::error::{LedgerError, Problem, Problems, io_error};
use super::index::TILE_ENTRIES;
use super::reader::LedgerReader;
use super::tree::TILE_LEVEL;

/// Old tiles in memory: together 4 MiB.
const MAX_TILES: usize = 256;

/// By level: the nodes below the root of a full tile.
type Below = Vec<Vec<Hash>>;

/// The old tiles that were needed lately.
#[derive(Debug, Default)]
pub(super) struct Tiles(Mutex<VecDeque<(u64, Arc<Below>)>>);

/// The tree of a ledger.
pub(super) struct Nodes<'a>(pub(super) &'a LedgerReader);

impl NodeReader for Nodes<'_> {
    type Error = LedgerError;

    fn node(&self, level: u32, index: u64) -> Result<Hash, LedgerError> {
        // The guard must go before anything else is read.
        let kept = self.0.log().tree.node(level, index);
        let missing = match kept {
            Ok(node) => return Ok(node),
            Err(missing) => damaged(index, &missing.to_string()),
        };
        let Some(above) = TILE_LEVEL.checked_sub(level).filter(|above| *above > 0) else {
            return Err(missing);
        };
        let tile = index >> above;
        let below = self.below(tile)?;
        let nodes = below.get(level as usize);
        let node = nodes.and_then(|nodes| nodes.get((index - (tile << above)) as usize));
        node.copied().ok_or(missing)
    }
}

impl Nodes<'_> {
    /// What lies below a full tile's root.
    fn below(&self, tile: u64) -> Result<Arc<Below>, LedgerError> {
        let cache = || {
            let Tiles(tiles) = &*self.0.tiles;
            tiles.lock().unwrap_or_else(PoisonError::into_inner)
        };
        if let Some((_, below)) = cache().iter().find(|(number, _)| *number == tile) {
            return Ok(Arc::clone(below));
        }
        let root = self.0.log().tree.node(TILE_LEVEL, tile);
        let root = root.map_err(|missing| damaged(tile * TILE_ENTRIES, &missing.to_string()))?;
        let stored = self.stored(tile)?.filter(|below| is_below(below, root));
        let below = match stored {
            Some(below) => below,
            None => self.hashed(tile)?,
        };
        if !is_below(&below, root) {
            let what = "these records are not those that were signed";
            return Err(damaged(tile * TILE_ENTRIES, what));
        }
        let below = Arc::new(below);
        let mut tiles = cache();
        if tiles.len() == MAX_TILES {
            tiles.pop_front();
        }
        tiles.push_back((tile, Arc::clone(&below)));
        Ok(below)
    }

    /// As the tile's file says.
    fn stored(&self, index: u64) -> Result<Option<Below>, LedgerError> {
        let tile = Tile {
            kind: TileKind::Hashes { level: 0 },
            index,
            width: TILE_WIDTH,
        };
        let path = tile.to_string();
        let bytes = self.0.storage.read(&path);
        let bytes = bytes.map_err(io_error(format!("read {path}")))?;
        Ok(bytes
            .filter(|b| b.len() == 32 * TILE_WIDTH as usize)
            .map(|b| {
                let hashes = b.as_chunks::<32>().0.iter();
                below(hashes.map(|hash| Hash(*hash)).collect())
            }))
    }

    /// As the records say.
    fn hashed(&self, tile: u64) -> Result<Below, LedgerError> {
        let first = tile * TILE_ENTRIES;
        let leaves = (first..first + TILE_ENTRIES)
            .map(|index| Ok(leaf_hash(&self.0.record_bytes(index)?)))
            .collect::<Result<_, LedgerError>>()?;
        Ok(below(leaves))
    }
}

/// The nodes over 256 leaves, up to the root.
fn below(leaves: Vec<Hash>) -> Below {
    let mut levels = vec![leaves];
    while let Some(nodes) = levels.last().filter(|nodes| nodes.len() > 1) {
        let parents = node_hashes(nodes.as_chunks::<2>().0);
        levels.push(parents);
    }
    levels
}

fn is_below(below: &Below, root: Hash) -> bool {
    below.last().is_some_and(|nodes| *nodes == [root])
}

fn damaged(index: u64, what: &str) -> LedgerError {
    let problem = Problem::of_file("log", what).at(0, index);
    LedgerError::Damaged(Problems(vec![problem]))
}
