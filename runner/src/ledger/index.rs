//! The index of a finished segment: where its records lie and which of them answers to a slot, a payload's
//! address or a task; derived from the log, and written once.
//! `docs/LEDGER-FILES.md` has the table of its bytes.
//!
//! A block has 4096 bytes; what it does not need is zero. Its checksum begins with the segment's salt and the
//! number of the block, so that a block is neither taken for another nor for one of another file.
//!
//! A key is only a hint: who finds one reads the record and sees whether it is the right one. What must not be
//! wrong is that there is *no* key. Filter, fences and blocks are therefore all under a checksum.

use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::TaskRef;
use axiom_hive_core::tlog::Hash;

use super::frame::Cursor;
use super::log::OpenIntent;

/// First bytes of an index.
const MAGIC: &[u8; 8] = b"AXHIVEX1";
/// Bytes before the nodes.
pub(super) const HEADER_BYTES: usize = 56;
/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 4096;
const PLACES_IN_BLOCK: usize = 511;
const PLACE_BYTES: usize = 8;
const KEYS_IN_BLOCK: usize = 341;
const KEY_BYTES: usize = 12;
/// One key in a hundred that is not there passes the filter.
const FILTER_BITS_PER_KEY: usize = 10;
const FILTER_PROBES: u64 = 7;
/// Entries of a full tile.
pub(super) const TILE_ENTRIES: u64 = 256;

/// What a key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Slot,
    Payload,
    Task,
}

/// The key of a slot's text, a commitment's bytes, or a task's UID: the first 64 bits of SHA-256.
pub(super) fn key_of(kind: Kind, text: &[u8]) -> u64 {
    let mut named = vec![match kind {
        Kind::Slot => b's',
        Kind::Payload => b'p',
        Kind::Task => b't',
    }];
    named.extend_from_slice(text);
    let mut key = [0; 8];
    key.copy_from_slice(&Digest::of(&named).0[..8]);
    u64::from_be_bytes(key)
}

/// What is to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub first: u64,
    pub salt: [u8; 8],
    pub segment_bytes: u64,
    pub nodes: Vec<Hash>,
    pub leaves: Vec<Hash>,
    /// At the end of the segment: tasks that were begun in the log so far and had not ended.
    pub open: Vec<OpenIntent>,
    /// Offset and length of each frame.
    pub places: Vec<(u32, u32)>,
    /// Key, and the number of a record in the segment.
    pub keys: Vec<(u64, u32)>,
}

/// The part of an index that is read when the ledger is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Summary {
    pub first: u64,
    pub salt: [u8; 8],
    pub segment_bytes: u64,
    /// Records.
    pub count: u64,
    pub nodes: Vec<Hash>,
    pub leaves: Vec<Hash>,
    pub open: Vec<OpenIntent>,
    filter: Vec<u8>,
    fences: Vec<u64>,
    /// Where the blocks begin.
    blocks_at: u64,
}

/// The lengths that a header names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    first: u64,
    salt: [u8; 8],
    segment_bytes: u64,
    count: usize,
    keys: usize,
    nodes: usize,
    leaves: usize,
    open_bytes: usize,
}

impl Contents {
    pub(super) fn encode(mut self) -> Vec<u8> {
        self.keys.sort_unstable();
        self.keys.dedup();
        let mut open = Vec::new();
        for OpenIntent { task, index } in &self.open {
            open.extend_from_slice(&index.to_be_bytes());
            open.extend_from_slice(&task.attempt.to_be_bytes());
            open.extend_from_slice(&(task.uid.len() as u16).to_be_bytes());
            open.extend_from_slice(task.uid.as_bytes());
        }
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.first.to_be_bytes());
        out.extend_from_slice(&self.salt);
        out.extend_from_slice(&self.segment_bytes.to_be_bytes());
        for number in [
            self.places.len(),
            self.keys.len(),
            self.nodes.len(),
            self.leaves.len(),
            open.len(),
        ] {
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        push_checksum(&mut out);
        for hash in self.nodes.iter().chain(&self.leaves) {
            out.extend_from_slice(&hash.0);
        }
        out.extend_from_slice(&open);
        let mut filter = vec![0; filter_bytes(self.keys.len())];
        for (key, _) in &self.keys {
            for bit in probes(*key, filter.len()) {
                filter[bit / 8] |= 1 << (bit % 8);
            }
        }
        out.extend_from_slice(&filter);
        for block in self.keys.chunks(KEYS_IN_BLOCK) {
            out.extend_from_slice(&block[0].0.to_be_bytes());
        }
        push_checksum(&mut out);
        let mut number = 0;
        for block in self.places.chunks(PLACES_IN_BLOCK) {
            let fields = block.iter().flat_map(|(offset, length)| {
                let both = u64::from(*offset) << 32 | u64::from(*length);
                both.to_be_bytes()
            });
            push_block(&mut out, self.salt, &mut number, fields);
        }
        for block in self.keys.chunks(KEYS_IN_BLOCK) {
            let fields = block.iter().flat_map(|(key, record)| {
                let both = u128::from(*key) << 32 | u128::from(*record);
                both.to_be_bytes().into_iter().skip(16 - KEY_BYTES)
            });
            push_block(&mut out, self.salt, &mut number, fields);
        }
        out
    }
}

