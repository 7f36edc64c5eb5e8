//! Equivalence keys: two branches agree when their keys are equal bytes.

use std::collections::BTreeMap;

use regex_automata::Input;
use regex_automata::meta::Regex;
use unicode_normalization::UnicodeNormalization as _;

use super::decimal::quantise;
use crate::constitution::{Equivalence, Take};

/// Upper bound of the pattern of a `regex` equivalence, in bytes.
pub const MAX_KEY_PATTERN_BYTES: usize = 1024;
/// Upper bound of a compiled pattern.
const MAX_COMPILED_BYTES: usize = 1024 * 1024;
/// An answer in which a pattern matches more often than this has no last match. Each search is linear
/// in the answer's length, but the number of searches is what a runtime could multiply it by.
pub const MAX_KEY_MATCHES: usize = 1024;
/// The largest integer that every JSON reader keeps exact: 2^53 − 1 (RFC 8785, RFC 7493).
const MAX_JSON_INTEGER: u64 = (1 << 53) - 1;

/// What is voted on, and what is shown when only that was agreed (`number`, `regex`, `choice`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    bytes: Vec<u8>,
}

impl Key {
    /// The key as text, for the kinds whose agreed value is shown (`number`, `regex`, `choice`).
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }
}

/// A constitution's equivalence, compiled.
#[derive(Debug, Clone)]
pub struct KeyMaker {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Text,
    Bytes,
    Json,
    Number {
        decimals: u32,
    },
    Regex {
        regex: Regex,
        take: Take,
    },
    /// Text key of each value → the value as listed.
    Choice {
        values: BTreeMap<String, String>,
    },
}

/// Why an equivalence cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No linear-time pattern.
    #[error("must be a linear-time regular expression of at most 1024 bytes: {0}")]
    Pattern(String),
    /// Two values that count as the same answer, or one that has no key.
    #[error("must hold values that differ after normalisation; \"{0}\" does not")]
    Choice(String),
}

impl KeyMaker {
    /// Compiles an equivalence.
    pub fn compile(equivalence: &Equivalence) -> Result<Self, KeyError> {
        let kind = match equivalence {
            Equivalence::Text => Kind::Text,
            Equivalence::Bytes => Kind::Bytes,
            Equivalence::Json => Kind::Json,
            Equivalence::Number { decimals } => Kind::Number {
                decimals: *decimals,
            },
            Equivalence::Regex { pattern, take } => Kind::Regex {
                regex: compile_pattern(pattern)?,
                take: *take,
            },
            Equivalence::Choice { values } => Kind::Choice {
                values: choices(values)?,
            },
        };
        Ok(Self { kind })
    }

    /// The key of an answer; `None` is an abstention.
    #[must_use]
    pub fn key(&self, answer: &str) -> Option<Key> {
        let bytes = match &self.kind {
            Kind::Text => text_key(answer)?.into_bytes(),
            Kind::Bytes => answer.as_bytes().to_vec(),
            Kind::Json => json_key(answer)?,
            Kind::Number { decimals } => quantise(answer, *decimals)?.into_bytes(),
            Kind::Regex { regex, take } => text_key(capture(regex, *take, answer)?)?.into_bytes(),
            Kind::Choice { values } => values.get(&text_key(answer)?)?.as_bytes().to_vec(),
        };
        Some(Key { bytes })
    }

    /// Whether the vote is on a value that stands for the whole answer only in part, so that the
    /// agreed value and not a branch's text is what was agreed on.
    #[must_use]
    pub fn is_value_only(&self) -> bool {
        matches!(
            self.kind,
            Kind::Number { .. } | Kind::Regex { .. } | Kind::Choice { .. }
        )
    }
}

fn compile_pattern(pattern: &str) -> Result<Regex, KeyError> {
    if pattern.len() > MAX_KEY_PATTERN_BYTES {
        return Err(KeyError::Pattern(format!("it has {} bytes", pattern.len())));
    }
    let config = Regex::config().nfa_size_limit(Some(MAX_COMPILED_BYTES));
    Regex::builder()
        .configure(config)
        .build(pattern)
        .map_err(|error| KeyError::Pattern(error.to_string()))
}

fn choices(values: &[String]) -> Result<BTreeMap<String, String>, KeyError> {
    let mut by_key = BTreeMap::new();
    for value in values {
        let key = text_key(value).ok_or_else(|| KeyError::Choice(value.clone()))?;
        if by_key.insert(key, value.clone()).is_some() {
            return Err(KeyError::Choice(value.clone()));
        }
    }
    Ok(by_key)
}

