//! What can go wrong with the test cluster.

use std::path::{Path, PathBuf};

/// Why the test cluster is not there, or does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The programs of the cluster are missing and could not be built.
    #[error(
        "the programs of the test cluster are missing: {0}; to build them (about 15 minutes, once): sh tests/cluster/build.sh"
    )]
    Programs(String),
    /// A file or directory of the cluster cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program could not be started, or ended with an error.
    #[error("{0}")]
    Program(String),
    /// Something did not happen within its limit.
    #[error("{what} did not happen within {seconds} s{detail}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The limit.
        seconds: u64,
        /// The last lines of the log that tells why; may be empty.
        detail: String,
    },
    /// A key or certificate could not be made.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The API server refused, or did not answer.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// A kubeconfig cannot be used.
    #[error(transparent)]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The cluster at hand cannot do this.
    #[error("{0}")]
    Unsupported(String),
}

impl Error {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}
