//! The bytes of a log segment: one header, then frames without a gap.
//!
//! All integers are big-endian. A segment's header:
//!
//! ```text
//!  0   8  "AXHIVEL1"
//!  8   8  index of the first frame
//! 16   8  salt, random per segment
//! 24   2  length n of the verifier key, 1..=320
//! 26   n  verifier key of the log (C2SP signed-note vkey); its name is the origin
//!      4  CRC-32C over everything before it
//! ```
//!
//! A frame holds one record and its payloads; the last frame of a group also the signature of the
//! tree that ends with it. A group is what one append wrote and one sync made durable:
//!
//! ```text
//!  0   4  "AXF1"
//!  4   8  index
//! 12   4  length R of the record, 1..=16384
//! 16   4  length P of the payload section
//! 20   3  position of the frame in its group, counted from 0
//! 23   1  length S of the signature: 64 in the last frame of a group, 0 in the others
//! 24   4  CRC-32C over the salt and the 24 bytes before
//! 28   R  record
//!      4  CRC-32C over the salt, the header and the record
//!      P  payload section
//!      4  CRC-32C over the salt, the header and the payload section
//!      S  Ed25519 signature over the checkpoint of size index + 1
//!      4  CRC-32C over the salt, the header and the signature
//! ```
//!
//! By its position a frame names the first index of its group. So a torn group (frames lost or torn
//! in any order, none acknowledged) is told from damage to a group that a later one follows.
//!
//! The salt starts every checksum of the segment: bytes of another file, of an older file in the
//! same disk block, or text inside a payload that merely looks like a frame is never taken for one.
//! The payload section has its own checksum, so that payloads can be erased while the record stays
//! as it is; see the module `section`.

use axiom_hive_core::record::{Commitment, MAX_RECORD_BYTES};

use super::section::{MAX_PAYLOAD_SECTION_BYTES, erase_in};

/// First bytes of a segment.
const SEGMENT_MAGIC: &[u8; 8] = b"AXHIVEL1";
/// First bytes of a frame.
pub(super) const FRAME_MAGIC: &[u8; 4] = b"AXF1";
/// Bytes of a frame before its record, checksum included.
pub(super) const FRAME_HEADER_BYTES: usize = 28;
/// Bytes of an Ed25519 signature.
pub(super) const SIGNATURE_BYTES: usize = 64;
/// Upper bound of a verifier key's text, in bytes.
const MAX_VKEY_BYTES: usize = 320;
/// Upper bound of a segment's header.
pub(super) const MAX_SEGMENT_HEADER_BYTES: usize = 30 + MAX_VKEY_BYTES;
/// Upper bound of the frames of one group.
pub(super) const MAX_GROUP_FRAMES: usize = 4096;

/// The start of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub first_index: u64,
    pub salt: [u8; 8],
    pub vkey: String,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(30 + self.vkey.len());
        out.extend_from_slice(SEGMENT_MAGIC);
        out.extend_from_slice(&self.first_index.to_be_bytes());
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&(self.vkey.len() as u16).to_be_bytes());
        out.extend_from_slice(self.vkey.as_bytes());
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_be_bytes());
        out
    }

    /// The header and its length; the error says what is wrong.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, usize), &'static str> {
        const SHORT: &str = "the segment's header is cut short";
        let mut cursor = Cursor(bytes);
        if cursor.array::<8>().ok_or(SHORT)? != *SEGMENT_MAGIC {
            return Err("the segment does not begin with \"AXHIVEL1\"");
        }
        let first_index = u64::from_be_bytes(cursor.array().ok_or(SHORT)?);
        let salt = cursor.array().ok_or(SHORT)?;
        let length = usize::from(u16::from_be_bytes(cursor.array().ok_or(SHORT)?));
        if !(1..=MAX_VKEY_BYTES).contains(&length) {
            return Err("the segment's verifier key is not 1..=320 bytes long");
        }
        let vkey = cursor.take(length).ok_or(SHORT)?;
        let covered = bytes.len() - cursor.0.len();
        let checksum = u32::from_be_bytes(cursor.array().ok_or(SHORT)?);
        if crc32c::crc32c(&bytes[..covered]) != checksum {
            return Err("the segment's header does not match its checksum");
        }
        let vkey = std::str::from_utf8(vkey).map_err(|_| "the verifier key is not UTF-8")?;
        let header = Self {
            first_index,
            salt,
            vkey: vkey.to_owned(),
        };
        Ok((header, covered + 4))
    }
}

/// What is wrong with a frame that ends too early.
const SHORT_FRAME: &str = "the frame is cut short";

/// One frame, borrowed from its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub index: u64,
    /// Of the frame in its group.
    pub position: u32,
    pub record: &'a [u8],
    pub payloads: &'a [u8],
    pub signature: Option<&'a [u8; SIGNATURE_BYTES]>,
    /// Of the whole frame, in bytes.
    pub length: usize,
}

