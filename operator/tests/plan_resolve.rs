//! References to constitutions.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use axiom_hive_core::constitution::Constitution;
use axiom_hive_core::digest::Digest;
use axiom_hive_operator::api::constitution::NamespaceSelector;
use axiom_hive_operator::plan::resolve::{
    Constitutions, NamespaceLabels, Resolved, Unresolved, Version, selects,
};
use serde_json::{Value, json};

fn constitution(version: &str, max_branches: u32) -> Constitution {
    let text = format!(
        "[meta]\nname = \"c\"\nversion = \"{version}\"\n[supervisor]\nmax_branches = {max_branches}\n"
    );
    Constitution::parse("c.toml", &text).unwrap()
}

fn held(constitution: Constitution, index: u64) -> Version {
    Version {
        digest: constitution.digest(),
        index,
        content: Some(Arc::new(constitution)),
    }
}

/// Versions 1.0.0 and 2.0.0, of which the second is in force, for namespaces of team a.
fn known() -> Constitutions {
    let mut known = Constitutions::default();
    known.set_version("c", "1.0.0", held(constitution("1.0.0", 1), 0));
    known.set_version("c", "2.0.0", held(constitution("2.0.0", 2), 7));
    known.set_object(
        "c",
        selector(json!({"matchLabels": {"team": "a"}})),
        Some("2.0.0".to_owned()),
    );
    known
}

fn selector(value: Value) -> NamespaceSelector {
    serde_json::from_value(value).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn resolve_for(
    team: &str,
    known: &Constitutions,
    reference: Value,
) -> Result<Resolved, Unresolved> {
    let labels = labels(&[("team", team)]);
    let namespace = NamespaceLabels {
        name: "n",
        labels: &labels,
    };
    known.resolve(&serde_json::from_value(reference).unwrap(), namespace)
}

fn resolve(reference: Value) -> Result<Resolved, Unresolved> {
    resolve_for("a", &known(), reference)
}

#[test]
fn without_a_version_it_is_the_one_in_force() {
    let resolved = resolve(json!({"name": "c"})).unwrap();
    assert_eq!(resolved.version, "2.0.0");
    assert_eq!(resolved.content.unwrap().supervisor.max_branches, 2);
}

#[test]
fn an_older_version_is_found_by_version_and_by_digest() {
    let old = constitution("1.0.0", 1).digest();
    for reference in [
        json!({"name": "c", "version": "1.0.0"}),
        json!({"name": "c", "digest": old}),
        json!({"name": "c", "version": "1.0.0", "digest": old}),
    ] {
        let resolved = resolve(reference).unwrap();
        assert_eq!((resolved.version.as_str(), resolved.digest), ("1.0.0", old));
    }
}

#[test]
fn what_may_come_is_waited_for() {
    let digest = Digest::of(b"other").to_string();
    let waits = [
        (
            json!({"name": "d"}),
            "spec.constitutionRef.name: constitution d must exist",
        ),
        (
            json!({"name": "c", "version": "3.0.0"}),
            "spec.constitutionRef.version: version 3.0.0 of constitution c must be in the ledger",
        ),
        (
            json!({"name": "c", "digest": digest}),
            &format!(
                "spec.constitutionRef.digest: a version of constitution c with digest {digest} must be in the ledger"
            ),
        ),
    ];
    for (reference, message) in waits {
        let error = resolve(reference).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(error.may_come());
    }
    let mut known = known();
    known.set_object("c", NamespaceSelector::default(), None);
    let error = resolve_for("a", &known, json!({"name": "c"})).unwrap_err();
    assert_eq!(error, Unresolved::NotInForce("c".to_owned()));
    assert!(error.may_come());
}

#[test]
fn what_can_never_be_is_refused() {
    let other = Digest::of(b"other");
    let error = resolve(json!({"name": "c", "version": "1.0.0", "digest": other})).unwrap_err();
    let is = constitution("1.0.0", 1).digest();
    assert_eq!(
        error.to_string(),
        format!("spec.constitutionRef.digest: must be {is}, which is that of constitution c 1.0.0")
    );
    assert!(!error.may_come());
}

#[test]
fn a_namespace_that_is_not_selected_may_not_use_it() {
    let error = resolve_for("b", &known(), json!({"name": "c", "version": "1.0.0"})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "spec.constitutionRef.name: constitution c must select namespace n with its `spec.namespaces`"
    );
}

#[test]
fn a_version_is_used_up_also_when_its_object_is_gone() {
    let mut known = known();
    known.remove_object("c");
    assert_eq!(
        resolve_for("a", &known, json!({"name": "c"})).unwrap_err(),
        Unresolved::Name("c".to_owned())
    );
    assert_eq!(known.check_version(&constitution("1.0.0", 1)), Ok(()));
    assert_eq!(known.check_version(&constitution("3.0.0", 9)), Ok(()));
    let digest = constitution("2.0.0", 2).digest();
    assert_eq!(
        known
            .check_version(&constitution("2.0.0", 3))
            .unwrap_err()
            .to_string(),
        format!("spec.meta.version: must be raised: c 2.0.0 was {digest} at index 7 of the ledger")
    );
}

#[test]
fn selectors_are_those_of_kubernetes() {
    let labels = labels(&[("team", "a"), ("tier", "1")]);
    let expression = |operator: &str, key: &str, values: &[&str]| {
        selector(
            json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}),
        )
    };
    for (selector, expected) in [
        (selector(json!({})), true),
        (
            selector(json!({"matchLabels": {"team": "a", "tier": "1"}})),
            true,
        ),
        (
            selector(json!({"matchLabels": {"team": "a", "tier": "2"}})),
            false,
        ),
        (expression("In", "team", &["b", "a"]), true),
        (expression("In", "none", &["a"]), false),
        (expression("NotIn", "team", &["a"]), false),
        (expression("NotIn", "none", &["a"]), true),
        (expression("Exists", "tier", &[]), true),
        (expression("Exists", "none", &[]), false),
        (expression("DoesNotExist", "none", &[]), true),
        (expression("DoesNotExist", "tier", &[]), false),
    ] {
        assert_eq!(selects(&selector, &labels), expected, "{selector:?}");
    }
}
