//! The streaming scan.
//!
//! The scan decides one position of the folded view after another. What it decides at a position is a
//! function of the positions before and of the next `window_bytes` bytes, and it decides only when
//! those are there, or at the end. Chunks therefore cannot matter, and no more than the window is held
//! back.

use super::detect::Kind;
use super::fold::is_word;
use super::operator::replacement;
use super::rules::{PATTERNS_BIT, RuleSet, TERMS_BIT};
use super::sticky::Swallow;
use super::supervised::Filtered;
use super::view::View;
use crate::constitution::Action;
use crate::record::Findings;
use unicode_segmentation::UnicodeSegmentation as _;

/// The key of the `hash` action: random, one for each task.
#[derive(Clone)]
pub struct HashKey(pub [u8; 32]);

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// Whether a text may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may, filtered.
    Passed,
    /// A rule with action `withhold` matched; an index into [`RuleSet::rules`].
    Withheld {
        /// The rule.
        rule: usize,
    },
    /// It cost more steps than the budget allows.
    BudgetSpent,
}

/// One finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// An index into [`RuleSet::rules`].
    pub rule: usize,
    /// First byte in the input.
    pub start: u64,
    /// The byte after the last one.
    pub end: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether the text may be shown.
    pub verdict: Verdict,
    /// All findings, counted.
    pub findings: Findings,
    /// The first [`MAX_SPANS`] of them.
    pub spans: Vec<Span>,
}

/// Spans that a report lists; more are only counted.
pub const MAX_SPANS: usize = 10_000;
/// Bytes taken in at once, so that memory does not grow with the chunk.
const MAX_STEP_BYTES: usize = 16 * 1024;
/// Removed text is cut here before its words are counted.
const MAX_REMOVED_BYTES: usize = 64 * 1024;
/// Steps that a text may cost beside those of its bytes.
const BASE_STEPS: u64 = 4096;
/// An e-mail address has its `@` at most so far from its front.
const MAX_BEFORE_AT: usize = 64;

/// A finding that is being swallowed.
#[derive(Debug)]
struct Open {
    rule: usize,
    start: u64,
    /// Swallowed text whose words are not yet counted.
    removed: String,
}

/// A streaming filter for one text.
#[derive(Debug)]
pub struct Interceptor<'r> {
    rules: &'r RuleSet,
    key: HashKey,
    view: View,
    /// Next position of the folded view to decide.
    at: usize,
    /// Whether the character before `at` lets a word begin.
    is_boundary: bool,
    open: Option<Open>,
    /// Positions before this one belong to the open finding.
    swallow_to: usize,
    /// Sticky kinds in progress, each with the position from which it swallows.
    sticky: Vec<(usize, Swallow)>,
    /// Raw offset up to which text was written or swallowed.
    written: usize,
    /// Where the next `@` is, if it was looked for at or before `at`.
    next_at: Option<usize>,
    steps: u64,
    step_budget: u64,
    report: Report,
}

/// What starts at one position.
#[derive(Default)]
struct Candidate {
    /// Longest, then lowest rule.
    best: Option<(usize, usize)>,
    withhold: Option<usize>,
    sticky: Vec<(usize, Swallow)>,
}

impl<'r> Interceptor<'r> {
    /// A filter at the start of a text.
    #[must_use]
    pub fn new(rules: &'r RuleSet, key: HashKey) -> Self {
        Self {
            rules,
            key,
            view: View::default(),
            at: 0,
            is_boundary: true,
            open: None,
            swallow_to: 0,
            sticky: Vec::new(),
            written: 0,
            next_at: None,
            steps: 0,
            step_budget: BASE_STEPS,
            report: Report {
                verdict: Verdict::Passed,
                findings: Findings::default(),
                spans: Vec::new(),
            },
        }
    }

    /// Takes a chunk; appends to `out` what is decided. What was appended never changes.
    pub fn push(&mut self, chunk: &[u8], out: &mut String) {
        for part in chunk.chunks(MAX_STEP_BYTES) {
            if self.report.verdict != Verdict::Passed {
                return;
            }
            self.step_budget += part.len() as u64 * self.rules.steps_per_byte;
            self.view.push(part);
            self.scan(out, false);
        }
    }

    /// Raw bytes that came in and are neither written nor swallowed; at most
    /// [`RuleSet::hold_back_bytes`] after a push.
    #[must_use]
    pub fn held_back_bytes(&self) -> usize {
        self.view.held_bytes() - self.written
    }

    /// Ends the text; appends the rest to `out`.
    pub fn finish(mut self, out: &mut String) -> Report {
        if self.report.verdict == Verdict::Passed {
            self.view.finish();
            self.scan(out, true);
        }
        if self.report.verdict == Verdict::Passed {
            self.close();
            out.push_str(self.view.raw(self.written, self.view.raw_len()));
        }
        self.report.findings.invisible_cut = self.view.cut();
        self.report
    }

