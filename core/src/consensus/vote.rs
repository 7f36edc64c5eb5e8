//! The exact vote and its early stop.

use std::collections::BTreeMap;

use super::Key;
use crate::constitution::{Quorum, Ratio, SupervisorPolicy, Tie};

/// The rules of one vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ballot {
    /// N: branches asked, 1..=64.
    pub asked: u32,
    /// What share must agree.
    pub ratio: Ratio,
    /// A share of what.
    pub quorum: Quorum,
    /// With [`Quorum::Valid`]: how many branches must have given an answer.
    pub min_valid: u32,
    /// What a tie does.
    pub tie: Tie,
}

impl Ballot {
    /// The ballot of a constitution for a task that asks `asked` branches.
    #[must_use]
    pub fn of(policy: &SupervisorPolicy, asked: u32) -> Self {
        Self {
            asked,
            ratio: policy.min_consensus_ratio,
            quorum: policy.quorum,
            min_valid: policy.min_valid_branches.unwrap_or(asked / 2 + 1),
            tie: policy.tie,
        }
    }
}

/// What one branch contributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vote {
    /// An answer with this key.
    Answer(Key),
    /// A text without a key.
    Abstain,
    /// No usable text.
    Failed,
    /// A text that policy blocks.
    Blocked,
}

/// Why there is no agreement. Of several causes the first in this order is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disagreement {
    /// No branch gave an answer.
    NoAnswer,
    /// Too few branches gave an answer.
    TooFewValid,
    /// No class reached the threshold.
    BelowThreshold,
    /// Several classes reached it with the same count, and a tie refuses.
    Tie,
}

/// Where the vote stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The remaining votes can still change the outcome.
    Open,
    /// The class whose lowest branch index is `class` wins, whatever the remaining votes are.
    Agreed {
        /// Lowest branch index of the winning class.
        class: u32,
    },
    /// No class wins, for this reason, whatever the remaining votes are.
    Refused(Disagreement),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Class {
    first: u32,
    count: u32,
}

/// The votes committed so far, in branch-index order.
#[derive(Debug, Clone)]
pub struct Tally {
    ballot: Ballot,
    committed: u32,
    valid: u32,
    class_of_key: BTreeMap<Key, usize>,
    /// In the order of their first branch.
    classes: Vec<Class>,
}

impl Tally {
    /// An empty tally.
    #[must_use]
    pub fn new(ballot: Ballot) -> Self {
        Self {
            ballot,
            committed: 0,
            valid: 0,
            class_of_key: BTreeMap::new(),
            classes: Vec::new(),
        }
    }

    /// Commits the vote of the next branch by index; returns the lowest branch index of its class
    /// for an answer.
    pub fn push(&mut self, vote: Vote) -> Option<u32> {
        let index = self.committed;
        self.committed += 1;
        let Vote::Answer(key) = vote else {
            return None;
        };
        self.valid += 1;
        let next = self.classes.len();
        let class = *self.class_of_key.entry(key).or_insert(next);
        if class == next {
            self.classes.push(Class {
                first: index,
                count: 0,
            });
        }
        self.classes[class].count += 1;
        Some(self.classes[class].first)
    }

    /// Votes committed.
    #[must_use]
    pub fn committed(&self) -> u32 {
        self.committed
    }

    /// Committed votes that are answers.
    #[must_use]
    pub fn valid(&self) -> u32 {
        self.valid
    }

    /// The leading class as (lowest branch index, count); among equals the one that came first.
    #[must_use]
    pub fn leader(&self) -> Option<(u32, u32)> {
        self.leading().map(|class| (class.first, class.count))
    }

    /// The size of the second largest class; equal to the leader's in a tie.
    #[must_use]
    pub fn runner_up(&self) -> u32 {
        let Some(leader) = self.leading() else {
            return 0;
        };
        self.rivals(leader)
            .map(|class| class.count)
            .max()
            .unwrap_or(0)
    }

