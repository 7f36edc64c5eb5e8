//! The interceptor: what it finds, what it lets through, and that chunks never matter.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use axiom_hive_core::constitution::{
    Action, Category, DetectorSetting, InterceptorPolicy, PatternRule, Policy, TermRule,
};
use axiom_hive_core::interceptor::{Filtered, HashKey, Interceptor, RuleSet, Verdict, intercept};
use proptest::prelude::*;

const KEY: HashKey = HashKey([7; 32]);

fn budget(name: &str, default: u32) -> u32 {
    let variable = format!("AXIOM_HIVE_BUDGET_{name}");
    std::env::var(variable).map_or(default, |count| count.parse().unwrap())
}

fn default_rules() -> RuleSet {
    RuleSet::compile(&Policy::default(), &InterceptorPolicy::default(), 1).unwrap()
}

fn pattern(id: &str, pattern: &str, action: Action, example: &str) -> PatternRule {
    PatternRule {
        id: id.into(),
        pattern: pattern.into(),
        action,
        category: Category::Custom,
        examples: vec![example.into()],
        counterexamples: Vec::new(),
    }
}

/// Every action, terms beyond ASCII, patterns that overlap with detectors.
fn mixed_policy() -> InterceptorPolicy {
    let detectors = BTreeMap::from([
        ("email".to_owned(), DetectorSetting::Hash),
        ("payment_card".to_owned(), DetectorSetting::Mask),
        ("phone".to_owned(), DetectorSetting::Remove),
    ]);
    InterceptorPolicy {
        detectors,
        terms: vec![
            TermRule {
                id: "names".into(),
                terms: vec![
                    "project x".into(),
                    "größe".into(),
                    "приват".into(),
                    "project".into(),
                ],
                action: Action::Redact,
                category: Category::Custom,
            },
            TermRule {
                id: "stop".into(),
                terms: vec!["plan nine".into()],
                action: Action::Withhold,
                category: Category::Custom,
            },
        ],
        patterns: vec![
            pattern("ticket", "T-[0-9]{5,8}", Action::Mask, "see T-12345"),
            pattern("quote", "q.{3,20}q", Action::Remove, "q abc q"),
        ],
        ..InterceptorPolicy::default()
    }
}

fn mixed_rules() -> RuleSet {
    RuleSet::compile(&Policy::default(), &mixed_policy(), 1).unwrap()
}

fn in_chunks<'a>(rules: &RuleSet, chunks: impl IntoIterator<Item = &'a [u8]>) -> Filtered {
    let mut text = String::new();
    let mut interceptor = Interceptor::new(rules, KEY);
    for chunk in chunks {
        interceptor.push(chunk, &mut text);
        assert!(interceptor.held_back_bytes() <= rules.hold_back_bytes());
    }
    let report = interceptor.finish(&mut text);
    Filtered { text, report }
}

#[track_caller]
fn assert_same_for_all_chunks(rules: &RuleSet, input: &[u8]) -> Filtered {
    let whole = intercept(rules, &KEY, input);
    for cut in 0..=input.len() {
        let (head, tail) = input.split_at(cut);
        assert_eq!(in_chunks(rules, [head, tail]), whole, "cut at {cut}");
    }
    assert_eq!(in_chunks(rules, input.chunks(1)), whole, "single bytes");
    whole
}

