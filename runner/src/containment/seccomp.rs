//! The seccomp wall: an allow-list of system calls.
//!
//! What is not listed fails with `EPERM`; a call of another architecture kills the process. The list
//! is what an interpreter with threads and child processes needs. Left out, besides everything that
//! administers a machine, on purpose:
//!
//! * `chmod`, `chown`, `utimensat` on a path, extended attributes, inotify: they act on files of the
//!   same user outside the Landlock tree, which Landlock does not filter;
//! * `setsid`, `setpgid`: a runtime cannot leave the process group by which it is killed;
//! * `setpriority` and `prlimit64`, `sched_setaffinity` on other processes: they could slow down or
//!   limit the supervisor;
//! * `bind`, `listen`, `accept`, every socket but a connected stream pair and, if a port is listed,
//!   TCP: MPTCP and `MSG_FASTOPEN` reach a peer without the `connect` that Landlock filters;
//! * `ptrace`, `process_vm_*`, `pidfd_getfd`, `io_uring`, `bpf`, `userfaultfd`, key rings, new
//!   namespaces (also by a flag of `clone`).
//!
//! A few calls are answered with `ENOSYS` instead, on which every C library and core tool falls back
//! or goes on: `clone3`, whose flags a filter cannot see, and reading extended attributes.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::syscalls;

/// Calls that this kernel shall seem not to have.
const HIDDEN: [i64; 7] = [
    libc::SYS_clone3,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// `CLONE_NEWTIME`, `_NEWNS`, `_NEWCGROUP`, `_NEWUTS`, `_NEWIPC`, `_NEWUSER`, `_NEWPID`, `_NEWNET`.
const CLONE_NEW: u64 = 0x80 | 0x2_0000 | 0x200_0000 | 0x400_0000 | 0x800_0000 | 0x7000_0000;

/// `MSG_FASTOPEN`.
const MSG_FASTOPEN: u64 = 0x2000_0000;

/// Terminal size and mode, bytes waiting, blocking mode, close-on-exec. `TIOCSTI` is not here.
const IOCTLS: [u64; 6] = [0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451];

/// `PR_GET_DUMPABLE`, `PR_SET_NAME`, `PR_GET_NAME`, `PR_CAPBSET_READ`, `PR_SET_VMA`.
const PRCTLS: [u64; 5] = [3, 15, 16, 23, 0x5356_4d41];

/// Allowed with `SIGKILL` only: what the shim set cannot be taken back.
const PR_SET_PDEATHSIG: u64 = 1;

/// `TCP_NODELAY`, `TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`, `TCP_USER_TIMEOUT`.
const TCP_OPTIONS: [u64; 5] = [1, 4, 5, 6, 18];

/// Installs both filters; they hold for this thread and all it will start.
pub(super) fn confine(tcp: bool) -> Result<(), seccompiler::Error> {
    // Of two filters the kernel takes the stricter verdict. The allow-list comes last, since it
    // refuses the installation of another.
    let hidden = HIDDEN.map(|number| (number, Vec::new())).into();
    for (rules, mismatch, matched) in [
        (
            hidden,
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS.cast_unsigned()),
        ),
        (
            allowed(tcp)?,
            SeccompAction::Errno(libc::EPERM.cast_unsigned()),
            SeccompAction::Allow,
        ),
    ] {
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        let program: BpfProgram = SeccompFilter::new(rules, mismatch, matched, arch)?.try_into()?;
        seccompiler::apply_filter(&program)?;
    }
    Ok(())
}