    fn scan(&mut self, out: &mut String, is_end: bool) {
        let length = self.view.folded().len();
        let window = self.rules.window_bytes;
        let limit = if is_end {
            length
        } else {
            (length + 1).saturating_sub(window)
        };
        self.next_at = None;
        while self.at < limit && self.report.verdict == Verdict::Passed {
            if self.open.is_some() {
                self.step_inside(out);
            } else {
                self.step_outside(limit, out);
            }
        }
        self.flush(out);
    }

    /// One position of an open finding: it may end here, or a later finding may extend it.
    fn step_inside(&mut self, out: &mut String) {
        let byte = self.view.folded()[self.at];
        let at = self.at;
        self.sticky
            .retain_mut(|(from, swallow)| at < *from || swallow.accepts(byte));
        if self.sticky.iter().any(|(from, _)| at >= *from) {
            self.swallow_to = self.swallow_to.max(at + 1);
        }
        if at >= self.swallow_to {
            self.close();
            return;
        }
        if self.is_boundary || !is_word(byte) {
            let bits = self.bits();
            if bits != 0 {
                self.decide(bits, out);
            }
        }
        self.is_boundary = !is_word(byte);
        self.at += 1;
    }

    /// Goes to the next position where a finding can begin, and decides it.
    fn step_outside(&mut self, limit: usize, out: &mut String) {
        while self.at < limit {
            let byte = self.view.folded()[self.at];
            let is_part = is_word(byte);
            if self.is_boundary || !is_part {
                let bits = self.bits();
                if bits != 0 {
                    self.decide(bits, out);
                    self.is_boundary = !is_part;
                    self.at += 1;
                    return;
                }
            }
            self.is_boundary = !is_part;
            self.at += 1;
            if is_part {
                // No finding begins inside a word.
                let rest = &self.view.folded()[self.at..limit];
                self.at += rest.iter().take_while(|byte| is_word(**byte)).count();
            }
        }
    }

    /// What may begin here, by the first bytes alone.
    fn bits(&mut self) -> u32 {
        let leads = &self.rules.leads;
        let window = &self.view.folded()[self.at..];
        let mut bits = u32::MAX;
        for (table, byte) in leads.iter().zip(window) {
            bits &= table[usize::from(*byte)];
        }
        let email = self.rules.email_bit;
        if bits & email != 0 && !self.is_at_sign_near() {
            bits &= !email;
        }
        bits
    }

    /// Looks for findings that begin here, and opens or extends.
    fn decide(&mut self, bits: u32, out: &mut String) {
        let candidate = self.candidate(bits);
        if self.steps > self.step_budget {
            self.report.verdict = Verdict::BudgetSpent;
            self.write_before(out);
            return;
        }
        if let Some(rule) = candidate.withhold {
            self.report.verdict = Verdict::Withheld { rule };
            self.write_before(out);
            self.report.findings.spans += 1;
            return;
        }
        let Some((length, rule)) = candidate.best else {
            return;
        };
        if self.open.is_none() {
            self.begin(rule, length, out);
        }
        self.swallow_to = self.swallow_to.max(self.at + length);
        self.sticky.extend(candidate.sticky);
    }

    fn candidate(&mut self, bits: u32) -> Candidate {
        let mut candidate = Candidate::default();
        let rules = self.rules;
        let window = &self.view.folded()[self.at..];
        let window = &window[..window.len().min(rules.window_bytes)];
        let mut take = |length: usize, rule: usize| {
            if rules.infos[rule].action == Action::Withhold {
                candidate.withhold = Some(candidate.withhold.map_or(rule, |r| r.min(rule)));
            }
            let is_better = candidate
                .best
                .is_none_or(|(best, by)| length > best || (length == best && rule < by));
            if is_better {
                candidate.best = Some((length, rule));
            }
        };
        let mut rest = bits & !(TERMS_BIT | PATTERNS_BIT);
        while rest != 0 {
            let (rule, detector) = rules.detectors[rest.trailing_zeros() as usize];
            rest &= rest - 1;
            self.steps += detector.max_bytes as u64;
            match detector.kind {
                Kind::Bounded(find) => {
                    if let Some(length) = find(window) {
                        take(length, rule);
                    }
                }
                Kind::Sticky(kind, prefix) => {
                    if let Some(length) = prefix(window) {
                        take(length, rule);
                        candidate
                            .sticky
                            .push((self.at + length, Swallow::new(kind)));
                    }
                }
            }
        }
        if bits & TERMS_BIT != 0 {
            self.steps += rules.terms.max_bytes() as u64;
            let (view, at) = (&self.view, self.at);
            rules.terms.find(
                window,
                |n| view.raw(view.start(at), view.end(at + n - 1)),
                &mut take,
            );
        }
        if bits & PATTERNS_BIT != 0 {
            self.steps += rules.patterns.max_bytes() as u64;
            rules.patterns.find(window, &mut take);
        }
        candidate
    }

