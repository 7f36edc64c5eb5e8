//! The tree of a ledger that grows: the nodes that readers see, and the growth that a writer is
//! about to make durable.

use axiom_hive_core::tlog::{Frontier, Hash, MissingNode, NodeReader};

/// Every complete subtree of the entries that are durable.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    frontier: Frontier,
    /// By level: the nodes from the first.
    levels: Vec<Vec<Hash>>,
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
                self.levels.push(Vec::new());
            }
            // A parent comes after its children, so its level is at most one too many.
            if let Some(nodes) = self.levels.get_mut(level) {
                nodes.push(node);
            }
        }
        self.frontier = growth.frontier;
    }
}

impl NodeReader for Tree {
    type Error = MissingNode;

    fn node(&self, level: u32, index: u64) -> Result<Hash, MissingNode> {
        let nodes = self.levels.get(level as usize);
        let node = nodes.and_then(|nodes| nodes.get(usize::try_from(index).ok()?));
        node.copied().ok_or(MissingNode { level, index })
    }
}

#[cfg(test)]
mod tests {
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
}
