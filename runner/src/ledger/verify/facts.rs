//! What one record says that concerns others: small, so that many can wait for their turn.

use axiom_hive_core::constitution::{LedgerPolicy, Outline};
use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{
    Body, Commitment, ConstitutionRef, Outcome, PayloadKind, PayloadView, Reason, Record, TaskRef,
};

use super::super::section::StoredPayload;

/// Of one record.
pub(super) struct Facts {
    pub index: u64,
    /// Of its frame in the file.
    pub offset: u64,
    pub event: Event,
    /// Its notes are those of the batch from where the last record's end up to here.
    pub notes_end: usize,
}

/// What happened.
pub(super) enum Event {
    /// The first use of a constitution; `keeps` is `None` when its text is not there.
    Constitution {
        reference: ConstitutionRef,
        keeps: Option<LedgerPolicy>,
    },
    /// A step of a task.
    Task {
        task: TaskRef,
        step: Step,
        used: ConstitutionRef,
        /// The prompt was refused as empty or too long, and so may be longer than a payload may be.
        is_prompt_excused: bool,
    },
    /// A task that had ended was taken away.
    Deleted {
        task: TaskRef,
        /// The record that is said to have ended it.
        ended_index: u64,
    },
    Erasure,
    Sealed,
    Succession,
}

/// What a task's record fills: a slot of its attempt, or the one slot for all ends of the task.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Intent,
    Attempt,
    Terminal,
}

/// What a record and its frame say of one payload.
pub(super) struct Note {
    pub commitment: Commitment,
    /// The record commits to it.
    pub claimed: Option<PayloadKind>,
    pub stored: Stored,
    /// The record is an erasure that lists it.
    pub is_erased: bool,
}

/// Whether a payload is in a record's frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    No,
    There,
    /// It was there, and its bytes are zero.
    Zeroed,
}

/// The event of a record; what concerns payloads goes to `notes`. The error says what is wrong with
/// the record or its payloads.
pub(super) fn read(
    record: &[u8],
    payloads: &[StoredPayload<'_>],
    notes: &mut Vec<Note>,
) -> Result<Event, String> {
    let record = Record::from_canonical(record).map_err(|error| error.to_string())?;
    let first = notes.len();
    notes.extend(record.payloads().into_iter().map(claim));
    for payload in payloads {
        let commitment = payload.commitment;
        let mut claims = notes[first..].iter_mut();
        let note = claims.find(|note| note.commitment == commitment);
        let note =
            note.ok_or_else(|| format!("the record does not commit to its payload {commitment}"))?;
        note.stored = payload.encoded.map_or(Stored::Zeroed, |_| Stored::There);
    }
    let kept = payloads.iter().filter_map(|payload| payload.encoded);
    let mut last = None;
    for encoded in kept {
        last = Some(PayloadView::decode(encoded).map_err(|error| error.to_string())?);
    }
    Ok(match record.body {
        Body::Constitution { constitution, .. } => Event::Constitution {
            keeps: keeps(&constitution, last)?,
            reference: constitution,
        },
        Body::Deleted {
            task, ended_index, ..
        } => Event::Deleted { task, ended_index },
        Body::Sealed { .. } => Event::Sealed,
        Body::Succession { .. } => Event::Succession,
        Body::Erasure { commitments, .. } => {
            notes.extend(commitments.into_iter().map(erasure));
            Event::Erasure
        }
        Body::Intent {
            task, constitution, ..
        } => Event::Task {
            task,
            step: Step::Intent,
            used: constitution,
            is_prompt_excused: false,
        },
        Body::Attempt(outcome) => end(outcome, Step::Attempt),
        Body::Answered(outcome)
        | Body::Withheld(outcome)
        | Body::Refused(outcome)
        | Body::Failed(outcome)
        | Body::Cancelled(outcome) => end(outcome, Step::Terminal),
    })
}

fn claim((kind, commitment): (PayloadKind, Commitment)) -> Note {
    Note {
        commitment,
        claimed: Some(kind),
        stored: Stored::No,
        is_erased: false,
    }
}

fn erasure(commitment: Commitment) -> Note {
    Note {
        commitment,
        claimed: None,
        stored: Stored::No,
        is_erased: true,
    }
}

fn end(outcome: Outcome, step: Step) -> Event {
    let reason = outcome.decided.reason;
    Event::Task {
        task: outcome.task,
        step,
        used: outcome.decided.constitution,
        is_prompt_excused: matches!(reason, Reason::PromptEmpty | Reason::PromptTooLong),
    }
}

/// What a constitution has kept; its text must be that of the one that the record names.
fn keeps(
    named: &ConstitutionRef,
    text: Option<PayloadView<'_>>,
) -> Result<Option<LedgerPolicy>, String> {
    let Some(PayloadView { bytes: text, .. }) = text else {
        return Ok(None);
    };
    let outline = Outline::of(text).filter(|Outline { meta, .. }| {
        meta.name == named.name
            && meta.version == named.version
            && meta.catalogue == named.catalogue
            && Digest::of(text) == named.digest
    });
    let wrong = || "the text of the constitution is not that of the one that is named".to_owned();
    outline
        .map(|outline| Some(outline.ledger))
        .ok_or_else(wrong)
}
