//! A constitution's rules, compiled.

use super::detect::{CATALOGUE_1, Detector, Kind};
use super::fold::OTHER_LETTER;
use super::operator::{HASH_LETTERS, MASK_TAIL, REMOVED, placeholder};
use super::patterns::{Patterns, check};
use super::scan::{HashKey, intercept};
use super::terms::Terms;
use super::view::MAX_DROPPED_RUN;
use crate::constitution::{
    Action, Category, DetectorSetting, InterceptorPolicy, PatternRule, Policy, TermRule,
};

/// The catalogues this build carries.
pub const CATALOGUES: &[u32] = &[1];
/// The catalogue of a constitution that names none.
pub const LATEST_CATALOGUE: u32 = 1;

/// A rule as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleInfo {
    /// Its id, in the placeholder too.
    pub id: String,
    /// What it does.
    pub action: Action,
    /// What it is about.
    pub category: Category,
}

/// One reason why rules cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    /// Where, such as `interceptor.patterns[2].pattern`.
    pub path: String,
    /// What must hold.
    pub message: String,
}

/// Compiled rules: made once from a constitution, used for every text. Rules are in the order of
/// their ids, which names the placeholder where two cover the same text.
#[derive(Debug)]
pub struct RuleSet {
    pub(super) infos: Vec<RuleInfo>,
    /// Per rule, where it stands in the constitution.
    paths: Vec<String>,
    /// Detectors in force, with their rule.
    pub(super) detectors: Vec<(usize, &'static Detector)>,
    pub(super) terms: Terms,
    pub(super) patterns: Patterns,
    /// For each of the first three bytes of a match: bit `i` for detector `i`, then terms, then
    /// patterns.
    pub(super) leads: Box<[[u32; 256]; 3]>,
    /// The bit of the e-mail detector, if it is in force.
    pub(super) email_bit: u32,
    /// The most bytes of the folded view that decide about one position.
    pub(super) window_bytes: usize,
    /// Steps that one byte of text may cost; more, and the text is withheld.
    pub(super) steps_per_byte: u64,
}

/// The bit of terms in `leads`.
pub(super) const TERMS_BIT: u32 = 1 << 30;
/// The bit of patterns in `leads`.
pub(super) const PATTERNS_BIT: u32 = 1 << 31;

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id)
    }
}

