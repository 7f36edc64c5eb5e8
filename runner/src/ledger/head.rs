//! Signed heads in two alternating slots.
//!
//! A slot is a file of 112 bytes, written in place, so that a torn write spoils at most one of the
//! two. Before its first use it is all zero.
//!
//! ```text
//!   0   4  "AXH1"
//!   4   8  tree size, big-endian
//!  12  32  root
//!  44  64  Ed25519 signature over the checkpoint (C2SP tlog-checkpoint) of size and root
//! 108   4  CRC-32C over everything before it
//! ```
//!
//! `heads/0` and `heads/1` lie in the ledger directory, `pin/0` and `pin/1` beside the key.

use std::io;

use axiom_hive_core::tlog::{
    Checkpoint, Hash, NodeReader, Note, NoteSignature, SigningKey, VerifyingKey, root_at,
};

use super::error::Problem;
use super::frame::SIGNATURE_BYTES;
use super::storage::Storage;

const MAGIC: &[u8; 4] = b"AXH1";
/// Bytes of one slot.
const SLOT_BYTES: usize = 112;

/// A released tree head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub size: u64,
    pub root: Hash,
    pub signature: [u8; SIGNATURE_BYTES],
}

impl Head {
    /// Signs the tree. `None` only for a size beyond the format's limit.
    pub(super) fn sign(size: u64, root: Hash, key: &SigningKey) -> Option<Self> {
        let checkpoint = Checkpoint::new(key.verifying_key().name(), size, root);
        let note = Note::parse(&checkpoint.sign(key).ok()?).ok()?;
        let signature = note.signatures.first()?.signature.as_slice();
        Some(Self {
            size,
            root,
            signature: signature.try_into().ok()?,
        })
    }

    fn note(&self, key: &VerifyingKey) -> Note {
        Note {
            text: Checkpoint::new(key.name(), self.size, self.root).to_string(),
            signatures: vec![NoteSignature {
                name: key.name().to_owned(),
                id: key.id(),
                signature: self.signature.to_vec(),
            }],
        }
    }

    /// The checkpoint as a signed note.
    pub(super) fn checkpoint(&self, key: &VerifyingKey) -> String {
        self.note(key).to_string()
    }

    /// Whether `key` signed it.
    pub(super) fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        self.note(key).verify(std::slice::from_ref(key)).is_ok()
    }

    fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut out = [0; SLOT_BYTES];
        out[..4].copy_from_slice(MAGIC);
        out[4..12].copy_from_slice(&self.size.to_be_bytes());
        out[12..44].copy_from_slice(&self.root.0);
        out[44..108].copy_from_slice(&self.signature);
        let checksum = crc32c::crc32c(&out[..108]);
        out[108..].copy_from_slice(&checksum.to_be_bytes());
        out
    }

    /// `Ok(None)` for a slot that was never used; the error says what is wrong.
    fn decode(slot: &[u8]) -> Result<Option<Self>, &'static str> {
        let slot: &[u8; SLOT_BYTES] = slot.try_into().map_err(|_| "a head is 112 bytes long")?;
        if slot.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let (covered, checksum) = slot.split_at(108);
        if crc32c::crc32c(covered).to_be_bytes() != *checksum || !covered.starts_with(MAGIC) {
            return Err("the head does not match its checksum");
        }
        let mut size = [0; 8];
        let mut root = [0; 32];
        let mut signature = [0; SIGNATURE_BYTES];
        size.copy_from_slice(&covered[4..12]);
        root.copy_from_slice(&covered[12..44]);
        signature.copy_from_slice(&covered[44..]);
        Ok(Some(Self {
            size: u64::from_be_bytes(size),
            root: Hash(root),
            signature,
        }))
    }
}

/// A released head, with the checkpoint that every receipt under it holds.
#[derive(Debug)]
pub(super) struct SignedHead {
    pub head: Head,
    pub checkpoint: String,
}

impl SignedHead {
    pub(super) fn new(head: Head, key: &VerifyingKey) -> Self {
        Self {
            head,
            checkpoint: head.checkpoint(key),
        }
    }
}

/// What is wrong with a head, seen from the log of `size` records with this key and tree.
pub(super) fn wrong_with<R: NodeReader>(
    head: &Head,
    key: &VerifyingKey,
    size: u64,
    tree: &R,
) -> Option<String> {
    let released = head.size;
    if released > size {
        let missing = released - size;
        return Some(format!(
            "{released} records were released, the log has {size}: {missing} are missing"
        ));
    }
    if !head.is_signed_by(key) {
        return Some("the head is not signed by the log's key".to_owned());
    }
    match root_at(released, tree) {
        Ok(root) if root == head.root => None,
        _ => Some(format!(
            "the first {released} records are not those that were released"
        )),
    }
}

/// Both slots as they were read.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    folder: String,
    /// By slot number: intact or unused, or what is wrong with it.
    heads: [Result<Option<Head>, &'static str>; 2],
}

impl Slots {
    /// Makes two unused slots in `folder`, durably.
    pub(super) fn create(storage: &dyn Storage, folder: &str) -> io::Result<()> {
        for slot in 0..2 {
            storage.replace(&format!("{folder}/{slot}"), &[0; SLOT_BYTES], true)?;
        }
        Ok(())
    }

