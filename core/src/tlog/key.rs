//! Keys of signed notes: C2SP signed-note ("Signature types", "Verifier keys") and tlog-cosignature.
//!
//! ```text
//! key id = SHA-256(name || 0x0A || type || public key)[0..4]
//! vkey   = <name>+<8 hex digits of key id>+base64(type || public key)
//! ```
//!
//! A name is not empty and holds no Unicode space and no `+`. Types: `0x01` Ed25519 over the note's
//! text, `0x04` Ed25519 timestamped cosignature of a checkpoint.
//!
//! ```
//! use axiom_hive_core::tlog::{KeyType, VerifyingKey};
//! // The example of the specification.
//! let text = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
//! let key: VerifyingKey = text.parse().unwrap();
//! assert_eq!((key.name(), key.key_type()), ("example.com/foo", KeyType::Ed25519));
//! assert_eq!(key.id(), [0x53, 0x0d, 0x90, 0x3a]);
//! assert_eq!(key.to_string(), text);
//! ```

use std::fmt;

use ed25519_dalek::{Signature, Signer as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::base64;
use crate::digest::to_hex;

/// Upper bound of a key's name, in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// What a private key begins with.
const PRIVATE_PREFIX: &str = "PRIVATE+KEY+";
/// The largest time of a cosignature: 2^63 − 1 seconds since the Unix epoch.
const MAX_TIME: u64 = i64::MAX as u64;

/// A signature type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// `0x01`: Ed25519 over the note's text.
    Ed25519,
    /// `0x04`: Ed25519 over a time and a checkpoint, by a witness.
    Cosignature,
}

impl KeyType {
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::Cosignature => 4,
        }
    }
}

/// Why a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The name breaks the rules.
    #[error("a key name must be 1..=256 bytes without white space, control characters and \"+\"")]
    Name,
    /// No vkey.
    #[error("a verifier key must be <name>+<8 hex digits>+<base64 of type and public key>")]
    Syntax,
    /// No private key.
    #[error(
        "a private key must be PRIVATE+KEY+<name>+<8 hex digits>+<base64 of type 1 or 4 and a 32-byte seed>"
    )]
    PrivateSyntax,
    /// The key id in the vkey is not that of its key.
    #[error("the key id does not belong to this name and public key")]
    Id,
    /// A type other than Ed25519 (1) and cosignature (4).
    #[error("signature type {0} is not supported; types 1 and 4 are")]
    Type(u8),
    /// The public key is no point of the curve, or of small order.
    #[error("the public key is not a valid Ed25519 key")]
    Point,
}

/// Whether `name` may name a key (signed-note, "Format").
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c < ' ' || c == '+')
}

fn key_id(name: &str, key_type: KeyType, public: &[u8; 32]) -> [u8; 4] {
    let digest = Sha256::new_with_prefix(name)
        .chain_update([b'\n', key_type.byte()])
        .chain_update(public)
        .finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// A public key with its name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    key_type: KeyType,
    id: [u8; 4],
    key: ed25519_dalek::VerifyingKey,
}

impl VerifyingKey {
    /// A key from its parts.
    pub fn new(name: &str, key_type: KeyType, public: &[u8; 32]) -> Result<Self, KeyError> {
        if !is_name(name) || name.len() > MAX_NAME_BYTES {
            return Err(KeyError::Name);
        }
        let key = ed25519_dalek::VerifyingKey::from_bytes(public).map_err(|_| KeyError::Point)?;
        if key.is_weak() {
            return Err(KeyError::Point);
        }
        Ok(Self {
            name: name.to_owned(),
            key_type,
            id: key_id(name, key_type, public),
            key,
        })
    }

    /// The name that signature lines carry; for a log, its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of its signatures.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The id that signatures begin with.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// Whether both are one key, whatever their names and types: one who signs.
    pub(super) fn is_same_key(&self, other: &Self) -> bool {
        self.key == other.key
    }

    /// Checks `signature` (without the key id) over the note `text`. `Some` holds the time of a
    /// cosignature, in seconds since the Unix epoch, and 0 for a plain signature.
    #[must_use]
    pub(super) fn verify(&self, text: &str, signature: &[u8]) -> Option<u64> {
        match self.key_type {
            KeyType::Ed25519 => self.verify_bytes(text.as_bytes(), signature).then_some(0),
            KeyType::Cosignature => {
                let (time, signature) = signature.split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                let message = cosigned_message(time, text);
                (time <= MAX_TIME && self.verify_bytes(message.as_bytes(), signature))
                    .then_some(time)
            }
        }
    }

    fn verify_bytes(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

/// What a cosignature (type `0x04`) signs: `cosignature/v1`, the time, the checkpoint's text.
fn cosigned_message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut material = vec![self.key_type.byte()];
        material.extend_from_slice(self.key.as_bytes());
        write!(
            f,
            "{}+{}+{}",
            self.name,
            to_hex(&self.id),
            base64::encode(&material)
        )
    }
}

