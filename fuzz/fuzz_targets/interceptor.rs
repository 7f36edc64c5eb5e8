//! The output, the verdict and the counts are the same for every way of cutting the input; the
//! filtered text, filtered again, stays as it is; no more is held back than the rules say.
#![no_main]

use std::sync::LazyLock;

use axiom_hive_core::constitution::{InterceptorPolicy, Policy};
use axiom_hive_core::interceptor::{
    HashKey, Interceptor, LATEST_CATALOGUE, Report, RuleSet, Verdict,
};
use libfuzzer_sys::fuzz_target;

static RULES: LazyLock<RuleSet> = LazyLock::new(|| {
    let rules = RuleSet::compile(
        &Policy::default(),
        &InterceptorPolicy::default(),
        LATEST_CATALOGUE,
    );
    rules.unwrap_or_else(|errors| {
        panic!("the default rules do not compile: {} errors", errors.len())
    })
});

fn filter<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (String, Report) {
    let mut out = String::new();
    let mut interceptor = Interceptor::new(&RULES, HashKey([7; 32]));
    for chunk in chunks {
        interceptor.push(chunk, &mut out);
    }
    let report = interceptor.finish(&mut out);
    (out, report)
}

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (size, split, text) = input;
    let (whole, report) = filter(std::iter::once(text));
    let even = filter(text.chunks(usize::from(size).max(1)));
    assert_eq!(even, (whole.clone(), report.clone()));
    let (left, right) = text.split_at(usize::from(split).min(text.len()));
    assert_eq!(
        filter([left, right].into_iter()),
        (whole.clone(), report.clone())
    );
    if report.verdict == Verdict::Passed {
        let (again, _) = filter(std::iter::once(whole.as_bytes()));
        assert_eq!(again, whole);
    }
});
