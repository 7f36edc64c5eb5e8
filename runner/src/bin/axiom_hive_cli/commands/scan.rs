//! `scan`: a dry run of the interceptor that explains each span.

use std::fmt::Write as _;
use std::path::Path;

use axiom_hive_core::interceptor::{HashKey, RuleSet, Verdict, intercept};
use axiom_hive_runner::exit::{Exit, Failure};
use serde_json::json;

use crate::input::{read_constitution, read_file, read_stdin};
use crate::output::Printer;

pub(crate) fn scan(
    constitution: &Path,
    file: Option<&Path>,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let constitution = read_constitution(constitution)?;
    let rules = RuleSet::compile(
        &constitution.policy,
        &constitution.interceptor,
        constitution.meta.catalogue,
    )
    .map_err(|_| Failure::new(Exit::Bug, "the rules of a valid constitution must compile"))?;
    let input = match file {
        Some(path) => read_file(path)?,
        None => read_stdin("the text")?.into_bytes(),
    };
    // A dry run writes no record, so no hash of it can be linked to a task.
    let filtered = intercept(&rules, &HashKey([0; 32]), &input);
    let report = &filtered.report;
    let verdict = match report.verdict {
        Verdict::Passed => "passed".to_owned(),
        Verdict::Withheld { rule } => format!("withheld by {}", rules.rules()[rule].id),
        Verdict::BudgetSpent => "withheld: the step budget was spent".to_owned(),
    };
    let mut lines = String::new();
    let mut spans = Vec::new();
    for span in &report.spans {
        let rule = &rules.rules()[span.rule];
        let (start, end) = (span.start as usize, span.end as usize);
        let found = String::from_utf8_lossy(input.get(start..end).unwrap_or_default());
        // Writing to a string cannot fail.
        let _ = writeln!(
            lines,
            "{start}..{end}  {}  {:?}  {found:?}",
            rule.id, rule.action
        );
        spans.push(json!({"rule": rule.id, "action": rule.action, "start": start, "end": end}));
    }
    let findings = report.findings;
    printer.note(&format!(
        "{verdict}; {} spans, {} words, {} bytes",
        findings.spans, findings.words, findings.bytes
    ));
    printer.note(lines.trim_end());
    let value =
        json!({"verdict": verdict, "text": filtered.text, "spans": spans, "removed": findings});
    printer.result(&filtered.text, &value)
}
