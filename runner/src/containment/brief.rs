//! Running a short helper program: bounded in time and output, always reaped.

use std::io::{self, Read as _};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a helper may run.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// What it may print, in bytes; less than a pipe holds, so that it never waits for its reader.
const MAX_OUTPUT_BYTES: u64 = 32 * 1024;
/// Between two looks at whether it has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Runs `command` to its end, without stdin and stderr, and returns its status and stdout.
pub(crate) fn run(command: &mut Command) -> io::Result<(ExitStatus, String)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > TIME_LIMIT {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("must end within {} s", TIME_LIMIT.as_secs()),
            ));
        }
        std::thread::sleep(POLL_INTERVAL);
    };
    let mut text = String::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_OUTPUT_BYTES).read_to_string(&mut text)?;
    }
    Ok((status, text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn status_and_output_come_back() {
        let (status, text) = run(Command::new("sh").args(["-c", "echo hi; exit 3"])).unwrap();
        assert_eq!((status.code(), text.as_str()), (Some(3), "hi\n"));
    }
}
