//! A filtered text, and the proof in the type that it may be shown.

use super::scan::{Report, Verdict};
use crate::record::Findings;

/// A filtered text with its report. For a verdict other than [`Verdict::Passed`] the text is what
/// stood before the deciding place, for `scan` and for tests; it cannot become [`Supervised`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filtered {
    /// The text.
    pub text: String,
    /// What was found.
    pub report: Report,
}

/// A text that passed the interceptor. Only [`Filtered::into_supervised`] makes one, only from the
/// verdict [`Verdict::Passed`]; nobody else can:
///
/// ```compile_fail
/// use axiom_hive_core::{interceptor::Supervised, record::Findings};
/// let text = Supervised { text: String::new(), findings: Findings::default() };
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Supervised {
    text: String,
    findings: Findings,
}

/// The text may not be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text was withheld")]
pub struct Withheld(pub Verdict);

impl Filtered {
    /// The text that may be shown, if it may.
    pub fn into_supervised(self) -> Result<Supervised, Withheld> {
        match self.report.verdict {
            Verdict::Passed => Ok(Supervised {
                text: self.text,
                findings: self.report.findings,
            }),
            verdict => Err(Withheld(verdict)),
        }
    }
}

impl Supervised {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What was taken out of it.
    #[must_use]
    pub fn findings(&self) -> Findings {
        self.findings
    }
}