/// (text, what comes out under the default rules)
const FIXTURES: &[(&str, &str)] = &[
    ("mail ann.lee+x@mail.example.org.", "mail [REDACTED:email]."),
    (
        "x@y.zz-xoxb-123456789012-abcdefGHIJAIzaSyA-1234567890abcdefghijklmnopqrstu",
        "[REDACTED:email]-[REDACTED:slack_token]",
    ),
    ("<ann@example.org>", "<[REDACTED:email]>"),
    (
        "ann@localhost and @handle stay",
        "ann@localhost and @handle stay",
    ),
    ("call +1 415 555 2671 now", "call [REDACTED:phone] now"),
    (
        "call (415) 555-2671, or 1-415-555-2671",
        "call [REDACTED:phone], or [REDACTED:phone]",
    ),
    ("+44 20 7946 0958", "[REDACTED:phone]"),
    (
        "order 415 1 2671 and 2024-11-23",
        "order 415 1 2671 and 2024-11-23",
    ),
    ("ssn 536-90-4399!", "ssn [REDACTED:us_ssn]!"),
    (
        "no ssn 666-90-4399, 000-12-3456, 536-00-4399",
        "no ssn 666-90-4399, 000-12-3456, 536-00-4399",
    ),
    (
        "card 4111 1111 1111 1111 ok",
        "card [REDACTED:payment_card] ok",
    ),
    ("card 4111-1111-1111-1111.", "card [REDACTED:payment_card]."),
    ("not luhn 4111111111111112", "not luhn 4111111111111112"),
    (
        "iban DE89 3704 0044 0532 0130 00 end",
        "iban [REDACTED:iban] end",
    ),
    ("iban gb82west12345698765432", "iban [REDACTED:iban]"),
    (
        "bad iban DE88370400440532013000",
        "bad iban DE88370400440532013000",
    ),
    ("host 192.168.0.1 up", "host [REDACTED:ipv4] up"),
    ("host 256.168.0.1 and 1.2.3", "host 256.168.0.1 and 1.2.3"),
    ("at 2001:db8::8a2e:370:7334.", "at [REDACTED:ipv6]."),
    (
        "at fe80::1 and 12:30:45 and a::b",
        "at [REDACTED:ipv6] and 12:30:45 and a::b",
    ),
    (
        "mac 00:1B:44:11:3A:B7 and 001b.4411.3ab7",
        "mac [REDACTED:mac] and [REDACTED:mac]",
    ),
    ("key AKIAIOSFODNN7EXAMPLE;", "key [REDACTED:aws_key];"),
    ("AKIAshort stays", "AKIAshort stays"),
    (
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "[REDACTED:github_token]",
    ),
    ("xoxb-123456789012-abcdefGHIJ", "[REDACTED:slack_token]"),
    (
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc x",
        "[REDACTED:stripe_key] x",
    ),
    (
        "AIzaSyA-1234567890abcdefghijklmnopqrstu",
        "[REDACTED:google_api_key]",
    ),
    (
        "t eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sflKxw-_Q end",
        "t [REDACTED:jwt] end",
    ),
    (
        "Authorization: Bearer abc123def456ghi789.x/y= \nnext",
        "Authorization: [REDACTED:bearer] \nnext",
    ),
    (
        "the bearer of responsibilities",
        "the bearer of responsibilities",
    ),
    (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow+/IBAAKCAQEA\n-----END RSA PRIVATE KEY-----\nafter",
        "[REDACTED:pem_private_key]\nafter",
    ),
    (
        r#"{"key":"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"}"#,
        r#"{"key":"[REDACTED:pem_private_key]\n"}"#,
    ),
    ("whsec_abcdefghijklmnop1234", "[REDACTED:stripe_key]"),
    (
        "dial 911-555-0123, 415-911-0123",
        "dial 911-555-0123, 415-911-0123",
    ),
    (
        "-----BEGIN CERTIFICATE-----\nMIIE",
        "-----BEGIN CERTIFICATE-----\nMIIE",
    ),
    // Evasions: zero-width, soft hyphen, full-width, Arabic-Indic digits, dashes, spaces, look-alikes.
    ("a\u{200b}nn@exam\u{ad}ple.org", "[REDACTED:email]"),
    ("\u{ff41}nn\u{ff20}example\u{ff0e}org", "[REDACTED:email]"),
    ("аnn@ехаmple.org", "[REDACTED:email]"),
    ("536\u{2013}90\u{2011}4399", "[REDACTED:us_ssn]"),
    ("٤١١١ ١١١١ ١١١١ ١١١١", "[REDACTED:payment_card]"),
    (
        "4111\u{a0}1111\u{202f}1111\u{2009}1111",
        "[REDACTED:payment_card]",
    ),
    ("𝟓𝟑𝟔-𝟗𝟎-𝟒𝟑𝟗𝟗", "[REDACTED:us_ssn]"),
    (
        "4\u{338}111 1111\u{2060} 1111 1111",
        "[REDACTED:payment_card]",
    ),
    (
        "\u{3164}AKIA\u{200d}IOSFODNN7EXAMPLE",
        "\u{3164}[REDACTED:aws_key]",
    ),
];

