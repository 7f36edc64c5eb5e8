//! Hash tiles and their paths: C2SP tlog-tiles.
//!
//! ```text
//! tile/<L>/<N>[.p/<W>]         hashes: level L in 0..=63, tile number N, width W in 1..=255
//! tile/entries/<N>[.p/<W>]     entries, see the module `bundle`
//! ```
//!
//! `N` is written in groups of three digits, all but the last with a leading `x`. A full tile has
//! no `.p/<W>` and holds 256 hashes of 32 bytes. Hash `i` of tile `n` at level `l` is the root of
//! the entries `(256n + i) · 256^l .. (256n + i + 1) · 256^l`. A partial tile is a prefix of the
//! full one; a tree of `s` entries has a partial tile of width ⌊s / 256^l⌋ mod 256 at level `l`,
//! and none when that is 0.
//!
//! ```
//! use axiom_hive_core::tlog::{Tile, TileKind, tiles_of};
//! let tile = Tile { kind: TileKind::Hashes { level: 0 }, index: 1_234_067, width: 256 };
//! assert_eq!(tile.to_string(), "tile/0/x001/x234/067");
//! assert_eq!("tile/0/x001/x234/067".parse(), Ok(tile));
//!
//! // The example of the specification.
//! let partial: Vec<String> =
//!     tiles_of(70_000).filter(|t| !t.is_full()).map(|t| t.to_string()).collect();
//! assert_eq!(
//!     partial,
//!     ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1", "tile/entries/273.p/112"],
//! );
//! ```

use std::fmt;

use super::{Hash, NodeReader};

/// Hashes or entries of a full tile.
pub const TILE_WIDTH: u16 = 256;
/// Tree levels that one tile spans.
const TILE_HEIGHT: u32 = 8;
/// The highest tile level of the format.
const MAX_TILE_LEVEL: u8 = 63;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes of tile level 0..=63 (tree level 8 · `level`).
    Hashes {
        /// The tile level.
        level: u8,
    },
    /// Entries.
    Entries,
}

/// One tile: a file of a static tree, or a request to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// What it holds.
    pub kind: TileKind,
    /// N, counted from 0 within the level.
    pub index: u64,
    /// 1..=256; 256 is a full tile.
    pub width: u16,
}

/// A path or a content is not a tile's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// No tile path.
    #[error("a tile path must be tile/<L>/<N>[.p/<W>] or tile/entries/<N>[.p/<W>]")]
    Path,
    /// Not 32 bytes for each hash of the width.
    #[error("a tile must hold exactly 32 bytes for each hash of its width")]
    Length,
}

impl Tile {
    /// Whether the tile is full, and so never changes.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Whether a tree of `size` entries has every node of the tile: it, or a tree of a size before,
    /// has the tile.
    #[must_use]
    pub fn is_within(&self, size: u64) -> bool {
        let level = match self.kind {
            TileKind::Hashes { level } => u32::from(level) * TILE_HEIGHT,
            TileKind::Entries => 0,
        };
        let nodes = size.checked_shr(level).unwrap_or(0);
        let end = self.index.checked_mul(u64::from(TILE_WIDTH));
        let end = end.and_then(|first| first.checked_add(u64::from(self.width)));
        end.is_some_and(|end| end <= nodes)
    }

    /// The content of a hash tile, read node by node; for [`TileKind::Entries`] the leaf hashes.
    pub fn hashes<R: NodeReader>(&self, reader: &R) -> Result<Vec<u8>, R::Error> {
        let level = match self.kind {
            TileKind::Hashes { level } => u32::from(level) * TILE_HEIGHT,
            TileKind::Entries => 0,
        };
        let first = self.index * u64::from(TILE_WIDTH);
        let mut content = Vec::with_capacity(usize::from(self.width) * 32);
        for index in first..first + u64::from(self.width) {
            content.extend_from_slice(&reader.node(level, index)?.0);
        }
        Ok(content)
    }

