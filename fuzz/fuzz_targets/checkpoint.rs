//! A checkpoint is read only from the text that its writer writes.
#![no_main]

use axiom_hive_core::tlog::Checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    if let Ok(checkpoint) = Checkpoint::parse(data) {
        assert_eq!(checkpoint.to_string(), data);
    }
});
