//! No parser panics, whatever it is given, and what a parser accepts is what its writer writes.
#![allow(clippy::unwrap_used, missing_docs)]

mod tlog_support;

use axiom_hive_core::record::{Opening, Payload, Receipt, Record};
use axiom_hive_core::tlog::witness::parse_cosignatures;
use axiom_hive_core::tlog::{
    AddCheckpoint, Checkpoint, EMPTY_ROOT, Hash, MAX_TREE_SIZE, Note, NoteError, Policy,
    ProofFileError, SigningKey, Tile, TlogProof, VerifyingKey, bundle, cosign, leaf_hash,
    open_note, sign_note,
};
use axiom_hive_core::tlog::{KeyError, KeyType};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tlog_support::budget;

/// Gives `text` to every parser; where one accepts it, the writer must give it back.
fn try_every_parser(text: &str) {
    let bytes = text.as_bytes();
    if let Ok(record) = Record::from_canonical(bytes) {
        assert_eq!(record.to_canonical().unwrap(), bytes);
    }
    if let Ok(opening) = Opening::from_canonical(bytes) {
        assert_eq!(opening.to_canonical().unwrap(), bytes);
    }
    if let Ok(receipt) = Receipt::parse(text) {
        assert_eq!(receipt.to_string(), text);
    }
    if let Ok(proof) = TlogProof::parse(text) {
        assert_eq!(proof.to_string(), text);
    }
    if let Ok(note) = Note::parse(text) {
        assert_eq!(note.to_string(), text);
    }
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(checkpoint.to_string(), text);
    }
    if let Ok(request) = AddCheckpoint::parse(text) {
        assert_eq!(request.to_string(), text);
    }
    if let Ok(lines) = parse_cosignatures(text) {
        let again: String = lines.iter().map(ToString::to_string).collect();
        assert_eq!(again, text);
    }
    if let Ok(policy) = text.parse::<Policy>() {
        let everybody: Vec<usize> = (0..policy.witnesses.len()).collect();
        assert!(policy.is_met_by(&everybody));
    }
    if let Ok(key) = text.parse::<VerifyingKey>() {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(tile) = text.parse::<Tile>() {
        assert_eq!(tile.to_string(), text);
    }
    if let Ok(hash) = text.parse::<Hash>() {
        assert_eq!(hash.to_string(), text);
    }
}

#[test]
fn no_parser_panics_on_arbitrary_bytes() {
    let mut runner = TestRunner::new(budget("TLOG_PARSERS", 2000));
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    runner
        .run(&(bytes, any::<u16>()), |(bytes, width)| {
            try_every_parser(&String::from_utf8_lossy(&bytes));
            let _ = Record::from_canonical(&bytes);
            let _ = Opening::from_canonical(&bytes);
            if let Ok(entries) = bundle::parse(&bytes, width) {
                let mut again = Vec::new();
                for entry in entries {
                    bundle::push_entry(&mut again, entry).unwrap();
                }
                prop_assert_eq!(&again, &bytes);
            }
            if let Ok(payload) = Payload::decode(&bytes) {
                prop_assert_eq!(payload.encode(), bytes);
            }
            Ok(())
        })
        .unwrap();
}

fn log_key() -> SigningKey {
    SigningKey::new("example.com/log", &[9; 32]).unwrap()
}

fn witness_key() -> SigningKey {
    SigningKey::with_type("w.example", KeyType::Cosignature, &[8; 32]).unwrap()
}

fn proof_text() -> String {
    let checkpoint = Checkpoint::new("example.com/log", 1, leaf_hash(b"entry")).sign(&log_key());
    let extra = Some(b"entry".to_vec());
    TlogProof {
        extra,
        index: 0,
        hashes: vec![],
        checkpoint: checkpoint.unwrap(),
    }
    .to_string()
}

