//! What every request shares: the ledger, who is who, the limits, the counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axiom_hive_core::wire::ErrorCode;
use axum::Extension;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::authenticate::{Authentication, Caller, Peer};
use super::config::{Config, LimitsConfig};
use super::limits::Limiter;
use super::metrics::Metrics;
use super::refusal::Refusal;
use super::witnessing::Witnessing;
use crate::ledger::Handle;
use axiom_hive_client::tls::TlsError;

/// The budget for bodies is counted in units of this many bytes.
const BODY_UNIT_BYTES: u32 = 1024;

/// Everything behind the routes.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) ledger: Handle,
    pub(super) limits: LimitsConfig,
    pub(super) metrics: Metrics,
    /// Set when the service is to end.
    pub(super) stop: CancellationToken,
    /// `None` where no witnesses are set.
    pub(super) witnessing: Option<Witnessing>,
    authentication: Authentication,
    limiter: Limiter,
    bodies: Arc<Semaphore>,
}

/// A body with its share of the budget, which is free again when this is dropped.
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

impl Service {
    pub(super) fn new(
        ledger: Handle,
        config: &Config,
        stop: CancellationToken,
    ) -> Result<Self, TlsError> {
        let units = config
            .limits
            .bodies_in_flight_bytes
            .div_ceil(BODY_UNIT_BYTES);
        Ok(Self {
            ledger,
            limits: config.limits.clone(),
            metrics: Metrics::new(),
            stop,
            witnessing: config.witnesses.as_ref().map(Witnessing::new).transpose()?,
            authentication: Authentication::new(config)?,
            limiter: Limiter::default(),
            bodies: Arc::new(Semaphore::new(units as usize)),
        })
    }

    fn take(&self, name: &str, requests_per_second: u32) -> Result<(), Refusal> {
        let taken = self.limiter.take(name, requests_per_second, Instant::now());
        taken.map_err(|wait| {
            let must = format!("{name} must send at most {requests_per_second} requests a second");
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Refusal::new(ErrorCode::RateLimited, must).retry_after(seconds)
        })
    }

    async fn admit(&self, headers: &HeaderMap, peer: &Peer) -> Result<Caller, Refusal> {
        // Whoever tries tokens pays for it by address, before anybody is asked.
        let address = peer.address.to_string();
        let before = || self.take(&address, self.limits.reader_requests_per_second);
        let caller = self.authentication.identify(headers, peer, before);
        let caller = caller.await?;
        self.take(&caller.name, caller.requests_per_second(&self.limits))?;
        Ok(caller)
    }

    pub(super) fn body_bytes_in_flight(&self) -> u64 {
        let units = self.limits.bodies_in_flight_bytes.div_ceil(BODY_UNIT_BYTES) as usize;
        let taken = units.saturating_sub(self.bodies.available_permits());
        taken as u64 * u64::from(BODY_UNIT_BYTES)
    }

    /// Receives a body within all its bounds: its length is known and accounted for before it comes.
    pub(super) async fn receive(&self, request: Request) -> Result<Received, Refusal> {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length: Option<u32> = length
            .and_then(|length| length.to_str().ok())
            .map(|length| length.parse().unwrap_or(u32::MAX));
        let length = length.ok_or_else(|| {
            let must = "a body must say its length before it comes (Content-Length)";
            Refusal::new(ErrorCode::LengthRequired, must)
        })?;
        if length > self.limits.request_bytes {
            let must = format!("a body must be at most {} bytes", self.limits.request_bytes);
            return Err(Refusal::new(ErrorCode::TooLarge, must));
        }
        let units = length.div_ceil(BODY_UNIT_BYTES);
        let share = Arc::clone(&self.bodies).try_acquire_many_owned(units);
        let busy = |_| Refusal::unavailable("too many bodies are being received at once");
        let share = share.map_err(busy)?;
        let seconds = self.limits.body_seconds;
        let body: Body = request.into_body();
        let received = to_bytes(body, length as usize);
        match timeout(Duration::from_secs(seconds.into()), received).await {
            Ok(Ok(bytes)) => Ok(Received {
                bytes,
                _share: share,
            }),
            Ok(Err(error)) => Err(Refusal::malformed(format!("the body: {error}"))),
            Err(_) => {
                let must = format!("a body must arrive within {seconds} s");
                Err(Refusal::malformed(must))
            }
        }
    }
}

/// Names the caller and holds it to its rate.
pub(super) async fn admit(
    State(service): State<Arc<Service>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    match service.admit(request.headers(), &peer).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Counts.
pub(super) async fn measure(
    State(service): State<Arc<Service>>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    let refusal = response.extensions().get::<ErrorCode>().copied();
    let status = response.status().as_u16();
    service
        .metrics
        .requested(route, status, refusal, started.elapsed());
    response
}
