//! The interceptor next to a copy and to a bare Aho-Corasick pass over the same bytes.

use std::io::{self, Write};

use aho_corasick::AhoCorasick;
use axiom_hive_core::constitution::{InterceptorPolicy, Policy};
use axiom_hive_core::interceptor::{HashKey, Interceptor, LATEST_CATALOGUE, RuleSet};

use crate::BenchError;
use crate::corpus::{self, Corpus};
use crate::measure::{hundredths, medians, megabytes_per_second, percent};
use crate::table::Table;

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
pub(crate) fn run(out: &mut dyn Write) -> Result<(), BenchError> {
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
    for corpus in &corpora {
        table.row(measure(&rules, &literals, corpus));
    }
    writeln!(
        out,
        "Interceptor, one core, {} MB a text in chunks of {CHUNK_BYTES} B, hold-back at most {} B",
        corpus::CORPUS_BYTES / 1_000_000,
        rules.hold_back_bytes()
    )?;
    table.print(out)?;
    Ok(())
}

fn measure(rules: &RuleSet, literals: &AhoCorasick, corpus: &Corpus) -> Vec<String> {
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
    vec![
        corpus.name.to_owned(),
        filter(rules, bytes).to_string(),
        speed(0).to_string(),
        speed(2).to_string(),
        speed(3).to_string(),
        format!("{} %", percent(speed(0), speed(3))),
        format!("{}x", hundredths(percent(times[0], times[1]))),
    ]
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
