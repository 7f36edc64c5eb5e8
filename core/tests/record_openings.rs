//! Payloads, salts, openings and receipts.
#![allow(clippy::unwrap_used, missing_docs)]

mod record_support;
mod tlog_support;

use axiom_hive_core::record::{
    Body, Commitment, Label, LabelError, Opening, OpeningError, Payload, PayloadError, Reason,
    Receipt, ReceiptError, Record, Salt, Salts,
};
use axiom_hive_core::tlog::{
    Checkpoint, Hash, MemTree, SigningKey, TlogProof, inclusion_proof, leaf_hash,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use record_support::{intent, largest_outcome, smallest_outcome};
use tlog_support::budget;

/// An answered record with the payloads behind prompt and answer.
fn answered() -> (Record, Vec<Payload>) {
    let salts = Salts::Seed([5; 32]);
    let prompt = Payload::new(Label::PROMPT, &salts, b"How much is two and two?".to_vec()).unwrap();
    let answer = Payload::new(Label::ANSWER, &salts, b"four".to_vec()).unwrap();
    let key = Payload::new(Label::HASH_KEY, &salts, vec![8; 32]).unwrap();
    let mut outcome = largest_outcome();
    outcome.decided.prompt = prompt.commitment();
    outcome.decided.answer.as_mut().unwrap().text = answer.commitment();
    (
        Record::new(Body::Answered(outcome)),
        vec![prompt, answer, key],
    )
}

#[test]
fn salts_are_hmacs_of_their_labels() {
    let salts = Salts::Seed([5; 32]);
    // Computed with Python's hmac module.
    let prompt = String::from(salts.salt(&Label::PROMPT).unwrap());
    assert_eq!(prompt, "JdqhIgkaxhhT7DW+O2+mck/s1Ht1cMyOxV2USm/SNdI=");
    assert_ne!(salts.salt(&Label::PROMPT), salts.salt(&Label::ANSWER));
    assert_eq!(
        format!("{salts:?} {:?}", Salt([5; 32])),
        "Salts::Seed(..) Salt(..)"
    );

    let (_, payloads) = answered();
    let recorded = Salts::recorded(&payloads);
    assert_eq!(recorded.salt(&Label::ANSWER), salts.salt(&Label::ANSWER));
    assert_eq!(recorded.salt(&Label::DETAIL).unwrap_err().0, Label::DETAIL);
}

#[test]
fn labels_are_bounded() {
    assert_eq!(Label::branch(u32::MAX).as_str(), "branch/4294967295");
    assert!(Label::new("a".repeat(32)).is_ok());
    for bad in ["", "A", "a b", "a_b", "é", &"a".repeat(33)] {
        assert_eq!(Label::new(bad.to_owned()), Err(LabelError), "{bad}");
    }
}

#[test]
fn payloads_have_one_encoding() {
    let mut runner = TestRunner::new(budget("RECORD_PAYLOADS", 256));
    let cases = (
        any::<[u8; 32]>(),
        "[a-z0-9/-]{1,32}",
        prop::collection::vec(any::<u8>(), 0..200),
    );
    runner
        .run(&cases, |(salt, label, bytes)| {
            let payload = Payload {
                label: Label::new(label).unwrap(),
                salt: Salt(salt),
                bytes,
            };
            let encoded = payload.encode();
            prop_assert_eq!(Payload::decode(&encoded), Ok(payload.clone()));
            prop_assert_eq!(
                payload.commitment(),
                Commitment::to(&payload.label, &payload.salt, &payload.bytes)
            );
            for end in 0..encoded.len() {
                prop_assert!(Payload::decode(&encoded[..end]).is_err());
            }
            let longer = [encoded.as_slice(), &[0]].concat();
            prop_assert_eq!(Payload::decode(&longer), Err(PayloadError::Length));
            Ok(())
        })
        .unwrap();
}

#[test]
fn too_long_payloads_are_refused() {
    let payload = |length| Payload {
        label: Label::DETAIL,
        salt: Salt([0; 32]),
        bytes: vec![0; length],
    };
    let limit = 4 * 1024 * 1024;
    assert!(Payload::decode(&payload(limit).encode()).is_ok());
    assert_eq!(
        Payload::decode(&payload(limit + 1).encode()),
        Err(PayloadError::TooLong)
    );
    assert_eq!(format!("{:?}", payload(3)), "Payload(detail, 3 bytes)");
}

#[test]
fn an_opening_ties_texts_to_a_record() {
    let (record, payloads) = answered();
    let opening = Opening::of(&record, &payloads).unwrap();
    // The hash key is no text of the record.
    assert_eq!(opening.salt(&Label::HASH_KEY), None);
    let file = opening.to_canonical().unwrap();
    let opening = Opening::from_canonical(&file).unwrap();

    let (prompt, answer) = (payloads[0].bytes.as_slice(), payloads[1].bytes.as_slice());
    assert_eq!(opening.verify(&record, Some(prompt), Some(answer)), Ok(()));
    assert_eq!(opening.verify(&record, None, None), Ok(()));
    let wrong = opening.verify(&record, Some(b"How much is two and three?"), None);
    assert_eq!(wrong, Err(OpeningError::Differs(Label::PROMPT)));
    let wrong = opening.verify(&record, None, Some(b"five"));
    assert_eq!(wrong, Err(OpeningError::Differs(Label::ANSWER)));
    assert_eq!(
        opening.verify(&intent(), None, None),
        Err(OpeningError::OtherRecord)
    );

    let leaf = leaf_hash(&record.to_canonical().unwrap());
    let salt = payloads[1].salt;
    let partial = Opening::new(leaf, [(Label::ANSWER, salt)]).unwrap();
    let missing = partial.verify(&record, Some(prompt), None);
    assert_eq!(missing, Err(OpeningError::NoSalt(Label::PROMPT)));

    let refused = Record::new(Body::Refused(smallest_outcome(Reason::PromptEmpty)));
    let opening = Opening::of(&refused, &[]).unwrap();
    let missing = opening.verify(&refused, None, Some(answer));
    assert_eq!(missing, Err(OpeningError::NotInRecord(Label::ANSWER)));
}

#[test]
fn an_opening_has_one_form_and_is_bounded() {
    let salts = |count| (0..count).map(|i| (Label::branch(i), Salt([1; 32])));
    assert_eq!(
        Opening::new(Hash([0; 32]), salts(129)),
        Err(OpeningError::TooLong)
    );
    let largest = Opening::new(Hash([0; 32]), salts(128)).unwrap();
    let file = String::from_utf8(largest.to_canonical().unwrap()).unwrap();
    assert!(Opening::from_canonical(file.as_bytes()).is_ok());
    for other in [
        format!("{file}\n"),
        file.replacen('{', "{ ", 1),
        file.replacen('{', r#"{"a":1,"#, 1),
        file.replace("opening/v1", "opening/v2"),
        file.replacen("AQE=", "AQF=", 1),
        file.replacen("branch/0", "Branch/0", 1),
        String::new(),
        "x".repeat(16 * 1024 + 1),
    ] {
        assert!(
            Opening::from_canonical(other.as_bytes()).is_err(),
            "{other}"
        );
    }
}

#[test]
fn a_receipt_proves_its_record() {
    let (record, payloads) = answered();
    let entry = record.to_canonical().unwrap();
    let key = SigningKey::new("axiom-hive.local/0123456789abcdef", &[7; 32]).unwrap();
    let mut tree = MemTree::new();
    for i in 0..100_u8 {
        tree.push(leaf_hash(&[i]));
    }
    let index = tree.push(leaf_hash(&entry));
    let origin = key.verifying_key().name();
    let checkpoint = Checkpoint::new(origin, tree.size(), tree.root())
        .sign(&key)
        .unwrap();
    let hashes = inclusion_proof(index, tree.size(), &tree).unwrap();
    let text = Receipt::new(entry.clone(), index, hashes, checkpoint.clone()).to_string();

    let receipt = Receipt::parse(&text).unwrap();
    let verified = receipt.verify(key.verifying_key()).unwrap();
    assert_eq!((&verified.record, verified.index), (&record, 100));
    assert_eq!(
        receipt.leaf(),
        Opening::of(&record, &payloads).unwrap().leaf()
    );

    // No text, salt or key is in it.
    for payload in &payloads {
        assert!(!text.contains(&String::from(payload.salt)));
        assert!(
            !text
                .as_bytes()
                .windows(payload.bytes.len())
                .any(|part| part == payload.bytes)
        );
    }
    let other = SigningKey::new(origin, &[8; 32]).unwrap();
    assert!(receipt.verify(other.verifying_key()).is_err());
    let bare = TlogProof {
        extra: None,
        ..receipt.proof().clone()
    }
    .to_string();
    assert_eq!(Receipt::parse(&bare), Err(ReceiptError::NoRecord));
    let swapped = intent().to_canonical().unwrap();
    let swapped = Receipt::new(swapped, index, receipt.proof().hashes.clone(), checkpoint);
    assert!(swapped.verify(key.verifying_key()).is_err());
}
