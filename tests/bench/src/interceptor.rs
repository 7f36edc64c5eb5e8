//! The interceptor next to a copy and to a bare Aho-Corasick pass over the same bytes.

use std::io::{self, Write};

use aho_corasick::AhoCorasick;
use axiom_hive_core::constitution::{InterceptorPolicy, Policy};
use axiom_hive_core::interceptor::{HashKey, Interceptor, LATEST_CATALOGUE, RuleSet};

use crate::corpus::{self, Corpus};
use crate::measure::{hundredths, medians, megabytes_per_second, percent};
use crate::table::Table;
use crate::{Bar, BenchError};

/// Bytes pushed at once, as a pipe gives them.
const CHUNK_BYTES: usize = 64 * 1024;

/// What a filter has to look for at the least; the bare pass searches for these and does nothing.
const LITERALS: &[&str] = &[
    "@",
    "AKIA",
    "ghp_",
    "gho_",
    "github_pat_",
    "xoxb-",
    "xoxp-",
    "sk_live_",
    "rk_live_",
    "AIza",
    "eyJ",
    "-----BEGIN",
    "Bearer ",
    "bearer ",
    "+1",
    "+44",
    "::",
];

/// Prints one table; the first two rows are what most texts are, the others what an attacker sends.
pub(crate) fn run(out: &mut dyn Write) -> Result<Vec<Bar>, BenchError> {
    let rules = RuleSet::compile(
        &Policy::default(),
        &InterceptorPolicy::default(),
        LATEST_CATALOGUE,
    )
    .map_err(|errors| BenchError::Rules(errors.len()))?;
    let literals =
        AhoCorasick::new(LITERALS).map_err(|error| io::Error::other(error.to_string()))?;
    let mut table = Table::new(&[
        "text",
        "findings",
        "interceptor MB/s",
        "memcpy MB/s",
        "Aho-Corasick MB/s",
        "of Aho-Corasick",
        "time for 4x length",
    ]);
    let mut corpora = vec![corpus::clean_prose(), corpus::dense_findings()];
    corpora.extend(corpus::families());
    let mut rows = Vec::new();
    for corpus in &corpora {
        let row = measure(&rules, &literals, corpus);
        table.row(row.cells(corpus.name));
        rows.push(row);
    }
    writeln!(
        out,
        "Interceptor, one core, {} MB a text in chunks of {CHUNK_BYTES} B, hold-back at most {} B",
        corpus::CORPUS_BYTES / 1_000_000,
        rules.hold_back_bytes()
    )?;
    table.print(out)?;
    Ok(bars(&rows))
}

/// What was measured on one text.
struct Row {
    findings: u64,
    megabytes_per_second: u64,
    memcpy: u64,
    aho_corasick: u64,
    /// Time for the whole text as a percentage of the time for its first quarter.
    growth: u64,
}

impl Row {
    fn cells(&self, name: &str) -> Vec<String> {
        vec![
            name.to_owned(),
            self.findings.to_string(),
            self.megabytes_per_second.to_string(),
            self.memcpy.to_string(),
            self.aho_corasick.to_string(),
            format!(
                "{} %",
                percent(self.megabytes_per_second, self.aho_corasick)
            ),
            format!("{}x", hundredths(self.growth)),
        ]
    }
}

/// The first row is clean prose; those from the third on are adversarial families.
fn bars(rows: &[Row]) -> Vec<Bar> {
    let clean = rows.first().map_or(0, |row| row.megabytes_per_second);
    let families = rows.get(2..).unwrap_or_default();
    let worst = families
        .iter()
        .map(|row| row.megabytes_per_second)
        .min()
        .unwrap_or(0);
    let growth = families.iter().map(|row| row.growth).max().unwrap_or(0);
    vec![
        Bar {
            what: "clean prose: at least 100 MB/s",
            measured: format!("{clean} MB/s"),
            is_met: clean >= 100,
        },
        Bar {
            what: "worst family: at least 20 MB/s",
            measured: format!("{worst} MB/s"),
            is_met: worst >= 20,
        },
        Bar {
            // Quadratic time would be 16x; the rest is the noise of the machine.
            what: "worst family: linear (4x length in at most 6x time)",
            measured: format!("{}x", hundredths(growth)),
            is_met: growth <= 600,
        },
    ]
}

fn measure(rules: &RuleSet, literals: &AhoCorasick, corpus: &Corpus) -> Row {
    let bytes = corpus.bytes.as_slice();
    let quarter = &bytes[..bytes.len() / 4];
    let mut copy = vec![0_u8; bytes.len()];
    let times = medians(vec![
        Box::new(|| filter(rules, bytes)),
        Box::new(|| filter(rules, quarter)),
        Box::new(move || {
            copy.copy_from_slice(bytes);
            u64::from(copy[bytes.len() / 2])
        }),
        Box::new(|| literals.find_iter(bytes).count() as u64),
    ]);
    let speed = |index: usize| megabytes_per_second(bytes.len(), times[index]);
    Row {
        findings: filter(rules, bytes),
        megabytes_per_second: speed(0),
        memcpy: speed(2),
        aho_corasick: speed(3),
        growth: percent(times[0], times[1]),
    }
}

/// Filters a text chunk by chunk; the number of findings.
fn filter(rules: &RuleSet, bytes: &[u8]) -> u64 {
    let mut out = String::with_capacity(bytes.len() * 2);
    let mut interceptor = Interceptor::new(rules, HashKey([7; 32]));
    for chunk in bytes.chunks(CHUNK_BYTES) {
        interceptor.push(chunk, &mut out);
    }
    interceptor.finish(&mut out).findings.spans
}
