//! A constitution ready to decide, and a task measured against it.

use serde_json::{Value, json};

use crate::consensus::{Ballot, KeyError, KeyMaker};
use crate::constitution::{Constitution, PromptScreening, Quorum, Violation};
use crate::digest::Digest;
use crate::interceptor::{HashKey, RuleSet, Verdict, intercept};
use crate::record::{
    Commitment, ConstitutionRef, Findings, Label, MissingSalt, Payload, Reason, RuntimeRef, Salts,
    TaskRef,
};
use crate::task::TaskSpec;

/// A constitution with its rules compiled: made once, used for every task.
#[derive(Debug)]
pub struct Prepared {
    pub(super) constitution: Constitution,
    pub(super) reference: ConstitutionRef,
    pub(super) rules: RuleSet,
    pub(super) keys: KeyMaker,
}

/// The constitution is not valid.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Bounds or rules.
    #[error("the constitution is not valid: {}", .0.iter().map(|v| format!("{}: {}", v.path, v.message)).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Violation>),
    /// The equivalence.
    #[error("the constitution is not valid: supervisor.equivalence: {0}")]
    Equivalence(#[from] KeyError),
}

impl Prepared {
    /// Validates and compiles.
    pub fn new(constitution: Constitution) -> Result<Self, PrepareError> {
        let rules = constitution.validate().map_err(PrepareError::Invalid)?;
        let keys = KeyMaker::compile(&constitution.supervisor.equivalence)?;
        Ok(Self {
            reference: constitution.reference(),
            constitution,
            rules,
            keys,
        })
    }

    /// The constitution.
    #[must_use]
    pub fn constitution(&self) -> &Constitution {
        &self.constitution
    }

    /// How a record names it.
    #[must_use]
    pub fn reference(&self) -> &ConstitutionRef {
        &self.reference
    }
}

/// One attempt at a task, with everything random that it uses.
pub struct Task {
    /// What the user asks for.
    pub spec: TaskSpec,
    /// Which attempt of which task.
    pub reference: TaskRef,
    /// The salts of its payloads.
    pub salts: Salts,
    /// The key of the interceptor's `hash` action.
    pub hash_key: HashKey,
}

/// The commitments, payloads and checks of a task before any branch.
pub(super) struct Measured {
    pub(super) prompt: Payload,
    pub(super) runtime: Payload,
    pub(super) task: Payload,
    pub(super) spec: Digest,
    pub(super) runtime_ref: RuntimeRef,
    pub(super) findings: Option<Findings>,
    /// What the runtime gets.
    pub(super) runtime_prompt: String,
    pub(super) ballot: Ballot,
    /// Why the task is refused, if it is.
    pub(super) refusal: Option<Reason>,
}

pub(super) fn measure(prepared: &Prepared, task: &Task) -> Result<Measured, MissingSalt> {
    let TaskSpec {
        prompt,
        prompt_from: _,
        runtime,
        branches,
    } = &task.spec;
    let policy = &prepared.constitution.supervisor;
    let new = |label, bytes| Payload::new(label, &task.salts, bytes);
    let prompt_payload = new(Label::PROMPT, prompt.clone().into_bytes())?;
    let runtime_payload = new(Label::RUNTIME, canonical(&json!(runtime)))?;
    let task_payload = new(Label::TASK, canonical(&without_prompt(&task.spec)))?;
    let runtime_ref = RuntimeRef {
        kind: runtime.kind(),
        spec: runtime_payload.commitment(),
    };
    let spec = spec_digest(&task.spec, prompt_payload.commitment(), runtime_ref.spec);
    let asked = branches.unwrap_or(policy.max_branches);
    let size_refusal = refusal(prepared, &task.spec, asked);
    let mut measured = Measured {
        prompt: prompt_payload,
        runtime: runtime_payload,
        task: task_payload,
        spec,
        runtime_ref,
        findings: None,
        runtime_prompt: prompt.clone(),
        ballot: Ballot::of(policy, asked),
        refusal: size_refusal,
    };
    // A prompt beyond its limit is not scanned: the limit is what bounds the scan.
    if size_refusal.is_none() {
        screen(prepared, task, &mut measured);
    }
    Ok(measured)
}

fn refusal(prepared: &Prepared, spec: &TaskSpec, asked: u32) -> Option<Reason> {
    let Constitution {
        supervisor,
        runtime,
        ..
    } = &prepared.constitution;
    if spec.prompt.trim().is_empty() {
        return Some(Reason::PromptEmpty);
    }
    if spec.prompt.len() > supervisor.max_prompt_bytes as usize {
        return Some(Reason::PromptTooLong);
    }
    // A task that asks for fewer branches than must give an answer could never be answered.
    let least = match supervisor.quorum {
        Quorum::All => 1,
        Quorum::Valid => supervisor.min_valid_branches.unwrap_or(1).max(1),
    };
    let is_allowed = runtime.kinds.contains(&spec.runtime.kind())
        && spec
            .runtime
            .model()
            .is_none_or(|it| runtime.allows_model(it))
        && (least..=supervisor.max_branches).contains(&asked);
    if is_allowed {
        None
    } else {
        Some(Reason::NotAllowed)
    }
}

fn screen(prepared: &Prepared, task: &Task, measured: &mut Measured) {
    let screening = prepared.constitution.interceptor.prompt;
    if screening == PromptScreening::Off {
        return;
    }
    let filtered = intercept(&prepared.rules, &task.hash_key, task.spec.prompt.as_bytes());
    let findings = filtered.report.findings;
    let is_withheld = filtered.report.verdict != Verdict::Passed
        || (screening == PromptScreening::Withhold && findings.spans > 0);
    measured.findings = Some(findings);
    if is_withheld {
        measured.refusal = Some(Reason::PromptWithheld);
    } else if screening == PromptScreening::Redact {
        measured.runtime_prompt = filtered.text;
    }
}

/// The `task` payload: the spec without the prompt, which is a payload of its own.
fn without_prompt(spec: &TaskSpec) -> Value {
    let mut value = json!(spec);
    if let Value::Object(fields) = &mut value {
        fields.remove("prompt");
    }
    value
}

/// SHA-256 of the canonical spec with prompt and runtime replaced by their commitments, or without the
/// prompt where its place is given. A field that is absent stays absent, so that a new optional field
/// never changes an old digest.
fn spec_digest(spec: &TaskSpec, prompt: Commitment, runtime: Commitment) -> Digest {
    let mut value = without_prompt(spec);
    if spec.prompt_from.is_none() {
        value["prompt"] = json!(prompt);
    }
    value["runtime"] = json!(runtime);
    Digest::of(&canonical(&value))
}

/// RFC 8785 bytes. Every value here is made of strings, integers, arrays and objects, for which
/// encoding cannot fail; an empty text would still be committed to and never matched.
fn canonical(value: &Value) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value).unwrap_or_default()
}
