//! Any text is a constitution or a list of errors, each with its place; what is read has one
//! canonical form, and nothing but that form is read back.
#![no_main]

use axiom_hive_core::constitution::Constitution;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(constitution) = Constitution::from_canonical(data) {
        assert_eq!(constitution.canonical_json(), data);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Constitution::parse("fuzz.toml", text) {
        Ok(constitution) => {
            let canonical = constitution.canonical_json();
            let read = Constitution::from_canonical(&canonical);
            assert_eq!(read.ok().as_ref(), Some(&constitution));
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            for error in &errors.0 {
                assert!(error.line >= 1 && error.column >= 1);
                assert!(!error.message.is_empty());
            }
        }
    }
});
