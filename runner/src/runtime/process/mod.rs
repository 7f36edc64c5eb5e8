//! Runtimes that are a program on this machine.

mod group;
mod launch;
mod ndjson;
mod pipes;
mod resolve;
mod session;
mod text;

pub(super) use launch::Launch;
pub(super) use ndjson::NdjsonProcess;
pub(super) use resolve::{resolve, resolve_in_image};
pub(super) use text::TextProcess;
