//! What people and programs read: answers and results on stdout, everything else on stderr.

use std::io::{IsTerminal as _, Write as _};

use axiom_hive_runner::exit::{Exit, Failure};
use serde_json::{Value, json};

use crate::args::Output;

/// A line on stderr. `eprintln!` would panic when nobody reads it any more.
fn remark(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Prints in the form the user asked for.
pub(crate) struct Printer {
    output: Output,
    colour: bool,
}

/// Whether stderr is a terminal that wants colour (`NO_COLOR`, <https://no-color.org>).
pub(crate) fn is_colour_terminal() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Bytes on stdout, as they are.
pub(crate) fn raw(bytes: &[u8]) -> Result<Exit, Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        // A reader that has seen enough (`| head`) is no failure of ours.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(error) => Err(Failure::new(
            Exit::Input,
            format!("cannot write to stdout: {error}"),
        )),
        Ok(()) => Ok(Exit::Ok),
    }
}

impl Printer {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            output,
            colour: is_colour_terminal(),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// A result: `text` or `value`, by the form the user asked for, with a line end.
    pub(crate) fn result(&self, text: &str, value: &Value) -> Result<Exit, Failure> {
        if self.is_json() {
            raw(format!("{value}\n").as_bytes())
        } else if text.is_empty() || text.ends_with('\n') {
            raw(text.as_bytes())
        } else {
            raw(format!("{text}\n").as_bytes())
        }
    }

    /// A remark on stderr, only in text form.
    pub(crate) fn note(&self, text: &str) {
        if self.is_json() {
            return;
        }
        if self.colour {
            remark(&format!("\u{1b}[2m{text}\u{1b}[0m"));
        } else {
            remark(text);
        }
    }

    /// A refusal: on stderr, or as an object on stdout.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.is_json() {
            let value = json!({"error": failure.message, "exitCode": failure.exit.code()});
            // The exit code still tells when this write fails.
            let _ = raw(format!("{value}\n").as_bytes());
        } else {
            let label = if self.colour {
                "\u{1b}[31merror\u{1b}[0m"
            } else {
                "error"
            };
            remark(&format!("{label}: {}", failure.message));
        }
    }
}
