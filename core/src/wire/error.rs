//! The one shape of a refusal.

use serde::{Deserialize, Serialize};

/// The body of every reply with a status of 400 and above.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// For programs; never renamed.
    pub code: ErrorCode,
    /// For people: what must hold, in one sentence of at most 1024 bytes.
    pub message: String,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErrorCode {
    /// 400: no JSON, not canonical, out of a bound.
    Malformed,
    /// 401: no identity, or one that does not hold.
    Unauthenticated,
    /// 403: known, and not allowed to do this.
    Forbidden,
    /// 404: nothing there.
    NotFound,
    /// 409: this name and version of a constitution was recorded with another digest.
    ConstitutionChanged,
    /// 409: the record's constitution must be recorded first.
    ConstitutionUnknown,
    /// 410: the payload was kept, and is erased.
    Gone,
    /// 411: a body must say its length before it comes.
    LengthRequired,
    /// 413: over a limit.
    TooLarge,
    /// 429: too many requests of this identity; `Retry-After` says when.
    RateLimited,
    /// 500: a bug or a damaged file; the message says no more than that.
    Internal,
    /// 503: too much at once, starting, or about to stop; `Retry-After` says when.
    Unavailable,
    /// 503: the ledger is read-only until a person acts.
    ReadOnly,
}

impl ErrorCode {
    /// The HTTP status that goes with it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::ConstitutionChanged | Self::ConstitutionUnknown => 409,
            Self::Gone => 410,
            Self::LengthRequired => 411,
            Self::TooLarge => 413,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Unavailable | Self::ReadOnly => 503,
        }
    }

    /// Whether the same request may succeed later. Appends are idempotent, so it may be sent again.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self.status(), 429 | 500 | 503)
    }
}
