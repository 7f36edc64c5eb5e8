//! Records have one form, stay within 16 KiB and keep every bound.
#![allow(clippy::unwrap_used, missing_docs)]

mod record_support;
mod seal_support;
mod tlog_support;

use axiom_hive_core::record::{
    AnswerSource, Body, BranchError, BranchResultKind, Commitment, MAX_INTEGER, MAX_RECORD_BYTES,
    Outcome, Reason, Record, RecordError,
};
use axiom_hive_core::tlog::{KeyType, SigningKey};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use record_support::{constitution, intent, largest_outcome, smallest_outcome};
use seal_support::{log_key, sealed, succession};
use tlog_support::budget;

/// One record of every kind.
fn every_kind() -> Vec<Record> {
    let bodies = [
        Body::Constitution {
            constitution: constitution(),
            text: Commitment([6; 32]),
        },
        Body::Attempt(smallest_outcome(Reason::Interrupted)),
        Body::Answered(largest_outcome()),
        Body::Withheld(smallest_outcome(Reason::Tie)),
        Body::Refused(smallest_outcome(Reason::PromptEmpty)),
        Body::Failed(smallest_outcome(Reason::DeadlineExceeded)),
        Body::Cancelled(smallest_outcome(Reason::Cancelled)),
        Body::Deleted {
            task: largest_outcome().task,
            ended_index: MAX_INTEGER,
            at_unix_ms: MAX_INTEGER,
        },
        Body::Erasure {
            erased_index: MAX_INTEGER,
            commitments: vec![Commitment([255; 32]); 256],
            at_unix_ms: MAX_INTEGER,
        },
    ];
    let mut records: Vec<Record> = bodies.into_iter().map(Record::new).collect();
    records.insert(1, intent());
    records.extend([sealed(), succession()]);
    records
}

#[test]
fn the_largest_record_fits() {
    let answered = Record::new(Body::Answered(largest_outcome()))
        .to_canonical()
        .unwrap();
    assert!(answered.len() > 8_000, "{}", answered.len());
    for record in every_kind() {
        let bytes = record.to_canonical().unwrap();
        assert!(bytes.len() <= MAX_RECORD_BYTES, "{}", bytes.len());
    }
}

#[test]
fn every_kind_comes_back() {
    let slots: Vec<String> = every_kind()
        .into_iter()
        .map(|record| {
            let bytes = record.to_canonical().unwrap();
            assert_eq!(Record::from_canonical(&bytes).as_ref(), Ok(&record));
            let slot = record
                .slot()
                .map_or_else(|| "-".to_owned(), |slot| slot.to_string());
            assert!(slot.len() <= 200);
            assert_eq!(record.is_terminal(), slot.ends_with("/terminal"));
            assert_eq!(record.task().is_some(), slot.starts_with("task/"));
            slot
        })
        .collect();
    let (uid, name, version) = ("u".repeat(64), "n".repeat(63), "v".repeat(64));
    let terminal = format!("task/{uid}/terminal");
    assert_eq!(
        slots,
        [
            format!("constitution/{name}/{version}"),
            format!("task/{uid}/intent/1000"),
            format!("task/{uid}/attempt/1000"),
            terminal.clone(),
            terminal.clone(),
            terminal.clone(),
            terminal.clone(),
            terminal,
            format!("task/{uid}/deleted"),
            "-".to_owned(),
            "ledger/sealed".to_owned(),
            "ledger/succession".to_owned(),
        ]
    );
}

#[test]
fn a_seal_and_a_succession_have_one_form_and_name_a_log() {
    let seal = |name: &str| {
        let key = SigningKey::new(name, &[1; 32]).unwrap();
        let body = Body::Sealed {
            at_unix_ms: 5,
            successor: Some(key.verifying_key().clone()),
        };
        Record::new(body).to_canonical()
    };
    let text = String::from_utf8(seal("log.example/2").unwrap()).unwrap();
    let start = r#"{"atUnixMs":5,"kind":"sealed","schema":"axiomhive.io/record/v1","successor":"log.example/2+"#;
    assert!(text.starts_with(start), "{text}");
    // A name that JSON would have to escape, and one beyond ASCII.
    for name in ["log\"", "log\\", "lög"] {
        assert!(seal(name).is_err(), "{name}");
    }
    let witness = SigningKey::with_type("w", KeyType::Cosignature, &[1; 32]).unwrap();
    let no_log = Record::new(Body::Sealed {
        at_unix_ms: 5,
        successor: Some(witness.verifying_key().clone()),
    });
    assert!(no_log.to_canonical().is_err());
    let Body::Succession {
        mut predecessor,
        reason,
        at_unix_ms,
    } = succession().body
    else {
        unreachable!()
    };
    assert_eq!(predecessor.key, log_key(1));
    predecessor.size = 0;
    let empty = Record::new(Body::Succession {
        predecessor,
        reason,
        at_unix_ms,
    });
    assert!(empty.to_canonical().is_err());
}

