//! A tree that is put together from parts, each hashed by its own thread.

use axiom_hive_core::tlog::{Hash, MissingNode, NodeReader, node_hash, node_hashes};

/// The complete subtrees that lie within one run of entries.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    /// The number of the first entry.
    first: u64,
    /// By level: the first node's number, and the nodes.
    levels: Vec<(u64, Vec<Hash>)>,
}

impl Part {
    /// Of the entries from `first` on, by their leaf hashes.
    pub(super) fn new(first: u64, leaves: Vec<Hash>) -> Self {
        let mut levels = vec![(first, leaves)];
        while let Some((start, nodes)) = levels.last() {
            // The first node may be a right child, whose sibling lies in the part before.
            let skip = usize::from(!start.is_multiple_of(2));
            let pairs = nodes.get(skip..).unwrap_or_default().as_chunks::<2>().0;
            if pairs.is_empty() {
                break;
            }
            let parents = node_hashes(pairs);
            levels.push((start.div_ceil(2), parents));
        }
        Self { first, levels }
    }
}

/// A whole tree, in the order of its parts.
#[derive(Debug, Clone, Default)]
pub(super) struct Levels(Vec<Vec<Hash>>);

impl Levels {
    pub(super) fn size(&self) -> u64 {
        self.0.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Adds the part that follows; parts must come without a gap.
    pub(super) fn push(&mut self, part: Part) {
        debug_assert_eq!(part.first, self.size());
        let mut levels = part.levels.into_iter();
        for level in 0_usize.. {
            let part = levels.next();
            // Level 0 has no children to be made of.
            let ready = level
                .checked_sub(1)
                .map_or(0, |below| self.0[below].len() as u64 / 2);
            if part.is_none() && ready == self.0.get(level).map_or(0, Vec::len) as u64 {
                break;
            }
            if self.0.len() == level {
                self.0.push(Vec::new());
            }
            if let Some((start, nodes)) = part {
                self.fill(level, start);
                self.0[level].extend(nodes);
            }
            self.fill(level, ready);
        }
    }

    /// Hashes the nodes of `level` up to number `end` that lie across two parts.
    fn fill(&mut self, level: usize, end: u64) {
        let end = usize::try_from(end).unwrap_or(usize::MAX);
        while level > 0 && self.0[level].len() < end {
            let at = self.0[level].len() * 2;
            let [left, right] = [self.0[level - 1][at], self.0[level - 1][at + 1]];
            self.0[level].push(node_hash(&left, &right));
        }
    }
}

impl NodeReader for Levels {
    type Error = MissingNode;

    fn node(&self, level: u32, index: u64) -> Result<Hash, MissingNode> {
        let nodes = self.0.get(level as usize);
        let node = nodes.and_then(|nodes| nodes.get(usize::try_from(index).ok()?));
        node.copied().ok_or(MissingNode { level, index })
    }
}

#[cfg(test)]
mod tests {
    use axiom_hive_core::tlog::{MemTree, leaf_hash, root_at};

    use super::*;

    #[test]
    fn parts_of_any_length_give_the_tree() {
        for lengths in [
            &[1, 1, 1, 1][..],
            &[3, 5, 1, 8],
            &[7],
            &[0, 256, 1, 300, 2],
            &[],
        ] {
            let (mut tree, mut levels) = (MemTree::new(), Levels::default());
            for length in lengths {
                let first = tree.size();
                let leaves: Vec<Hash> = (first..first + length)
                    .map(|n| leaf_hash(&n.to_be_bytes()))
                    .collect();
                for leaf in &leaves {
                    tree.push(*leaf);
                }
                levels.push(Part::new(first, leaves));
                assert_eq!(levels.size(), tree.size());
                for size in 0..=tree.size() {
                    assert_eq!(root_at(size, &levels), tree.root_at(size));
                }
            }
        }
    }
}
