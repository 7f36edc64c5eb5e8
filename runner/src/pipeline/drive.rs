//! Drives the supervisor's state machine.

use std::collections::VecDeque;

use axiom_hive_core::record::{BuildRef, Receipt};
use axiom_hive_core::supervisor::{
    Acknowledged, Command, Done, Entry, Event, ObservedParts, Supervisor,
};
use tokio::time::Instant;

use super::branches::Branches;
use super::store::Store;
use super::{PipelineError, now_unix_ms};
use crate::runtime::CancelToken;

/// A machine with everything around it.
pub(super) struct Drive<'a> {
    pub(super) store: Store<'a>,
    pub(super) branches: Branches<'a>,
    pub(super) machine: Supervisor<'a>,
    /// The build that decides.
    pub(super) build: &'a BuildRef,
    /// The user wants the end: it is recorded.
    pub(super) cancel: &'a CancelToken,
    /// The process must end: nothing more is recorded.
    pub(super) stop: &'a CancelToken,
    /// When time enters the decision.
    pub(super) deadline: Instant,
    pub(super) started_unix_ms: Option<u64>,
    /// The last append.
    pub(super) appended: Option<(u64, Receipt)>,
}

/// The end of an attempt, recorded.
#[derive(Debug)]
pub struct Ended {
    /// The outcome.
    pub done: Done,
    /// Index of its record.
    pub index: u64,
    /// Record, inclusion proof, signed checkpoint.
    pub receipt: Receipt,
}

impl Drive<'_> {
    /// To the recorded end.
    pub(super) async fn run(mut self, first: Vec<Command>) -> Result<Ended, PipelineError> {
        let mut commands = VecDeque::from(first);
        let mut is_stopped = false;
        loop {
            while let Some(command) = commands.pop_front() {
                match self.execute(command).await? {
                    Step::Continue(more) => commands.extend(more),
                    Step::Done(done) => return self.finish(*done),
                }
            }
            let event = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(PipelineError::Stopped),
                () = self.cancel.cancelled(), if !is_stopped => {
                    is_stopped = true;
                    Event::Cancel
                }
                () = tokio::time::sleep_until(self.deadline), if !is_stopped => {
                    is_stopped = true;
                    Event::Deadline
                }
                Some((index, result)) = self.branches.next() => {
                    Event::BranchFinished { index, result }
                }
            };
            commands.extend(self.machine.handle(event)?);
        }
    }

    async fn execute(&mut self, command: Command) -> Result<Step, PipelineError> {
        let event = match command {
            Command::Append(entry) => self.append(&entry).await?,
            Command::StartBranch {
                index,
                seed,
                prompt,
            } => {
                self.started_unix_ms.get_or_insert_with(now_unix_ms);
                let started = self.branches.start(index, seed, prompt);
                match unless(self.stop, started).await? {
                    Ok(()) => return Ok(Step::Continue(Vec::new())),
                    Err(_) => Event::ContainmentLost,
                }
            }
            Command::StopBranches => {
                unless(self.stop, self.branches.stop()).await?;
                return Ok(Step::Continue(Vec::new()));
            }
            Command::Observe => {
                unless(self.stop, self.branches.stop()).await?;
                Event::Observed(self.observed())
            }
            Command::Done(done) => return Ok(Step::Done(Box::new(done))),
        };
        Ok(Step::Continue(self.machine.handle(event)?))
    }

    /// Nothing else of this task could go on meanwhile.
    async fn append(&mut self, entry: &Entry) -> Result<Event, PipelineError> {
        if self.stop.is_cancelled() {
            return Err(PipelineError::Stopped);
        }
        let appended = self.store.append(entry).await?;
        let answer = match (appended.existing, appended.record.answer()) {
            (true, Some(commitment)) => self.store.payload(&commitment).await?,
            _ => None,
        };
        self.appended = Some((appended.index, appended.receipt));
        let record = appended.record;
        Ok(Event::Acknowledged(Acknowledged {
            record,
            existing: appended.existing,
            answer,
        }))
    }

    fn observed(&self) -> ObservedParts {
        let ended_unix_ms = now_unix_ms();
        ObservedParts {
            build: self.build.clone(),
            started_unix_ms: self.started_unix_ms.unwrap_or(ended_unix_ms),
            ended_unix_ms,
            containment: self.branches.containment(),
            usage: self.started_unix_ms.map(|_| self.branches.usage()),
            egress: self.branches.egress(),
            detail: self.branches.detail(),
        }
    }

    fn finish(self, done: Done) -> Result<Ended, PipelineError> {
        let (index, receipt) = self.appended.ok_or(PipelineError::NothingAppended)?;
        Ok(Ended {
            done,
            index,
            receipt,
        })
    }
}

/// A process that must end waits for nothing but an append in flight.
async fn unless<T>(stop: &CancelToken, work: impl Future<Output = T>) -> Result<T, PipelineError> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(PipelineError::Stopped),
        done = work => Ok(done),
    }
}

enum Step {
    Continue(Vec<Command>),
    Done(Box<Done>),
}
