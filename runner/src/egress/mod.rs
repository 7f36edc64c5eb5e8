//! The egress broker: the only way out for a runtime.
//!
//! It is an HTTP proxy in the supervisor, on loopback. A runtime may connect to this one port; the
//! broker opens what the constitution's `[egress]` lists, looks names up itself, and counts every
//! attempt. Two ways of asking are understood (RFC 9110, sections 7.1 and 9.3.6):
//!
//! | request | goes to | must hold |
//! |---|---|---|
//! | `CONNECT host:port` | that host and port, as bytes | a TLS client hello comes first, and its server name is `host` |
//! | `GET http://host:port/…`, any method | one request over a connection of its own | the `Host` header names the same host and port |
//!
//! ```text
//! runtime ──► 127.0.0.1:39128 ──► listed? ──► look up ──► address allowed? ──► server name? ──► target
//!                                  403          502           403                 closed
//! ```
//!
//! In a pod the supervisor's own calls to an HTTP or OpenAI-compatible service take the same way, so that
//! one list, one set of rules and one set of counts hold for every runtime.
//!
//! What it does not do: it opens no TLS, so a listed host that serves other names behind the same
//! certificate and address (domain fronting) can be asked for those. See `docs/THREAT-MODEL.md`.

mod address;
mod broker;
mod http;
mod journal;
mod rules;
mod tunnel;

pub use broker::{Broker, MAX_BYTES, MAX_CONNECTIONS};
pub(crate) use journal::NotOpened;
pub use journal::{Journal, MAX_NAMES, MAX_REFUSALS};
pub use rules::{Destination, Refusal, Rules};
