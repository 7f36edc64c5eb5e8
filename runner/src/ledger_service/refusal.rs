//! Refusals as replies.

use std::fmt::Display;

use axiom_hive_core::wire::{ErrorBody, ErrorCode};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::ledger::LedgerError;

/// Upper bound of a message, in bytes.
const MAX_MESSAGE_BYTES: usize = 1024;
/// When to ask again after a 503, unless something better is known.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Why a request gets no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: String,
    retry_after_seconds: Option<u64>,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, message: impl Display) -> Self {
        let mut message = message.to_string();
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        let retry = matches!(code.status(), 429 | 503).then_some(RETRY_AFTER_SECONDS);
        Self {
            code,
            message,
            retry_after_seconds: retry,
        }
    }

    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds.max(1));
        self
    }

    pub(super) fn malformed(message: impl Display) -> Self {
        Self::new(ErrorCode::Malformed, message)
    }

    pub(super) fn not_found(message: impl Display) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    pub(super) fn forbidden(message: impl Display) -> Self {
        Self::new(ErrorCode::Forbidden, message)
    }

    pub(super) fn unavailable(message: impl Display) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        let code = match &error {
            LedgerError::Record(_) | LedgerError::Unclaimed { .. } => ErrorCode::Malformed,
            LedgerError::TooLarge { .. } => ErrorCode::TooLarge,
            LedgerError::ConstitutionChanged { .. } => ErrorCode::ConstitutionChanged,
            LedgerError::ConstitutionUnknown { .. } => ErrorCode::ConstitutionUnknown,
            LedgerError::NotEnded(_) => ErrorCode::Forbidden,
            LedgerError::NoRecord { .. } => ErrorCode::NotFound,
            LedgerError::ReadOnly(_) | LedgerError::Sealed(_) | LedgerError::DiskFull => {
                tracing::error!(%error, "an append was refused");
                let message = "the ledger is read-only until a person acts";
                return Self::new(ErrorCode::ReadOnly, message);
            }
            LedgerError::Poisoned(_) => {
                tracing::error!(%error, "the writer stopped");
                return Self::unavailable("the ledger is about to be opened again");
            }
            _ => {
                // Paths and offsets are for the log, not for whoever asks.
                tracing::error!(%error, "the ledger failed");
                return Self::new(ErrorCode::Internal, "the ledger could not be read");
            }
        };
        Self::new(code, error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let code = self.code;
        let body = ErrorBody {
            code,
            message: self.message,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if code == ErrorCode::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For the metrics.
        response.extensions_mut().insert(code);
        response
    }
}
