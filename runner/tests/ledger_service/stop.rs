//! A pod that is told to stop, and one that runs out of time.

use std::process::Child;
use std::time::{Duration, Instant, SystemTime};

use axiom_hive_core::record::{Body, Reason};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::pod::{Cluster, Ran, echo, http};
use crate::support::{PATIENCE, until};

/// What an append in flight gets, and some time to end.
const AT_MOST: Duration = Duration::from_secs(8);

/// A service whose branches are held until they are dropped.
struct Slow {
    listener: TcpListener,
}

impl Slow {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener }
    }

    /// A branch that runs.
    async fn branch(&self) -> TcpStream {
        let (mut branch, _) = self.listener.accept().await.unwrap();
        branch.read_u8().await.unwrap();
        branch
    }

    async fn all(&self) -> Vec<TcpStream> {
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(self.branch().await);
        }
        held
    }
}

fn tell(supervisor: &Child) {
    let pid = Pid::from_raw(i32::try_from(supervisor.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
}

/// A supervisor whose branches have ended while the ledger was away, and the connection on which it
/// tries to append.
async fn appending(cluster: &mut Cluster, slow: Slow) -> (Child, TcpStream) {
    let address = slow.listener.local_addr().unwrap();
    let supervisor = cluster.begin(http(address)).await.start();
    let held = slow.all().await;
    cluster.served.halt().await;
    let mute = TcpListener::bind(cluster.served.addresses.https)
        .await
        .unwrap();
    drop(held);
    drop(slow);
    let asked = tokio::time::timeout(PATIENCE, mute.accept()).await;
    let (connection, _) = asked.unwrap().unwrap();
    (supervisor, connection)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_starts_no_branch_and_records_nothing() {
    let slow = Slow::new().await;
    let cluster = Cluster::opening(slow.listener.local_addr().unwrap()).await;
    let pod = cluster
        .begin(http(slow.listener.local_addr().unwrap()))
        .await;
    let supervisor = pod.start();
    let _held = slow.all().await;
    tell(&supervisor);
    let before = Instant::now();
    Ran::of(supervisor).await.expect(143);
    // Nothing is in flight, so there is nothing to wait for.
    assert!(
        before.elapsed() < Duration::from_secs(4),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(cluster.records().await.len(), 1);
    assert!(!cluster.message().exists());
    let another = tokio::time::timeout(Duration::from_millis(50), slow.listener.accept()).await;
    assert!(another.is_err(), "a branch was started");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_before_it_began_it_ends_at_once() {
    let cluster = Cluster::new().await;
    let intent = cluster.intent(echo("hello"), "pod-a");
    let supervisor = cluster.pod(&intent).start();
    // It waits for its intent.
    until(|| async {
        let metrics = cluster.operator.get("/metrics").await.text().await.unwrap();
        metrics.contains(r#"requests_total{route="/v1/tasks/{uid}""#)
    })
    .await;
    tell(&supervisor);
    let before = Instant::now();
    Ran::of(supervisor).await.expect(143);
    assert!(
        before.elapsed() < Duration::from_secs(4),
        "{:?}",
        before.elapsed()
    );
    assert!(!cluster.message().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_in_flight_may_end() {
    let slow = Slow::new().await;
    let mut cluster = Cluster::opening(slow.listener.local_addr().unwrap()).await;
    let (supervisor, connection) = appending(&mut cluster, slow).await;
    tell(&supervisor);
    drop(connection);
    cluster.served.resume().await;
    Ran::of(supervisor).await.expect(143);
    let records = cluster.records().await;
    assert!(matches!(records[1].body, Body::Attempt(_)), "{records:?}");
    assert_eq!(cluster.pointer().exit_code, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_does_not_end_is_given_up() {
    let slow = Slow::new().await;
    let mut cluster = Cluster::opening(slow.listener.local_addr().unwrap()).await;
    let (supervisor, connection) = appending(&mut cluster, slow).await;
    tell(&supervisor);
    let before = Instant::now();
    Ran::of(supervisor).await.expect(143);
    let waited = before.elapsed();
    assert!(
        (Duration::from_secs(4)..AT_MOST).contains(&waited),
        "{waited:?}"
    );
    drop(connection);
    cluster.served.resume().await;
    assert_eq!(cluster.records().await.len(), 1);
    assert!(!cluster.message().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_waits_for_a_ledger_that_is_away() {
    let slow = Slow::new().await;
    let mut cluster = Cluster::opening(slow.listener.local_addr().unwrap()).await;
    let (supervisor, connection) = appending(&mut cluster, slow).await;
    drop(connection);
    cluster.served.resume().await;
    Ran::of(supervisor).await.expect(3);
    assert_eq!(cluster.records().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_stays_silent_is_waited_for_until_the_deadline() {
    let mut cluster = Cluster::new().await;
    let intent = cluster.intent(echo("hello"), "pod-a");
    cluster.served.halt().await;
    let mut pod = cluster.pod(&intent);
    pod.deadline_seconds = 12;
    let before = Instant::now();
    pod.run().await.expect(5);
    // 10 s before the pod is ended.
    let waited = before.elapsed();
    assert!(
        (Duration::from_secs(1)..AT_MOST).contains(&waited),
        "{waited:?}"
    );
    assert!(!cluster.message().exists());
}

/// The kubelet counts from the pod's start, not from the supervisor's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_counts_from_the_pods_start() {
    let slow = Slow::new().await;
    let cluster = Cluster::opening(slow.listener.local_addr().unwrap()).await;
    let mut pod = cluster
        .begin(http(slow.listener.local_addr().unwrap()))
        .await;
    pod.deadline_seconds = 600;
    // The images took nearly all of the time.
    let token = std::fs::File::open(cluster.served.dir.path().join("pod-token")).unwrap();
    token
        .set_modified(SystemTime::now() - Duration::from_secs(586))
        .unwrap();
    let before = Instant::now();
    let supervisor = pod.start();
    let _held = slow.all().await;
    Ran::of(supervisor).await.expect(3);
    assert!(before.elapsed() < PATIENCE, "{:?}", before.elapsed());
    let records = cluster.records().await;
    let reason = records[1].outcome().unwrap().decided.reason;
    assert_eq!(reason, Reason::DeadlineExceeded);
}
