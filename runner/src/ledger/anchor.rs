//! Anchors: what somebody off the ledger's volume remembers of it.
//!
//! Heads and log lie on one volume, and are rolled back together. Whoever keeps a checkpoint
//! elsewhere (the operator in its record, a witness that cosigned it) gives it to
//! [`Ledger::open_with_anchors`](super::Ledger::open_with_anchors); a log that is shorter, or another,
//! opens read-only.

use axiom_hive_core::tlog::{Checkpoint, root_at};

use super::error::Problem;
use super::nodes::Nodes;
use super::reader::LedgerReader;

/// What one of them remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Who, for messages: `operator`, the name of a witness.
    pub from: String,
    /// What.
    pub known: Known,
}

/// A head of the ledger that was released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Only how many records it covered: what a witness answers to a checkpoint that is too old
    /// (C2SP tlog-witness, `409` with `text/x.tlog.size`).
    Size(u64),
    /// The whole checkpoint (C2SP tlog-checkpoint), signed by the log's key.
    Checkpoint(String),
}

/// What is wrong with the log, seen from an anchor.
pub(super) fn contradiction(ledger: &LedgerReader, anchor: &Anchor) -> Option<Problem> {
    let from = &anchor.from;
    let key = ledger.verifying_key();
    let (released, root) = match &anchor.known {
        Known::Size(size) => (*size, None),
        Known::Checkpoint(note) => match Checkpoint::open(note, key) {
            Ok(checkpoint) => (checkpoint.size, Some(checkpoint.root)),
            Err(error) => {
                let what = format!("not a checkpoint of this ledger: {error}");
                return Some(Problem::of_file(format!("anchor {from}"), what));
            }
        },
    };
    let size = ledger.size();
    if released > size {
        let missing = released - size;
        let what = format!(
            "{released} records were released, as {from} knows, the log has {size}: \
             {missing} are missing"
        );
        let log = ledger.log();
        let last = log.segments.last();
        let (path, end) = last.map_or(("log", 0), |last| (&*last.path, last.length));
        return Some(Problem::of_file(path, what).at(end, size));
    }
    let root = root?;
    if matches!(root_at(released, &Nodes(ledger)), Ok(found) if found == root) {
        return None;
    }
    let what = format!("the first {released} records are not those that {from} knows");
    Some(Problem::of_file("log", what))
}
