//! The ledger service on loopback: real TLS, a real ledger directory, real clients. Only the API
//! server that reviews tokens is a stand-in; the real one is asked on a cluster.
#![allow(clippy::unwrap_used, missing_docs)]

mod binary;
mod client;
mod faults;
mod kills;
mod limits;
mod listen;
mod page;
mod page_vectors;
mod pod;
mod read;
mod records;
mod services;
mod stop;
mod supervisor;
mod support;
mod tokens;
mod witness;
mod write;
