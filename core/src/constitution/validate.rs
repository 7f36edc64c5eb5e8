//! The bounds and cross-field rules of the model, and the rules that must compile.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::Violation;
use super::model::{
    Constitution, Equivalence, InterceptorPolicy, LedgerPolicy, Meta, OnNoAgreement, Quorum,
    RuntimeKind, RuntimePolicy, SupervisorPolicy,
};
use super::{MAX_CONSTITUTION_BYTES, canonical};
use crate::consensus::{KeyError, KeyMaker};
use crate::interceptor::{CATALOGUES, RuleSet};

mod cluster;

const MAX_NAME_BYTES: usize = 63;
const MAX_VERSION_BYTES: usize = 64;
const MAX_ID_BYTES: usize = 32;
const MAX_TERM_RULES: usize = 256;
const MAX_TERMS: usize = 1024;
const MAX_TERM_BYTES: usize = 128;
const MAX_PATTERN_RULES: usize = 64;
const MAX_PATTERN_BYTES: usize = 1024;
const MAX_EXAMPLES: usize = 32;
const MAX_EXAMPLE_BYTES: usize = 1024;
const MAX_CHOICES: usize = 64;
const MAX_CHOICE_BYTES: usize = 256;
const MAX_FALLBACK_BYTES: usize = 4096;
const MAX_MODELS: usize = 64;
const MAX_MODEL_BYTES: usize = 256;

/// Collects what does not hold.
struct Check {
    violations: Vec<Violation>,
}

/// Checks everything at once. `broken` holds paths whose value is a placeholder for something that
/// could not be read and was reported already: rules that contain one are not compiled.
pub(super) fn validate(
    constitution: &Constitution,
    broken: &BTreeSet<String>,
) -> Result<RuleSet, Vec<Violation>> {
    let mut check = Check {
        violations: Vec::new(),
    };
    check.meta(&constitution.meta);
    check.supervisor(&constitution.supervisor);
    let can_compile = check.interceptor(&constitution.interceptor);
    check.runtime(&constitution.runtime, !constitution.egress.allow.is_empty());
    check.egress(&constitution.egress);
    check.cluster(constitution);
    check.ledger(&constitution.ledger);
    check.size(constitution);
    let catalogue_is_known = CATALOGUES.contains(&constitution.meta.catalogue);
    let mut rules = None;
    if can_compile && catalogue_is_known && !broken.contains("meta.catalogue") {
        rules = check.compile(constitution, broken);
    }
    match rules {
        Some(rules) if check.violations.is_empty() => Ok(rules),
        _ => Err(check.violations),
    }
}

impl Check {
    fn fail(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.violations.push(Violation {
            path: path.into(),
            message: one_line(message.into()),
        });
    }

    fn range(&mut self, path: &str, value: u32, least: u32, most: u32, unit: &str) {
        if !(least..=most).contains(&value) {
            self.fail(path, format!("must be from {least} to {most}{unit}"));
        }
    }

    /// Checks a list's length; false if it is too long.
    fn count<T>(&mut self, path: &str, list: &[T], least: usize, most: usize, unit: &str) -> bool {
        if list.len() < least {
            self.fail(path, format!("must have {least} to {most} {unit}"));
        } else if list.len() > most {
            let message = format!("must have at most {most} {unit}, not {}", list.len());
            self.fail(path, message);
        }
        list.len() <= most
    }

    /// Checks a text's length; false if it is too long.
    fn bytes(&mut self, path: &str, text: &str, least: usize, most: usize) -> bool {
        if text.len() < least {
            self.fail(path, format!("must have {least} to {most} bytes"));
        } else if text.len() > most {
            let message = format!("must have at most {most} bytes, not {}", text.len());
            self.fail(path, message);
        }
        text.len() <= most
    }

