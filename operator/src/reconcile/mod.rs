//! Observe, plan, apply, status: what the operator does about tasks and constitutions.
//!
//! ```text
//! watch ─► reconcile (one task) ─► plan::decide ─► one step ─► again, until it waits
//!              │ reads: pods and policies of the namespace, the task's records in the ledger
//!              └ writes: service account, policies, pod, status; intent and ends in the ledger
//! ```
//!
//! Nothing here needs a leader for correctness: an object has one name, a record one slot.

mod cancel;
mod constitution;
mod context;
mod dispatch;
mod error;
mod finish;
mod follow;
mod namespace;
mod records;
mod task;
mod write;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::watcher;
use kube::{Api, Resource};
use tokio_util::sync::CancellationToken;

pub use context::{Context, Settings};
pub use error::ReconcileError;
pub use follow::follow;

use crate::api::names::{ROLE_LABEL, RUNNER};
use crate::api::{Constitution, SupervisedTask};

/// How many objects are worked on at the same time.
const CONCURRENCY: u16 = 16;
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
        context::watch_guard(Arc::clone(&context), shutdown),
    );
}

async fn tasks(context: Arc<Context>, shutdown: CancellationToken) {
    let client = context.client.clone();
    let runners = watcher::Config::default().labels(&format!("{ROLE_LABEL}={RUNNER}"));
    let again = Arc::clone(&context.look_again);
    let triggers = futures_util::stream::unfold(again, |again| async move {
        again.notified().await;
        Some(((), again))
    });
    let controller = Controller::new(
        Api::<SupervisedTask>::all(client.clone()),
        watcher::Config::default(),
    )
    .owns(Api::<Pod>::all(client), runners)
    .reconcile_all_on(triggers)
    .with_config(
        Config::default()
            .concurrency(CONCURRENCY)
            .debounce(DEBOUNCE),
    )
    .graceful_shutdown_on(shutdown.cancelled_owned());
    let run = controller.run(
        |task, context| bounded(task::reconcile(task, context)),
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

async fn constitutions(context: Arc<Context>, shutdown: CancellationToken) {
    let api = Api::<Constitution>::all(context.client.clone());
    let controller = Controller::new(api, watcher::Config::default())
        .with_config(Config::default().concurrency(1).debounce(DEBOUNCE))
        .graceful_shutdown_on(shutdown.cancelled_owned());
    let run = controller.run(
        |object, context| bounded(constitution::reconcile(object, context)),
        on_error,
        context,
    );
    run.for_each(|_| async {}).await;
}

fn bounded(
    work: impl Future<Output = Result<Action, ReconcileError>>,
) -> impl Future<Output = Result<Action, ReconcileError>> {
    tokio::time::timeout(RECONCILE_TIMEOUT, work)
        .map(|ended| ended.unwrap_or(Err(ReconcileError::Timeout(RECONCILE_TIMEOUT.as_secs()))))
}

/// The same thing again, later each time.
#[expect(clippy::needless_pass_by_value, reason = "the controller calls it so")]
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
