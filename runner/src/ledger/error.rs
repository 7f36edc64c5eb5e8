//! What can go wrong with a ledger, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{Commitment, RecordError};

use super::log::OpenIntent;
use super::writer::{MAX_QUEUED_BYTES, MAX_QUEUED_ENTRIES};

/// One thing that does not hold, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, relative to the ledger directory (`log/…`) or to the key store (`keys/…`).
    pub file: String,
    /// Where in the file, in bytes from its start.
    pub offset: Option<u64>,
    /// Which record.
    pub index: Option<u64>,
    /// What does not hold.
    pub what: String,
}

impl Problem {
    /// A problem with a file as a whole.
    pub(super) fn of_file(file: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            offset: None,
            index: None,
            what: what.into(),
        }
    }

    /// The same problem, of record `index` at byte `offset`.
    pub(super) fn at(mut self, offset: u64, index: u64) -> Self {
        self.offset = Some(offset);
        self.index = Some(index);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(offset) = self.offset {
            write!(f, ", byte {offset}")?;
        }
        if let Some(index) = self.index {
            write!(f, ", record {index}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// The first of them by name, and how many more there are.
fn listed(open: &[OpenIntent]) -> String {
    const MAX_LISTED: usize = 20;
    let listed: Vec<String> = open
        .iter()
        .take(MAX_LISTED)
        .map(|intent| format!("{} (record {})", intent.task.uid, intent.index))
        .collect();
    let more = open.len() - listed.len();
    let listed = listed.join(", ");
    if more == 0 {
        listed
    } else {
        format!("{listed} and {more} more")
    }
}

/// Several problems as one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// Why a ledger cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The operating system refused; the ledger is as it was.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried, with the path.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The directory holds no ledger, or something else.
    #[error("{path} must be a ledger directory, or empty to become one: {why}")]
    NotALedger {
        /// The directory.
        path: String,
        /// What was found.
        why: String,
    },
    /// The log cannot even be identified, or is no source to derive anything from.
    #[error("the ledger is damaged:\n{0}")]
    Damaged(Problems),
    /// Another writer has it.
    #[error("another process writes to this ledger (lock {path}); waited {seconds} s")]
    Locked {
        /// The lock file.
        path: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Opened, but nothing may be appended.
    #[error("the ledger is read-only:\n{0}")]
    ReadOnly(Problems),
    /// The disk is full. Nothing was recorded; the ledger is read-only until it is opened again.
    #[error("the disk is full: the record was not written; the ledger is read-only until reopened")]
    DiskFull,
    /// A sync or a write after it failed. Whether the record is durable is known only after the
    /// ledger was opened again; this writer does nothing more.
    #[error("the disk failed ({0}); the ledger must be opened again before anything is appended")]
    Poisoned(String),
    /// Too much is waiting to be written. Nothing was recorded; the same append may succeed later.
    #[error(
        "the ledger's queue is full (at most {MAX_QUEUED_ENTRIES} records and \
         {MAX_QUEUED_BYTES} bytes); try again"
    )]
    Busy,
    /// The writer was told to stop. Nothing was recorded.
    #[error("the ledger is being closed")]
    Closed,
    /// The record has no canonical form.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Over a limit.
    #[error("an append must have {must}")]
    TooLarge {
        /// What must hold.
        must: &'static str,
    },
    /// A payload that the record does not commit to.
    #[error("the payload {label} must be one of the record's commitments; {commitment} is not")]
    Unclaimed {
        /// Its label.
        label: String,
        /// Its address.
        commitment: Commitment,
    },
    /// A released constitution never changes.
    #[error(
        "constitution {name} {version} was {recorded} at index {index}, now it is {now}; \
         raise [meta] version"
    )]
    ConstitutionChanged {
        /// `[meta] name`.
        name: String,
        /// `[meta] version`.
        version: String,
        /// The digest of its first use.
        recorded: Digest,
        /// Where that is recorded.
        index: u64,
        /// The digest of this use.
        now: Digest,
    },
    /// A task's record before the record of its constitution.
    #[error("constitution {name} {version} must be recorded before the tasks that use it")]
    ConstitutionUnknown {
        /// `[meta] name`.
        name: String,
        /// `[meta] version`.
        version: String,
    },
    /// A deletion before the end of the task, or of another end.
    #[error("the deletion of task {0} must name the record that ended it, and its attempt")]
    NotEnded(String),
    /// Nothing but an erasure may follow.
    #[error("the ledger was sealed by record {0}: it takes erasures only")]
    Sealed(u64),
    /// A seal together with other records.
    #[error("a seal must be appended alone")]
    SealInGroup,
    /// Their outcomes could nowhere be recorded.
    #[error("every task must have ended before the ledger is sealed; open are {}", listed(.0))]
    OpenTasks(Vec<OpenIntent>),
    /// A succession behind other records.
    #[error("a succession must be the first record of its ledger")]
    LateSuccession,
    /// Two ledgers that do not follow each other.
    #[error("the ledger must be the successor of the other: {0}")]
    NotSuccessor(&'static str),
    /// No such record.
    #[error("record {index} must be below the ledger's size of {size}")]
    NoRecord {
        /// What was asked for.
        index: u64,
        /// Records in the ledger.
        size: u64,
    },
    /// The payload of that record is what others are read by.
    #[error(
        "record {0} records a constitution: its text must stay, since the tasks under it are kept and \
         replayed by it"
    )]
    Constitution(u64),
    /// A legal hold.
    #[error("task {0} is on hold: nothing of it may be erased until the hold is lifted")]
    Held(String),
    /// The erasure is in the log, and not yet carried out.
    #[error(
        "the erasure is recorded, but not carried out ({0}); it is done again when the ledger is \
         opened next, or erases next"
    )]
    NotErased(Box<LedgerError>),
    /// A hold on nothing, or one too many.
    #[error("a hold must {0}")]
    Hold(&'static str),
    /// The user's state directory is unknown.
    #[error("XDG_STATE_HOME or HOME must be an absolute path: keys are kept below it")]
    NoStateDirectory,
    /// A key given to a service has a name that cannot be a path.
    #[error(
        "{0:?} must be 1..=200 bytes of letters, digits, \"-\", \"_\", \".\" and \"/\" to name a ledger; \
         no part between slashes may be empty or begin with \".\""
    )]
    Origin(String),
    /// The random source of the operating system failed.
    #[error("no random bytes from the operating system: {0}")]
    Random(String),
    /// The output directory of an export is in use.
    #[error("{0} must be empty or missing")]
    OutputNotEmpty(PathBuf),
}

impl LedgerError {
    /// The same error once more, for another entry of a group that could not be written.
    pub(super) fn shared(&self) -> Self {
        match self {
            Self::Io { action, source } => Self::Io {
                action: action.clone(),
                source: io::Error::new(source.kind(), source.to_string()),
            },
            Self::ReadOnly(problems) => Self::ReadOnly(problems.clone()),
            Self::DiskFull => Self::DiskFull,
            Self::TooLarge { must } => Self::TooLarge { must },
            Self::Random(why) => Self::Random(why.clone()),
            Self::Poisoned(why) => Self::Poisoned(why.clone()),
            Self::Busy => Self::Busy,
            Self::Closed => Self::Closed,
            other => Self::Poisoned(other.to_string()),
        }
    }
}

/// Wraps an input/output error with what was tried.
pub(super) fn io_error(action: impl Into<String>) -> impl FnOnce(io::Error) -> LedgerError {
    let action = action.into();
    move |source| LedgerError::Io { action, source }
}
