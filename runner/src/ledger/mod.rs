//! The embedded ledger: a verifiable log in a directory, one writer, any number of readers.
//!
//! `docs/LEDGER-FILES.md` describes every file, what a crash may leave and what opening does about
//! it. The records inside are described in `docs/LEDGER-FORMAT.md`.
//!
//! An append is durable, integrated, signed and proven when it returns: sign the new tree, write
//! record and payloads as one frame, `fdatasync`, write the signed head, reply.
//!
//! ```
//! use std::sync::Arc;
//! use axiom_hive_core::record::{Body, Commitment, Record};
//! use axiom_hive_runner::ledger::storage::Memory;
//! use axiom_hive_runner::ledger::{Depth, KeyStore, Ledger, Trust, verify_on};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // `Ledger::open(dir, &KeyStore::of_user()?)` does the same in a directory.
//! let (dir, keys) = (Memory::default(), KeyStore::on(Arc::new(Memory::default())));
//! let mut ledger = Ledger::open_on(Arc::new(dir.clone()), &keys, "example")?;
//! let record = Record::new(Body::Erasure {
//!     erased_index: 7,
//!     commitments: vec![Commitment([1; 32])],
//!     at_unix_ms: 1_700_000_000_000,
//! });
//! let appended = ledger.append(&record, &[])?;
//! assert_eq!(appended.index, 0);
//! assert!(appended.receipt.verify(ledger.view().verifying_key()).is_ok());
//!
//! let report = verify_on(&dir, Trust::Pin(&keys), Depth::Records)?;
//! assert!(report.is_ok() && report.size == 1);
//! # Ok(())
//! # }
//! ```

mod anchor;
mod archive;
mod crash;
mod engine;
mod erase;
mod error;
mod export;
mod frame;
mod group;
mod head;
mod hold;
mod index;
mod indexes;
mod keys;
mod known;
mod levels;
mod log;
mod lookup;
mod nodes;
mod open;
mod reader;
mod repair;
mod retain;
mod rotate;
mod seal;
mod section;
pub mod storage;
mod tiles;
mod tree;
mod verify;
mod writer;

pub use anchor::{Anchor, Known};
pub use archive::{ArchiveReport, verify_archive, verify_archive_on};
pub use crash::CRASH_POINTS;
pub use engine::{Appended, Ledger};
pub use erase::Erased;
pub use error::{LedgerError, Problem, Problems};
pub use export::{Constitutions, Exported, export, export_to};
pub use hold::MAX_HOLDS;
pub use keys::KeyStore;
pub use log::OpenIntent;
pub use reader::LedgerReader;
pub use repair::{Repaired, repair, repair_on};
pub use retain::{MIN_RETENTION_DAYS, Retention};
pub use rotate::{Rotated, rotate, rotate_to, verify_predecessor};
pub use section::{MAX_PAYLOAD_SECTION_BYTES, MAX_PAYLOADS};
pub use verify::{Depth, MAX_PROBLEMS, PayloadCounts, Trust, VerifyReport, verify, verify_on};
pub use writer::{Handle, MAX_QUEUED_BYTES, MAX_QUEUED_ENTRIES};
