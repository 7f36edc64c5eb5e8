//! One module a command.

pub(crate) mod constitution;
pub(crate) mod ledger;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod scan;
pub(crate) mod task;
pub(crate) mod verify;
