//! The vote as its definition says, by counting all votes; and what the consensus tests share.
#![allow(dead_code, reason = "each test binary uses a part")]

use axiom_hive_core::consensus::{Ballot, Decision, Disagreement, Key, KeyMaker, Tally, Vote};
use axiom_hive_core::constitution::{Equivalence, Quorum, Ratio, Tie};

const BILLION: u128 = 1_000_000_000;

/// The value of `AXIOM_HIVE_BUDGET_<NAME>`, or `default`. `tests/budget.toml` gathers them.
pub(crate) fn budget(name: &str, default: u32) -> u32 {
    let variable = format!("AXIOM_HIVE_BUDGET_{}", name.to_ascii_uppercase());
    std::env::var(&variable).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} must be a count, not {text:?}"))
    })
}

/// One vote of a test: an answer of some class, or one of the three ways not to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symbol {
    Class(usize),
    Abstain,
    Failed,
    Blocked,
}

/// Rules of a vote, with the ratio as a whole number for the reference.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) asked: u32,
    pub(crate) billionths: u64,
    pub(crate) quorum: Quorum,
    pub(crate) min_valid: u32,
    pub(crate) tie: Tie,
}

impl Rules {
    pub(crate) fn ballot(self) -> Ballot {
        let text = if u128::from(self.billionths) == BILLION {
            "1".to_owned()
        } else {
            format!("0.{:09}", self.billionths)
        };
        let ratio: Ratio = text.parse().unwrap();
        let Self {
            asked,
            quorum,
            min_valid,
            tie,
            ..
        } = self;
        Ballot {
            asked,
            ratio,
            quorum,
            min_valid,
            tie,
        }
    }
}

/// Every combination of quorum, least number of answers and tie for `asked` branches.
pub(crate) fn all_rules(asked: u32, billionths: u64) -> Vec<Rules> {
    let mut rules = Vec::new();
    for tie in [Tie::Refuse, Tie::LowestIndex] {
        let valid = (1..=asked).map(|min_valid| (Quorum::Valid, min_valid));
        for (quorum, min_valid) in std::iter::once((Quorum::All, 1)).chain(valid) {
            rules.push(Rules {
                asked,
                billionths,
                quorum,
                min_valid,
                tie,
            });
        }
    }
    rules
}

/// Every threshold that a vote of `asked` branches can tell apart: on each fraction of both possible
/// denominators, just below it and just above it, and some awkward decimals.
pub(crate) fn all_ratios(asked: u32) -> Vec<u64> {
    let mut ratios = vec![280_000_000, 560_000_000, 666_666_667, 333_333_333, 1];
    for total in 1..=u64::from(asked) {
        for votes in 1..=total {
            let floor = votes * 1_000_000_000 / total;
            ratios.extend([floor.saturating_sub(1), floor, floor + 1]);
        }
    }
    ratios.retain(|ratio| (1..=1_000_000_000).contains(ratio));
    ratios.sort_unstable();
    ratios.dedup();
    ratios
}

/// The definition: all votes are in and counted once.
pub(crate) fn full_vote(rules: Rules, votes: &[Symbol]) -> Decision {
    let mut counts: Vec<(usize, u32, u32)> = Vec::new(); // class, lowest index, count
    for (index, vote) in (0..).zip(votes) {
        let Symbol::Class(class) = *vote else {
            continue;
        };
        match counts.iter_mut().find(|(seen, ..)| *seen == class) {
            Some((_, _, count)) => *count += 1,
            None => counts.push((class, index, 1)),
        }
    }
    let valid: u32 = counts.iter().map(|(_, _, count)| count).sum();
    let total = match rules.quorum {
        Quorum::All => rules.asked,
        Quorum::Valid => valid,
    };
    let Some(most) = counts.iter().map(|(_, _, count)| *count).max() else {
        return Decision::Refused(Disagreement::NoAnswer);
    };
    if rules.quorum == Quorum::Valid && valid < rules.min_valid {
        return Decision::Refused(Disagreement::TooFewValid);
    }
    if u128::from(most) * BILLION < u128::from(rules.billionths) * u128::from(total) {
        return Decision::Refused(Disagreement::BelowThreshold);
    }
    let mut leaders = counts.iter().filter(|(_, _, count)| *count == most);
    let first = leaders.next().map_or(0, |(_, index, _)| *index);
    if rules.tie == Tie::Refuse && leaders.next().is_some() {
        return Decision::Refused(Disagreement::Tie);
    }
    Decision::Agreed { class: first }
}

/// Votes with real keys.
pub(crate) struct Booth {
    keys: Vec<Key>,
}

impl Booth {
    pub(crate) fn new(classes: usize) -> Self {
        let maker = KeyMaker::compile(&Equivalence::Bytes).unwrap();
        // Later classes have smaller keys, so that the order of keys is not that of appearance.
        let keys = (0..classes)
            .map(|class| maker.key(&(1000 - class).to_string()).unwrap())
            .collect();
        Self { keys }
    }

    pub(crate) fn vote(&self, symbol: Symbol) -> Vote {
        match symbol {
            Symbol::Class(class) => Vote::Answer(self.keys[class].clone()),
            Symbol::Abstain => Vote::Abstain,
            Symbol::Failed => Vote::Failed,
            Symbol::Blocked => Vote::Blocked,
        }
    }

    /// The first decision that is not open, and how many votes it took.
    pub(crate) fn early(&self, rules: Rules, votes: &[Symbol]) -> (Decision, usize) {
        let mut tally = Tally::new(rules.ballot());
        for (index, symbol) in votes.iter().enumerate() {
            if tally.decision() != Decision::Open {
                return (tally.decision(), index);
            }
            tally.push(self.vote(*symbol));
        }
        (tally.decision(), votes.len())
    }
}
