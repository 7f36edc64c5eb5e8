//! A decision as a sentence, from the closed words of its record: no text of a runtime.

use std::collections::BTreeMap;

use super::{BranchError, Decided, Reason};

/// Why it ended as it did, and what became of the branches that failed:
/// `no branch of the runtime gave an answer: in 4 of 4 the process ended with a status other than 0`.
#[must_use]
pub fn explain(decided: &Decided) -> String {
    let sentence = sentence(decided.reason);
    let failures = failures(decided);
    let link = if decided.reason == Reason::Agreed {
        ", but"
    } else {
        ":"
    };
    if failures.is_empty() {
        sentence.to_owned()
    } else {
        format!("{sentence}{link} {failures}")
    }
}

/// What became of the branches that failed, the most frequent first.
fn failures(decided: &Decided) -> String {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for error in decided.branches.iter().filter_map(|branch| branch.error) {
        *counts.entry(failure(error)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let all = decided.branches.len();
    let parts = counts
        .iter()
        .map(|(what, count)| format!("in {count} of {all} {what}"));
    parts.collect::<Vec<_>>().join(", ")
}

fn failure(error: BranchError) -> &'static str {
    match error {
        BranchError::Unavailable => "the program did not start or the service was not reached",
        BranchError::Timeout => "no answer came before the branch's deadline",
        BranchError::TooLong => "the answer was longer than the constitution allows",
        BranchError::Empty => "the answer was blank",
        BranchError::NotUtf8 => "the answer was not UTF-8",
        BranchError::Malformed => "the reply did not follow the protocol",
        BranchError::ExitStatus => "the process ended with a status other than 0",
        BranchError::Signal => "the process was ended by a signal",
        BranchError::HttpStatus => "the service answered with an error status",
        BranchError::Reported => "the runtime reported an error",
        BranchError::Lost => "the runtime was lost",
        BranchError::Egress => "the constitution does not open what was to be reached",
    }
}

fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::Agreed => "enough branches agreed",
        Reason::NoAgreement => "too few branches agreed",
        Reason::Tie => "two answers had equally many branches, and the constitution refuses ties",
        Reason::TooFewValid => "too few branches gave an answer",
        Reason::PolicyWithheld => "a rule of the constitution withholds the answer",
        Reason::BudgetSpent => "the interceptor's step budget was spent",
        Reason::PromptEmpty => "the prompt must not be blank",
        Reason::PromptTooLong => "the prompt must be at most as long as the constitution allows",
        Reason::PromptWithheld => "the constitution screens prompts, and withheld this one",
        Reason::NotAllowed => {
            "the constitution must allow the runtime, the model and the number of branches"
        }
        Reason::RuntimeFailed => "no branch of the runtime gave an answer",
        Reason::DeadlineExceeded => "the task's deadline passed",
        Reason::ContainmentFailed => "the runtime could not be isolated",
        Reason::Interrupted => "the task's attempts ended without a record of their own",
        Reason::Cancelled => "the task was cancelled",
    }
}
