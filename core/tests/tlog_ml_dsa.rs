//! Cosignatures of type 6, ML-DSA-44: what they cover, that foreign code makes the same, and that they count.
#![allow(clippy::unwrap_used, missing_docs)]

use axiom_hive_core::digest::to_hex;
use axiom_hive_core::tlog::witness::{cosignature, parse_cosignatures, with_cosignature};
use axiom_hive_core::tlog::{
    Checkpoint, KeyError, KeyType, Note, NoteError, Policy, PolicyError, SigningKey, VerifyingKey,
    cosign, leaf_hash, open_note, sign_note,
};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

const TIME: u64 = 1_679_315_147;

fn log() -> SigningKey {
    SigningKey::new("example.com/log", &[1; 32]).unwrap()
}

fn witness(seed: u8) -> SigningKey {
    SigningKey::with_type("witness.example/w1", KeyType::MlDsa44, &[seed; 32]).unwrap()
}

fn cosigned() -> String {
    let checkpoint = Checkpoint::new("example.com/log", 1, leaf_hash(b"a"));
    cosign(&checkpoint.sign(&log()).unwrap(), &witness(6), TIME).unwrap()
}

// The SHA-256 of the vkey and of the line, with its newline, that a Go program made with filippo.io/mldsa v1.0.0
// (`SignDeterministic`) from the seed 06…06 and the specification's example checkpoint. The message is what
// filippo.io/torchwood v0.10.0 lays out.
const FOREIGN_VKEY: &str = "c0ad7fa215817a26f469a3e3adf876ac52baad650de7f8fd81118fd76c1fec3a";
const FOREIGN_LINE: &str = "2b88acde006bf956f15e4f8103778ae7fe1db72e63f1305181aee3e5610bf79c";

#[test]
fn foreign_code_makes_the_same_key_and_signature() {
    let key = witness(6);
    let vkey = key.verifying_key().to_string();
    assert_eq!(to_hex(&Sha256::digest(&vkey)), FOREIGN_VKEY);
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    let root = root.parse().unwrap();
    let checkpoint = Checkpoint::new("example.com/behind-the-sofa", 20_852_163, root);
    let line = cosignature(&checkpoint, &key, TIME).unwrap();
    assert_eq!(to_hex(&Sha256::digest(&line)), FOREIGN_LINE);
    let note = format!("{checkpoint}\n{line}");
    let read: VerifyingKey = vkey.parse().unwrap();
    assert_eq!(open_note(&note, &[read]).unwrap().signers[0].time, TIME);
}

#[test]
fn a_key_has_one_text() {
    let key = witness(7);
    let public = key.verifying_key();
    let vkey = public.to_string();
    assert_eq!(&vkey.parse::<VerifyingKey>().unwrap(), public);
    let private = key.to_private();
    let read = SigningKey::from_private(&private).unwrap();
    assert_eq!(read.verifying_key(), public);
    assert!(!format!("{read:?}").contains(&private[..]));
    let new = |name: &str, bytes: usize| {
        VerifyingKey::new(name, KeyType::MlDsa44, &vec![7; bytes]).map(|key| key.id())
    };
    for bytes in [0, 32, 1311, 1313] {
        assert_eq!(new("w", bytes), Err(KeyError::Length));
    }
    assert_eq!(new(&"w".repeat(256), 1312), Err(KeyError::Name));
    assert!(new(&"w".repeat(255), 1312).is_ok());
    let short = VerifyingKey::new("w", KeyType::Ed25519, &[7; 31]);
    assert_eq!(short, Err(KeyError::Length));
}

#[test]
fn only_a_checkpoint_is_signed() {
    let refused = |text: &str| sign_note(text, &[&witness(6)]) == Err(NoteError::Uncosignable);
    assert!(refused("a note\n"));
    let mut checkpoint = Checkpoint::new("o".repeat(255), 1, leaf_hash(b"a"));
    assert!(!refused(&checkpoint.to_string()));
    checkpoint.extensions.push("nobody signs this".to_owned());
    assert!(refused(&checkpoint.to_string()));
    checkpoint.extensions.clear();
    checkpoint.origin.push('o');
    assert!(refused(&checkpoint.to_string()));
    assert!(cosignature(&checkpoint, &witness(6), TIME).is_err());
}

#[test]
fn an_extension_line_added_later_is_not_believed() {
    let (note, key) = (cosigned(), witness(6).verifying_key().clone());
    assert!(open_note(&note, std::slice::from_ref(&key)).is_ok());
    let extended = note.replacen("\n\n", "\nmore\n\n", 1);
    let bad = open_note(&extended, &[key]).unwrap_err();
    assert!(matches!(bad, NoteError::Bad { .. }));
}

