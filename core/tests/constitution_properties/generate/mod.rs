//! Valid constitutions, with every field at and off its default.

mod cluster;

use axiom_hive_core::constitution::{
    Action, Category, Constitution, Containment, DetectorSetting, EgressPolicy, Equivalence,
    InterceptorPolicy, LedgerPolicy, Meta, OnNoAgreement, PatternRule, Policy, PromptScreening,
    Quorum, Ratio, RuntimeKind, RuntimePolicy, Show, SupervisorPolicy, Take, TermRule, Tie,
};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use cluster::{any_cluster, any_egress};

fn any_meta() -> impl Strategy<Value = Meta> {
    (
        "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
        "(0|[1-9][0-9]{0,4})\\.(0|[1-9][0-9]{0,4})\\.(0|[1-9][0-9]{0,4})(-[a-z][a-z0-9-]{0,8})?",
    )
        .prop_map(|(name, version)| Meta {
            name,
            version,
            catalogue: 1,
        })
}

fn any_equivalence() -> impl Strategy<Value = Equivalence> {
    prop_oneof![
        Just(Equivalence::Text),
        Just(Equivalence::Bytes),
        Just(Equivalence::Json),
        (0..=9_u32).prop_map(|decimals| Equivalence::Number { decimals }),
        (
            "[a-z]{1,9} \\(\\[0-9\\]\\{1,3\\}\\)",
            select(vec![Take::First, Take::Last])
        )
            .prop_map(|(pattern, take)| Equivalence::Regex { pattern, take }),
        (2..=64_usize).prop_map(|count| Equivalence::Choice {
            values: (0..count).map(|index| format!("value {index}")).collect(),
        }),
    ]
}

fn any_supervisor() -> impl Strategy<Value = SupervisorPolicy> {
    let counts = (
        1..=64_u32,
        1..=64_u32,
        any::<Index>(),
        1..=1_000_000_000_u64,
    );
    let words = (
        select(vec![Quorum::All, Quorum::Valid]),
        any_equivalence(),
        select(vec![Show::Agreed, Show::Branch]),
        select(vec![Tie::Refuse, Tie::LowestIndex]),
        proptest::option::of("\\PC{1,40}"),
    );
    let limits = (
        1..=1_048_576_u32,
        1..=524_288_u32,
        1..=3600_u32,
        1..=86_400_u32,
    );
    (counts, words, limits, any::<[bool; 6]>()).prop_map(|(counts, words, limits, keep)| {
        let default = SupervisorPolicy::default();
        let pick = |index: usize, value, default| if keep[index] { value } else { default };
        let max_branches = pick(0, counts.0, default.max_branches);
        let (quorum, equivalence, show, tie, fallback) = words;
        let least = u32::try_from(counts.2.index(max_branches as usize)).unwrap() + 1;
        let ratio = match counts.3 {
            1_000_000_000 => "1".to_owned(),
            billionths => format!("0.{billionths:09}"),
        };
        SupervisorPolicy {
            max_branches,
            min_consensus_ratio: ratio.parse::<Ratio>().unwrap(),
            quorum,
            min_valid_branches: (quorum == Quorum::Valid && keep[1]).then_some(least),
            equivalence,
            show,
            tie,
            on_no_agreement: fallback
                .map_or(OnNoAgreement::Fail, |text| OnNoAgreement::Fallback { text }),
            max_prompt_bytes: pick(2, limits.0, default.max_prompt_bytes),
            max_answer_bytes: pick(3, limits.1, default.max_answer_bytes),
            branch_timeout_seconds: pick(4, limits.2, default.branch_timeout_seconds),
            task_timeout_seconds: pick(5, limits.3, default.task_timeout_seconds),
            max_parallel_branches: counts.1,
        }
    })
}

fn any_action() -> impl Strategy<Value = Action> {
    select(vec![
        // Not `mask`: no other rule may then match a word of four characters.
        Action::Redact,
        Action::Remove,
        Action::Hash,
        Action::Withhold,
    ])
}

