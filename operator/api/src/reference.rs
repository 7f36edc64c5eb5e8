//! The reference of the API (`docs/API.md`) from the definitions, so that it says what the API server holds objects to.

use std::fmt::Write as _;

use serde_json::Value;

use super::crd::{CrdError, definitions};

/// Where it is, from the root of the repository.
pub const FILE: &str = "docs/API.md";

const HEAD: &str = "<!-- Generated from the Rust types by `make generate`; do not edit. -->
# API reference

Group `axiomhive.io`, version `v1alpha1`: every field with its type and bounds, as `crds/` has them. `kubectl explain stask.spec` says the
same. Bounds of strings count characters. What needs another object to judge (a task's constitution) is in [USAGE.md](USAGE.md).
";

/// The whole page.
pub fn page() -> Result<String, CrdError> {
    let mut page = HEAD.to_owned();
    for (_, definition) in definitions()? {
        let definition = serde_json::to_value(definition)?;
        let names = &definition["spec"]["names"];
        let scope = match text(&definition["spec"]["scope"]) {
            "Cluster" => "in no namespace",
            _ => "in a namespace",
        };
        for version in list(&definition["spec"]["versions"]) {
            let schema = &version["schema"]["openAPIV3Schema"];
            let (kind, short) = (text(&names["kind"]), text(&names["shortNames"][0]));
            let about = text(&schema["description"]);
            let _ = write!(page, "\n## {kind}\n\n`{short}`, {scope}. {about}\n");
            for rule in rules(schema) {
                let _ = write!(page, "\nRule: {rule}.\n");
            }
            for part in ["spec", "status"] {
                let _ = write!(page, "\n### {kind}: {part}\n\n");
                page.push_str("| field | type | what it says |\n|---|---|---|\n");
                let schema = &schema["properties"][part];
                if !rules(schema).is_empty() {
                    row(&mut page, "(all of it)", schema, false);
                }
                fields(&mut page, "", schema);
            }
        }
    }
    Ok(page)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A row for each field below `schema`, depth first.
fn fields(page: &mut String, prefix: &str, schema: &Value) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let is_required = list(&schema["required"]).iter().any(|it| it == name);
        let path = format!("{prefix}{name}");
        row(page, &format!("`{path}`"), field, is_required);
        fields(page, &format!("{path}."), field);
        fields(page, &format!("{path}[]."), &field["items"]);
        fields(
            page,
            &format!("{path}{{}}."),
            &field["additionalProperties"],
        );
    }
}

fn row(page: &mut String, path: &str, schema: &Value, is_required: bool) {
    let required = if is_required { ", required" } else { "" };
    let mut about = text(&schema["description"]).to_owned();
    for inner in [schema, &schema["items"]] {
        for rule in rules(inner) {
            let _ = write!(about, " Rule: {rule}.");
        }
    }
    // One line a row, whatever the description is wrapped like.
    let about = about.split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = writeln!(
        page,
        "| {path} | {}{required} | {} |",
        kind(schema).replace('|', "\\|"),
        about.replace('|', "\\|")
    );
}

/// What the rules of a schema say when they do not hold, each once.
fn rules(schema: &Value) -> Vec<&str> {
    let mut messages = Vec::new();
    for rule in list(&schema["x-kubernetes-validations"]) {
        let message = text(&rule["message"]);
        if !messages.contains(&message) {
            messages.push(message);
        }
    }
    messages
}

/// Type and bounds, in words.
fn kind(schema: &Value) -> String {
    if schema["x-kubernetes-int-or-string"] == true {
        return "integer or string".to_owned();
    }
    let choices: Vec<String> = list(&schema["enum"]).iter().map(Value::to_string).collect();
    if !choices.is_empty() {
        return format!("one of `{}`", choices.join("`, `"));
    }
    let name = match text(&schema["type"]) {
        "array" => format!("list of {}", plural(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map to {}", kind(&schema["additionalProperties"]))
        }
        "object" => "object".to_owned(),
        "string" if schema["format"] == "date-time" => "time (RFC 3339)".to_owned(),
        name => name.to_owned(),
    };
    format!("{name}{}", bounds(schema))
}

fn plural(schema: &Value) -> String {
    match text(&schema["type"]) {
        "object" => "objects".to_owned(),
        "string" if schema["enum"].is_null() => format!("strings{}", bounds(schema)),
        _ => kind(schema),
    }
}

fn bounds(schema: &Value) -> String {
    let number = |key: &str| schema[key].as_f64().map(|bound| format!("{bound}"));
    let mut bounds = String::new();
    for (least, most, unit) in [
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
        ("minProperties", "maxProperties", " keys"),
    ] {
        let range = match (number(least), number(most)) {
            (Some(least), Some(most)) => format!(", {least} to {most}{unit}"),
            (None, Some(most)) => format!(", at most {most}{unit}"),
            (Some(least), None) => format!(", at least {least}{unit}"),
            (None, None) => String::new(),
        };
        bounds.push_str(&range);
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let _ = write!(bounds, ", `{pattern}`");
    }
    bounds
}
