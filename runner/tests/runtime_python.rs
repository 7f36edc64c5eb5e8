//! The Python package has its own tests; this runs them with the interpreter that runtimes use.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use axiom_hive_runner::runtime::PYTHON_BIN;

#[test]
fn the_package_passes_its_own_tests() {
    let python = std::env::var(PYTHON_BIN).unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python)
        .args(["-B", "-m", "unittest", "discover", "-s", "tests"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/python"))
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    assert!(!report.contains("Ran 0 tests"), "{report}");
}
