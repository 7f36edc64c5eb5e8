//! Rules and texts for the interceptor's tests.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axiom_hive_core::constitution::{
    Action, Category, DetectorSetting, InterceptorPolicy, PatternRule, Policy, TermRule,
};
use axiom_hive_core::interceptor::{Filtered, HashKey, Interceptor, RuleSet};

pub(crate) const KEY: HashKey = HashKey([7; 32]);

pub(crate) fn budget(name: &str, default: u32) -> u32 {
    let variable = format!("AXIOM_HIVE_BUDGET_{name}");
    std::env::var(variable).map_or(default, |count| count.parse().unwrap())
}

/// Those of a constitution that says nothing of the interceptor.
pub(crate) static DEFAULT: LazyLock<RuleSet> = LazyLock::new(|| {
    RuleSet::compile(&Policy::default(), &InterceptorPolicy::default(), 1).unwrap()
});

pub(crate) fn pattern(id: &str, pattern: &str, action: Action, example: &str) -> PatternRule {
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
pub(crate) fn mixed_policy() -> InterceptorPolicy {
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

/// Those of [`mixed_policy`].
pub(crate) static MIXED: LazyLock<RuleSet> =
    LazyLock::new(|| RuleSet::compile(&Policy::default(), &mixed_policy(), 1).unwrap());

pub(crate) fn in_chunks<'a>(
    rules: &RuleSet,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Filtered {
    let mut text = String::new();
    let mut interceptor = Interceptor::new(rules, KEY);
    for chunk in chunks {
        interceptor.push(chunk, &mut text);
        assert!(interceptor.held_back_bytes() <= rules.hold_back_bytes());
    }
    let report = interceptor.finish(&mut text);
    Filtered { text, report }
}

/// (text, what comes out under the default rules)
pub(crate) const FIXTURES: &[(&str, &str)] = &[
    ("mail ann.lee+x@mail.example.org.", "mail [REDACTED:email]."),
    (
        "x@y.zz-xoxb-123456789012-abcdefGHIJAIzaSyA-1234567890abcdefghijklmnopqrstu",
        "[REDACTED:email]-[REDACTED:slack_token]",
    ),
    ("<ann@example.org>", "<[REDACTED:email]>"),
    ("to ann@example.xn--p1ai.", "to [REDACTED:email]."),
    ("ann@xn--e1afmkfd.XN--80AK6AA92E-", "[REDACTED:email]-"),
    ("ann@example.xn--", "[REDACTED:email]--"),
    ("ann@example.xn--ab-c_d", "[REDACTED:email]-c_d"),
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
        "order 4155552671, call 555-2671",
        "order 4155552671, call 555-2671",
    ),
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
    ("536\0-90-43\u{7f}99", "[REDACTED:us_ssn]"),
    ("ann\u{8}@exam\u{1b}ple\u{9f}.org", "[REDACTED:email]"),
    (
        "a\u{b}ann@example.org\u{c}b",
        "a\u{b}[REDACTED:email]\u{c}b",
    ),
    (
        "\u{3164}AKIA\u{200d}IOSFODNN7EXAMPLE",
        "\u{3164}[REDACTED:aws_key]",
    ),
];
