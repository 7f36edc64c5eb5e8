//! Records to append.

use axiom_hive_core::constitution::RuntimeKind;
use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{
    AnswerRecord, AnswerSource, Body, BuildRef, Commitment, ConstitutionRef, ContainmentLevel,
    ContainmentRecord, ContainmentRequest, Decided, Findings, Label, Observed, ObservedIntent,
    Outcome, Payload, Reason, Record, RuntimeRef, Salt, TaskRef,
};
use axiom_hive_core::wire::AppendEntry;

pub(crate) fn payload(label: Label, text: &str) -> Payload {
    Payload {
        label,
        salt: Salt(Digest::of(text.as_bytes()).0),
        bytes: text.as_bytes().to_vec(),
    }
}

fn constitution_ref() -> ConstitutionRef {
    ConstitutionRef {
        name: "default".to_owned(),
        version: "1.0.0".to_owned(),
        digest: Digest::of(b"{}"),
        catalogue: 1,
    }
}

pub(crate) fn constitution() -> AppendEntry {
    let text = payload(Label::CONSTITUTION, "{}");
    AppendEntry {
        record: Record::new(Body::Constitution {
            constitution: constitution_ref(),
            text: text.commitment(),
        }),
        payloads: vec![text],
    }
}

fn build() -> BuildRef {
    BuildRef {
        version: "0.1.0".to_owned(),
        executable: Digest::of(b"build"),
    }
}

fn runtime() -> RuntimeRef {
    RuntimeRef {
        kind: RuntimeKind::Echo,
        spec: Commitment([3; 32]),
    }
}

pub(crate) fn task(uid: &str, attempt: u32) -> TaskRef {
    TaskRef {
        uid: uid.to_owned(),
        attempt,
    }
}

/// An attempt that the pod `pod` may end, with its prompt.
pub(crate) fn intent(uid: &str, attempt: u32, pod: &str) -> AppendEntry {
    let prompt = payload(Label::PROMPT, &format!("{uid}/{attempt}?"));
    AppendEntry {
        record: Record::new(Body::Intent {
            task: task(uid, attempt),
            constitution: constitution_ref(),
            spec: Digest::of(uid.as_bytes()),
            runtime: runtime(),
            task_text: Commitment([2; 32]),
            prompt: prompt.commitment(),
            observed: ObservedIntent {
                at_unix_ms: 1,
                build: build(),
                pod_uid: Some(pod.to_owned()),
            },
        }),
        payloads: vec![prompt],
    }
}

fn outcome(uid: &str, attempt: u32, reason: Reason) -> Outcome {
    Outcome {
        task: task(uid, attempt),
        decided: Decided {
            constitution: constitution_ref(),
            spec: Digest::of(uid.as_bytes()),
            runtime: runtime(),
            prompt: payload(Label::PROMPT, &format!("{uid}/{attempt}?")).commitment(),
            prompt_findings: None,
            reason,
            branches: Vec::new(),
            vote: None,
            answer: None,
        },
        observed: Observed {
            build: build(),
            started_unix_ms: 1,
            ended_unix_ms: 2,
            containment: ContainmentRecord {
                requested: ContainmentRequest::Required,
                reached: ContainmentLevel::NotApplicable,
                landlock_abi: 0,
                loopback_port: 0,
            },
            usage: None,
            egress: None,
            surplus_branches: 0,
            stopped_by: None,
            detail: None,
        },
    }
}

/// The answer `text`, with its payload.
pub(crate) fn answered(uid: &str, attempt: u32, text: &str) -> AppendEntry {
    let answer = payload(Label::ANSWER, text);
    let mut outcome = outcome(uid, attempt, Reason::Agreed);
    outcome.decided.answer = Some(AnswerRecord {
        text: answer.commitment(),
        bytes: text.len() as u64,
        source: AnswerSource::BranchText,
        removed: Findings::default(),
        hash_key: Commitment([4; 32]),
    });
    AppendEntry {
        record: Record::new(Body::Answered(outcome)),
        payloads: vec![answer],
    }
}

fn bare(body: Body) -> AppendEntry {
    AppendEntry {
        record: Record::new(body),
        payloads: Vec::new(),
    }
}

pub(crate) fn withheld(uid: &str, attempt: u32) -> AppendEntry {
    bare(Body::Withheld(outcome(uid, attempt, Reason::Tie)))
}

pub(crate) fn failed(uid: &str, attempt: u32) -> AppendEntry {
    bare(Body::Failed(outcome(uid, attempt, Reason::Interrupted)))
}

pub(crate) fn refused(uid: &str, attempt: u32) -> AppendEntry {
    bare(Body::Refused(outcome(uid, attempt, Reason::NotAllowed)))
}

pub(crate) fn cancelled(uid: &str, attempt: u32) -> AppendEntry {
    bare(Body::Cancelled(outcome(uid, attempt, Reason::Cancelled)))
}

pub(crate) fn attempt(uid: &str, attempt: u32) -> AppendEntry {
    bare(Body::Attempt(outcome(uid, attempt, Reason::RuntimeFailed)))
}

pub(crate) fn erasure() -> AppendEntry {
    bare(Body::Erasure {
        erased_index: 0,
        commitments: vec![Commitment([1; 32])],
        at_unix_ms: 1,
    })
}

pub(crate) fn sealed() -> AppendEntry {
    bare(Body::Sealed {
        at_unix_ms: 1,
        successor: None,
    })
}