#[test]
fn fixtures_come_out_as_expected_for_every_cut() {
    let rules = default_rules();
    for (input, expected) in FIXTURES {
        let whole = assert_same_for_all_chunks(&rules, input.as_bytes());
        assert_eq!(whole.text, *expected, "{input}");
        assert_eq!(whole.report.verdict, Verdict::Passed);
        let again = intercept(&rules, &KEY, whole.text.as_bytes());
        assert_eq!(again.text, whole.text, "filtering twice: {input}");
    }
}

#[test]
fn fixtures_under_every_action_are_the_same_for_every_cut() {
    let rules = mixed_rules();
    for (input, _) in FIXTURES {
        let whole = assert_same_for_all_chunks(&rules, input.as_bytes());
        let again = intercept(&rules, &KEY, whole.text.as_bytes());
        assert_eq!(again.text, whole.text, "filtering twice: {input}");
    }
}

#[test]
fn actions_do_what_they_say() {
    let rules = mixed_rules();
    let filter = |text: &str| assert_same_for_all_chunks(&rules, text.as_bytes());
    assert_eq!(
        filter("pay 4111 1111 1111 1111").text,
        "pay [***************1111]"
    );
    assert_eq!(filter("call +1 415 555 2671").text, "call [-]");
    assert_eq!(filter("see T-12345678").text, "see [******5678]");
    assert_eq!(filter("see T-12345").text, "see [*******]");
    let hashed = filter("ann@example.org ann@example.org bob@example.org").text;
    let parts: Vec<&str> = hashed.split(' ').collect();
    assert_eq!(parts[0], parts[1]);
    assert_ne!(parts[0], parts[2]);
    assert!(
        parts[0].starts_with("[HASH:email:") && parts[0].len() == 29,
        "{hashed}"
    );
    assert_eq!(
        filter("Project X, PROJECT, projects, Größe, приват, прават").text,
        "[REDACTED:names], [REDACTED:names], projects, [REDACTED:names], [REDACTED:names], прават"
    );
}

#[test]
fn withhold_shows_exactly_what_stood_before_the_deciding_place() {
    let rules = mixed_rules();
    let whole =
        assert_same_for_all_chunks(&rules, b"first ann@example.org then Plan Nine and more");
    assert!(matches!(whole.report.verdict, Verdict::Withheld { .. }));
    assert!(
        whole.text.starts_with("first [HASH:email:") && whole.text.ends_with("] then "),
        "{}",
        whole.text
    );
    assert!(whole.into_supervised().is_err());
}

#[test]
fn spans_name_the_raw_bytes_of_the_input() {
    let rules = default_rules();
    let input = b"\xff\xfeto a\xe2\x80\x8bnn@example.org\xff.".as_slice();
    let filtered = intercept(&rules, &KEY, input);
    assert_eq!(
        filtered.text,
        "\u{fffd}\u{fffd}to [REDACTED:email]\u{fffd}."
    );
    let span = filtered.report.spans[0];
    assert_eq!(
        &input[span.start as usize..span.end as usize],
        b"a\xe2\x80\x8bnn@example.org"
    );
    assert_eq!(filtered.report.findings.bytes, 18);
    assert_eq!(filtered.report.findings.words, 3);
}

