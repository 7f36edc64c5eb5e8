//! The agent: our program in the runtime's container.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axiom_hive_core::record::BranchError;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::wire::{self, Ended, FromAgent, Reader, ToAgent, Writer};
use crate::runtime::build::{BuiltRuntime, Place, RuntimeError, RuntimeOptions, build};
use crate::runtime::model::{BranchFailure, BranchReply, CancelToken, RunError};

/// How often the agent looks whether the supervisor listens already.
const CONNECT_INTERVAL: Duration = Duration::from_millis(20);
/// Branches that a supervisor may have running; a constitution has at most as many.
const MAX_RUNNING: usize = 64;

/// Where the agent is.
#[derive(Debug, Clone)]
pub struct Agent {
    /// The supervisor's socket. It may not be there yet.
    pub socket: PathBuf,
    /// What the runtime may write.
    pub scratch: PathBuf,
    /// The agent's own executable, which is its shim too.
    pub shim: PathBuf,
    /// Trees of the container that are ours and that the runtime must not read.
    pub private_paths: Vec<PathBuf>,
}

/// Serves one supervisor until it hangs up. Everything that runs by then is killed.
pub async fn serve(agent: &Agent) -> io::Result<()> {
    let stream = connect(&agent.socket).await;
    let (from, to) = stream.into_split();
    let (mut reader, mut writer) = (Reader::new(from), Writer::new(to));
    let Some(first) = reader.next().await? else {
        return Ok(());
    };
    let built = match built(agent, first) {
        Ok(built) => built,
        Err(not_built) => return writer.send(&not_built).await,
    };
    let answer = FromAgent::Built {
        containment: built.containment,
        missing_walls: built.missing_walls.clone(),
    };
    writer.send(&answer).await?;
    let mut branches = Running::default();
    loop {
        tokio::select! {
            message = reader.next() => match message? {
                None => break,
                Some(message) => branches.take(&built, message)?,
            },
            Some(ended) = branches.tasks.join_next() => {
                if let Some(finished) = branches.end(ended) {
                    writer.send(&finished).await?;
                }
            }
        }
    }
    branches.tasks.shutdown().await;
    built.runtime.shutdown().await;
    Ok(())
}

/// The supervisor starts after us, and may take a while to prove that the network is closed.
async fn connect(socket: &Path) -> UnixStream {
    loop {
        if let Ok(stream) = UnixStream::connect(socket).await {
            return stream;
        }
        tokio::time::sleep(CONNECT_INTERVAL).await;
    }
}

fn built(agent: &Agent, first: ToAgent) -> Result<BuiltRuntime, FromAgent> {
    let ToAgent::Build {
        spec,
        policy,
        containment,
        broker_port,
    } = first
    else {
        return Err(not_built(
            false,
            "the first message must be Build".to_owned(),
        ));
    };
    let options = RuntimeOptions {
        containment,
        shim: agent.shim.clone(),
        private_paths: agent.private_paths.clone(),
        broker_port,
        place: Place::Image {
            scratch: agent.scratch.clone(),
        },
        ..RuntimeOptions::default()
    };
    build(&spec, &policy, &options).map_err(|error| {
        not_built(
            matches!(error, RuntimeError::Containment { .. }),
            error.to_string(),
        )
    })
}

fn not_built(is_containment: bool, why: String) -> FromAgent {
    FromAgent::NotBuilt {
        is_containment,
        why,
    }
}

type Finished = (u32, Result<BranchReply, RunError>);

#[derive(Default)]
struct Running {
    tasks: JoinSet<Finished>,
    cancels: BTreeMap<u32, CancelToken>,
}

impl Running {
    fn take(&mut self, built: &BuiltRuntime, message: ToAgent) -> io::Result<()> {
        match message {
            ToAgent::Build { .. } => return Err(out_of_turn("a second Build")),
            ToAgent::Cancel { index } => {
                if let Some(cancel) = self.cancels.remove(&index) {
                    cancel.cancel();
                }
            }
            ToAgent::Run {
                index,
                seed,
                prompt,
                deadline_ms,
                max_answer_bytes,
            } => {
                let request = wire::request(index, &seed, prompt, deadline_ms, max_answer_bytes)
                    .ok_or_else(|| out_of_turn("a seed that is no number"))?;
                let cancel = CancelToken::new();
                let is_new = self.cancels.insert(index, cancel.clone()).is_none();
                if !is_new || self.cancels.len() > MAX_RUNNING {
                    return Err(out_of_turn("a branch that runs already, or one too many"));
                }
                let runtime = built.runtime.clone();
                self.tasks
                    .spawn(async move { (index, runtime.run(request, cancel).await) });
            }
        }
        Ok(())
    }

    /// What the supervisor hears of a branch's end: nothing of one that it cancelled.
    fn end(&mut self, ended: Result<Finished, tokio::task::JoinError>) -> Option<FromAgent> {
        let (index, result) = match ended {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return None,
        };
        self.cancels.remove(&index);
        let result: Ended = match result {
            Ok(reply) => Ok(reply).into(),
            Err(RunError::Failed(failure)) => Err(failure).into(),
            Err(RunError::Cancelled) => return None,
        };
        Some(FromAgent::Finished { index, result })
    }
}

fn out_of_turn(what: &str) -> io::Error {
    let failure = BranchFailure::new(BranchError::Malformed, what);
    io::Error::new(io::ErrorKind::InvalidData, failure)
}
