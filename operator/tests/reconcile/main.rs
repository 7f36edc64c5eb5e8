//! The operator's reconciliation against a real API server and a real ledger service
//! (`AXIOM_HIVE_CLUSTER=api`).
//!
//! There is no kubelet at this size. The tests play it in one way only: they patch the status of pods, as
//! a kubelet does when a container ends or waits. The supervisor of a pod is the real one, run in this
//! process with the arguments of the pod, a token of the API server that is bound to the pod, and the echo
//! runtime. The operator has the rights that the chart gives it, and no others.
#![allow(clippy::unwrap_used)]

mod anchor;
mod count;
mod events;
mod failures;
mod kubelet;
mod ledger;
mod life;
mod obstacles;
mod restart;
mod world;
