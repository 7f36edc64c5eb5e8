//! What is allowed: pure.
//!
//! The API server has asked schema and CEL before it asks here, so what is left is what those cannot
//! say: whether a constitution's rules compile in our engine, whether its version was used before with
//! other content, whether a task fits the constitution that it names. All violations come in one answer.
//! What is unknown here is allowed: a task may come before its constitution, and whoever starts a pod
//! asks all of this again.

use std::collections::BTreeMap;

use axiom_hive_core::constitution::Violation;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, Operation};
use kube::core::response::{StatusCause, StatusDetails, StatusSummary};
use kube::core::{DynamicObject, Status};
use serde::de::DeserializeOwned;

use crate::api::{ConstitutionSpec, GROUP, SupervisedTaskSpec};
use crate::plan::resolve::{Constitutions, NamespaceLabels};
use crate::plan::validate::validate;

/// Upper bound of the violations in one answer; the last one counts what is left out.
pub const MAX_VIOLATIONS: usize = 32;

/// What the API server asks.
pub type Request = AdmissionRequest<DynamicObject>;

/// What is said to a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What must hold and does not, and where; none: the request is allowed.
    pub violations: Vec<Violation>,
    /// What the user should know all the same.
    pub warnings: Vec<String>,
}

impl Verdict {
    fn refuse(violations: Vec<Violation>) -> Self {
        Self {
            violations,
            warnings: Vec::new(),
        }
    }

    fn warn(warning: String) -> Self {
        Self {
            violations: Vec::new(),
            warnings: vec![warning],
        }
    }
}

/// Judges a request. `labels` are those of the request's namespace, `None` where they are not known.
#[must_use]
pub fn review(
    request: &Request,
    constitutions: &Constitutions,
    labels: Option<&BTreeMap<String, String>>,
) -> Verdict {
    let is_asked = matches!(request.operation, Operation::Create | Operation::Update)
        && request
            .sub_resource
            .as_deref()
            .unwrap_or_default()
            .is_empty();
    if !is_asked {
        return Verdict::default();
    }
    let Some(object) = &request.object else {
        return Verdict::refuse(vec![violation("", "must have an object")]);
    };
    let old = request.old_object.as_ref();
    match (request.kind.group.as_str(), request.kind.kind.as_str()) {
        (GROUP, "Constitution") => constitution(object, old, constitutions),
        (GROUP, "SupervisedTask") => {
            let namespace = request.namespace.as_deref().unwrap_or_default();
            let namespace = labels.map(|labels| NamespaceLabels {
                name: namespace,
                labels,
            });
            task(object, old, constitutions, namespace)
        }
        _ => Verdict::refuse(vec![violation(
            "kind",
            "must be Constitution or SupervisedTask of group axiomhive.io",
        )]),
    }
}

fn constitution(
    object: &DynamicObject,
    old: Option<&DynamicObject>,
    constitutions: &Constitutions,
) -> Verdict {
    let content = match content(object) {
        Ok(content) => content,
        Err(violation) => return Verdict::refuse(vec![violation]),
    };
    // Who may use it, and what stands in the metadata, can change even where a later build would not
    // take the same content again.
    let is_known = old.and_then(|old| self::content(old).ok());
    if is_known.is_some_and(|old| old.digest() == content.digest()) {
        return Verdict::default();
    }
    let mut violations = match content.validate() {
        Ok(_) => Vec::new(),
        Err(violations) => violations.into_iter().map(in_object).collect(),
    };
    // One mistake can show at two steps of compiling a rule.
    violations.dedup();
    violations.extend(constitutions.check_version(&content).err());
    Verdict::refuse(violations)
}

fn content(
    object: &DynamicObject,
) -> Result<axiom_hive_core::constitution::Constitution, Violation> {
    let spec: ConstitutionSpec = spec(object)?;
    spec.to_core().map_err(|error| in_text(&error.to_string()))
}