/// Over the salt and a frame's first 24 bytes: one pass over 32 bytes.
fn header_checksum(salt: [u8; 8], header: &[u8]) -> u32 {
    let mut covered = [0; FRAME_HEADER_BYTES + 4];
    covered[..8].copy_from_slice(&salt);
    covered[8..].copy_from_slice(header);
    crc32c::crc32c(&covered)
}

/// What goes into a frame. The lengths are within the limits: the engine checked them.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameContent<'a> {
    pub index: u64,
    /// Of the frame in its group.
    pub position: u32,
    pub record: &'a [u8],
    pub payloads: &'a [u8],
    pub signature: Option<&'a [u8; SIGNATURE_BYTES]>,
}

/// Bytes of a frame whose record and payload section have these lengths.
pub(super) fn frame_bytes(record: usize, payloads: usize, is_signed: bool) -> usize {
    let signature = if is_signed { SIGNATURE_BYTES } else { 0 };
    FRAME_HEADER_BYTES + record + payloads + signature + 12
}

/// Writes one frame behind what `out` holds.
pub(super) fn push_frame(out: &mut Vec<u8>, salt: [u8; 8], content: &FrameContent<'_>) {
    let FrameContent {
        index,
        position,
        record,
        payloads,
        signature,
    } = *content;
    let signature: &[u8] = signature.map_or(&[], |s| s);
    let start = out.len();
    out.extend_from_slice(FRAME_MAGIC);
    out.extend_from_slice(&index.to_be_bytes());
    for field in [
        record.len() as u32,
        payloads.len() as u32,
        position << 8 | signature.len() as u32,
    ] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    let header = header_checksum(salt, &out[start..]);
    out.extend_from_slice(&header.to_be_bytes());
    for section in [record, payloads, signature] {
        out.extend_from_slice(section);
        out.extend_from_slice(&crc32c::crc32c_append(header, section).to_be_bytes());
    }
}

/// What a frame says about itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameHeader {
    pub index: u64,
    /// Of the frame in its group.
    pub position: u32,
    /// Of record, payload section and signature, in bytes.
    sections: [usize; 3],
}

impl FrameHeader {
    /// Reads a frame's header within the limits, without its checksum: enough to find the next
    /// frame, which [`decode_frame`] then judges. The error says what is wrong.
    pub(super) fn peek(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut cursor = Cursor(bytes.get(..FRAME_HEADER_BYTES).ok_or(SHORT_FRAME)?);
        if cursor.array::<4>() != Some(*FRAME_MAGIC) {
            return Err("no frame begins here");
        }
        let index = u64::from_be_bytes(cursor.array().ok_or(SHORT_FRAME)?);
        let mut field = || cursor.array().map(u32::from_be_bytes).ok_or(SHORT_FRAME);
        let (record, payloads) = (field()? as usize, field()? as usize);
        let group = field()?;
        let (position, signature) = (group >> 8, (group & 0xff) as usize);
        if !(1..=MAX_RECORD_BYTES).contains(&record)
            || payloads > MAX_PAYLOAD_SECTION_BYTES
            || position as usize >= MAX_GROUP_FRAMES
            || !(signature == 0 || signature == SIGNATURE_BYTES)
        {
            return Err("the frame's header gives a number beyond its limit");
        }
        Ok(Self {
            index,
            position,
            sections: [record, payloads, signature],
        })
    }

    /// Whether the frame ends its group.
    pub(super) fn is_signed(&self) -> bool {
        self.sections[2] != 0
    }

    /// Of the whole frame, in bytes.
    pub(super) fn frame_length(&self) -> usize {
        let [record, payloads, _] = self.sections;
        frame_bytes(record, payloads, self.is_signed())
    }
}

/// Reads the frame at the start of `bytes`; the error says what is wrong.
pub(super) fn decode_frame(salt: [u8; 8], bytes: &[u8]) -> Result<Frame<'_>, &'static str> {
    let header = FrameHeader::peek(bytes)?;
    let mut cursor = Cursor(&bytes[FRAME_HEADER_BYTES - 4..]);
    let expected = cursor.array().map(u32::from_be_bytes).ok_or(SHORT_FRAME)?;
    let checksum = header_checksum(salt, &bytes[..FRAME_HEADER_BYTES - 4]);
    if checksum != expected {
        return Err("the frame's header does not match its checksum");
    }
    let mut section = |length: usize, wrong: &'static str| {
        let section = cursor.take(length).ok_or(SHORT_FRAME)?;
        let expected = cursor.array().map(u32::from_be_bytes).ok_or(SHORT_FRAME)?;
        let is_intact = crc32c::crc32c_append(checksum, section) == expected;
        is_intact.then_some(section).ok_or(wrong)
    };
    let [record, payloads, signature] = header.sections;
    let record = section(record, "the record does not match its checksum")?;
    let payloads = section(payloads, "the payloads do not match their checksum")?;
    let signature = section(signature, "the signature does not match its checksum")?;
    Ok(Frame {
        index: header.index,
        position: header.position,
        record,
        payloads,
        signature: signature.try_into().ok(),
        length: header.frame_length(),
    })
}