    fn meta(&mut self, meta: &Meta) {
        if !is_dns_label(&meta.name) {
            self.fail(
                "meta.name",
                "must be a DNS label: 1 to 63 lowercase letters, digits and \"-\", \
                 neither first nor last a \"-\"",
            );
        }
        if !is_version(&meta.version) {
            self.fail(
                "meta.version",
                "must be MAJOR.MINOR.PATCH of Semantic Versioning 2.0.0, with an optional \
                 -PRERELEASE and no build metadata, at most 64 bytes, such as \"1.0.0\"",
            );
        }
        if !CATALOGUES.contains(&meta.catalogue) {
            let known = CATALOGUES.iter().map(ToString::to_string);
            let known = known.collect::<Vec<_>>().join(", ");
            let message = format!("must be a catalogue that this build has: {known}");
            self.fail("meta.catalogue", message);
        }
    }

    fn supervisor(&mut self, policy: &SupervisorPolicy) {
        let ranges = [
            ("max_branches", policy.max_branches, 64, ""),
            (
                "max_prompt_bytes",
                policy.max_prompt_bytes,
                1_048_576,
                " bytes",
            ),
            (
                "max_answer_bytes",
                policy.max_answer_bytes,
                524_288,
                " bytes",
            ),
            (
                "branch_timeout_seconds",
                policy.branch_timeout_seconds,
                3600,
                " seconds",
            ),
            (
                "task_timeout_seconds",
                policy.task_timeout_seconds,
                86_400,
                " seconds",
            ),
            (
                "max_parallel_branches",
                policy.max_parallel_branches,
                64,
                "",
            ),
        ];
        for (key, value, most, unit) in ranges {
            self.range(&format!("supervisor.{key}"), value, 1, most, unit);
        }
        if let Some(least) = policy.min_valid_branches {
            let path = "supervisor.min_valid_branches";
            if policy.quorum != Quorum::Valid {
                self.fail(path, "must only be given with quorum = \"valid\"");
            } else if least == 0 || least > policy.max_branches {
                let most = policy.max_branches;
                self.fail(path, format!("must be from 1 to max_branches, {most}"));
            }
        }
        self.equivalence(&policy.equivalence);
        if let OnNoAgreement::Fallback { text } = &policy.on_no_agreement {
            self.bytes(
                "supervisor.on_no_agreement.text",
                text,
                1,
                MAX_FALLBACK_BYTES,
            );
        }
    }

    fn equivalence(&mut self, equivalence: &Equivalence) {
        let path = |key: &str| format!("supervisor.equivalence.{key}");
        match equivalence {
            Equivalence::Text | Equivalence::Bytes | Equivalence::Json => {}
            Equivalence::Number { decimals } => {
                self.range(&path("decimals"), *decimals, 0, 9, "");
            }
            Equivalence::Regex { pattern, .. } => {
                self.bytes(&path("pattern"), pattern, 1, MAX_PATTERN_BYTES);
            }
            Equivalence::Choice { values } => {
                self.count(&path("values"), values, 2, MAX_CHOICES, "values");
                for (index, value) in values.iter().enumerate() {
                    let path = path(&format!("values[{index}]"));
                    self.bytes(&path, value, 1, MAX_CHOICE_BYTES);
                }
            }
        }
    }

    /// Checks the rules' bounds; false if they are too many or too long to be compiled.
    fn interceptor(&mut self, policy: &InterceptorPolicy) -> bool {
        let mut fits = self.count(
            "interceptor.terms",
            &policy.terms,
            0,
            MAX_TERM_RULES,
            "lists of terms",
        );
        fits &= self.count(
            "interceptor.patterns",
            &policy.patterns,
            0,
            MAX_PATTERN_RULES,
            "patterns",
        );
        let mut first_uses = BTreeMap::new();
        for (index, rule) in policy.terms.iter().enumerate() {
            let path = format!("interceptor.terms[{index}]");
            self.id(&path, &rule.id, &mut first_uses);
            let list = format!("{path}.terms");
            fits &= self.count(&list, &rule.terms, 1, MAX_TERMS, "terms");
            fits &= self.texts(&list, &rule.terms, 1, MAX_TERM_BYTES);
        }
        for (index, rule) in policy.patterns.iter().enumerate() {
            let path = format!("interceptor.patterns[{index}]");
            self.id(&path, &rule.id, &mut first_uses);
            let pattern = format!("{path}.pattern");
            fits &= self.bytes(&pattern, &rule.pattern, 1, MAX_PATTERN_BYTES);
            let list = format!("{path}.examples");
            fits &= self.count(&list, &rule.examples, 1, MAX_EXAMPLES, "examples");
            fits &= self.texts(&list, &rule.examples, 0, MAX_EXAMPLE_BYTES);
            let list = format!("{path}.counterexamples");
            fits &= self.count(&list, &rule.counterexamples, 0, MAX_EXAMPLES, "examples");
            fits &= self.texts(&list, &rule.counterexamples, 0, MAX_EXAMPLE_BYTES);
        }
        fits
    }