impl Header {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        const SHORT: &str = "the index is cut short";
        let covered = bytes.get(..HEADER_BYTES).ok_or(SHORT)?;
        let mut cursor = Cursor(unchecked(covered)?);
        if cursor.array::<8>() != Some(*MAGIC) {
            return Err("the index does not begin with \"AXHIVEX1\"");
        }
        let first = u64::from_be_bytes(cursor.array().ok_or(SHORT)?);
        let salt = cursor.array().ok_or(SHORT)?;
        let segment_bytes = u64::from_be_bytes(cursor.array().ok_or(SHORT)?);
        let mut number = || cursor.array().map(u32::from_be_bytes).ok_or(SHORT);
        let header = Self {
            first,
            salt,
            segment_bytes,
            count: number()? as usize,
            keys: number()? as usize,
            nodes: number()? as usize,
            leaves: number()? as usize,
            open_bytes: number()? as usize,
        };
        let end = first.checked_add(header.count as u64);
        let end = end.filter(|_| header.count > 0).ok_or(NUMBERS)?;
        let is_right = header.nodes as u64 == end / TILE_ENTRIES - first / TILE_ENTRIES
            && header.leaves as u64 == end % TILE_ENTRIES;
        is_right.then_some(header).ok_or(NUMBERS)
    }

    /// Bytes up to the blocks.
    pub(super) fn summary_bytes(&self) -> usize {
        let hashes = 32 * (self.nodes + self.leaves);
        let fences = 8 * self.keys.div_ceil(KEYS_IN_BLOCK);
        HEADER_BYTES + hashes + self.open_bytes + filter_bytes(self.keys) + fences + 4
    }

    /// Bytes of the whole file.
    pub(super) fn file_bytes(&self) -> u64 {
        let blocks = self.count.div_ceil(PLACES_IN_BLOCK) + self.keys.div_ceil(KEYS_IN_BLOCK);
        (self.summary_bytes() + blocks * BLOCK_BYTES) as u64
    }
}

/// What is wrong with an index that contradicts itself.
const NUMBERS: &str = "the index gives numbers that do not belong together";

impl Summary {
    /// Reads everything before the blocks.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        const SHORT: &str = "the index is cut short";
        let header = Header::decode(bytes)?;
        let covered = bytes.get(..header.summary_bytes()).ok_or(SHORT)?;
        let mut cursor = Cursor(&unchecked(covered)?[HEADER_BYTES..]);
        let mut hashes = |number: usize| {
            let bytes = cursor.take(32 * number).ok_or(SHORT)?;
            let hashes = bytes.as_chunks::<32>().0.iter();
            Ok::<Vec<Hash>, &'static str>(hashes.map(|hash| Hash(*hash)).collect())
        };
        let (nodes, leaves) = (hashes(header.nodes)?, hashes(header.leaves)?);
        let open = decode_open(cursor.take(header.open_bytes).ok_or(SHORT)?)?;
        let filter = cursor.take(filter_bytes(header.keys)).ok_or(SHORT)?;
        let fences = cursor.0.as_chunks::<8>().0.iter();
        Ok(Self {
            first: header.first,
            salt: header.salt,
            segment_bytes: header.segment_bytes,
            count: header.count as u64,
            nodes,
            leaves,
            open,
            filter: filter.to_vec(),
            fences: fences.map(|key| u64::from_be_bytes(*key)).collect(),
            blocks_at: header.summary_bytes() as u64,
        })
    }

    /// Where the block lies that says where a record's frame lies, and its number.
    pub(super) fn place_block(&self, number: u64) -> (u64, u64) {
        let block = number / PLACES_IN_BLOCK as u64;
        (self.blocks_at + block * BLOCK_BYTES as u64, block)
    }

    /// Offset and length of a record's frame, from its block.
    pub(super) fn place(&self, number: u64, block: &[u8]) -> Result<(u32, u32), &'static str> {
        let fields = self.check(block, self.place_block(number).1)?;
        let places = fields.as_chunks::<PLACE_BYTES>().0;
        let place = places.get((number % PLACES_IN_BLOCK as u64) as usize);
        let both = u64::from_be_bytes(*place.ok_or(NUMBERS)?);
        Ok(((both >> 32) as u32, both as u32))
    }

    /// Where the blocks lie that may hold a key, and their numbers; none for nearly every key that is not
    /// there.
    pub(super) fn key_blocks(&self, key: u64) -> impl Iterator<Item = (u64, u64)> {
        let is_likely = !self.fences.is_empty()
            && probes(key, self.filter.len()).all(|bit| self.filter[bit / 8] >> (bit % 8) & 1 == 1);
        // Equal keys may begin in the block before the first fence that is not below them.
        let from = self.fences.partition_point(|fence| *fence < key);
        let from = from.saturating_sub(1) as u64;
        let to = self.fences.partition_point(|fence| *fence <= key) as u64;
        let before = self.count.div_ceil(PLACES_IN_BLOCK as u64);
        let at = self.blocks_at;
        let range = if is_likely { from..to } else { 0..0 };
        range.map(move |block| {
            let number = before + block;
            (at + number * BLOCK_BYTES as u64, number)
        })
    }

    /// The records that a block of keys gives for a key, ascending.
    pub(super) fn records(
        &self,
        key: u64,
        number: u64,
        block: &[u8],
    ) -> Result<Vec<u64>, &'static str> {
        let fields = self.check(block, number)?;
        let mut records = Vec::new();
        for field in fields.as_chunks::<KEY_BYTES>().0 {
            let mut both = [0; 16];
            both[16 - KEY_BYTES..].copy_from_slice(field);
            let both = u128::from_be_bytes(both);
            let record = u64::from(both as u32);
            // The zeros behind the last key look like one more.
            if (both >> 32) as u64 == key && record < self.count {
                records.push(self.first + record);
            }
        }
        Ok(records)
    }

    /// The fields of block `number`, if its checksum holds.
    fn check<'a>(&self, block: &'a [u8], number: u64) -> Result<&'a [u8], &'static str> {
        let (fields, checksum) = block.split_last_chunk::<4>().ok_or(NUMBERS)?;
        if block_checksum(self.salt, number, fields) != u32::from_be_bytes(*checksum) {
            return Err("a block of the index does not match its checksum");
        }
        Ok(fields)
    }
}

