//! Bounded reading of what a user names: files and standard input.

use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::path::Path;

use axiom_hive_core::constitution::Constitution;
use axiom_hive_runner::exit::{Exit, Failure};

/// No file or prompt that a user names may be longer: 1 MiB.
pub(crate) const MAX_INPUT_BYTES: u64 = 1024 * 1024;

fn read_bounded(mut source: impl Read, name: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    source
        .by_ref()
        .take(MAX_INPUT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(Exit::Input, format!("cannot read {name}: {error}")))?;
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        let message = format!("{name} is longer than {MAX_INPUT_BYTES} bytes");
        return Err(Failure::new(Exit::Input, message));
    }
    Ok(bytes)
}

/// A file of at most [`MAX_INPUT_BYTES`].
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let file = File::open(path).map_err(|error| {
        Failure::new(
            Exit::Input,
            format!("cannot read {}: {error}", path.display()),
        )
    })?;
    read_bounded(file, &path.display().to_string())
}

/// A UTF-8 file of at most [`MAX_INPUT_BYTES`].
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    utf8(read_file(path)?, &path.display().to_string())
}

fn utf8(bytes: Vec<u8>, name: &str) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|_| Failure::new(Exit::Input, format!("{name} must be UTF-8")))
}

/// Standard input to its end; refused on a terminal, where it would wait for ever.
pub(crate) fn read_stdin(what: &str) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        let message = format!("{what} must be given as an argument or on standard input");
        return Err(Failure::new(Exit::Input, message));
    }
    utf8(
        read_bounded(stdin.lock(), "standard input")?,
        "standard input",
    )
}

/// A valid constitution, or every error of the file, a line each.
pub(crate) fn read_constitution(path: &Path) -> Result<Constitution, Failure> {
    let text =
        read_text(path).map_err(|failure| Failure::new(Exit::Constitution, failure.message))?;
    Constitution::parse(&path.display().to_string(), &text)
        .map_err(Failure::with(Exit::Constitution))
}
