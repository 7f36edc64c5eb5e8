//! The definitions in `crds/` are those of the types, and keep the conventions that
//! `operator/api/src/lib.rs` states: bounds and a description everywhere, integers with ranges, no
//! floats, no null.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use axiom_hive_operator::api::{crd, reference};
use serde_json::Value;

/// Calls `visit` for every schema below a definition's, with its path.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), field, visit);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if !schema[key].is_null() {
            walk(&format!("{path}{mark}"), &schema[key], visit);
        }
    }
}

/// Every schema below `spec` and `status` of both kinds.
fn each_schema(mut visit: impl FnMut(&str, &Value)) {
    let mut seen = 0;
    for (name, definition) in crd::definitions().unwrap() {
        let value = serde_json::to_value(definition).unwrap();
        for version in value["spec"]["versions"].as_array().unwrap() {
            let properties = &version["schema"]["openAPIV3Schema"]["properties"];
            for part in ["spec", "status"] {
                let path = format!("{name}: {part}");
                walk(&path, &properties[part], &mut |path, schema| {
                    seen += 1;
                    visit(path, schema);
                });
            }
        }
    }
    assert!(seen > 150, "only {seen} schemas found");
}

/// Fails with every finding at once.
fn refuse(findings: &[String]) {
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn the_files_are_those_of_the_types() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
    let mut expected = Vec::new();
    for (name, definition) in crd::definitions().unwrap() {
        let file = std::fs::read_to_string(directory.join(name)).unwrap();
        assert!(
            file == crd::to_yaml(&definition).unwrap(),
            "crds/{name} is not what the types say: run `make generate`"
        );
        expected.push(name.to_owned());
    }
    let mut found: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, expected, "left: crds/, right: the types");
}

#[test]
fn the_reference_has_every_field_and_is_that_of_the_types() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(reference::FILE);
    let page = reference::page().unwrap();
    assert!(
        std::fs::read_to_string(file).unwrap() == page,
        "{} is not what the types say: run `make generate`",
        reference::FILE
    );
    let rows = page.lines().filter(|line| line.starts_with("| `")).count();
    let mut described = 0;
    each_schema(|path, _| {
        let (_, path) = path.split_once(": ").unwrap();
        // The two roots have headings, and what a list or map holds is in its own row.
        let is_field = path.contains('.') && !path.ends_with("[]") && !path.ends_with("{}");
        described += usize::from(is_field);
    });
    assert_eq!(rows, described);
}

#[test]
fn the_charts_definitions_are_the_same_and_stay_when_it_goes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = std::fs::read_dir(root.join(crd::CHART_TEMPLATES))
        .unwrap()
        .count();
    for (name, definition) in crd::definitions().unwrap() {
        let file = std::fs::read_to_string(root.join(crd::CHART_TEMPLATES).join(name)).unwrap();
        assert!(
            file == crd::to_template(definition).unwrap(),
            "{}/{name} is not what the types say: run `make generate`",
            crd::CHART_TEMPLATES
        );
        assert!(file.contains("helm.sh/resource-policy: keep"));
        files -= 1;
    }
    assert_eq!(files, 0, "files that no type makes");
}

#[test]
fn everything_is_bounded() {
    let mut findings = Vec::new();
    each_schema(|path, schema| {
        let has = |key: &str| !schema[key].is_null();
        let is_bounded = match schema["type"].as_str() {
            Some("string") => has("maxLength") || has("enum") || schema["format"] == "date-time",
            Some("array") => has("maxItems") && has("x-kubernetes-list-type"),
            Some("integer") => has("minimum") && (has("maximum") || schema["format"] == "int64"),
            Some("object") => has("additionalProperties") == has("maxProperties"),
            Some("boolean") => true,
            _ => schema["x-kubernetes-int-or-string"] == true && has("maxLength"),
        };
        if !is_bounded {
            findings.push(format!("{path} has no bound"));
        }
    });
    refuse(&findings);
}

#[test]
fn every_field_is_described() {
    let mut findings = Vec::new();
    each_schema(|path, schema| {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let description = field["description"].as_str().unwrap_or_default();
            if !description.ends_with(['.', ':']) {
                findings.push(format!("{path}.{name}: {description:?} is no sentence"));
            }
        }
    });
    refuse(&findings);
}

#[test]
fn numbers_are_signed_integers_and_nothing_takes_null() {
    let mut findings = Vec::new();
    each_schema(|path, schema| {
        let format = schema["format"].as_str();
        if schema["type"] == "number" || format.is_some_and(|it| it.starts_with('u')) {
            findings.push(format!("{path}: a float or an unsigned integer"));
        }
        if schema["nullable"] == true {
            findings.push(format!("{path} takes null"));
        }
    });
    refuse(&findings);
}

#[test]
fn names_of_fields_are_camel_case() {
    let mut findings = Vec::new();
    each_schema(|path, schema| {
        for name in schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|it| it.0)
        {
            let is_camel_case = name.starts_with(|letter: char| letter.is_ascii_lowercase())
                && name.chars().all(|letter| letter.is_ascii_alphanumeric());
            if !is_camel_case {
                findings.push(format!("{path}.{name}"));
            }
        }
    });
    refuse(&findings);
}

/// An error of a rule is shown with a sentence that says what must hold, at a field where it has one.
#[test]
fn every_rule_says_what_must_hold() {
    let mut findings = Vec::new();
    let mut rules = 0;
    for (name, definition) in crd::definitions().unwrap() {
        let value = serde_json::to_value(definition).unwrap();
        let schema = &value["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        walk(name, schema, &mut |path, schema| {
            let list = schema["x-kubernetes-validations"].as_array();
            for rule in list.into_iter().flatten() {
                rules += 1;
                let message = rule["message"].as_str().unwrap_or_default();
                if !message.contains("must") && !message.contains("is final") {
                    findings.push(format!("{path}: {}: {message:?}", rule["rule"]));
                }
                let is_root = path == name || path == format!("{name}.spec");
                if is_root && rule["fieldPath"].is_null() {
                    findings.push(format!("{path}: {}: no fieldPath", rule["rule"]));
                }
            }
        });
    }
    assert!(rules > 40, "only {rules} rules found");
    refuse(&findings);
}

#[test]
fn both_kinds_are_in_the_category_and_have_a_short_name() {
    for (name, definition) in crd::definitions().unwrap() {
        let names = definition.spec.names;
        assert_eq!(names.categories.unwrap(), ["axiomhive"], "{name}");
        assert_eq!(names.short_names.unwrap().len(), 1, "{name}");
    }
}
