//! A private state directory, ledger and constitution for one test, and the real program.
#![allow(clippy::unwrap_used, dead_code)]

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// Long enough for anything that is expected to happen by itself on a loaded machine.
const AMPLE: Duration = Duration::from_mins(1);

/// One user on one machine.
pub(crate) struct Hive {
    pub(crate) dir: TempDir,
}

/// What a command printed and how it ended.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.stdout.trim())
            .unwrap_or_else(|_| panic!("not JSON: {}\n{}", self.stdout, self.stderr))
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }
}

impl Default for Hive {
    fn default() -> Self {
        Self::new("")
    }
}

impl Hive {
    /// `extra` is appended to a minimal constitution.
    pub(crate) fn new(extra: &str) -> Self {
        let hive = Self {
            dir: TempDir::new().unwrap(),
        };
        hive.write(
            "constitution.toml",
            &format!("[meta]\nname = \"t\"\nversion = \"1.0.0\"\n{extra}"),
        );
        hive
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.path("ledger")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_axiom_hive_cli"));
        command
            .env("XDG_STATE_HOME", self.path("state"))
            .env_remove("AXIOM_HIVE_CRASH_AT")
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn cli<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Ran {
        ran(&self.command().args(args).output().unwrap())
    }

    /// `run` under this hive's constitution and ledger.
    pub(crate) fn run_command(&self, args: &[&str]) -> Command {
        let mut command = self.command();
        command.arg("run");
        command
            .args(["--constitution", "constitution.toml", "--ledger", "ledger"])
            .args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(&self.run_command(args).output().unwrap())
    }

    /// [`Hive::run`] with the built-in runtime that answers with the prompt.
    pub(crate) fn echo(&self, args: &[&str]) -> Ran {
        self.run(&[&["--runtime", "echo"], args].concat())
    }

    pub(crate) fn run_with_stdin(&self, args: &[&str], stdin: &[u8]) -> Ran {
        let mut child = self
            .run_command(args)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that refuses early may close its end before everything is written.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        finish(child)
    }

    pub(crate) fn verify(&self) -> Ran {
        self.cli(&[Path::new("verify"), &self.ledger()])
    }
}

/// A run whose runtime never answers, and a connection to it: the connection ends when the runtime
/// does.
pub(crate) struct Connected {
    pub(crate) hive: Hive,
    pub(crate) supervisor: Child,
    runtime: TcpStream,
}

impl Connected {
    /// Returns when the runtime is running.
    pub(crate) fn run(args: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let hive = Hive::new(&format!("[runtime]\nloopback_port = {port}\n"));
        let connect = format!("socket.create_connection(('127.0.0.1', {port}))");
        let program = format!("import socket; {connect}.recv(1)");
        let mut supervisor = hive
            .run_command(&["--runtime", "process", "--command", "python3"])
            .args(["--arg", "-c", "--arg", &program, "--branches", "1"])
            .args(args)
            .arg("hi")
            .spawn()
            .unwrap();
        let (sender, connections) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(listener.accept()));
        let Ok(connection) = connections.recv_timeout(AMPLE) else {
            supervisor.kill().unwrap();
            panic!("the runtime did not start: {}", finish(supervisor).stderr);
        };
        let (runtime, _) = connection.unwrap();
        runtime.set_read_timeout(Some(AMPLE)).unwrap();
        Self {
            hive,
            supervisor,
            runtime,
        }
    }

    /// Returns when the runtime has ended.
    pub(crate) fn wait_for_end(&mut self) {
        // A killed process resets the connection or closes it.
        let read = self.runtime.read(&mut [0]);
        let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
        assert!(
            read.as_ref().map_or_else(is_gone, |bytes| *bytes == 0),
            "the runtime must end: {read:?}"
        );
    }
}

pub(crate) fn finish(child: Child) -> Ran {
    ran(&child.wait_with_output().unwrap())
}

pub(crate) fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
