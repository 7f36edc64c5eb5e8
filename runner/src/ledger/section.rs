//! The payloads of one frame: a sequence of
//!
//! ```text
//!  0   1  "K" kept, "E" erased
//!  1  32  commitment: SHA-256 of the encoded payload
//! 33   4  length n of the encoded payload
//! 37   n  the encoded payload; all zero when erased
//! ```

use axiom_hive_core::record::{Commitment, MAX_LABEL_BYTES, MAX_PAYLOAD_BYTES, Payload};
use sha2::{Digest as _, Sha256};

use super::frame::Cursor;

/// Upper bound of the payloads of one append.
pub const MAX_PAYLOADS: usize = 80;
/// Upper bound of the encoded payloads of one append, in bytes: 40 MiB.
pub const MAX_PAYLOAD_SECTION_BYTES: usize = 40 * 1024 * 1024;
/// Bytes before an encoded payload in its section.
const PAYLOAD_HEADER_BYTES: usize = 37;
/// Bytes of an encoded payload besides its label and its bytes.
const ENCODED_PAYLOAD_OVERHEAD: usize = 42;
/// The longest: a label of 32 bytes and the most bytes.
const MAX_ENCODED_PAYLOAD_BYTES: usize =
    ENCODED_PAYLOAD_OVERHEAD + MAX_LABEL_BYTES + MAX_PAYLOAD_BYTES;

/// One payload in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredPayload<'a> {
    pub commitment: Commitment,
    /// The encoded payload; `None` once it is erased.
    pub encoded: Option<&'a [u8]>,
    /// Of the encoded payload, in bytes.
    pub length: usize,
}

/// Writes a frame's payload section, and gives the payloads' commitments.
pub(super) fn encode_payloads(payloads: &[Payload]) -> (Vec<u8>, Vec<Commitment>) {
    let mut out = Vec::with_capacity(payloads.iter().map(payload_bytes).sum());
    let mut commitments = Vec::with_capacity(payloads.len());
    for payload in payloads {
        let encoded = payload.encode();
        // What `Payload::commitment` gives, without encoding it a second time.
        let commitment = Commitment(Sha256::digest(&encoded).into());
        out.push(b'K');
        out.extend_from_slice(&commitment.0);
        out.extend_from_slice(&(encoded.len() as u32).to_be_bytes());
        out.extend_from_slice(&encoded);
        commitments.push(commitment);
    }
    (out, commitments)
}

/// Reads a frame's payload section; the error says what is wrong. Hashes nothing.
pub(super) fn decode_payloads(section: &[u8]) -> Result<Vec<StoredPayload<'_>>, &'static str> {
    const SHORT: &str = "the payload section is cut short";
    let mut cursor = Cursor(section);
    let mut all = Vec::new();
    while !cursor.0.is_empty() {
        if all.len() == MAX_PAYLOADS {
            return Err("a frame holds more than 80 payloads");
        }
        let [state] = cursor.array().ok_or(SHORT)?;
        let commitment = Commitment(cursor.array().ok_or(SHORT)?);
        let length = u32::from_be_bytes(cursor.array().ok_or(SHORT)?) as usize;
        if !(ENCODED_PAYLOAD_OVERHEAD..=MAX_ENCODED_PAYLOAD_BYTES).contains(&length) {
            return Err("a payload's length is beyond its limit");
        }
        let bytes = cursor.take(length).ok_or(SHORT)?;
        let encoded = match state {
            b'K' => Some(bytes),
            b'E' if bytes.iter().all(|byte| *byte == 0) => None,
            b'E' => return Err("an erased payload still holds bytes"),
            _ => return Err("a payload is neither kept nor erased"),
        };
        all.push(StoredPayload {
            commitment,
            encoded,
            length,
        });
    }
    Ok(all)
}

/// Overwrites those of a section's payloads with zeros that are listed; what it gives is how many were
/// still there.
pub(super) fn erase_in(section: &mut [u8], erased: &[Commitment]) -> Result<usize, &'static str> {
    let mut listed = Vec::new();
    let mut at = 0;
    for payload in decode_payloads(section)? {
        if payload.encoded.is_some() && erased.contains(&payload.commitment) {
            listed.push((at, payload.length));
        }
        at += PAYLOAD_HEADER_BYTES + payload.length;
    }
    for (at, length) in &listed {
        section[*at] = b'E';
        section[at + PAYLOAD_HEADER_BYTES..][..*length].fill(0);
    }
    Ok(listed.len())
}

/// Bytes that `payload` takes in a frame.
pub(super) fn payload_bytes(payload: &Payload) -> usize {
    let label = payload.label.as_str().len();
    PAYLOAD_HEADER_BYTES + ENCODED_PAYLOAD_OVERHEAD + label + payload.bytes.len()
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use axiom_hive_core::record::{Label, Salt};

    use super::*;

    pub(in super::super) fn payload(bytes: &[u8]) -> Payload {
        Payload {
            label: Label::PROMPT,
            salt: Salt([7; 32]),
            bytes: bytes.to_vec(),
        }
    }

    #[test]
    fn a_payload_takes_the_bytes_that_are_counted() {
        let payloads = [payload(b"one"), payload(b"")];
        let counted: usize = payloads.iter().map(payload_bytes).sum();
        assert_eq!(counted, encode_payloads(&payloads).0.len());
    }

    #[test]
    fn an_erased_payload_must_be_all_zero() {
        let (mut section, _) = encode_payloads(&[payload(b"one")]);
        section[0] = b'E';
        assert!(decode_payloads(&section).is_err());
        section[PAYLOAD_HEADER_BYTES..].fill(0);
        assert_eq!(decode_payloads(&section).unwrap()[0].encoded, None);
        section[0] = b'X';
        assert!(decode_payloads(&section).is_err());
    }
}
