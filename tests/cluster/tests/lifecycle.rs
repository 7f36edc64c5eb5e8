//! `cluster down` leaves nothing, whatever happened before. Ends the cluster that is up on this machine.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

fn cluster(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cluster"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cluster {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn output(line: &[&str]) -> String {
    let output = Command::new(line[0]).args(&line[1..]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whatever a cluster could leave behind on this machine.
fn traces() -> BTreeMap<&'static str, String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mounts: Vec<String> = read("/proc/self/mountinfo")
        .lines()
        .map(|line| {
            line.split_whitespace()
                .nth(4)
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    let sysctls = [
        "vm/overcommit_memory",
        "kernel/panic",
        "kernel/panic_on_oops",
        "net/ipv4/ip_forward",
    ];
    let programs = [
        "etcd",
        "kube-",
        "kubelet",
        "containerd",
        "testbox",
        "coredns",
    ];
    let processes = output(&["ps", "-eo", "args"]);
    let processes = processes.lines().filter(|line| {
        let program = Path::new(line.split(' ').next().unwrap())
            .file_name()
            .unwrap_or_default();
        // Other clusters may come and go on this machine; ours name their directory.
        programs
            .iter()
            .any(|name| program.to_string_lossy().starts_with(name))
            && line.contains("testcluster/cluster/")
    });
    BTreeMap::from([
        ("mounts", mounts.join("\n")),
        ("links", output(&["ip", "-o", "-br", "link"])),
        ("routes", output(&["ip", "route"])),
        ("network namespaces", output(&["ip", "netns"])),
        ("packet filter", output(&["nft", "list", "ruleset"])),
        ("loop devices", output(&["losetup", "-a"])),
        (
            "cgroups",
            output(&["find", "/sys/fs/cgroup", "-name", "axh*"]),
        ),
        (
            "system settings",
            sysctls
                .map(|name| read(&format!("/proc/sys/{name}")))
                .concat(),
        ),
        (
            "files",
            output(&[
                "ls",
                "-d",
                "/run/netns",
                "/run/containerd",
                "/var/lib/kubelet",
                "/var/lib/cni",
                "/var/log/pods",
                "/opt/containerd",
            ]),
        ),
        ("processes", processes.collect::<Vec<_>>().join("\n")),
    ])
}

#[test]
fn down_leaves_nothing_behind() {
    if std::env::var("AXIOM_HIVE_CLUSTER").as_deref() != Ok("full") {
        eprintln!("skipped: needs AXIOM_HIVE_CLUSTER=full");
        return;
    }
    cluster(&["down"]);
    let before = traces();

    let started = Instant::now();
    cluster(&["up"]);
    eprintln!(
        "full size, two nodes: up after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    let up = traces();
    assert_ne!(before, up);
    let status = cluster(&["status"]);
    assert!(
        !status.contains("STOPPED") && !status.contains("NOT ENFORCED"),
        "{status}"
    );
    // A second `up` changes nothing.
    cluster(&["up"]);
    assert_eq!(pids(&status), pids(&cluster(&["status"])));
    let started = Instant::now();
    cluster(&["down"]);
    eprintln!("down after {:.1} s", started.elapsed().as_secs_f64());
    assert_eq!(before, traces());

    // A crash of the process that holds everything together.
    cluster(&["up"]);
    let kubeconfig = cluster(&["kubeconfig"]);
    let directory = Path::new(kubeconfig.trim())
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned();
    let pid = std::fs::read_to_string(directory.join("supervisor.pid")).unwrap();
    assert!(
        Command::new("kill")
            .args(["-KILL", pid.trim()])
            .status()
            .unwrap()
            .success()
    );
    cluster(&["down"]);
    assert_eq!(before, traces());
    assert!(!directory.exists());
    // There is nothing left to do, and that is no error.
    cluster(&["down"]);

    let started = Instant::now();
    cluster(&["up", "--size", "api"]);
    eprintln!(
        "size api: up after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    cluster(&["down"]);
    assert_eq!(before, traces());
}

fn pids(status: &str) -> Vec<&str> {
    status
        .lines()
        .filter_map(|line| line.split("pid ").nth(1)?.split(',').next())
        .collect()
}
