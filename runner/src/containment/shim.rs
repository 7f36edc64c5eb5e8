//! The shim: our own program, executed again, that confines itself and then becomes the runtime.
//!
//! `PROGRAM __contain SETTINGS [NAME=VALUE]... -- RUNTIME [ARGUMENT]...`
//!
//! It runs before anything else of the program, with one thread (a thread started before would stay
//! free). Its own environment is empty: what the runtime shall have comes as arguments, so that no
//! `LD_PRELOAD` of a task runs before the walls are up.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, exit};

use super::settings::{ProbeReport, Settings};
use super::{landlock, limits, probe, seccomp};

/// The first argument that asks for the shim.
pub(super) const SHIM_ARGUMENT: &str = "__contain";

/// Exit status of a shim that could not confine itself or could not start the program. Reserved as
/// in `env(1)` and `docker run`.
pub const EXIT_NOT_CONFINED: i32 = 125;

/// Becomes the shim, and never returns, if the first argument of this process asks for it. Must be
/// the first statement of every `main` whose program is given as a shim.
pub fn shim_main_if_requested() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_none_or(|first| first != SHIM_ARGUMENT) {
        return;
    }
    let message = match run(args) {
        Ok(()) => exit(0),
        Err(message) => message,
    };
    let _ = writeln!(io::stderr(), "axiom-hive containment: {message}");
    exit(EXIT_NOT_CONFINED);
}

/// Returns only after a probe, or with what went wrong.
fn run(mut args: impl Iterator<Item = OsString>) -> Result<(), String> {
    let settings = args.next().unwrap_or_default();
    let settings: Settings = serde_json::from_slice(settings.as_bytes())
        .map_err(|e| format!("settings must be valid: {e}"))?;
    let mut env = Vec::new();
    for arg in args.by_ref() {
        if arg == "--" {
            break;
        }
        env.push(split_pair(&arg).ok_or("environment must be NAME=VALUE")?);
    }
    let report = confine(&settings)?;
    if settings.required && !report.missing.is_empty() {
        return Err(report.missing.join("; "));
    }
    if let Some(targets) = &settings.probe {
        let report = probe::attack(&settings, targets, report);
        let line = serde_json::to_string(&report).map_err(|e| e.to_string())?;
        return writeln!(io::stdout(), "{line}").map_err(|e| e.to_string());
    }
    let program = args.next().ok_or("a program must follow --")?;
    let error = Command::new(&program)
        .args(args)
        .env_clear()
        .envs(env)
        .exec();
    Err(format!("{}: {error}", program.display()))
}

fn split_pair(arg: &OsString) -> Option<(OsString, OsString)> {
    let bytes = arg.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    let part = |bytes: &[u8]| std::ffi::OsStr::from_bytes(bytes).to_owned();
    Some((part(&bytes[..at]), part(&bytes[at + 1..])))
}

/// Puts up every wall, in the one order that works: descriptors and limits while `/proc` can be
/// read, seccomp last, since it refuses what the others need.
fn confine(settings: &Settings) -> Result<ProbeReport, String> {
    require_one_thread()?;
    let mut report = ProbeReport {
        missing: Vec::new(),
        any: false,
        landlock_abi: 0,
    };
    let mut note = |wall: &str, result: Result<(), String>| match result {
        Ok(()) => true,
        Err(e) => {
            report.missing.push(format!("{wall}: {e}"));
            false
        }
    };
    let text = |e: io::Error| e.to_string();
    note("inherited descriptors", close_inherited().map_err(text));
    let mut any = note("limits", limits::set_limits(settings).map_err(text));
    any |= note("privileges", limits::drop_privileges().map_err(text));
    note(
        "death signal",
        limits::die_with(settings.supervisor_pid).map_err(text),
    );
    match landlock::confine(settings) {
        Ok(reached) => {
            any |= reached.any;
            if !reached.full {
                note(
                    "landlock",
                    Err(format!("ABI {} is not enough, 6 is needed", reached.abi)),
                );
            }
            report.landlock_abi = reached.abi;
        }
        Err(e) => {
            note("landlock", Err(e.to_string()));
        }
    }
    any |= note(
        "seccomp",
        seccomp::confine(settings.port.is_some()).map_err(|e| e.to_string()),
    );
    report.any = any;
    Ok(report)
}

fn require_one_thread() -> Result<(), String> {
    let threads = std::fs::read_dir("/proc/self/task")
        .map_err(|e| format!("/proc/self/task: {e}"))?
        .count();
    if threads == 1 {
        Ok(())
    } else {
        Err(format!("the shim must have one thread and has {threads}"))
    }
}

/// Closes every descriptor but stdin, stdout and stderr: Landlock does not cover what is open.
fn close_inherited() -> io::Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        match nix::unistd::close(descriptor) {
            // The descriptor of the listing itself is closed by now.
            Ok(()) | Err(nix::errno::Errno::EBADF) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