    /// Most words have no `@` near: one search for it saves a look at each of them.
    fn is_at_sign_near(&mut self) -> bool {
        let next = match self.next_at {
            Some(next) if next >= self.at => next,
            _ => {
                let rest = &self.view.folded()[self.at..];
                let next = self.at + memchr::memchr(b'@', rest).unwrap_or(rest.len());
                self.next_at = Some(next);
                next
            }
        };
        next - self.at <= MAX_BEFORE_AT
    }

    /// Writes what stands before this position, unless it is being swallowed.
    fn write_before(&mut self, out: &mut String) {
        if self.open.is_none() {
            let start = self.view.start(self.at);
            out.push_str(self.view.raw(self.written, start));
            self.written = start;
        }
    }

    fn begin(&mut self, rule: usize, length: usize, out: &mut String) {
        self.write_before(out);
        let end = self.view.end(self.at + length - 1);
        let info = &self.rules.infos[rule];
        let raw = self.view.raw(self.written, end);
        if let Some(text) = replacement(info.action, &info.id, &self.key, raw) {
            out.push_str(&text);
        }
        let start = self.view.input_position(self.written);
        self.open = Some(Open {
            rule,
            start,
            removed: String::new(),
        });
    }

    /// Ends the open finding before this position.
    fn close(&mut self) {
        self.swallow();
        let Some(open) = self.open.take() else {
            return;
        };
        let end = self.view.input_position(self.written);
        let findings = &mut self.report.findings;
        findings.spans += 1;
        findings.bytes += end.saturating_sub(open.start);
        findings.words += open.removed.unicode_words().count() as u64;
        if self.report.spans.len() < MAX_SPANS {
            self.report.spans.push(Span {
                rule: open.rule,
                start: open.start,
                end,
            });
        }
        self.is_boundary = true;
        self.sticky.clear();
    }

    /// Counts what the open finding has swallowed so far. Invisible characters after the last one
    /// belong to what follows.
    fn swallow(&mut self) {
        let Some(open) = &mut self.open else {
            return;
        };
        if self.at == 0 {
            return;
        }
        let end = self.view.end(self.at - 1).max(self.written);
        for c in self.view.raw(self.written, end).chars() {
            open.removed.push(c);
            // Cut by position in the removed text, so that chunks do not matter.
            if open.removed.len() >= MAX_REMOVED_BYTES {
                self.report.findings.words += open.removed.unicode_words().count() as u64;
                open.removed.clear();
            }
        }
        self.written = end;
    }

    /// Writes what is decided and forgets it.
    fn flush(&mut self, out: &mut String) {
        if self.report.verdict != Verdict::Passed {
            return;
        }
        if self.open.is_some() {
            self.swallow();
        } else {
            self.write_before(out);
        }
        // The last decided character stays: the end of a finding is looked up from it.
        let keep = self.at.saturating_sub(1);
        let raw = self.view.start(keep).min(self.written);
        self.view.forget(keep, raw);
        self.at -= keep;
        self.written -= raw;
        self.swallow_to = self.swallow_to.saturating_sub(keep);
        for (from, _) in &mut self.sticky {
            *from = from.saturating_sub(keep);
        }
        self.next_at = None;
    }
}

/// Filters a whole text.
#[must_use]
pub fn intercept(rules: &RuleSet, key: &HashKey, input: &[u8]) -> Filtered {
    let mut text = String::with_capacity(input.len());
    let mut interceptor = Interceptor::new(rules, key.clone());
    interceptor.push(input, &mut text);
    let report = interceptor.finish(&mut text);
    Filtered { text, report }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{BASE_STEPS, HashKey, Verdict, intercept};
    use crate::constitution::{InterceptorPolicy, Policy};
    use crate::interceptor::RuleSet;

    /// The budget covers what any text costs; a smaller one shows that it fails closed.
    #[test]
    fn a_spent_budget_withholds_the_text() {
        let rules = RuleSet::compile(&Policy::default(), &InterceptorPolicy::default(), 1).unwrap();
        let text = "1-2 ".repeat(BASE_STEPS as usize);
        let whole = intercept(&rules, &HashKey([0; 32]), text.as_bytes());
        assert_eq!(whole.report.verdict, Verdict::Passed);
        let rules = rules.on_a_fixed_budget();
        let spent = intercept(&rules, &HashKey([0; 32]), text.as_bytes());
        assert_eq!(spent.report.verdict, Verdict::BudgetSpent);
        assert!(whole.text.starts_with(&spent.text) && spent.text.len() < whole.text.len());
        assert!(spent.into_supervised().is_err());
    }
}
