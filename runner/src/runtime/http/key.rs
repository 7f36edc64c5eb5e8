//! An API key that no log can show.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use reqwest::header::HeaderValue;

/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 4096;

/// A bearer token. `Debug` does not show it; there is no `Display` and no getter.
#[derive(Clone)]
pub struct ApiKey(String);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// The variable is not there.
    #[error("environment variable {0}: must be set")]
    NotSet(String),
    /// The file cannot be read.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] std::io::Error),
    /// Not a token.
    #[error("{0}: must hold 1 to 4096 visible ASCII characters")]
    Malformed(String),
}

impl ApiKey {
    /// From the environment variable `name`.
    pub fn from_env(name: &str) -> Result<Self, ApiKeyError> {
        let value = std::env::var(name).map_err(|_| ApiKeyError::NotSet(name.to_owned()))?;
        Self::parse(name, &value)
    }

    /// From a file that holds nothing else; white space around the key is dropped.
    pub fn from_file(path: &Path) -> Result<Self, ApiKeyError> {
        let fail = |e| ApiKeyError::File(path.to_owned(), e);
        let mut text = String::new();
        File::open(path)
            .map_err(fail)?
            .take(MAX_KEY_BYTES as u64 + 64)
            .read_to_string(&mut text)
            .map_err(fail)?;
        Self::parse(&path.to_string_lossy(), &text)
    }

    fn parse(from: &str, text: &str) -> Result<Self, ApiKeyError> {
        let key = text.trim();
        let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
        if key.is_empty() || key.len() > MAX_KEY_BYTES || !visible {
            return Err(ApiKeyError::Malformed(from.to_owned()));
        }
        Ok(Self(key.to_owned()))
    }

    /// `Authorization` of RFC 6750, marked so that no debug output of a request shows it.
    pub(super) fn header(&self) -> Result<HeaderValue, reqwest::header::InvalidHeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// A server may repeat the key in an error: not into a detail.
    pub(super) fn redact(&self, text: &str) -> String {
        text.replace(&self.0, "[api key]")
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_is_trimmed_checked_and_never_shown() {
        let key = ApiKey::parse("x", " sk-abc\n").unwrap();
        assert!(!format!("{key:?} {:?}", key.header().unwrap()).contains("sk-abc"));
        assert_eq!(key.redact("bad key sk-abc!"), "bad key [api key]!");
        for text in ["", " \n", "a b", "a\u{e9}", &"x".repeat(MAX_KEY_BYTES + 1)] {
            assert!(ApiKey::parse("x", text).is_err());
        }
    }
}
