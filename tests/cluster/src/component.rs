//! Child processes that cannot outlive this process.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};

use rustix::process::{Pid, Signal, kill_process};

use crate::Error;

const LOG_TAIL_BYTES: u64 = 16 * 1024;

/// A program of the cluster. It is killed when this value is dropped and when this process ends, however it ends.
#[derive(Debug)]
pub struct Component {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    log: PathBuf,
    /// The program starts one child, in other namespaces, and that is the component.
    wrapped: bool,
    child: Mutex<Child>,
}

impl Component {
    /// Starts `program`; its output is added to `log`.
    pub(crate) fn start<A: Into<OsString>>(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        log: &Path,
    ) -> Result<Self, Error> {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self::start_any(name, program, arguments, log, false)
    }

    /// The same for a program whose only child is the component, such as `nsenter`.
    pub(crate) fn start_wrapped(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = String>,
        log: &Path,
    ) -> Result<Self, Error> {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self::start_any(name, program, arguments, log, true)
    }

    fn start_any(
        name: &str,
        program: &Path,
        arguments: Vec<OsString>,
        log: &Path,
        wrapped: bool,
    ) -> Result<Self, Error> {
        let child = Mutex::new(start_process(program, &arguments, log)?);
        let (name, program, log) = (name.to_owned(), program.to_owned(), log.to_owned());
        Ok(Self {
            name,
            program,
            arguments,
            log,
            wrapped,
            child,
        })
    }

    /// Kills it if it runs, and starts it again with the same arguments.
    pub fn restart(&self) -> Result<(), Error> {
        self.kill();
        *self.lock() = start_process(&self.program, &self.arguments, &self.log)?;
        Ok(())
    }

    /// What it is called in `cluster status`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id on this machine.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let own = self.lock().id();
        if self.wrapped {
            child_of(own).unwrap_or(own)
        } else {
            own
        }
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.lock().try_wait(), Ok(None))
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&self) {
        if self.wrapped && self.is_running() {
            signal(self.pid(), Signal::KILL);
        }
        let mut child = self.lock();
        // Both fail only for a process that has ended.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// SIGSTOP until the returned value is dropped.
    #[must_use]
    pub fn pause(&self) -> Paused {
        Paused::stop(self.pid())
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start_process(program: &Path, arguments: &[OsString], log: &Path) -> Result<Child, Error> {
    let output = File::options()
        .create(true)
        .append(true)
        .open(log)
        .map_err(Error::file(log))?;
    let error_output = output.try_clone().map_err(Error::file(log))?;
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .arg(program)
        .args(arguments);
    // A group of its own, so that Ctrl-C ends the test first and the cluster after it.
    command
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(error_output)
        .process_group(0);
    spawn(command).map_err(|error| {
        Error::Program(format!("cannot run setpriv (package util-linux): {error}"))
    })
}

impl Drop for Component {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A stopped process; it goes on when this is dropped.
#[derive(Debug)]
pub struct Paused(u32);

impl Paused {
    /// Returns once no thread of the process runs any more: each stops by itself, when it next enters or leaves the kernel.
    pub(crate) fn stop(pid: u32) -> Self {
        const TRIES: u32 = 2_000;
        signal(pid, Signal::STOP);
        for _ in 0..TRIES {
            if has_stopped(pid) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Self(pid)
    }
}

/// Also of a process that has ended.
fn has_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let mut threads = threads.into_iter().flatten().flatten();
    threads.all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        !matches!(after_name(&stat).next(), Some("R" | "S" | "D"))
    })
}

/// State, parent and what follows in "PID (NAME) STATE PPID …", where the name may hold anything.
fn after_name(stat: &str) -> impl Iterator<Item = &str> {
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields.split_whitespace()
}

impl Drop for Paused {
    fn drop(&mut self) {
        signal(self.0, Signal::CONT);
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // Fails only for a process that has ended.
        let _ = kill_process(pid, signal);
    }
}

/// The first child of a process. Not every kernel lists children, so all parents are looked at.
fn child_of(parent: u32) -> Option<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        after_name(&stat).nth(1) == Some(&parent.to_string())
    };
    pids.filter(is_child).min()
}

/// The kernel sends a parent-death signal when the *thread* that started a child ends, and tests run on threads that end early.
/// So one thread, which lives as long as the process, starts all children.
fn spawn(command: Command) -> std::io::Result<Child> {
    type Job = (Command, mpsc::SyncSender<std::io::Result<Child>>);
    static STARTER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, reply) in jobs {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (reply, result) = mpsc::sync_channel(1);
    let sent = starter
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, reply));
    let gone = || std::io::Error::other("the thread that starts processes is gone");
    sent.map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}

/// The last `lines` of a log, or nothing.
#[must_use]
pub(crate) fn log_tail(log: &Path, lines: usize) -> String {
    let mut bytes = Vec::new();
    let mut read = || -> std::io::Result<()> {
        let mut file = File::open(log)?;
        let length_bytes = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(length_bytes.saturating_sub(LOG_TAIL_BYTES)))?;
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(())
    };
    if read().is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Removes a directory when this process ends, however it ends: a shell waits for the end of a pipe that only we hold.
#[derive(Debug)]
pub(crate) struct DirectoryGuard(Child);

impl DirectoryGuard {
    pub(crate) fn new(directory: &Path) -> Result<Self, Error> {
        // The programs that write there die in the same moment; a second attempt catches what they wrote last.
        let script = r#"read -r _; rm -rf "$0" 2>/dev/null || { sleep 1; rm -rf "$0"; }"#;
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .arg(directory)
            .stdin(Stdio::piped())
            .process_group(0);
        let shell = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self(
            shell.map_err(|error| Error::Program(format!("sh: {error}")))?,
        ))
    }
}

impl Drop for DirectoryGuard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
