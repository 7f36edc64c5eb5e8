//! What a container may use, in whole units.

use std::collections::BTreeMap;

/// Limits of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// MiB.
    pub memory_mib: u64,
    /// MiB, the scratch directory included.
    pub ephemeral_storage_mib: u64,
    /// Others by name, such as `nvidia.com/gpu`.
    pub extended: BTreeMap<String, u64>,
}

impl Limits {
    /// For a container that copies a file.
    #[must_use]
    pub fn small() -> Self {
        Self::of(100, 64, 16)
    }

    /// For the supervisor: the interceptor's automata, 64 branches of text, one TLS connection.
    #[must_use]
    pub fn supervisor() -> Self {
        Self::of(500, 256, 64)
    }

    fn of(cpu_millis: u64, memory_mib: u64, ephemeral_storage_mib: u64) -> Self {
        Self {
            cpu_millis,
            memory_mib,
            ephemeral_storage_mib,
            extended: BTreeMap::new(),
        }
    }
}
