//! The embedded ledger through its public door, in memory and on a disk.
#![allow(clippy::unwrap_used, missing_docs)]

mod anchors;
mod archives;
mod damages;
mod erasures;
mod explorer;
mod fixture;
mod flips;
mod forgery;
mod groups;
mod handle;
mod independent;
mod indexes;
mod mutations;
mod payloads;
mod recovery;
mod repair;
mod rotations;
mod seals;
mod slots;
mod verify;
