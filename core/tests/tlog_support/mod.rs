//! What the log's tests share.

use proptest::test_runner::Config;

/// Cases of a property: `default`, or `AXIOM_HIVE_BUDGET_<NAME>`. `tests/budget.toml` gathers them.
pub(crate) fn budget(name: &str, default: u32) -> Config {
    let variable = format!("AXIOM_HIVE_BUDGET_{name}");
    let cases = std::env::var(&variable).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} must be a count, not {text:?}"))
    });
    Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    }
}
