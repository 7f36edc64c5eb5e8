//! The bounds of every field of a record, and which fields go together.

use std::fmt;

use super::{
    AnswerSource, Body, BranchRecord, BranchResultKind, BuildRef, ConstitutionRef, Decided,
    EgressCounts, EgressRecord, EgressRefusals, Findings, MAX_BRANCHES, MAX_EGRESS_TARGETS,
    MAX_ERASED, Observed, Outcome, Reason, Record, RecordError, TaskRef, VoteRecord,
};
use crate::tlog::{KeyType, VerifyingKey};

/// The largest integer in a record: 2^53 − 1, what every JSON reader keeps exact (RFC 8785).
pub const MAX_INTEGER: u64 = (1 << 53) - 1;
/// The largest attempt number.
pub const MAX_ATTEMPT: u32 = 1000;

type Checked = Result<(), RecordError>;

/// The path is built for an error only: most checks hold.
fn hold(holds: bool, path: impl fmt::Display, must: &'static str) -> Checked {
    if holds {
        return Ok(());
    }
    Err(RecordError::Invalid {
        path: path.to_string(),
        must,
    })
}

fn integer(value: u64, path: impl fmt::Display) -> Checked {
    hold(value <= MAX_INTEGER, path, "at most 9007199254740991")
}

fn word(text: &str, max_bytes: usize, extra: &[u8]) -> bool {
    (1..=max_bytes).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || extra.contains(&b))
}

impl TaskRef {
    /// Checks the bounds of a task's UID and of the attempt number.
    pub fn validate(&self) -> Result<(), RecordError> {
        check_task(self)
    }
}

impl Record {
    /// Checks every bound of the schema.
    pub(super) fn validate(&self) -> Checked {
        match &self.body {
            Body::Constitution { constitution, .. } => {
                check_constitution(constitution, "constitution")
            }
            Body::Intent {
                task,
                constitution,
                observed,
                ..
            } => {
                check_task(task)?;
                check_constitution(constitution, "constitution")?;
                integer(observed.at_unix_ms, "observed.atUnixMs")?;
                check_build(&observed.build)?;
                let pod_uid = observed.pod_uid.as_deref().unwrap_or("-");
                hold(
                    word(pod_uid, 64, b"-"),
                    "observed.podUid",
                    "1..=64 letters, digits and \"-\"",
                )
            }
            Body::Deleted {
                task,
                ended_index,
                at_unix_ms,
            } => {
                check_task(task)?;
                integer(*ended_index, "endedIndex")?;
                integer(*at_unix_ms, "atUnixMs")
            }
            Body::Sealed {
                at_unix_ms,
                successor,
            } => {
                integer(*at_unix_ms, "atUnixMs")?;
                let key = successor.as_ref();
                key.map_or(Ok(()), |key| check_key(key, "successor"))
            }
            Body::Succession {
                at_unix_ms,
                predecessor,
                ..
            } => {
                integer(*at_unix_ms, "atUnixMs")?;
                check_key(&predecessor.key, "predecessor.key")?;
                integer(predecessor.size, "predecessor.size")?;
                hold(predecessor.size > 0, "predecessor.size", "at least 1")
            }
            Body::Erasure {
                erased_index,
                commitments,
                at_unix_ms,
            } => {
                integer(*erased_index, "erasedIndex")?;
                integer(*at_unix_ms, "atUnixMs")?;
                let count = (1..=MAX_ERASED).contains(&commitments.len());
                hold(count, "commitments", "1..=256 items")
            }
            body => self
                .outcome()
                .map_or(Ok(()), |outcome| check_outcome(body, outcome)),
        }
    }
}

/// The key of a ledger, under a name that needs no escape in JSON.
fn check_key(key: &VerifyingKey, path: &str) -> Checked {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    hold(
        key.key_type() == KeyType::Ed25519 && key.name().bytes().all(is_plain),
        path,
        "an Ed25519 verifier key whose name has printable ASCII characters other than '\"' and '\\'",
    )
}