#[test]
fn no_parser_panics_on_broken_valid_texts() {
    let note = sign_note("text\n", &[&log_key()]).unwrap();
    let samples = vec![
        proof_text(),
        note,
        Checkpoint::new("o", 1, EMPTY_ROOT).to_string(),
        log_key().verifying_key().to_string(),
        "tile/63/x001/x234/067.p/255".to_owned(),
        format!("old 7\n{EMPTY_ROOT}\n\nexample.com/log\n8\n"),
        format!(
            "log {}\nwitness w {} http://w\ngroup g all w\nquorum g\n",
            log_key().verifying_key(),
            witness_key().verifying_key(),
        ),
    ];
    let mut runner = TestRunner::new(budget("TLOG_PARSERS", 2000));
    let cases = (
        prop::sample::select(samples),
        any::<prop::sample::Index>(),
        0..4_u8,
        any::<char>(),
    );
    runner
        .run(&cases, |(sample, at, change, new)| {
            let mut chars: Vec<char> = sample.chars().collect();
            let at = at.index(chars.len());
            match change {
                0 => chars[at] = new,
                1 => chars.truncate(at),
                2 => chars.insert(at, new),
                _ => chars.extend_from_within(at..),
            }
            try_every_parser(&chars.iter().collect::<String>());
            Ok(())
        })
        .unwrap();
}

#[test]
fn every_changed_byte_of_a_proof_is_refused() {
    let key = log_key();
    let text = proof_text();
    let verify = |text: &str| {
        let proof = TlogProof::parse(text).ok()?;
        // As a receipt does: the entry comes from the extra line.
        let entry = proof.extra.clone()?;
        proof.verify(&entry, key.verifying_key()).ok()
    };
    assert!(verify(&text).is_some());
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let accepted = String::from_utf8(bytes).is_ok_and(|text| verify(&text).is_some());
            assert!(!accepted, "byte {at} bit {bit}");
        }
    }
}

#[test]
fn proof_files_name_the_line_that_is_wrong() {
    let good = proof_text();
    let line_of = |text: &str| match TlogProof::parse(text).unwrap_err() {
        ProofFileError::Syntax { line, .. } => line,
        other => panic!("{other}"),
    };
    assert_eq!(line_of("c2sp.org/tlog-proof@v1\nindex 0\n"), 1);
    assert_eq!(line_of(&good.replace("@v1", "@v2")), 1);
    assert_eq!(line_of(&good.replace("extra ", "extra =")), 2);
    assert_eq!(line_of(&good.replace("extra ", "Extra ")), 2);
    assert_eq!(line_of(&good.replace("index 0", "index 00")), 3);
    assert_eq!(line_of(&good.replace("index 0", "index +0")), 3);
    assert_eq!(line_of(&good.replace("index 0", "index 0\nhash")), 4);
    let hashes = format!("index 0{}", format!("\n{EMPTY_ROOT}").repeat(65));
    assert_eq!(line_of(&good.replace("index 0", &hashes)), 68);
}

#[test]
fn checkpoints_have_one_form() {
    let root = leaf_hash(b"a");
    let parse = |text: String| Checkpoint::parse(&text);
    assert!(parse(format!("o\n1\n{root}\n")).is_ok());
    let extended = parse(format!("o\n1\n{root}\nmore\nand more\n")).unwrap();
    assert_eq!(extended.extensions, ["more", "and more"]);
    assert!(parse(format!("o\n{MAX_TREE_SIZE}\n{root}\n")).is_ok());
    assert!(parse(format!("o\n0\n{EMPTY_ROOT}\n")).is_ok());
    for bad in [
        format!("o\n0\n{root}\n"),
        format!("o\n01\n{root}\n"),
        format!("o\n+1\n{root}\n"),
        format!("o\n-1\n{root}\n"),
        format!("o\n\n{root}\n"),
        format!("o\n{}\n{root}\n", MAX_TREE_SIZE + 1),
        format!("o\n18446744073709551616\n{root}\n"),
        format!("\n1\n{root}\n"),
        format!("o\n1\n{root}"),
        format!("o\n1\n{root}\n\n"),
        format!("o\n1\n{root}\nmore\n\n"),
        format!("o\n1\n{root} \n"),
        format!("o\r\n1\n{root}\n"),
        "o\n1\n".to_owned(),
        format!("o\n1\n{root}\n{}\n", "x".repeat(16_384)),
    ] {
        assert!(Checkpoint::parse(&bad).is_err(), "{bad:?}");
    }
    let unsignable = Checkpoint::new("two\nlines", 1, root);
    assert!(unsignable.sign(&log_key()).is_err());
    let other = Checkpoint::new("example.com/other", 1, root)
        .sign(&log_key())
        .unwrap();
    let error = Checkpoint::open(&other, log_key().verifying_key()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "this checkpoint is of example.com/other, not of example.com/log"
    );
}

