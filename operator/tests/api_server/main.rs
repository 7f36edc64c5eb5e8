//! Against a real API server (`AXIOM_HIVE_CLUSTER=api`): the webhook, the guard policies, the charts.
#![allow(clippy::unwrap_used)]

mod chart;
mod guard;
mod guard_objects;
mod ledger_secrets;
mod samples;
mod smoke;
mod support;
mod webhook;
