//! Consensus: when branches agree.
//!
//! Votes are taken on equivalence [`Key`]s, never on what is shown, and committed in branch-index
//! order, so that verdict, record and text do not depend on the order of arrival. The threshold is
//! the exact decimal of the constitution. [`Tally::decision`] stops early exactly when no completion
//! of the remaining votes can change the outcome: whether the branches agree, on which class, and if
//! not, why.
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
