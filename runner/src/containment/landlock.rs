//! The Landlock wall: which files can be opened, which TCP port can be reached, whom a signal reaches.
//!
//! Source: `Documentation/userspace-api/landlock.rst` of Linux. ABI 6 is the least with everything
//! used here (TCP since 4, device ioctl since 5, scopes since 6). Landlock filters TCP by port, not
//! by address: a listed port is open at every address that the machine can route to, which is why
//! such a port belongs to a local service only. `chmod`, `chown`, `utime`, extended attributes and
//! UDP are outside Landlock: the seccomp wall refuses those.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus,
    NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};

use super::settings::Settings;

/// Trees of programs and libraries, readable and executable for every runtime.
pub(super) const SYSTEM_TREES: [&str; 9] = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/bin",
    "/sbin",
    "/nix/store",
    "/gnu/store",
];

/// Files and trees that the C library and numeric libraries read; nothing about users or secrets.
const SYSTEM_FILES: [&str; 11] = [
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
];

/// What the kernel put up.
pub(super) struct LandlockReport {
    /// Every right of ABI 6 is enforced.
    pub(super) full: bool,
    /// Something is enforced.
    pub(super) any: bool,
    /// The ABI in force; 0 when none.
    pub(super) abi: u32,
}

/// Confines this thread, and all it will start.
pub(super) fn confine(settings: &Settings) -> Result<LandlockReport, RulesetError> {
    let abi = ABI::V6;
    let level = if settings.required {
        CompatLevel::HardRequirement
    } else {
        CompatLevel::BestEffort
    };
    let run = AccessFs::Execute | AccessFs::ReadFile | AccessFs::ReadDir;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::from_all(abi) & !BitFlags::from(AccessFs::Execute);
    let mut rules = Ruleset::default()
        .set_compatibility(level)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?;
    for tree in SYSTEM_TREES {
        rules = allow(rules, Path::new(tree), run)?;
    }
    for file in SYSTEM_FILES {
        rules = allow(rules, Path::new(file), read)?;
    }
    rules = allow(rules, Path::new("/dev/null"), read | AccessFs::WriteFile)?;
    for path in &settings.read {
        rules = allow(rules, path, run)?;
    }
    rules = allow(rules, &settings.scratch, write)?;
    if let Some(port) = settings.port {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    let status = rules.restrict_self()?;
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as u32,
        _ => 0,
    };
    Ok(LandlockReport {
        full: status.ruleset == RulesetStatus::FullyEnforced && status.no_new_privs,
        any: status.ruleset != RulesetStatus::NotEnforced,
        abi,
    })
}

/// A path that is not there allows nothing and is no error.
fn allow(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(fd) = PathFd::new(path) else {
        return Ok(rules);
    };
    let access = if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(ABI::V6)
    };
    rules.add_rule(PathBeneath::new(fd, access))
}
