//! A supervisor that ends takes its runtime with it, however it ends.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Child;

use common::{Connected, finish};
use rustix::process::{Pid, Signal, kill_process};

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn a_killed_supervisor_leaves_no_runtime_behind() {
    for protocol in ["text", "ndjson"] {
        let mut connected = Connected::run(&["--protocol", protocol]);
        signal(&connected.supervisor, Signal::KILL);
        connected.wait_for_end();
        assert_eq!(finish(connected.supervisor).code, None);
    }
}

#[test]
fn exit_8_on_sigint_and_it_is_recorded() {
    let mut connected = Connected::run(&[]);
    signal(&connected.supervisor, Signal::INT);
    connected.wait_for_end();
    let hive = connected.hive;
    finish(connected.supervisor).expect(8);
    let list = hive.cli(&["ledger", "list", "ledger"]).expect(0);
    assert!(list.stdout.contains("cancelled"), "{}", list.stdout);
    hive.verify().expect(0);
}
