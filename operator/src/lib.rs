//! The control plane of Axiom Hive on Kubernetes.
//!
//! | module | what it holds |
//! |---|---|
//! | [`admission`] | the webhook: refuses what schema and CEL cannot |
//! | [`api`] | the custom resources `Constitution` and `SupervisedTask`, conditions, names: a crate of its own |
//! | [`leader`] | which replica reconciles |
//! | [`ledger_secrets`] | the ledger's key and certificate |
//! | [`plan`] | pure: the objects to build, what to do next, what a status says |
//! | [`reconcile`] | observe, plan, apply, status |
//! | [`telemetry`] | metrics |

pub mod admission;
pub mod leader;
pub mod ledger_secrets;
mod own_secret;
pub mod plan;
pub mod reconcile;
pub mod telemetry;

pub use axiom_hive_api as api;