fn check_task(task: &TaskRef) -> Checked {
    hold(
        word(&task.uid, 64, b"-_."),
        "task.uid",
        "1..=64 letters, digits, \"-\", \"_\" and \".\"",
    )?;
    hold(task.attempt <= MAX_ATTEMPT, "task.attempt", "at most 1000")
}

fn check_constitution(constitution: &ConstitutionRef, path: &str) -> Checked {
    let ConstitutionRef { name, version, .. } = constitution;
    let is_label = word(name, 63, b"-")
        && !name.bytes().any(|b| b.is_ascii_uppercase())
        && !name.starts_with('-')
        && !name.ends_with('-');
    hold(
        is_label,
        format_args!("{path}.name"),
        "1..=63 lowercase letters, digits and \"-\", without \"-\" at either end",
    )?;
    hold(
        word(version, 64, b"-.+"),
        format_args!("{path}.version"),
        "1..=64 letters, digits, \"-\", \".\" and \"+\"",
    )
}

fn check_build(build: &BuildRef) -> Checked {
    hold(
        word(&build.version, 32, b"-.+"),
        "observed.build.version",
        "1..=32 letters, digits, \"-\", \".\" and \"+\"",
    )
}

fn check_outcome(body: &Body, outcome: &Outcome) -> Checked {
    check_task(&outcome.task)?;
    check_decided(body, &outcome.decided)?;
    check_observed(&outcome.observed)
}

/// Which reasons a kind of record may give.
fn is_reason_of(body: &Body, reason: Reason) -> bool {
    let failed = matches!(
        reason,
        Reason::RuntimeFailed
            | Reason::DeadlineExceeded
            | Reason::ContainmentFailed
            | Reason::Interrupted
    );
    match body {
        Body::Answered(_) => reason == Reason::Agreed,
        Body::Withheld(_) => matches!(
            reason,
            Reason::NoAgreement
                | Reason::Tie
                | Reason::TooFewValid
                | Reason::PolicyWithheld
                | Reason::BudgetSpent
        ),
        Body::Refused(_) => matches!(
            reason,
            Reason::PromptEmpty
                | Reason::PromptTooLong
                | Reason::PromptWithheld
                | Reason::NotAllowed
        ),
        Body::Attempt(_) | Body::Failed(_) => failed,
        Body::Cancelled(_) => reason == Reason::Cancelled,
        Body::Constitution { .. }
        | Body::Intent { .. }
        | Body::Deleted { .. }
        | Body::Sealed { .. }
        | Body::Succession { .. }
        | Body::Erasure { .. } => false,
    }
}

fn check_decided(body: &Body, decided: &Decided) -> Checked {
    check_constitution(&decided.constitution, "decided.constitution")?;
    hold(
        is_reason_of(body, decided.reason),
        "decided.reason",
        "a reason of this kind of record",
    )?;
    if let Some(findings) = &decided.prompt_findings {
        check_findings(findings, "decided.promptFindings")?;
    }
    hold(
        decided.branches.len() <= MAX_BRANCHES,
        "decided.branches",
        "at most 64 items",
    )?;
    for (index, branch) in decided.branches.iter().enumerate() {
        check_branch(branch, index, decided)?;
    }
    if let Some(vote) = &decided.vote {
        check_vote(vote, decided.branches.len())?;
    }
    let source = decided.answer.as_ref().map(|answer| answer.source);
    let answer_fits = match body {
        Body::Answered(_) => source.is_some_and(|s| s != AnswerSource::Fallback),
        Body::Withheld(_) => source.is_none_or(|s| s == AnswerSource::Fallback),
        _ => source.is_none(),
    };
    hold(
        answer_fits,
        "decided.answer",
        "present when answered, a fallback or absent when withheld, absent otherwise",
    )?;
    if let Some(answer) = &decided.answer {
        integer(answer.bytes, "decided.answer.bytes")?;
        check_findings(&answer.removed, "decided.answer.removed")?;
    }
    Ok(())
}

