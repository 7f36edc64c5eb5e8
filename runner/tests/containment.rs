//! The walls, tried from inside by real programs.
#![allow(clippy::unwrap_used)]

mod runtime_support;

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use axiom_hive_core::constitution::RuntimePolicy;
use axiom_hive_core::record::{BranchError, ContainmentLevel, ContainmentRequest};
use axiom_hive_core::task::{ProcessProtocol, RuntimeSpec};
use axiom_hive_runner::containment::EXIT_NOT_CONFINED;
use axiom_hive_runner::runtime::{BranchRequest, RuntimeError, build};
use runtime_support::*;

const SHIM: &str = env!("CARGO_BIN_EXE_hive_supervisor");

fn python(program: &str) -> RuntimeSpec {
    process(ProcessProtocol::Text, &["python3", "-c", program], &[])
}

/// Runs each expression in one walled interpreter; a line each: `ok` or the error's name.
async fn try_all(attempts: &[&str], policy: &RuntimePolicy) -> Vec<String> {
    let mut program = String::from("import os, socket, ctypes, resource, signal, fcntl\n");
    for attempt in attempts {
        program.push_str("try:\n    ");
        program.push_str(attempt);
        program.push_str("\n    print('ok')\nexcept OSError as e: print(os.strerror(e.errno))\n");
    }
    let runtime = with_policy(&python(&program), ContainmentRequest::Required, policy);
    text(&runtime, "x")
        .await
        .lines()
        .map(str::to_owned)
        .collect()
}

async fn all_refused(attempts: &[&str], policy: &RuntimePolicy) {
    for (attempt, result) in attempts.iter().zip(try_all(attempts, policy).await) {
        // The third is how Landlock refuses to move a file between trees of different rights.
        let refusals = [
            "Operation not permitted",
            "Permission denied",
            "Invalid cross-device link",
            "Function not implemented",
        ];
        assert!(refusals.contains(&result.as_str()), "{attempt}: {result}");
    }
}

#[tokio::test]
async fn strict_is_reached_and_recorded() {
    let runtime = walled(&shell("echo hi"));
    assert_eq!(runtime.containment.reached, ContainmentLevel::Strict);
    assert!(runtime.containment.landlock_abi >= 6);
    assert_eq!(runtime.containment.loopback_port, 0);
    assert_eq!(runtime.missing_walls, Vec::<String>::new());
    assert_eq!(text(&runtime, "x").await, "hi");
}

#[tokio::test]
async fn files_outside_cannot_be_opened_or_changed() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    std::fs::create_dir(&ledger).unwrap();
    let file = ledger.join("log");
    std::fs::write(&file, "record").unwrap();
    let file = file.display();
    let dir = ledger.display();
    let attempts = [
        "open('/etc/shadow')".to_owned(),
        "open('/etc/passwd')".to_owned(),
        "os.listdir(os.path.expanduser('~root'))".to_owned(),
        "os.listdir('/proc')".to_owned(),
        "open('/proc/self/mem')".to_owned(),
        "os.listdir('/')".to_owned(),
        format!("open('{file}')"),
        format!("open('{file}', 'a')"),
        format!("os.listdir('{dir}')"),
        format!("open('{dir}/new', 'w')"),
        format!("os.mkdir('{dir}/new')"),
        format!("os.symlink('/etc', '{dir}/new')"),
        format!("os.unlink('{file}')"),
        format!("os.rename('{file}', 'stolen')"),
        format!("os.link('{file}', 'stolen')"),
        format!("os.truncate('{file}', 0)"),
        format!("os.chmod('{file}', 0o777)"),
        format!("os.chown('{file}', 0, 0)"),
        format!("os.utime('{file}')"),
        format!("os.setxattr('{file}', 'user.a', b'b')"),
        format!("os.getxattr('{file}', 'user.a')"),
        "os.fchmod(os.open('/usr/bin/env', os.O_RDONLY), 0o777)".to_owned(),
        "open('/usr/new', 'w')".to_owned(),
        "open('/dev/tty')".to_owned(),
        "open('/dev/shm/new', 'w')".to_owned(),
    ];
    let attempts: Vec<&str> = attempts.iter().map(String::as_str).collect();
    all_refused(&attempts, &RuntimePolicy::default()).await;
}