/// Overwrites payloads of the intact frame at the start of `bytes` with zeros; what it gives is how many
/// were still there. The record, and with it the tree, stays as it is.
pub(super) fn erase_payloads(
    salt: [u8; 8],
    bytes: &mut [u8],
    erased: &[Commitment],
) -> Result<usize, &'static str> {
    let frame = decode_frame(salt, bytes)?;
    let start = FRAME_HEADER_BYTES + frame.record.len() + 4;
    let end = start + frame.payloads.len();
    let gone = erase_in(&mut bytes[start..end], erased)?;
    let header = header_checksum(salt, &bytes[..FRAME_HEADER_BYTES - 4]);
    let checksum = crc32c::crc32c_append(header, &bytes[start..end]).to_be_bytes();
    bytes[end..end + 4].copy_from_slice(&checksum);
    Ok(gone)
}

/// The rest of what is being read.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::section::tests::payload;
    use super::super::section::{decode_payloads, encode_payloads};
    use super::*;

    const SALT: [u8; 8] = *b"salted!!";

    fn encode(position: u32, record: &[u8], payloads: &[u8], is_signed: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let content = FrameContent {
            index: 9,
            position,
            record,
            payloads,
            signature: is_signed.then_some(&[3; 64]),
        };
        push_frame(&mut out, SALT, &content);
        out
    }

    #[test]
    fn a_frame_reads_back() {
        let payloads = [payload(b"one"), payload(b"")];
        let (payloads, commitments) = (
            encode_payloads(&payloads).0,
            payloads.map(|p| p.commitment()),
        );
        let bytes = encode(4095, b"{}", &payloads, true);
        let frame = decode_frame(SALT, &bytes).unwrap();
        assert_eq!(
            (frame.index, frame.position, frame.record),
            (9, 4095, b"{}".as_slice())
        );
        assert_eq!(frame.signature, Some(&[3; 64]));
        assert_eq!(frame.length, bytes.len());
        let stored = decode_payloads(frame.payloads).unwrap();
        assert_eq!([stored[0].commitment, stored[1].commitment], commitments);
        assert_eq!(stored[1].encoded, Some(payload(b"").encode().as_slice()));
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_found() {
        let (payloads, _) = encode_payloads(&[payload(b"one")]);
        let bytes = encode(1, b"{\"a\":1}", &payloads, true);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_frame(SALT, &flipped).is_err(), "bit {bit}");
        }
        assert!(decode_frame(*b"another!", &bytes).is_err());
    }

    #[test]
    fn a_frame_of_a_group_of_one_is_as_it_always_was() {
        let bytes = encode(0, b"{}", b"", true);
        assert_eq!(bytes[20..24], 64_u32.to_be_bytes());
        let member = encode(1, b"{}", b"", false);
        let header = FrameHeader::peek(&member).unwrap();
        assert_eq!((header.position, header.is_signed()), (1, false));
        assert_eq!(header.frame_length(), member.len());
        let too_many = encode(MAX_GROUP_FRAMES as u32, b"{}", b"", true);
        assert!(FrameHeader::peek(&too_many).is_err());
    }

    #[test]
    fn a_segment_header_reads_back_and_every_flipped_bit_is_found() {
        let header = SegmentHeader {
            first_index: 7,
            salt: SALT,
            vkey: "axiom-hive.local/0123456789abcdef+00000000+AAAA".to_owned(),
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok((header, bytes.len())));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_payload_is_erased_and_nothing_else_changes() {
        let (payloads, commitments) =
            encode_payloads(&[payload(b"one"), payload(b""), payload(b"three")]);
        let mut bytes = encode(0, b"{\"a\":1}", &payloads, true);
        let before = bytes.clone();
        assert_eq!(erase_payloads(SALT, &mut bytes, &commitments[1..]), Ok(2));
        let (frame, old) = (
            decode_frame(SALT, &bytes).unwrap(),
            decode_frame(SALT, &before).unwrap(),
        );
        assert_eq!((frame.record, frame.signature), (old.record, old.signature));
        let stored = decode_payloads(frame.payloads).unwrap();
        assert_eq!(
            stored.iter().map(|p| p.commitment).collect::<Vec<_>>(),
            commitments
        );
        assert_eq!(stored[0], decode_payloads(old.payloads).unwrap()[0]);
        assert_eq!((stored[1].encoded, stored[2].encoded), (None, None));
        let once = bytes.clone();
        assert_eq!(erase_payloads(SALT, &mut bytes, &commitments[1..]), Ok(0));
        assert_eq!(bytes, once);
    }
}
