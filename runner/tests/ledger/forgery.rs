//! What an attacker who mends every checksum cannot do without the key.

use axiom_hive_runner::ledger::{Depth, Trust, verify_on};

use super::fixture::{FIRST_SEGMENT, World, constitution, erasure};

/// Bytes of a frame before its record.
const HEADER: usize = 28;

/// A frame's sections: where record, payloads and signature begin, and where the frame ends.
pub(super) fn sections(frame: &[u8]) -> [usize; 4] {
    let length = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap()) as usize;
    let record = HEADER;
    let payloads = record + length(12) + 4;
    let signature = payloads + length(16) + 4;
    [record, payloads, signature, signature + length(20) + 4]
}

fn salt(segment: &[u8]) -> [u8; 8] {
    segment[16..24].try_into().unwrap()
}

/// Computes every checksum of the frame at `start` anew.
pub(super) fn mend(segment: &mut [u8], start: usize) {
    let salt = crc32c::crc32c(&salt(segment));
    let frame = &mut segment[start..];
    let header = crc32c::crc32c_append(salt, &frame[..HEADER - 4]);
    frame[HEADER - 4..HEADER].copy_from_slice(&header.to_be_bytes());
    let at = sections(frame);
    for section in at.windows(2) {
        let end = section[1] - 4;
        let checksum = crc32c::crc32c_append(header, &frame[section[0]..end]);
        frame[end..section[1]].copy_from_slice(&checksum.to_be_bytes());
    }
}

pub(super) fn starts(segment: &[u8]) -> Vec<usize> {
    let is_frame = |at: &usize| segment[*at..].starts_with(b"AXF1");
    (0..segment.len()).filter(is_frame).collect()
}

/// Rearranges frames.
type Edit = fn(Vec<Vec<u8>>) -> Vec<Vec<u8>>;

fn is_found(world: &World) -> bool {
    !verify_on(&world.dir, Trust::Pin(&world.keys()), Depth::Log)
        .unwrap()
        .is_ok()
}

#[test]
fn a_changed_record_is_found_whatever_its_checksum_says() {
    let world = World::with_records(3);
    for number in 0..3 {
        let forged = world.fork();
        forged.dir.edit(FIRST_SEGMENT, |segment| {
            let start = starts(segment)[number];
            // The last character before the closing quote of a base64 commitment's text.
            segment[start + HEADER + 20] ^= 1;
            mend(segment, start);
        });
        assert!(is_found(&forged));
        assert!(!forged.open().unwrap().read_only().is_empty());
    }
}

#[test]
fn a_changed_payload_is_found_by_its_commitment() {
    let world = World::with_records(3);
    world.dir.edit(FIRST_SEGMENT, |segment| {
        let start = starts(segment)[1];
        let [_, payloads, signature, _] = sections(&segment[start..]);
        assert!(signature - payloads > 4);
        segment[start + signature - 5] ^= 1;
        mend(segment, start);
    });
    let report = verify_on(&world.dir, Trust::Pin(&world.keys()), Depth::Log).unwrap();
    assert_eq!(report.problems[0].index, Some(1));
}

#[test]
fn a_frame_beyond_the_head_needs_the_key() {
    let world = World::with_records(3);
    world.dir.edit(FIRST_SEGMENT, |segment| {
        let start = starts(segment)[2];
        let mut frame = segment[start..].to_vec();
        frame[4..12].copy_from_slice(&3_u64.to_be_bytes());
        let end = segment.len();
        segment.extend(frame);
        mend(segment, end);
    });
    assert!(is_found(&world));
    let ledger = world.open().unwrap();
    let reason = &ledger.read_only()[0];
    assert_eq!(reason.index, Some(3));
    assert!(reason.what.contains("signature"));
}

#[test]
fn spliced_and_reordered_frames_are_found_when_renumbered_and_mended() {
    let world = World::with_records(5);
    let edits: [Edit; 3] = [
        |mut frames| {
            frames.swap(1, 3);
            frames
        },
        |mut frames| {
            frames.remove(2);
            frames
        },
        |mut frames| {
            frames.insert(2, frames[0].clone());
            frames
        },
    ];
    for edit in edits {
        let forged = world.fork();
        forged.dir.edit(FIRST_SEGMENT, |segment| {
            let mut at = starts(segment);
            at.push(segment.len());
            let frames = at
                .windows(2)
                .map(|pair| segment[pair[0]..pair[1]].to_vec())
                .collect();
            segment.truncate(at[0]);
            for (index, mut frame) in (0_u64..).zip(edit(frames)) {
                frame[4..12].copy_from_slice(&index.to_be_bytes());
                let start = segment.len();
                segment.extend(frame);
                mend(segment, start);
            }
        });
        assert!(is_found(&forged));
        assert!(!forged.open().unwrap().read_only().is_empty());
    }
}

#[test]
fn frames_of_a_group_that_nobody_signed_are_cut_off() {
    let world = World::with_records(2);
    world.dir.edit(FIRST_SEGMENT, |segment| {
        let start = starts(segment)[1];
        let mut frame = segment[start..].to_vec();
        frame[4..12].copy_from_slice(&2_u64.to_be_bytes());
        // The same frame without its signature: the middle of a group.
        frame[20..24].fill(0);
        frame.drain(frame.len() - 68..frame.len() - 4);
        let end = segment.len();
        segment.extend(frame);
        mend(segment, end);
    });
    let mut ledger = world.open().unwrap();
    assert_eq!((ledger.view().size(), ledger.repaired().len()), (2, 1));
    ledger.append(&erasure(1), &[]).unwrap();
}

#[test]
fn a_text_that_looks_like_a_frame_is_none() {
    let world = World::with_records(2);
    let frame = {
        let segment = &world.dir.files()[FIRST_SEGMENT];
        segment[starts(segment)[1]..].to_vec()
    };
    // Another ledger keeps these bytes as a payload, and its last frame is torn before the head.
    let other = World::with_records(1);
    let before = (other.dir.files(), other.keys.files());
    let (mut reference, mut text) = constitution(1);
    reference.version = "2.0.0".to_owned();
    text.bytes = frame;
    other
        .open()
        .unwrap()
        .ensure_constitution(&reference, &text)
        .unwrap();
    for slot in ["heads/0", "heads/1"] {
        other
            .dir
            .edit(slot, |bytes| bytes.clone_from(&before.0[slot]));
    }
    for (path, old) in &before.1 {
        other.keys.edit(path, |bytes| bytes.clone_from(old));
    }
    other.dir.edit(FIRST_SEGMENT, |segment| {
        let torn = starts(segment)[1];
        segment[torn + 5] ^= 1;
    });
    let ledger = other.open().unwrap();
    assert_eq!(
        ledger.read_only(),
        [],
        "the salt tells a frame from its copy"
    );
    assert_eq!((ledger.view().size(), ledger.repaired().len()), (1, 1));
}
