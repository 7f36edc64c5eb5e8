//! Payloads that are gone: erased, not kept, or lost.

use axiom_hive_core::record::{Body, Commitment, Payload, Reason, Record};
use axiom_hive_runner::ledger::{Depth, PayloadCounts, Trust, VerifyReport, verify_on};

use super::fixture::{FIRST_SEGMENT, World, constitution_with, intent, interrupted};
use super::forgery::{mend, sections, starts};

/// Bytes of a payload in its frame before the payload itself.
const PAYLOAD_HEADER: usize = 37;

fn verify(world: &World) -> VerifyReport {
    verify_on(&world.dir, Trust::Pin(&world.keys()), Depth::Records).unwrap()
}

/// A constitution with these sections, the intent of one task with the payloads that `is_kept`
/// says, and its end for `reason`.
fn ledger(sections: &str, is_kept: fn(&Payload) -> bool, reason: Reason) -> World {
    let world = World::default();
    let (reference, text) = constitution_with(0, sections);
    let mut ledger = world.open().unwrap();
    ledger.ensure_constitution(&reference, &text).unwrap();
    let (mut record, mut payloads) = intent("a", 0);
    payloads.retain(is_kept);
    let mut outcome = interrupted("a", 0);
    outcome.decided.reason = reason;
    outcome.decided.constitution = reference.clone();
    if let Body::Intent { constitution, .. } = &mut record.body {
        *constitution = reference;
    }
    ledger.append(&record, &payloads).unwrap();
    let end = match reason {
        Reason::Interrupted => Body::Failed(outcome),
        _ => Body::Refused(outcome),
    };
    ledger.append(&Record::new(end), &[]).unwrap();
    drop(ledger);
    world
}

fn all(_: &Payload) -> bool {
    true
}

fn without_prompt(payload: &Payload) -> bool {
    payload.label.as_str() != "prompt"
}

fn counts(kept: u64, erased: u64, not_kept: u64, lost: u64) -> PayloadCounts {
    PayloadCounts {
        kept,
        erased,
        not_kept,
        lost,
    }
}

/// Erases the payloads in the frame of a record, as the format has it: zeros under the same
/// commitment.
fn erase(world: &World, index: usize) -> Vec<Commitment> {
    let mut gone = Vec::new();
    world.dir.edit(FIRST_SEGMENT, |segment| {
        let start = starts(segment)[index];
        let [_, payloads, signature, _] = sections(&segment[start..]);
        let (mut at, end) = (start + payloads, start + signature - 4);
        while at < end {
            let header: [u8; PAYLOAD_HEADER] = segment[at..at + PAYLOAD_HEADER].try_into().unwrap();
            let length = u32::from_be_bytes(header[33..].try_into().unwrap()) as usize;
            gone.push(Commitment(header[1..33].try_into().unwrap()));
            segment[at] = b'E';
            at += PAYLOAD_HEADER;
            segment[at..at + length].fill(0);
            at += length;
        }
        mend(segment, start);
    });
    gone
}

fn append_erasure(world: &World, erased_index: u64, commitments: Vec<Commitment>) {
    let record = Record::new(Body::Erasure {
        erased_index,
        commitments,
        at_unix_ms: 0,
    });
    world.open().unwrap().append(&record, &[]).unwrap();
}

#[test]
fn what_is_there_is_kept() {
    let report = verify(&ledger("", all, Reason::Interrupted));
    assert!(report.is_ok(), "{:?}", report.problems);
    assert_eq!(report.payloads, counts(4, 0, 0, 0));
}

#[test]
fn a_prompt_that_the_constitution_does_not_keep_is_not_missed() {
    let sections = r#""ledger":{"keepPrompt":false},"#;
    let report = verify(&ledger(sections, without_prompt, Reason::Interrupted));
    assert!(report.is_ok(), "{:?}", report.problems);
    assert_eq!(report.payloads, counts(3, 0, 1, 0));
}

#[test]
fn a_payload_that_was_never_there_is_lost() {
    let report = verify(&ledger("", without_prompt, Reason::Interrupted));
    assert_eq!(report.payloads, counts(3, 0, 0, 1));
    let what = &report.problems[0].what;
    assert!(what.contains("is lost"), "{what}");
    assert_eq!(report.problems[0].index, Some(1));
    // The constitution says nothing of the task's text: it is always kept.
    let is_no_task = |payload: &Payload| payload.label.as_str() != "task";
    let sections = r#""ledger":{"keepPrompt":false},"#;
    let report = verify(&ledger(sections, is_no_task, Reason::Interrupted));
    assert_eq!(report.payloads, counts(3, 0, 0, 1));
}

#[test]
fn a_prompt_that_was_refused_as_too_long_is_not_missed() {
    let report = verify(&ledger("", without_prompt, Reason::PromptTooLong));
    assert!(report.is_ok(), "{:?}", report.problems);
    assert_eq!(report.payloads, counts(3, 0, 1, 0));
}

#[test]
fn an_erased_payload_is_told_from_a_lost_one_by_its_record() {
    let world = ledger("", all, Reason::Interrupted);
    let gone = erase(&world, 1);
    let report = verify(&world);
    assert_eq!((report.payloads, gone.len()), (counts(1, 0, 0, 3), 3));
    assert_eq!(report.problems.len(), 3);

    append_erasure(&world, 1, gone);
    let report = verify(&world);
    assert!(report.is_ok(), "{:?}", report.problems);
    assert_eq!(report.payloads, counts(1, 3, 0, 0));
}

#[test]
fn an_erasure_of_what_is_still_there_is_found() {
    let world = ledger("", all, Reason::Interrupted);
    append_erasure(&world, 1, vec![intent("a", 0).1[1].commitment()]);
    let report = verify(&world);
    let what = &report.problems[0].what;
    assert!(what.contains("still there, record 3 erased it"), "{what}");
}

#[test]
fn a_constitution_s_text_must_be_that_of_the_one_named() {
    let world = World::default();
    let (mut reference, text) = constitution_with(0, "");
    reference.version = "1.0.1".to_owned();
    let mut ledger = world.open().unwrap();
    ledger.ensure_constitution(&reference, &text).unwrap();
    drop(ledger);
    let report = verify(&world);
    assert!(report.problems[0].what.contains("text of the constitution"));
}
