//! The data plane of Axiom Hive: everything that touches a file, a process or a socket.

pub mod containment;
pub mod egress;
pub mod exit;
pub mod ledger;
pub mod ledger_service;
pub mod pipeline;
pub mod runtime;
pub mod tls;
pub mod upkeep;
pub mod witness;
