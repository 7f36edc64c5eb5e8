//! `cluster up` and `cluster down`.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::command::run;
use crate::component::log_tail;
use crate::node::Site;
use crate::pki::write_private;
use crate::programs::Programs;
use crate::state::State;
use crate::supervisor::{request, supervise};
use crate::{Error, cgroup, eventually, network};

const UP_SECONDS: u64 = 180;

/// What a node needs of the system, and the Debian package it is in.
const SYSTEM_PROGRAMS: [(&str, &str); 10] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("ipset", "ipset"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
];
const CNI_PLUGIN: &str = "/usr/lib/cni/ptp";

/// The kubelet writes these for the whole machine; they get their values back.
const SYSCTLS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Makes the cluster, or does nothing when it is up in that size. `nodes` is 0 for the size `api`.
pub(crate) async fn up(state: &State, nodes: u8) -> Result<(), Error> {
    let _one_at_a_time = lock(&state.directory().with_extension("lock"))?;
    if is_supervised(state)? {
        let running = state.description()?.nodes;
        return if running == nodes {
            Ok(())
        } else {
            Err(Error::Unsupported(format!(
                "a cluster with {running} nodes is up; cluster down first"
            )))
        };
    }
    // What a cluster that crashed has left.
    clean(state).await?;
    let tools: &[&str] = if nodes > 0 {
        &[]
    } else {
        &["kubernetes", "etcd"]
    };
    if nodes > 0 {
        if !geteuid().is_root() {
            return Err(Error::Unsupported("the full size needs root".to_owned()));
        }
        install_system_programs().await?;
    }
    Programs::locate(tools)?;
    fs::create_dir_all(state.path("log")).map_err(Error::file(state.directory()))?;
    save_sysctls(state)?;
    let mut supervisor = start_supervisor(state, nodes)?;
    let ready = state.path("cluster.json");
    let started = eventually("a cluster that is up", UP_SECONDS, async || {
        if ready.exists() {
            return Some(true);
        }
        (!matches!(supervisor.try_wait(), Ok(None))).then_some(false)
    });
    match started.await {
        Ok(true) => Ok(()),
        ended => {
            let tails = all_log_tails(state);
            clean(state).await?;
            let reason = ended
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            Err(Error::Program(format!(
                "the cluster did not come up {reason}\n{tails}"
            )))
        }
    }
}

/// Removes everything that `up` made, whatever is left of it.
pub(crate) async fn down(state: &State) -> Result<(), Error> {
    let _one_at_a_time = lock(&state.directory().with_extension("lock"))?;
    clean(state).await
}

/// The body of the process behind `up`.
pub(crate) async fn supervisor_process(state: State, nodes: u8) -> Result<(), Error> {
    let pid_file = lock(&state.path("supervisor.pid"))?;
    write_private(
        &state.path("supervisor.pid"),
        &std::process::id().to_string(),
    )?;
    let programs = Programs::locate(&["kubernetes", "etcd"])?;
    let ended = supervise(Site {
        state,
        programs,
        nodes,
    })
    .await;
    drop(pid_file);
    if let Err(error) = &ended {
        eprintln!("{error}\nsupervisor ended");
    }
    ended
}

fn start_supervisor(state: &State, nodes: u8) -> Result<Child, Error> {
    let log = state.log("supervisor");
    let output = File::create(&log).map_err(Error::file(&log))?;
    let errors = output.try_clone().map_err(Error::file(&log))?;
    let program = std::env::current_exe().map_err(Error::file(Path::new("/proc/self/exe")))?;
    // A session of its own: it stays when the terminal goes.
    let mut command = Command::new("setsid");
    command
        .arg(program)
        .args(["supervise", "--nodes", &nodes.to_string()]);
    command
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .current_dir("/");
    command
        .spawn()
        .map_err(|error| Error::Program(format!("setsid: {error}")))
}

/// The last lines of every log.
pub(crate) fn all_log_tails(state: &State) -> String {
    let mut logs: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(state.path("log"))
        .into_iter()
        .flatten()
        .flatten()
    {
        logs.push(entry.path());
    }
    logs.sort();
    let tails = logs
        .iter()
        .map(|log| format!("--- {}\n{}\n", log.display(), log_tail(log, 5)));
    tails.collect()
}

async fn clean(state: &State) -> Result<(), Error> {
    if is_supervised(state)? && request(state, "stop").is_err() {
        let pid = fs::read_to_string(state.path("supervisor.pid")).unwrap_or_default();
        if let Some(pid) = pid.trim().parse().ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    eventually("the end of the supervisor", 15, async || {
        (!is_supervised(state).ok()?).then_some(())
    })
    .await?;
    if geteuid().is_root() {
        cgroup::remove_all().await?;
        network::remove_all(state).await?;
    }
    restore_sysctls(state);
    if state.directory().exists() {
        // A mount below would be somebody else's: ours ended with their nodes.
        let directory = state.directory().display().to_string();
        run(&["rm", "-rf", "--one-file-system", &directory]).await?;
    }
    Ok(())
}

/// The supervisor holds a lock on its pid file as long as it lives.
fn is_supervised(state: &State) -> Result<bool, Error> {
    let path = state.path("supervisor.pid");
    let Ok(file) = File::open(&path) else {
        return Ok(false);
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(Error::File {
            path,
            source: error.into(),
        }),
    }
}

fn lock(path: &Path) -> Result<File, Error> {
    let file = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::file(path))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|error| Error::file(path)(error.into()))?;
    Ok(file)
}

async fn install_system_programs() -> Result<(), Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |program: &str| {
        std::env::split_paths(&path).any(|directory| directory.join(program).exists())
    };
    let missing = SYSTEM_PROGRAMS
        .iter()
        .filter(|(program, _)| !found(program))
        .map(|(_, package)| *package);
    let mut packages: Vec<&str> = missing.collect();
    if !Path::new(CNI_PLUGIN).exists() {
        packages.push("containernetworking-plugins");
    }
    if packages.is_empty() {
        return Ok(());
    }
    if !found("apt-get") {
        return Err(Error::Programs(format!(
            "please install: {}",
            packages.join(" ")
        )));
    }
    eprintln!("cluster: apt-get install {}", packages.join(" "));
    let install = [
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
    ];
    run(&[&install[..], &packages].concat()).await.map(drop)
}

fn save_sysctls(state: &State) -> Result<(), Error> {
    let read = |name: &str| fs::read_to_string(Path::new("/proc/sys").join(name));
    let values = SYSCTLS
        .iter()
        .filter_map(|name| Some(format!("{name} {}\n", read(name).ok()?.trim())));
    write_private(&state.path("sysctls"), &values.collect::<String>())
}

fn restore_sysctls(state: &State) {
    let saved = fs::read_to_string(state.path("sysctls")).unwrap_or_default();
    for (name, value) in saved.lines().filter_map(|line| line.split_once(' ')) {
        let path = Path::new("/proc/sys").join(name);
        let now = fs::read_to_string(&path).unwrap_or_default();
        let changed = SYSCTLS.contains(&name) && now.trim() != value;
        if changed && let Err(error) = fs::write(&path, value) {
            eprintln!(
                "cluster: {} could not get its value {value} back: {error}",
                path.display()
            );
        }
    }
}
