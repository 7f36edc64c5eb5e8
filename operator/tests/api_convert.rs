//! The custom resources and the core's models say the same, with one digest.
#![allow(clippy::unwrap_used)]

#[path = "../../core/tests/constitution_properties/generate/mod.rs"]
mod generate;

use std::path::{Path, PathBuf};

use axiom_hive_core::constitution::Constitution as Core;
use axiom_hive_core::task::{PromptSourceKind, RuntimeSpec};
use axiom_hive_operator::api::constitution::NamespaceSelector;
use axiom_hive_operator::api::convert::ConvertError;
use axiom_hive_operator::api::{Constitution, ConstitutionSpec, SupervisedTaskSpec};
use proptest::prelude::*;
use serde_json::{Value, json};

/// How many cases a test runs: `AXIOM_HIVE_BUDGET_<NAME>`, or `default`.
fn budget(name: &str, default: u32) -> ProptestConfig {
    let count = std::env::var(format!("AXIOM_HIVE_BUDGET_{name}")).ok();
    ProptestConfig {
        cases: count.map_or(default, |count| count.parse().unwrap()),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn toml_files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let directories = [
        "config",
        "config/constitutions",
        "config/samples",
        "core/tests/constitution/valid",
    ];
    let files: Vec<PathBuf> = directories
        .iter()
        .flat_map(|directory| std::fs::read_dir(root.join(directory)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "toml"))
        .collect();
    assert!(files.len() > 10);
    files
}

/// The object as a client reads it, after a walk through YAML.
fn through_yaml(object: &Value) -> Constitution {
    let yaml = serde_saphyr::to_string(object).unwrap();
    serde_saphyr::from_str(&yaml).unwrap()
}

#[test]
fn every_file_renders_to_an_object_of_the_same_digest() {
    for path in toml_files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let core = Core::parse("f", &text).unwrap();
        let object = through_yaml(&core.to_object());
        assert_eq!(
            object.metadata.name.as_deref(),
            Some(core.meta.name.as_str())
        );
        assert_eq!(object.spec.namespaces, NamespaceSelector::default());
        let back = object.spec.to_core().unwrap();
        assert_eq!(back.digest(), core.digest(), "{}", path.display());
        assert!(back.validate().is_ok());
    }
}

proptest! {
    #![proptest_config(budget("CONSTITUTION_OBJECTS", 200))]

    #[test]
    fn every_constitution_is_an_object_and_back(core in generate::any_constitution()) {
        let spec = ConstitutionSpec::from_core(&core, NamespaceSelector::default()).unwrap();
        let stored: ConstitutionSpec =
            serde_json::from_value(serde_json::to_value(&spec).unwrap()).unwrap();
        prop_assert_eq!(stored.to_core().unwrap(), core.clone());
        let object = through_yaml(&core.to_object());
        prop_assert_eq!(object.spec.to_core().unwrap().digest(), core.digest());
    }
}

/// Defaults written out in an object change no digest either.
#[test]
fn a_default_written_out_changes_no_digest() {
    let bare = json!({"meta": {"name": "a", "version": "1.0.0", "catalogue": 1}, "namespaces": {}});
    let mut written = bare.clone();
    written["supervisor"] =
        json!({"maxBranches": 4, "minConsensusRatio": "0.750", "quorum": "all"});
    written["cluster"] = json!({"images": [], "requireImageDigest": true});
    let digest = |value: Value| {
        let spec: ConstitutionSpec = serde_json::from_value(value).unwrap();
        spec.to_core().unwrap().digest()
    };
    assert_eq!(digest(bare), digest(written));
}

/// Access is not content.
#[test]
fn namespaces_are_no_part_of_the_digest() {
    let core = Core::parse("f", "[meta]\nname = \"a\"\nversion = \"1.0.0\"\n").unwrap();
    let namespaces = serde_json::from_value(json!({"matchLabels": {"team": "a"}})).unwrap();
    let spec = ConstitutionSpec::from_core(&core, namespaces).unwrap();
    assert_eq!(spec.to_core().unwrap().digest(), core.digest());
}

fn task(value: Value) -> SupervisedTaskSpec {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_process_keeps_image_command_arguments_and_environment() {
    let spec = task(json!({
        "constitutionRef": {"name": "default"},
        "prompt": "p",
        "branches": 3,
        "runtime": {"process": {
            "image": "registry.example.com/a@sha256:0",
            "command": ["python3", "-u"], "args": ["main.py", "$(HOME)"],
            "env": [{"name": "A", "value": "$(B)"}],
            "protocol": "ndjson",
        }},
    }));
    assert_eq!(
        serde_json::to_value(spec.to_core().unwrap()).unwrap(),
        json!({
            "prompt": "p",
            "branches": 3,
            "runtime": {
                "kind": "process", "protocol": "ndjson",
                "image": "registry.example.com/a@sha256:0",
                "command": ["python3", "-u", "main.py", "$(HOME)"],
                "env": {"A": "$(B)"},
            },
        })
    );
}

#[test]
fn an_endpoint_keeps_its_parameters() {
    let spec = task(json!({
        "constitutionRef": {"name": "default"},
        "promptFrom": {"secretKeyRef": {"name": "s", "key": "axiomhive-prompt"}},
        "runtime": {"openAI": {
            "baseURL": "https://api.example.com/v1", "model": "small",
            "parameters": {"system": "Be brief.", "temperatureThousandths": 0, "maxTokens": 16},
            "apiKeySecretRef": {"name": "key"}, "caBundle": "-----BEGIN CERTIFICATE-----",
        }},
    }));
    let core = spec.to_core().unwrap();
    let source = core.prompt_from.unwrap();
    assert_eq!(
        (core.prompt.as_str(), source.kind),
        ("", PromptSourceKind::Secret)
    );
    assert_eq!(
        core.runtime,
        RuntimeSpec::OpenAi {
            base_url: "https://api.example.com/v1".to_owned(),
            model: "small".to_owned(),
            system: Some("Be brief.".to_owned()),
            temperature_thousandths: Some(0),
            max_tokens: Some(16),
            ca_bundle: Some("-----BEGIN CERTIFICATE-----".to_owned()),
            api_key_secret: Some("key".to_owned()),
        }
    );
}

/// The schema refuses these; an object can be older than the schema.
#[test]
fn what_names_two_things_at_once_is_refused() {
    let base =
        json!({"constitutionRef": {"name": "default"}, "prompt": "p", "runtime": {"echo": {}}});
    let with = |field: &str, value: Value| {
        let mut changed = base.clone();
        changed[field] = value;
        task(changed).to_core()
    };
    assert!(task(base.clone()).to_core().is_ok());
    let source = json!({"configMapKeyRef": {"name": "a", "key": "axiomhive-prompt"}});
    assert!(matches!(
        with("promptFrom", source),
        Err(ConvertError::Prompt)
    ));
    let two = json!({"echo": {}, "http": {"url": "http://a"}});
    assert!(matches!(with("runtime", two), Err(ConvertError::Runtime)));
    assert!(matches!(
        with("runtime", json!({})),
        Err(ConvertError::Runtime)
    ));
    assert!(matches!(
        with("branches", json!(-1)),
        Err(ConvertError::Negative("branches"))
    ));
}
