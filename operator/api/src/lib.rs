//! The custom resources of group `axiomhive.io`, version `v1alpha1`.
//!
//! The types here are what the API server stores and what `crds/*.yaml` says. They know nothing of a
//! client. What a `Constitution` means is in [`axiom_hive_core::constitution`], what a task means in
//! [`axiom_hive_core::task`]: the conversions are in [`convert`].
//!
//! Conventions: `camelCase` fields, signed integers with ranges, no floats, a bound on every string,
//! list and map (`tests/api_schema.rs` walks the schemas).

// `KubeSchema` copies each type, as `pub`, into a function of its own.
#![allow(unreachable_pub)]

pub mod condition;
pub mod constitution;
pub mod convert;
pub mod crd;
pub mod names;
pub mod reference;
mod schema;
pub mod task;

/// The API group.
pub const GROUP: &str = "axiomhive.io";
/// The only version so far.
pub const VERSION: &str = "v1alpha1";

pub use constitution::{Constitution, ConstitutionSpec, ConstitutionStatus};
pub use task::{SupervisedTask, SupervisedTaskSpec, SupervisedTaskStatus};
