//! The house stays as its pages say: `docs/INVARIANTS.md` and `docs/TESTING.md` name tests that exist, every dependency
//! has its reason in `docs/ARCHITECTURE.md`, `tests/budget.toml` is the one place for
//! counts, and `unsafe` stands in one module.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_test_that_the_pages_name_exists() {
    for page in ["docs/INVARIANTS.md", "docs/TESTING.md"] {
        names_tests_that_exist(page);
    }
}

fn names_tests_that_exist(page: &str) {
    let page = read(page);
    let mut named = 0;
    for quoted in page.split('`').skip(1).step_by(2) {
        let Some((file, function)) = quoted.split_once(".rs::") else {
            continue;
        };
        named += 1;
        assert!(
            read(&format!("{file}.rs")).contains(&format!("fn {function}(")),
            "`{quoted}`: no such function"
        );
    }
    assert!(named > 0, "the page names no test");
}

#[test]
fn every_invariant_is_shown_by_something() {
    let page = read("docs/INVARIANTS.md");
    let sections: Vec<&str> = page.split("\n## ").skip(1).collect();
    assert_eq!(sections.len(), 13);
    for section in sections {
        let title = section.lines().next().unwrap();
        assert!(
            section.contains("\n- `") || says_not_built(section),
            "\"{title}\" names no test and does not say that it is not built yet"
        );
    }
}

/// Wherever the line breaks.
fn says_not_built(section: &str) -> bool {
    let words: Vec<&str> = section.split_whitespace().collect();
    words.join(" ").contains("not built yet")
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = read("Cargo.toml");
    let reasons = read("docs/ARCHITECTURE.md");
    let section = manifest
        .split("\n[workspace.dependencies]\n")
        .nth(1)
        .and_then(|rest| rest.split("\n[").next())
        .unwrap();
    let missing: Vec<&str> = section
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with("axiom_hive_"))
        .filter(|name| !reasons.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "no reason in docs/ARCHITECTURE.md for {missing:?}"
    );
}

#[test]
fn every_count_stands_in_the_budget() {
    let mut used = BTreeSet::new();
    for file in ["core", "operator", "runner", "tests"]
        .iter()
        .flat_map(|part| rust_files(&root().join(part)))
    {
        let text = fs::read_to_string(file).unwrap();
        // Written in two parts, so that these lines are not found themselves.
        for before in [
            concat!("budget", "(\""),
            concat!("\"AXIOM_HIVE_", "BUDGET_"),
        ] {
            for name in text
                .split(before)
                .skip(1)
                .filter_map(|rest| rest.split('"').next())
            {
                if !name.is_empty() && !name.contains('{') {
                    used.insert(name.to_lowercase());
                }
            }
        }
    }
    let budget: BTreeSet<String> = read("tests/budget.toml")
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'))
        .map(str::to_owned)
        .collect();
    let scripts = BTreeSet::from(["fuzz_seconds".to_owned()]);
    let expected: BTreeSet<String> = used.union(&scripts).cloned().collect();
    assert_eq!(budget, expected, "left: tests/budget.toml, right: the code");
}

#[test]
fn unsafe_stands_in_one_module_alone() {
    let parts = ["core", "operator", "runner", "tests"];
    let allowed: Vec<PathBuf> = parts
        .iter()
        .flat_map(|part| rust_files(&root().join(part)))
        // In two parts, so that these lines are not found themselves.
        .filter(|file| {
            let text = fs::read_to_string(file).unwrap();
            text.contains(concat!("unsafe", "_code")) || text.contains(concat!("unsafe", " {"))
        })
        .collect();
    assert_eq!(allowed, [root().join("core/src/tlog/lanes.rs")]);
}

/// The `.rs` files below `directory`.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
