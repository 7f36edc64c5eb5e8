//! Protocol `text`: one process per branch, prompt on stdin, answer on stdout.
//!
//! The answer is what has been written to stdout when the process ends; whatever it leaves running
//! is killed. One line ending at the very end is framing and not part of the answer. Seed and branch
//! number are in the environment, as `AXIOM_HIVE_SEED` and `AXIOM_HIVE_BRANCH`.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use axiom_hive_core::record::BranchError;
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;

use super::group::{Group, Pipes};
use super::launch::Launch;
use super::pipes::{read_tail, read_to_end};
use crate::containment::EXIT_NOT_CONFINED;
use crate::runtime::model::{
    BoxFuture, BranchFailure, BranchReply, BranchRequest, UntrustedRuntime, accept, too_long,
};

/// One process per branch.
#[derive(Debug)]
pub(crate) struct TextProcess {
    launch: Launch,
}

impl TextProcess {
    pub(crate) fn new(launch: Launch) -> Self {
        Self { launch }
    }

    async fn run_once(&self, request: &BranchRequest) -> Result<BranchReply, BranchFailure> {
        let own = [
            ("AXIOM_HIVE_SEED", request.seed.to_string()),
            ("AXIOM_HIVE_BRANCH", request.index.to_string()),
        ];
        let started = self.launch.start(&own)?;
        let max = request.max_answer_bytes;
        let (status, output, stderr) =
            converse(started.group, started.pipes, request.prompt.as_bytes(), max).await?;
        check_status(status, &stderr, self.launch.is_confined())?;
        let text = String::from_utf8(output)
            .map_err(|e| BranchFailure::new(BranchError::NotUtf8, e.utf8_error().to_string()))?;
        let text = accept(without_line_ending(text), max)?;
        Ok(BranchReply { text, usage: None })
    }
}

impl UntrustedRuntime for TextProcess {
    fn answer<'a>(
        &'a self,
        request: &'a BranchRequest,
    ) -> BoxFuture<'a, Result<BranchReply, BranchFailure>> {
        Box::pin(self.run_once(request))
    }
}

/// Feeds and reads at the same time, so that neither side can block the other with a full pipe.
async fn converse(
    group: Group,
    pipes: Pipes,
    prompt: &[u8],
    max: usize,
) -> Result<(ExitStatus, Vec<u8>, String), BranchFailure> {
    let lost = |e: std::io::Error| BranchFailure::new(BranchError::Lost, e.to_string());
    let io = async {
        // Two bytes of room for the line ending that is no part of the answer.
        let output = async {
            read_to_end(pipes.stdout, max + 2)
                .await
                .map_err(|_| too_long(max))
        };
        let feed = async {
            feed(pipes.stdin, prompt).await;
            Ok(())
        };
        let complaints = async { Ok(read_tail(pipes.stderr).await) };
        tokio::try_join!(output, feed, complaints)
    };
    tokio::pin!(io);
    let (output, (), stderr) = tokio::select! {
        biased;
        done = &mut io => done?,
        ended = group.ended() => {
            ended.map_err(lost)?;
            // What still holds the pipes is a descendant: it dies, and the pipes end.
            group.kill();
            io.await?
        }
    };
    group.ended().await.map_err(lost)?;
    let status = group.reap().await.map_err(lost)?;
    Ok((status, output, stderr))
}

/// A process need not read its prompt: a broken pipe here is no failure.
async fn feed(mut stdin: ChildStdin, prompt: &[u8]) {
    let _ = stdin.write_all(prompt).await;
    let _ = stdin.shutdown().await;
}

fn check_status(status: ExitStatus, stderr: &str, confined: bool) -> Result<(), BranchFailure> {
    if status.success() {
        return Ok(());
    }
    let kind = match (status.signal(), status.code()) {
        (Some(_), _) => BranchError::Signal,
        (None, Some(EXIT_NOT_CONFINED)) if confined => BranchError::Unavailable,
        _ => BranchError::ExitStatus,
    };
    // The tail of stderr says more than its head.
    let from = stderr.ceil_char_boundary(stderr.len().saturating_sub(3 * 1024));
    let detail = format!("{status}; stderr: {}", stderr[from..].trim());
    Err(BranchFailure::new(kind, detail))
}

fn without_line_ending(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_ending_is_framing() {
        for (raw, text) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a", "a"),
            ("a\r", "a\r"),
        ] {
            assert_eq!(without_line_ending(raw.to_owned()), text);
        }
    }
}