    fn leading(&self) -> Option<Class> {
        // `max_by_key` would return the last of equals.
        self.classes
            .iter()
            .copied()
            .reduce(|best, c| if c.count > best.count { c } else { best })
    }

    fn rivals(&self, leader: Class) -> impl Iterator<Item = Class> {
        self.classes
            .iter()
            .copied()
            .filter(move |class| class.first != leader.first)
    }

    /// Where the vote stands: open exactly as long as two completions of the remaining votes would
    /// end differently, in the class or in the cause. Counts only grow and at most
    /// `asked - committed` votes are to come, so each inequality is the worst completion for what it
    /// claims.
    #[must_use]
    pub fn decision(&self) -> Decision {
        let remaining = self.ballot.asked.saturating_sub(self.committed);
        if let Some(leader) = self.leading()
            && self.is_certain(leader, remaining)
        {
            return Decision::Agreed {
                class: leader.first,
            };
        }
        let refusal = if remaining == 0 {
            Some(self.final_refusal())
        } else {
            self.early_refusal(remaining)
        };
        refusal.map_or(Decision::Open, Decision::Refused)
    }

    /// Why no class wins when all votes are in.
    fn final_refusal(&self) -> Disagreement {
        let leader = self.leading().map_or(0, |class| class.count);
        if self.valid == 0 {
            Disagreement::NoAnswer
        } else if self.valid < self.least_valid() {
            Disagreement::TooFewValid
        } else if !self.reaches(leader, self.valid) {
            Disagreement::BelowThreshold
        } else {
            // The leader reaches the threshold and is not certain: an equal rival is all that is left.
            Disagreement::Tie
        }
    }

    /// Why no class can win any more, once that is certain. Not before a first answer: the remaining
    /// branches may all fail, which is another cause.
    fn early_refusal(&self, remaining: u32) -> Option<Disagreement> {
        let most_valid = self.valid + remaining;
        if self.valid == 0 {
            None
        } else if most_valid < self.least_valid() {
            Some(Disagreement::TooFewValid)
        } else if self.valid < self.least_valid() {
            None
        } else {
            // The best for its share: every remaining vote goes to the leader.
            let best = self.leading().map_or(0, |class| class.count) + remaining;
            (!self.reaches(best, most_valid)).then_some(Disagreement::BelowThreshold)
        }
    }

    /// How many branches must have given an answer.
    fn least_valid(&self) -> u32 {
        match self.ballot.quorum {
            Quorum::All => 0,
            Quorum::Valid => self.ballot.min_valid,
        }
    }

    /// Whether `count` votes reach the threshold if `valid` branches gave an answer in the end.
    fn reaches(&self, count: u32, valid: u32) -> bool {
        match self.ballot.quorum {
            Quorum::All => self.ballot.ratio.is_reached_by(count, self.ballot.asked),
            Quorum::Valid => self.ballot.ratio.is_reached_by(count, valid),
        }
    }

    /// Whether the leader wins under every completion.
    fn is_certain(&self, leader: Class, remaining: u32) -> bool {
        // The worst for its share: every remaining branch answers, and differently.
        if !self.reaches(leader.count, self.valid + remaining) {
            return false;
        }
        // The worst for the number of answers: no remaining branch gives one.
        if self.valid < self.least_valid() {
            return false;
        }
        // Above one half, a class that reaches the threshold has no equal.
        if self.ballot.ratio.is_above_half() {
            return true;
        }
        // The worst for its lead: all remaining votes go to one rival, or to a class not yet seen.
        let is_beaten = |first: u32, count: u32| match count.cmp(&leader.count) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => self.ballot.tie == Tie::Refuse || first < leader.first,
        };
        let seen = self
            .rivals(leader)
            .any(|rival| is_beaten(rival.first, rival.count + remaining));
        !seen && !is_beaten(u32::MAX, remaining)
    }
}
