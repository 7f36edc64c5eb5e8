//! Regular expressions, matched as whole words on the folded view.
//!
//! All patterns are one dense automaton over bytes. It is walked from the front of a window, at most
//! [`MAX_MATCH_BYTES`] steps, so that a search costs the same whatever the text is.

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind, PatternID};
use std::collections::BTreeSet;

use super::fold::{is_edge, is_reserved};

/// The longest match of a pattern, in bytes of the folded view.
pub(super) const MAX_MATCH_BYTES: usize = 256;
/// Memory of the automaton, and of building it.
const MAX_AUTOMATON_BYTES: usize = 16 * 1024 * 1024;

/// All patterns of a rule set.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    automaton: Option<(dense::DFA<Vec<u32>>, StateID)>,
    /// Rule of each pattern.
    rules: Vec<usize>,
    max_bytes: usize,
}

/// Checks one pattern alone; the error says what must hold. Returns its longest match in bytes.
pub(super) fn check(pattern: &str) -> Result<usize, String> {
    if !pattern.is_ascii() {
        return Err(
            "must be ASCII: rules match a folded view in which look-alikes are ASCII".into(),
        );
    }
    let hir = regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .build()
        .parse(pattern)
        .map_err(|error| {
            let error = error.to_string();
            let why = error
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            format!("must be a linear-time regular expression: {why}")
        })?;
    let properties = hir.properties();
    if !properties.look_set().is_empty() {
        return Err("must have no anchor or word boundary: every match is a whole word".into());
    }
    if properties.minimum_len().unwrap_or(0) == 0 {
        return Err("must not match the empty text".into());
    }
    match properties.maximum_len() {
        Some(bytes) if bytes <= MAX_MATCH_BYTES => Ok(bytes),
        _ => Err(format!(
            "must have a longest match of at most {MAX_MATCH_BYTES} bytes: bound every repetition"
        )),
    }
}

impl Patterns {
    /// Compiles patterns that passed [`check`]; `max_bytes` is their longest match.
    pub(super) fn compile(
        patterns: &[&str],
        rules: Vec<usize>,
        max_bytes: usize,
    ) -> Result<Self, String> {
        if patterns.is_empty() {
            return Ok(Self::default());
        }
        let too_large = |error: &dyn std::fmt::Display| {
            format!("must compile to an automaton of at most {MAX_AUTOMATON_BYTES} bytes: {error}")
        };
        let config = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Anchored)
            .dfa_size_limit(Some(MAX_AUTOMATON_BYTES))
            .determinize_size_limit(Some(MAX_AUTOMATON_BYTES));
        let automaton = dense::Builder::new()
            .configure(config)
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .thompson(
                thompson::Config::new()
                    .utf8(false)
                    .nfa_size_limit(Some(MAX_AUTOMATON_BYTES)),
            )
            .build_many(patterns)
            .map_err(|error| too_large(&error))?;
        let input = Input::new(&[]).anchored(Anchored::Yes);
        let start = automaton
            .start_state_forward(&input)
            .map_err(|error| too_large(&error))?;
        Ok(Self {
            automaton: Some((automaton, start)),
            rules,
            max_bytes,
        })
    }

    /// The most bytes a search looks at: the longest match and the byte after.
    pub(super) fn max_bytes(&self) -> usize {
        if self.automaton.is_some() {
            self.max_bytes + 1
        } else {
            0
        }
    }

    /// Whether a match can begin with this byte.
    pub(super) fn begins(&self, byte: u8) -> bool {
        let Some((automaton, start)) = &self.automaton else {
            return false;
        };
        !is_reserved(byte) && !automaton.is_dead_state(automaton.next_state(*start, byte))
    }

    /// Every match at the front of `window`, as (length, rule).
    pub(super) fn find(&self, window: &[u8], mut found: impl FnMut(usize, usize)) {
        let Some((automaton, start)) = &self.automaton else {
            return;
        };
        let mut state = *start;
        let end = window
            .iter()
            .take(self.max_bytes)
            .position(|byte| is_reserved(*byte))
            .unwrap_or_else(|| window.len().min(self.max_bytes));
        for length in 0..=end {
            // The automaton reports a match one step late.
            state = match window.get(length).filter(|_| length < end) {
                Some(byte) => automaton.next_state(state, *byte),
                None => automaton.next_eoi_state(state),
            };
            if automaton.is_match_state(state) && is_edge(window, length) {
                for at in 0..automaton.match_len(state) {
                    let pattern: PatternID = automaton.match_pattern(state, at);
                    found(length, self.rules[pattern.as_usize()]);
                }
            }
            if automaton.is_dead_state(state) || automaton.is_quit_state(state) {
                return;
            }
        }
    }

    /// The rule of a pattern that can match somewhere in a text of which each place may be any of the
    /// given bytes. Exact: it walks sets of states.
    pub(super) fn match_in(&self, template: &[Vec<u8>]) -> Option<usize> {
        let (automaton, start) = self.automaton.as_ref()?;
        for from in 0..template.len() {
            let mut states = BTreeSet::from([*start]);
            for place in &template[from..] {
                let mut next = BTreeSet::new();
                for (state, byte) in states
                    .iter()
                    .flat_map(|s| place.iter().map(move |b| (s, b)))
                {
                    next.insert(automaton.next_state(*state, *byte));
                }
                for state in &next {
                    let state = automaton.next_eoi_state(*state);
                    if automaton.is_match_state(state) {
                        return Some(self.rules[automaton.match_pattern(state, 0).as_usize()]);
                    }
                }
                next.retain(|state| !automaton.is_dead_state(*state));
                states = next;
            }
        }
        None
    }
}
