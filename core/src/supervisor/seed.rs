//! The seed of a branch: where the diversity of branches comes from.

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

const LABEL: &[u8] = b"axiomhive.io/seed/v1";

/// The low 63 bits of SHA-256(label ‖ length-prefixed task UID ‖ attempt ‖ constitution digest ‖
/// index). 63 bits, because many runtimes read a signed integer; in JSON it travels as a string.
#[must_use]
pub fn branch_seed(task_uid: &str, attempt: u32, constitution: &Digest, index: u32) -> u64 {
    let hash: [u8; 32] = Sha256::new_with_prefix(LABEL)
        .chain_update((task_uid.len() as u64).to_be_bytes())
        .chain_update(task_uid)
        .chain_update(attempt.to_be_bytes())
        .chain_update(constitution.0)
        .chain_update(index.to_be_bytes())
        .finalize()
        .into();
    let mut low = [0; 8];
    low.copy_from_slice(&hash[24..]);
    u64::from_be_bytes(low) & (u64::MAX >> 1)
}
