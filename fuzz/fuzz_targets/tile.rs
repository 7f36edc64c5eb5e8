//! Tile paths and contents: what is read is what would be written.
#![no_main]

use axiom_hive_core::tlog::{Tile, bundle};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, u16, &[u8])| {
    let (path, width, content) = input;
    if let Ok(tile) = path.parse::<Tile>() {
        assert_eq!(tile.to_string(), path);
        if let Ok(hashes) = tile.parse_hashes(content) {
            let written: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
            assert_eq!(written, content);
        }
    }
    if let Ok(entries) = bundle::parse(content, width) {
        let mut written = Vec::new();
        for entry in entries {
            assert!(bundle::push_entry(&mut written, entry).is_ok());
        }
        assert_eq!(written, content);
    }
});
