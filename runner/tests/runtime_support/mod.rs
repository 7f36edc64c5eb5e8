//! What the tests of runtimes and containment share.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axiom_hive_core::constitution::RuntimePolicy;
use axiom_hive_core::record::{BranchError, ContainmentRequest};
use axiom_hive_core::task::{ProcessProtocol, RuntimeSpec};
use axiom_hive_runner::runtime::{
    BranchReply, BranchRequest, BuiltRuntime, CancelToken, RunError, RuntimeOptions, build,
};

/// Long enough for anything that is expected to end by itself on a loaded machine.
pub(crate) const AMPLE: Duration = Duration::from_mins(1);

pub(crate) fn process(
    protocol: ProcessProtocol,
    command: &[&str],
    env: &[(&str, &str)],
) -> RuntimeSpec {
    RuntimeSpec::Process {
        protocol,
        command: command.iter().map(|item| (*item).to_owned()).collect(),
        env: env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        image: None,
    }
}

pub(crate) fn options(containment: ContainmentRequest) -> RuntimeOptions {
    RuntimeOptions {
        containment,
        shim: PathBuf::from(env!("CARGO_BIN_EXE_hive_supervisor")),
        ..RuntimeOptions::default()
    }
}

pub(crate) fn with_policy(
    spec: &RuntimeSpec,
    level: ContainmentRequest,
    policy: &RuntimePolicy,
) -> BuiltRuntime {
    build(spec, policy, &options(level)).unwrap()
}

pub(crate) fn free(spec: &RuntimeSpec) -> BuiltRuntime {
    with_policy(spec, ContainmentRequest::Off, &RuntimePolicy::default())
}

pub(crate) fn walled(spec: &RuntimeSpec) -> BuiltRuntime {
    with_policy(
        spec,
        ContainmentRequest::Required,
        &RuntimePolicy::default(),
    )
}

pub(crate) fn shell(script: &str) -> RuntimeSpec {
    process(ProcessProtocol::Text, &["sh", "-c", script], &[])
}

pub(crate) fn request(index: u32, prompt: &str) -> BranchRequest {
    BranchRequest {
        index,
        seed: 1000 + u64::from(index),
        prompt: prompt.into(),
        deadline: AMPLE,
        max_answer_bytes: 32 * 1024,
    }
}

pub(crate) async fn run(
    runtime: &BuiltRuntime,
    request: BranchRequest,
) -> Result<BranchReply, RunError> {
    runtime.runtime.run(request, CancelToken::new()).await
}

pub(crate) async fn text(runtime: &BuiltRuntime, prompt: &str) -> String {
    run(runtime, request(0, prompt)).await.unwrap().text
}

pub(crate) fn kind(result: Result<BranchReply, RunError>) -> BranchError {
    match result {
        Err(RunError::Failed(failure)) => failure.kind,
        other => panic!("a failure was expected: {other:?}"),
    }
}

pub(crate) fn detail(result: Result<BranchReply, RunError>) -> String {
    match result {
        Err(RunError::Failed(failure)) => failure.detail,
        other => panic!("a failure was expected: {other:?}"),
    }
}

/// The state letter in `/proc/PID/stat`, or `None` when there is no such process.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// Waits, bounded, until `done`; gives way to other tasks meanwhile.
pub(crate) async fn eventually(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < AMPLE, "{what} did not happen");
        tokio::task::yield_now().await;
    }
}

/// The process ids a script wrote, one a line.
pub(crate) fn pids(file: &Path) -> Vec<u32> {
    std::fs::read_to_string(file)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect()
}
