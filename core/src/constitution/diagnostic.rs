//! What is wrong with a constitution, and where.

use std::fmt;

use serde::Serialize;

/// Upper bound of the errors that are reported at once.
pub const MAX_DIAGNOSTICS: usize = 100;

/// Characters of a quoted key or value that a message shows.
const MAX_QUOTED_CHARS: usize = 64;

/// One rule of the model that does not hold, named by its path.
///
/// Paths are those of the TOML file: `supervisor.max_branches`, `interceptor.patterns[2].examples[0]`;
/// empty for the whole document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{path}{}{message}", if path.is_empty() { "" } else { ": " })]
pub struct Violation {
    /// Where, as a path of keys and zero-based indices.
    pub path: String,
    /// What must hold.
    pub message: String,
}

/// One error of a TOML file, with its place in the text.
///
/// Its text form is `file:line:column: path: what must hold`, one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{file}:{line}:{column}: {path}{}{message}", if path.is_empty() { "" } else { ": " })]
pub struct Diagnostic {
    /// The file's name, as the caller gave it.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters (Unicode scalar values).
    pub column: usize,
    /// The path of the key; empty for errors of syntax and of the whole file.
    pub path: String,
    /// What must hold.
    pub message: String,
}

/// Every error of a file, sorted by position: at least one, at most [`MAX_DIAGNOSTICS`], the last of
/// which then counts those that are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConstitutionErrors(pub Vec<Diagnostic>);

impl fmt::Display for ConstitutionErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConstitutionErrors {}

/// An error at a byte offset, before line and column are known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Located {
    pub(super) offset: usize,
    pub(super) path: String,
    pub(super) message: String,
}

impl ConstitutionErrors {
    /// Sorts, cuts to the bound and finds line and column of each.
    pub(super) fn locate(file: &str, text: &str, mut found: Vec<Located>) -> Self {
        found.sort();
        found.dedup();
        if found.len() > MAX_DIAGNOSTICS {
            let left_out = found.len() - (MAX_DIAGNOSTICS - 1);
            found.truncate(MAX_DIAGNOSTICS);
            if let Some(last) = found.last_mut() {
                last.path.clear();
                last.message = format!("and {left_out} more errors from here on");
            }
        }
        // One pass over the text: the offsets only grow.
        let (mut line, mut line_start, mut scanned) = (1, 0, 0);
        let diagnostics = found.into_iter().map(|error| {
            let offset = text.floor_char_boundary(error.offset);
            for (index, _) in text[scanned..offset].match_indices('\n') {
                line += 1;
                line_start = scanned + index + 1;
            }
            scanned = offset;
            Diagnostic {
                file: file.to_owned(),
                line,
                column: text[line_start..offset].chars().count() + 1,
                path: error.path,
                message: error.message,
            }
        });
        Self(diagnostics.collect())
    }
}

/// Quotes a text of the file for a message: at most 64 characters, control characters escaped.
pub(super) fn quoted(text: &str) -> String {
    let cut = text.chars().take(MAX_QUOTED_CHARS).collect::<String>();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", cut.escape_debug())
}

/// A key as part of a path: bare if TOML lets it be, otherwise quoted.
pub(super) fn path_key(key: &str) -> String {
    let is_bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !key.is_empty() && key.len() <= MAX_QUOTED_CHARS && key.bytes().all(is_bare) {
        key.to_owned()
    } else {
        quoted(key)
    }
}

/// Whether `path` is `ancestor` or lies below it.
pub(super) fn is_at_or_below(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The path one step up; `None` for the document itself.
pub(super) fn parent(path: &str) -> Option<&str> {
    if path.is_empty() {
        return None;
    }
    Some(path.rfind(['.', '[']).map_or("", |end| &path[..end]))
}

/// The candidate within two edits of `text`, the nearest first; `None` if none is that near.
pub(super) fn nearest<'c>(text: &str, candidates: &[&'c str]) -> Option<&'c str> {
    candidates
        .iter()
        .filter(|candidate| candidate.len().abs_diff(text.len()) <= 2)
        .map(|candidate| {
            (
                edit_distance(text.as_bytes(), candidate.as_bytes()),
                *candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= 2 && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance of two short texts.
fn edit_distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_is_within_two_edits() {
        let known = ["max_branches", "quorum", "tie"];
        assert_eq!(nearest("max_branch", &known), Some("max_branches"));
        assert_eq!(nearest("qourum", &known), Some("quorum"));
        assert_eq!(nearest("max_bran", &known), None);
        assert_eq!(nearest("", &["a", "ab"]), None);
    }

    #[test]
    fn columns_count_characters_and_lines_end_at_newlines() {
        let text = "é = 1\r\nß x";
        let at = |offset| Located {
            offset,
            path: String::new(),
            message: offset.to_string(),
        };
        let errors = ConstitutionErrors::locate("f", text, vec![at(999), at(11), at(2), at(1)]);
        let places: Vec<_> = errors.0.iter().map(|d| (d.line, d.column)).collect();
        assert_eq!(places, [(1, 1), (1, 2), (2, 3), (2, 4)]);
    }

    #[test]
    fn errors_are_cut_with_a_count() {
        let found = (0..250).map(|offset| Located {
            offset,
            path: "p".to_owned(),
            message: "m".to_owned(),
        });
        let errors = ConstitutionErrors::locate("f", &"x".repeat(250), found.collect());
        assert_eq!(errors.0.len(), MAX_DIAGNOSTICS);
        let last = errors.0.last().map(ToString::to_string);
        assert_eq!(
            last.as_deref(),
            Some("f:1:100: and 151 more errors from here on")
        );
    }

    #[test]
    fn paths_go_up_step_by_step() {
        assert_eq!(parent("a.b[2].c"), Some("a.b[2]"));
        assert_eq!(parent("a.b[2]"), Some("a.b"));
        assert_eq!(parent("a"), Some(""));
        assert_eq!(parent(""), None);
        assert!(is_at_or_below("a.b[2].c", "a.b[2]"));
        assert!(is_at_or_below("a.b", "a.b"));
        assert!(!is_at_or_below("a.bc", "a.b"));
    }
}
