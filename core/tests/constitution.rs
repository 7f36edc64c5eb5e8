//! Constitutions as files: a table of valid and invalid ones, the shipped ones, pinned digests.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use axiom_hive_core::constitution::{
    CanonicalError, Constitution, MAX_CONSTITUTION_BYTES, MAX_DIAGNOSTICS,
};

/// With this variable set the expected results are written instead of compared.
const UPDATE: &str = "UPDATE_EXPECTED";

fn tests_dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/constitution")
        .join(name)
}

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../config")
        .join(name)
}

/// The TOML files of a directory, by name.
fn toml_files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", directory.display());
    files
}

fn parse(path: &Path) -> Result<Constitution, String> {
    let name = path.file_name().unwrap().to_str().unwrap();
    Constitution::parse_bytes(name, &fs::read(path).unwrap()).map_err(|errors| errors.to_string())
}

fn check_expected(path: &Path, actual: &str) {
    let expected_path = path.with_extension("expected");
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&expected_path, format!("{actual}\n")).unwrap();
    }
    let expected = fs::read_to_string(&expected_path).unwrap_or_default();
    assert_eq!(expected.trim_end(), actual, "{}", path.display());
}

#[test]
fn every_valid_file_has_the_expected_canonical_form() {
    for path in toml_files(&tests_dir("valid")) {
        let constitution = parse(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let canonical = constitution.canonical_json();
        check_expected(&path, std::str::from_utf8(&canonical).unwrap());
        assert_eq!(Constitution::from_canonical(&canonical), Ok(constitution));
    }
}

#[test]
fn every_invalid_file_has_the_expected_messages() {
    for path in toml_files(&tests_dir("invalid")) {
        let errors = parse(&path).expect_err(path.to_str().unwrap());
        assert!((1..=MAX_DIAGNOSTICS).contains(&errors.lines().count()));
        check_expected(&path, &errors);
    }
}

#[test]
fn every_shipped_file_is_valid() {
    let mut files = vec![config("constitution.toml")];
    files.extend(toml_files(&config("constitutions")));
    files.extend(toml_files(&config("samples")));
    for path in files {
        let constitution = parse(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let meta = &constitution.meta;
        let names = [
            "constitution".to_owned(),
            meta.name.clone(),
            format!("{}-{}", meta.name, meta.version),
        ];
        assert!(names.iter().any(|name| name == stem), "{stem}");
    }
}

/// A change of one of these digests breaks every ledger that names the version: the canonical form
/// is final.
#[test]
fn digests_are_pinned() {
    let pinned = [
        (
            config("constitution.toml"),
            "sha256:d6e1355c931f499113e0d0dab5668a3bc78e5a796928ba6fa5966149df20f9fa",
        ),
        (
            config("constitutions/default-0.9.0.toml"),
            "sha256:c369c22756bf878a018c07746f08dc944bbc22ba38039e5af1a17a7cbd2b542c",
        ),
        (
            tests_dir("valid/reference.toml"),
            "sha256:f00969f96a1e9adae341e3b435e3ff4b6fa075a153914f4d83783c50ab6bf0de",
        ),
        (
            tests_dir("valid/everything.toml"),
            "sha256:34f8ddc957f8b9195e981f351ecebbccafcf87896ddb8282617b96766b6e2282",
        ),
    ];
    for (path, digest) in pinned {
        let constitution = parse(&path).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(
            constitution.digest().to_string(),
            digest,
            "{}",
            path.display()
        );
        let reference = constitution.reference();
        assert_eq!(reference.digest, constitution.digest());
        assert_eq!(reference.name, constitution.meta.name);
        assert_eq!(reference.version, constitution.meta.version);
        assert_eq!(reference.catalogue, 1);
    }
}

#[test]
fn the_default_is_the_reference_with_a_list_of_terms() {
    let mut default = parse(&config("constitution.toml")).unwrap();
    default.interceptor.terms.clear();
    assert_eq!(default, parse(&tests_dir("valid/reference.toml")).unwrap());
}

#[test]
fn a_file_of_the_greatest_size_is_read_and_a_longer_one_is_not() {
    let mut text = fs::read_to_string(tests_dir("valid/reference.toml")).unwrap();
    text.push('#');
    text.push_str(&"x".repeat(MAX_CONSTITUTION_BYTES - text.len()));
    assert!(Constitution::parse("long.toml", &text).is_ok());
    text.push('x');
    assert_eq!(
        Constitution::parse("long.toml", &text)
            .unwrap_err()
            .to_string(),
        "long.toml:1:1: a constitution must be at most 1048576 bytes, not 1048577",
    );
}

#[test]
fn the_canonical_form_has_the_same_bound() {
    // A line feed is one byte in TOML and two in JSON.
    let rule = |index: usize| {
        let example = "\n".repeat(1020);
        let examples = format!("'''\nq{example}''',").repeat(32);
        format!(
            "[[interceptor.patterns]]\nid = 'p{index}'\npattern = 'q'\nexamples = [{examples}]\n"
        )
    };
    let rules: String = (0..30).map(rule).collect();
    let text = format!("[meta]\nname = 'long'\nversion = '1.0.0'\n{rules}");
    assert!(text.len() < MAX_CONSTITUTION_BYTES);
    let errors = Constitution::parse("long.toml", &text).unwrap_err();
    assert!(errors.0.iter().any(|error| error.message
        == "the canonical form of a constitution must be at most 1048576 bytes"));
    let bytes = vec![b' '; MAX_CONSTITUTION_BYTES + 1];
    assert_eq!(
        Constitution::from_canonical(&bytes),
        Err(CanonicalError::TooLong)
    );
}

/// Every list and text of `[interceptor]`, `[meta]` and `[supervisor]` at its upper bound. Numbers at
/// theirs are in `valid/everything.toml`; one more of each is in `invalid/above_bounds.toml`.
#[test]
fn the_greatest_lists_and_texts_are_accepted() {
    let quoted_list = |items: Vec<String>| format!("[\"{}\"]", items.join("\", \""));
    let values = (0..64).map(|index| format!("{index:0>256}")).collect();
    let words: Vec<String> = (0..1024).map(|index| format!("zq{index:0>126}")).collect();
    let lists = (1..256).fold(String::new(), |text, index| {
        text + &format!(
            "[[interceptor.terms]]
id = \"t{index}\"
terms = [\"zz{index}\"]
"
        )
    });
    // 170 alternatives: 1024 bytes.
    let alternatives: Vec<String> = (0..170).map(|index| format!("zx{index:03}")).collect();
    let pattern = format!("{}zxzxz", alternatives.join("|"));
    assert_eq!(pattern.len(), 1024);
    let examples = quoted_list(vec![format!("{:>1024}", "zx007"); 32]);
    let counterexamples = quoted_list(vec![" ".repeat(1024); 32]);
    let patterns = (1..64).fold(String::new(), |text, index| {
        text + &format!(
            "[[interceptor.patterns]]
id = \"p{index}\"
pattern = \"zy{index:03}\"
\
             examples = [\"zy{index:03}\"]
"
        )
    });
    let text = format!(
        "[meta]\nname = \"{name}\"\nversion = \"1.0.0-{prerelease}\"\n[supervisor]\n\
         equivalence = {{ kind = \"choice\", values = {values} }}\n\
         on_no_agreement = {{ kind = \"fallback\", text = \"{fallback}\" }}\n\
         [[interceptor.terms]]\nid = \"{id}\"\nterms = {words}\n{lists}\
         [[interceptor.patterns]]\nid = \"p{id:.31}\"\npattern = \"{pattern}\"\n\
         examples = {examples}\ncounterexamples = {counterexamples}\n{patterns}",
        name = "n".repeat(63),
        prerelease = "v".repeat(58),
        values = quoted_list(values),
        fallback = "f".repeat(4096),
        id = "i".repeat(32),
        words = quoted_list(words),
    );
    let constitution = Constitution::parse("great.toml", &text).unwrap_or_else(|it| panic!("{it}"));
    assert_eq!(constitution.interceptor.terms.len(), 256);
    assert_eq!(constitution.interceptor.patterns.len(), 64);
    let canonical = constitution.canonical_json();
    assert_eq!(Constitution::from_canonical(&canonical), Ok(constitution));
}

#[test]
fn broken_utf_8_has_a_place() {
    let errors =
        Constitution::parse_bytes("c.toml", b"[meta]\nname = \"\xc3\xa9\xff\"").unwrap_err();
    assert_eq!(errors.to_string(), "c.toml:2:10: must be UTF-8");
}

#[test]
fn only_the_canonical_bytes_are_read() {
    let good =
        br#"{"meta":{"catalogue":1,"name":"a","version":"1.0.0"},"supervisor":{"maxBranches":5}}"#;
    assert!(Constitution::from_canonical(good).is_ok());
    let other_ways = [
        // White space, order, escapes, duplicate keys.
        r#"{"meta":{"catalogue":1,"name":"a","version":"1.0.0"} }"#,
        r#"{"meta":{"name":"a","catalogue":1,"version":"1.0.0"}}"#,
        r#"{"meta":{"catalogue":1,"name":"\u0061","version":"1.0.0"}}"#,
        // Fields at their default.
        r#"{"meta":{"catalogue":1,"name":"a","version":"1.0.0"},"supervisor":{}}"#,
        r#"{"meta":{"catalogue":1,"name":"a","version":"1.0.0"},"supervisor":{"maxBranches":4}}"#,
        r#"{"meta":{"catalogue":1,"name":"a","version":"1.0.0"},"supervisor":{"equivalence":{"kind":"text"}}}"#,
        r#"{"meta":{"catalogue":1,"name":"a","version":"1.0.0"},"supervisor":{"minValidBranches":null}}"#,
        r#"{"meta":{"catalogue":1,"name":"a","version":"1.0.0"},"supervisor":{"minConsensusRatio":"0.50"}}"#,
        // A key that the kind does not have; kinds out of order.
        r#"{"meta":{"catalogue":1,"name":"a","version":"1.0.0"},"supervisor":{"equivalence":{"kind":"json","decimals":1}}}"#,
        r#"{"meta":{"catalogue":1,"name":"a","version":"1.0.0"},"runtime":{"kinds":["http","process"]}}"#,
    ];
    for json in other_ways {
        assert_eq!(
            Constitution::from_canonical(json.as_bytes()),
            Err(CanonicalError::NotCanonical),
            "{json}"
        );
    }
    let malformed = [
        "",
        "null",
        "{}",
        r#"{"meta":{"name":"a","version":"1.0.0"}}"#,
        r#"{"meta":{"catalogue":1,"name":"a","version":"1.0.0"},"unknown":1}"#,
        r#"{"meta":{"catalogue":1,"name":"a","name":"a","version":"1.0.0"}}"#,
        r#"{"meta":{"catalogue":1,"name":"a","version":"1.0.0"},"supervisor":{"minConsensusRatio":0.5}}"#,
        r#"{"meta":{"catalogue":1,"name":"a","version":"1.0.0"},"supervisor":{"maxBranches":-1}}"#,
    ];
    for json in malformed {
        let error = Constitution::from_canonical(json.as_bytes()).unwrap_err();
        assert!(matches!(error, CanonicalError::Malformed(_)), "{json}");
    }
}

#[test]
fn the_canonical_form_is_validated_like_a_file() {
    let json = br#"{"meta":{"catalogue":9,"name":"A","version":"1"},"runtime":{"kinds":["echo","echo"]},"supervisor":{"maxBranches":65}}"#;
    let Err(CanonicalError::Invalid(violations)) = Constitution::from_canonical(json) else {
        panic!("must be invalid");
    };
    let paths: Vec<&str> = violations.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "meta.name",
            "meta.version",
            "meta.catalogue",
            "supervisor.max_branches",
            "runtime.kinds"
        ]
    );
}
