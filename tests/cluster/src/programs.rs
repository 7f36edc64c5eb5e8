//! Where the programs of the cluster are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;

/// A directory with the programs that `build.sh` made.
#[derive(Debug, Clone)]
pub(crate) struct Programs(PathBuf);

impl Programs {
    /// The directory named by `AXIOM_HIVE_CLUSTER_BIN`, or that of `build.sh`, which builds what is missing of `tools` (empty: of all that the full size runs).
    pub(crate) fn locate(tools: &[&str]) -> Result<Self, Error> {
        if let Some(directory) = std::env::var_os("AXIOM_HIVE_CLUSTER_BIN") {
            let directory = PathBuf::from(directory);
            return if directory.join("kube-apiserver").exists() {
                Ok(Self(directory))
            } else {
                Err(Error::Programs(format!(
                    "AXIOM_HIVE_CLUSTER_BIN={} holds no kube-apiserver",
                    directory.display()
                )))
            };
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.sh");
        let output = Command::new("sh")
            .arg(&script)
            .args(tools)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| Error::Programs(format!("{}: {error}", script.display())))?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        match stdout.lines().last() {
            Some(directory) if output.status.success() => Ok(Self(PathBuf::from(directory))),
            _ => Err(Error::Programs(format!(
                "{} ended with {}",
                script.display(),
                output.status
            ))),
        }
    }

    /// The path of one program.
    #[must_use]
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}