#[tokio::test]
async fn no_socket_without_a_listed_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("socket.create_connection(('127.0.0.1', {port}), 5)");
    let attempts = [
        connect.as_str(),
        "socket.socket()",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_UNIX)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "socket.socket(40, socket.SOCK_STREAM)",
        "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
        "socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)",
    ];
    all_refused(&attempts, &RuntimePolicy::default()).await;
    let pair = try_all(
        &["a, b = socket.socketpair(); a.send(b'x')"],
        &RuntimePolicy::default(),
    )
    .await;
    assert_eq!(pair, ["ok"]);
}

#[tokio::test]
async fn the_listed_port_is_the_only_one() {
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let shut = TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = [&open, &shut].map(|listener| listener.local_addr().unwrap().port());
    let policy = RuntimePolicy {
        loopback_port: Some(ports[0]),
        ..RuntimePolicy::default()
    };
    let reach = format!(
        "socket.create_connection(('127.0.0.1', {}), 5).send(b'x')",
        ports[0]
    );
    assert_eq!(try_all(&[&reach], &policy).await, ["ok"]);
    let other = format!("socket.create_connection(('127.0.0.1', {}), 5)", ports[1]);
    // 0x20000000 is MSG_FASTOPEN: it connects without the call that Landlock filters.
    let fast = format!(
        "socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', {}))",
        ports[1]
    );
    let fast_message = format!(
        "socket.socket().sendmsg([b'x'], [], 0x20000000, ('127.0.0.1', {}))",
        ports[1]
    );
    let attempts = [
        other.as_str(),
        fast.as_str(),
        fast_message.as_str(),
        "socket.socket().bind(('127.0.0.1', 0))",
        "socket.socket().listen()",
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
        "socket.socket(socket.AF_UNIX)",
        "socket.socket().setsockopt(6, 30, 1)",
    ];
    all_refused(&attempts, &policy).await;
    let runtime = with_policy(&shell("echo hi"), ContainmentRequest::Required, &policy);
    assert_eq!(runtime.containment.loopback_port, ports[0]);
    assert_eq!(runtime.containment.reached, ContainmentLevel::Strict);
}

#[tokio::test]
async fn other_processes_cannot_be_touched() {
    let me = std::process::id();
    let attempts = [
        format!("os.kill({me}, signal.SIGTERM)"),
        format!("os.kill({me}, 0)"),
        format!("resource.prlimit({me}, resource.RLIMIT_NOFILE, (10, 10))"),
        format!("os.sched_setaffinity({me}, {{0}})"),
        format!("os.setpriority(os.PRIO_PROCESS, {me}, 19)"),
        "os.setsid()".to_owned(),
        "os.setpgid(0, 0)".to_owned(),
        "resource.setrlimit(resource.RLIMIT_CORE, (1, 1))".to_owned(),
    ];
    let attempts: Vec<&str> = attempts.iter().map(String::as_str).collect();
    // Raising a limit is a ValueError in Python: told apart below.
    all_refused(&attempts[..7], &RuntimePolicy::default()).await;
    let call = "libc = ctypes.CDLL(None, use_errno=True)\n    \
                if libc.syscall(NUMBER, 0, 0, 0, 0, 0) < 0: raise OSError(ctypes.get_errno(), '')";
    #[cfg(target_arch = "x86_64")]
    // ptrace, mount, unshare, keyctl, bpf, userfaultfd, io_uring_setup, process_vm_readv, clone3, x32 getpid
    let numbers = [101, 165, 272, 250, 321, 323, 425, 310, 435, 0x4000_0027];
    #[cfg(target_arch = "aarch64")]
    let numbers = [117, 40, 97, 219, 280, 282, 425, 270, 435];
    let calls: Vec<String> = numbers
        .iter()
        .map(|number: &i64| call.replace("NUMBER", &number.to_string()))
        .collect();
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    all_refused(&calls, &RuntimePolicy::default()).await;
}

