//! The control plane of Axiom Hive on Kubernetes.
//!
//! | module | what it holds |
//! |---|---|
//! | [`api`] | the custom resources `Constitution` and `SupervisedTask`, conditions, names |
//! | [`plan`] | pure: the objects to build, what to do next, what a status says |
//! | [`reconcile`] | observe, plan, apply, status |

pub mod api;
pub mod plan;
pub mod reconcile;
