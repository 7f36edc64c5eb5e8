//! Records as runs write them.

use axiom_hive_core::constitution::{Ratio, RuntimeKind};
use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{
    AnswerRecord, AnswerSource, Body, BranchRecord, BranchResultKind, BuildRef, Commitment,
    ConstitutionRef, ContainmentLevel, ContainmentRecord, ContainmentRequest, Decided, Findings,
    Label, Observed, ObservedIntent, Outcome, Payload, Reason, Record, RuntimeRef, Salts, TaskRef,
    Usage, VoteRecord,
};

use crate::BenchError;
use crate::ledger::setup;

pub(crate) fn constitution(name: String, number: u32) -> ConstitutionRef {
    ConstitutionRef {
        name,
        // Five digits, so that all entries have one length.
        version: (10_000 + number).to_string(),
        digest: Digest::of(&number.to_be_bytes()),
        catalogue: 1,
    }
}

pub(crate) fn constitution_record(constitution: ConstitutionRef) -> Record {
    let text = Commitment(constitution.digest.0);
    Record::new(Body::Constitution { constitution, text })
}

/// An intent as a run writes it, with a short prompt.
pub(crate) fn intent(
    constitution: &ConstitutionRef,
    number: u32,
) -> Result<(Record, Vec<Payload>), BenchError> {
    let payloads = payloads(
        number,
        [
            (Label::PROMPT, b"What is the capital of France?".as_slice()),
            (Label::TASK, br#"{"runtime":{"kind":"echo"}}"#),
            (Label::RUNTIME, br#"{"kind":"echo"}"#),
        ],
    )?;
    let record = Record::new(Body::Intent {
        task: TaskRef {
            uid: format!("bench-{number}"),
            attempt: 0,
        },
        constitution: constitution.clone(),
        spec: Digest::of(b"spec"),
        task_text: payloads[1].commitment(),
        prompt: payloads[0].commitment(),
        runtime: RuntimeRef {
            kind: RuntimeKind::Echo,
            spec: payloads[2].commitment(),
        },
        observed: ObservedIntent {
            at_unix_ms: 1_700_000_000_000,
            build: build(),
            pod_uid: None,
        },
    });
    Ok((record, payloads))
}

/// The answer to that intent on which three branches agreed.
pub(crate) fn answered(intent: &Record, number: u32) -> Result<(Record, Vec<Payload>), BenchError> {
    let Body::Intent {
        task,
        constitution,
        spec,
        runtime,
        prompt,
        ..
    } = intent.body.clone()
    else {
        return Err(setup("an intent is needed"));
    };
    let text = b"The capital of France is Paris.".as_slice();
    let payloads = payloads(
        number,
        [
            (Label::ANSWER, text),
            (Label::HASH_KEY, &[7; 32]),
            (Label::branch(0), text),
            (Label::branch(1), text),
            (Label::branch(2), text),
        ],
    )?;
    let bytes = text.len() as u64;
    let decided = Decided {
        constitution,
        spec,
        runtime,
        prompt,
        prompt_findings: None,
        reason: Reason::Agreed,
        branches: payloads[2..]
            .iter()
            .map(|text| branch(text, bytes))
            .collect(),
        vote: Some(VoteRecord {
            asked: 4,
            committed: 3,
            valid: 3,
            leader: 3,
            leader_class: Some(0),
            runner_up: 0,
            ratio: Ratio::THREE_QUARTERS,
        }),
        answer: Some(AnswerRecord {
            text: payloads[0].commitment(),
            bytes,
            source: AnswerSource::BranchText,
            removed: Findings::default(),
            hash_key: payloads[1].commitment(),
        }),
    };
    let outcome = Outcome {
        task,
        decided,
        observed: observed(),
    };
    Ok((Record::new(Body::Answered(outcome)), payloads))
}

fn branch(text: &Payload, bytes: u64) -> BranchRecord {
    BranchRecord {
        result: BranchResultKind::Answer,
        error: None,
        text: Some(text.commitment()),
        bytes: Some(bytes),
        class: Some(0),
    }
}

fn observed() -> Observed {
    Observed {
        build: build(),
        started_unix_ms: 1_700_000_000_000,
        ended_unix_ms: 1_700_000_001_000,
        containment: ContainmentRecord {
            requested: ContainmentRequest::Required,
            reached: ContainmentLevel::NotApplicable,
            landlock_abi: 0,
            loopback_port: 0,
        },
        usage: Some(Usage::default()),
        egress: None,
        surplus_branches: 0,
        stopped_by: None,
        detail: None,
    }
}

fn build() -> BuildRef {
    BuildRef {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        executable: Digest::of(b"bench"),
    }
}

fn payloads<const N: usize>(
    number: u32,
    texts: [(Label, &[u8]); N],
) -> Result<Vec<Payload>, BenchError> {
    let salts = Salts::Seed(Digest::of(&number.to_be_bytes()).0);
    let payload = |(label, text): (Label, &[u8])| Payload::new(label, &salts, text.to_vec());
    let payloads = texts.into_iter().map(payload).collect::<Result<_, _>>();
    payloads.map_err(setup)
}