enum Source<'a> {
    Detector(&'static Detector),
    Terms(&'a TermRule),
    Pattern(&'a PatternRule),
}

struct Rule<'a> {
    info: RuleInfo,
    path: String,
    source: Source<'a>,
}

impl RuleSet {
    /// Compiles the rules that `policy` puts in force; all errors at once.
    pub fn compile(
        policy: &Policy,
        interceptor: &InterceptorPolicy,
        catalogue: u32,
    ) -> Result<Self, Vec<RuleError>> {
        if !CATALOGUES.contains(&catalogue) {
            let message = format!("must be one of {CATALOGUES:?}, which this build carries");
            return Err(vec![RuleError {
                path: "meta.catalogue".into(),
                message,
            }]);
        }
        let mut errors = Vec::new();
        let mut rules = collect(interceptor, &mut errors);
        // Every rule is compiled, in force or not, so that switching a category on finds no surprise.
        let all = Self::build(&rules, &mut errors);
        check_examples(&rules, &mut errors);
        if let Some(all) = all.filter(|_| errors.is_empty()) {
            all.check_replacements(&mut errors);
        }
        rules.retain(|rule| match rule.info.category {
            Category::Harmful => !policy.allow_harmful_content,
            Category::Pii => !policy.allow_pii_leakage || is_explicit(rule, interceptor),
            Category::Custom | Category::Secret => true,
        });
        match Self::build(&rules, &mut errors) {
            Some(rules) if errors.is_empty() => Ok(rules),
            _ => Err(errors),
        }
    }

    fn build(rules: &[Rule<'_>], errors: &mut Vec<RuleError>) -> Option<Self> {
        let mut detectors = Vec::new();
        let mut terms = Terms::default();
        let mut patterns = Vec::new();
        let mut pattern_rules = Vec::new();
        let mut max_pattern_bytes = 0;
        for (index, rule) in rules.iter().enumerate() {
            match &rule.source {
                Source::Detector(detector) => detectors.push((index, *detector)),
                Source::Terms(list) => {
                    for (at, term) in list.terms.iter().enumerate() {
                        if let Err(must) = terms.add(term, index) {
                            report(errors, format!("{}.terms[{at}]", rule.path), must);
                        }
                    }
                }
                Source::Pattern(pattern) => match check(&pattern.pattern) {
                    Ok(bytes) => {
                        max_pattern_bytes = max_pattern_bytes.max(bytes);
                        patterns.push(pattern.pattern.as_str());
                        pattern_rules.push(index);
                    }
                    Err(must) => report(errors, format!("{}.pattern", rule.path), must),
                },
            }
        }
        terms.sort();
        let patterns = match Patterns::compile(&patterns, pattern_rules, max_pattern_bytes) {
            Ok(patterns) => patterns,
            Err(must) => {
                report(errors, "interceptor.patterns".to_owned(), must);
                return None;
            }
        };
        Some(Self::assemble(rules, detectors, terms, patterns))
    }

    fn assemble(
        rules: &[Rule<'_>],
        detectors: Vec<(usize, &'static Detector)>,
        terms: Terms,
        patterns: Patterns,
    ) -> Self {
        let leads = leads(&detectors, &terms, &patterns);
        let email = detectors
            .iter()
            .position(|(_, detector)| detector.id == "email");
        let longest = detectors
            .iter()
            .map(|(_, detector)| detector.max_bytes)
            .max();
        let window_bytes = longest
            .unwrap_or(0)
            .max(terms.max_bytes())
            .max(patterns.max_bytes())
            .max(2);
        let all: usize = detectors
            .iter()
            .map(|(_, detector)| detector.max_bytes)
            .sum();
        let most = all + terms.max_bytes() + patterns.max_bytes() + 4;
        Self {
            infos: rules.iter().map(|rule| rule.info.clone()).collect(),
            paths: rules.iter().map(|rule| rule.path.clone()).collect(),
            detectors,
            terms,
            patterns,
            leads,
            email_bit: email.map_or(0, |at| 1 << at),
            window_bytes,
            steps_per_byte: most as u64,
        }
    }

    /// Rules whose budget does not grow with the text. No text spends the real one: it covers the
    /// worst that a byte can cost, and only shows what happens should that be wrong.
    #[cfg(test)]
    pub(crate) fn on_a_fixed_budget(mut self) -> Self {
        self.steps_per_byte = 0;
        self
    }

    /// Rules in force, in the order of their ids.
    #[must_use]
    pub fn rules(&self) -> &[RuleInfo] {
        &self.infos
    }

    /// The most raw bytes that are held back: each folded byte of the window may be a character of
    /// four bytes with a run of invisible ones after it, and an incomplete character may follow.
    #[must_use]
    pub fn hold_back_bytes(&self) -> usize {
        self.window_bytes * (4 + 4 * MAX_DROPPED_RUN as usize) + 3
    }

    /// The hold-back for text that is ASCII.
    #[must_use]
    pub fn hold_back_ascii_bytes(&self) -> usize {
        self.window_bytes
    }

    /// No rule may match what a rule puts in place of a finding, else filtering twice would differ.
    fn check_replacements(&self, errors: &mut Vec<RuleError>) {
        let must = "must not match what replaces a finding";
        let samples = self.infos.iter().map(|info| placeholder(&info.id));
        for sample in samples.chain([REMOVED.to_owned()]) {
            let report_of = intercept(self, &HashKey([0; 32]), sample.as_bytes()).report;
            for span in &report_of.spans {
                report(
                    errors,
                    self.paths[span.rule].clone(),
                    format!("{must}: {sample}"),
                );
            }
        }
        for info in &self.infos {
            let template = match info.action {
                Action::Hash => hash_template(&info.id),
                Action::Mask => vec![mask_bytes(); MASK_TAIL],
                _ => continue,
            };
            if let Some(rule) = self.patterns.match_in(&template) {
                let what = format!("{must}: the {:?} of {}", info.action, info.id);
                report(errors, self.paths[rule].clone(), what);
            }
            self.check_terms(info, errors);
        }
    }

    /// Words of a hash are 16 letters; the tail of a mask is a word of up to four characters.
    fn check_terms(&self, info: &RuleInfo, errors: &mut Vec<RuleError>) {
        let must = "must not match what replaces a finding";
        for (rule, term) in self.terms.iter() {
            let is_tail = term.len() <= MASK_TAIL;
            let is_hash = term.len() == 16 && term.iter().all(|byte| HASH_LETTERS.contains(byte));
            let is_match = match info.action {
                Action::Mask => is_tail,
                _ => is_hash || term == b"hash",
            };
            if is_match {
                let what = format!("{must}: the {:?} of {}", info.action, info.id);
                report(errors, self.paths[rule].clone(), what);
            }
        }
    }
}

/// Each pattern alone, so that one wrong rule does not hide another.
fn check_examples(rules: &[Rule<'_>], errors: &mut Vec<RuleError>) {
    for rule in rules {
        let Source::Pattern(pattern) = &rule.source else {
            continue;
        };
        let alone = check(&pattern.pattern)
            .and_then(|bytes| Patterns::compile(&[&pattern.pattern], vec![0], bytes));
        let Ok(alone) = alone else {
            continue;
        };
        for (at, _) in pattern
            .examples
            .iter()
            .enumerate()
            .filter(|(_, text)| !finds(&alone, text))
        {
            let must = "must hold something that the pattern finds as a whole word";
            report(errors, format!("{}.examples[{at}]", rule.path), must);
        }
        let wrong = pattern
            .counterexamples
            .iter()
            .enumerate()
            .filter(|(_, text)| finds(&alone, text));
        for (at, _) in wrong {
            let must = "must hold nothing that the pattern finds";
            report(errors, format!("{}.counterexamples[{at}]", rule.path), must);
        }
    }
}

/// Whether a pattern finds anything in `text`, whatever other rules do.
fn finds(patterns: &Patterns, text: &str) -> bool {
    let mut view = super::view::View::default();
    view.push(text.as_bytes());
    let folded = view.folded();
    let is_word = |at: usize| super::fold::is_word(folded[at]);
    let mut is_found = false;
    for at in 0..folded.len() {
        if at == 0 || !is_word(at) || !is_word(at - 1) {
            patterns.find(&folded[at..], |_, _| is_found = true);
        }
    }
    is_found
}

fn leads(
    detectors: &[(usize, &'static Detector)],
    terms: &Terms,
    patterns: &Patterns,
) -> Box<[[u32; 256]; 3]> {
    let mut leads = Box::new([[0; 256]; 3]);
    for (place, table) in leads.iter_mut().enumerate() {
        for byte in 0..=u8::MAX {
            let mut bits = 0;
            for (at, (_, detector)) in detectors.iter().enumerate() {
                bits |= u32::from(detector.leads[place](byte)) << at;
            }
            // Terms and patterns say only how they begin.
            let (is_term, is_pattern) = (
                place > 0 || terms.begins(byte),
                place > 0 || patterns.begins(byte),
            );
            bits |= if is_term { TERMS_BIT } else { 0 };
            bits |= if is_pattern { PATTERNS_BIT } else { 0 };
            table[usize::from(byte)] = bits;
        }
    }
    leads
}

fn hash_template(id: &str) -> Vec<Vec<u8>> {
    let fixed = format!("HASH:{id}:");
    let mut template: Vec<Vec<u8>> = fixed.bytes().map(|byte| vec![byte]).collect();
    template.extend(vec![HASH_LETTERS.to_vec(); 16]);
    template
}

fn mask_bytes() -> Vec<u8> {
    (0..=OTHER_LETTER + 1)
        .filter(|byte| !super::fold::is_reserved(*byte))
        .collect()
}

fn report(errors: &mut Vec<RuleError>, path: String, message: impl Into<String>) {
    errors.push(RuleError {
        path,
        message: message.into(),
    });
}

/// A detector that the constitution names stays on whatever its category's switch says.
fn is_explicit(rule: &Rule<'_>, interceptor: &InterceptorPolicy) -> bool {
    matches!(rule.source, Source::Detector(detector) if interceptor.detectors.contains_key(detector.id))
}

/// The rules of the catalogue that are on.
fn detectors<'a>(interceptor: &InterceptorPolicy, errors: &mut Vec<RuleError>) -> Vec<Rule<'a>> {
    let mut rules = Vec::new();
    for id in interceptor.detectors.keys() {
        if !CATALOGUE_1.iter().any(|detector| detector.id == id) {
            let known: Vec<&str> = CATALOGUE_1.iter().map(|detector| detector.id).collect();
            let must = format!(
                "must be one of the catalogue's detectors: {}",
                known.join(", ")
            );
            report(errors, format!("interceptor.detectors.{id}"), must);
        }
    }
    for detector in &CATALOGUE_1 {
        let path = format!("interceptor.detectors.{}", detector.id);
        let setting = interceptor.detectors.get(detector.id).copied();
        let Some(action) = action(setting.unwrap_or(DetectorSetting::Redact)) else {
            continue;
        };
        if matches!(detector.kind, Kind::Sticky(..))
            && matches!(action, Action::Mask | Action::Hash)
        {
            let must = "must be off, redact, remove or withhold: its length has no limit";
            report(errors, path.clone(), must);
        }
        let info = RuleInfo {
            id: detector.id.to_owned(),
            action,
            category: detector.category,
        };
        rules.push(Rule {
            info,
            path,
            source: Source::Detector(detector),
        });
    }
    rules
}

fn collect<'a>(interceptor: &'a InterceptorPolicy, errors: &mut Vec<RuleError>) -> Vec<Rule<'a>> {
    let mut rules = detectors(interceptor, errors);
    for (at, list) in interceptor.terms.iter().enumerate() {
        let info = RuleInfo {
            id: list.id.clone(),
            action: list.action,
            category: list.category,
        };
        let path = format!("interceptor.terms[{at}]");
        rules.push(Rule {
            info,
            path,
            source: Source::Terms(list),
        });
    }
    for (at, pattern) in interceptor.patterns.iter().enumerate() {
        let PatternRule {
            id,
            action,
            category,
            ..
        } = pattern;
        let info = RuleInfo {
            id: id.clone(),
            action: *action,
            category: *category,
        };
        let path = format!("interceptor.patterns[{at}]");
        rules.push(Rule {
            info,
            path,
            source: Source::Pattern(pattern),
        });
    }
    rules.sort_by(|a, b| a.info.id.cmp(&b.info.id));
    for pair in rules.windows(2) {
        if pair[0].info.id == pair[1].info.id {
            let must = format!(
                "must have an id of its own; \"{}\" is taken",
                pair[1].info.id
            );
            report(errors, format!("{}.id", pair[1].path), must);
        }
    }
    rules
}

fn action(setting: DetectorSetting) -> Option<Action> {
    Some(match setting {
        DetectorSetting::Off => return None,
        DetectorSetting::Redact => Action::Redact,
        DetectorSetting::Remove => Action::Remove,
        DetectorSetting::Mask => Action::Mask,
        DetectorSetting::Hash => Action::Hash,
        DetectorSetting::Withhold => Action::Withhold,
    })
}