/// NFKC, invisible characters dropped, case folded, white space collapsed to one space and trimmed.
/// An answer without a visible character has no key.
///
/// The fold is `char::to_lowercase` plus the two letters that have one upper case with another:
/// `ß` is `ss` and `ς` is `σ`. No locale: a dotless `ı` is no `i`. NFKC runs again at the end, since
/// dropping and folding can denormalise. Unicode's stability policies fix NFKC and the case of every
/// assigned character for ever; only text with characters younger than the tables can get another key.
fn text_key(answer: &str) -> Option<String> {
    let visible: String = answer
        .nfkc()
        .filter(|c| !is_invisible(*c))
        .flat_map(char::to_lowercase)
        .flat_map(|c| match c {
            'ß' => ['s', 's'].into_iter().take(2),
            'ς' => ['σ', 'σ'].into_iter().take(1),
            other => [other, other].into_iter().take(1),
        })
        .nfkc()
        .collect();
    let words: Vec<&str> = visible.split_whitespace().collect();
    if words.is_empty() {
        None
    } else {
        Some(words.join(" "))
    }
}

/// `Default_Ignorable_Code_Point` of Unicode 16: characters that change nothing a reader sees.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// The RFC 8785 form. A text with a duplicate key has two readings and so no key.
fn json_key(answer: &str) -> Option<Vec<u8>> {
    let value: strict_json::Strict = serde_json::from_str(answer).ok()?;
    serde_json_canonicalizer::to_vec(&value.0).ok()
}

/// The first capture group of the first or last match, or the whole match of a pattern without a
/// group. A group that took no part in its match is nothing.
fn capture<'a>(regex: &Regex, take: Take, answer: &'a str) -> Option<&'a str> {
    let mut matches = regex.captures_iter(Input::new(answer));
    let captures = match take {
        Take::First => matches.next(),
        Take::Last => {
            let last = matches.by_ref().take(MAX_KEY_MATCHES).last();
            last.filter(|_| matches.next().is_none())
        }
    }?;
    let group = usize::from(captures.group_len() > 1);
    answer.get(captures.get_group(group)?.range())
}

mod strict_json {
    //! A JSON value that refuses what has no single reading: duplicate keys, of which
    //! `serde_json::Value` keeps the last, and numbers too large to be exact, which would make
    //! different numbers equal.

    use std::fmt;

    use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
    use serde_json::{Map, Number, Value};

    use super::MAX_JSON_INTEGER;

    pub(super) struct Strict(pub(super) Value);

