//! The default Python runtime, carried inside the program.
//!
//! The package `axiom_hive_runtime` is written to a private directory when a task asks for it, so
//! that it always fits this build and needs no installation.

use std::io;

use axiom_hive_core::task::ProcessProtocol;
use tempfile::TempDir;

/// The name of the package, as in `python3 -m NAME`.
pub const PYTHON_PACKAGE: &str = "axiom_hive_runtime";

/// The environment variable that names another interpreter than `python3`.
pub const PYTHON_BIN: &str = "PYTHON_BIN";

macro_rules! package {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../python/axiom_hive_runtime/", $name)))),*]
    };
}

const FILES: [(&str, &str); 6] = package![
    "__init__.py",
    "__main__.py",
    "generators.py",
    "markov.py",
    "openai.py",
    "protocol.py",
];

/// The command of the default Python runtime: `[$PYTHON_BIN or python3, -m, axiom_hive_runtime,
/// --protocol, …]` and then `more` (see the package's README for its options).
///
/// `python_bin` is the value of [`PYTHON_BIN`], if set and not empty.
#[must_use]
pub fn default_python_command(
    protocol: ProcessProtocol,
    python_bin: Option<&str>,
    more: &[&str],
) -> Vec<String> {
    let python = python_bin
        .filter(|bin| !bin.is_empty())
        .unwrap_or("python3");
    let protocol = match protocol {
        ProcessProtocol::Text => "text",
        ProcessProtocol::Ndjson => "ndjson",
    };
    [python, "-m", PYTHON_PACKAGE, "--protocol", protocol]
        .into_iter()
        .chain(more.iter().copied())
        .map(str::to_owned)
        .collect()
}

/// Whether a command runs the package of this build.
pub(super) fn is_default(command: &[String]) -> bool {
    command.get(1).is_some_and(|arg| arg == "-m")
        && command.get(2).is_some_and(|arg| arg == PYTHON_PACKAGE)
}

/// Writes the package into a new private directory, which is what `PYTHONPATH` has to name.
pub(super) fn unpack() -> io::Result<TempDir> {
    let dir = tempfile::Builder::new()
        .prefix("axiom-hive-python-")
        .tempdir()?;
    let package = dir.path().join(PYTHON_PACKAGE);
    std::fs::create_dir(&package)?;
    for (name, text) in FILES {
        std::fs::write(package.join(name), text)?;
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_can_be_named() {
        let command = default_python_command(ProcessProtocol::Ndjson, Some("/opt/py"), &["--x"]);
        assert_eq!(command[0], "/opt/py");
        assert_eq!(command[4..], ["ndjson", "--x"]);
        assert!(is_default(&command));
        assert_eq!(
            default_python_command(ProcessProtocol::Text, Some(""), &[])[0],
            "python3"
        );
    }
}
