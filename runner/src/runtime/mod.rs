//! Runtimes: untrusted code or services that turn a prompt into a text.
//!
//! Every one is behind [`UntrustedRuntime`], which runs one branch at a time and any number at once.
//! What comes back is either a text within its bounds or one closed word ([`BranchError`]) with a
//! detail for logs and the private payload.
//!
//! | kind | what runs |
//! |---|---|
//! | `process`, protocol `text` | one process per branch: prompt on stdin, answer on stdout |
//! | `process`, protocol `ndjson` | one long-lived process: a JSON object per line each way |
//! | `http` | `POST` of `{"prompt","branch","seed"}`, answered by `{"text","usage"?}` |
//! | `openai` | an OpenAI-compatible chat-completions endpoint, one request per branch |
//! | `echo` | nothing foreign: the prompt is the answer |
//! | any process, in a pod | the same behind the [`pod`] agent of the neighbouring container |
//!
//! [`BranchError`]: axiom_hive_core::record::BranchError

mod build;
mod echo;
mod http;
mod model;
pub mod pod;
mod process;
mod python;

pub use build::{BuiltRuntime, Place, RuntimeError, RuntimeOptions, build};
pub use echo::Echo;
pub use http::{ApiKey, ApiKeyError};
pub use model::{
    BoxFuture, BranchFailure, BranchReply, BranchRequest, CancelToken, MAX_DETAIL_BYTES, RunError,
    UntrustedRuntime,
};
pub use python::{PYTHON_BIN, PYTHON_PACKAGE, default_python_command};
