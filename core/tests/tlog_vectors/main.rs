//! The public test vectors of `tests/conformance/vectors`: written by this test, read by it and by
//! everybody else. `AXIOM_HIVE_WRITE_VECTORS=1` writes the files anew; without it a difference fails.
#![allow(clippy::unwrap_used, missing_docs)]

mod checkpoints;
mod consistency;
mod format;
mod keys;
mod notes;
mod ours;
mod proof_files;
mod tiles;
mod trees;

use std::fs;

/// All files together stay below this, in bytes.
const MAX_VECTOR_BYTES: usize = 400 * 1024;

fn generated() -> Vec<(&'static str, String)> {
    let tree = trees::tree(70_001);
    vec![
        ("hashes.json", trees::hashes()),
        ("roots.json", trees::roots(&tree)),
        ("inclusion.json", trees::inclusion(&tree)),
        ("consistency.json", consistency::consistency(&tree)),
        ("tile_paths.json", tiles::paths()),
        ("tiles.json", tiles::tiles(&tree)),
        ("bundles.json", tiles::bundles()),
        ("vkeys.json", keys::keys()),
        ("notes.json", notes::notes()),
        ("checkpoints.json", checkpoints::checkpoints(&tree)),
        ("proof_files.json", proof_files::proof_files(&tree)),
    ]
}

#[test]
fn the_files_are_what_this_test_writes() {
    let files = generated();
    let page = fs::read_to_string(format::path("README.md")).unwrap_or_default();
    let is_writing = std::env::var_os("AXIOM_HIVE_WRITE_VECTORS").is_some();
    let mut total = page.len();
    for (name, text) in &files {
        total += text.len();
        if is_writing {
            fs::write(format::path(name), text).unwrap();
        }
        let found = fs::read_to_string(format::path(name)).unwrap_or_default();
        assert!(
            found == *text,
            "{name} is not what this test writes: look at the difference, then write it anew \
             with AXIOM_HIVE_WRITE_VECTORS=1"
        );
        assert!(
            page.contains(&format!("`{name}`")),
            "the page must name {name}"
        );
    }
    let cases =
        |(_, text): &(_, String)| text.lines().filter(|line| line.starts_with("{\"")).count();
    let cases: usize = files.iter().map(cases).sum();
    assert!(
        page.contains(&format!("\n{cases} cases")),
        "the page must say {cases} cases"
    );
    let count = fs::read_dir(format::path("")).unwrap().count();
    assert_eq!(count, files.len() + 1, "nothing but the page and the files");
    assert!(total < MAX_VECTOR_BYTES, "{total} bytes");
}
