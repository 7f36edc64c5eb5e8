//! The transparency log's arithmetic and formats: RFC 6962 tree, C2SP tiles, signed notes,
//! checkpoints and proofs. No file, no clock, no random source.
//!
//! | module | format | source |
//! |---|---|---|
//! | [`frontier`] | the complete subtrees of a growing tree | RFC 6962 section 2.1 |
//! | [`hash`] | leaf and node hashing | RFC 6962 section 2.1 |

pub(crate) mod base64;
pub mod frontier;
pub mod hash;

pub use base64::ParseBase64Error;
pub use frontier::Frontier;
pub use hash::{EMPTY_ROOT, Hash, leaf_hash, node_hash, root_of};