#[test]
fn notes_are_bounded() {
    let line = sign_note("t\n", &[&log_key()])
        .unwrap()
        .lines()
        .nth(2)
        .unwrap()
        .to_owned();
    let key = log_key().verifying_key().clone();
    let with = |count: usize| format!("t\n\n{}", format!("{line}\n").repeat(count));
    let opened = open_note(&with(64), std::slice::from_ref(&key)).unwrap();
    assert_eq!(opened.signers.len(), 1);
    assert_eq!(open_note(&with(65), &[key]), Err(NoteError::TooLong));
    let long = format!("{}\n", "x".repeat(512 * 1024));
    assert_eq!(sign_note(&long, &[&log_key()]), Err(NoteError::TooLong));
    assert_eq!(Note::parse(&long), Err(NoteError::TooLong));
    assert_eq!(sign_note("no newline", &[&log_key()]), Err(NoteError::Text));
    assert_eq!(sign_note("a\tb\n", &[&log_key()]), Err(NoteError::Text));
}

#[test]
fn a_text_with_empty_lines_keeps_them() {
    let note = sign_note("a\n\n— b\n\n", &[&log_key()]).unwrap();
    let opened = open_note(&note, &[log_key().verifying_key().clone()]).unwrap();
    assert_eq!(opened.text, "a\n\n— b\n\n");
}

#[test]
fn key_names_are_checked() {
    for name in [
        "",
        "a b",
        "a+b",
        "a\u{a0}b",
        "a\nb",
        "a\u{2003}b",
        &"x".repeat(257),
    ] {
        assert_eq!(
            SigningKey::new(name, &[1; 32]).unwrap_err(),
            KeyError::Name,
            "{name:?}"
        );
    }
    // The identity of the curve: a key that "verifies" anything.
    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(
        VerifyingKey::new("a", KeyType::Ed25519, &identity),
        Err(KeyError::Point)
    );
}

#[test]
fn witnesses_cosign_a_checkpoint() {
    let log = log_key();
    let witness =
        SigningKey::with_type("witness.example/w1", KeyType::Cosignature, &[5; 32]).unwrap();
    let checkpoint = Checkpoint::new("example.com/log", 1, leaf_hash(b"a"));
    let note = cosign(&checkpoint.sign(&log).unwrap(), &witness, 1_679_315_147).unwrap();

    let keys = [log.verifying_key().clone(), witness.verifying_key().clone()];
    let opened = open_note(&note, &keys).unwrap();
    let signers: Vec<_> = opened
        .signers
        .iter()
        .map(|signer| (signer.key, signer.time))
        .collect();
    assert_eq!(signers, [(0, 0), (1, 1_679_315_147)]);
    // The log alone still verifies: the witness is unknown to it, and ignored.
    assert_eq!(Checkpoint::open(&note, log.verifying_key()), Ok(checkpoint));

    let vkey = witness.verifying_key().to_string();
    assert_eq!(
        &vkey.parse::<VerifyingKey>().unwrap(),
        witness.verifying_key()
    );
    // The same seed and name under the other type is another key.
    let plain = SigningKey::new("witness.example/w1", &[5; 32]).unwrap();
    assert_ne!(plain.verifying_key().id(), witness.verifying_key().id());
    assert_eq!(
        open_note(&note, &[plain.verifying_key().clone()]),
        Err(NoteError::Unverified)
    );
    // Another time under the same signature does not verify.
    let mut changed = Note::parse(&note).unwrap();
    changed.signatures[1].signature[7] ^= 1;
    assert!(matches!(
        open_note(&changed.to_string(), &keys),
        Err(NoteError::Bad { .. })
    ));
}
