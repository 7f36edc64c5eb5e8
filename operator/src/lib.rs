//! The control plane of Axiom Hive on Kubernetes.
//!
//! | module | what it holds |
//! |---|---|
//! | [`api`] | the custom resources `Constitution` and `SupervisedTask`, conditions, names |
//! | [`plan`] | pure: the objects to build, and what other policies do to them |

pub mod api;
pub mod plan;
