//! A tree in memory: every complete subtree's hash, 64 bytes an entry.
//!
//! ```
//! use axiom_hive_core::tlog::{MemTree, leaf_hash, root_of};
//! let mut tree = MemTree::new();
//! tree.push(leaf_hash(b"a"));
//! tree.push(leaf_hash(b"b"));
//! assert_eq!(tree.size(), 2);
//! assert_eq!(tree.root_at(1).unwrap(), leaf_hash(b"a"));
//! assert_eq!(tree.root(), root_of([b"a", b"b"]));
//! ```

use super::proof::{self, NodeReader};
use super::{EMPTY_ROOT, Hash, node_hash};

/// A growing tree in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemTree {
    /// `levels[l][i]` covers the entries `i · 2^l .. (i + 1) · 2^l`; only complete subtrees.
    levels: Vec<Vec<Hash>>,
}

/// A node that the tree does not have (yet).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tree has no complete subtree {index} at level {level}")]
pub struct MissingNode {
    /// 0 for leaves.
    pub level: u32,
    /// Counted from 0 within the level.
    pub index: u64,
}

impl MemTree {
    /// The empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Entries so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Appends an entry by its leaf hash; returns its index.
    pub fn push(&mut self, leaf: Hash) -> u64 {
        let index = self.size();
        let mut node = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let nodes = &mut self.levels[level];
            nodes.push(node);
            // An even count: the last two have a parent.
            match nodes.as_slice() {
                [.., left, right] if nodes.len().is_multiple_of(2) => node = node_hash(left, right),
                _ => break,
            }
        }
        index
    }

    /// Forgets the entries from `size` on.
    pub fn truncate(&mut self, size: u64) {
        for (level, nodes) in self.levels.iter_mut().enumerate() {
            nodes.truncate(usize::try_from(size >> level).unwrap_or(usize::MAX));
        }
        self.levels.retain(|nodes| !nodes.is_empty());
    }

    /// The root of all entries.
    #[must_use]
    pub fn root(&self) -> Hash {
        // Every node of this range exists.
        self.root_at(self.size()).unwrap_or(EMPTY_ROOT)
    }

    /// The root of the first `size` entries; an error when there are fewer.
    pub fn root_at(&self, size: u64) -> Result<Hash, MissingNode> {
        proof::root_at(size, self)
    }

    /// The leaf hashes.
    #[must_use]
    pub fn leaves(&self) -> &[Hash] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }
}

impl NodeReader for MemTree {
    type Error = MissingNode;

    fn node(&self, level: u32, index: u64) -> Result<Hash, MissingNode> {
        let nodes = self.levels.get(level as usize);
        let node = nodes.and_then(|nodes| nodes.get(usize::try_from(index).ok()?));
        node.copied().ok_or(MissingNode { level, index })
    }
}
