//! A signed note is split only where its writer joined it.
#![no_main]

use axiom_hive_core::tlog::Note;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    if let Ok(note) = Note::parse(data) {
        assert_eq!(note.to_string(), data);
    }
});