fn any_category() -> impl Strategy<Value = Category> {
    select(vec![
        Category::Custom,
        Category::Harmful,
        Category::Pii,
        Category::Secret,
    ])
}

fn any_interceptor() -> impl Strategy<Value = InterceptorPolicy> {
    let detectors = proptest::collection::btree_map(
        select(vec![
            "email".to_owned(),
            "iban".to_owned(),
            "us_ssn".to_owned(),
        ]),
        select(vec![
            DetectorSetting::Off,
            DetectorSetting::Redact,
            DetectorSetting::Withhold,
        ]),
        0..=3,
    );
    let term = (
        proptest::collection::vec("zq[a-y]{1,8}", 1..4),
        any_action(),
        any_category(),
    );
    let pattern = (any_action(), any_category(), proptest::bool::ANY);
    (
        select(vec![
            PromptScreening::Off,
            PromptScreening::Withhold,
            PromptScreening::Redact,
        ]),
        detectors,
        proptest::collection::vec(term, 0..4),
        proptest::collection::vec(pattern, 0..4),
    )
        .prop_map(|(prompt, detectors, terms, patterns)| {
            let term = |(index, (terms, action, category))| TermRule {
                id: format!("t{index}"),
                terms,
                action,
                category,
            };
            let pattern = |(index, (action, category, counter))| PatternRule {
                id: format!("p{index}"),
                pattern: format!("zz{index}zz[xyz]{{3}}"),
                action,
                category,
                examples: vec![format!("a zz{index}zzxyz\n\"b\"")],
                counterexamples: if counter {
                    vec!["\u{1}\\é".to_owned()]
                } else {
                    vec![]
                },
            };
            InterceptorPolicy {
                prompt,
                detectors,
                terms: terms.into_iter().enumerate().map(term).collect(),
                patterns: patterns.into_iter().enumerate().map(pattern).collect(),
            }
        })
}

pub(crate) fn any_constitution() -> impl Strategy<Value = Constitution> {
    let runtime = (
        subsequence(RuntimeKind::ALL.to_vec(), 1..=4),
        proptest::collection::vec("[a-z]{1,8}", 0..3),
        proptest::option::of(1..=u16::MAX),
        select(vec![64_u32, 4096, 65_536]),
        select(vec![1_u32, 64, 1024]),
    )
        .prop_map(
            |(kinds, models, loopback_port, max_memory_mib, max_processes)| RuntimePolicy {
                kinds,
                models,
                loopback_port,
                max_memory_mib,
                max_processes,
            },
        );
    let ledger = (any::<bool>(), any::<bool>(), select(vec![0_u32, 1, 36_500])).prop_map(
        |(keep_prompt, keep_branches, retention_days)| LedgerPolicy {
            keep_prompt,
            keep_branches,
            retention_days,
        },
    );
    let policy = any::<[bool; 2]>().prop_map(|[harmful, pii]| Policy {
        allow_harmful_content: harmful,
        allow_pii_leakage: pii,
    });
    (
        any_meta(),
        policy,
        any_supervisor(),
        any_interceptor(),
        runtime,
        any_egress(),
        any_cluster(),
        ledger,
    )
        .prop_map(
            |(meta, policy, supervisor, interceptor, runtime, egress, cluster, ledger)| {
                // A list of targets contradicts a runtime without sockets.
                let egress = match cluster.containment {
                    Containment::NoNetwork => EgressPolicy::default(),
                    _ => egress,
                };
                // Of the two ways out of this machine a constitution has one.
                let mut runtime = runtime;
                if !egress.allow.is_empty() {
                    runtime.loopback_port = None;
                }
                Constitution {
                    meta,
                    policy,
                    supervisor,
                    interceptor,
                    runtime,
                    egress,
                    cluster,
                    ledger,
                }
            },
        )
}
