//! From TOML text to the model.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeTable;

use super::diagnostic::{ConstitutionErrors, Violation, is_at_or_below};
use super::model::{
    Action, Category, Constitution, DetectorSetting, Equivalence, InterceptorPolicy, LedgerPolicy,
    Meta, OnNoAgreement, PatternRule, Policy, PromptScreening, Quorum, RuntimeKind, RuntimePolicy,
    Show, SupervisorPolicy, Take, TermRule, Tie,
};
use super::reader::{MISSING, Reader, Section, TextOrTable};
use super::{MAX_CONSTITUTION_BYTES, validate};
use crate::interceptor::LATEST_CATALOGUE;

mod cluster;

const ROOT_KEYS: &[&str] = &[
    "meta",
    "policy",
    "supervisor",
    "interceptor",
    "runtime",
    "egress",
    "cluster",
    "ledger",
];
const META_KEYS: &[&str] = &["name", "version", "catalogue"];
const POLICY_KEYS: &[&str] = &["allow_harmful_content", "allow_pii_leakage"];
const SUPERVISOR_KEYS: &[&str] = &[
    "max_branches",
    "min_consensus_ratio",
    "quorum",
    "min_valid_branches",
    "equivalence",
    "show",
    "tie",
    "on_no_agreement",
    "max_prompt_bytes",
    "max_answer_bytes",
    "branch_timeout_seconds",
    "task_timeout_seconds",
    "max_parallel_branches",
];
const INTERCEPTOR_KEYS: &[&str] = &["prompt", "detectors", "terms", "patterns"];
const TERM_KEYS: &[&str] = &["id", "terms", "action", "category"];
const PATTERN_KEYS: &[&str] = &[
    "id",
    "pattern",
    "action",
    "category",
    "examples",
    "counterexamples",
];
const RUNTIME_KEYS: &[&str] = &[
    "kinds",
    "models",
    "loopback_port",
    "max_memory_mib",
    "max_processes",
];
const LEDGER_KEYS: &[&str] = &["keep_prompt", "keep_branches", "retention_days"];

const ACTIONS: &[(&str, Action)] = &[
    ("redact", Action::Redact),
    ("remove", Action::Remove),
    ("mask", Action::Mask),
    ("hash", Action::Hash),
    ("withhold", Action::Withhold),
];
const CATEGORIES: &[(&str, Category)] = &[
    ("custom", Category::Custom),
    ("harmful", Category::Harmful),
    ("pii", Category::Pii),
    ("secret", Category::Secret),
];
const DETECTOR_SETTINGS: &[(&str, DetectorSetting)] = &[
    ("off", DetectorSetting::Off),
    ("redact", DetectorSetting::Redact),
    ("remove", DetectorSetting::Remove),
    ("mask", DetectorSetting::Mask),
    ("hash", DetectorSetting::Hash),
    ("withhold", DetectorSetting::Withhold),
];
const RUNTIME_KINDS: &[(&str, RuntimeKind)] = &[
    ("process", RuntimeKind::Process),
    ("http", RuntimeKind::Http),
    ("openai", RuntimeKind::OpenAi),
    ("echo", RuntimeKind::Echo),
];

#[derive(Clone, Copy)]
enum EquivalenceKind {
    Text,
    Bytes,
    Json,
    Number,
    Regex,
    Choice,
}

const EQUIVALENCE_KINDS: &[(&str, EquivalenceKind)] = &[
    ("text", EquivalenceKind::Text),
    ("bytes", EquivalenceKind::Bytes),
    ("json", EquivalenceKind::Json),
    ("number", EquivalenceKind::Number),
    ("regex", EquivalenceKind::Regex),
    ("choice", EquivalenceKind::Choice),
];

/// Reads and validates `text`; every error is located in `file`.
pub(super) fn parse(file: &str, text: &str) -> Result<Constitution, ConstitutionErrors> {
    let mut reader = Reader::default();
    if text.len() > MAX_CONSTITUTION_BYTES {
        reader.report_at(
            0,
            format!(
                "a constitution must be at most {MAX_CONSTITUTION_BYTES} bytes, not {}",
                text.len()
            ),
        );
        return Err(ConstitutionErrors::locate(file, text, reader.into_errors()));
    }
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    let constitution = read(&mut reader, &Section::root(document.get_ref()));
    report_violations(&mut reader, &constitution);
    report_syntax(&mut reader, text, &syntax_errors);
    let errors = reader.into_errors();
    if errors.is_empty() {
        Ok(constitution)
    } else {
        Err(ConstitutionErrors::locate(file, text, errors))
    }
}

