//! Word lists, matched as whole words on the folded view without regard to ASCII case.

use super::fold::{OTHER_LETTER, OTHER_SYMBOL, fold, is_edge, is_reserved};

/// One term, sorted by its folded, lower-case bytes.
#[derive(Debug)]
struct Term {
    folded: Vec<u8>,
    /// For a term beyond ASCII, whose folded bytes stand for many characters: its own characters.
    exact: Option<Vec<char>>,
    rule: usize,
}

/// All terms of a rule set.
#[derive(Debug, Default)]
pub(super) struct Terms {
    sorted: Vec<Term>,
    max_bytes: usize,
}

/// A character as terms and hashes see it: the folded ASCII character in lower case, or itself in
/// lower case; `None` for one that is dropped.
fn normal(c: char) -> Option<char> {
    match fold_any(c)? {
        OTHER_LETTER | OTHER_SYMBOL => c.to_lowercase().next(),
        byte => Some(char::from(byte.to_ascii_lowercase())),
    }
}

fn fold_any(c: char) -> Option<u8> {
    u8::try_from(c)
        .ok()
        .filter(u8::is_ascii)
        .or_else(|| fold(c))
}

impl Terms {
    /// Adds a term of rule `rule`; the error says what must hold.
    pub(super) fn add(&mut self, term: &str, rule: usize) -> Result<(), &'static str> {
        let exact: Vec<char> = term.chars().filter_map(normal).collect();
        let folded: Vec<u8> = term
            .chars()
            .filter_map(fold_any)
            .map(|byte| byte.to_ascii_lowercase())
            .collect();
        if folded.is_empty() {
            return Err("must have a visible character");
        }
        if folded.iter().any(|byte| is_reserved(*byte)) {
            return Err("must not contain \"[\", \"]\" or \"*\", of which placeholders are made");
        }
        if folded[0].is_ascii_whitespace() || folded[folded.len() - 1].is_ascii_whitespace() {
            return Err("must not begin or end with white space");
        }
        self.max_bytes = self.max_bytes.max(folded.len());
        let is_plain = folded.iter().all(u8::is_ascii);
        self.sorted.push(Term {
            folded,
            exact: (!is_plain).then_some(exact),
            rule,
        });
        Ok(())
    }

    /// To be called after the last term.
    pub(super) fn sort(&mut self) {
        self.sorted
            .sort_by(|a, b| (&a.folded, a.rule).cmp(&(&b.folded, b.rule)));
    }

    /// The most bytes a search looks at: the longest term and the byte after.
    pub(super) fn max_bytes(&self) -> usize {
        if self.sorted.is_empty() {
            0
        } else {
            self.max_bytes + 1
        }
    }

    /// Whether a term begins with this byte.
    pub(super) fn begins(&self, byte: u8) -> bool {
        let byte = byte.to_ascii_lowercase();
        let at = self.sorted.partition_point(|term| term.folded[0] < byte);
        self.sorted
            .get(at)
            .is_some_and(|term| term.folded[0] == byte)
    }

    /// Every term at the front of `window`, as (length, rule). `raw` gives the raw text of the first
    /// so many folded bytes.
    pub(super) fn find<'t>(
        &self,
        window: &[u8],
        raw: impl Fn(usize) -> &'t str,
        mut found: impl FnMut(usize, usize),
    ) {
        let mut range = &self.sorted[..];
        for (at, byte) in window.iter().take(self.max_bytes).enumerate() {
            let byte = byte.to_ascii_lowercase();
            // Terms of this range share the `at` bytes before; shorter ones sort first.
            let from = range.partition_point(|t| t.folded.get(at).is_none_or(|b| *b < byte));
            let to = range.partition_point(|t| t.folded.get(at).is_none_or(|b| *b <= byte));
            range = &range[from..to];
            if range.is_empty() {
                return;
            }
            let length = at + 1;
            if !is_edge(window, length) {
                continue;
            }
            for term in range.iter().take_while(|term| term.folded.len() == length) {
                let is_same = |exact: &Vec<char>| {
                    raw(length)
                        .chars()
                        .filter_map(normal)
                        .eq(exact.iter().copied())
                };
                if term.exact.as_ref().is_none_or(is_same) {
                    found(length, term.rule);
                }
            }
        }
    }
}

/// The visible characters of a raw value, folded where they stand for ASCII.
pub(super) fn visible(raw: &str) -> impl Iterator<Item = char> + '_ {
    raw.chars().filter_map(|c| match fold_any(c)? {
        OTHER_LETTER | OTHER_SYMBOL => Some(c),
        byte => Some(char::from(byte)),
    })
}

impl Terms {
    /// Every term as (rule, folded bytes).
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.sorted
            .iter()
            .map(|term| (term.rule, term.folded.as_slice()))
    }
}