    fn texts(&mut self, path: &str, texts: &[String], least: usize, most: usize) -> bool {
        let mut fits = true;
        for (index, text) in texts.iter().enumerate() {
            fits &= self.bytes(&format!("{path}[{index}]"), text, least, most);
        }
        fits
    }

    fn id<'m>(&mut self, rule: &str, id: &'m str, first_uses: &mut BTreeMap<&'m str, String>) {
        let path = format!("{rule}.id");
        let is_letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if !(1..=MAX_ID_BYTES).contains(&id.len()) || !id.bytes().all(is_letter) {
            self.fail(path, "must be 1 to 32 lowercase letters, digits and \"_\"");
        } else if let Some(first) = first_uses.get(id) {
            self.fail(path, format!("must be unique; {first} has the same id"));
        } else {
            first_uses.insert(id, rule.to_owned());
        }
    }

    fn runtime(&mut self, policy: &RuntimePolicy, is_egress_listed: bool) {
        let path = "runtime.kinds";
        let mut kinds = policy.kinds.clone();
        kinds.sort_unstable();
        kinds.dedup();
        if kinds.is_empty() || kinds.len() < policy.kinds.len() {
            let most = RuntimeKind::ALL.len();
            self.fail(path, format!("must list 1 to {most} kinds, each once"));
        }
        if policy.loopback_port == Some(0) {
            self.fail(
                "runtime.loopback_port",
                "must be a TCP port from 1 to 65535",
            );
        }
        if policy.loopback_port.is_some() && is_egress_listed {
            let message = "must be left out where egress.allow lists a target: the broker's port is the \
                one port then; list { cidr = \"127.0.0.1/32\", port = … } there";
            self.fail("runtime.loopback_port", message);
        }
        let path = "runtime.models";
        self.count(path, &policy.models, 0, MAX_MODELS, "models");
        self.texts(path, &policy.models, 1, MAX_MODEL_BYTES);
        let memory = policy.max_memory_mib;
        self.range("runtime.max_memory_mib", memory, 64, 65_536, " MiB");
        self.range("runtime.max_processes", policy.max_processes, 1, 1024, "");
    }

    fn ledger(&mut self, policy: &LedgerPolicy) {
        let days = policy.retention_days;
        let unit = " days (0: for ever)";
        self.range("ledger.retention_days", days, 0, 36_500, unit);
    }

    fn size(&mut self, constitution: &Constitution) {
        if canonical::encode(constitution).len() > MAX_CONSTITUTION_BYTES {
            let message = format!(
                "the canonical form of a constitution must be at most {MAX_CONSTITUTION_BYTES} bytes"
            );
            self.fail("", message);
        }
    }

    fn key_error(&mut self, equivalence: &Equivalence, error: &KeyError) {
        let path = match (equivalence, error) {
            (Equivalence::Choice { values }, KeyError::Choice(value)) => {
                let index = values
                    .iter()
                    .rposition(|it| it == value)
                    .unwrap_or_default();
                format!("supervisor.equivalence.values[{index}]")
            }
            (Equivalence::Regex { pattern, .. }, _) => {
                let path = "supervisor.equivalence.pattern";
                let problem = syntax_problem(pattern).unwrap_or_else(|| error.to_string());
                return self.fail(path, problem);
            }
            _ => "supervisor.equivalence".to_owned(),
        };
        self.fail(path, error.to_string());
    }

    /// Compiles the rules and the equivalence; errors of a rule that is known to be wrong are not
    /// repeated.
    fn compile(
        &mut self,
        constitution: &Constitution,
        broken: &BTreeSet<String>,
    ) -> Option<RuleSet> {
        let known: BTreeSet<String> = self
            .violations
            .iter()
            .map(|violation| rule_of(&violation.path))
            .chain(broken.iter().map(|path| rule_of(path)))
            .map(str::to_owned)
            .collect();
        let is_new = |path: &str| !known.contains(rule_of(path));
        let equivalence = &constitution.supervisor.equivalence;
        if !known.contains("supervisor.equivalence")
            && let Err(error) = KeyMaker::compile(equivalence)
        {
            self.key_error(equivalence, &error);
        }
        let Constitution {
            meta,
            policy,
            interceptor,
            ..
        } = constitution;
        match RuleSet::compile(policy, interceptor, meta.catalogue) {
            Ok(rules) => Some(rules),
            Err(errors) => {
                for error in errors.into_iter().filter(|error| is_new(&error.path)) {
                    self.fail(error.path, error.message);
                }
                None
            }
        }
    }
}

