//! Exit codes: the same table for the command line and for a supervisor in a pod.

use std::fmt;

use axiom_hive_core::record::Reason;
use axiom_hive_core::supervisor::OutcomeKind;
use axiom_hive_core::wire::ErrorCode;

use crate::ledger::LedgerError;
use crate::pipeline::PipelineError;
use axiom_hive_client::ledger::ClientError;

/// How a program of ours ends. `docs/USAGE.md` has the table with who retries what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Answered and recorded; or the command did what was asked.
    Ok = 0,
    /// The user's input: an empty or too long prompt, an unreadable file, wrong usage.
    Input = 1,
    /// The constitution or the configuration.
    Constitution = 2,
    /// The runtime failed, or the deadline passed.
    Runtime = 3,
    /// Withheld: no agreement, or policy.
    Withheld = 4,
    /// The ledger is unavailable or refused.
    Ledger = 5,
    /// Containment could not be established.
    Containment = 6,
    /// Verification or replay failed, or could not be authenticated.
    Verification = 7,
    /// Cancelled, recorded.
    Cancelled = 8,
    /// A bug.
    Bug = 70,
}

impl Exit {
    /// How a run ends whose task ended for `reason`.
    #[must_use]
    pub fn of(reason: Reason) -> Self {
        if reason == Reason::ContainmentFailed {
            return Self::Containment;
        }
        match OutcomeKind::of(reason) {
            OutcomeKind::Answered => Self::Ok,
            OutcomeKind::Refused => Self::Input,
            OutcomeKind::Withheld => Self::Withheld,
            OutcomeKind::Failed => Self::Runtime,
            OutcomeKind::Cancelled => Self::Cancelled,
        }
    }

    /// The number the process ends with.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

/// An error at the edge: a message for people and the exit code that goes with it.
#[derive(Debug)]
pub struct Failure {
    /// The class.
    pub exit: Exit,
    /// What must hold, in one or more lines.
    pub message: String,
}

impl Failure {
    /// A failure of class `exit`.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }

    /// For `map_err`: a failure of class `exit` with the error's own words.
    pub fn with<E: fmt::Display>(exit: Exit) -> impl Fn(E) -> Self {
        move |error| Self::new(exit, error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

fn of_client(error: &ClientError) -> Exit {
    match error {
        ClientError::Deadline(_) => Exit::Ledger,
        ClientError::Refused { code, .. } => match code {
            ErrorCode::ConstitutionChanged | ErrorCode::ConstitutionUnknown => Exit::Constitution,
            _ => Exit::Ledger,
        },
        ClientError::Tls(_) | ClientError::Token { .. } => Exit::Constitution,
        ClientError::Malformed(_)
        | ClientError::Unverified(_)
        | ClientError::Checkpoint(_)
        | ClientError::Forked { .. }
        | ClientError::Other(_) => Exit::Verification,
    }
}

impl From<PipelineError> for Failure {
    fn from(error: PipelineError) -> Self {
        let exit = match &error {
            PipelineError::Ledger(
                LedgerError::ConstitutionChanged { .. } | LedgerError::ConstitutionUnknown { .. },
            )
            | PipelineError::Constitution(_) => Exit::Constitution,
            PipelineError::Ledger(_)
            | PipelineError::Release(_)
            | PipelineError::NoIntent(_)
            | PipelineError::NotIsolated(_) => Exit::Ledger,
            PipelineError::OtherTask { .. } | PipelineError::TooManyAttempts(_) => Exit::Input,
            PipelineError::Client(error) => of_client(error),
            PipelineError::Intent(_) | PipelineError::NotOurs { .. } => Exit::Verification,
            PipelineError::OutOfTurn(_)
            | PipelineError::Opening(_)
            | PipelineError::Random(_)
            | PipelineError::NothingAppended
            | PipelineError::Stopped => Exit::Bug,
        };
        Self::new(exit, error)
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, Reason};

    #[test]
    fn every_reason_has_the_exit_code_of_its_class() {
        for (reason, code) in [
            (Reason::Agreed, 0),
            (Reason::PromptEmpty, 1),
            (Reason::PromptTooLong, 1),
            (Reason::PromptWithheld, 1),
            (Reason::NotAllowed, 1),
            (Reason::RuntimeFailed, 3),
            (Reason::DeadlineExceeded, 3),
            (Reason::Interrupted, 3),
            (Reason::NoAgreement, 4),
            (Reason::Tie, 4),
            (Reason::TooFewValid, 4),
            (Reason::PolicyWithheld, 4),
            (Reason::BudgetSpent, 4),
            (Reason::ContainmentFailed, 6),
            (Reason::Cancelled, 8),
        ] {
            assert_eq!(Exit::of(reason).code(), code, "{reason:?}");
        }
    }
}