#[tokio::test]
async fn what_a_program_needs_still_works() {
    let attempts = [
        "open('note', 'w').write('x'); os.rename('note', 'b'); os.unlink('b')",
        "import threading; t = threading.Thread(target=print, args=('',)); t.start(); t.join()",
        "import subprocess; subprocess.run(['/bin/sh', '-c', 'true'], check=True)",
        "import tempfile; tempfile.TemporaryFile().write(b'x')",
        "import multiprocessing, json, ssl, asyncio, sqlite3",
        "os.urandom(8)",
    ];
    let results = try_all(&attempts, &RuntimePolicy::default()).await;
    assert!(
        results.iter().filter(|line| *line == "ok").count() == attempts.len(),
        "{results:?}"
    );
}

#[tokio::test]
async fn memory_and_file_size_are_limited() {
    let policy = RuntimePolicy {
        max_memory_mib: 256,
        ..RuntimePolicy::default()
    };
    let hungry = python("try: x = bytearray(512 << 20)\nexcept MemoryError: print('refused')");
    let runtime = with_policy(&hungry, ContainmentRequest::Required, &policy);
    assert_eq!(text(&runtime, "x").await, "refused");
    let flood = shell("head -c 20000000 /dev/zero > big; wc -c < big");
    assert_eq!(text(&walled(&flood), "x").await, "16777216");
}

#[tokio::test]
async fn a_fork_bomb_ends_with_its_branch() {
    let dir = tempfile::tempdir().unwrap();
    let mark = format!("bomb{}", dir.path().display()).replace('/', "-");
    let spec = shell(&format!("b() {{ sleep 1000 & b {mark} & wait; }}; b"));
    let runtime = walled(&spec);
    let brief = BranchRequest {
        deadline: Duration::from_millis(300),
        ..request(0, "x")
    };
    assert_eq!(kind(run(&runtime, brief).await), BranchError::Timeout);
    eventually("the end of every descendant", || {
        !any_process_mentions(&mark)
    })
    .await;
}

fn any_process_mentions(mark: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|line| line.contains(mark))
    })
}

/// The kernel does not count tasks for uid 0, so this drops it first where the tests run as root.
#[tokio::test]
async fn tasks_are_limited_for_an_ordinary_user() {
    let scratch = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(scratch.path(), open).unwrap();
    let shim = scratch.path().join("shim");
    std::fs::copy(SHIM, &shim).unwrap();
    let settings = format!(
        r#"{{"required":true,"read":[],"scratch":"{}","memoryBytes":1073741824,"processes":5,"supervisorPid":{}}}"#,
        scratch.path().display(),
        std::process::id()
    );
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo all";
    let shim_args = [
        "__contain",
        &settings,
        "PATH=/usr/bin:/bin",
        "--",
        "/bin/sh",
        "-c",
        script,
    ];
    let mut command = if rustix::process::getuid().is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=48123", "--regid=48123", "--clear-groups"])
            .arg(&shim);
        command
    } else {
        Command::new(&shim)
    };
    let mut child = command
        .args(shim_args)
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let group = rustix::process::Pid::from_child(&child);
    let status = child.wait().unwrap();
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        !status.success() && complaint.to_lowercase().contains("fork"),
        "{status} {complaint}"
    );
}

