//! A child in its own process group, killed as a group and always reaped.
//!
//! The group is signalled only while its leader is not reaped: until then the kernel cannot give the
//! number to anybody else, so that a late kill never hits a stranger. That is why the end is awaited
//! on a pidfd, which leaves the leader unreaped, and not with `wait`.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tempfile::TempDir;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// The three pipes of a child.
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

type Work = Box<dyn FnOnce() + Send>;

/// Runs `work` on a thread that lives as long as this process. A child's death signal comes when the
/// *thread* that started it ends, and a thread of the async runtime may end at any time.
fn on_lasting_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    static THREAD: LazyLock<Option<SyncSender<Work>>> = LazyLock::new(|| {
        let (sender, works) = sync_channel::<Work>(1);
        let run = move || works.into_iter().for_each(|work| work());
        let thread = thread::Builder::new().name("children".to_owned());
        thread.spawn(run).ok().map(|_| sender)
    });
    let gone = || io::Error::other("there is no thread that starts children");
    let (result, done) = sync_channel(1);
    let work: Work = Box::new(move || {
        // Whoever asked waits for it.
        let _ = result.send(work());
    });
    let thread = THREAD.as_ref().ok_or_else(gone)?;
    thread.send(work).map_err(|_| gone())?;
    done.recv().map_err(|_| gone())
}

/// A running child and whatever it has started. Dropped: killed.
pub(super) struct Group {
    /// `None` only after [`Group::reap`] took it.
    child: Option<Child>,
    leader: Pid,
    end: AsyncFd<OwnedFd>,
    /// The working directory of the group; removed when the leader is reaped.
    scratch: Option<TempDir>,
}

impl Group {
    /// Starts `command` in `scratch`, as leader of a new group, with piped stdin, stdout and stderr.
    pub(super) fn spawn(mut command: Command, scratch: TempDir) -> io::Result<(Self, Pipes)> {
        command
            .current_dir(scratch.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let handle = tokio::runtime::Handle::current();
        let mut child = on_lasting_thread(move || {
            let _entered = handle.enter();
            command.spawn()
        })??;
        let leader = child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
            .ok_or_else(|| io::Error::other("the child has no process id"))?;
        let pipes = match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Pipes {
                stdin,
                stdout,
                stderr,
            },
            _ => return Err(io::Error::other("the child has no pipes")),
        };
        #[expect(
            deprecated,
            reason = "its successor is unsafe; what that asks for (the descriptor stays open and the \
                      same while registered) holds for an `OwnedFd`"
        )]
        let end = AsyncFd::new(pidfd_open(leader, PidfdFlags::empty())?)?;
        let group = Self {
            child: Some(child),
            leader,
            end,
            scratch: Some(scratch),
        };
        Ok((group, pipes))
    }

    /// Returns when the leader has ended. It is not reaped yet.
    pub(super) async fn ended(&self) -> io::Result<()> {
        self.end.readable().await.map(|_| ())
    }

    /// SIGKILL to every process of the group.
    pub(super) fn kill(&self) {
        if self.child.is_some() {
            // An empty group cannot be: its leader is at least a zombie. Whatever else fails here,
            // nothing better is left to do.
            let _ = kill_process_group(self.leader, Signal::KILL);
        }
    }

    /// Kills what is left of the group and reaps the leader.
    pub(super) async fn reap(mut self) -> io::Result<ExitStatus> {
        self.kill();
        match self.child.take() {
            Some(mut child) => child.wait().await,
            None => Err(io::Error::other("the child was reaped before")),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        let scratch = self.scratch.take();
        if let (Some(mut child), Ok(handle)) =
            (self.child.take(), tokio::runtime::Handle::try_current())
        {
            // Without this the zombie would stay until the next child ends.
            handle.spawn(async move {
                let _ = child.wait().await;
                drop(scratch);
            });
        }
    }
}
