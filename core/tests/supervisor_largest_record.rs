//! The largest record that a run can end in fits a leaf.
#![allow(clippy::unwrap_used)]

mod supervisor_support;

use axiom_hive_core::record::{
    Body, ContainmentLevel, ContainmentRecord, ContainmentRequest, EgressCounts, EgressRecord,
    EgressRefusals, Findings, MAX_ATTEMPT, MAX_EGRESS_TARGETS, MAX_INTEGER, MAX_RECORD_BYTES,
    Record, StopEvent, Usage, VoteRecord,
};
use supervisor_support::*;

/// 64 branches that all answer with the longest text; then every field at its longest.
#[test]
fn the_largest_legal_record_fits() {
    let supervisor = "max_branches = 64\nmin_consensus_ratio = 0.984375\nmax_answer_bytes = 524288";
    let prepared = policy(supervisor, "[interceptor]\nprompt = \"redact\"");
    let mut task = task("Where?");
    task.reference.uid = "u".repeat(64);
    task.reference.attempt = MAX_ATTEMPT;
    // A first branch apart, so that the winning class is not 0 and all branches are needed.
    let mut answers = vec!["a".repeat(524_288)];
    answers.resize(64, "b".repeat(524_288));
    let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    let (done, _, ledger) = run(&prepared, &task, &texts(&answers));
    assert!(ledger.intent().to_canonical().unwrap().len() < 2048);

    let Body::Answered(mut outcome) = done.record.body else {
        panic!("not answered");
    };
    let most = Findings {
        spans: MAX_INTEGER,
        words: MAX_INTEGER,
        bytes: MAX_INTEGER,
        invisible_cut: MAX_INTEGER,
    };
    let decided = &mut outcome.decided;
    assert_eq!(decided.branches.len(), 64);
    decided.constitution.name = "n".repeat(63);
    decided.constitution.version = "9".repeat(64);
    decided.constitution.catalogue = u32::MAX;
    decided.prompt_findings = Some(most);
    let answer = decided.answer.as_mut().unwrap();
    (answer.removed, answer.bytes) = (most, MAX_INTEGER);
    decided.vote = Some(VoteRecord {
        asked: 64,
        committed: 64,
        valid: 64,
        leader: 32,
        leader_class: Some(32),
        runner_up: 32,
        ratio: "0.999999999".parse().unwrap(),
    });
    // The longest classes: ten or more, each its own.
    for (index, branch) in (0..).zip(&mut decided.branches) {
        (branch.class, branch.bytes) = (Some(index), Some(MAX_INTEGER));
    }
    let observed = &mut outcome.observed;
    observed.build.version = "9".repeat(32);
    (observed.started_unix_ms, observed.ended_unix_ms) = (MAX_INTEGER, MAX_INTEGER);
    observed.containment = ContainmentRecord {
        requested: ContainmentRequest::BestEffort,
        reached: ContainmentLevel::NotApplicable,
        landlock_abi: u32::MAX,
        loopback_port: u16::MAX,
    };
    observed.usage = Some(Usage {
        prompt_tokens: MAX_INTEGER,
        completion_tokens: MAX_INTEGER,
        branch_ms: MAX_INTEGER,
    });
    observed.egress = Some(EgressRecord {
        targets: vec![
            EgressCounts {
                connections: MAX_INTEGER,
                unreachable: MAX_INTEGER,
                sent_bytes: MAX_INTEGER,
                received_bytes: MAX_INTEGER,
            };
            MAX_EGRESS_TARGETS
        ],
        refused: EgressRefusals {
            malformed: MAX_INTEGER,
            unlisted: MAX_INTEGER,
            address: MAX_INTEGER,
            server_name: MAX_INTEGER,
            limit: MAX_INTEGER,
        },
    });
    observed.surplus_branches = 64;
    observed.stopped_by = Some(StopEvent::Interrupted);
    assert!(observed.detail.is_some());

    let leaf = Record::new(Body::Answered(outcome)).to_canonical().unwrap();
    assert!(
        leaf.len() > 8 * 1024,
        "not the largest: {} bytes",
        leaf.len()
    );
    assert!(leaf.len() <= MAX_RECORD_BYTES, "{} bytes", leaf.len());
}
