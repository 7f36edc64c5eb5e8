//! What the timestamped signatures of tlog-cosignature cover, and the ML-DSA-44 of FIPS 204 below one of them.
//!
//! Type `0x04` signs `cosignature/v1\n`, `time <decimal>\n`, and the checkpoint's whole text. Type `0x06` signs
//!
//! ```text
//!  12   "subtree/v1\n\0"
//! 1+n   length and bytes of the cosigner's name, 1 to 255
//!   8   time in seconds since the Unix epoch
//! 1+n   length and bytes of the log's origin, 1 to 255
//!   8   start: 0, for a checkpoint
//!   8   end: the tree's size
//!  32   root
//! ```
//!
//! with every number big-endian. It names the cosigner, and would say nothing of extension lines: a checkpoint that
//! has some is neither signed nor believed, as in torchwood. The signature is the deterministic one, with an empty
//! context: there is no random source here.

use std::fmt;
use std::sync::Arc;

use ml_dsa::{EncodedSignature, EncodedVerifyingKey, MlDsa44, Seed};

use super::Checkpoint;

/// Upper bound of the name of an ML-DSA-44 key and of the origin that it signs, in bytes.
const MAX_COSIGNED_NAME_BYTES: usize = 255;
const LABEL: &[u8; 12] = b"subtree/v1\n\0";

/// What a cosignature of type `0x04` signs.
pub(super) fn ed25519_message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// What a cosignature of type `0x06` by `name` signs; `None` unless `text` is a checkpoint without
/// extension lines whose origin fits.
pub(super) fn ml_dsa_message(name: &str, time: u64, text: &str) -> Option<Vec<u8>> {
    let checkpoint = Checkpoint::parse(text).ok()?;
    if !checkpoint.extensions.is_empty() {
        return None;
    }
    let (name_bytes, origin_bytes) = (length(name)?, length(&checkpoint.origin)?);
    let mut out = Vec::with_capacity(70 + name.len() + checkpoint.origin.len());
    out.extend_from_slice(LABEL);
    out.push(name_bytes);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(&time.to_be_bytes());
    out.push(origin_bytes);
    out.extend_from_slice(checkpoint.origin.as_bytes());
    out.extend_from_slice(&0_u64.to_be_bytes());
    out.extend_from_slice(&checkpoint.size.to_be_bytes());
    out.extend_from_slice(&checkpoint.root.0);
    Some(out)
}

/// The length of a name or origin in a signed message.
pub(super) fn length(name: &str) -> Option<u8> {
    let length = u8::try_from(name.len()).ok()?;
    (1..=MAX_COSIGNED_NAME_BYTES)
        .contains(&name.len())
        .then_some(length)
}

/// An ML-DSA-44 public key. Shared, because its expanded form is some 20 KiB.
#[derive(Clone)]
pub(super) struct MlDsaPublic {
    key: Arc<ml_dsa::VerifyingKey<MlDsa44>>,
    bytes: Arc<[u8]>,
}

impl MlDsaPublic {
    /// Every string of the right length is a key.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let encoded = EncodedVerifyingKey::<MlDsa44>::try_from(bytes).ok()?;
        Some(Self {
            key: Arc::new(ml_dsa::VerifyingKey::decode(&encoded)),
            bytes: bytes.into(),
        })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        ml_dsa::Signature::<MlDsa44>::try_from(signature)
            .is_ok_and(|signature| self.key.verify_with_context(message, &[], &signature))
    }
}

impl PartialEq for MlDsaPublic {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for MlDsaPublic {}

impl fmt::Debug for MlDsaPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MlDsaPublic")
    }
}

/// An ML-DSA-44 private key. Wiped when the last clone drops.
#[derive(Clone)]
pub(super) struct MlDsaPrivate(Arc<ml_dsa::SigningKey<MlDsa44>>);

impl MlDsaPrivate {
    pub(super) fn from_seed(seed: &[u8; 32]) -> Self {
        // A reference: no copy of the seed that nobody wipes.
        let seed: &Seed = seed.into();
        Self(Arc::new(ml_dsa::SigningKey::from_seed(seed)))
    }

    pub(super) fn seed(&self) -> &[u8] {
        self.0.as_seed()
    }

    pub(super) fn public_bytes(&self) -> EncodedVerifyingKey<MlDsa44> {
        self.0.expanded_key().verifying_key().encode()
    }

    /// `None` when no attempt of the algorithm ends, which nobody will see.
    pub(super) fn sign(&self, message: &[u8]) -> Option<EncodedSignature<MlDsa44>> {
        let signature = self.0.expanded_key().sign_deterministic(message, &[]);
        Some(signature.ok()?.encode())
    }
}
