//! The interceptor on random texts: chunks never matter, and filtering twice changes nothing.
#![allow(clippy::unwrap_used)]

mod interceptor_support;

use axiom_hive_core::interceptor::{Verdict, intercept};
use interceptor_support::*;
use proptest::prelude::*;

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
                "x@y.xn--",
                "_",
                "\0",
                "\u{7f}",
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
        let rules = if is_mixed { &*MIXED } else { &*DEFAULT };
        let whole = intercept(rules, &KEY, &input);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]);
        prop_assert_eq!(in_chunks(rules, chunks), whole.clone());
        prop_assert_eq!(in_chunks(rules, input.chunks(1)), whole);
    }

    #[test]
    fn filtering_twice_changes_nothing(input in pieces(), is_mixed in any::<bool>()) {
        let rules = if is_mixed { &*MIXED } else { &*DEFAULT };
        let once = intercept(rules, &KEY, &input);
        if once.report.verdict == Verdict::Passed {
            let twice = intercept(rules, &KEY, once.text.as_bytes());
            prop_assert_eq!(twice.text, once.text, "of {:?}", String::from_utf8_lossy(&input));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_come_out_as_utf8(
        input in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let rules = &*DEFAULT;
        let whole = intercept(rules, &KEY, &input);
        prop_assert_eq!(in_chunks(rules, input.chunks(7)), whole.clone());
        if whole.report.findings.spans == 0 && whole.report.findings.invisible_cut == 0 {
            prop_assert_eq!(whole.text, String::from_utf8_lossy(&input));
        }
    }

    /// Spans name input bytes: what stands between them is what was let through.
    #[test]
    fn spans_and_what_is_between_them_make_up_the_input(input in pieces()) {
        let rules = &*DEFAULT;
        let filtered = intercept(rules, &KEY, &input);
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
