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
    Hash(
        Sha256::new_with_prefix([0])
            .chain_update(entry)
            .finalize()
            .into(),
    )
}

/// The hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut message = [1; 65];
    message[1..33].copy_from_slice(&left.0);
    message[33..].copy_from_slice(&right.0);
    Hash(Sha256::digest(message).into())
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
