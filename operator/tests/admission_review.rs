//! Requests against what is known: what is refused is refused with every reason at once, what is not
//! known is allowed.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use axiom_hive_core::constitution::Constitution;
use axiom_hive_operator::admission::review::{MAX_VIOLATIONS, Request, respond, review};
use axiom_hive_operator::api::constitution::NamespaceSelector;
use axiom_hive_operator::plan::resolve::{Constitutions, Version};
use kube::core::DynamicObject;
use kube::core::admission::AdmissionReview;
use serde_json::{Value, json};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn constitution(spec: &Value) -> Value {
    let mut all =
        json!({"meta": {"name": "c", "version": "1.0.0", "catalogue": 1}, "namespaces": {}});
    merge(&mut all, spec);
    json!({"apiVersion": "axiomhive.io/v1alpha1", "kind": "Constitution", "metadata": {"name": "c"}, "spec": all})
}

fn task(spec: &Value) -> Value {
    let mut all =
        json!({"constitutionRef": {"name": "c"}, "prompt": "Hello", "runtime": {"echo": {}}});
    merge(&mut all, spec);
    json!({"apiVersion": "axiomhive.io/v1alpha1", "kind": "SupervisedTask",
        "metadata": {"name": "t", "namespace": "team"}, "spec": all})
}

fn merge(into: &mut Value, fields: &Value) {
    for (name, value) in fields.as_object().unwrap() {
        into[name] = value.clone();
    }
}

fn request(operation: &str, object: &Value, old: &Value) -> Request {
    let kind = &object["kind"];
    let review: AdmissionReview<DynamicObject> = serde_json::from_value(json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "kind": {"group": "axiomhive.io", "version": "v1alpha1", "kind": kind},
            "resource": {"group": "axiomhive.io", "version": "v1alpha1", "resource": "any"},
            "name": object["metadata"]["name"],
            "namespace": object["metadata"]["namespace"],
            "operation": operation,
            "userInfo": {},
            "object": object,
            "oldObject": old,
        },
    }))
    .unwrap();
    review.try_into().unwrap()
}

/// Constitution `c` 1.0.0 with these sections is in force, for namespaces with `tier=gold`.
fn known(sections: &str) -> Constitutions {
    let text = format!("[meta]\nname = \"c\"\nversion = \"1.0.0\"\n{sections}");
    let content = Constitution::parse("c.toml", &text).unwrap();
    let gold: NamespaceSelector =
        serde_json::from_value(json!({"matchLabels": {"tier": "gold"}})).unwrap();
    let mut known = Constitutions::default();
    known.set_object("c", gold, Some("1.0.0".to_owned()));
    let version = Version {
        digest: content.digest(),
        index: 7,
        content: Some(Arc::new(content)),
    };
    known.set_version("c", "1.0.0", version);
    known
}

/// The violations and the warnings of a request in a namespace with `tier=gold`.
fn judge(request: &Request, known: &Constitutions) -> (String, String) {
    let labels = BTreeMap::from([("tier".to_owned(), "gold".to_owned())]);
    let verdict = review(request, known, Some(&labels));
    let texts: Vec<String> = verdict.violations.iter().map(ToString::to_string).collect();
    (texts.join("\n"), verdict.warnings.join("\n"))
}

fn created(object: &Value, known: &Constitutions) -> String {
    judge(&request("CREATE", object, &Value::Null), known).0
}

#[test]
fn a_constitution_must_compile_and_its_paths_are_those_of_the_object() {
    let known = Constitutions::default();
    assert_eq!(created(&constitution(&json!({})), &known), "");
    let bad = constitution(&json!({
        "supervisor": {"quorum": "valid", "maxBranches": 3, "minValidBranches": 5},
        "interceptor": {
            "detectors": {"no_such_one": "redact"},
            "patterns": [{"id": "p", "pattern": "(", "examples": ["a"]}],
        },
    }));
    let refused = created(&bad, &known);
    for path in [
        "spec.supervisor.minValidBranches: must",
        "spec.interceptor.detectors.no_such_one: ",
        "spec.interceptor.patterns[0].pattern: ",
    ] {
        assert!(refused.contains(path), "{path} is not in\n{refused}");
    }
    assert_eq!(refused.lines().count(), 3, "{refused}");
}

#[test]
fn a_version_never_comes_back_with_other_content() {
    let known = known("");
    assert_eq!(created(&constitution(&json!({})), &known), "");
    let other = constitution(&json!({"ledger": {"retentionDays": 3}}));
    let refused = created(&other, &known);
    assert!(
        refused.starts_with("spec.meta.version: must be raised: c 1.0.0 was sha256:"),
        "{refused}"
    );
    assert!(refused.ends_with(" at index 7 of the ledger"), "{refused}");
}

