//! What every look shares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use axiom_hive_client::ledger::LedgerClient;
use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::BuildRef;
use axiom_hive_core::supervisor::Prepared;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client, Resource};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::plan::pod::RunnerSettings;
use crate::plan::resolve::Constitutions;
use crate::telemetry::metrics::Metrics;

/// Who an event is from.
const REPORTER: &str = "axiom-hive-operator";
/// How long the ledger may take to answer one question.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the guard is looked for.
const GUARD_INTERVAL: Duration = Duration::from_secs(30);
/// Compiled constitutions that are kept at hand.
const MAX_PREPARED: usize = 64;
/// Upper bound of every map that is keyed by tasks; beyond it the map begins anew, which costs a question.
const MAX_REMEMBERED: usize = 20_000;

/// Upper bound of the namespaces that an operator is held to: each is watched by itself.
pub const MAX_NAMESPACES: usize = 100;

/// What the operator's own configuration says.
pub struct Settings {
    /// The release's namespace.
    pub namespace: String,
    /// The namespaces whose tasks are run, at most [`MAX_NAMESPACES`]; empty: all of them.
    pub namespaces: Vec<String>,
    /// Of runner pods.
    pub runner: RunnerSettings,
    /// The guard: the names of the `ValidatingAdmissionPolicyBinding`s without which no pod is started.
    pub guard: Vec<String>,
    /// The key from which the salts of intents are derived.
    pub salt_key: [u8; 32],
}

/// What every look shares.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The ledger.
    pub ledger: LedgerClient,
    /// Configuration.
    pub settings: Settings,
    /// What is known of every constitution; the webhook reads it too.
    pub constitutions: Arc<RwLock<Constitutions>>,
    /// This build, for records.
    pub build: BuildRef,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Tasks are looked at again: a constitution came into force, or the guard changed.
    pub look_again: watch::Sender<()>,
    pub(super) recorder: Recorder,
    /// Held by whoever writes what a namespace needs.
    pub(super) preparing: tokio::sync::Mutex<()>,
    guard_is_there: AtomicBool,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    prepared: BTreeMap<Digest, Arc<Prepared>>,
    /// Task UID to the UID of the pod whose intent was acknowledged.
    intended: BTreeMap<String, String>,
    failures: BTreeMap<String, u32>,
    namespaces: BTreeSet<String>,
}

impl Context {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(
        client: Client,
        ledger: LedgerClient,
        settings: Settings,
        constitutions: Arc<RwLock<Constitutions>>,
        build: BuildRef,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            recorder: Recorder::new(client.clone(), Reporter::from(REPORTER)),
            client,
            ledger,
            guard_is_there: AtomicBool::new(settings.guard.is_empty()),
            settings,
            constitutions,
            build,
            metrics,
            look_again: watch::Sender::new(()),
            preparing: tokio::sync::Mutex::default(),
            memory: Mutex::default(),
        }
    }

    /// Until when the ledger must answer.
    #[must_use]
    pub fn ledger_deadline(&self) -> Instant {
        Instant::now() + LEDGER_TIMEOUT
    }

    /// Whether the guard policies are in force.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.guard_is_there.load(Ordering::Relaxed)
    }

    /// Where objects of a kind are looked for: the listed namespaces, or everywhere at once.
    pub(super) fn everywhere<K>(&self) -> Vec<Api<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        let client = || self.client.clone();
        match self.settings.namespaces.as_slice() {
            [] => vec![Api::all(client())],
            listed => {
                let apis = listed.iter().map(|name| Api::namespaced(client(), name));
                apis.collect()
            }
        }
    }

    pub(super) fn prepared(&self, digest: &Digest) -> Option<Arc<Prepared>> {
        self.with(|memory| memory.prepared.get(digest).cloned())
    }

    pub(super) fn remember_prepared(&self, prepared: Arc<Prepared>) {
        self.with(|memory| {
            if memory.prepared.len() >= MAX_PREPARED {
                memory.prepared.clear();
            }
            memory
                .prepared
                .insert(prepared.reference().digest, prepared);
        });
    }

    pub(super) fn intended(&self, task_uid: &str) -> Option<String> {
        self.with(|memory| memory.intended.get(task_uid).cloned())
    }

    pub(super) fn remember_intended(&self, task_uid: &str, pod_uid: &str) {
        self.with(|memory| insert(&mut memory.intended, task_uid, pod_uid.to_owned()));
    }

    /// Counts a failure, and says how many there were in a row.
    pub(super) fn failed(&self, uid: &str) -> u32 {
        self.with(|memory| {
            let failures = memory.failures.get(uid).map_or(0, |count| count + 1);
            insert(&mut memory.failures, uid, failures);
            failures
        })
    }

    pub(super) fn succeeded(&self, uid: &str) {
        self.with(|memory| memory.failures.remove(uid));
    }

    pub(super) fn has_account(&self, namespace: &str) -> bool {
        self.with(|memory| memory.namespaces.contains(namespace))
    }

    pub(super) fn remember_account(&self, namespace: &str, is_there: bool) {
        self.with(|memory| {
            if is_there {
                memory.namespaces.insert(namespace.to_owned());
            } else {
                memory.namespaces.remove(namespace);
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Memory) -> T) -> T {
        work(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn insert<V>(map: &mut BTreeMap<String, V>, key: &str, value: V) {
    if map.len() >= MAX_REMEMBERED {
        map.clear();
    }
    map.insert(key.to_owned(), value);
}

/// Looks for the guard until `shutdown`.
pub(super) async fn watch_guard(context: Arc<Context>, shutdown: CancellationToken) {
    if context.settings.guard.is_empty() {
        return;
    }
    let api: Api<ValidatingAdmissionPolicyBinding> = Api::all(context.client.clone());
    loop {
        match missing_guard(&api, &context.settings.guard).await {
            Ok(missing) => {
                let is_there = missing.is_none();
                if context.guard_is_there.swap(is_there, Ordering::Relaxed) != is_there {
                    tracing::info!(missing, "guard policies");
                    context.look_again.send_replace(());
                }
            }
            Err(error) => tracing::warn!(%error, "the guard could not be looked for"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(GUARD_INTERVAL) => {}
        }
    }
}

/// The first binding that is not there.
async fn missing_guard<'n>(
    api: &Api<ValidatingAdmissionPolicyBinding>,
    names: &'n [String],
) -> Result<Option<&'n str>, kube::Error> {
    for name in names {
        if api.get_opt(name).await?.is_none() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}
