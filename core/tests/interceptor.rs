//! The interceptor: what it finds, what it lets through, and what it refuses.
#![allow(clippy::unwrap_used)]

mod interceptor_support;

use axiom_hive_core::constitution::{
    Action, Category, DetectorSetting, InterceptorPolicy, PatternRule, Policy, TermRule,
};
use axiom_hive_core::interceptor::{Filtered, Interceptor, RuleSet, Verdict, intercept};
use interceptor_support::*;

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

#[test]
fn fixtures_come_out_as_expected_for_every_cut() {
    let rules = &*DEFAULT;
    for (input, expected) in FIXTURES {
        let whole = assert_same_for_all_chunks(rules, input.as_bytes());
        assert_eq!(whole.text, *expected, "{input}");
        assert_eq!(whole.report.verdict, Verdict::Passed);
        let again = intercept(rules, &KEY, whole.text.as_bytes());
        assert_eq!(again.text, whole.text, "filtering twice: {input}");
    }
}

#[test]
fn fixtures_under_every_action_are_the_same_for_every_cut() {
    let rules = &*MIXED;
    for (input, _) in FIXTURES {
        let whole = assert_same_for_all_chunks(rules, input.as_bytes());
        let again = intercept(rules, &KEY, whole.text.as_bytes());
        assert_eq!(again.text, whole.text, "filtering twice: {input}");
    }
}

#[test]
fn actions_do_what_they_say() {
    let rules = &*MIXED;
    let filter = |text: &str| assert_same_for_all_chunks(rules, text.as_bytes());
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
    let rules = &*MIXED;
    let whole = assert_same_for_all_chunks(rules, b"first ann@example.org then Plan Nine and more");
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
    let rules = &*DEFAULT;
    let input = b"\xff\xfeto a\xe2\x80\x8bnn@example.org\xff.".as_slice();
    let filtered = intercept(rules, &KEY, input);
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
    let rules = &*DEFAULT;
    let input = format!("a{}b{}", "\u{200b}".repeat(20), "\u{200b}".repeat(8));
    let filtered = assert_same_for_all_chunks(rules, input.as_bytes());
    assert_eq!(filtered.text, format!("a{0}b{0}", "\u{200b}".repeat(8)));
    assert_eq!(filtered.report.findings.invisible_cut, 12);
}

#[test]
fn an_endless_token_is_not_buffered() {
    let rules = &*DEFAULT;
    let mut interceptor = Interceptor::new(rules, KEY);
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
    let rules = &RuleSet::compile(&policy, &interceptor, 1).unwrap();
    let text = "ann@example.org bad AKIAIOSFODNN7EXAMPLE 10.0.0.1 sk_live_4eC39HqLyjWDarjtT1zdp7dc";
    assert_eq!(
        intercept(rules, &KEY, text.as_bytes()).text,
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
