//! RFC 6962 section 2.1 hashing.
//!
//! ```text
//! MTH({})      = SHA-256("")
//! MTH({d})     = SHA-256(0x00 || d)
//! MTH(D[0..n]) = SHA-256(0x01 || MTH(D[0..k]) || MTH(D[k..n]))     k = largest power of two < n
//! ```
//!
//! ```
//! use axiom_hive_core::tlog::{EMPTY_ROOT, leaf_hash, node_hash, root_of};
//! assert_eq!(EMPTY_ROOT.to_string(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
//! let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
//! assert_eq!(root_of([b"a", b"b"]), node_hash(&a, &b));
//! ```

use serde::{Deserialize, Serialize};
use sha2::block_api::compress256;

use super::base64::text_form;
use super::lanes::{BLOCK_BYTES, Parts, State, compress_pair};

/// A node of the tree. Its text form is standard base64, 44 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(pub [u8; 32]);

text_form!(Hash, "hash");

/// The root of the empty tree: SHA-256 of nothing.
pub const EMPTY_ROOT: Hash = Hash([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

/// The hash of an entry: SHA-256(0x00 ‖ entry).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Message::new(LEAF, entry).hash()
}

/// The hashes of many entries; in less time than one by one.
#[must_use]
pub fn leaf_hashes(entries: &[&[u8]]) -> Vec<Hash> {
    let (pairs, last) = entries.as_chunks::<2>();
    let mut hashes = Vec::with_capacity(entries.len());
    for pair in pairs {
        hashes.extend(Message::hash_both(&pair.map(|it| Message::new(LEAF, it))));
    }
    hashes.extend(last.iter().map(|entry| leaf_hash(entry)));
    hashes
}

/// The hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Message::new(NODE, concatenated(&[*left, *right]).as_flattened()).hash()
}

/// The hashes of many inner nodes, by their children; in less time than one by one.
#[must_use]
pub fn node_hashes(children: &[[Hash; 2]]) -> Vec<Hash> {
    let (pairs, last) = children.as_chunks::<2>();
    let mut hashes = Vec::with_capacity(children.len());
    for pair in pairs {
        let [one, two] = pair.each_ref().map(concatenated);
        let messages = [&one, &two].map(|content| Message::new(NODE, content.as_flattened()));
        hashes.extend(Message::hash_both(&messages));
    }
    hashes.extend(last.iter().map(|[left, right]| node_hash(left, right)));
    hashes
}

fn concatenated(children: &[Hash; 2]) -> [[u8; 32]; 2] {
    children.map(|hash| hash.0)
}

const LEAF: u8 = 0;
const NODE: u8 = 1;
/// The least that SHA-256 adds to a message: one bit, in a byte of its own, and the length.
const PADDING_BYTES: usize = 9;
/// FIPS 180-4 section 5.3.3.
const INITIAL_STATE: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// A prefix and what follows it, cut into blocks and padded (FIPS 180-4 section 5.1.1). What is not
/// at an end stays where it is: a verifier does little else than hash short messages, and the crate's
/// buffer costs it a fifth more.
struct Message<'m> {
    front: Option<[u8; BLOCK_BYTES]>,
    middle: &'m [[u8; BLOCK_BYTES]],
    end: [[u8; BLOCK_BYTES]; 2],
    end_blocks: usize,
}

impl<'m> Message<'m> {
    fn new(prefix: u8, content: &'m [u8]) -> Self {
        let mut end = [[0; BLOCK_BYTES]; 2];
        let bytes = end.as_flattened_mut();
        let (front, middle, rest, start) = if let Some((first, rest)) = content.split_first_chunk()
        {
            let (middle, rest) = rest.as_chunks();
            (Some(prefixed(prefix, first)), middle, rest, 0)
        } else {
            bytes[0] = prefix;
            (None, [].as_slice(), content, 1)
        };
        let length = start + rest.len();
        bytes[start..length].copy_from_slice(rest);
        bytes[length] = 0x80;
        let end_blocks = (length + PADDING_BYTES).div_ceil(BLOCK_BYTES);
        let bits = 8 * (1 + content.len() as u64);
        end[end_blocks - 1][BLOCK_BYTES - 8..].copy_from_slice(&bits.to_be_bytes());
        Self {
            front,
            middle,
            end,
            end_blocks,
        }
    }

    fn parts(&self) -> Parts<'_> {
        let end = &self.end[..self.end_blocks];
        [self.front.as_slice(), self.middle, end]
    }

    fn hash(&self) -> Hash {
        let mut state = INITIAL_STATE;
        for part in self.parts() {
            compress256(&mut state, part);
        }
        hash_of(&state)
    }

    fn hash_both(both: &[Self; 2]) -> [Hash; 2] {
        let mut states = [INITIAL_STATE; 2];
        compress_pair(&mut states, &both.each_ref().map(Self::parts));
        states.each_ref().map(hash_of)
    }
}

fn prefixed(prefix: u8, first: &[u8; BLOCK_BYTES - 1]) -> [u8; BLOCK_BYTES] {
    let mut block = [prefix; BLOCK_BYTES];
    block[1..].copy_from_slice(first);
    block
}

fn hash_of(state: &State) -> Hash {
    let mut hash = [0; 32];
    for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    Hash(hash)
}

/// The root of the tree over `entries`, without an allocation per node.
#[must_use]
pub fn root_of<E: AsRef<[u8]>>(entries: impl IntoIterator<Item = E>) -> Hash {
    let mut frontier = super::Frontier::new();
    for entry in entries {
        frontier.push(leaf_hash(entry.as_ref()));
    }
    frontier.root()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn entries_of_every_length_have_the_hash_of_the_crate() {
        let entry = [0xa5; 600];
        for length in 0..=entry.len() {
            let mut message = vec![0];
            message.extend_from_slice(&entry[..length]);
            let expected = Hash(Sha256::digest(message).into());
            assert_eq!(leaf_hash(&entry[..length]), expected, "{length} bytes");
        }
        let (left, right) = (Hash([1; 32]), Hash([2; 32]));
        let message = [&[1], left.0.as_slice(), &right.0].concat();
        assert_eq!(
            node_hash(&left, &right),
            Hash(Sha256::digest(message).into())
        );
    }

    #[test]
    fn many_at_once_have_the_hashes_that_they_have_alone() {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(600).collect();
        for step in [1, 7, 64, 97] {
            let entries: Vec<&[u8]> = (0..=600).step_by(step).map(|end| &bytes[..end]).collect();
            let alone: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
            assert_eq!(leaf_hashes(&entries), alone);
            let children = alone.as_chunks::<2>().0;
            let nodes: Vec<Hash> = children.iter().map(|[l, r]| node_hash(l, r)).collect();
            assert_eq!(node_hashes(children), nodes);
        }
    }
}
