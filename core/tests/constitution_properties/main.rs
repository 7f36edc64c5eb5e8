//! Properties of constitutions: the canonical form is a bijection, defaults do not count, and no
//! input makes the readers panic.
#![allow(clippy::unwrap_used)]

mod generate;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axiom_hive_core::constitution::{Constitution, MAX_CONSTITUTION_BYTES, MAX_DIAGNOSTICS};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

use generate::any_constitution;

/// How many cases a test runs: `AXIOM_HIVE_BUDGET_<NAME>`, or `default`.
fn budget(name: &str, default: u32) -> ProptestConfig {
    let count = std::env::var(format!("AXIOM_HIVE_BUDGET_{name}")).ok();
    ProptestConfig {
        cases: count.map_or(default, |count| count.parse().unwrap()),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

const FILES: [&str; 7] = [
    include_str!("../constitution/valid/everything.toml"),
    include_str!("../constitution/valid/reference.toml"),
    include_str!("../constitution/invalid/syntax.toml"),
    include_str!("../constitution/invalid/wrong_types.toml"),
    include_str!("../../../config/constitution.toml"),
    include_str!("../../../config/samples/strict-pii.toml"),
    include_str!("../../../config/samples/yes-no.toml"),
];

fn to_snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// A value of the model's JSON as inline TOML. Names of enums change their case with their keys; the
/// model has no other text that is a single camel-case word.
fn to_toml(key: &str, value: &Value) -> String {
    match value {
        Value::String(text) if matches!(key, "tie" | "kind") => {
            format!("\"{}\"", to_snake_case(text))
        }
        Value::String(text) => toml::Value::String(text.clone()).to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| to_toml("", item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| {
                format!("{} = {}", to_key(key), to_toml(key, value))
            };
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// A key of a table: a field of the model, or a name of somebody else (a label, a resource, a detector).
fn to_key(name: &str) -> String {
    if FIELDS_OF_TABLES.contains(&name) {
        to_snake_case(name)
    } else {
        toml::Value::String(name.to_owned()).to_string()
    }
}

const FIELDS_OF_TABLES: [&str; 23] = [
    "kind",
    "decimals",
    "pattern",
    "take",
    "values",
    "text",
    "id",
    "terms",
    "action",
    "category",
    "examples",
    "counterexamples",
    "host",
    "cidr",
    "port",
    "service",
    "namespace",
    "name",
    "targetPort",
    "podLabels",
    "runtimeClassName",
    "key",
    "effect",
];

/// The constitution as TOML. A field that the canonical form leaves out is written all the same if
/// `explicit` says so, one bit a field.
fn write_toml(constitution: &Constitution, explicit: u64) -> String {
    let canonical: Value = serde_json::from_slice(&constitution.canonical_json()).unwrap();
    let sections: BTreeMap<&str, Value> = BTreeMap::from([
        ("meta", serde_json::to_value(&constitution.meta).unwrap()),
        (
            "policy",
            every_field(
                &constitution.policy,
                &["allowHarmfulContent", "allowPiiLeakage"],
            ),
        ),
        (
            "supervisor",
            serde_json::to_value(&constitution.supervisor).unwrap(),
        ),
        (
            "interceptor",
            every_field(
                &constitution.interceptor,
                &["prompt", "detectors", "terms", "patterns"],
            ),
        ),
        ("runtime", every_field(&constitution.runtime, &["models"])),
        ("egress", every_field(&constitution.egress, &["allow"])),
        (
            "cluster",
            serde_json::to_value(&constitution.cluster).unwrap(),
        ),
        (
            "ledger",
            serde_json::to_value(&constitution.ledger).unwrap(),
        ),
    ]);
    let mut text = String::new();
    let mut bit = 0;
    for (name, section) in &sections {
        writeln!(text, "[{name}]").unwrap();
        for (key, value) in section.as_object().unwrap() {
            bit += 1;
            let is_left_out = canonical.get(name).and_then(|it| it.get(key)).is_none();
            if is_left_out && explicit >> (bit % 64) & 1 == 0 {
                continue;
            }
            writeln!(text, "{} = {}", to_snake_case(key), to_toml(key, value)).unwrap();
        }
    }
    text
}

/// A section's JSON with the fields that its serialiser leaves out at their default.
fn every_field(section: &impl serde::Serialize, keys: &[&str]) -> Value {
    let mut value = serde_json::to_value(section).unwrap();
    let fields = value.as_object_mut().unwrap();
    for key in keys {
        let default = match *key {
            "prompt" => Value::from("off"),
            "detectors" => Value::Object(serde_json::Map::new()),
            "terms" | "patterns" | "models" | "allow" => Value::Array(Vec::new()),
            _ => Value::Bool(false),
        };
        fields.entry(*key).or_insert(default);
    }
    value
}

/// What holds for every result of reading `text`.
fn check_result(text: &str) -> Result<(), TestCaseError> {
    match Constitution::parse("f", text) {
        Ok(constitution) => {
            let canonical = constitution.canonical_json();
            prop_assert!(canonical.len() <= MAX_CONSTITUTION_BYTES);
            prop_assert!(constitution.validate().is_ok());
            prop_assert_eq!(Constitution::from_canonical(&canonical), Ok(constitution));
        }
        Err(errors) => {
            prop_assert!((1..=MAX_DIAGNOSTICS).contains(&errors.0.len()));
            prop_assert!(
                errors
                    .0
                    .is_sorted_by_key(|error| (error.line, error.column))
            );
            let lines: Vec<&str> = text.split('\n').collect();
            for error in &errors.0 {
                let line = lines.get(error.line - 1).copied();
                prop_assert!(line.is_some_and(|line| error.column <= line.chars().count() + 1));
                prop_assert!(!error.to_string().contains(['\n', '\r']));
                prop_assert!(!error.message.is_empty());
            }
        }
    }
    Ok(())
}

/// One edit of a text: what is put in place of which bytes.
fn any_edit() -> impl Strategy<Value = (Index, usize, Vec<u8>)> {
    let token = select(
        [
            "",
            "\n",
            "=",
            "\"",
            "'",
            "'''",
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            ",",
            ".",
            "#",
            "-1",
            "0",
            "99999999999999999999",
            "1e9",
            "nan",
            "true",
            "1979-05-27",
            "[meta]\n",
            "[interceptor]\n",
            "[[interceptor.patterns]]\n",
            "[[interceptor.terms]]\n",
            "kinds = []\n",
            "\"(\"",
            "{ kind = \"regex\", pattern = \"(\" }",
            "\u{feff}",
            "é",
            "\r",
        ]
        .map(|token| token.as_bytes().to_vec())
        .to_vec(),
    );
    let inserted = prop_oneof![4 => token, 1 => proptest::collection::vec(any::<u8>(), 0..4)];
    let removed = prop_oneof![3 => 0..4_usize, 1 => 0..200_usize];
    (any::<Index>(), removed, inserted)
}

fn edit(bytes: &mut Vec<u8>, edits: Vec<(Index, usize, Vec<u8>)>) {
    for (place, removed, inserted) in edits {
        let start = place.index(bytes.len() + 1);
        let end = (start + removed).min(bytes.len());
        bytes.splice(start..end, inserted);
    }
}

proptest! {
    #![proptest_config(budget("CONSTITUTION_ROUND_TRIP", 256))]

    #[test]
    fn canonical_form_and_toml_are_the_same_constitution(
        constitution in any_constitution(),
        explicit in any::<u64>(),
    ) {
        let canonical = constitution.canonical_json();
        prop_assert_eq!(Constitution::from_canonical(&canonical), Ok(constitution.clone()));
        let text = write_toml(&constitution, explicit);
        let parsed = Constitution::parse("c.toml", &text);
        prop_assert!(parsed.is_ok(), "{}\n{}", parsed.unwrap_err(), text);
        let parsed = parsed.unwrap();
        prop_assert_eq!(&parsed, &constitution);
        prop_assert_eq!(parsed.digest(), constitution.digest());
    }

    #[test]
    fn another_constitution_has_another_digest(a in any_constitution(), b in any_constitution()) {
        prop_assert_eq!(a == b, a.digest() == b.digest());
    }
}

proptest! {
    #![proptest_config(budget("CONSTITUTION_MUTATIONS", 1000))]

    #[test]
    fn mutated_files_are_read_or_refused(
        file in select(FILES.to_vec()),
        edits in proptest::collection::vec(any_edit(), 1..8),
    ) {
        let mut bytes = file.as_bytes().to_vec();
        edit(&mut bytes, edits);
        check_result(&String::from_utf8_lossy(&bytes))?;
        // Broken UTF-8 has a result, too.
        let _ = Constitution::parse_bytes("f", &bytes);
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Constitution::parse_bytes("f", &bytes);
        check_result(&String::from_utf8_lossy(&bytes))?;
        prop_assert!(Constitution::from_canonical(&bytes).is_err());
    }

    #[test]
    fn mutated_canonical_forms_are_canonical_or_refused(
        file in select(vec![FILES[0], FILES[4], FILES[5]]),
        edits in proptest::collection::vec(any_edit(), 1..4),
    ) {
        let mut bytes = Constitution::parse("f", file).unwrap().canonical_json();
        edit(&mut bytes, edits);
        if let Ok(constitution) = Constitution::from_canonical(&bytes) {
            prop_assert_eq!(constitution.canonical_json(), bytes);
        }
    }
}

/// Files of the greatest size that aim at one part each; every one must be refused without a panic,
/// and the errors stay bounded.
#[test]
fn hostile_files_are_refused() {
    let meta = "[meta]\nname = \"h\"\nversion = \"1.0.0\"\n";
    let parts = [
        "=\n",
        "\"",
        "[",
        "{",
        "a.",
        "[a]\n",
        "[interceptor]\nterms = [",
        "[[interceptor.terms]]\n",
        "[[interceptor.patterns]]\nid=\"(\"\npattern=\"(\"\nexamples=[\"\"]\n",
        "\u{0}",
        "é",
    ];
    let mut files: Vec<String> = parts
        .iter()
        .map(|part| {
            let room = MAX_CONSTITUTION_BYTES - meta.len();
            format!("{meta}{}", part.repeat(room / part.len()))
        })
        .collect();
    let rule = format!(
        "[[interceptor.terms]]\nid=\"\"\nterms=[{}]\n",
        "\"\",".repeat(1024)
    );
    files.push(format!("{meta}{}", rule.repeat(256)));
    let deep = 500_000;
    files.push(format!(
        "{meta}x = {}{}",
        "[".repeat(deep),
        "]".repeat(deep)
    ));
    files.push(format!("[{}a]", "a.".repeat(deep)));
    files.push((0..80_000).fold(String::new(), |text, key| text + &format!("k{key}=1\n")));
    files.push(format!("{meta}{}=1", "k".repeat(2 * deep)));
    for text in files {
        assert!(text.len() <= MAX_CONSTITUTION_BYTES);
        let errors = Constitution::parse("f", &text).unwrap_err();
        let start: String = text.chars().skip(meta.len()).take(40).collect();
        assert!((1..=MAX_DIAGNOSTICS).contains(&errors.0.len()), "{start}");
        let longest = errors.0.iter().map(|error| error.to_string().len()).max();
        assert!(longest < Some(1000), "{start}");
    }
}
