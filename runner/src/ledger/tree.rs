//! The tree of a ledger that grows: the nodes that readers see, and the growth that a writer is
//! about to make durable.

use axiom_hive_core::tlog::{Frontier, Hash, MissingNode, NodeReader};

/// The level of the nodes over the entries of one full tile.
pub(super) const TILE_LEVEL: u32 = 8;

/// Every complete subtree of the entries that are durable; of old entries only those of a full tile's
/// entries and more.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    frontier: Frontier,
    /// By level: the number of the first node that is kept, and the nodes from there on.
    levels: Vec<(u64, Vec<Hash>)>,
}

/// What some more entries add to a tree.
#[derive(Debug)]
pub(super) struct Growth {
    frontier: Frontier,
    /// Level and hash of each new node; those of one level in their order.
    nodes: Vec<(u32, Hash)>,
}

impl Growth {
    /// Entries with the new ones.
    pub(super) fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The root over all of them.
    pub(super) fn root(&self) -> Hash {
        self.frontier.root()
    }
}

impl Tree {
    /// Of so many full tiles, by the roots over their entries, and the leaves that follow.
    pub(super) fn from_tiles(roots: &[Hash], leaves: Vec<Hash>) -> Self {
        let tiles = roots.len() as u64;
        let mut levels: Vec<_> = (0..TILE_LEVEL)
            .map(|level| (tiles << (TILE_LEVEL - level), Vec::new()))
            .collect();
        let mut frontier = Frontier::new();
        for root in roots {
            frontier.push_with(*root, |level, node| {
                let level = (level + TILE_LEVEL) as usize;
                if level == levels.len() {
                    levels.push((0, Vec::new()));
                }
                if let Some((_, nodes)) = levels.get_mut(level) {
                    nodes.push(node);
                }
            });
        }
        // A subtree of tiles is one of entries, 8 levels higher.
        let peaks = frontier.peaks().to_vec();
        let frontier = Frontier::from_peaks(tiles << TILE_LEVEL, peaks).unwrap_or_default();
        let mut tree = Self { frontier, levels };
        let growth = tree.grow(leaves);
        tree.take(growth);
        tree
    }

    /// Lets go of what lies below the roots of the first full tiles.
    pub(super) fn forget(&mut self, tiles: u64) {
        for (level, (first, nodes)) in (0..TILE_LEVEL).zip(&mut self.levels) {
            let end = (tiles << (TILE_LEVEL - level)).saturating_sub(*first);
            let end = usize::try_from(end).unwrap_or(usize::MAX).min(nodes.len());
            *nodes = nodes.split_off(end);
            *first += end as u64;
        }
    }

    pub(super) fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Hashes more entries into the tree, without changing what readers see.
    pub(super) fn grow(&self, leaves: impl IntoIterator<Item = Hash>) -> Growth {
        let mut frontier = self.frontier.clone();
        let mut nodes = Vec::new();
        for leaf in leaves {
            frontier.push_with(leaf, |level, node| nodes.push((level, node)));
        }
        Growth { frontier, nodes }
    }

    /// Makes a growth of this very tree part of it.
    pub(super) fn take(&mut self, growth: Growth) {
        for (level, node) in growth.nodes {
            let level = level as usize;
            if level == self.levels.len() {
                self.levels.push((0, Vec::new()));
            }
            // A parent comes after its children, so its level is at most one too many.
            if let Some((_, nodes)) = self.levels.get_mut(level) {
                nodes.push(node);
            }
        }
        self.frontier = growth.frontier;
    }
}

impl NodeReader for Tree {
    type Error = MissingNode;

    fn node(&self, level: u32, index: u64) -> Result<Hash, MissingNode> {
        let kept = self.levels.get(level as usize);
        let node = kept.and_then(|(first, nodes)| {
            nodes.get(usize::try_from(index.checked_sub(*first)?).ok()?)
        });
        node.copied().ok_or(MissingNode { level, index })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axiom_hive_core::tlog::{MemTree, leaf_hash, root_at};

    use super::*;

    #[test]
    fn growth_by_any_number_of_entries_gives_the_tree() {
        let (mut tree, mut expected) = (Tree::default(), MemTree::new());
        for length in [1, 1, 2, 0, 5, 256, 3, 300] {
            let first = expected.size();
            let leaves: Vec<Hash> = (first..first + length)
                .map(|n| leaf_hash(&n.to_be_bytes()))
                .collect();
            let growth = tree.grow(leaves.iter().copied());
            assert_eq!(tree.root(), expected.root(), "nothing is seen yet");
            for leaf in leaves {
                expected.push(leaf);
            }
            assert_eq!(
                (growth.size(), growth.root()),
                (expected.size(), expected.root())
            );
            tree.take(growth);
            assert_eq!(tree.root(), expected.root());
            for size in 0..=expected.size() {
                assert_eq!(root_at(size, &tree), expected.root_at(size));
            }
        }
    }

    #[test]
    fn a_tree_of_tiles_goes_on_as_the_whole_one() {
        for size in [0, 1, 255, 256, 700, 2048, 2049] {
            let leaves = |range: std::ops::Range<u64>| -> Vec<Hash> {
                range.map(|n| leaf_hash(&n.to_be_bytes())).collect()
            };
            let mut whole = Tree::default();
            whole.take(whole.grow(leaves(0..size)));
            let tiles = size / 256;
            let roots: Vec<Hash> = (0..tiles).map(|n| whole.node(8, n).unwrap()).collect();
            let mut tree = Tree::from_tiles(&roots, leaves(tiles * 256..size));
            assert_eq!(tree.root(), whole.root());
            for tree in [&mut tree, &mut whole] {
                tree.take(tree.grow(leaves(size..size + 300)));
                tree.forget(tiles);
            }
            assert_eq!(tree.root(), whole.root());
            assert_eq!(tree.levels, whole.levels);
            assert_eq!(tree.node(0, 0).is_err(), tiles > 0);
        }
    }
}
