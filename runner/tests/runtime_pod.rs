//! The agent as a process of its own, behind a real socket, as in a pod.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axiom_hive_core::constitution::RuntimePolicy;
use axiom_hive_core::record::{BranchError, ContainmentLevel, ContainmentRequest};
use axiom_hive_core::task::{ProcessProtocol, RuntimeSpec};
use axiom_hive_runner::runtime::pod::{Expected, PodError, ToAgent, accept};
use axiom_hive_runner::runtime::{BranchReply, BranchRequest, BuiltRuntime, CancelToken, RunError};
use tempfile::TempDir;

/// The agent, killed when the test ends.
struct Neighbour(Child);

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn neighbour(dir: &Path) -> Neighbour {
    let scratch = dir.join("scratch");
    std::fs::create_dir_all(&scratch).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_hive_supervisor"))
        .arg("runtime")
        .arg("--socket")
        .arg(dir.join("socket"))
        .arg("--scratch")
        .arg(scratch)
        .arg("--private")
        .arg(dir)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    Neighbour(child)
}

fn expected(dir: &Path) -> Expected {
    Expected {
        socket: dir.join("socket"),
        uid: rustix::process::getuid().as_raw(),
        timeout: Duration::from_secs(20),
    }
}

fn shell(script: &str) -> ToAgent {
    ToAgent::Build {
        spec: RuntimeSpec::Process {
            protocol: ProcessProtocol::Text,
            command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
            image: None,
            env: [("GREETING".to_owned(), "$(HOME) $HOME".to_owned())].into(),
        },
        policy: RuntimePolicy::default(),
        containment: ContainmentRequest::Required,
        broker_port: None,
    }
}

fn request(index: u32, prompt: &str) -> BranchRequest {
    BranchRequest {
        index,
        seed: 7 + u64::from(index),
        prompt: prompt.into(),
        deadline: Duration::from_secs(20),
        max_answer_bytes: 1024,
    }
}

async fn pod(script: &str) -> (TempDir, Neighbour, BuiltRuntime) {
    let dir = TempDir::new().unwrap();
    let agent = neighbour(dir.path());
    let built = accept(&expected(dir.path()), &shell(script)).await.unwrap();
    (dir, agent, built)
}

async fn run(built: &BuiltRuntime, request: BranchRequest) -> Result<BranchReply, RunError> {
    built.runtime.run(request, CancelToken::new()).await
}

fn kind(result: Result<BranchReply, RunError>) -> BranchError {
    match result {
        Err(RunError::Failed(failure)) => failure.kind,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn branches_run_next_door_behind_every_wall() {
    let (dir, _agent, built) =
        pod("read line; echo \"$line $AXIOM_HIVE_SEED\"; ls / >/dev/null; cat /proc/1/environ 2>/dev/null; exit 0").await;
    assert_eq!(
        built.containment.reached,
        ContainmentLevel::Strict,
        "{:?}",
        built.missing_walls
    );
    assert!(
        !dir.path().join("socket").exists(),
        "the socket is gone once it is used"
    );
    let built = Arc::new(built);
    let runs = (0..4).map(|index| {
        let built = Arc::clone(&built);
        tokio::spawn(async move { run(&built, request(index, "hello")).await })
    });
    for (index, ran) in runs.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(
            ran.await.unwrap().unwrap().text.trim(),
            format!("hello {}", 7 + index)
        );
    }
}

#[tokio::test]
async fn every_failure_keeps_its_word() {
    let (dir, _agent, built) = pod("read line; eval \"$line\"").await;
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let read = request(9, &format!("cat {}", secret.display()));
    assert_eq!(kind(run(&built, read).await), BranchError::ExitStatus);
    assert_eq!(
        kind(run(&built, request(0, "exit 3")).await),
        BranchError::ExitStatus
    );
    assert_eq!(
        kind(run(&built, request(1, "exit 0")).await),
        BranchError::Empty
    );
    assert_eq!(
        kind(run(&built, request(2, "head -c 5000 /dev/zero")).await),
        BranchError::TooLong
    );
    let mut slow = request(3, "while :; do sleep 1; done");
    slow.deadline = Duration::from_millis(200);
    assert_eq!(kind(run(&built, slow).await), BranchError::Timeout);
    let text = run(&built, request(4, "echo \"$GREETING\""))
        .await
        .unwrap()
        .text;
    assert_eq!(
        text.trim(),
        "$(HOME) $HOME",
        "nothing is expanded on the way"
    );
}

#[tokio::test]
async fn a_branch_that_is_cancelled_leaves_nothing_behind() {
    let (dir, _agent, built) = pod("read line; eval \"$line\"").await;
    let cancel = CancelToken::new();
    let running = built
        .runtime
        .run(request(0, "while :; do sleep 1; done"), cancel.clone());
    cancel.cancel();
    assert_eq!(running.await, Err(RunError::Cancelled));
    // The next branch runs, and the scratch directory of the first is empty again in the end.
    assert!(run(&built, request(1, "echo x")).await.is_ok());
    let scratch = dir.path().join("scratch");
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while std::fs::read_dir(&scratch).unwrap().next().is_some() {
        assert!(
            std::time::Instant::now() < deadline,
            "a working directory is left"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_lost_agent_is_a_lost_branch() {
    let (_dir, mut agent, built) = pod("while :; do sleep 1; done").await;
    let waiting = run(&built, request(0, "x"));
    agent.0.kill().unwrap();
    assert_eq!(kind(waiting.await), BranchError::Lost);
    assert_eq!(kind(run(&built, request(1, "x")).await), BranchError::Lost);
}

#[tokio::test]
async fn what_cannot_run_is_said_before_any_branch() {
    let dir = TempDir::new().unwrap();
    let _agent = neighbour(dir.path());
    let ToAgent::Build {
        policy,
        containment,
        broker_port,
        ..
    } = shell("true")
    else {
        unreachable!()
    };
    let build = ToAgent::Build {
        spec: RuntimeSpec::Process {
            protocol: ProcessProtocol::Text,
            command: vec!["/no/such/program".to_owned()],
            image: None,
            env: std::collections::BTreeMap::new(),
        },
        policy,
        containment,
        broker_port,
    };
    match accept(&expected(dir.path()), &build).await.map(|_| ()) {
        Err(PodError::NotBuilt(why)) => assert!(why.contains("/no/such/program"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_the_runtimes_user_gets_in() {
    let dir = TempDir::new().unwrap();
    let _agent = neighbour(dir.path());
    let mut expected = expected(dir.path());
    expected.uid += 1;
    expected.timeout = Duration::from_millis(300);
    match accept(&expected, &shell("true")).await.map(|_| ()) {
        Err(PodError::NobodyCame(_) | PodError::Strangers(_)) => {}
        other => panic!("{other:?}"),
    }
}
