//! The control plane of Axiom Hive on Kubernetes.
//!
//! | module | what it holds |
//! |---|---|
//! | [`admission`] | the webhook: refuses what schema and CEL cannot |
//! | [`api`] | the custom resources `Constitution` and `SupervisedTask`, conditions, names |
//! | [`ledger_secrets`] | the ledger's key and certificate |
//! | [`plan`] | pure: the objects to build, and what other policies do to them |

pub mod admission;
pub mod api;
pub mod ledger_secrets;
mod own_secret;
pub mod plan;
