//! Nothing under `plan/` knows a client, a clock, a socket or a runtime: what shall be is computed from
//! what is.
#![allow(clippy::unwrap_used)]

use std::path::Path;

const FORBIDDEN: [&str; 10] = [
    "kube::",
    "tokio",
    "async ",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant",
    "Timestamp::now",
];

#[test]
fn plan_is_pure() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan");
    let mut findings = Vec::new();
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.is_file(), "{}: look into folders too", path.display());
        seen += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for word in FORBIDDEN {
                if code.contains(word) {
                    findings.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(seen >= 5, "only {seen} files found");
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}