#[test]
fn who_knows_the_log_alone_ignores_it() {
    let note = cosigned();
    assert!(Checkpoint::open(&note, log().verifying_key()).is_ok());
    // The same seed and name under another type is another key, and so is the same key under another name.
    let same = witness(6).verifying_key().clone();
    let ed25519 = SigningKey::with_type(same.name(), KeyType::Cosignature, &[6; 32]).unwrap();
    let renamed = SigningKey::with_type("w2", KeyType::MlDsa44, &[6; 32]).unwrap();
    for other in [ed25519, renamed] {
        let other = other.verifying_key().clone();
        assert_eq!(open_note(&note, &[other]), Err(NoteError::Unverified));
    }
}

#[test]
fn a_policy_counts_it_beside_an_ed25519_witness() {
    let other = SigningKey::with_type("w2.example", KeyType::Cosignature, &[9; 32]).unwrap();
    let lines = format!(
        "log {}\nwitness one {} https://w1.example/\nwitness two {}\n",
        log().verifying_key(),
        witness(6).verifying_key(),
        other.verifying_key(),
    );
    let policy: Policy = format!("{lines}group both all one two\nquorum both\n")
        .parse()
        .unwrap();
    let note = cosigned();
    let too_few = PolicyError::NoQuorum { cosigned: 1 };
    assert_eq!(policy.check(&note), Err(too_few));
    let both = cosign(&note, &other, TIME + 1).unwrap();
    let witnesses = policy.check(&both).unwrap().witnesses;
    assert_eq!(witnesses, [(0, TIME), (1, TIME + 1)]);
    // One who signs is one witness, under however many names.
    let renamed = SigningKey::with_type("w3", KeyType::MlDsa44, &[6; 32]).unwrap();
    let twice = format!("{lines}witness three {}\n", renamed.verifying_key());
    assert_eq!(twice.parse::<Policy>().unwrap_err().line, 4);
    // A log is known by its Ed25519 key.
    let log = format!("log {}\nquorum none\n", witness(6).verifying_key());
    assert_eq!(log.parse::<Policy>().unwrap_err().line, 1);
}

#[test]
fn a_policy_of_the_most_witnesses_with_the_longest_keys_fits() {
    let mut text = format!("log {}\n", log().verifying_key());
    for number in 0..32_u8 {
        let name = format!("{number:0>255}");
        let key = SigningKey::with_type(&name, KeyType::MlDsa44, &[number; 32]).unwrap();
        let line = format!(
            "witness {number} {} https://w.example/{name}\n",
            key.verifying_key()
        );
        text.push_str(&line);
    }
    let policy: Policy = format!("{text}quorum 31\n").parse().unwrap();
    assert_eq!(policy.witnesses.len(), 32);
}

#[test]
fn a_witness_answers_with_it() {
    let checkpoint = Checkpoint::new("example.com/log", 1, leaf_hash(b"a"));
    let note = Note::parse(&checkpoint.sign(&log()).unwrap()).unwrap();
    let (one, two) = (witness(6), witness(7));
    let answer = |key| parse_cosignatures(&cosignature(&checkpoint, key, TIME).unwrap()).unwrap();
    let taken = with_cosignature(&note, one.verifying_key(), answer(&one)).unwrap();
    assert_eq!(taken.to_string(), cosigned());
    let wrong = with_cosignature(&note, one.verifying_key(), answer(&two));
    assert_eq!(wrong, Err(NoteError::Unverified));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_verifies_and_any_flipped_bit_does_not(
        seed in any::<[u8; 32]>(),
        leaf in any::<u64>(),
        size in 1..u64::MAX / 2,
        time in 0..=i64::MAX as u64,
        bit in 0..(8 + 2420) * 8_usize,
        other_size in 1..u64::MAX / 2,
    ) {
        let key = SigningKey::with_type("w", KeyType::MlDsa44, &seed).unwrap();
        let keys = [key.verifying_key().clone()];
        let of_size = |size| Checkpoint::new("log", size, leaf_hash(&leaf.to_be_bytes()));
        let line = cosignature(&of_size(size), &key, time).unwrap();
        let mut note = Note::parse(&format!("{}\n{line}", of_size(size))).unwrap();
        prop_assert_eq!(note.verify(&keys).unwrap()[0].time, time);
        note.signatures[0].signature[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(note.verify(&keys).is_err());
        note.signatures[0].signature[bit / 8] ^= 1 << (bit % 8);
        note.signatures[0].signature.push(0);
        prop_assert!(note.verify(&keys).is_err());
        note.signatures[0].signature.pop();
        note.text = of_size(other_size).to_string();
        prop_assert_eq!(note.verify(&keys).is_ok(), size == other_size);
    }
}
