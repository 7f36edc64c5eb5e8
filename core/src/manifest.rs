//! The checksums of an archive, in the form that `sha256sum --check` of GNU coreutils reads.
//!
//! One line a file, `<64 lower-case hex digits>  <path>`, sorted by the bytes of the path, which stays in the archive's folder: parts of
//! letters, digits and `-_.+`, divided by `/`, none of them `.` or `..`. There is one text for one set of files.
//!
//! ```
//! use axiom_hive_core::manifest::Manifest;
//!
//! let mut manifest = Manifest::default();
//! manifest.add("tile/0/000.p/3", b"a");
//! manifest.add("checkpoint", b"b");
//! let text = manifest.to_text();
//! assert_eq!(
//!     text.lines().next(),
//!     Some("3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d  checkpoint"),
//! );
//! assert_eq!(Manifest::parse(text.as_bytes()), Some(manifest));
//! let outside = text.replace("checkpoint", "../checkpoint");
//! assert_eq!(Manifest::parse(outside.as_bytes()), None);
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::digest::{Digest, from_hex_32, to_hex};

/// The manifest's own file, which it does not list.
pub const MANIFEST_FILE: &str = "SHA256SUMS";
/// Upper bound of a manifest: some hundred million records.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024 * 1024;
/// Upper bound of one path, in bytes.
const MAX_PATH_BYTES: usize = 256;

/// Paths with the SHA-256 of their files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Manifest(BTreeMap<String, Digest>);

impl Manifest {
    /// Lists a file; a path that is there already gets the new content.
    pub fn add(&mut self, path: &str, content: &[u8]) {
        self.0.insert(path.to_owned(), Digest::of(content));
    }

    /// Every path and its digest, sorted.
    pub fn files(&self) -> impl Iterator<Item = (&String, &Digest)> {
        self.0.iter()
    }

    /// Whether `path` is listed.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// The one text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (path, digest) in &self.0 {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}  {path}", to_hex(&digest.0));
        }
        text
    }

    /// Accepts exactly what [`Manifest::to_text`] writes, for paths that stay in their folder.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok()?;
        let line = |line: &str| {
            let (digest, path) = line.split_once("  ")?;
            let digest = Digest(from_hex_32(digest)?);
            is_path(path).then(|| (path.to_owned(), digest))
        };
        let manifest = Self(text.lines().map(line).collect::<Option<_>>()?);
        (manifest.to_text() == text).then_some(manifest)
    }
}

fn is_path(path: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+');
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(is_allowed);
    path.len() <= MAX_PATH_BYTES && path.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_text_for_one_manifest() {
        let mut manifest = Manifest::default();
        manifest.add("tile/0/000.p/3", b"a");
        manifest.add("checkpoint", b"b");
        let text = manifest.to_text();
        assert!(text.starts_with(
            "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d  checkpoint\n"
        ));
        assert_eq!(Manifest::parse(text.as_bytes()), Some(manifest));
        let (first, second) = text.split_once('\n').unwrap();
        let changed = [
            format!("{second}{first}\n"),
            format!("{text}{first}\n"),
            text.trim_end().to_owned(),
            text.replace("  ", " "),
            text.replace("3e23", "3E23"),
            text.replace("checkpoint", "../checkpoint"),
            text.replace("checkpoint", "/checkpoint"),
            text.replace("checkpoint", &"c".repeat(257)),
            text.replace('\n', "\r\n"),
        ];
        for changed in changed {
            assert_ne!(changed, text);
            assert_eq!(Manifest::parse(changed.as_bytes()), None, "{changed}");
        }
    }
}
