//! Strict standard base64 (RFC 4648 section 4): padded, no white space, unused trailing bits zero.
//! Every byte string has exactly one accepted text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The one text of `bytes`.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of `text`, or `None` when it is not their one text.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// As [`decode`], for exactly 32 bytes; never allocates.
pub(crate) fn decode_32(text: &str) -> Option<[u8; 32]> {
    // 32 bytes are 44 characters with one pad.
    if text.len() != 44 || !text.ends_with('=') {
        return None;
    }
    let mut bytes = [0; 33];
    let length = STANDARD.decode_slice(text, &mut bytes).ok()?;
    bytes[..length].try_into().ok()
}

/// Gives a 32-byte newtype its text form: `Display`, `FromStr` and the conversions for serde.
macro_rules! text_form {
    ($name:ident, $what:literal) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&crate::tlog::base64::encode(&self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::tlog::ParseBase64Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                crate::tlog::base64::decode_32(text)
                    .map(Self)
                    .ok_or(crate::tlog::ParseBase64Error { what: $what })
            }
        }

        impl TryFrom<String> for $name {
            type Error = crate::tlog::ParseBase64Error;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}
pub(crate) use text_form;

/// A text that should be 32 bytes in strict base64 was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {what} must be 32 bytes in standard base64 with padding (44 characters)")]
pub struct ParseBase64Error {
    /// What was expected.
    pub what: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_the_one_text() {
        let text = encode(&[7; 32]);
        assert_eq!(decode_32(&text), Some([7; 32]));
        // The last character before the pad carries two unused bits.
        let mut slack = text.clone().into_bytes();
        slack[42] += 1;
        assert_eq!(
            String::from_utf8(slack).ok().and_then(|t| decode_32(&t)),
            None
        );
        assert_eq!(decode_32(text.trim_end_matches('=')), None);
        assert_eq!(decode_32(&format!("{text}\n")), None);
        assert_eq!(decode_32(&encode(&[7; 31])), None);
        assert_eq!(decode_32(&encode(&[7; 33])), None);
        assert_eq!(decode("AAA=\n"), None);
        assert_eq!(decode("AA-_"), None);
    }
}
