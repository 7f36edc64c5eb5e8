//! Early stop equals the full vote, and stops as early as that allows.
#![allow(clippy::unwrap_used)]

mod consensus_support;

use axiom_hive_core::consensus::{Decision, Tally};
use axiom_hive_core::constitution::{Quorum, Tie};
use consensus_support::{Booth, Rules, Symbol, all_ratios, all_rules, budget, full_vote};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const CLASSES: usize = 4;

/// What the completions of a prefix end in: one decision, or several.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    All(Decision),
    Differ,
}

/// All sequences of votes up to renaming of classes and of the ways not to answer, which the vote
/// does not tell apart: classes are numbered as they appear.
struct Tree<'b> {
    rules: Rules,
    booth: &'b Booth,
    votes: Vec<Symbol>,
    prefixes: u64,
}

impl Tree<'_> {
    /// Checks every prefix that starts with `self.votes`; `tally` has counted those.
    fn check(&mut self, tally: &Tally, seen: usize) -> Ends {
        self.prefixes += 1;
        let ends = if self.votes.len() == self.rules.asked as usize {
            Ends::All(full_vote(self.rules, &self.votes))
        } else {
            let classes = (0..=seen).filter(|class| *class < CLASSES);
            let symbols = classes.map(Symbol::Class).chain([Symbol::Failed]);
            let mut ends = None;
            for symbol in symbols {
                let mut next = tally.clone();
                next.push(self.booth.vote(symbol));
                self.votes.push(symbol);
                let seen = seen.max(match symbol {
                    Symbol::Class(class) => class + 1,
                    _ => 0,
                });
                let branch = self.check(&next, seen);
                self.votes.pop();
                ends = match ends {
                    None => Some(branch),
                    Some(same) if same == branch => Some(same),
                    Some(_) => Some(Ends::Differ),
                };
            }
            ends.unwrap()
        };
        let expected = match ends {
            Ends::All(decision) => decision,
            Ends::Differ => Decision::Open,
        };
        assert_eq!(
            tally.decision(),
            expected,
            "{:?} {:?}",
            self.rules,
            self.votes
        );
        ends
    }
}

/// N ≤ 8, four classes, every threshold, both quorums, every least number of answers, both ties: a
/// decision is made exactly when every completion ends in it.
#[test]
fn a_vote_is_decided_exactly_when_no_completion_can_change_it() {
    let booth = Booth::new(CLASSES);
    let mut prefixes = 0_u64;
    for asked in 1..=8 {
        for billionths in all_ratios(asked) {
            for rules in all_rules(asked, billionths) {
                let mut tree = Tree {
                    rules,
                    booth: &booth,
                    votes: Vec::new(),
                    prefixes: 0,
                };
                tree.check(&Tally::new(rules.ballot()), 0);
                prefixes += tree.prefixes;
            }
        }
    }
    assert!(
        prefixes > 20_000_000,
        "only {prefixes} prefixes were checked"
    );
}

/// Every sequence of the seven symbols below `votes`, without renaming. `decided` is the first
/// decision on the way.
fn check_product(
    rules: Rules,
    booth: &Booth,
    votes: &mut Vec<Symbol>,
    tally: &Tally,
    decided: Option<Decision>,
) {
    let now = tally.decision();
    let decided = decided.or((now != Decision::Open).then_some(now));
    if votes.len() == rules.asked as usize {
        assert_eq!(
            decided,
            Some(full_vote(rules, votes)),
            "{rules:?} {votes:?}"
        );
        return;
    }
    let blanks = [Symbol::Abstain, Symbol::Failed, Symbol::Blocked];
    for symbol in (0..CLASSES).map(Symbol::Class).chain(blanks) {
        let mut next = tally.clone();
        next.push(booth.vote(symbol));
        votes.push(symbol);
        check_product(rules, booth, votes, &next, decided);
        votes.pop();
    }
}

/// The same without renaming anything, for fewer branches: four classes, abstentions, failures and
/// blocks in every order.
#[test]
fn early_stop_is_the_full_vote_for_every_sequence() {
    let booth = Booth::new(CLASSES);
    for asked in 1..=budget("CONSENSUS_PRODUCT_BRANCHES", 4).min(8) {
        for votes in 1..=u64::from(asked) {
            let billionths = votes * 1_000_000_000 / u64::from(asked);
            for rules in all_rules(asked, billionths) {
                let tally = Tally::new(rules.ballot());
                check_product(rules, &booth, &mut Vec::new(), &tally, None);
            }
        }
    }
}

fn rules_and_votes() -> impl Strategy<Value = (Rules, Vec<Symbol>)> {
    let symbol = prop_oneof![
        8 => Just(Symbol::Class(0)),
        3 => Just(Symbol::Class(1)),
        2 => (0..6_usize).prop_map(Symbol::Class),
        1 => Just(Symbol::Abstain),
        1 => Just(Symbol::Failed),
        1 => Just(Symbol::Blocked),
    ];
    (1..=64_u32).prop_flat_map(move |asked| {
        // Thresholds on a fraction, next to one, or anywhere.
        let exact = (1..=u64::from(asked), 0..=2_u64).prop_map(move |(votes, step)| {
            let near = votes * 1_000_000_000 / u64::from(asked) + step;
            near.saturating_sub(1).clamp(1, 1_000_000_000)
        });
        let billionths = prop_oneof![exact, 1..=1_000_000_000_u64];
        let quorum = prop_oneof![Just(Quorum::All), Just(Quorum::Valid)];
        let tie = prop_oneof![Just(Tie::Refuse), Just(Tie::LowestIndex)];
        let rules = (billionths, quorum, 1..=asked, tie).prop_map(
            move |(billionths, quorum, min_valid, tie)| Rules {
                asked,
                billionths,
                quorum,
                min_valid,
                tie,
            },
        );
        (rules, prop::collection::vec(symbol.clone(), asked as usize))
    })
}

#[test]
fn early_stop_is_the_full_vote_up_to_64_branches() {
    let config = Config {
        cases: budget("CONSENSUS_VOTES", 20_000),
        failure_persistence: None,
        ..Config::default()
    };
    let booth = Booth::new(6);
    TestRunner::new(config)
        .run(&rules_and_votes(), |(rules, votes)| {
            let full = full_vote(rules, &votes);
            let mut tally = Tally::new(rules.ballot());
            let mut is_decided = false;
            for symbol in &votes {
                let now = tally.decision();
                prop_assert!(now == full || (now == Decision::Open && !is_decided));
                is_decided = now != Decision::Open;
                tally.push(booth.vote(*symbol));
            }
            prop_assert_eq!(tally.decision(), full);
            Ok(())
        })
        .unwrap();
}

/// The cost of certainty: a unanimous vote stops after the threshold, a hopeless one at once.
#[test]
fn a_unanimous_vote_stops_at_the_threshold() {
    let booth = Booth::new(2);
    for (asked, billionths, expected) in [
        (4, 750_000_000, 3),
        (10, 600_000_000, 6),
        (25, 280_000_000, 13), // The others must no longer be able to agree on something else.
        (25, 560_000_000, 14),
        (64, 1_000_000_000, 64),
    ] {
        let rules = Rules {
            asked,
            billionths,
            quorum: Quorum::All,
            min_valid: 1,
            tie: Tie::Refuse,
        };
        let votes = vec![Symbol::Class(0); asked as usize];
        let (decision, used) = booth.early(rules, &votes);
        assert_eq!((decision, used), (Decision::Agreed { class: 0 }, expected));
    }
}
