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
use sha2::{Digest as _, Sha256};

use super::base64::text_form;

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
    if entry.len() > MAX_SHORT_ENTRY_BYTES {
        let hasher = Sha256::new_with_prefix([0]).chain_update(entry);
        return Hash(hasher.finalize().into());
    }
    let mut blocks = [[0; BLOCK_BYTES]; SHORT_BLOCKS];
    let message = blocks.as_flattened_mut();
    message[1..=entry.len()].copy_from_slice(entry);
    sha256(&mut blocks, 1 + entry.len())
}

/// The hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut blocks = [[0; BLOCK_BYTES]; 2];
    let message = blocks.as_flattened_mut();
    message[0] = 1;
    message[1..33].copy_from_slice(&left.0);
    message[33..65].copy_from_slice(&right.0);
    sha256(&mut blocks, 65)
}

/// Of SHA-256.
const BLOCK_BYTES: usize = 64;
/// The least that SHA-256 adds to a message: one bit, in a byte of its own, and the length.
const PADDING_BYTES: usize = 9;
/// Blocks of an entry that is hashed in one piece.
const SHORT_BLOCKS: usize = 8;
const MAX_SHORT_ENTRY_BYTES: usize = SHORT_BLOCKS * BLOCK_BYTES - PADDING_BYTES - 1;
/// FIPS 180-4 section 5.3.3.
const INITIAL_STATE: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// SHA-256 of the first `length` bytes of `blocks`; all behind them are zero, and at least
/// [`PADDING_BYTES`]. A verifier does little else than hash short messages: in one piece it takes
/// four fifths of the time that it takes through the crate's buffer.
fn sha256(blocks: &mut [[u8; BLOCK_BYTES]], length: usize) -> Hash {
    let end = (length + PADDING_BYTES).next_multiple_of(BLOCK_BYTES);
    let message = blocks.as_flattened_mut();
    message[length] = 0x80;
    message[end - 8..end].copy_from_slice(&(8 * length as u64).to_be_bytes());
    let mut state = INITIAL_STATE;
    compress256(&mut state, &blocks[..end / BLOCK_BYTES]);
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
}
