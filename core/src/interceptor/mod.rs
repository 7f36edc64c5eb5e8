//! The interceptor: a deterministic filter between a runtime and whoever reads.
//!
//! Text is matched on a folded view (invisible characters dropped; width, digits, dashes, spaces and
//! look-alikes folded to ASCII) with the offsets back to the raw bytes. What no rule covers passes
//! through as it was.
//!
//! ```
//! use axiom_hive_core::constitution::{InterceptorPolicy, Policy};
//! use axiom_hive_core::interceptor::{HashKey, Interceptor, RuleSet};
//!
//! let rules = RuleSet::compile(&Policy::default(), &InterceptorPolicy::default(), 1).unwrap();
//! let mut out = String::new();
//! let mut interceptor = Interceptor::new(&rules, HashKey([0; 32]));
//! // The address comes in two chunks, with a zero-width space and a full-width sign in it.
//! interceptor.push("write to a\u{200b}nn".as_bytes(), &mut out);
//! interceptor.push("＠example.org today".as_bytes(), &mut out);
//! let report = interceptor.finish(&mut out);
//! assert_eq!(out, "write to [REDACTED:email] today");
//! assert_eq!(report.findings.spans, 1);
//! ```
//!
//! # What holds
//!
//! * **Chunks do not matter**: output, spans and counts are the same for every way of cutting the
//!   input. What is decided at a position depends on what came before and on a window of bounded
//!   length, and is decided when the window is there.
//! * **Bounded**: no more than [`RuleSet::hold_back_bytes`] raw bytes are held back.
//! * **Idempotent**: filtering filtered text changes nothing. Findings begin and end at the edge of a
//!   word; the edge of a finding counts as one; what replaces a finding stands between brackets, which
//!   are part of no match.
//! * **Overlaps**: the earliest start wins, then the longest, then the lowest rule id; what begins
//!   later inside a finding and reaches beyond it only extends what is swallowed. `withhold` overrides.
//! * **Fails closed**: a text that costs more steps than its length allows is withheld.
//!
//! There is no model inside: `allow_harmful_content = false` enforces word and pattern lists.

mod detect;
mod fold;
mod operator;
mod patterns;
mod rules;
mod scan;
mod sticky;
mod supervised;
mod terms;
mod view;

pub use rules::{CATALOGUES, LATEST_CATALOGUE, RuleError, RuleInfo, RuleSet};
pub use scan::{HashKey, Interceptor, MAX_SPANS, Report, Span, Verdict, intercept};
pub use supervised::{Filtered, Supervised, Withheld};
