//! What the service counts, as `OpenMetrics` text.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axiom_hive_core::record::{Body, Record};
use axiom_hive_core::tlog::Witnessed;
use axiom_hive_core::wire::ErrorCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The content type of `OpenMetrics` 1.0.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every metric, with its registry.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram>,
    appends: Family<AppendLabels, Counter>,
    refusals: Family<RefusalLabels, Counter>,
    records: Gauge<u64, AtomicU64>,
    is_writable: Gauge<u64, AtomicU64>,
    body_bytes: Gauge<u64, AtomicU64>,
    witness_requests: Family<WitnessLabels, Counter>,
    witnessed_records: Gauge<u64, AtomicU64>,
    witnessed_seconds: Gauge<u64, AtomicU64>,
    pub(super) connections: Gauge,
    pub(super) certificate_reloads: Family<ReloadLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AppendLabels {
    kind: &'static str,
    /// Whether the slot was filled before.
    existing: Truth,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    code: Code,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WitnessLabels {
    /// As the policy calls it.
    witness: String,
    /// `cosigned`, `unreachable`, `refused`, `malformed`, `behind`.
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReloadLabels {
    pub(super) result: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Truth(bool);

impl EncodeLabelValue for Truth {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&if self.0 { "true" } else { "false" }, encoder)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Code(ErrorCode);

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = serde_json::to_value(self.0).unwrap_or_default();
        EncodeLabelValue::encode(&name.as_str().unwrap_or_default(), encoder)
    }
}

impl Metrics {
    pub(super) fn new() -> Self {
        // 0.5 ms to 16 s.
        let buckets = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let mut metrics = Self {
            registry: Registry::with_prefix("axiom_hive_ledger"),
            requests: Family::default(),
            seconds: Family::new_with_constructor(buckets),
            appends: Family::default(),
            refusals: Family::default(),
            records: Gauge::default(),
            is_writable: Gauge::default(),
            body_bytes: Gauge::default(),
            witness_requests: Family::default(),
            witnessed_records: Gauge::default(),
            witnessed_seconds: Gauge::default(),
            connections: Gauge::default(),
            certificate_reloads: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "requests",
            "Requests by route and status",
            metrics.requests.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "From the head of a request to that of its reply",
            metrics.seconds.clone(),
        );
        registry.register(
            "appends",
            "Records acknowledged, by kind",
            metrics.appends.clone(),
        );
        registry.register(
            "refusals",
            "Requests refused, by code",
            metrics.refusals.clone(),
        );
        registry.register("records", "Records in the ledger", metrics.records.clone());
        registry.register(
            "writable",
            "1 when it takes appends",
            metrics.is_writable.clone(),
        );
        registry.register(
            "body_in_flight_bytes",
            "Bodies being received or appended, in units of 1 KiB",
            metrics.body_bytes.clone(),
        );
        registry.register(
            "connections",
            "Open connections",
            metrics.connections.clone(),
        );
        registry.register(
            "certificate_reloads",
            "Times that the certificate files changed",
            metrics.certificate_reloads.clone(),
        );
        metrics.register_witnesses();
        metrics
    }

    fn register_witnesses(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "witness_requests",
            "Witnesses asked to cosign, by what came of it",
            self.witness_requests.clone(),
        );
        registry.register(
            "witnessed_records",
            "Records under the newest checkpoint that enough witnesses cosigned; 0 before the first",
            self.witnessed_records.clone(),
        );
        registry.register(
            "witnessed_timestamp_seconds",
            "The latest time in its cosignatures, since the Unix epoch; 0 before the first",
            self.witnessed_seconds.clone(),
        );
    }

    pub(super) fn requested(
        &self,
        route: &str,
        status: u16,
        refusal: Option<ErrorCode>,
        took: Duration,
    ) {
        let route = route.to_owned();
        let by_route = RouteLabels {
            route: route.clone(),
        };
        self.seconds
            .get_or_create(&by_route)
            .observe(took.as_secs_f64());
        self.requests
            .get_or_create(&RequestLabels { route, status })
            .inc();
        if let Some(code) = refusal {
            let labels = RefusalLabels { code: Code(code) };
            self.refusals.get_or_create(&labels).inc();
        }
    }

    pub(super) fn appended(&self, record: &Record, existing: bool) {
        let labels = AppendLabels {
            kind: kind(record),
            existing: Truth(existing),
        };
        self.appends.get_or_create(&labels).inc();
    }

    pub(super) fn asked_witness(&self, witness: &str, result: &'static str) {
        let witness = witness.to_owned();
        let labels = WitnessLabels { witness, result };
        self.witness_requests.get_or_create(&labels).inc();
    }

    pub(super) fn witnessed(&self, witnessed: &Witnessed) {
        let times = witnessed.witnesses.iter().map(|(_, seconds)| *seconds);
        self.witnessed_records.set(witnessed.checkpoint.size);
        self.witnessed_seconds.set(times.max().unwrap_or_default());
    }

    /// Everything, with what is known of the service now.
    pub(super) fn text(
        &self,
        records: u64,
        is_writable: bool,
        body_bytes: u64,
    ) -> Result<String, std::fmt::Error> {
        self.records.set(records);
        self.body_bytes.set(body_bytes);
        self.is_writable.set(is_writable.into());
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn kind(record: &Record) -> &'static str {
    match &record.body {
        Body::Constitution { .. } => "constitution",
        Body::Intent { .. } => "intent",
        Body::Attempt(_) => "attempt",
        Body::Answered(_) => "answered",
        Body::Withheld(_) => "withheld",
        Body::Refused(_) => "refused",
        Body::Failed(_) => "failed",
        Body::Cancelled(_) => "cancelled",
        Body::Deleted { .. } => "deleted",
        Body::Sealed { .. } => "sealed",
        Body::Succession { .. } => "succession",
        Body::Erasure { .. } => "erasure",
    }
}
