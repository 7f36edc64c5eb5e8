//! The supervisor's side: one connection, any number of branches.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axiom_hive_core::record::{BranchError, ContainmentLevel};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::wire::{Ended, FromAgent, Reader, ToAgent, Writer};
use crate::runtime::build::{BuiltRuntime, RuntimeError};
use crate::runtime::model::{
    BoxFuture, BranchFailure, BranchReply, BranchRequest, UntrustedRuntime, accept as accept_text,
};

/// Messages that wait to be written.
const MAX_QUEUED: usize = 128;
/// Strangers that are turned away before the socket is given up.
const MAX_STRANGERS: usize = 64;

/// Who may connect, and until when.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Where to listen. The directory belongs to this pod alone.
    pub socket: PathBuf,
    /// The user of the runtime's container.
    pub uid: u32,
    /// How long its image may take to be pulled and started.
    pub timeout: Duration,
}

/// Why there is no runtime.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// The socket.
    #[error("runtime socket: {0}")]
    Socket(#[from] io::Error),
    /// Nobody came.
    #[error("the runtime's container must connect within {0} s")]
    NobodyCame(u64),
    /// Others came.
    #[error("the runtime's socket must be used by user {0} only")]
    Strangers(u32),
    /// It cannot run the task.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// It cannot run the task, in its own words.
    #[error("runtime: {0}")]
    NotBuilt(String),
}

/// Waits for the agent, and has it prepare the runtime. `build` is the `Build` message.
pub async fn accept(expected: &Expected, build: &ToAgent) -> Result<BuiltRuntime, PodError> {
    let stream = tokio::time::timeout(expected.timeout, listen(expected))
        .await
        .map_err(|_| PodError::NobodyCame(expected.timeout.as_secs()))??;
    let (from, to) = stream.into_split();
    let (mut reader, mut writer) = (Reader::new(from), Writer::new(to));
    writer.send(build).await?;
    let answer = tokio::time::timeout(expected.timeout, reader.next()).await;
    match answer.map_err(|_| PodError::NobodyCame(expected.timeout.as_secs()))?? {
        Some(FromAgent::Built {
            containment,
            missing_walls,
        }) => Ok(BuiltRuntime {
            runtime: Arc::new(PodRuntime::start(reader, writer)),
            containment,
            missing_walls,
        }),
        Some(FromAgent::NotBuilt {
            is_containment: true,
            why,
        }) => Err(RuntimeError::Containment {
            reached: ContainmentLevel::None,
            why,
        }
        .into()),
        Some(FromAgent::NotBuilt { why, .. }) => Err(PodError::NotBuilt(why)),
        Some(FromAgent::Finished { .. }) | None => Err(PodError::NotBuilt(
            "the connection was lost before the runtime was ready".to_owned(),
        )),
    }
}

/// One connection of the right user; then the socket is gone, and nobody else gets in.
async fn listen(expected: &Expected) -> Result<UnixStream, PodError> {
    let listener = UnixListener::bind(&expected.socket)?;
    // Both containers are in the directory's group.
    std::fs::set_permissions(&expected.socket, std::fs::Permissions::from_mode(0o660))?;
    let stream = one_of(&listener, expected.uid).await;
    remove(&expected.socket)?;
    stream
}

async fn one_of(listener: &UnixListener, uid: u32) -> Result<UnixStream, PodError> {
    for _ in 0..MAX_STRANGERS {
        let (stream, _) = listener.accept().await?;
        if stream.peer_cred()?.uid() == uid {
            return Ok(stream);
        }
    }
    Err(PodError::Strangers(uid))
}

fn remove(socket: &Path) -> Result<(), PodError> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

type Answer = Result<BranchReply, BranchFailure>;

enum Order {
    Run(BranchRequest, oneshot::Sender<Answer>),
    Cancel(u32),
}

/// Branches over the one connection.
struct PodRuntime {
    orders: mpsc::Sender<Order>,
    _driver: AbortOnDropHandle<()>,
}

impl PodRuntime {
    fn start(reader: Reader<OwnedReadHalf>, writer: Writer<OwnedWriteHalf>) -> Self {
        let (orders, inbox) = mpsc::channel(MAX_QUEUED);
        let driver = tokio::spawn(drive(reader, writer, inbox));
        Self {
            orders,
            _driver: AbortOnDropHandle::new(driver),
        }
    }

    async fn order(&self, request: BranchRequest) -> Answer {
        let (reply, answer) = oneshot::channel();
        let max_answer_bytes = request.max_answer_bytes;
        let _guard = CancelOnDrop {
            orders: &self.orders,
            index: request.index,
        };
        self.orders
            .send(Order::Run(request, reply))
            .await
            .map_err(|_| lost())?;
        let reply = answer.await.map_err(|_| lost())??;
        // The other side checked it too, but it is the other side.
        let text = accept_text(reply.text, max_answer_bytes)?;
        Ok(BranchReply {
            text,
            usage: reply.usage,
        })
    }
}

/// Tells the agent that nobody waits any more; harmless after an answer.
struct CancelOnDrop<'a> {
    orders: &'a mpsc::Sender<Order>,
    index: u32,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        // A queue that is full belongs to an agent that no longer reads.
        let _ = self.orders.try_send(Order::Cancel(self.index));
    }
}

// Hanging up, which dropping does, ends everything over there: there is nothing to shut down.
impl UntrustedRuntime for PodRuntime {
    fn answer<'a>(&'a self, request: &'a BranchRequest) -> BoxFuture<'a, Answer> {
        Box::pin(self.order(request.clone()))
    }
}

fn lost() -> BranchFailure {
    BranchFailure::new(
        BranchError::Lost,
        "the connection to the runtime's container was lost",
    )
}

/// Owns the connection; every waiting branch fails when it ends.
async fn drive(
    mut reader: Reader<OwnedReadHalf>,
    mut writer: Writer<OwnedWriteHalf>,
    mut inbox: mpsc::Receiver<Order>,
) {
    let mut waiting: BTreeMap<u32, oneshot::Sender<Answer>> = BTreeMap::new();
    loop {
        tokio::select! {
            order = inbox.recv() => {
                let message = match order {
                    None => return,
                    Some(Order::Run(request, reply)) => {
                        waiting.insert(request.index, reply);
                        ToAgent::run(&request)
                    }
                    Some(Order::Cancel(index)) => {
                        waiting.remove(&index);
                        ToAgent::Cancel { index }
                    }
                };
                if writer.send(&message).await.is_err() {
                    return;
                }
            }
            message = reader.next() => match message {
                Ok(Some(FromAgent::Finished { index, result })) => {
                    if let Some(reply) = waiting.remove(&index) {
                        let _ = reply.send(answer(result));
                    }
                }
                // Whatever else it says, it is not the agent that we know.
                _ => return,
            },
        }
    }
}

fn answer(ended: Ended) -> Answer {
    match ended {
        Ended::Text { text, usage } => Ok(BranchReply { text, usage }),
        Ended::Failed { kind, detail } => Err(BranchFailure::new(kind, detail)),
    }
}