/// What is wrong with the syntax of a pattern, with its place in it; `None` if nothing is.
fn syntax_problem(pattern: &str) -> Option<String> {
    let (offset, problem) = match regex_syntax::parse(pattern).err()? {
        regex_syntax::Error::Parse(error) => (error.span().start.offset, error.kind().to_string()),
        regex_syntax::Error::Translate(error) => {
            (error.span().start.offset, error.kind().to_string())
        }
        _ => return None,
    };
    Some(format!(
        "must be a regular expression: {problem}, at byte {offset} of the pattern"
    ))
}

/// Messages from rules may quote a pattern of several lines; a diagnostic has one.
fn one_line(message: String) -> String {
    if message.contains(char::is_control) {
        let clean = message.replace(char::is_control, " ");
        clean.split_whitespace().collect::<Vec<_>>().join(" ")
    } else {
        message
    }
}

/// The path of the rule that `path` is a part of: `interceptor.terms[3]` of
/// `interceptor.terms[3].id`.
fn rule_of(path: &str) -> &str {
    if path.starts_with("supervisor.equivalence") {
        return "supervisor.equivalence";
    }
    path.find(']').map_or(path, |end| &path[..=end])
}

/// RFC 1123 label, in lower case: what Kubernetes takes as a name.
fn is_dns_label(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// `MAJOR.MINOR.PATCH[-PRERELEASE]`, semver.org 2.0.0 items 2 and 9.
fn is_version(version: &str) -> bool {
    let (core, prerelease) = match version.split_once('-') {
        Some((core, prerelease)) => (core, Some(prerelease)),
        None => (version, None),
    };
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let is_number = |part: &str| is_digits(part) && (part == "0" || !part.starts_with('0'));
    let is_identifier = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && (!is_digits(part) || is_number(part))
    };
    version.len() <= MAX_VERSION_BYTES
        && core.split('.').count() == 3
        && core.split('.').all(is_number)
        && prerelease.is_none_or(|part| part.split('.').all(is_identifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_semver_without_build_metadata() {
        for good in [
            "0.0.0",
            "1.0.0",
            "10.20.30",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-0A.-",
        ] {
            assert!(is_version(good), "{good}");
        }
        for bad in [
            "",
            "1",
            "1.0",
            "1.0.0.0",
            "01.0.0",
            "1.00.0",
            "1.0.0-",
            "1.0.0-01",
            "1.0.0-a..b",
            "1.0.0+build",
            "v1.0.0",
            "1.0.x",
            " 1.0.0",
        ] {
            assert!(!is_version(bad), "{bad}");
        }
        assert!(is_version(&format!("1.0.0-{}", "a".repeat(58))));
        assert!(!is_version(&format!("1.0.0-{}", "a".repeat(59))));
    }

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "default", "a-1", "0"] {
            assert!(is_dns_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "é"] {
            assert!(!is_dns_label(bad), "{bad}");
        }
        assert!(is_dns_label(&"a".repeat(63)));
        assert!(!is_dns_label(&"a".repeat(64)));
    }

    #[test]
    fn a_rule_is_named_by_its_first_index() {
        assert_eq!(
            rule_of("interceptor.terms[3].terms[4]"),
            "interceptor.terms[3]"
        );
        assert_eq!(
            rule_of("supervisor.equivalence.pattern"),
            "supervisor.equivalence"
        );
        assert_eq!(rule_of("meta.name"), "meta.name");
    }
}
