//! A portable proof and a receipt are read only from the text that their writer writes.
#![no_main]

use axiom_hive_core::tlog::TlogProof;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    if let Ok(proof) = TlogProof::parse(data) {
        assert_eq!(proof.to_string(), data);
    }
});
