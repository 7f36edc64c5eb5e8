//! Resource limits and privileges.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use rustix::process::{
    Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};

use super::settings::Settings;

/// Open files of one process.
const MAX_OPEN_FILES: u64 = 256;

/// The longest file a runtime can write, in bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Sets every limit. `RLIMIT_NPROC` counts all tasks of the real user, so it is set to what the user
/// has now plus the allowance; the kernel does not apply it to uid 0.
pub(super) fn set_limits(settings: &Settings) -> io::Result<()> {
    let user = rustix::process::getuid();
    let tasks = count_tasks(user.as_raw())?;
    for (resource, value) in [
        (Resource::As, settings.memory_bytes),
        (Resource::Nproc, tasks + settings.processes),
        (Resource::Nofile, MAX_OPEN_FILES),
        (Resource::Fsize, MAX_FILE_BYTES),
        (Resource::Core, 0),
    ] {
        // A hard limit that is already lower stays: only root could raise it.
        let hard = rustix::process::getrlimit(resource).maximum;
        let value = Some(hard.map_or(value, |hard| hard.min(value)));
        setrlimit(
            resource,
            Rlimit {
                current: value,
                maximum: value,
            },
        )?;
    }
    Ok(())
}

/// No set-uid program gives privileges from here on, and those this process has are dropped: uid 0
/// is then an ordinary owner of files. With no-new-privileges an exec does not bring them back.
pub(super) fn drop_privileges() -> io::Result<()> {
    set_no_new_privs(true)?;
    let held = capabilities(None)?;
    if !(held.permitted | held.inheritable).is_empty() {
        let none = CapabilitySet::empty();
        clear_ambient_capability_set()?;
        set_capabilities(
            None,
            CapabilitySets {
                effective: none,
                permitted: none,
                inheritable: none,
            },
        )?;
    }
    Ok(())
}

/// The kernel kills this process when the thread that started it ends.
pub(super) fn die_with(supervisor_pid: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A supervisor that ended before would send no signal any more.
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned());
    if parent == Some(supervisor_pid) {
        return Ok(());
    }
    Err(io::Error::other("the supervisor has ended"))
}

/// Threads of all processes of `user` that this one can see.
fn count_tasks(user: u32) -> io::Result<u64> {
    let mut tasks = 0;
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let is_process = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
        // A process may end between listing and reading: then it does not count.
        if is_process && fs::metadata(&path).is_ok_and(|meta| meta.uid() == user) {
            tasks += fs::read_dir(path.join("task")).map_or(0, |list| list.count() as u64);
        }
    }
    Ok(tasks)
}
