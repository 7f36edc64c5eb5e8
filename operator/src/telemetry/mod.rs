//! What the operator shows of itself.

pub mod metrics;