fn task(
    object: &DynamicObject,
    old: Option<&DynamicObject>,
    constitutions: &Constitutions,
    namespace: Option<NamespaceLabels<'_>>,
) -> Verdict {
    let spec: SupervisedTaskSpec = match spec(object) {
        Ok(spec) => spec,
        Err(violation) => return Verdict::refuse(vec![violation]),
    };
    // A constitution that became stricter must not keep anybody from suspending a task.
    let before = old.and_then(|old| self::spec::<SupervisedTaskSpec>(old).ok());
    if before.is_some_and(|before| final_part(before) == final_part(spec.clone())) {
        return Verdict::default();
    }
    let reference = &spec.constitution_ref;
    let Some(namespace) = namespace else {
        return Verdict::warn(
            "the namespace is too new to be judged; the task is judged when it starts".to_owned(),
        );
    };
    let resolved = match constitutions.resolve(reference, namespace) {
        Ok(resolved) => resolved,
        Err(unresolved) if unresolved.may_come() => {
            return Verdict::warn(format!("{unresolved}; until then the task waits"));
        }
        Err(unresolved) => return Verdict::refuse(vec![in_text(&unresolved.to_string())]),
    };
    // A pinned version may be in the ledger only; it is asked for when the task starts.
    let content = resolved.content.as_deref();
    let violations = content.and_then(|content| validate(&spec, content).err());
    Verdict::refuse(violations.unwrap_or_default())
}

/// The part of a task's spec that is final.
fn final_part(mut spec: SupervisedTaskSpec) -> SupervisedTaskSpec {
    spec.suspend = false;
    spec.ttl_seconds_after_finished = None;
    spec
}

fn spec<T: DeserializeOwned>(object: &DynamicObject) -> Result<T, Violation> {
    let value = object.data.get("spec").cloned().unwrap_or_default();
    serde_json::from_value(value)
        .map_err(|error| violation("spec", format!("must be as the schema says: {error}")))
}

fn violation(path: &str, message: impl Into<String>) -> Violation {
    Violation {
        path: path.to_owned(),
        message: message.into(),
    }
}

/// An error whose text is `path: what must hold`.
fn in_text(text: &str) -> Violation {
    let (path, message) = text.split_once(": ").unwrap_or(("spec", text));
    violation(path, message)
}

/// From the path of the policy file (`supervisor.max_branches`) to that of the object
/// (`spec.supervisor.maxBranches`).
fn in_object(violation: Violation) -> Violation {
    let mut path = "spec".to_owned();
    let mut parent = "";
    for key in violation.path.split('.').filter(|key| !key.is_empty()) {
        path.push('.');
        // Ids of detectors and keys of labels are the user's own words.
        if [
            "detectors",
            "pod_labels",
            "node_selector",
            "max_extended_resources",
        ]
        .contains(&parent)
        {
            path.push_str(key);
            continue;
        }
        parent = key;
        let mut words = key.split('_');
        path.push_str(words.next().unwrap_or_default());
        for word in words {
            let (first, rest) = word.split_at(word.len().min(1));
            path.push_str(&first.to_ascii_uppercase());
            path.push_str(rest);
        }
    }
    Violation { path, ..violation }
}

/// A verdict as the API server takes it, in the shape of its own refusals: clients print one line a
/// violation.
#[must_use]
pub fn respond(request: &Request, verdict: Verdict) -> AdmissionResponse {
    let mut response = AdmissionResponse::from(request);
    if !verdict.warnings.is_empty() {
        response.warnings = Some(verdict.warnings);
    }
    let mut violations = verdict.violations;
    if violations.is_empty() {
        return response;
    }
    if violations.len() > MAX_VIOLATIONS {
        let more = violations.len() - (MAX_VIOLATIONS - 1);
        violations.truncate(MAX_VIOLATIONS - 1);
        violations.push(violation("", format!("and {more} more")));
    }
    let texts: Vec<String> = violations.iter().map(ToString::to_string).collect();
    response.allowed = false;
    response.result = Status {
        status: Some(StatusSummary::Failure),
        code: 422,
        message: texts.join("; "),
        reason: "Invalid".to_owned(),
        metadata: None,
        details: Some(StatusDetails {
            name: request.name.clone(),
            group: request.kind.group.clone(),
            kind: request.kind.kind.clone(),
            uid: String::new(),
            causes: violations.into_iter().map(cause).collect(),
            retry_after_seconds: 0,
        }),
    };
    response
}

fn cause(violation: Violation) -> StatusCause {
    StatusCause {
        reason: "FieldValueInvalid".to_owned(),
        message: violation.message,
        field: violation.path,
    }
}
