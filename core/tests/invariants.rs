//! Every test that `docs/INVARIANTS.md` names exists, and every invariant names one or says that it
//! is not built yet.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

fn page() -> String {
    fs::read_to_string(root().join("docs/INVARIANTS.md")).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn every_named_test_exists() {
    let page = page();
    let mut named = 0;
    for quoted in page.split('`').skip(1).step_by(2) {
        let Some((file, function)) = quoted.split_once(".rs::") else {
            continue;
        };
        named += 1;
        let path = root().join(format!("{file}.rs"));
        let source = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("`{quoted}`: {}: {error}", path.display()));
        assert!(
            source.contains(&format!("fn {function}(")),
            "`{quoted}`: no such function"
        );
    }
    assert!(named > 0, "the page names no test");
}

#[test]
fn every_invariant_is_shown_by_something() {
    let page = page();
    let sections: Vec<&str> = page.split("\n## ").skip(1).collect();
    assert_eq!(sections.len(), 13);
    for section in sections {
        let title = section.lines().next().unwrap();
        assert!(
            section.contains("\n- `") || section.contains("not built yet"),
            "\"{title}\" names no test and does not say that it is not built yet"
        );
    }
}
