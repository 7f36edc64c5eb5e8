//! The transparency log's arithmetic and formats. No file, no clock, no random source.
//!
//! Every parser here accepts exactly the texts that the matching writer writes: base64 is strict,
//! numbers have no leading zero, and sizes are bounded.
//!
//! | module | what | source |
//! |---|---|---|
//! | [`hash`] | leaf and node hashing | RFC 6962 section 2.1 |
//! | [`frontier`] | the complete subtrees of a growing tree | RFC 6962 section 2.1 |
//! | [`mem_tree`] | a whole tree in memory | – |
//! | [`proof`] | inclusion and consistency proofs | RFC 6962 sections 2.1.1, 2.1.2 |
//! | [`tile`] | hash tiles and tile paths | C2SP tlog-tiles |
//! | [`bundle`] | entry bundles | C2SP tlog-tiles |
//! | [`key`] | key ids, verifier keys, Ed25519, ML-DSA-44 | C2SP signed-note, tlog-cosignature |
//! | [`note`] | signed notes | C2SP signed-note |
//! | [`checkpoint`] | signed tree heads | C2SP tlog-checkpoint |
//! | [`proof_file`] | portable proofs | C2SP tlog-proof |
//! | [`policy`] | which logs and witnesses are believed | C2SP tlog-policy |
//! | [`witness`] | what a log asks a witness | C2SP tlog-witness |

pub(crate) mod base64;
pub mod bundle;
pub mod checkpoint;
mod cosigned;
pub mod frontier;
pub mod hash;
pub mod key;
mod lanes;
pub mod mem_tree;
pub mod note;
pub mod policy;
pub mod proof;
pub mod proof_file;
pub mod tile;
pub mod witness;

pub use base64::ParseBase64Error;
pub use checkpoint::{Checkpoint, CheckpointError};
pub use frontier::Frontier;
pub use hash::{EMPTY_ROOT, Hash, leaf_hash, leaf_hashes, node_hash, node_hashes, root_of};
pub use key::{KeyError, KeyType, SigningKey, VerifyingKey};
pub use mem_tree::{MemTree, MissingNode};
pub use note::{Note, NoteError, NoteSignature, OpenedNote, Signer, cosign, open_note, sign_note};
pub use policy::{ParsePolicyError, Policy, PolicyError, Witnessed};
pub use proof::{
    MakeProofError, NodeReader, ProofError, consistency_proof, inclusion_proof, root_at,
    verify_consistency, verify_inclusion,
};
pub use proof_file::{ProofFileError, TlogProof};
pub use tile::{Tile, TileError, TileKind, tiles_of};
pub use witness::{AddCheckpoint, Refused, judge};

/// The upper bound of a tree: 2^63 − 1 entries, what readers with signed 64-bit sizes accept.
pub const MAX_TREE_SIZE: u64 = i64::MAX as u64;
