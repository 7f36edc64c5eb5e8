//! Keys of signed notes: C2SP signed-note ("Signature types", "Verifier keys") and tlog-cosignature.
//!
//! ```text
//! key id = SHA-256(name || 0x0A || type || public key)[0..4]
//! vkey   = <name>+<8 hex digits of key id>+base64(type || public key)
//! ```
//!
//! A name is not empty and holds no Unicode space and no `+`. Types: `0x01` Ed25519 over the note's
//! text, `0x04` Ed25519 timestamped cosignature of a checkpoint, `0x06` ML-DSA-44 timestamped cosignature of a
//! checkpoint. The public keys are 32, 32 and 1312 bytes long, the seeds of all private keys 32.
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
use super::cosigned::{MlDsaPrivate, MlDsaPublic, ed25519_message, length, ml_dsa_message};
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
    /// `0x06`: ML-DSA-44 over a time and a checkpoint that has no extension lines.
    MlDsa44,
}

impl KeyType {
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::Cosignature => 4,
            Self::MlDsa44 => 6,
        }
    }

    fn of_byte(byte: u8) -> Option<Self> {
        let all = [Self::Ed25519, Self::Cosignature, Self::MlDsa44];
        all.into_iter().find(|it| it.byte() == byte)
    }

    /// Whether its signatures state a time, as those of witnesses must.
    #[must_use]
    pub fn is_cosignature(self) -> bool {
        self != Self::Ed25519
    }
}

/// Why a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The name breaks the rules.
    #[error(
        "a key name must be 1..=256 bytes (of an ML-DSA-44 key, 1..=255) without white space, control characters and \"+\""
    )]
    Name,
    /// No vkey.
    #[error("a verifier key must be <name>+<8 hex digits>+<base64 of type and public key>")]
    Syntax,
    /// No private key.
    #[error(
        "a private key must be PRIVATE+KEY+<name>+<8 hex digits>+<base64 of type 1, 4 or 6 and a 32-byte seed>"
    )]
    PrivateSyntax,
    /// The key id in the vkey is not that of its key.
    #[error("the key id does not belong to this name and public key")]
    Id,
    /// A type other than Ed25519 (1), cosignature (4) and ML-DSA-44 cosignature (6).
    #[error("signature type {0} is not supported; types 1, 4 and 6 are")]
    Type(u8),
    /// The public key is too short or too long for its type.
    #[error("a public key must be 32 bytes for types 1 and 4, 1312 bytes for type 6")]
    Length,
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

fn key_id(name: &str, key_type: KeyType, public: &[u8]) -> [u8; 4] {
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
    key: Public,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Public {
    Ed25519(ed25519_dalek::VerifyingKey),
    MlDsa44(MlDsaPublic),
}

impl Public {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ed25519(key) => key.as_bytes(),
            Self::MlDsa44(key) => key.as_bytes(),
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Self::MlDsa44(key) => key.verify(message, signature),
        }
    }
}

fn ed25519_public(bytes: &[u8]) -> Result<Public, KeyError> {
    let bytes = bytes.try_into().map_err(|_| KeyError::Length)?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Point)?;
    if key.is_weak() {
        return Err(KeyError::Point);
    }
    Ok(Public::Ed25519(key))
}

impl VerifyingKey {
    /// A key from its parts.
    pub fn new(name: &str, key_type: KeyType, public: &[u8]) -> Result<Self, KeyError> {
        let is_short = key_type != KeyType::MlDsa44 || length(name).is_some();
        if !is_name(name) || name.len() > MAX_NAME_BYTES || !is_short {
            return Err(KeyError::Name);
        }
        let key = match key_type {
            KeyType::Ed25519 | KeyType::Cosignature => ed25519_public(public)?,
            KeyType::MlDsa44 => {
                Public::MlDsa44(MlDsaPublic::from_bytes(public).ok_or(KeyError::Length)?)
            }
        };
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
        if self.key_type == KeyType::Ed25519 {
            return self.key.verify(text.as_bytes(), signature).then_some(0);
        }
        let (time, signature) = signature.split_first_chunk::<8>()?;
        let time = u64::from_be_bytes(*time);
        let message = self.cosigned_message(time, text)?;
        (time <= MAX_TIME && self.key.verify(&message, signature)).then_some(time)
    }

    /// What a cosignature of this key covers; `None` for what it cannot cover.
    fn cosigned_message(&self, time: u64, text: &str) -> Option<Vec<u8>> {
        match self.key {
            Public::Ed25519(_) => Some(ed25519_message(time, text).into_bytes()),
            Public::MlDsa44(_) => ml_dsa_message(&self.name, time, text),
        }
    }
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
        let key_type = KeyType::of_byte(*type_byte).ok_or(KeyError::Type(*type_byte))?;
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
    key: Private,
}

#[derive(Clone)]
enum Private {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    MlDsa44(MlDsaPrivate),
}

impl SigningKey {
    /// A key of type Ed25519 from its 32-byte seed (RFC 8032 section 5.1.5).
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        Self::with_type(name, KeyType::Ed25519, seed)
    }

    /// A key of any supported type; types [`KeyType::Cosignature`] and
    /// [`KeyType::MlDsa44`] make a witness.
    pub fn with_type(name: &str, key_type: KeyType, seed: &[u8; 32]) -> Result<Self, KeyError> {
        if key_type == KeyType::MlDsa44 {
            let key = MlDsaPrivate::from_seed(seed);
            let public = VerifyingKey::new(name, key_type, &key.public_bytes())?;
            let key = Private::MlDsa44(key);
            return Ok(Self { public, key });
        }
        let key = Box::new(ed25519_dalek::SigningKey::from_bytes(seed));
        let public = VerifyingKey::new(name, key_type, key.verifying_key().as_bytes())?;
        let key = Private::Ed25519(key);
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
        let (type_byte, seed) = material.split_first().ok_or(KeyError::PrivateSyntax)?;
        let key_type = KeyType::of_byte(*type_byte).ok_or(KeyError::PrivateSyntax)?;
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
        material.extend_from_slice(match &self.key {
            Private::Ed25519(key) => key.as_bytes(),
            Private::MlDsa44(key) => key.seed(),
        });
        let (name, id) = (&self.public.name, to_hex(&self.public.id));
        let material = Zeroizing::new(base64::encode(&material));
        Zeroizing::new(format!("{PRIVATE_PREFIX}{name}+{id}+{}", *material))
    }

    /// The public half.
    #[must_use]
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    /// Signs the note `text`; `time` counts for a cosignature only, in seconds since the epoch. `None` for a
    /// text that a key of this type cannot sign.
    pub(super) fn sign(&self, text: &str, time: u64) -> Option<Vec<u8>> {
        if self.public.key_type == KeyType::Ed25519 {
            return self.sign_bytes(text.as_bytes());
        }
        let time = time.min(MAX_TIME);
        let signature = self.sign_bytes(&self.public.cosigned_message(time, text)?)?;
        Some([time.to_be_bytes().as_slice(), &signature].concat())
    }

    fn sign_bytes(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.key {
            Private::Ed25519(key) => Some(key.sign(message).to_vec()),
            Private::MlDsa44(key) => key.sign(message).map(|signature| signature.to_vec()),
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
