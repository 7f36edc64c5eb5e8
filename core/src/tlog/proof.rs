//! Inclusion and consistency proofs: RFC 6962 sections 2.1.1 and 2.1.2, verified by the algorithms
//! of RFC 9162 sections 2.1.3.2 and 2.1.4.2.
//!
//! A proof is a list of at most [`MAX_PROOF_HASHES`] nodes, from the leaf's side to the root's.
//!
//! ```
//! use axiom_hive_core::tlog::{
//!     MemTree, consistency_proof, inclusion_proof, leaf_hash, verify_consistency, verify_inclusion,
//! };
//! let mut tree = MemTree::new();
//! for entry in [b"a", b"b", b"c", b"d", b"e"] {
//!     tree.push(leaf_hash(entry));
//! }
//! let proof = inclusion_proof(2, 5, &tree).unwrap();
//! assert_eq!(proof.len(), 3);
//! assert_eq!(verify_inclusion(2, 5, &leaf_hash(b"c"), &proof, &tree.root()), Ok(()));
//!
//! let proof = consistency_proof(3, 5, &tree).unwrap();
//! let old = tree.root_at(3).unwrap();
//! assert_eq!(verify_consistency(3, 5, &old, &tree.root(), &proof), Ok(()));
//! ```

use super::{EMPTY_ROOT, Hash, MAX_TREE_SIZE, node_hash};

/// No valid proof has more hashes: a tree of at most 2^63 − 1 entries has 63 levels above the
/// leaves, and a consistency proof names one node more.
pub const MAX_PROOF_HASHES: usize = 64;

/// Access to the complete subtrees of a tree.
pub trait NodeReader {
    /// Why a node cannot be read.
    type Error;

    /// The root of the complete subtree over the entries
    /// `index · 2^level .. (index + 1) · 2^level`, all of which exist in the tree.
    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// Why a proof cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MakeProofError<E> {
    /// `index < size` (inclusion) or `1 ≤ old ≤ new` (consistency) does not hold.
    #[error(
        "no such proof: an inclusion proof needs index < size, a consistency proof 1 ≤ old ≤ new"
    )]
    OutOfRange,
    /// A node cannot be read.
    #[error(transparent)]
    Node(E),
}

/// Why a proof does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Index or sizes for which no proof exists.
    #[error("no such proof: index and sizes must lie in the tree")]
    OutOfRange,
    /// Too many or too few hashes for index and sizes.
    #[error("the proof has the wrong number of hashes")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// The root of the entries `start..end`, where `start` is a multiple of the smallest power of two
/// that is at least `end - start`. Reads at most 63 nodes.
fn range_root<R: NodeReader>(start: u64, end: u64, reader: &R) -> Result<Hash, R::Error> {
    let mut peaks = [EMPTY_ROOT; 64];
    let mut count = 0;
    let mut at = start;
    while at < end {
        let level = (end - at).ilog2();
        peaks[count] = reader.node(level, at >> level)?;
        count += 1;
        at += 1 << level;
    }
    let mut smallest_first = peaks[..count].iter().rev();
    let Some(smallest) = smallest_first.next() else {
        return Ok(EMPTY_ROOT);
    };
    Ok(smallest_first.fold(*smallest, |right, left| node_hash(left, &right)))
}

/// The root of the first `size` entries; `size` must not exceed the reader's tree.
pub fn root_at<R: NodeReader>(size: u64, reader: &R) -> Result<Hash, R::Error> {
    range_root(0, size, reader)
}

/// PATH(index, D[0..size]): the siblings from the leaf up.
pub fn inclusion_proof<R: NodeReader>(
    index: u64,
    size: u64,
    reader: &R,
) -> Result<Vec<Hash>, MakeProofError<R::Error>> {
    if index >= size || size > MAX_TREE_SIZE {
        return Err(MakeProofError::OutOfRange);
    }
    let (mut start, mut end) = (0, size);
    let mut proof = Vec::new();
    // From the root down: keep the half with the entry, note the root of the other.
    while end - start > 1 {
        let split = start + split_of(end - start);
        let (from, to) = if index < split {
            (split, end)
        } else {
            (start, split)
        };
        proof.push(range_root(from, to, reader).map_err(MakeProofError::Node)?);
        (start, end) = if index < split {
            (start, split)
        } else {
            (split, end)
        };
    }
    proof.reverse();
    Ok(proof)
}

/// PROOF(old, D[0..new]); empty when the sizes are equal.
pub fn consistency_proof<R: NodeReader>(
    old: u64,
    new: u64,
    reader: &R,
) -> Result<Vec<Hash>, MakeProofError<R::Error>> {
    if old == 0 || old > new || new > MAX_TREE_SIZE {
        return Err(MakeProofError::OutOfRange);
    }
    let (mut start, mut end) = (0, new);
    let mut proof = Vec::new();
    // From the root down to the range that ends where the old tree ended.
    while end != old {
        let split = start + split_of(end - start);
        let (from, to) = if old <= split {
            (split, end)
        } else {
            (start, split)
        };
        proof.push(range_root(from, to, reader).map_err(MakeProofError::Node)?);
        (start, end) = if old <= split {
            (start, split)
        } else {
            (split, end)
        };
    }
    // The verifier knows the whole old tree's root, but not that of a part.
    if start != 0 {
        proof.push(range_root(start, end, reader).map_err(MakeProofError::Node)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The largest power of two below `n`, for `n` ≥ 2.
fn split_of(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// Checks that the entry with hash `leaf` is number `index` of the `size` entries under `root`.
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: &Hash,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size || size > MAX_TREE_SIZE {
        return Err(ProofError::OutOfRange);
    }
    let mut node = *leaf;
    let (mut at, mut last) = (index, size - 1);
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if at & 1 == 1 || at == last {
            node = node_hash(sibling, &node);
            skip_missing_siblings(&mut at, &mut last);
        } else {
            node = node_hash(&node, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if node == *root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}

/// Climbs the levels on which the right edge has no right sibling.
fn skip_missing_siblings(at: &mut u64, last: &mut u64) {
    if *at != 0 {
        let levels = at.trailing_zeros();
        *at >>= levels;
        *last >>= levels;
    }
}

/// Checks that the tree of `new` entries under `new_root` begins with the tree of `old` entries
/// under `old_root`. There is no proof from the empty tree: it would say nothing, and
/// the caller must not take it for a statement.
pub fn verify_consistency(
    old: u64,
    new: u64,
    old_root: &Hash,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old == 0 || old > new || new > MAX_TREE_SIZE {
        return Err(ProofError::OutOfRange);
    }
    if old == new {
        return match (proof.is_empty(), old_root == new_root) {
            (true, true) => Ok(()),
            (false, _) => Err(ProofError::Length),
            (true, false) => Err(ProofError::Root),
        };
    }
    // Where the old tree is one complete subtree, the proof leaves its root out.
    let (seed, rest) = match proof {
        rest if old.is_power_of_two() => (old_root, rest),
        [seed, rest @ ..] => (seed, rest),
        [] => return Err(ProofError::Length),
    };
    let (mut old_node, mut new_node) = (*seed, *seed);
    let levels = (old - 1).trailing_ones();
    let (mut at, mut last) = ((old - 1) >> levels, (new - 1) >> levels);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if at & 1 == 1 || at == last {
            old_node = node_hash(sibling, &old_node);
            new_node = node_hash(sibling, &new_node);
            skip_missing_siblings(&mut at, &mut last);
        } else {
            new_node = node_hash(&new_node, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if old_node == *old_root && new_node == *new_root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}
