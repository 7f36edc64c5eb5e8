//! A leaf is read only from the bytes that its writer writes; no input panics.
#![no_main]

use axiom_hive_core::record::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = Record::from_canonical(data) {
        assert_eq!(record.to_canonical().as_deref().ok(), Some(data));
    }
});
