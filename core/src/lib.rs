//! The pure core of Axiom Hive.
//!
//! Nothing in this crate reads a clock, a file, a socket or a random source, and nothing depends on
//! the order of a hash map. Equal inputs give equal outputs on every machine: that is what makes a
//! recorded decision replayable (invariants 6 and 7 in `docs/INVARIANTS.md`).
//!
//! | module | what it holds |
//! |---|---|
//! | [`constitution`] | the policy: model, TOML parsing, validation, canonical form and digest |
//! | [`task`] | what a user asks for, and its digest |
//! | [`interceptor`] | the deterministic text filter between a runtime and a reader |
//! | [`consensus`] | equivalence keys, the exact vote, early stop |
//! | [`supervisor`] | the whole decision as a state machine: events in, commands out |
//! | [`record`] | ledger records, canonical JSON, salted commitments and openings |
//! | [`tlog`] | RFC 6962 tree, C2SP tiles, signed notes, checkpoints, proofs |
//! | [`manifest`] | the checksums of an archive |
//! | [`wire`] | what operator, supervisor and ledger service say to each other |

pub mod consensus;
pub mod constitution;
pub mod digest;
pub mod interceptor;
pub mod manifest;
pub mod record;
pub mod supervisor;
pub mod task;
pub mod tlog;
pub mod wire;
