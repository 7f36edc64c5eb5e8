//! Branches in flight: the runtime is built when the first one starts.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axiom_hive_core::constitution::{BROKER_PORT, Constitution, RuntimeKind};
use axiom_hive_core::record::{
    BranchError, ContainmentLevel, ContainmentRecord, EgressRecord, MAX_INTEGER, Usage,
};
use axiom_hive_core::supervisor::BranchResult;
use axiom_hive_core::task::RuntimeSpec;
use tokio::task::JoinSet;

use crate::egress::{Broker, MAX_REFUSALS, NotOpened, Rules};
use crate::runtime::pod::{Expected, PodError, ToAgent, accept};
use crate::runtime::{
    BranchFailure, BranchReply, BranchRequest, BuiltRuntime, CancelToken, RunError, RuntimeError,
    RuntimeOptions, build,
};

/// Detail of failed branches kept for the private payload, in bytes.
const MAX_DETAIL_BYTES: usize = 64 * 1024;

/// The branches of one attempt.
pub(super) struct Branches<'a> {
    spec: &'a RuntimeSpec,
    constitution: &'a Constitution,
    options: &'a RuntimeOptions,
    site: Site,
    built: Option<BuiltRuntime>,
    /// The way out of a process, where the constitution lists any.
    broker: Option<Arc<Broker>>,
    /// Why no runtime could be had; every branch then fails with it.
    unavailable: Option<String>,
    /// Containment was refused once: it is not tried again for the next branch.
    is_refused: bool,
    cancel: CancelToken,
    running: JoinSet<(u32, Duration, Result<BranchReply, RunError>)>,
    usage: Usage,
    detail: String,
}

/// Where the runtime is.
enum Site {
    /// On the user's machine. Our own calls to a service go where the user says.
    Machine,
    /// In a pod, with who runs a process for us in the neighbouring container. Our own calls to a
    /// service obey the constitution's list, as everybody's do.
    Pod(Option<Expected>),
}

/// The runtime may not start here.
pub(super) struct NotContained;

impl<'a> Branches<'a> {
    pub(super) fn new(
        spec: &'a RuntimeSpec,
        constitution: &'a Constitution,
        options: &'a RuntimeOptions,
    ) -> Self {
        Self {
            spec,
            constitution,
            options,
            site: Site::Machine,
            built: None,
            broker: None,
            unavailable: None,
            is_refused: false,
            cancel: CancelToken::new(),
            running: JoinSet::new(),
            usage: Usage::default(),
            detail: String::new(),
        }
    }

    /// In a pod: a process is run by the neighbouring container.
    pub(super) fn in_pod(&mut self, neighbour: Option<Expected>) {
        self.site = Site::Pod(neighbour);
    }

    /// No branch may start.
    pub(super) fn refuse(&mut self, why: &str) {
        self.note(why);
        tracing::error!(why, "the runtime is not started");
        self.is_refused = true;
    }

    /// Every branch fails, for want of a runtime.
    pub(super) fn give_up(&mut self, why: String) {
        self.unavailable = Some(why);
    }

    /// Starts one branch; its end comes from [`Branches::next`].
    pub(super) async fn start(
        &mut self,
        index: u32,
        seed: u64,
        prompt: Arc<str>,
    ) -> Result<(), NotContained> {
        if self.is_refused {
            return Err(NotContained);
        }
        if self.built.is_none() && self.unavailable.is_none() {
            self.build().await?;
        }
        let policy = &self.constitution.supervisor;
        let deadline = Duration::from_secs(policy.branch_timeout_seconds.into());
        let max_answer_bytes = policy.max_answer_bytes as usize;
        let request = BranchRequest {
            index,
            seed,
            prompt,
            deadline,
            max_answer_bytes,
        };
        let cancel = self.cancel.clone();
        match (&self.built, &self.unavailable) {
            (Some(built), _) => {
                let (runtime, broker) = (Arc::clone(&built.runtime), self.broker.clone());
                let is_process = self.spec.kind() == RuntimeKind::Process;
                self.running.spawn(async move {
                    let started = Instant::now();
                    let before = not_opened(broker.as_deref());
                    let mut result = tokio::select! {
                        biased;
                        () = refusals_spent(broker.as_deref()) => Err(too_many_refusals().into()),
                        result = runtime.run(request, cancel) => result,
                    };
                    if let (Err(RunError::Failed(failure)), false) = (&mut result, is_process) {
                        explain(failure, before, not_opened(broker.as_deref()));
                    }
                    (index, started.elapsed(), result)
                });
            }
            (None, why) => {
                let why = why.clone().unwrap_or_default();
                let failure = BranchFailure::new(BranchError::Unavailable, why);
                self.running
                    .spawn(async move { (index, Duration::ZERO, Err(failure.into())) });
            }
        }
        Ok(())
    }