/// Reads `bytes`, which may not be UTF-8.
pub(super) fn parse_bytes(file: &str, bytes: &[u8]) -> Result<Constitution, ConstitutionErrors> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(file, text),
        Err(error) => {
            let mut reader = Reader::default();
            reader.report_at(error.valid_up_to(), "must be UTF-8".to_owned());
            // Up to the first broken byte lossy decoding changes nothing, so its place is right.
            let text = String::from_utf8_lossy(bytes);
            Err(ConstitutionErrors::locate(
                file,
                &text,
                reader.into_errors(),
            ))
        }
    }
}

/// Adds the errors of syntax, and drops what may only be a consequence of one: errors on the same
/// line or below a broken table header, and keys that seem to be missing.
fn report_syntax(reader: &mut Reader, text: &str, errors: &[toml::de::Error]) {
    if errors.is_empty() {
        return;
    }
    let offset_of =
        |error: &toml::de::Error| error.span().map_or(text.len(), |s| s.start.min(text.len()));
    // Offsets of the starts of lines and of table headers, so that a binary search finds those of an
    // error. The first is 0, so there is always one.
    let mut lines = vec![0];
    lines.extend(text.match_indices('\n').map(|(end, _)| end + 1));
    let is_header = |line: &usize| {
        text[*line..]
            .trim_start_matches([' ', '\t'])
            .starts_with('[')
    };
    let headers: Vec<usize> = lines.iter().copied().filter(is_header).collect();
    let last = |starts: &[usize], offset: usize| {
        let next = starts.partition_point(|start| *start <= offset);
        next.checked_sub(1).map(|index| starts[index])
    };
    let line_of = |offset| last(&lines, offset);
    let broken: BTreeSet<Option<usize>> = errors.iter().map(|e| line_of(offset_of(e))).collect();
    reader.retain(|error| {
        let header = last(&headers, error.offset);
        error.message != MISSING
            && !broken.contains(&line_of(error.offset))
            && (header.is_none() || !broken.contains(&header))
    });
    for error in errors {
        let offset = offset_of(error);
        let problem = if lacks_value(text, offset) {
            "a value must follow `=`"
        } else {
            error.message()
        };
        reader.report_at(offset, format!("must be valid TOML: {problem}"));
    }
}

/// Whether the line holds nothing but a comment after the `=` before `offset`: the parser then takes
/// the empty text for a string without quotes.
fn lacks_value(text: &str, offset: usize) -> bool {
    let offset = text.floor_char_boundary(offset);
    let before = text[..offset].trim_end_matches([' ', '\t']);
    let after = text[offset..].trim_start_matches([' ', '\t']);
    before.ends_with('=') && (after.is_empty() || after.starts_with(['\n', '\r', '#']))
}

/// Adds the rules of the model that do not hold, except where a value could not be read at all.
fn report_violations(reader: &mut Reader, constitution: &Constitution) {
    let Err(violations) = validate::validate(constitution, reader.broken()) else {
        return;
    };
    for Violation { path, message } in violations {
        // What else the rule looks at.
        let is_consequence = match path.as_str() {
            "supervisor.min_valid_branches" => {
                reader.is_broken("supervisor.max_branches") || reader.is_broken("supervisor.quorum")
            }
            list @ "runtime.kinds" => reader.broken().iter().any(|it| is_at_or_below(it, list)),
            _ => false,
        };
        if !is_consequence && !reader.is_broken(&path) {
            reader.report(&path, message);
        }
    }
}

fn read(reader: &mut Reader, root: &Section<'_, '_>) -> Constitution {
    reader.check_keys(root, ROOT_KEYS);
    let meta = reader.section(root, "meta", META_KEYS);
    let meta = Meta {
        name: reader.required_string(&meta, "name"),
        version: reader.required_string(&meta, "version"),
        catalogue: reader
            .integer(&meta, "catalogue")
            .unwrap_or(LATEST_CATALOGUE),
    };
    let policy = reader.section(root, "policy", POLICY_KEYS);
    let policy = Policy {
        allow_harmful_content: reader.boolean(&policy, "allow_harmful_content", false),
        allow_pii_leakage: reader.boolean(&policy, "allow_pii_leakage", false),
    };
    Constitution {
        meta,
        policy,
        supervisor: read_supervisor(reader, root),
        interceptor: read_interceptor(reader, root),
        runtime: read_runtime(reader, root),
        egress: cluster::read_egress(reader, root),
        cluster: cluster::read_cluster(reader, root),
        ledger: read_ledger(reader, root),
    }
}

