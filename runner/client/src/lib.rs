//! The client side of the ledger service, for the operator and for the supervisor of a pod, which do
//! not know each other. `docs/LEDGER-API.md` describes what goes over the wire.

mod build;
mod error;
pub mod ledger;
pub mod tls;
mod transport;

pub use build::build_ref;
