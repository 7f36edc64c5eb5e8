//! The checksums of an archive.
#![no_main]

use axiom_hive_core::manifest::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(manifest) = Manifest::parse(data) {
        assert_eq!(manifest.to_text().as_bytes(), data);
        for (path, _) in manifest.files() {
            assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."));
        }
    }
});