#[test]
fn a_run_of_invisible_characters_is_cut_to_eight_and_counted() {
    let rules = default_rules();
    let input = format!("a{}b{}", "\u{200b}".repeat(20), "\u{200b}".repeat(8));
    let filtered = assert_same_for_all_chunks(&rules, input.as_bytes());
    assert_eq!(filtered.text, format!("a{0}b{0}", "\u{200b}".repeat(8)));
    assert_eq!(filtered.report.findings.invisible_cut, 12);
}

#[test]
fn an_endless_token_is_not_buffered() {
    let rules = default_rules();
    let mut interceptor = Interceptor::new(&rules, KEY);
    let mut out = String::new();
    interceptor.push(b"x eyJhbGciOiJIUzI1NiJ9.", &mut out);
    for _ in 0..1000 {
        interceptor.push(&[b'a'; 1000], &mut out);
        assert!(interceptor.held_back_bytes() <= rules.hold_back_bytes());
    }
    interceptor.push(b" end", &mut out);
    let report = interceptor.finish(&mut out);
    assert_eq!(out, "x [REDACTED:jwt] end");
    assert_eq!(report.findings.bytes, 1_000_021);
}

#[test]
fn switches_turn_categories_off() {
    let policy = Policy {
        allow_pii_leakage: true,
        allow_harmful_content: true,
    };
    let mut interceptor = InterceptorPolicy::default();
    interceptor
        .detectors
        .insert("ipv4".into(), DetectorSetting::Redact);
    interceptor
        .detectors
        .insert("aws_key".into(), DetectorSetting::Off);
    interceptor.terms.push(TermRule {
        id: "bad_words".into(),
        terms: vec!["bad".into()],
        action: Action::Redact,
        category: Category::Harmful,
    });
    let rules = RuleSet::compile(&policy, &interceptor, 1).unwrap();
    let text = "ann@example.org bad AKIAIOSFODNN7EXAMPLE 10.0.0.1 sk_live_4eC39HqLyjWDarjtT1zdp7dc";
    assert_eq!(
        intercept(&rules, &KEY, text.as_bytes()).text,
        "ann@example.org bad AKIAIOSFODNN7EXAMPLE [REDACTED:ipv4] [REDACTED:stripe_key]"
    );
}

#[test]
fn rules_that_cannot_hold_are_refused_with_their_place() {
    let refused = |change: &dyn Fn(&mut InterceptorPolicy)| {
        let mut policy = InterceptorPolicy::default();
        change(&mut policy);
        let errors = RuleSet::compile(&Policy::default(), &policy, 1).unwrap_err();
        errors
            .into_iter()
            .map(|error| format!("{}: {}", error.path, error.message))
            .collect::<Vec<_>>()
    };
    let with = |pattern: PatternRule| refused(&|p| p.patterns.push(pattern.clone()));
    for (text, must) in [
        ("a+", "longest match"),
        ("a{1,300}", "longest match"),
        ("(a", "linear-time"),
        ("(a)\\1", "linear-time"),
        ("a?", "empty text"),
        ("^a", "anchor"),
        ("\\ba", "anchor"),
        ("é", "ASCII"),
        ("REDACTED", "replaces a finding"),
        ("(?:[a-z]{40}[0-9]{40}){3}|x", "replaces a finding|example"),
    ] {
        let example = if text == "REDACTED" { text } else { "zzz" };
        let errors = with(pattern("p", text, Action::Redact, example));
        assert!(!errors.is_empty(), "{text}");
        let is_told = |must: &str| errors.iter().any(|error| error.contains(must));
        assert!(must.split('|').any(is_told), "{text}: {errors:?}");
        assert!(errors[0].starts_with("interceptor.patterns"), "{errors:?}");
    }
    let errors = refused(&|p| {
        p.detectors.insert("emial".into(), DetectorSetting::Off);
        p.detectors.insert("jwt".into(), DetectorSetting::Mask);
        p.patterns
            .push(pattern("email", "ab", Action::Redact, "ab"));
    });
    assert_eq!(errors.len(), 3, "{errors:?}");
    let errors = refused(&|p| {
        p.detectors.insert("email".into(), DetectorSetting::Mask);
        p.patterns
            .push(pattern("pin", "[0-9]{4}", Action::Redact, "1234"));
    });
    assert!(errors[0].contains("replaces a finding"), "{errors:?}");
    let errors = refused(&|p| {
        p.detectors.insert("email".into(), DetectorSetting::Hash);
        p.patterns.push(pattern(
            "word",
            "[a-z]{16}",
            Action::Redact,
            "abcdefghijklmnop",
        ));
    });
    assert!(errors[0].contains("replaces a finding"), "{errors:?}");
    assert!(RuleSet::compile(&Policy::default(), &InterceptorPolicy::default(), 2).is_err());
}

