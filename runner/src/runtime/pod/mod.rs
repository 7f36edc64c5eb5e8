//! A process runtime in the neighbouring container of a pod.
//!
//! The supervisor and the runtime share nothing but one Unix socket. In the runtime's container runs
//! our own static program, the *agent*, from a read-only volume; it starts the user's program behind
//! the same walls as on one machine and carries prompts and answers.
//!
//! ```text
//! supervisor (its own user)                       runtime container (the user's image, another user)
//!   listens on SOCKET ◄─────── connects ─────────── agent
//!   checks the peer's user, removes the socket        │ starts behind Landlock, seccomp, limits
//!   Build ──► ◄── Built                               ▼
//!   Run   ──► ◄── Finished                          the user's program
//! ```
//!
//! Each message is one JSON object behind its length (four bytes, big-endian), at most
//! 8 MiB. The supervisor sends one `Build`, then any number of
//! `Run` and `Cancel`; the agent answers `Built` or `NotBuilt`, then one `Finished` for each `Run`.
//! A connection that is lost is a runtime that is lost: an agent that starts again finds no socket and
//! waits for its end.

mod agent;
mod client;
mod wire;

pub use agent::{Agent, serve};
pub use client::{Expected, PodError, accept};
pub use wire::ToAgent;