fn decode_open(bytes: &[u8]) -> Result<Vec<OpenIntent>, &'static str> {
    let mut cursor = Cursor(bytes);
    let mut open = Vec::new();
    while !cursor.0.is_empty() {
        let index = u64::from_be_bytes(cursor.array().ok_or(NUMBERS)?);
        let attempt = u32::from_be_bytes(cursor.array().ok_or(NUMBERS)?);
        let length = usize::from(u16::from_be_bytes(cursor.array().ok_or(NUMBERS)?));
        let uid = std::str::from_utf8(cursor.take(length).ok_or(NUMBERS)?).map_err(|_| NUMBERS)?;
        let uid = uid.to_owned();
        open.push(OpenIntent {
            task: TaskRef { uid, attempt },
            index,
        });
    }
    Ok(open)
}

fn filter_bytes(keys: usize) -> usize {
    (keys * FILTER_BITS_PER_KEY).div_ceil(8)
}

/// The bits of a key in a filter of that length, which is not 0.
fn probes(key: u64, filter_bytes: usize) -> impl Iterator<Item = usize> {
    let bits = (filter_bytes as u64 * 8).max(1);
    let (start, step) = (key >> 32, key & 0xffff_ffff | 1);
    (0..FILTER_PROBES).map(move |probe| ((start + probe * step) % bits) as usize)
}

fn push_checksum(out: &mut Vec<u8>) {
    let checksum = crc32c::crc32c(out);
    out.extend_from_slice(&checksum.to_be_bytes());
}

/// What stands before the checksum at the end of `bytes`.
fn unchecked(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let (covered, checksum) = bytes.split_last_chunk::<4>().ok_or(NUMBERS)?;
    if crc32c::crc32c(covered) != u32::from_be_bytes(*checksum) {
        return Err("the index does not match its checksum");
    }
    Ok(covered)
}

fn block_checksum(salt: [u8; 8], number: u64, fields: &[u8]) -> u32 {
    let start = crc32c::crc32c_append(crc32c::crc32c(&salt), &number.to_be_bytes());
    crc32c::crc32c_append(start, fields)
}