fn allowed(tcp: bool) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = syscalls::plain()
        .map(|number| (number, Vec::new()))
        .collect();
    let dword = |arg, op, value| SeccompCondition::new(arg, Len::Dword, op, value);
    let qword = |arg, op, value| SeccompCondition::new(arg, Len::Qword, op, value);
    let one_of = |arg, values: &[u64]| -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        values
            .iter()
            .map(|value| SeccompRule::new(vec![dword(arg, Op::Eq, *value)?]))
            .collect()
    };
    rules.insert(
        libc::SYS_clone,
        vec![SeccompRule::new(vec![qword(
            0,
            Op::MaskedEq(CLONE_NEW),
            0,
        )?])?],
    );
    // Let through here, so that the other filter's ENOSYS is what a caller sees.
    rules.extend(HIDDEN.map(|number| (number, Vec::new())));
    rules.insert(libc::SYS_ioctl, one_of(1, &IOCTLS)?);
    let mut prctls = one_of(0, &PRCTLS)?;
    prctls.push(SeccompRule::new(vec![
        qword(0, Op::Eq, PR_SET_PDEATHSIG)?,
        qword(1, Op::Eq, level(libc::SIGKILL))?,
    ])?);
    rules.insert(libc::SYS_prctl, prctls);
    for (own_process_only, arg) in [(libc::SYS_prlimit64, 0), (libc::SYS_sched_setaffinity, 0)] {
        rules.insert(own_process_only, one_of(arg, &[0])?);
    }
    rules.insert(
        libc::SYS_utimensat,
        vec![SeccompRule::new(vec![qword(1, Op::Eq, 0)?])?],
    );
    for (send, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2)] {
        rules.insert(
            send,
            vec![SeccompRule::new(vec![dword(
                flags,
                Op::MaskedEq(MSG_FASTOPEN),
                0,
            )?])?],
        );
    }
    rules.insert(libc::SYS_socketpair, vec![stream_socket(libc::AF_UNIX, 0)?]);
    if tcp {
        let mut sockets = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            for protocol in [0, libc::IPPROTO_TCP] {
                sockets.push(stream_socket(family, protocol)?);
            }
        }
        rules.insert(libc::SYS_socket, sockets);
        rules.insert(libc::SYS_connect, Vec::new());
        let mut options = vec![SeccompRule::new(vec![dword(
            1,
            Op::Eq,
            level(libc::SOL_SOCKET),
        )?])?];
        for option in TCP_OPTIONS {
            options.push(SeccompRule::new(vec![
                dword(1, Op::Eq, level(libc::IPPROTO_TCP))?,
                dword(2, Op::Eq, option)?,
            ])?);
        }
        rules.insert(libc::SYS_setsockopt, options);
    }
    Ok(rules)
}

fn level(constant: i32) -> u64 {
    u64::from(constant.cast_unsigned())
}

/// `SOCK_STREAM`, possibly non-blocking and close-on-exec, of exactly this family and protocol.
fn stream_socket(family: i32, protocol: i32) -> Result<SeccompRule, seccompiler::BackendError> {
    let kind = !level(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) & 0xffff_ffff;
    SeccompRule::new(vec![
        SeccompCondition::new(0, Len::Dword, Op::Eq, level(family))?,
        SeccompCondition::new(1, Len::Dword, Op::MaskedEq(kind), level(libc::SOCK_STREAM))?,
        SeccompCondition::new(2, Len::Dword, Op::Eq, level(protocol))?,
    ])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_must_stay_out_is_out() {
        let never = [
            libc::SYS_ptrace,
            libc::SYS_mount,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_keyctl,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_kexec_load,
            libc::SYS_perf_event_open,
            libc::SYS_process_vm_readv,
            libc::SYS_pidfd_getfd,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_accept4,
            libc::SYS_fchmod,
            libc::SYS_fchmodat,
            libc::SYS_fchownat,
            libc::SYS_setsid,
            libc::SYS_setpgid,
            libc::SYS_sendmmsg,
        ];
        for tcp in [false, true] {
            let rules = allowed(tcp).unwrap();
            for number in never {
                assert!(!rules.contains_key(&number), "system call {number}");
            }
        }
    }

    #[test]
    fn sockets_need_a_listed_port() {
        assert!(!allowed(false).unwrap().contains_key(&libc::SYS_socket));
        assert!(!allowed(false).unwrap().contains_key(&libc::SYS_connect));
        assert_eq!(allowed(true).unwrap()[&libc::SYS_socket].len(), 4);
    }
}