#[test]
fn the_canonical_form_is_fixed() {
    let record = Record::new(Body::Failed(smallest_outcome(Reason::Interrupted)));
    let text = String::from_utf8(record.to_canonical().unwrap()).unwrap();
    let digest_of = |what: &str| axiom_hive_core::digest::Digest::of(what.as_bytes()).to_string();
    let expected = [
        r#"{"decided":{"branches":[],"constitution":{"catalogue":4294967295,"digest":""#,
        &digest_of("constitution"),
        r#"","name":""#,
        &"n".repeat(63),
        r#"","version":""#,
        &"v".repeat(64),
        r#""},"prompt":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=","reason":"interrupted","#,
        r#""runtime":{"kind":"process","spec":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="},"#,
        r#""spec":""#,
        &digest_of("spec"),
        r#""},"kind":"failed","observed":{"build":{"executable":""#,
        &digest_of("executable"),
        r#"","version":"11111111111111111111111111111111"},"containment":{"landlockAbi":4294967295,"#,
        r#""loopbackPort":65535,"reached":"notApplicable","requested":"bestEffort"},"#,
        r#""endedUnixMs":9007199254740991,"startedUnixMs":9007199254740991,"surplusBranches":64},"#,
        r#""schema":"axiomhive.io/record/v1","task":{"attempt":1000,"uid":""#,
        &"u".repeat(64),
        r#""}}"#,
    ];
    assert_eq!(text, expected.concat());
}

#[test]
fn commitments_are_listed_in_order() {
    let answered = Record::new(Body::Answered(largest_outcome())).commitments();
    assert_eq!(answered.len(), 2 + 64 + 2 + 1);
    assert_eq!(answered[..2], [Commitment([1; 32]), Commitment([2; 32])]);
    assert_eq!(
        answered[66..],
        [
            Commitment([3; 32]),
            Commitment([6; 32]),
            Commitment([4; 32])
        ]
    );
    assert_eq!(
        intent().commitments(),
        [
            Commitment([1; 32]),
            Commitment([5; 32]),
            Commitment([2; 32])
        ]
    );
    let erasure = every_kind().pop().unwrap();
    assert_eq!(erasure.commitments(), []);
}

