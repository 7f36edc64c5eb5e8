//! The embedded ledger: a verifiable log in a directory, one writer, any number of readers.
//!
//! `docs/LEDGER-FILES.md` describes every file, what a crash may leave and what opening does about
//! it. The records inside are described in `docs/LEDGER-FORMAT.md`.
//!
//! An append is durable, integrated, signed and proven when it returns: sign the new tree, write
//! record and payloads as one frame, `fdatasync`, write the signed head, reply.

mod crash;
mod engine;
mod error;
mod export;
mod frame;
mod head;
mod keys;
mod levels;
mod log;
mod open;
mod reader;
pub mod storage;
mod tiles;
mod verify;

pub use crash::CRASH_POINTS;
pub use engine::{Appended, Ledger};
pub use error::{LedgerError, Problem, Problems};
pub use export::{Exported, export, export_to};
pub use frame::{MAX_PAYLOAD_SECTION_BYTES, MAX_PAYLOADS};
pub use keys::KeyStore;
pub use log::OpenIntent;
pub use reader::LedgerReader;
pub use verify::{Depth, MAX_PROBLEMS, PayloadCounts, Trust, VerifyReport, verify, verify_on};
