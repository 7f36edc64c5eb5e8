//! The control plane of Axiom Hive on Kubernetes.
//!
//! | module | what it holds |
//! |---|---|
//! | [`api`] | the custom resources `Constitution` and `SupervisedTask`, conditions, names |

pub mod api;
