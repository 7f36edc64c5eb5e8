//! The only text that may reach a user.

use crate::interceptor::Supervised;
use crate::record::{AnswerRecord, AnswerSource, Label, Payload, Record};

/// A text whose terminal record is durable in the ledger. Only the state machine makes one: from a
/// [`Supervised`] text and its acknowledged record, or from an earlier record of the same task and
/// the payload that the record commits to.
#[derive(Debug, PartialEq, Eq)]
pub struct Released {
    text: String,
    source: AnswerSource,
}

/// Why a stored record does not release its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// The ledger answered with a record of another task.
    #[error("the ledger's record must belong to this task")]
    OtherTask,
    /// The ledger answered with a record that ends no task.
    #[error("the ledger's record must be a terminal record")]
    NotTerminal,
    /// The record has an answer whose text was erased or is lost.
    #[error("the recorded answer is no longer kept")]
    NoText,
    /// The text is not the one that the record commits to.
    #[error("the stored answer must match the record's commitment")]
    Differs,
}

impl Released {
    pub(super) fn own(text: &Supervised, answer: &AnswerRecord) -> Self {
        Self {
            text: text.text().to_owned(),
            source: answer.source,
        }
    }

    /// From the stored terminal record of task `uid`; `None` when that outcome shows no text.
    pub(super) fn stored(
        record: &Record,
        uid: &str,
        payload: Option<&Payload>,
    ) -> Result<Option<Self>, ReleaseError> {
        let outcome = record.outcome().filter(|_| record.is_terminal());
        let outcome = outcome.ok_or(ReleaseError::NotTerminal)?;
        if outcome.task.uid != uid {
            return Err(ReleaseError::OtherTask);
        }
        let Some(answer) = &outcome.decided.answer else {
            return Ok(None);
        };
        let payload = payload.ok_or(ReleaseError::NoText)?;
        if payload.label != Label::ANSWER || payload.commitment() != answer.text {
            return Err(ReleaseError::Differs);
        }
        let text = String::from_utf8(payload.bytes.clone()).map_err(|_| ReleaseError::Differs)?;
        Ok(Some(Self {
            text,
            source: answer.source,
        }))
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where it comes from; a fallback must be shown as one.
    #[must_use]
    pub fn source(&self) -> AnswerSource {
        self.source
    }
}
