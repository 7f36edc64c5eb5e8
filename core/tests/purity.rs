//! The core stays pure: no clock, file, socket, process, thread, random source, async runtime or
//! Kubernetes, and no float and no hash-map order in a decision (invariant 6 in
//! `docs/INVARIANTS.md`). `core/clippy.toml` holds the same line while one types.
#![allow(clippy::unwrap_used, clippy::disallowed_types)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every crate that the core may link, directly or through another. A new name here is a decision:
/// look for a clock, a file, a socket, a thread or a random source in it first.
const ALLOWED_CRATES: &[&str] = &[
    "aho-corasick",
    "axiom_hive_core",
    "base64",
    "block-buffer",
    "cfg-if",
    "cmov",
    "const-oid",
    "cpufeatures",
    "crypto-common",
    "ctutils",
    "curve25519-dalek",
    "curve25519-dalek-derive",
    "digest",
    "ed25519",
    "ed25519-dalek",
    "hmac",
    "hybrid-array",
    "itoa",
    "keccak",
    "memchr",
    "ml-dsa",
    "module-lattice",
    "num-traits",
    "proc-macro2",
    "quote",
    "regex-automata",
    "regex-syntax",
    "ryu-js",
    "serde",
    "serde_core",
    "serde_derive",
    "serde_json",
    "serde_json_canonicalizer",
    "serde_spanned",
    "sha2",
    "shake",
    "signature",
    "sponge-cursor",
    "subtle",
    "syn",
    "thiserror",
    "thiserror-impl",
    "tinyvec",
    "toml",
    "toml_datetime",
    "toml_parser",
    "toml_writer",
    "typenum",
    "unicode-ident",
    "unicode-normalization",
    "unicode-segmentation",
    "winnow",
    "zeroize",
    "zmij",
];

/// Words that must not stand in the core's code, as whole identifiers or paths.
const FORBIDDEN_WORDS: &[(&str, &str)] = &[
    ("HashMap", "its order is random: use BTreeMap"),
    ("HashSet", "its order is random: use BTreeSet"),
    ("RandomState", "a random source"),
    ("SystemTime", "a clock"),
    ("Instant", "a clock"),
    ("std::env", "the environment is an input"),
    ("std::fs", "files belong to the runner"),
    ("std::io", "input and output belong to the runner"),
    ("std::net::Tcp", "sockets belong to the runner"),
    ("std::net::Udp", "sockets belong to the runner"),
    ("std::os", "the operating system belongs to the runner"),
    ("std::process", "processes belong to the runner"),
    ("std::thread", "the core has no threads"),
    ("thread_local!", "the core has no threads"),
    ("tokio", "the core is not async"),
    ("async fn", "the core is not async"),
    ("getrandom", "salts and seeds are inputs"),
    ("rand", "salts and seeds are inputs"),
    ("kube", "the core knows no Kubernetes"),
    ("println!", "the core prints nothing"),
    ("eprintln!", "the core prints nothing"),
    ("f32", "a decision has no floats"),
    ("f64", "a decision has no floats"),
];

/// Where a forbidden word may stand all the same.
const EXCEPTIONS: &[(&str, &str)] = &[
    // RFC 8785 defines a number of JSON as a double: one is read and written, never computed with.
    ("consensus/key.rs", "f64"),
];

#[test]
fn core_links_only_listed_crates() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal"])
        .args(["--prefix", "none", "--format", "{p}", "--manifest-path"])
        .arg(&manifest)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8(output.stdout).unwrap();
    let linked: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty())
        .collect();
    assert!(
        linked.contains("axiom_hive_core"),
        "unexpected output of cargo tree:\n{tree}"
    );
    let allowed: BTreeSet<&str> = ALLOWED_CRATES.iter().copied().collect();
    let unlisted: Vec<_> = linked.difference(&allowed).collect();
    assert!(
        unlisted.is_empty(),
        "the core gained crates that nobody has looked at for a clock, a file, a socket, a thread \
         or a random source: {unlisted:?}"
    );
}

#[test]
fn core_names_nothing_impure() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut findings = Vec::new();
    let mut seen = 0;
    for file in rust_files(&source) {
        seen += 1;
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in code_lines(&text) {
            for (word, reason) in FORBIDDEN_WORDS {
                let is_excepted = EXCEPTIONS
                    .iter()
                    .any(|(path, excepted)| file.ends_with(path) && excepted == word);
                if !is_excepted && contains_word(line, word) {
                    findings.push(format!("{}:{number}: `{word}`: {reason}", file.display()));
                }
            }
        }
    }
    assert!(
        seen > 5,
        "only {seen} files found below {}",
        source.display()
    );
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn forbidden_words_are_found_whole_and_outside_comments_and_tests() {
    let text = "use std::fs::File;\nlet operand = 1; // rand\n#[cfg(test)]\nmod rand;\n\
                let x = rand();\n#[cfg(test)]\nmod tests { use std::fs; }\n";
    let found: Vec<_> = code_lines(text)
        .into_iter()
        .filter(|(_, line)| {
            FORBIDDEN_WORDS
                .iter()
                .any(|(word, _)| contains_word(line, word))
        })
        .map(|(number, _)| number)
        .collect();
    assert_eq!(found, [1, 5]);
}

/// The `.rs` files below `directory` that are compiled into the library, tests left out.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let is_test = name == "tests" || name.ends_with("_tests");
        if is_test {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Numbered lines of code: without comments, without items marked `#[cfg(test)]` that end in `;`
/// on the next line, and only up to the first inline test module, which in this workspace ends a
/// file.
fn code_lines(text: &str) -> Vec<(usize, &str)> {
    let mut lines = text.lines().enumerate();
    let mut code = Vec::new();
    while let Some((index, line)) = lines.next() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            match lines.next() {
                Some((_, item)) if item.trim_end().ends_with(';') => continue,
                _ => break,
            }
        }
        code.push((index + 1, line.split("//").next().unwrap_or("")));
    }
    code
}

/// Whether `word` stands in `line` with no identifier character next to it.
fn contains_word(line: &str, word: &str) -> bool {
    let is_identifier = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let open_end = word.ends_with("Tcp") || word.ends_with("Udp") || word.ends_with('!');
        !before.is_some_and(is_identifier) && (open_end || !after.is_some_and(is_identifier))
    })
}
