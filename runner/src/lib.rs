//! The data plane of Axiom Hive: everything that touches a file, a process or a socket.

pub mod containment;
pub mod ledger;
pub mod runtime;
