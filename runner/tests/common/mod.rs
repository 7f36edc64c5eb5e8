//! A private state directory, ledger and constitution for one test, and the real program.
#![allow(clippy::unwrap_used, dead_code)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

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

pub(crate) fn finish(child: Child) -> Ran {
    ran(&child.wait_with_output().unwrap())
}

fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