    /// No slots at all.
    pub(super) fn absent() -> Self {
        const MISSING: Result<Option<Head>, &str> = Err("the head is missing");
        Self {
            folder: String::new(),
            heads: [MISSING; 2],
        }
    }

    /// Reads both slots.
    pub(super) fn read(storage: &dyn Storage, folder: &str) -> io::Result<Self> {
        let slot = |number| {
            Ok::<_, io::Error>(match storage.read(&format!("{folder}/{number}"))? {
                Some(bytes) => Head::decode(&bytes),
                None => Err("the head is missing"),
            })
        };
        Ok(Self {
            folder: folder.to_owned(),
            heads: [slot(0)?, slot(1)?],
        })
    }

    /// The newest intact head.
    pub(super) fn newest(&self) -> Option<Head> {
        self.intact()
            .map(|(_, head)| head)
            .max_by_key(|head| head.size)
    }

    /// Every intact head with its file.
    pub(super) fn intact(&self) -> impl Iterator<Item = (String, Head)> {
        self.heads.iter().enumerate().filter_map(|(slot, head)| {
            let head = head.as_ref().ok().copied().flatten()?;
            Some((format!("{}/{slot}", self.folder), head))
        })
    }

    /// What is wrong with each slot that cannot be read.
    pub(super) fn broken(&self) -> Vec<Problem> {
        let slots = self.heads.iter().enumerate();
        slots
            .filter_map(|(slot, head)| {
                let what = head.as_ref().err()?;
                Some(Problem::of_file(format!("{}/{slot}", self.folder), *what))
            })
            .collect()
    }

    /// Writes `head` over the slot that is broken, unused or the older one. Not synced: the log
    /// itself is durable, and the signature in its last frame stands in for a head that is lost.
    pub(super) fn write(&mut self, storage: &dyn Storage, head: Head) -> io::Result<()> {
        let age = |slot: &Result<Option<Head>, _>| match slot {
            Err(_) => 0,
            Ok(None) => 1,
            Ok(Some(head)) => head.size + 2,
        };
        let slot = usize::from(age(&self.heads[1]) < age(&self.heads[0]));
        let path = format!("{}/{slot}", self.folder);
        match self.heads[slot] {
            Ok(_) => storage.write_at(&path, 0, &head.encode())?,
            // A broken slot may be missing or of another length.
            Err(_) => storage.replace(&path, &head.encode(), false)?,
        }
        self.heads[slot] = Ok(Some(head));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::storage::Memory;
    use super::*;

    fn head(size: u64) -> Head {
        let key = SigningKey::new("axiom-hive.local/0", &[1; 32]).unwrap();
        Head::sign(size, Hash([size as u8; 32]), &key).unwrap()
    }

    #[test]
    fn slots_alternate_and_the_newest_wins() {
        let storage = Memory::default();
        Slots::create(&storage, "heads").unwrap();
        let mut slots = Slots::read(&storage, "heads").unwrap();
        assert_eq!(slots.newest(), None);
        for size in 1..=5 {
            slots.write(&storage, head(size)).unwrap();
            let read = Slots::read(&storage, "heads").unwrap();
            assert_eq!(read.newest(), Some(head(size)));
            let sizes: u64 = read.intact().map(|(_, head)| head.size).sum();
            assert_eq!(sizes, size + (size - 1), "the one before is still there");
        }
    }

    #[test]
    fn a_broken_slot_is_reported_and_written_next() {
        let storage = Memory::default();
        Slots::create(&storage, "heads").unwrap();
        let mut slots = Slots::read(&storage, "heads").unwrap();
        slots.write(&storage, head(1)).unwrap();
        slots.write(&storage, head(2)).unwrap();
        storage.edit("heads/1", |bytes| bytes[50] ^= 1);
        let mut slots = Slots::read(&storage, "heads").unwrap();
        assert_eq!(slots.newest(), Some(head(1)));
        assert_eq!(slots.broken().len(), 1);
        slots.write(&storage, head(3)).unwrap();
        let slots = Slots::read(&storage, "heads").unwrap();
        assert_eq!((slots.newest(), slots.broken().len()), (Some(head(3)), 0));
    }

    #[test]
    fn every_flipped_bit_of_a_slot_is_found() {
        for (bytes, is_used) in [(head(7).encode(), true), ([0; SLOT_BYTES], false)] {
            assert_eq!(Head::decode(&bytes).unwrap().is_some(), is_used);
            for bit in 0..SLOT_BYTES * 8 {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(Head::decode(&flipped).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_head_is_a_checkpoint_that_its_key_signed() {
        let key = SigningKey::new("axiom-hive.local/0", &[1; 32]).unwrap();
        let other = SigningKey::new("axiom-hive.local/0", &[2; 32]).unwrap();
        let head = head(3);
        assert!(head.is_signed_by(key.verifying_key()));
        assert!(!head.is_signed_by(other.verifying_key()));
        let note = head.checkpoint(key.verifying_key());
        assert_eq!(
            Checkpoint::open(&note, key.verifying_key()).unwrap().size,
            3
        );
    }
}
