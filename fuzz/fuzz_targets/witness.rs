//! What a witness is sent and answers, and the file that says which witnesses count.
#![no_main]

use axiom_hive_core::tlog::witness::parse_cosignatures;
use axiom_hive_core::tlog::{AddCheckpoint, Policy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    if let Ok(request) = AddCheckpoint::parse(data) {
        assert_eq!(request.to_string(), data);
    }
    if let Ok(lines) = parse_cosignatures(data) {
        let again: String = lines.iter().map(ToString::to_string).collect();
        assert_eq!(again, data);
    }
    if let Ok(policy) = data.parse::<Policy>() {
        let everybody: Vec<usize> = (0..policy.witnesses.len()).collect();
        assert!(policy.is_met_by(&everybody));
    }
});
