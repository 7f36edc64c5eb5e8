//! A witness cosigns what only grew, and a policy counts who cosigned.
#![allow(clippy::unwrap_used, missing_docs)]

use axiom_hive_core::tlog::witness::{cosignature, parse_cosignatures, with_cosignature};
use axiom_hive_core::tlog::{
    AddCheckpoint, Checkpoint, Hash, KeyType, MemTree, Note, NoteError, Policy, PolicyError,
    Refused, SigningKey, consistency_proof, cosign, judge, leaf_hash,
};

const ORIGIN: &str = "example.com/log";

fn log() -> SigningKey {
    SigningKey::new(ORIGIN, &[1; 32]).unwrap()
}

fn witness(number: u8) -> SigningKey {
    let name = format!("w{number}.example");
    SigningKey::with_type(&name, KeyType::Cosignature, &[100 + number; 32]).unwrap()
}

fn tree(size: u64) -> MemTree {
    let mut tree = MemTree::new();
    for n in 0..size {
        tree.push(leaf_hash(&n.to_be_bytes()));
    }
    tree
}

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint::new(ORIGIN, size, tree(size).root())
}

fn request(old: u64, new: u64) -> AddCheckpoint {
    let proof = if old == 0 {
        Vec::new()
    } else {
        consistency_proof(old, new, &tree(new)).unwrap()
    };
    let note = checkpoint(new).sign(&log()).unwrap();
    AddCheckpoint { old, proof, note }
}

#[test]
fn a_log_that_grows_is_cosigned_at_every_step() {
    let key = log();
    let mut last = None;
    for (old, new) in [(0, 1), (1, 1), (1, 2), (2, 7), (7, 256), (256, 300)] {
        let request = AddCheckpoint::parse(&request(old, new).to_string()).unwrap();
        assert_eq!(request.origin(), Some(ORIGIN));
        let judged = judge(last.as_ref(), key.verifying_key(), &request).unwrap();
        assert_eq!(judged, checkpoint(new));
        last = Some(judged);
    }
}

#[test]
fn what_did_not_only_grow_is_refused() {
    let key = log();
    let last = checkpoint(7);
    let refusal = |request: &AddCheckpoint| {
        let refused = judge(Some(&last), key.verifying_key(), request).unwrap_err();
        (refused.status(), refused)
    };
    // Behind, ahead, and as if for the first time.
    assert_eq!(refusal(&request(5, 9)).1, Refused::Conflict { size: 7 });
    assert_eq!(refusal(&request(8, 9)).1, Refused::Conflict { size: 7 });
    assert_eq!(refusal(&request(0, 9)).1, Refused::Conflict { size: 7 });
    // A log that was rolled back cannot even ask.
    let back = AddCheckpoint {
        old: 7,
        ..request(5, 6)
    };
    assert_eq!(refusal(&back), (400, Refused::OldBeyond));
    let fork = Checkpoint::new(ORIGIN, 7, Hash([9; 32]))
        .sign(&key)
        .unwrap();
    let fork = AddCheckpoint {
        old: 7,
        proof: vec![],
        note: fork,
    };
    assert_eq!(refusal(&fork), (422, Refused::Proof));
    let mut wrong = request(7, 9);
    wrong.proof[0].0[0] ^= 1;
    assert_eq!(refusal(&wrong), (422, Refused::Proof));
    let missing = AddCheckpoint {
        proof: vec![],
        ..request(7, 9)
    };
    assert_eq!(refusal(&missing), (422, Refused::Proof));
    let first = judge(
        None,
        key.verifying_key(),
        &AddCheckpoint {
            proof: vec![Hash([0; 32])],
            ..request(0, 9)
        },
    );
    assert_eq!(first, Err(Refused::Proof));
    let stranger = SigningKey::new(ORIGIN, &[2; 32]).unwrap();
    let theirs = AddCheckpoint {
        note: checkpoint(9).sign(&stranger).unwrap(),
        ..request(7, 9)
    };
    assert_eq!(refusal(&theirs), (403, Refused::Signature));
    let other = SigningKey::new("example.com/other", &[1; 32]).unwrap();
    let other = Checkpoint::new("example.com/other", 9, tree(9).root())
        .sign(&other)
        .unwrap();
    assert_eq!(
        refusal(&AddCheckpoint {
            note: other,
            ..request(7, 9)
        })
        .0,
        403
    );
    assert_eq!(
        refusal(&AddCheckpoint {
            note: "no note".to_owned(),
            ..request(7, 9)
        })
        .0,
        400
    );
}

#[test]
fn requests_have_one_form_and_bounds() {
    let hashes = |count| {
        format!(
            "old 1\n{}\nnote\n",
            format!("{}\n", Hash([0; 32])).repeat(count)
        )
    };
    assert_eq!(AddCheckpoint::parse(&hashes(63)).unwrap().proof.len(), 63);
    for bad in [
        hashes(64),
        "old 01\n\nnote\n".to_owned(),
        "old -1\n\nnote\n".to_owned(),
        "old 9223372036854775808\n\nnote\n".to_owned(),
        "old 1\nnote\n".to_owned(),
        "new 1\n\nnote\n".to_owned(),
        "old 1\nAAAA\n\nnote\n".to_owned(),
        format!("old 1\n\n{}", "x".repeat(600_000)),
    ] {
        assert_eq!(
            AddCheckpoint::parse(&bad),
            Err(Refused::Malformed),
            "{bad:.40}"
        );
    }
}