    impl<'de> Deserialize<'de> for Strict {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(StrictVisitor).map(Self)
        }
    }

    struct StrictVisitor;

    impl<'de> Visitor<'de> for StrictVisitor {
        type Value = Value;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("JSON without duplicate keys")
        }

        fn visit_unit<E>(self) -> Result<Value, E> {
            Ok(Value::Null)
        }

        fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
            Ok(Value::Bool(value))
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
            if value.unsigned_abs() > MAX_JSON_INTEGER {
                return Err(E::custom("an integer beyond ±(2^53 − 1)"));
            }
            Ok(value.into())
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
            if value > MAX_JSON_INTEGER {
                return Err(E::custom("an integer beyond ±(2^53 − 1)"));
            }
            Ok(value.into())
        }

        /// The one place with a float, because RFC 8785 defines numbers as IEEE 754 doubles. Reading
        /// is correctly rounded and the canonical form shortest, so no machine's arithmetic enters.
        fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
            let number = Number::from_f64(value);
            number
                .filter(|_| value.abs() <= 9_007_199_254_740_991.0)
                .map(Value::Number)
                .ok_or_else(|| E::custom("a number beyond ±(2^53 − 1)"))
        }

        fn visit_str<E>(self, value: &str) -> Result<Value, E> {
            Ok(value.into())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
            let mut items = Vec::new();
            while let Some(Strict(item)) = access.next_element()? {
                items.push(item);
            }
            Ok(Value::Array(items))
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
            let mut map = Map::new();
            while let Some((key, Strict(value))) = access.next_entry::<String, Strict>()? {
                if map.insert(key, value).is_some() {
                    return Err(A::Error::custom("duplicate key"));
                }
            }
            Ok(Value::Object(map))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn keys(equivalence: &Equivalence) -> impl Fn(&str) -> Option<String> + use<> {
        let maker = KeyMaker::compile(equivalence).unwrap();
        move |answer| {
            maker
                .key(answer)
                .map(|key| key.as_text().unwrap().to_owned())
        }
    }

    #[test]
    fn text_ignores_case_width_space_and_invisible_characters() {
        let key = keys(&Equivalence::Text);
        let expected = Some("paris, france".to_owned());
        for same in [
            "Paris,  France\n",
            "\u{200b}PARIS, FR\u{ad}ANCE",
            "Ｐａｒｉｓ，\u{a0}Ｆｒａｎｃｅ",
        ] {
            assert_eq!(key(same), expected, "{same:?}");
        }
        assert_ne!(key("Paris"), expected);
        assert_eq!(key("STRASSE ΟΔΟΣ ẞ"), key("straße οδος ß"));
        assert_eq!(key("e\u{200b}\u{301}"), key("É"));
        assert_eq!(key(" \u{200b}\n"), None);
    }

    #[test]
    fn json_ignores_order_and_space_but_not_values_and_refuses_duplicate_keys() {
        let key = keys(&Equivalence::Json);
        assert_eq!(
            key("{\"b\": 1.0, \"a\": [true]}"),
            key("{\"a\":[true],\"b\":1}")
        );
        assert_ne!(key("{\"a\":1}"), key("{\"a\":2}"));
        assert_eq!(key("{\"a\":1,\"a\":1}"), None);
        assert_eq!(key("[{\"a\":1,\"a\":2}]"), None);
        assert_eq!(key("not json"), None);
        assert_eq!(key(&"[".repeat(100_000)), None);
        assert_eq!(key("\"\\ud800\""), None);
    }

    #[test]
    fn json_numbers_that_are_not_exact_have_no_key() {
        let key = keys(&Equivalence::Json);
        assert_eq!(key("0.30"), key("3e-1"));
        assert_eq!(key("-0").as_deref(), Some("0"));
        assert_eq!(key("9007199254740991").as_deref(), Some("9007199254740991"));
        for inexact in [
            "9007199254740993",
            "-9007199254740993",
            "100000000000000000001",
            "[1e16]",
            "1e400",
        ] {
            assert_eq!(key(inexact), None, "{inexact}");
        }
    }

    #[test]
    fn regex_takes_a_group_of_the_first_or_last_match() {
        let pattern = "answer: ([0-9]+)".to_owned();
        let first = keys(&Equivalence::Regex {
            pattern: pattern.clone(),
            take: Take::First,
        });
        let last = keys(&Equivalence::Regex {
            pattern,
            take: Take::Last,
        });
        let text = "answer: 1, no, answer: 2";
        assert_eq!(first(text).as_deref(), Some("1"));
        assert_eq!(last(text).as_deref(), Some("2"));
        assert_eq!(first("none"), None);
        let whole = keys(&Equivalence::Regex {
            pattern: "[0-9]+".to_owned(),
            take: Take::First,
        });
        assert_eq!(whole("a 42 b").as_deref(), Some("42"));
    }

    #[test]
    fn regex_keys_are_text_and_an_empty_one_abstains() {
        let key = keys(&Equivalence::Regex {
            pattern: "(?i)answer:(.*)|none".to_owned(),
            take: Take::First,
        });
        assert_eq!(key("Answer: Ｐaris ").as_deref(), Some("paris"));
        assert_eq!(key("answer: \u{200b}"), None);
        assert_eq!(key("none"), None, "the group took no part");
    }

    #[test]
    fn more_matches_than_the_bound_have_no_last_one() {
        let key = keys(&Equivalence::Regex {
            pattern: "[0-9]".to_owned(),
            take: Take::Last,
        });
        let most = "1 ".repeat(MAX_KEY_MATCHES - 1) + "2";
        assert_eq!(key(&most).as_deref(), Some("2"));
        assert_eq!(key(&(most + "3")), None);
    }

    #[test]
    fn choice_is_closed_and_shows_the_listed_value() {
        let values = vec!["Yes".to_owned(), "No".to_owned()];
        let key = keys(&Equivalence::Choice { values });
        assert_eq!(key(" yes ").as_deref(), Some("Yes"));
        assert_eq!(key("maybe"), None);
        let same = vec!["yes".to_owned(), "YES".to_owned()];
        assert!(KeyMaker::compile(&Equivalence::Choice { values: same }).is_err());
    }

    #[test]
    fn a_pattern_that_cannot_be_linear_or_is_too_large_is_refused() {
        for pattern in [
            "(a)\\1",
            "(?=a)",
            "(",
            &"a".repeat(1025),
            "(?:(?:a{1000}){1000}){1000}",
        ] {
            let equivalence = Equivalence::Regex {
                pattern: pattern.to_owned(),
                take: Take::First,
            };
            assert!(KeyMaker::compile(&equivalence).is_err(), "{pattern}");
        }
    }
}