/// Adds the next block with these bytes.
fn push_block(
    out: &mut Vec<u8>,
    salt: [u8; 8],
    number: &mut u64,
    fields: impl Iterator<Item = u8>,
) {
    let start = out.len();
    out.extend(fields);
    out.resize(start + BLOCK_BYTES - 4, 0);
    let checksum = block_checksum(salt, *number, &out[start..]);
    out.extend_from_slice(&checksum.to_be_bytes());
    *number += 1;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Of `count` records from `first` on, with `keys` keys: each twice, in records next to each other.
    fn contents(first: u64, count: u32, keys: u32) -> Contents {
        let end = first + u64::from(count);
        let hashes = |number: u64| (0..number).map(|n| Hash([n as u8; 32])).collect();
        Contents {
            first,
            salt: *b"salted!!",
            segment_bytes: 1 << 20,
            nodes: hashes(end / TILE_ENTRIES - first / TILE_ENTRIES),
            leaves: hashes(end % TILE_ENTRIES),
            open: vec![OpenIntent {
                task: TaskRef {
                    uid: "a task".to_owned(),
                    attempt: 3,
                },
                index: 1,
            }],
            places: (0..count).map(|n| (n * 100, 100 + n)).collect(),
            keys: (0..keys)
                .map(|n| (key_of(Kind::Slot, &(n / 2).to_be_bytes()), n % count))
                .collect(),
        }
    }

    fn block(bytes: &[u8], at: u64) -> &[u8] {
        &bytes[at as usize..][..BLOCK_BYTES]
    }

    fn find(summary: &Summary, bytes: &[u8], key: u64) -> Result<Vec<u64>, &'static str> {
        let mut found = Vec::new();
        for (at, number) in summary.key_blocks(key) {
            found.extend(summary.records(key, number, block(bytes, at))?);
        }
        Ok(found)
    }

    #[test]
    fn an_index_reads_back() {
        for (first, count, keys) in [(0, 1, 0), (5, 300, 1), (1000, 1100, 2000), (512, 512, 341)] {
            let contents = contents(first, count, keys);
            let bytes = contents.clone().encode();
            let header = Header::decode(&bytes).unwrap();
            assert_eq!(header.file_bytes(), bytes.len() as u64);
            let summary = Summary::decode(&bytes).unwrap();
            assert_eq!(
                (&summary.nodes, &summary.leaves, &summary.open),
                (&contents.nodes, &contents.leaves, &contents.open)
            );
            for number in 0..u64::from(count) {
                let (at, _) = summary.place_block(number);
                let place = summary.place(number, block(&bytes, at));
                assert_eq!(place, Ok(contents.places[number as usize]));
            }
            for (key, _) in &contents.keys {
                let same = contents.keys.iter().filter(|(other, _)| other == key);
                let mut expected: Vec<u64> = same.map(|(_, n)| first + u64::from(*n)).collect();
                expected.sort_unstable();
                assert_eq!(find(&summary, &bytes, *key), Ok(expected));
            }
            let absent = (0..1000_u32).map(|n| key_of(Kind::Task, &n.to_be_bytes()));
            let reads = absent.filter(|key| {
                assert_eq!(find(&summary, &bytes, *key), Ok(Vec::new()));
                summary.key_blocks(*key).next().is_some()
            });
            assert!(
                reads.count() < 40,
                "the filter keeps nearly all of them out"
            );
        }
    }

    #[test]
    fn a_key_that_fills_whole_blocks_gives_every_record() {
        let mut contents = contents(0, 1000, 0);
        contents.keys = (0..1000).map(|n| (7, n)).collect();
        contents.keys.extend([(0, 4), (6, 1), (8, 2)]);
        let bytes = contents.encode();
        let summary = Summary::decode(&bytes).unwrap();
        assert_eq!(find(&summary, &bytes, 7), Ok((0..1000).collect()));
        assert_eq!(find(&summary, &bytes, 8), Ok(vec![2]));
        assert_eq!(find(&summary, &bytes, 6), Ok(vec![1]));
    }

    #[test]
    fn every_flipped_bit_is_found_where_it_is_read() {
        let contents = contents(250, 20, 30);
        let bytes = contents.clone().encode();
        let blocks = Summary::decode(&bytes).unwrap().blocks_at as usize;
        let mut flipped = bytes.clone();
        for bit in 0..blocks * 8 {
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Summary::decode(&flipped).is_err(), "bit {bit}");
            flipped[bit / 8] ^= 1 << (bit % 8);
        }
        let summary = Summary::decode(&bytes).unwrap();
        let key = contents.keys[0].0;
        for bit in blocks * 8..bytes.len() * 8 {
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (at, _) = summary.place_block(0);
            let is_found = summary.place(0, block(&flipped, at)).is_err()
                || find(&summary, &flipped, key).is_err();
            assert!(is_found, "bit {bit}");
            flipped[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_block_is_not_taken_for_another() {
        let bytes = contents(0, 1100, 0).encode();
        let summary = Summary::decode(&bytes).unwrap();
        let (second, _) = summary.place_block(600);
        assert!(summary.place(0, block(&bytes, second)).is_err());
        for length in 0..summary.blocks_at as usize {
            assert!(Summary::decode(&bytes[..length]).is_err());
        }
    }
}