#[test]
fn a_cosignature_replaces_the_older_one_of_its_witness() {
    let (one, two) = (witness(1), witness(2));
    let note = Note::parse(&checkpoint(3).sign(&log()).unwrap()).unwrap();
    let answer = |key: &SigningKey, time| {
        parse_cosignatures(&cosignature(&checkpoint(3), key, time).unwrap()).unwrap()
    };
    let add = |note: &Note, key: &SigningKey, time| {
        with_cosignature(note, key.verifying_key(), answer(key, time)).unwrap()
    };
    let note = add(&add(&add(&note, &one, 5), &two, 6), &one, 7);
    assert_eq!(note.signatures.len(), 3);
    let policy = policy("group all all w1 w2\nquorum all\n", 2);
    let witnessed = policy.check(&note.to_string()).unwrap();
    assert_eq!(witnessed.checkpoint, checkpoint(3));
    assert_eq!(witnessed.witnesses, [(0, 7), (1, 6)]);
    // Over another checkpoint, or by nobody that was asked.
    let other = parse_cosignatures(&cosignature(&checkpoint(4), &one, 8).unwrap()).unwrap();
    let bad = with_cosignature(&note, one.verifying_key(), other).unwrap_err();
    assert!(matches!(bad, NoteError::Bad { .. }));
    let nobody = with_cosignature(&note, witness(3).verifying_key(), answer(&one, 8));
    assert_eq!(nobody, Err(NoteError::Unverified));
}

fn policy(more: &str, witnesses: u8) -> Policy {
    let mut text = format!("# of a test\n\nlog {}\n", log().verifying_key());
    for number in 1..=witnesses {
        let key = witness(number);
        text += "witness w";
        text += &number.to_string();
        text += "\t";
        text += &key.verifying_key().to_string();
        text += "\n";
    }
    (text + more).parse().unwrap()
}

#[test]
fn a_quorum_is_counted_by_groups() {
    let more = "group home any w1 w2\ngroup far 2 w3 w4 w5\ngroup q all home far\nquorum q\n";
    let policy = policy(more, 6);
    let met = |witnesses: &[usize]| policy.is_met_by(witnesses);
    assert!(met(&[0, 2, 3]) && met(&[1, 3, 4]) && met(&[0, 1, 2, 3, 4, 5]));
    assert!(!met(&[]) && !met(&[0, 1, 2]) && !met(&[2, 3, 4]) && !met(&[5, 5, 0, 2]));
    let free = self::policy("quorum none\n", 1);
    assert!(free.is_met_by(&[]));
    let note = checkpoint(1).sign(&log()).unwrap();
    assert!(free.check(&note).unwrap().witnesses.is_empty());
    let one = self::policy("quorum w1\n", 1);
    assert_eq!(one.check(&note), Err(PolicyError::NoQuorum { cosigned: 0 }));
    let cosigned = cosign(&note, &witness(1), 9).unwrap();
    assert_eq!(one.check(&cosigned).unwrap().witnesses, [(0, 9)]);
    let stranger = SigningKey::new("example.com/strange", &[5; 32]).unwrap();
    let strange = Checkpoint::new("example.com/strange", 1, tree(1).root())
        .sign(&stranger)
        .unwrap();
    assert_eq!(one.check(&strange), Err(PolicyError::UnknownLog));
}

#[test]
fn a_policy_says_which_line_is_wrong() {
    let (log, w1, w2) = (log(), witness(1), witness(2));
    let head = format!(
        "log {}\nwitness w1 {}\n",
        log.verifying_key(),
        w1.verifying_key()
    );
    let second = format!("witness w2 {}\n", w2.verifying_key());
    let wrong = |more: &str| {
        let error = format!("{head}{more}").parse::<Policy>().unwrap_err();
        (error.line, error.what)
    };
    assert_eq!(wrong("").0, 0);
    assert_eq!(wrong("quorum w1\nquorum none\n").0, 4);
    assert_eq!(
        wrong("quorum w2\n"),
        (3, "w2 must be defined in a line before".to_owned())
    );
    assert_eq!(wrong("group g 2 w1\nquorum g\n").0, 3);
    assert_eq!(wrong("group g 0 w1\nquorum g\n").0, 3);
    assert_eq!(wrong("group g any\nquorum g\n").0, 3);
    assert_eq!(wrong("group g any w1\ngroup h any w1\nquorum g\n").0, 4);
    assert_eq!(wrong("group g all w1 w1\nquorum g\n").0, 3);
    assert_eq!(wrong(&format!("{second}group w2 any w1\nquorum w1\n")).0, 4);
    assert_eq!(
        wrong(&format!("witness w3 {}\nquorum none\n", w1.verifying_key())).0,
        3
    );
    assert_eq!(
        wrong(&format!(
            "witness none {}\nquorum none\n",
            w2.verifying_key()
        ))
        .0,
        3
    );
    assert_eq!(
        wrong(&format!(
            "witness w3 {}\nquorum none\n",
            log.verifying_key()
        ))
        .0,
        3
    );
    assert_eq!(
        wrong(&format!("log {}\nquorum none\n", w2.verifying_key())).0,
        3
    );
    assert_eq!(wrong("witness w3 nonsense\nquorum none\n").0, 3);
    assert_eq!(wrong("mirror w1\n").0, 3);
    assert_eq!(wrong("quorum none \u{7}\n").0, 3);
    assert_eq!(wrong(&"#".repeat(70_000)).0, 0);
}
