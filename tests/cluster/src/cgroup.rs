//! The cgroups of nodes, in every hierarchy of cgroup v1 or in the one of v2.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::state::PREFIX;
use crate::{Error, eventually};

const ROOT: &str = "/sys/fs/cgroup";

/// The roots of all hierarchies.
fn hierarchies() -> Vec<PathBuf> {
    if Path::new(ROOT).join("cgroup.controllers").exists() {
        return vec![PathBuf::from(ROOT)];
    }
    let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && !path.is_symlink())
        .collect()
}

/// The kubelet wants its root to be there in every hierarchy, and to have processors and memory nodes.
pub(crate) fn create(name: &str) -> Result<(), Error> {
    for hierarchy in hierarchies() {
        let path = hierarchy.join(name);
        fs::create_dir_all(&path).map_err(Error::file(&path))?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let Ok(value) = fs::read_to_string(hierarchy.join(file)) else {
                continue;
            };
            fs::write(path.join(file), value).map_err(Error::file(&path.join(file)))?;
        }
    }
    Ok(())
}

/// Removes every cgroup of ours, and kills what is still in one.
pub(crate) async fn remove_all() -> Result<(), Error> {
    let gone = eventually("the end of all processes of the cluster", 20, async || {
        let roots = hierarchies()
            .into_iter()
            .flat_map(|hierarchy| children(&hierarchy));
        let ours = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&format!("{PREFIX}-node-"))
        };
        let left = roots.filter(ours).filter(|path| !remove(path)).count();
        (left == 0).then_some(())
    });
    gone.await
}

fn children(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

/// Whether the cgroup is gone with all below it.
fn remove(path: &Path) -> bool {
    for child in children(path) {
        remove(&child);
    }
    for line in fs::read_to_string(path.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
    {
        if let Some(pid) = line.parse().ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    fs::remove_dir(path).is_ok()
}
