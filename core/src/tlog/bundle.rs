//! Entry bundles: C2SP tlog-tiles, "Log entries".
//!
//! A bundle is a sequence of 1..=256 entries, each `u16 BE length | bytes`. An entry's leaf hash
//! is over the bytes without the length. Bundle `n` has the path `tile/entries/<n>`, see
//! [`Tile`](super::Tile).
//!
//! ```
//! use axiom_hive_core::tlog::bundle;
//! let mut content = Vec::new();
//! bundle::push_entry(&mut content, b"hi").unwrap();
//! bundle::push_entry(&mut content, b"").unwrap();
//! assert_eq!(content, b"\x00\x02hi\x00\x00");
//! assert_eq!(bundle::parse(&content, 2).unwrap(), [b"hi".as_slice(), b""]);
//! ```

/// The upper bound of one entry, in bytes.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// Why an entry or a bundle is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// An entry is over [`MAX_ENTRY_BYTES`].
    #[error("an entry must be at most 65535 bytes")]
    EntryTooLong,
    /// The bundle does not end where its last entry ends.
    #[error("a bundle must hold exactly the entries of its width")]
    Length,
}

/// Appends one entry to a bundle's content.
pub fn push_entry(content: &mut Vec<u8>, entry: &[u8]) -> Result<(), BundleError> {
    let length = u16::try_from(entry.len()).map_err(|_| BundleError::EntryTooLong)?;
    content.extend_from_slice(&length.to_be_bytes());
    content.extend_from_slice(entry);
    Ok(())
}

/// Splits a bundle of exactly `width` entries.
pub fn parse(content: &[u8], width: u16) -> Result<Vec<&[u8]>, BundleError> {
    let mut entries = Vec::with_capacity(usize::from(width));
    let mut rest = content;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, after) = after.split_at_checked(length).ok_or(BundleError::Length)?;
        if entries.len() == usize::from(width) {
            return Err(BundleError::Length);
        }
        entries.push(entry);
        rest = after;
    }
    if rest.is_empty() && entries.len() == usize::from(width) {
        Ok(entries)
    } else {
        Err(BundleError::Length)
    }
}