/// Texts made of what rules care about, so that random ones hit.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::sample::select(FIXTURES).prop_map(|(text, _)| text.as_bytes().to_vec()),
        proptest::sample::select(
            &[
                "@",
                ".",
                "-",
                " ",
                "+1 ",
                "4111",
                "1111 ",
                "eyJ",
                "Bearer ",
                "-----",
                "BEGIN ",
                "END ",
                "PRIVATE KEY",
                "[",
                "]",
                "*",
                "[REDACTED:email]",
                "ann",
                "x@y.zz",
                "10.0.0",
                "::",
                "ab:",
                "q",
                "T-",
                "12345",
                "project",
                " x",
                "plan nine",
                "\u{200b}",
                "é",
                "漢",
                "DE89",
                "(415) ",
                "555",
                "\u{fffd}",
                "größe",
                "akia",
                "AKIA",
            ][..]
        )
        .prop_map(|text| text.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(budget("INTERCEPTOR_SPLITS", 512)))]

    #[test]
    fn chunks_never_matter(
        input in pieces(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        is_mixed in any::<bool>(),
    ) {
        let rules = if is_mixed { mixed_rules() } else { default_rules() };
        let whole = intercept(&rules, &KEY, &input);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]);
        prop_assert_eq!(in_chunks(&rules, chunks), whole.clone());
        prop_assert_eq!(in_chunks(&rules, input.chunks(1)), whole);
    }

    #[test]
    fn filtering_twice_changes_nothing(input in pieces(), is_mixed in any::<bool>()) {
        let rules = if is_mixed { mixed_rules() } else { default_rules() };
        let once = intercept(&rules, &KEY, &input);
        if once.report.verdict == Verdict::Passed {
            let twice = intercept(&rules, &KEY, once.text.as_bytes());
            prop_assert_eq!(twice.text, once.text, "of {:?}", String::from_utf8_lossy(&input));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_come_out_as_utf8(
        input in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let rules = default_rules();
        let whole = intercept(&rules, &KEY, &input);
        prop_assert_eq!(in_chunks(&rules, input.chunks(7)), whole.clone());
        if whole.report.findings.spans == 0 && whole.report.findings.invisible_cut == 0 {
            prop_assert_eq!(whole.text, String::from_utf8_lossy(&input));
        }
    }

    /// Spans name input bytes: what stands between them is what was let through.
    #[test]
    fn spans_and_what_is_between_them_make_up_the_input(input in pieces()) {
        let rules = default_rules();
        let filtered = intercept(&rules, &KEY, &input);
        prop_assume!(filtered.report.findings.invisible_cut == 0);
        let mut rebuilt = String::new();
        let mut at = 0;
        for span in &filtered.report.spans {
            let (start, end) = (span.start as usize, span.end as usize);
            prop_assert!(at <= start && start < end && end <= input.len());
            rebuilt += &String::from_utf8_lossy(&input[at..start]);
            rebuilt += "[REDACTED:";
            rebuilt += &rules.rules()[span.rule].id;
            rebuilt += "]";
            at = end;
        }
        rebuilt += &String::from_utf8_lossy(&input[at..]);
        prop_assert_eq!(rebuilt, filtered.text);
    }
}