impl serde::Serialize for VerifyingKey {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl std::str::FromStr for VerifyingKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        // Only the last part, base64, may hold further plus signs.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(material)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(KeyError::Syntax);
        };
        let material = base64::decode(material).ok_or(KeyError::Syntax)?;
        let (type_byte, public) = material.split_first().ok_or(KeyError::Syntax)?;
        let key_type = match type_byte {
            1 => KeyType::Ed25519,
            4 => KeyType::Cosignature,
            other => return Err(KeyError::Type(*other)),
        };
        let public = public.try_into().map_err(|_| KeyError::Syntax)?;
        let key = Self::new(name, key_type, public)?;
        if to_hex(&key.id) != id {
            return Err(KeyError::Id);
        }
        Ok(key)
    }
}

/// A private key with its name. `Debug` shows the public half only; the seed is wiped on drop.
#[derive(Clone)]
pub struct SigningKey {
    public: VerifyingKey,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// A key of type Ed25519 from its 32-byte seed (RFC 8032 section 5.1.5).
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        Self::with_type(name, KeyType::Ed25519, seed)
    }

    /// A key of any supported type; type [`KeyType::Cosignature`] makes a witness.
    pub fn with_type(name: &str, key_type: KeyType, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let public = VerifyingKey::new(name, key_type, key.verifying_key().as_bytes())?;
        Ok(Self { public, key })
    }

    /// Reads the text of [`SigningKey::to_private`]. An error never shows the text.
    pub fn from_private(text: &str) -> Result<Self, KeyError> {
        let rest = text.strip_prefix(PRIVATE_PREFIX);
        let mut parts = rest.ok_or(KeyError::PrivateSyntax)?.splitn(3, '+');
        let (Some(name), Some(id), Some(material)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(KeyError::PrivateSyntax);
        };
        let material = Zeroizing::new(base64::decode(material).ok_or(KeyError::PrivateSyntax)?);
        let (key_type, seed) = match material.split_first() {
            Some((1, seed)) => (KeyType::Ed25519, seed),
            Some((4, seed)) => (KeyType::Cosignature, seed),
            _ => return Err(KeyError::PrivateSyntax),
        };
        let seed = seed.try_into().map_err(|_| KeyError::PrivateSyntax)?;
        let key = Self::with_type(name, key_type, seed)?;
        if to_hex(&key.public.id) == id {
            Ok(key)
        } else {
            Err(KeyError::Id)
        }
    }

    /// The private key as one line of text, as `golang.org/x/mod/sumdb/note` writes it:
    /// `PRIVATE+KEY+<name>+<8 hex digits of key id>+<base64 of type and seed>`. Whoever has it can sign
    /// in this name.
    #[must_use]
    pub fn to_private(&self) -> Zeroizing<String> {
        let mut material = Zeroizing::new(vec![self.public.key_type.byte()]);
        material.extend_from_slice(self.key.as_bytes());
        let (name, id) = (&self.public.name, to_hex(&self.public.id));
        let material = Zeroizing::new(base64::encode(&material));
        Zeroizing::new(format!("{PRIVATE_PREFIX}{name}+{id}+{}", *material))
    }

    /// The public half.
    #[must_use]
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    /// Signs the note `text`; `time` counts for a cosignature only, in seconds since the epoch.
    pub(super) fn sign(&self, text: &str, time: u64) -> Vec<u8> {
        match self.public.key_type {
            KeyType::Ed25519 => self.key.sign(text.as_bytes()).to_vec(),
            KeyType::Cosignature => {
                let time = time.min(MAX_TIME);
                let signature = self.key.sign(cosigned_message(time, text).as_bytes());
                [time.to_be_bytes().as_slice(), &signature.to_bytes()].concat()
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_private_key_has_one_text() {
        let key = SigningKey::new("example.com/log", &[7; 32]).unwrap();
        let text = key.to_private();
        assert!(text.starts_with("PRIVATE+KEY+example.com/log+"));
        let read = SigningKey::from_private(&text).unwrap();
        assert_eq!(read.verifying_key(), key.verifying_key());
        assert_eq!(read.sign("a\n", 0), key.sign("a\n", 0));
        let refused = [
            text.replacen("PRIVATE+KEY+", "", 1),
            text.replacen("example.com", "example.org", 1),
            text.replacen("+AQcH", "+BAcH", 1),
            text.replacen("+AQcH", "+AgcH", 1),
            text[..text.len() - 4].to_owned(),
            format!("{}AAAA", *text),
            format!("{}\n", *text),
        ];
        for changed in refused {
            assert_ne!(changed, *text);
            assert!(SigningKey::from_private(&changed).is_err(), "{changed}");
        }
        let witness = SigningKey::with_type("w.example", KeyType::Cosignature, &[7; 32]).unwrap();
        let read = SigningKey::from_private(&witness.to_private()).unwrap();
        assert_eq!(read.verifying_key(), witness.verifying_key());
    }
}
