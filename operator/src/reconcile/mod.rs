//! Observe, plan, apply, status: what the operator does about tasks and constitutions.
//!
//! ```text
//! watch ─► reconcile (one task) ─► plan::decide ─► one step ─► again, until it waits
//!              │ reads: pods and policies of the namespace, the task's records in the ledger
//!              └ writes: service account, policies, pod, status; intent and ends in the ledger
//! ```
//!
//! Nothing here needs a leader for correctness: an object has one name, a record one slot.

mod anchor;
mod announce;
mod cancel;
mod constitution;
mod context;
mod dispatch;
mod error;
mod finish;
mod follow;
mod intend;
mod kept;
mod namespace;
mod records;
mod task;
mod write;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::core::error_boundary::InvalidObject;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Resource};
use tokio_util::sync::CancellationToken;

pub use context::{Context, MAX_NAMESPACES, Settings};
pub use error::ReconcileError;
pub use follow::follow;

use kept::Kept;

use crate::api::Constitution;
use crate::api::names::{ROLE_LABEL, RUNNER};

/// How many objects are worked on at the same time, in all namespaces together; at least one in each.
const CONCURRENCY: u16 = 16;
/// Tasks of one page of their list, of up to 192 KiB each: prompt, answer and receipt.
const PAGE: u32 = 50;
/// Changes that come close together are looked at once.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// The longest pause after an error.
const MAX_PAUSE_SECONDS: u64 = 30;
/// Upper bound of one reconcile: every await inside has its own, shorter one.
const RECONCILE_TIMEOUT: Duration = Duration::from_mins(2);

/// Runs both controllers, the watch for deleted tasks and the sweep, until `shutdown`.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    tokio::join!(
        constitutions(Arc::clone(&context), shutdown.clone()),
        tasks(Arc::clone(&context), shutdown.clone()),
        cancel::watch_deletions(Arc::clone(&context), shutdown.clone()),
        cancel::sweep(Arc::clone(&context), shutdown.clone()),
        anchor::keep(Arc::clone(&context), shutdown.clone()),
        context::watch_guard(Arc::clone(&context), shutdown),
    );
}

/// One controller for each place that is watched.
async fn tasks(context: Arc<Context>, shutdown: CancellationToken) {
    let apis = context.everywhere().into_iter();
    let (policies, pods) = (context.everywhere(), context.everywhere());
    let places = apis.zip(policies).zip(pods);
    let count = u16::try_from(places.len()).unwrap_or(u16::MAX);
    let concurrency = (CONCURRENCY / count).max(1);
    let all = places.map(|((tasks, policies), pods)| {
        let watched = Watched {
            tasks,
            policies,
            pods,
        };
        watched.control(Arc::clone(&context), concurrency, shutdown.clone())
    });
    join_all(all).await;
}

/// Tasks, and what concerns them.
struct Watched {
    tasks: Api<Kept>,
    policies: Api<PartialObjectMeta<NetworkPolicy>>,
    pods: Api<Pod>,
}

impl Watched {
    async fn control(self, context: Arc<Context>, concurrency: u16, shutdown: CancellationToken) {
        let triggers =
            futures_util::stream::unfold(context.look_again.subscribe(), |mut again| async {
                again.changed().await.ok()?;
                Some(((), again))
            });
        let runners = watcher::Config::default().labels(&format!("{ROLE_LABEL}={RUNNER}"));
        let controller = Controller::new(self.tasks, watcher::Config::default().page_size(PAGE));
        let known = controller.store();
        let controller = controller
            .owns(self.pods, runners)
            // Whatever opens or closes runner pods concerns every task of its namespace that has not ended.
            .watches(self.policies, watcher::Config::default(), move |policy| {
                let namespace = policy.metadata.namespace;
                let concerns =
                    |task: &Kept| task.meta().namespace == namespace && !task.has_ended();
                let tasks = known.state().into_iter().filter(|task| concerns(task));
                tasks
                    .map(|task| ObjectRef::from_obj(&*task))
                    .collect::<Vec<_>>()
            })
            .reconcile_all_on(triggers)
            .with_config(
                Config::default()
                    .concurrency(concurrency)
                    .debounce(DEBOUNCE),
            )
            .graceful_shutdown_on(shutdown.cancelled_owned());
        let run = controller.run(
            |task, context| {
                let read = task.read().map_err(Clone::clone).cloned();
                let work = guarded(read, Arc::clone(&context), task::reconcile);
                bounded("supervisedtask", context, work)
            },
            on_error,
            context,
        );
        run.for_each(|ended| async {
            if let Err(error) = ended {
                tracing::debug!(%error, "controller");
            }
        })
        .await;
    }
}

async fn constitutions(context: Arc<Context>, shutdown: CancellationToken) {
    let api = Api::<DeserializeGuard<Constitution>>::all(context.client.clone());
    let controller = Controller::new(api, watcher::Config::default())
        .with_config(Config::default().concurrency(1).debounce(DEBOUNCE))
        .graceful_shutdown_on(shutdown.cancelled_owned());
    let run = controller.run(
        |object, context| {
            let read = object.0.clone();
            let work = guarded(read, Arc::clone(&context), constitution::reconcile);
            bounded("constitution", context, work)
        },
        on_error,
        context,
    );
    run.for_each(|_| async {}).await;
}

/// An object that cannot be read (it is older than a rule, or newer than this build) is left alone, and
/// keeps no other from being looked at.
async fn guarded<K, F>(
    read: Result<K, InvalidObject>,
    context: Arc<Context>,
    reconcile: impl FnOnce(K, Arc<Context>) -> F,
) -> Result<Action, ReconcileError>
where
    F: Future<Output = Result<Action, ReconcileError>>,
{
    match read {
        Ok(object) => reconcile(object, context).await,
        Err(invalid) => {
            let metadata = invalid.metadata;
            tracing::error!(
                namespace = metadata.namespace,
                name = metadata.name,
                uid = metadata.uid,
                error = invalid.error,
                "the object cannot be read"
            );
            Ok(Action::await_change())
        }
    }
}

/// Within its time, and counted.
async fn bounded(
    controller: &'static str,
    context: Arc<Context>,
    work: impl Future<Output = Result<Action, ReconcileError>>,
) -> Result<Action, ReconcileError> {
    let began = Instant::now();
    context.metrics.look(controller);
    let timely = tokio::time::timeout(RECONCILE_TIMEOUT, work).await;
    let ended = timely.unwrap_or(Err(ReconcileError::Timeout(RECONCILE_TIMEOUT.as_secs())));
    context
        .metrics
        .looked(controller, ended.is_ok(), began.elapsed());
    ended
}

/// The same thing again, later each time.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the controller passes values"
)]
fn on_error<K: Resource<DynamicType = ()>>(
    object: Arc<K>,
    error: &ReconcileError,
    context: Arc<Context>,
) -> Action {
    let uid = object.meta().uid.clone().unwrap_or_default();
    let failures = context.failed(&uid);
    let pause = (1_u64 << failures.min(5)).min(MAX_PAUSE_SECONDS);
    tracing::warn!(
        kind = %K::kind(&()), namespace = object.meta().namespace, name = object.meta().name, uid, %error,
        "looked at in vain; again in {pause} s"
    );
    Action::requeue(Duration::from_secs(pause))
}