#[test]
fn refuses_every_other_form() {
    let bytes = intent().to_canonical().unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    for (why, other) in [
        ("unknown field", changed("{", r#"{"aaa":1,"#)),
        (
            "unknown nested field",
            changed(r#""attempt":"#, r#""aaa":1,"attempt":"#),
        ),
        (
            "duplicate key",
            changed(r#""kind":"intent""#, r#""kind":"intent","kind":"intent""#),
        ),
        (
            "duplicate nested key",
            changed(r#""attempt":1000"#, r#""attempt":1000,"attempt":1000"#),
        ),
        ("white space", changed(":", ": ")),
        ("white space after", format!("{text}\n")),
        ("white space before", format!(" {text}")),
        ("byte order mark", format!("\u{feff}{text}")),
        ("trailing text", format!("{text}{text}")),
        ("float", changed("1000", "1000.0")),
        ("exponent", changed("1000", "1e3")),
        ("negative", changed("1000", "-1000")),
        ("minus zero", changed("1000", "-0")),
        ("number as text", changed("1000", "\"1000\"")),
        (
            "beyond the bound",
            changed("9007199254740991", "9007199254740992"),
        ),
        ("escaped letter", changed("intent", "\\u0069ntent")),
        ("null", changed(r#""schema""#, r#""podUid":null,"schema""#)),
        ("other schema", changed("record/v1", "record/v2")),
        (
            "other kind",
            changed(r#""kind":"intent""#, r#""kind":"intend""#),
        ),
        ("slack in base64", changed("BQU=", "BQV=")),
        ("no padding", changed("BQU=", "BQU")),
        ("upper case digest", changed("sha256:", "SHA256:")),
        ("array", format!("[{text}]")),
        ("empty", String::new()),
    ] {
        assert!(
            Record::from_canonical(other.as_bytes()).is_err(),
            "{why}: {other}"
        );
    }
    let mut too_long = text.into_bytes();
    too_long.resize(MAX_RECORD_BYTES + 1, b' ');
    let error = Record::from_canonical(&too_long).unwrap_err();
    assert_eq!(
        error,
        RecordError::TooLong {
            bytes: MAX_RECORD_BYTES + 1
        }
    );
}

type Change = fn(&mut Outcome);

#[test]
fn every_bound_of_an_answer_is_checked() {
    let changes: [(&str, Change); 26] = [
        ("task.uid", |o| o.task.uid.clear()),
        ("task.uid", |o| o.task.uid.push('u')),
        ("task.uid", |o| o.task.uid = "a/b".to_owned()),
        ("task.attempt", |o| o.task.attempt = 1001),
        ("decided.constitution.name", |o| {
            o.decided.constitution.name.push('n');
        }),
        ("decided.constitution.name", |o| {
            o.decided.constitution.name = "-a".to_owned();
        }),
        ("decided.constitution.name", |o| {
            o.decided.constitution.name = "A".to_owned();
        }),
        ("decided.constitution.version", |o| {
            o.decided.constitution.version = "1 0".to_owned();
        }),
        ("decided.promptFindings", |o| {
            o.decided.prompt_findings.as_mut().unwrap().words += 1;
        }),
        ("decided.reason", |o| o.decided.reason = Reason::Tie),
        ("decided.branches", |o| {
            o.decided.branches.push(o.decided.branches[0].clone());
        }),
        ("decided.branches[0]", |o| {
            o.decided.branches[0].error = Some(BranchError::Lost);
        }),
        ("decided.branches[1]", |o| o.decided.branches[1].text = None),
        ("decided.branches[2]", |o| {
            o.decided.branches[2].bytes = None;
        }),
        ("decided.branches[3].bytes", |o| {
            o.decided.branches[3].bytes = Some(MAX_INTEGER + 1);
        }),
        ("decided.branches[4]", |o| {
            o.decided.branches[4].result = BranchResultKind::Failed;
        }),
        ("decided.branches[20].class", |o| {
            o.decided.branches[20].result = BranchResultKind::Abstain;
        }),
        ("decided.branches[20].class", |o| {
            o.decided.branches[20].class = Some(21);
        }),
        ("decided.branches[20].class", |o| {
            o.decided.branches[20].class = Some(19);
        }),
        ("decided.vote.asked", |o| {
            o.decided.vote.as_mut().unwrap().asked = 65;
        }),
        ("decided.vote.committed", |o| {
            o.decided.vote.as_mut().unwrap().committed = 63;
        }),
        ("decided.vote", |o| {
            o.decided.vote.as_mut().unwrap().runner_up = 56;
        }),
        ("decided.vote.leaderClass", |o| {
            o.decided.vote.as_mut().unwrap().leader_class = None;
        }),
        ("decided.answer", |o| o.decided.answer = None),
        ("decided.answer.bytes", |o| {
            o.decided.answer.as_mut().unwrap().bytes += 1;
        }),
        ("observed.surplusBranches", |o| {
            o.observed.surplus_branches = 65;
        }),
    ];
    for (path, change) in changes {
        let mut outcome = largest_outcome();
        change(&mut outcome);
        match Record::new(Body::Answered(outcome)).to_canonical() {
            Err(RecordError::Invalid { path: found, .. }) => assert_eq!(found, path),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[test]
fn only_a_fallback_is_an_answer_of_a_withheld_task() {
    let mut outcome = largest_outcome();
    outcome.decided.reason = Reason::NoAgreement;
    assert!(
        Record::new(Body::Withheld(outcome.clone()))
            .to_canonical()
            .is_err()
    );
    outcome.decided.answer.as_mut().unwrap().source = AnswerSource::Fallback;
    assert!(
        Record::new(Body::Withheld(outcome.clone()))
            .to_canonical()
            .is_ok()
    );
    outcome.decided.reason = Reason::Agreed;
    assert!(
        Record::new(Body::Answered(outcome.clone()))
            .to_canonical()
            .is_err()
    );
    outcome.decided.reason = Reason::DeadlineExceeded;
    assert!(Record::new(Body::Failed(outcome)).to_canonical().is_err());
}

#[test]
fn erasures_and_intents_are_bounded() {
    let erasure = |count| {
        let commitments = vec![Commitment([1; 32]); count];
        Record::new(Body::Erasure {
            erased_index: 0,
            commitments,
            at_unix_ms: 0,
        })
        .to_canonical()
    };
    assert!(erasure(0).is_err() && erasure(257).is_err() && erasure(1).is_ok());
    let mut record = intent();
    if let Body::Intent { observed, .. } = &mut record.body {
        observed.pod_uid = Some(String::new());
    }
    assert!(record.to_canonical().is_err());
}

/// An outcome with any of its optional fields, and a branch of every result.
fn outcome_with(present: u8) -> Outcome {
    let mut outcome = largest_outcome();
    let (decided, observed) = (&mut outcome.decided, &mut outcome.observed);
    let is_absent = |bit: u8| present >> bit & 1 == 0;
    decided.prompt_findings.take_if(|_| is_absent(0));
    decided.vote.take_if(|_| is_absent(1));
    observed.usage.take_if(|_| is_absent(2));
    observed.stopped_by.take_if(|_| is_absent(3));
    observed.detail.take_if(|_| is_absent(4));
    if let Some(vote) = decided.vote.as_mut().filter(|_| is_absent(5)) {
        (vote.leader, vote.leader_class, vote.runner_up) = (0, None, 0);
    }
    for (branch, result) in decided.branches[60..].iter_mut().zip([
        BranchResultKind::Failed,
        BranchResultKind::Abstain,
        BranchResultKind::Blocked,
    ]) {
        branch.result = result;
        branch.class = None;
    }
    let failed = &mut decided.branches[60];
    (failed.error, failed.text, failed.bytes) = (Some(BranchError::Lost), None, None);
    outcome
}

#[test]
fn what_is_written_is_read_whatever_is_absent() {
    for present in 0..64 {
        let record = Record::new(Body::Answered(outcome_with(present)));
        let bytes = record.to_canonical().unwrap();
        assert_eq!(Record::from_canonical(&bytes), Ok(record));
    }
}

/// One place changed, cut out, said twice or moved.
fn change(bytes: &[u8], how: u8, at: usize, length: usize, new: u8) -> Vec<u8> {
    let (before, rest) = bytes.split_at(at);
    let (part, after) = rest.split_at(length.min(rest.len()));
    match how {
        0 => [before, &[new], &rest[1..]].concat(),
        1 => [before, &[new], rest].concat(),
        2 => [before, after].concat(),
        3 => [before, part, part, after].concat(),
        _ => [before, after, part].concat(),
    }
}

#[test]
fn changed_bytes_are_refused_or_mean_something_else() {
    let mut records = every_kind();
    records.push(Record::new(Body::Answered(outcome_with(0))));
    let records: Vec<Vec<u8>> = records.iter().map(|r| r.to_canonical().unwrap()).collect();
    let mut runner = TestRunner::new(budget("RECORD_MUTATIONS", 1000));
    let cases = (
        prop::sample::select(records),
        any::<prop::sample::Index>(),
        (0_u8..5, 1_usize..60, any::<u8>()),
    );
    runner
        .run(&cases, |(bytes, at, (how, length, new))| {
            let changed = change(&bytes, how, at.index(bytes.len()), length, new);
            if let Ok(record) = Record::from_canonical(&changed) {
                prop_assert_eq!(record.to_canonical().unwrap(), changed.clone());
                let same = Record::from_canonical(&bytes).unwrap() == record;
                prop_assert_eq!(same, changed == bytes);
            }
            Ok(())
        })
        .unwrap();
}
