//! The constitution: a versioned policy, identified by name, version and digest.

mod model;
mod ratio;

pub use model::*;
pub use ratio::{ParseRatioError, Ratio};
