//! Consensus: when branches agree.
//!
//! Votes are taken on equivalence [`Key`]s, never on what is shown, and committed in branch-index
//! order, so that verdict, record and text do not depend on the order of arrival. The threshold is
//! the exact decimal of the constitution. [`Tally::decision`] stops early exactly when no completion
//! of the remaining votes can change the outcome: whether the branches agree, on which class, and if
//! not, why.
//!
//! | equivalence | key | no key (the branch abstains) |
//! |---|---|---|
//! | `text` | NFKC, invisible characters dropped, case folded, white space collapsed | nothing visible |
//! | `bytes` | the bytes | never |
//! | `json` | RFC 8785 form | no JSON, a duplicate key, a number beyond ±(2^53 − 1), more than 127 levels |
//! | `number` | the whole trimmed text as a decimal, rounded half to even | anything but `[+-]digits[.digits]`, more than 64 digits |
//! | `regex` | first group, or whole, of the first or last match, as `text` | no match, an empty group, more than [`MAX_KEY_MATCHES`] matches where the last counts |
//! | `choice` | the listed value with the same `text` key | no listed value |
//!
//! A class wins with a count that reaches the threshold and is above every other class's; of equals
//! none wins, or the one that holds the lowest branch index (`tie`). The threshold is a share of the
//! branches asked (`quorum = "all"`), or of those that answered, of which there must be
//! `min_valid_branches`.
//!
//! ```
//! use axiom_hive_core::consensus::{Ballot, Decision, KeyMaker, Tally, Vote};
//! use axiom_hive_core::constitution::{Equivalence, SupervisorPolicy};
//!
//! let keys = KeyMaker::compile(&Equivalence::Text).unwrap();
//! let mut tally = Tally::new(Ballot::of(&SupervisorPolicy::default(), 4));
//! for answer in ["Paris", " paris", "PARIS"] {
//!     tally.push(Vote::Answer(keys.key(answer).unwrap()));
//! }
//! // 3 of 4 reach 0.75, whatever the fourth branch would say.
//! assert_eq!(tally.decision(), Decision::Agreed { class: 0 });
//! ```

mod decimal;
mod key;
mod vote;

pub use key::{Key, KeyError, KeyMaker, MAX_KEY_MATCHES, MAX_KEY_PATTERN_BYTES};
pub use vote::{Ballot, Decision, Disagreement, Tally, Vote};