#[tokio::test]
async fn nothing_is_inherited_but_three_descriptors() {
    let listing = python(
        "import os\nfor n in range(3, 64):\n    try: os.fstat(n)\n    except OSError: continue\n    print('open', n)\nprint('end')",
    );
    assert_eq!(text(&walled(&listing), "x").await, "end");
    // One that a shell leaves open without close-on-exec.
    let scratch = tempfile::tempdir().unwrap();
    let settings = format!(
        r#"{{"required":true,"read":[],"scratch":"{}","memoryBytes":1073741824,"processes":64,"supervisorPid":{}}}"#,
        scratch.path().display(),
        std::process::id()
    );
    let script = r#"exec 7< /etc/passwd; exec "$0" __contain "$1" -- /bin/sh -c 'cat <&7'"#;
    let output = Command::new("sh")
        .args(["-c", script, SHIM, &settings])
        .output()
        .unwrap();
    assert!(
        !output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
}

#[tokio::test]
async fn a_preload_in_the_task_runs_behind_the_walls_only() {
    let spec = process(
        ProcessProtocol::Text,
        &["sh", "-c", "echo $LD_PRELOAD"],
        &[("LD_PRELOAD", "/nonexistent.so")],
    );
    // The shim itself would complain on stderr and, with a real object, be taken over.
    assert_eq!(text(&walled(&spec), "x").await, "/nonexistent.so");
}

#[tokio::test]
async fn a_shim_that_cannot_confine_starts_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let mark = scratch.path().join("ran");
    for settings in ["", "{}", r#"{"required":true}"#] {
        let output = Command::new(SHIM)
            .args(["__contain", settings, "--", "/usr/bin/touch"])
            .arg(&mark)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(EXIT_NOT_CONFINED));
        assert!(!mark.exists());
    }
}

#[test]
fn a_shim_of_another_supervisor_starts_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let settings = format!(
        r#"{{"required":true,"read":[],"scratch":"{}","memoryBytes":1073741824,"processes":64,"supervisorPid":1}}"#,
        scratch.path().display()
    );
    let output = Command::new(SHIM)
        .args(["__contain", &settings, "--", "/bin/echo", "ran"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(EXIT_NOT_CONFINED));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        complaint.contains("the supervisor has ended"),
        "{complaint}"
    );
}

#[tokio::test]
async fn the_death_signal_cannot_be_taken_back() {
    let results = try_all(
        &[
            "assert ctypes.CDLL(None, use_errno=True).prctl(1, 9, 0, 0, 0) == 0",
            "if ctypes.CDLL(None, use_errno=True).prctl(1, 0, 0, 0, 0): raise OSError(ctypes.get_errno(), '')",
        ],
        &RuntimePolicy::default(),
    )
    .await;
    assert_eq!(results, ["ok", "Operation not permitted"]);
}

#[tokio::test]
async fn required_refuses_what_cannot_be_proven() {
    let mut options = options(ContainmentRequest::Required);
    for shim in ["/bin/true", "/bin/false", "/nonexistent"] {
        options.shim = Path::new(shim).to_owned();
        let refused = build(&shell("true"), &RuntimePolicy::default(), &options);
        assert!(
            matches!(refused, Err(RuntimeError::Containment { .. })),
            "{shim}"
        );
    }
}

#[tokio::test]
async fn readable_paths_are_readable_and_may_not_cover_private_ones() {
    let dir = tempfile::tempdir().unwrap();
    let public = dir.path().join("public");
    std::fs::create_dir(&public).unwrap();
    std::fs::write(public.join("a"), "shown").unwrap();
    let spec = shell(&format!("cat {}/a", public.display()));
    let mut options = options(ContainmentRequest::Required);
    options.read_paths = vec![public.clone()];
    options.private_paths = vec![dir.path().join("ledger")];
    let runtime = build(&spec, &RuntimePolicy::default(), &options).unwrap();
    assert_eq!(text(&runtime, "x").await, "shown");
    options.private_paths = vec![public.join("ledger")];
    let refused = build(&spec, &RuntimePolicy::default(), &options);
    assert!(matches!(refused, Err(RuntimeError::Invalid { .. })));
}

#[tokio::test]
async fn off_and_best_effort_are_recorded() {
    let off = with_policy(
        &shell("true"),
        ContainmentRequest::Off,
        &RuntimePolicy::default(),
    );
    assert_eq!(off.containment.reached, ContainmentLevel::None);
    assert_eq!(off.containment.landlock_abi, 0);
    let best = with_policy(
        &shell("echo hi"),
        ContainmentRequest::BestEffort,
        &RuntimePolicy::default(),
    );
    assert_eq!(best.containment.requested, ContainmentRequest::BestEffort);
    assert_eq!(best.containment.reached, ContainmentLevel::Strict);
    assert_eq!(text(&best, "x").await, "hi");
}