#[test]
fn who_may_use_a_constitution_can_change_even_if_its_content_is_no_longer_taken() {
    let bad = json!({"supervisor": {"maxBranches": 0}});
    let old = constitution(&bad);
    let mut new = old.clone();
    new["spec"]["namespaces"] = json!({"matchLabels": {"a": "b"}});
    let known = Constitutions::default();
    assert_eq!(judge(&request("UPDATE", &new, &old), &known).0, "");
    new["spec"]["supervisor"] = json!({"maxBranches": 0, "maxParallelBranches": 1});
    assert_ne!(judge(&request("UPDATE", &new, &old), &known).0, "");
}

#[test]
fn a_task_must_fit_its_constitution_and_hears_everything_at_once() {
    let known = known("");
    assert_eq!(created(&task(&json!({})), &known), "");
    let bad = task(&json!({
        "branches": 9,
        "retryLimit": 9,
        "runtime": {"process": {"image": "docker.io/library/python:3", "command": ["python"]}},
    }));
    assert_eq!(
        created(&bad, &known),
        "spec.runtime.process.image: must be listed in `cluster.images`, which is empty (constitution c 1.0.0)\n\
         spec.runtime.process.image: must be pinned by digest (@sha256:…) (constitution c 1.0.0)\n\
         spec.branches: must be from 1 to 4, not 9 (constitution c 1.0.0)\n\
         spec.retryLimit: must be at most 3, not 9 (constitution c 1.0.0)"
    );
}

#[test]
fn a_task_may_come_before_its_constitution() {
    let before = request(
        "CREATE",
        &task(&json!({"constitutionRef": {"name": "later"}})),
        &Value::Null,
    );
    let (violations, warnings) = judge(&before, &known(""));
    assert_eq!(violations, "");
    assert_eq!(
        warnings,
        "spec.constitutionRef.name: constitution later must exist; until then the task waits"
    );
}

#[test]
fn a_task_may_not_name_what_can_never_be() {
    let known = known("");
    let pinned = json!({"constitutionRef": {"name": "c", "version": "1.0.0", "digest": DIGEST}});
    let refused = created(&task(&pinned), &known);
    assert!(
        refused.starts_with("spec.constitutionRef.digest: must be sha256:"),
        "{refused}"
    );

    let asked = request("CREATE", &task(&json!({})), &Value::Null);
    let silver = BTreeMap::from([("tier".to_owned(), "silver".to_owned())]);
    let verdict = review(&asked, &known, Some(&silver));
    assert_eq!(
        verdict.violations[0].to_string(),
        "spec.constitutionRef.name: constitution c must select namespace team with its `spec.namespaces`"
    );
    let unknown = review(&asked, &known, None);
    assert!(unknown.violations.is_empty() && unknown.warnings.len() == 1);
}

#[test]
fn a_task_can_be_suspended_under_a_constitution_that_became_stricter() {
    let known = known("[supervisor]\nmax_branches = 2\n");
    let old = task(&json!({"branches": 4}));
    let suspended = task(&json!({"branches": 4, "suspend": true, "ttlSecondsAfterFinished": 5}));
    assert_eq!(judge(&request("UPDATE", &suspended, &old), &known).0, "");
    assert_ne!(created(&old, &known), "");
}

#[test]
fn other_operations_are_none_of_our_business_and_other_kinds_are_refused() {
    let known = Constitutions::default();
    let bad = task(&json!({"branches": 99}));
    for operation in ["DELETE", "CONNECT"] {
        assert_eq!(judge(&request(operation, &bad, &bad), &known).0, "");
    }
    let mut status = request(
        "UPDATE",
        &constitution(&json!({"supervisor": {"maxBranches": 0}})),
        &Value::Null,
    );
    status.sub_resource = Some("status".to_owned());
    assert_eq!(judge(&status, &known).0, "");
    let mut pod = task(&json!({}));
    pod["kind"] = json!("Pod");
    assert!(created(&pod, &known).starts_with("kind: must be Constitution or SupervisedTask"));
    let odd = task(&json!({"branches": "many"}));
    assert!(created(&odd, &known).starts_with("spec: must be as the schema says: "));
}

#[test]
fn an_answer_has_the_shape_of_the_api_servers_own_refusals() {
    let rules: Vec<Value> = (0..40)
        .map(|at| json!({"id": format!("p{at}"), "pattern": "(", "examples": ["a"]}))
        .collect();
    let asked = request(
        "CREATE",
        &constitution(&json!({"interceptor": {"patterns": rules}})),
        &Value::Null,
    );
    let response = respond(&asked, review(&asked, &Constitutions::default(), None));
    assert!(!response.allowed);
    assert_eq!((response.uid.as_str(), response.result.code), ("u-1", 422));
    let details = response.result.details.unwrap();
    assert_eq!(
        (details.kind.as_str(), details.name.as_str()),
        ("Constitution", "c")
    );
    assert_eq!(details.causes.len(), MAX_VIOLATIONS);
    assert!(
        response.result.message.ends_with(" more"),
        "{}",
        response.result.message
    );

    let fine = request("CREATE", &task(&json!({})), &Value::Null);
    let response = respond(&fine, review(&fine, &Constitutions::default(), None));
    assert!(response.allowed && response.result == kube::core::Status::default());
}
