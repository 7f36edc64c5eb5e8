//! Records about a ledger itself, for tests.

use axiom_hive_core::record::{Body, LedgerHead, MAX_INTEGER, Record, RotationReason};
use axiom_hive_core::tlog::{Hash, SigningKey, VerifyingKey};

pub(crate) fn log_key(seed: u8) -> VerifyingKey {
    // A name of 256 bytes, the longest.
    let key = SigningKey::new(&"k".repeat(256), &[seed; 32]).unwrap();
    key.verifying_key().clone()
}

pub(crate) fn sealed() -> Record {
    Record::new(Body::Sealed {
        at_unix_ms: MAX_INTEGER,
        successor: Some(log_key(2)),
    })
}

pub(crate) fn succession() -> Record {
    Record::new(Body::Succession {
        at_unix_ms: MAX_INTEGER,
        predecessor: LedgerHead {
            key: log_key(1),
            size: MAX_INTEGER,
            root: Hash([9; 32]),
        },
        reason: RotationReason::Calendar,
    })
}
