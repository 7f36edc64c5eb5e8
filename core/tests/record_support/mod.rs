//! Records for tests.

use axiom_hive_core::constitution::{Ratio, RuntimeKind};
use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{
    AnswerRecord, AnswerSource, Body, BranchRecord, BranchResultKind, BuildRef, Commitment,
    ConstitutionRef, ContainmentLevel, ContainmentRecord, ContainmentRequest, Decided,
    EgressCounts, EgressRecord, EgressRefusals, Findings, MAX_ATTEMPT, MAX_BRANCHES,
    MAX_EGRESS_TARGETS, MAX_INTEGER, Observed, ObservedIntent, Outcome, Reason, Record, RuntimeRef,
    StopEvent, TaskRef, Usage, VoteRecord,
};

pub(crate) fn constitution() -> ConstitutionRef {
    ConstitutionRef {
        name: "n".repeat(63),
        version: "v".repeat(64),
        digest: Digest::of(b"constitution"),
        catalogue: u32::MAX,
    }
}

pub(crate) fn task() -> TaskRef {
    TaskRef {
        uid: "u".repeat(64),
        attempt: MAX_ATTEMPT,
    }
}

fn build() -> BuildRef {
    BuildRef {
        version: "1".repeat(32),
        executable: Digest::of(b"executable"),
    }
}

fn findings() -> Findings {
    Findings {
        spans: MAX_INTEGER,
        words: MAX_INTEGER,
        bytes: MAX_INTEGER,
        invisible_cut: MAX_INTEGER,
    }
}

fn branch() -> BranchRecord {
    BranchRecord {
        result: BranchResultKind::Answer,
        error: None,
        text: Some(Commitment([255; 32])),
        bytes: Some(MAX_INTEGER),
        class: Some(10),
    }
}

/// An outcome with every optional field there, every list full and every integer at its bound.
pub(crate) fn largest_outcome() -> Outcome {
    let mut branches = vec![branch(); MAX_BRANCHES];
    for (index, branch) in (0..10).zip(&mut branches) {
        branch.class = Some(index);
    }
    let containment = ContainmentRecord {
        requested: ContainmentRequest::BestEffort,
        reached: ContainmentLevel::NotApplicable,
        landlock_abi: u32::MAX,
        loopback_port: u16::MAX,
    };
    Outcome {
        task: task(),
        decided: Decided {
            constitution: constitution(),
            spec: Digest::of(b"spec"),
            runtime: RuntimeRef {
                kind: RuntimeKind::Process,
                spec: Commitment([1; 32]),
            },
            prompt: Commitment([2; 32]),
            prompt_findings: Some(findings()),
            reason: Reason::Agreed,
            branches,
            vote: Some(VoteRecord {
                asked: 64,
                committed: 64,
                valid: 64,
                leader: 55,
                leader_class: Some(10),
                runner_up: 10,
                ratio: "0.123456789".parse::<Ratio>().unwrap(),
            }),
            answer: Some(AnswerRecord {
                text: Commitment([3; 32]),
                bytes: MAX_INTEGER,
                source: AnswerSource::BranchTextKeyOnly,
                removed: findings(),
                hash_key: Commitment([6; 32]),
            }),
        },
        observed: Observed {
            build: build(),
            started_unix_ms: MAX_INTEGER,
            ended_unix_ms: MAX_INTEGER,
            containment,
            usage: Some(Usage {
                prompt_tokens: MAX_INTEGER,
                completion_tokens: MAX_INTEGER,
                branch_ms: MAX_INTEGER,
            }),
            egress: Some(EgressRecord {
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
            }),
            surplus_branches: 64,
            stopped_by: Some(StopEvent::Containment),
            detail: Some(Commitment([4; 32])),
        },
    }
}

/// An outcome without any optional field, for `reason`.
pub(crate) fn smallest_outcome(reason: Reason) -> Outcome {
    let mut outcome = largest_outcome();
    outcome.decided.reason = reason;
    outcome.decided.prompt_findings = None;
    outcome.decided.branches = Vec::new();
    outcome.decided.vote = None;
    outcome.decided.answer = None;
    outcome.observed.usage = None;
    outcome.observed.egress = None;
    outcome.observed.stopped_by = None;
    outcome.observed.detail = None;
    outcome
}

pub(crate) fn intent() -> Record {
    Record::new(Body::Intent {
        task: task(),
        constitution: constitution(),
        spec: Digest::of(b"spec"),
        runtime: RuntimeRef {
            kind: RuntimeKind::Process,
            spec: Commitment([1; 32]),
        },
        task_text: Commitment([5; 32]),
        prompt: Commitment([2; 32]),
        observed: ObservedIntent {
            at_unix_ms: MAX_INTEGER,
            build: build(),
            pod_uid: Some("p".repeat(64)),
        },
    })
}
