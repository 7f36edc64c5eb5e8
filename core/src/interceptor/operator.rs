//! What stands in place of a finding.
//!
//! | action | text |
//! |---|---|
//! | `redact` | `[REDACTED:id]` |
//! | `remove` | `[-]` |
//! | `mask` | `[****1111]`: a star for every visible character but the last four |
//! | `hash` | `[HASH:id:` and 16 letters a–p of HMAC-SHA256 under the task's key `]` |
//!
//! Brackets and stars stand in no match, so none of these can be matched, or matched across, by a
//! later filtering. The hash has no digit, since sixteen digits can be a valid card number.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::scan::HashKey;
use super::terms::visible;
use crate::constitution::Action;

/// The mark of `remove`.
pub(super) const REMOVED: &str = "[-]";
/// Characters that a mask leaves.
pub(super) const MASK_TAIL: usize = 4;
/// The letters of a hash: one for each value of four bits.
pub(super) const HASH_LETTERS: &[u8; 16] = b"abcdefghijklmnop";

pub(super) fn placeholder(id: &str) -> String {
    format!("[REDACTED:{id}]")
}

/// The replacement for the raw text of a finding; `None` for `withhold`.
pub(super) fn replacement(action: Action, id: &str, key: &HashKey, raw: &str) -> Option<String> {
    Some(match action {
        Action::Redact => placeholder(id),
        Action::Remove => REMOVED.to_owned(),
        Action::Mask => mask(raw),
        Action::Hash => format!("[HASH:{id}:{}]", hash(key, raw)),
        Action::Withhold => return None,
    })
}

fn mask(raw: &str) -> String {
    let characters: Vec<char> = visible(raw).collect();
    // A short value would be shown whole.
    let shown = if characters.len() > MASK_TAIL * 2 {
        MASK_TAIL
    } else {
        0
    };
    let hidden = characters.len() - shown;
    let stars = "*".repeat(hidden);
    let tail: String = characters[hidden..].iter().collect();
    format!("[{stars}{tail}]")
}

fn hash(key: &HashKey, raw: &str) -> String {
    // RFC 2104: a key shorter than the block is padded with zeros.
    let mut block = [0; 64];
    block[..32].copy_from_slice(&key.0);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(visible(raw).collect::<String>().as_bytes());
    let digest = mac.finalize().into_bytes();
    digest[..8]
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|nibble| char::from(HASH_LETTERS[usize::from(nibble)]))
        .collect()
}
