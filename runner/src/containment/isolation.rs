//! The proof that a pod's network is closed, before anything untrusted runs.
//!
//! A network policy is a wish; whether it is in force, no API says. Enforcers program a new pod's
//! rules some time after its first packet, and until then *everything* may pass, or nothing may. So the
//! order of questions matters:
//!
//! 1. the ledger's port, which the policy opens, answers: rules are programmed, or none are;
//! 2. the ledger's canary port, which listens and which no policy opens, does not, three times:
//!    so they are;
//! 3. the ledger's port answers again: so it was not the network that was down.
//!
//! "Refused" and "timed out" are both silence: enforcers reject, or drop, or first one and then the
//! other. The target is never the API server or a node, which a policy cannot close for a pod of that
//! node.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// How long one attempt waits for an answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(500);
/// How often the canary must be silent, one after the other.
const SILENT_ATTEMPTS: u32 = 3;
/// The time between attempts.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long an answering canary may be the enforcer's delay.
pub const CANARY_PATIENCE: Duration = Duration::from_secs(30);

/// What to ask.
#[derive(Debug, Clone, Copy)]
pub struct Targets {
    /// Opened by the policy.
    pub ledger: SocketAddr,
    /// Listening, and opened by no policy.
    pub canary: SocketAddr,
}

/// Why the network is not proven to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotIsolated {
    /// Exit code 5: without a ledger there is no record, and no proof.
    #[error("the ledger's port must answer before the deadline")]
    LedgerSilent,
    /// Exit code 6: no policy is in force.
    #[error("the ledger's canary port must not answer: no network policy is in force for this pod")]
    CanaryAnswered,
}

/// Returns once the three answers came in order. `deadline` bounds the wait for the ledger,
/// `patience` the wait for the canary's silence.
pub async fn prove(
    targets: Targets,
    deadline: Instant,
    patience: Duration,
) -> Result<(), NotIsolated> {
    ledger_answers(targets.ledger, deadline).await?;
    let patience = deadline.min(Instant::now() + patience);
    loop {
        if canary_is_silent(targets.canary).await {
            let before = Instant::now();
            ledger_answers(targets.ledger, deadline).await?;
            // A ledger that had to be waited for says nothing about the moment before.
            if before.elapsed() < ATTEMPT_TIMEOUT {
                return Ok(());
            }
        } else if Instant::now() >= patience {
            return Err(NotIsolated::CanaryAnswered);
        }
    }
}

async fn ledger_answers(ledger: SocketAddr, deadline: Instant) -> Result<(), NotIsolated> {
    while !answers(ledger).await {
        if Instant::now() >= deadline {
            return Err(NotIsolated::LedgerSilent);
        }
        sleep(INTERVAL).await;
    }
    Ok(())
}

async fn canary_is_silent(canary: SocketAddr) -> bool {
    for _ in 0..SILENT_ATTEMPTS {
        if answers(canary).await {
            sleep(INTERVAL).await;
            return false;
        }
        sleep(INTERVAL).await;
    }
    true
}

async fn answers(target: SocketAddr) -> bool {
    matches!(
        timeout(ATTEMPT_TIMEOUT, TcpStream::connect(target)).await,
        Ok(Ok(_))
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::net::TcpListener;

    /// Long for a test that is to succeed, short enough for one that is to fail.
    const SHORT: Duration = Duration::from_millis(400);

    async fn open() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    async fn closed() -> SocketAddr {
        open().await.1
    }

    async fn proven(ledger: SocketAddr, canary: SocketAddr) -> Result<(), NotIsolated> {
        prove(Targets { ledger, canary }, Instant::now() + SHORT, SHORT).await
    }

    #[tokio::test]
    async fn an_open_ledger_and_a_silent_canary_are_proof() {
        let (_ledger, ledger) = open().await;
        assert_eq!(proven(ledger, closed().await).await, Ok(()));
    }

    #[tokio::test]
    async fn a_canary_that_answers_is_none() {
        let ((_ledger, ledger), (_canary, canary)) = (open().await, open().await);
        assert_eq!(
            proven(ledger, canary).await,
            Err(NotIsolated::CanaryAnswered)
        );
    }

    #[tokio::test]
    async fn a_network_that_is_down_is_none() {
        assert_eq!(
            proven(closed().await, closed().await).await,
            Err(NotIsolated::LedgerSilent)
        );
    }

    /// The enforcer is late: the canary falls silent while the proof runs.
    #[tokio::test]
    async fn a_late_enforcer_is_waited_for() {
        let ((_ledger, ledger), (canary_listener, canary)) = (open().await, open().await);
        let late = async {
            // Twice it answers, then it is closed.
            for _ in 0..2 {
                canary_listener.accept().await.unwrap();
            }
            drop(canary_listener);
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        let proof = prove(
            Targets { ledger, canary },
            deadline,
            Duration::from_secs(20),
        );
        let ((), proof) = tokio::join!(late, proof);
        assert_eq!(proof, Ok(()));
    }

    /// The ledger comes up late: nothing is concluded from silence before.
    #[tokio::test]
    async fn a_late_ledger_is_waited_for() {
        let ledger = closed().await;
        let late = async {
            let listener = TcpListener::bind(ledger).await.unwrap();
            loop {
                drop(listener.accept().await.unwrap());
            }
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        let targets = Targets {
            ledger,
            canary: closed().await,
        };
        let proof = prove(targets, deadline, SHORT);
        tokio::select! {
            proof = proof => assert_eq!(proof, Ok(())),
            () = late => unreachable!(),
        }
    }
}