fn check_branch(branch: &BranchRecord, index: usize, decided: &Decided) -> Checked {
    let BranchRecord {
        result,
        error,
        text,
        bytes,
        class,
    } = branch;
    let failed = *result == BranchResultKind::Failed;
    hold(
        error.is_some() == failed && text.is_some() != failed && bytes.is_some() != failed,
        format_args!("decided.branches[{index}]"),
        "an error when failed, and a text with its length otherwise",
    )?;
    integer(
        bytes.unwrap_or(0),
        format_args!("decided.branches[{index}].bytes"),
    )?;
    let answered = *result == BranchResultKind::Answer;
    let class_fits = match class {
        None => !answered,
        // The class is named by its lowest branch, which names itself.
        Some(class) => {
            let class = *class as usize;
            let named = decided.branches.get(class).and_then(|lowest| lowest.class);
            answered && class <= index && named.is_some_and(|named| named as usize == class)
        }
    };
    hold(
        class_fits,
        format_args!("decided.branches[{index}].class"),
        "the lowest branch index with the same key, for an answer only",
    )
}

fn check_vote(vote: &VoteRecord, branches: usize) -> Checked {
    let VoteRecord {
        asked,
        committed,
        valid,
        leader,
        leader_class,
        runner_up,
        ..
    } = vote;
    hold(
        (1..=MAX_BRANCHES as u32).contains(asked),
        "decided.vote.asked",
        "1..=64",
    )?;
    hold(
        committed <= asked && *committed as usize == branches,
        "decided.vote.committed",
        "the number of branches, and at most the number asked for",
    )?;
    hold(
        valid <= committed && leader <= valid && runner_up <= leader,
        "decided.vote",
        "runnerUp ≤ leader ≤ valid ≤ committed",
    )?;
    hold(
        leader_class.is_some() == (*leader > 0)
            && leader_class.is_none_or(|class| (class as usize) < branches),
        "decided.vote.leaderClass",
        "a branch index when there is a leader, absent otherwise",
    )
}

fn check_findings(findings: &Findings, path: &str) -> Checked {
    let Findings {
        spans,
        words,
        bytes,
        invisible_cut,
    } = *findings;
    integer(spans.max(words).max(bytes).max(invisible_cut), path)
}

fn check_observed(observed: &Observed) -> Checked {
    check_build(&observed.build)?;
    integer(observed.started_unix_ms, "observed.startedUnixMs")?;
    integer(observed.ended_unix_ms, "observed.endedUnixMs")?;
    hold(
        observed.surplus_branches as usize <= MAX_BRANCHES,
        "observed.surplusBranches",
        "at most 64",
    )?;
    if let Some(usage) = &observed.usage {
        integer(usage.prompt_tokens, "observed.usage.promptTokens")?;
        integer(usage.completion_tokens, "observed.usage.completionTokens")?;
        integer(usage.branch_ms, "observed.usage.branchMs")?;
    }
    observed.egress.as_ref().map_or(Ok(()), check_egress)
}

fn check_egress(egress: &EgressRecord) -> Checked {
    hold(
        egress.targets.len() <= MAX_EGRESS_TARGETS,
        "observed.egress.targets",
        "at most 32",
    )?;
    for counts in &egress.targets {
        let EgressCounts {
            connections,
            unreachable,
            sent_bytes,
            received_bytes,
        } = *counts;
        integer(
            connections
                .max(unreachable)
                .max(sent_bytes)
                .max(received_bytes),
            "observed.egress.targets",
        )?;
    }
    let EgressRefusals {
        malformed,
        unlisted,
        address,
        server_name,
        limit,
    } = egress.refused;
    integer(
        malformed
            .max(unlisted)
            .max(address)
            .max(server_name)
            .max(limit),
        "observed.egress.refused",
    )
}
