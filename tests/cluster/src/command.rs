//! Programs of the system that run and end.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::Error;

const LIMIT_SECONDS: u64 = 180;

/// Runs a program to its end and gives its standard output; anything but success is an error with its standard error.
pub(crate) async fn run(line: &[&str]) -> Result<String, Error> {
    run_with_input(line, "").await
}

/// The same with a text on standard input.
pub(crate) async fn run_with_input(line: &[&str], input: &str) -> Result<String, Error> {
    let [program, arguments @ ..] = line else {
        return Err(Error::Program("an empty command line".to_owned()));
    };
    let failed = |reason: String| Error::Program(format!("{}: {}", line.join(" "), reason.trim()));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that reads no input may have ended.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let limit = Duration::from_secs(LIMIT_SECONDS);
    match tokio::time::timeout(limit, child.wait_with_output()).await {
        Ok(Ok(output)) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(Ok(output)) => Err(failed(String::from_utf8_lossy(&output.stderr).into_owned())),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no end within {LIMIT_SECONDS} s"))),
    }
}

/// Runs lines of one program, such as `ip`, one after the other; each line is cut at its spaces.
pub(crate) async fn run_lines(program: &str, lines: &[String]) -> Result<(), Error> {
    for line in lines {
        let words: Vec<&str> = std::iter::once(program)
            .chain(line.split_whitespace())
            .collect();
        run(&words).await?;
    }
    Ok(())
}