    /// Splits the content of a hash tile of this width.
    pub fn parse_hashes(&self, content: &[u8]) -> Result<Vec<Hash>, TileError> {
        let (hashes, rest) = content.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() != usize::from(self.width) {
            return Err(TileError::Length);
        }
        Ok(hashes.iter().copied().map(Hash).collect())
    }
}

/// Every tile of a tree of `size` entries: the hash tiles level by level, each from the left, then
/// the entry bundles.
pub fn tiles_of(size: u64) -> impl Iterator<Item = Tile> {
    let levels = (0..=7_u8)
        .map(move |level| {
            (
                TileKind::Hashes { level },
                size >> (u32::from(level) * TILE_HEIGHT),
            )
        })
        .take_while(|(_, nodes)| *nodes > 0);
    let entries = (size > 0).then_some((TileKind::Entries, size));
    levels.chain(entries).flat_map(|(kind, nodes)| {
        let width = u64::from(TILE_WIDTH);
        (0..nodes.div_ceil(width)).map(move |index| Tile {
            kind,
            index,
            width: (nodes - index * width).min(width) as u16,
        })
    })
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes { level } => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let digits = self.index.to_string();
        let digits = format!(
            "{digits:0>width$}",
            width = digits.len().next_multiple_of(3)
        );
        for (at, group) in (0..digits.len())
            .step_by(3)
            .map(|at| (at, &digits[at..at + 3]))
        {
            let is_last = at + 3 == digits.len();
            write!(
                f,
                "{}{group}{}",
                if is_last { "" } else { "x" },
                if is_last { "" } else { "/" }
            )?;
        }
        if self.is_full() {
            Ok(())
        } else {
            write!(f, ".p/{}", self.width)
        }
    }
}

impl std::str::FromStr for Tile {
    type Err = TileError;

    fn from_str(path: &str) -> Result<Self, TileError> {
        parse_path(path)
            // One tile has one path: no superfluous zero anywhere.
            .filter(|tile| tile.to_string() == path)
            .ok_or(TileError::Path)
    }
}

fn parse_path(path: &str) -> Option<Tile> {
    let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes {
            level: parse_digits(level, 2).filter(|l| *l <= MAX_TILE_LEVEL.into())? as u8,
        },
    };
    let (number, width) = match rest.split_once(".p/") {
        Some((number, width)) => (
            number,
            parse_digits(width, 3).filter(|w| (1..=255).contains(w))?,
        ),
        None => (rest, TILE_WIDTH.into()),
    };
    let mut index: u64 = 0;
    let mut groups = number.split('/').peekable();
    while let Some(group) = groups.next() {
        let digits = if groups.peek().is_some() {
            group.strip_prefix('x')?
        } else {
            group
        };
        if digits.len() != 3 {
            return None;
        }
        index = index
            .checked_mul(1000)?
            .checked_add(parse_digits(digits, 3)?)?;
    }
    // The tile's nodes must have numbers.
    index
        .checked_mul(TILE_WIDTH.into())?
        .checked_add(TILE_WIDTH.into())?;
    Some(Tile {
        kind,
        index,
        width: width as u16,
    })
}

/// 1..=`max` ASCII digits and nothing else (`str::parse` would take a sign).
fn parse_digits(text: &str, max: usize) -> Option<u64> {
    let fits = (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_is_within_every_tree_that_has_grown_over_it() {
        let tiles: Vec<Tile> = (1..=600).flat_map(tiles_of).collect();
        for tile in tiles {
            let first = (1..=600).find(|size| tiles_of(*size).any(|other| other == tile));
            let first = first.unwrap_or(0);
            assert!(tile.is_within(first) && tile.is_within(first + 1) && tile.is_within(u64::MAX));
            assert!(!tile.is_within(first - 1), "{tile} at {first}");
        }
    }

    #[test]
    fn no_tree_reaches_the_last_levels() {
        let tile = Tile {
            kind: TileKind::Hashes { level: 63 },
            index: 0,
            width: 1,
        };
        assert!(!tile.is_within(u64::MAX));
    }
}