    /// Finding the program and proving containment blocks for some milliseconds, before any branch.
    async fn build(&mut self) -> Result<(), NotContained> {
        let mut options = self.options.clone();
        match self.open_broker() {
            Ok(broker) => {
                options.broker_port = broker.as_ref().map(|broker| broker.address().port());
                self.broker = broker;
            }
            Err(error) => {
                self.unavailable = Some(format!("egress broker: {error}"));
                return Ok(());
            }
        }
        let policy = &self.constitution.runtime;
        let built = match (&self.site, self.spec.kind()) {
            (Site::Pod(None), RuntimeKind::Process) => {
                // Never beside the supervisor's own files.
                let must = "a process in a pod must have a container of its own";
                self.unavailable = Some(must.to_owned());
                return Ok(());
            }
            (Site::Pod(Some(expected)), RuntimeKind::Process) => {
                let build = ToAgent::Build {
                    spec: self.spec.clone(),
                    policy: policy.clone(),
                    containment: options.containment,
                    broker_port: options.broker_port,
                };
                accept(expected, &build).await
            }
            _ => build(self.spec, policy, &options).map_err(PodError::from),
        };
        match built {
            Ok(built) => {
                for wall in &built.missing_walls {
                    tracing::warn!(wall, "containment is not strict");
                }
                self.built = Some(built);
                Ok(())
            }
            Err(error @ PodError::Runtime(RuntimeError::Containment { .. })) => {
                self.refuse(&error.to_string());
                Err(NotContained)
            }
            Err(error) => {
                tracing::error!(%error, "no runtime");
                self.unavailable = Some(error.to_string());
                Ok(())
            }
        }
    }

    /// A broker of this attempt: for a process that may reach something, and for our own calls in a
    /// pod, also where nothing is listed. Who shares the port with nobody lets the kernel choose it.
    fn open_broker(&self) -> std::io::Result<Option<Arc<Broker>>> {
        let egress = &self.constitution.egress;
        let port = match (&self.site, self.spec.kind()) {
            (_, RuntimeKind::Process) if egress.allow.is_empty() => return Ok(None),
            (Site::Pod(_), RuntimeKind::Process) => BROKER_PORT,
            (Site::Machine, RuntimeKind::Process)
            | (Site::Pod(_), RuntimeKind::Http | RuntimeKind::OpenAi) => 0,
            (_, RuntimeKind::Echo) | (Site::Machine, RuntimeKind::Http | RuntimeKind::OpenAi) => {
                return Ok(None);
            }
        };
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        Broker::start(listener, Rules::new(egress)).map(|broker| Some(Arc::new(broker)))
    }

    /// The next branch that ends; `None` when none runs.
    pub(super) async fn next(&mut self) -> Option<(u32, BranchResult)> {
        loop {
            let (index, took, result) = match self.running.join_next().await? {
                Ok(ended) => ended,
                // A panic in a runtime's task is a bug of ours: it must not pass for a branch.
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => continue,
            };
            let ms = u64::try_from(took.as_millis()).unwrap_or(MAX_INTEGER);
            self.usage.branch_ms = add(self.usage.branch_ms, ms);
            match result {
                Ok(reply) => {
                    let used = reply.usage.unwrap_or_default();
                    self.usage.prompt_tokens = add(self.usage.prompt_tokens, used.prompt_tokens);
                    self.usage.completion_tokens =
                        add(self.usage.completion_tokens, used.completion_tokens);
                    return Some((index, BranchResult::Text(reply.text)));
                }
                Err(RunError::Failed(failure)) => {
                    self.note(&format!("branch {index}: {failure}"));
                    return Some((index, BranchResult::Failed(failure.kind)));
                }
                Err(RunError::Cancelled) => {}
            }
        }
    }

    fn note(&mut self, text: &str) {
        tracing::info!("{text}");
        if self.detail.len() + text.len() < MAX_DETAIL_BYTES {
            // Writing to a string cannot fail.
            let _ = writeln!(self.detail, "{text}");
        }
    }

    /// Ends every branch that still runs, and the runtime with them.
    pub(super) async fn stop(&mut self) {
        self.cancel.cancel();
        while self.next().await.is_some() {}
        if let Some(built) = &self.built {
            built.runtime.shutdown().await;
        }
    }

    pub(super) fn containment(&self) -> ContainmentRecord {
        let none = ContainmentRecord {
            requested: self.options.containment,
            reached: ContainmentLevel::None,
            landlock_abi: 0,
            loopback_port: 0,
        };
        self.built.as_ref().map_or(none, |built| built.containment)
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// What the process asked of the broker; `None` where there was none.
    pub(super) fn egress(&self) -> Option<EgressRecord> {
        self.broker.as_ref().map(|broker| broker.journal().record())
    }

    pub(super) fn detail(&self) -> Option<Vec<u8>> {
        let mut detail = self.detail.clone();
        for name in self
            .broker
            .iter()
            .flat_map(|broker| broker.journal().names())
        {
            // Writing to a string cannot fail.
            let _ = writeln!(detail, "egress asked for {name}");
        }
        (!detail.is_empty()).then(|| detail.into_bytes())
    }
}

/// Never ends where there is no broker.
async fn refusals_spent(broker: Option<&Broker>) {
    match broker {
        Some(broker) => broker.journal().refusals_spent().await,
        None => std::future::pending().await,
    }
}

fn not_opened(broker: Option<&Broker>) -> NotOpened {
    broker.map_or_else(NotOpened::default, |broker| broker.journal().not_opened())
}

/// A call that the broker did not let through did not fail in the service. All branches call the same
/// service, so it does not matter whose attempt was counted.
fn explain(failure: &mut BranchFailure, before: NotOpened, after: NotOpened) {
    if after.refused > before.refused
        && let Some(why) = after.last_refusal
    {
        *failure = BranchFailure::new(BranchError::Egress, format!("egress broker: {why}"));
    } else if after.unreachable > before.unreachable {
        let why = "egress broker: the host could not be reached";
        *failure = BranchFailure::new(BranchError::Unavailable, why);
    }
}

fn too_many_refusals() -> BranchFailure {
    let detail = format!("the egress broker refused {MAX_REFUSALS} requests");
    BranchFailure::new(BranchError::Egress, detail)
}

fn add(sum: u64, more: u64) -> u64 {
    sum.saturating_add(more).min(MAX_INTEGER)
}
