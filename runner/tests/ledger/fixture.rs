//! Ledgers to break.

use std::sync::Arc;

use axiom_hive_core::constitution::RuntimeKind;
use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{
    Body, BuildRef, Commitment, ConstitutionRef, ContainmentLevel, ContainmentRecord,
    ContainmentRequest, Decided, Label, Observed, ObservedIntent, Outcome, Payload, Reason, Record,
    RuntimeRef, Salt, TaskRef,
};
use axiom_hive_core::supervisor::Entry;
use axiom_hive_runner::ledger::storage::Memory;
use axiom_hive_runner::ledger::{KeyStore, Ledger, LedgerError};

/// A ledger in memory, with its keys.
#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) dir: Memory,
    pub(crate) keys: Memory,
}

impl World {
    pub(crate) fn keys(&self) -> KeyStore {
        KeyStore::on(Arc::new(self.keys.clone()))
    }

    pub(crate) fn open(&self) -> Result<Ledger, LedgerError> {
        Ledger::open_on(Arc::new(self.dir.clone()), &self.keys(), "memory")
    }

    /// A copy that shares nothing.
    pub(crate) fn fork(&self) -> Self {
        Self {
            dir: Memory::from_files(self.dir.files()),
            keys: Memory::from_files(self.keys.files()),
        }
    }

    /// A ledger of `count` constitution records, one payload each.
    pub(crate) fn with_records(count: u64) -> Self {
        let world = Self::default();
        let mut ledger = world.open().unwrap();
        for number in 0..count {
            let (constitution, text) = constitution(number);
            ledger.ensure_constitution(&constitution, &text).unwrap();
        }
        drop(ledger);
        world
    }
}

/// Where the frames of the first segment begin, and where it ends.
pub(crate) fn frames(world: &World) -> Vec<usize> {
    let bytes = &world.dir.files()[FIRST_SEGMENT];
    let is_frame = |at: &usize| bytes[*at..].starts_with(b"AXF1");
    let mut starts: Vec<usize> = (0..bytes.len()).filter(is_frame).collect();
    starts.push(bytes.len());
    starts
}

pub(crate) const FIRST_SEGMENT: &str = "log/00000000000000000000";

pub(crate) fn payload(label: Label, salt: u8, bytes: &[u8]) -> Payload {
    Payload {
        label,
        salt: Salt([salt; 32]),
        bytes: bytes.to_vec(),
    }
}

/// The shortest constitution of version 1.0.`number`, with its text.
pub(crate) fn constitution(number: u64) -> (ConstitutionRef, Payload) {
    constitution_with(number, "")
}

/// The same with more sections, in canonical form.
pub(crate) fn constitution_with(number: u64, sections: &str) -> (ConstitutionRef, Payload) {
    let version = format!("1.0.{number}");
    let text =
        format!(r#"{{{sections}"meta":{{"catalogue":1,"name":"d","version":"{version}"}}}}"#);
    let reference = ConstitutionRef {
        name: "d".to_owned(),
        version,
        digest: Digest::of(text.as_bytes()),
        catalogue: 1,
    };
    let text = payload(Label::CONSTITUTION, number as u8, text.as_bytes());
    (reference, text)
}

pub(crate) fn erasure(number: u64) -> Record {
    Record::new(Body::Erasure {
        erased_index: number,
        commitments: vec![Commitment([number as u8; 32])],
        at_unix_ms: 0,
    })
}

/// An erasure without payloads, as one of a group.
pub(crate) fn entry(number: u64) -> Entry {
    Entry {
        record: erasure(number),
        payloads: Vec::new(),
    }
}

fn build() -> BuildRef {
    BuildRef {
        version: "0.1.0".to_owned(),
        executable: Digest::of(b"build"),
    }
}

pub(crate) fn task(uid: &str, attempt: u32) -> TaskRef {
    TaskRef {
        uid: uid.to_owned(),
        attempt,
    }
}

/// An intent under constitution 0, with its three payloads: task, prompt, runtime.
pub(crate) fn intent(uid: &str, attempt: u32) -> (Record, Vec<Payload>) {
    let prompt = payload(Label::PROMPT, 1, format!("what is {uid}?").as_bytes());
    let text = payload(Label::TASK, 2, uid.as_bytes());
    let record = Record::new(Body::Intent {
        task: task(uid, attempt),
        constitution: constitution(0).0,
        spec: Digest::of(uid.as_bytes()),
        runtime: runtime().0,
        task_text: text.commitment(),
        prompt: prompt.commitment(),
        observed: ObservedIntent {
            at_unix_ms: 1,
            build: build(),
            pod_uid: None,
        },
    });
    (record, vec![text, prompt, runtime().1])
}

fn runtime() -> (RuntimeRef, Payload) {
    let text = payload(Label::RUNTIME, 3, br#"{"kind":"echo"}"#);
    let runtime = RuntimeRef {
        kind: RuntimeKind::Echo,
        spec: text.commitment(),
    };
    (runtime, text)
}

/// The outcome of a run that died.
pub(crate) fn interrupted(uid: &str, attempt: u32) -> Outcome {
    Outcome {
        task: task(uid, attempt),
        decided: Decided {
            constitution: constitution(0).0,
            spec: Digest::of(uid.as_bytes()),
            runtime: runtime().0,
            prompt: intent(uid, attempt).1[1].commitment(),
            prompt_findings: None,
            reason: Reason::Interrupted,
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

/// An intent with a prompt of 4 MiB.
pub(crate) fn append_large(ledger: &mut Ledger, number: u64) {
    let uid = format!("task-{number}");
    let (mut record, mut payloads) = intent(&uid, 0);
    payloads[1].bytes = vec![number as u8; 4 << 20];
    if let Body::Intent { prompt, .. } = &mut record.body {
        *prompt = payloads[1].commitment();
    }
    ledger.append(&record, &payloads).unwrap();
}

/// How often a property is tried: `AXIOM_HIVE_BUDGET_<NAME>`, or `default`.
pub(crate) fn budget(name: &str, default: u32) -> u32 {
    let set = std::env::var(format!("AXIOM_HIVE_BUDGET_{name}"));
    set.ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}