fn read_supervisor(reader: &mut Reader, root: &Section<'_, '_>) -> SupervisorPolicy {
    let section = reader.section(root, "supervisor", SUPERVISOR_KEYS);
    let mut policy = SupervisorPolicy::default();
    let integers = [
        ("max_branches", &mut policy.max_branches),
        ("max_prompt_bytes", &mut policy.max_prompt_bytes),
        ("max_answer_bytes", &mut policy.max_answer_bytes),
        ("branch_timeout_seconds", &mut policy.branch_timeout_seconds),
        ("task_timeout_seconds", &mut policy.task_timeout_seconds),
        ("max_parallel_branches", &mut policy.max_parallel_branches),
    ];
    for (key, field) in integers {
        *field = reader.integer(&section, key).unwrap_or(*field);
    }
    policy.min_valid_branches = reader.integer(&section, "min_valid_branches");
    if let Some(ratio) = reader.decimal(&section, "min_consensus_ratio") {
        policy.min_consensus_ratio = ratio;
    }
    policy.quorum = reader
        .one_of(
            &section,
            "quorum",
            &[("all", Quorum::All), ("valid", Quorum::Valid)],
        )
        .unwrap_or_default();
    policy.show = reader
        .one_of(
            &section,
            "show",
            &[("agreed", Show::Agreed), ("branch", Show::Branch)],
        )
        .unwrap_or_default();
    policy.tie = reader
        .one_of(
            &section,
            "tie",
            &[("refuse", Tie::Refuse), ("lowest_index", Tie::LowestIndex)],
        )
        .unwrap_or_default();
    policy.equivalence = read_equivalence(reader, &section).unwrap_or_default();
    policy.on_no_agreement = read_on_no_agreement(reader, &section).unwrap_or_default();
    policy
}

fn read_equivalence(reader: &mut Reader, section: &Section<'_, '_>) -> Option<Equivalence> {
    let path = section.path_of("equivalence");
    let table = match reader.text_or_table(section, "equivalence")? {
        TextOrTable::Table(table) => table,
        TextOrTable::Text(text) => {
            return match reader.name(&path, text, EQUIVALENCE_KINDS)? {
                EquivalenceKind::Text => Some(Equivalence::Text),
                EquivalenceKind::Bytes => Some(Equivalence::Bytes),
                EquivalenceKind::Json => Some(Equivalence::Json),
                EquivalenceKind::Number | EquivalenceKind::Regex | EquivalenceKind::Choice => {
                    let example = "must be a table for this kind, such as \
                        { kind = \"number\", decimals = 2 }, \
                        { kind = \"regex\", pattern = \"…\" } or \
                        { kind = \"choice\", values = [\"yes\", \"no\"] }";
                    reader.report_broken(&path, example);
                    None
                }
            };
        }
    };
    let kind = reader.required_one_of(&table, "kind", EQUIVALENCE_KINDS)?;
    Some(match kind {
        EquivalenceKind::Text | EquivalenceKind::Bytes | EquivalenceKind::Json => {
            reader.check_keys(&table, &["kind"]);
            match kind {
                EquivalenceKind::Bytes => Equivalence::Bytes,
                EquivalenceKind::Json => Equivalence::Json,
                _ => Equivalence::Text,
            }
        }
        EquivalenceKind::Number => {
            reader.check_keys(&table, &["kind", "decimals"]);
            let decimals = reader.integer(&table, "decimals");
            reader.require(&table, "decimals", decimals.is_some());
            Equivalence::Number {
                decimals: decimals.unwrap_or_default(),
            }
        }
        EquivalenceKind::Regex => {
            reader.check_keys(&table, &["kind", "pattern", "take"]);
            Equivalence::Regex {
                pattern: reader.required_string(&table, "pattern"),
                take: reader
                    .one_of(
                        &table,
                        "take",
                        &[("first", Take::First), ("last", Take::Last)],
                    )
                    .unwrap_or_default(),
            }
        }
        EquivalenceKind::Choice => {
            reader.check_keys(&table, &["kind", "values"]);
            Equivalence::Choice {
                values: reader.strings(&table, "values"),
            }
        }
    })
}

