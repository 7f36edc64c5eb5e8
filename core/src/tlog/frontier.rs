//! The frontier (compact range from 0): the roots of the complete subtrees of a growing tree.
//!
//! A tree of `size` entries has one complete subtree per set bit of `size`; the frontier holds
//! their roots, the largest first. That is all that is needed to append and to compute the root.
//!
//! ```
//! use axiom_hive_core::tlog::{Frontier, leaf_hash, node_hash};
//! let (a, b, c) = (leaf_hash(b"a"), leaf_hash(b"b"), leaf_hash(b"c"));
//! let mut frontier = Frontier::new();
//! for leaf in [a, b, c] {
//!     frontier.push(leaf);
//! }
//! assert_eq!(frontier.size(), 3);
//! assert_eq!(frontier.peaks(), [node_hash(&a, &b), c]);
//! assert_eq!(frontier.root(), node_hash(&node_hash(&a, &b), &c));
//! ```

use super::{EMPTY_ROOT, Hash, node_hash};

/// The roots of the complete subtrees of a tree, the largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// One per set bit of `size`: at most 64.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// Of the empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Of a tree of `size` entries with these complete subtrees, the largest first; `None` when
    /// their number is not that of the set bits of `size`.
    #[must_use]
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (size.count_ones() as usize == peaks.len()).then_some(Self { size, peaks })
    }

    /// Entries so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, the largest first.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends an entry by its leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        self.push_with(leaf, |_, _| {});
    }

    /// Appends an entry by its leaf hash and calls `new_node(level, hash)` for every complete
    /// subtree that it closes, from level 0 (the leaf itself) upward.
    pub fn push_with(&mut self, leaf: Hash, mut new_node: impl FnMut(u32, Hash)) {
        let mut node = leaf;
        new_node(0, node);
        // Each trailing set bit of the size is a complete subtree that now gets its right sibling.
        for level in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
                new_node(level + 1, node);
            }
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(smallest) = peaks.next() else {
            return EMPTY_ROOT;
        };
        peaks.fold(*smallest, |right, left| node_hash(left, &right))
    }
}
