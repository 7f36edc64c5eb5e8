//! What the operator counts, as `OpenMetrics` text. Labels come from closed sets: no name of a task, no
//! text of a runtime. What happened inside a runner pod is counted from its record.
//!
//! What controllers count anywhere has the names that controller-runtime gave it.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axiom_hive_core::record::{BranchResultKind, Record};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::plan::status::outcome_of;

/// The content type of `OpenMetrics` 1.0.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every metric, with its registry.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_errors: Family<ControllerLabels, Counter>,
    reconcile_seconds: Family<ControllerLabels, Histogram>,
    workers: Family<ControllerLabels, Gauge>,
    tasks: Family<TaskLabels, Counter>,
    task_seconds: Histogram,
    attempts: Family<AttemptLabels, Counter>,
    branches: Family<BranchLabels, Counter>,
    branches_saved: Counter,
    removed_spans: Counter,
    removed_words: Counter,
    removed_bytes: Counter,
    /// Whether this replica reconciles.
    pub leading: Gauge,
    head_entries: Gauge<u64, AtomicU64>,
    head_refused: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    controller: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabels {
    controller: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabels {
    outcome: String,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    next: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BranchLabels {
    result: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        // 1 ms to 33 s; 0.5 s to 4.5 h.
        let look = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let task = Histogram::new(exponential_buckets(0.5, 2.0, 16));
        let mut metrics = Self {
            registry: Registry::default(),
            reconciles: Family::default(),
            reconcile_errors: Family::default(),
            reconcile_seconds: Family::new_with_constructor(look),
            workers: Family::default(),
            tasks: Family::default(),
            task_seconds: task,
            attempts: Family::default(),
            branches: Family::default(),
            branches_saved: Counter::default(),
            removed_spans: Counter::default(),
            removed_words: Counter::default(),
            removed_bytes: Counter::default(),
            leading: Gauge::default(),
            head_entries: Gauge::default(),
            head_refused: Counter::default(),
        };
        metrics.register_controller();
        metrics.register_own();
        // A counter that is there from the beginning: its first increase is seen.
        for controller in ["supervisedtask", "constitution"] {
            drop(
                metrics
                    .reconcile_errors
                    .get_or_create(&ControllerLabels { controller }),
            );
        }
        for next in ["retry", "again"] {
            drop(metrics.attempts.get_or_create(&AttemptLabels { next }));
        }
        metrics
    }
}

impl Metrics {
    fn register_controller(&mut self) {
        let registry = self.registry.sub_registry_with_prefix("controller_runtime");
        let (name, help) = ("reconcile", "Looks at objects, by how they ended");
        registry.register(name, help, self.reconciles.clone());
        let (name, help) = ("reconcile_errors", "Looks at objects that failed");
        registry.register(name, help, self.reconcile_errors.clone());
        let (name, help) = ("reconcile_time", "How long one look took");
        registry.register_with_unit(name, help, Unit::Seconds, self.reconcile_seconds.clone());
        let (name, help) = ("active_workers", "Looks that go on now");
        registry.register(name, help, self.workers.clone());
    }

    fn register_own(&mut self) {
        let registry = self.registry.sub_registry_with_prefix("axiom_hive");
        let (name, help) = ("tasks_ended", "Tasks, by how and why they ended");
        registry.register(name, help, self.tasks.clone());
        let (name, help) = ("task", "From applied to ended");
        registry.register_with_unit(name, help, Unit::Seconds, self.task_seconds.clone());
        let (name, help) = (
            "attempts_ended",
            "Attempts that did not end their task, by what follows",
        );
        registry.register(name, help, self.attempts.clone());
        let (name, help) = ("branches_run", "Branches that counted, by what they gave");
        registry.register(name, help, self.branches.clone());
        let (name, help) = ("branches_saved", "Branches asked for that were not needed");
        registry.register(name, help, self.branches_saved.clone());
        for (name, help, counter) in [
            (
                "removed_spans",
                "Places taken out of answers",
                &self.removed_spans,
            ),
            (
                "removed_words",
                "Words in the places taken out of answers",
                &self.removed_words,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        let (name, help) = ("removed", "Bytes in the places taken out of answers");
        registry.register_with_unit(name, help, Unit::Bytes, self.removed_bytes.clone());
        let (name, help) = ("leading", "Whether this replica reconciles");
        registry.register(name, help, self.leading.clone());
        let (name, help) = (
            "ledger_head_entries",
            "Records of the ledger at the head that was anchored",
        );
        registry.register(name, help, self.head_entries.clone());
        let (name, help) = (
            "ledger_head_refused",
            "Heads that do not continue the anchored one",
        );
        registry.register(name, help, self.head_refused.clone());
    }

    /// As `OpenMetrics` text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// A look begins.
    pub(crate) fn look(&self, controller: &'static str) {
        self.workers
            .get_or_create(&ControllerLabels { controller })
            .inc();
    }

    /// A look has ended.
    pub(crate) fn looked(&self, controller: &'static str, is_ok: bool, took: Duration) {
        let labels = ControllerLabels { controller };
        self.workers.get_or_create(&labels).dec();
        self.reconcile_seconds
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
        if !is_ok {
            self.reconcile_errors.get_or_create(&labels).inc();
        }
        let result = if is_ok { "success" } else { "error" };
        self.reconciles
            .get_or_create(&ReconcileLabels { controller, result })
            .inc();
    }

    /// An attempt ended, and another one follows.
    pub(crate) fn advanced(&self, is_retry: bool) {
        let next = if is_retry { "retry" } else { "again" };
        self.attempts.get_or_create(&AttemptLabels { next }).inc();
    }

    /// A task ended with this record, so long after it was applied.
    pub(crate) fn ended(&self, record: &Record, after: Duration) {
        let (Some(outcome), Some(kind)) = (record.outcome(), outcome_of(record)) else {
            return;
        };
        let decided = &outcome.decided;
        let labels = TaskLabels {
            outcome: format!("{kind:?}"),
            reason: format!("{:?}", decided.reason),
        };
        self.tasks.get_or_create(&labels).inc();
        self.task_seconds.observe(after.as_secs_f64());
        for branch in &decided.branches {
            let result = match branch.result {
                BranchResultKind::Answer => "answer",
                BranchResultKind::Abstain => "abstain",
                BranchResultKind::Failed => "failed",
                BranchResultKind::Blocked => "blocked",
            };
            self.branches.get_or_create(&BranchLabels { result }).inc();
        }
        if let Some(vote) = &decided.vote {
            self.branches_saved
                .inc_by(vote.asked.saturating_sub(vote.committed).into());
        }
        if let Some(answer) = &decided.answer {
            self.removed_spans.inc_by(answer.removed.spans);
            self.removed_words.inc_by(answer.removed.words);
            self.removed_bytes.inc_by(answer.removed.bytes);
        }
    }

    /// The head of the ledger that is anchored now.
    pub(crate) fn anchored(&self, entries: u64) {
        self.head_entries.set(entries);
    }

    /// The ledger showed a head that does not continue the anchored one.
    pub(crate) fn refused(&self) {
        self.head_refused.inc();
    }
}