fn read_on_no_agreement(reader: &mut Reader, section: &Section<'_, '_>) -> Option<OnNoAgreement> {
    const KINDS: &[(&str, bool)] = &[("fail", false), ("fallback", true)];
    let path = section.path_of("on_no_agreement");
    let table = match reader.text_or_table(section, "on_no_agreement")? {
        TextOrTable::Table(table) => table,
        TextOrTable::Text(text) => {
            if reader.name(&path, text, KINDS)? {
                let example =
                    "must be a table for this kind: { kind = \"fallback\", text = \"…\" }";
                reader.report_broken(&path, example);
            }
            return None;
        }
    };
    if reader.required_one_of(&table, "kind", KINDS)? {
        reader.check_keys(&table, &["kind", "text"]);
        Some(OnNoAgreement::Fallback {
            text: reader.required_string(&table, "text"),
        })
    } else {
        reader.check_keys(&table, &["kind"]);
        None
    }
}

fn read_interceptor(reader: &mut Reader, root: &Section<'_, '_>) -> InterceptorPolicy {
    let section = reader.section(root, "interceptor", INTERCEPTOR_KEYS);
    let prompt = reader.one_of(
        &section,
        "prompt",
        &[
            ("off", PromptScreening::Off),
            ("withhold", PromptScreening::Withhold),
            ("redact", PromptScreening::Redact),
        ],
    );
    let detectors = reader.open_section(&section, "detectors");
    let detectors: BTreeMap<String, DetectorSetting> = detectors
        .keys()
        .into_iter()
        .filter_map(|id| {
            let setting = reader.one_of(&detectors, id, DETECTOR_SETTINGS)?;
            Some((id.to_owned(), setting))
        })
        .collect();
    let mut terms = Vec::new();
    for table in reader.tables(&section, "terms", TERM_KEYS) {
        terms.push(TermRule {
            id: reader.required_string(&table, "id"),
            terms: reader.strings(&table, "terms"),
            action: read_action(reader, &table),
            category: read_category(reader, &table),
        });
    }
    let mut patterns = Vec::new();
    for table in reader.tables(&section, "patterns", PATTERN_KEYS) {
        patterns.push(PatternRule {
            id: reader.required_string(&table, "id"),
            pattern: reader.required_string(&table, "pattern"),
            action: read_action(reader, &table),
            category: read_category(reader, &table),
            examples: reader.strings(&table, "examples"),
            counterexamples: reader.strings(&table, "counterexamples"),
        });
    }
    InterceptorPolicy {
        prompt: prompt.unwrap_or_default(),
        detectors,
        terms,
        patterns,
    }
}

fn read_action(reader: &mut Reader, table: &Section<'_, '_>) -> Action {
    reader.one_of(table, "action", ACTIONS).unwrap_or_default()
}

fn read_category(reader: &mut Reader, table: &Section<'_, '_>) -> Category {
    reader
        .one_of(table, "category", CATEGORIES)
        .unwrap_or_default()
}

fn read_runtime(reader: &mut Reader, root: &Section<'_, '_>) -> RuntimePolicy {
    let section = reader.section(root, "runtime", RUNTIME_KEYS);
    let mut policy = RuntimePolicy::default();
    if let Some(mut kinds) = reader.names(&section, "kinds", RUNTIME_KINDS) {
        // The order of the list says nothing; the model holds the canonical one.
        kinds.sort_unstable();
        policy.kinds = kinds;
    }
    policy.models = reader.strings(&section, "models");
    policy.loopback_port = reader.port(&section, "loopback_port");
    let integers = [
        ("max_memory_mib", &mut policy.max_memory_mib),
        ("max_processes", &mut policy.max_processes),
    ];
    for (key, field) in integers {
        *field = reader.integer(&section, key).unwrap_or(*field);
    }
    policy
}

fn read_ledger(reader: &mut Reader, root: &Section<'_, '_>) -> LedgerPolicy {
    let section = reader.section(root, "ledger", LEDGER_KEYS);
    let default = LedgerPolicy::default();
    LedgerPolicy {
        keep_prompt: reader.boolean(&section, "keep_prompt", default.keep_prompt),
        keep_branches: reader.boolean(&section, "keep_branches", default.keep_branches),
        retention_days: reader
            .integer(&section, "retention_days")
            .unwrap_or(default.retention_days),
    }
}
