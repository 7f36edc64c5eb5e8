//! One path, `POST /validate`, from bytes to bytes.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Json, Response};
use axum::routing::post;
use kube::core::DynamicObject;
use kube::core::admission::AdmissionReview;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::namespaces::Namespaces;
use super::readiness::Readiness;
use super::review::{Request, respond, review};
use crate::plan::resolve::Constitutions;

/// The path.
pub const PATH: &str = "/validate";
/// Upper bound of a request: an update holds the object twice, and the API server takes 3 MiB of one.
pub const MAX_BODY_BYTES: usize = 7 * 1024 * 1024;
/// Bodies that are being received or judged, together.
const MAX_BODIES_KIB: usize = 28 * 1024;
/// A constitution's rules are compiled: at most so many at once.
const MAX_REVIEWS: usize = 4;
/// The API server waits 3 s.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(2800);

/// What a request is judged with.
pub(super) struct Judge {
    pub(super) constitutions: Arc<RwLock<Constitutions>>,
    pub(super) namespaces: Namespaces,
    pub(super) readiness: Readiness,
    bodies_kib: Semaphore,
    reviews: Arc<Semaphore>,
}

/// Why a request has no verdict. The API server then refuses what it asked about.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("a request must be judged within 2.8 s")]
    Timeout,
    #[error("the webhook is starting: constitutions and namespaces must be read first")]
    Starting,
    #[error("a request must have a Content-Length")]
    Length,
    #[error("a request must have at most {MAX_BODY_BYTES} bytes")]
    TooLarge,
    #[error("a request must be an AdmissionReview of admission.k8s.io/v1: {0}")]
    Malformed(String),
    #[error("a review did not end well")]
    Bug,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Timeout | Self::Starting => StatusCode::SERVICE_UNAVAILABLE,
            Self::Length => StatusCode::LENGTH_REQUIRED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Judge {
    pub(super) fn new(
        constitutions: Arc<RwLock<Constitutions>>,
        namespaces: Namespaces,
        readiness: Readiness,
    ) -> Self {
        Self {
            constitutions,
            namespaces,
            readiness,
            bodies_kib: Semaphore::new(MAX_BODIES_KIB),
            reviews: Arc::new(Semaphore::new(MAX_REVIEWS)),
        }
    }

    async fn judge(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<AdmissionReview<DynamicObject>, Refusal> {
        if !self.readiness.can_judge() {
            return Err(Refusal::Starting);
        }
        let length = headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|it| it.to_str().ok()?.parse::<usize>().ok());
        let length = length.ok_or(Refusal::Length)?;
        if length > MAX_BODY_BYTES {
            return Err(Refusal::TooLarge);
        }
        let kib = u32::try_from(length.div_ceil(1024)).map_err(|_| Refusal::TooLarge)?;
        let _room = self
            .bodies_kib
            .acquire_many(kib)
            .await
            .map_err(|_| Refusal::Bug)?;
        let malformed = |error: &dyn std::fmt::Display| Refusal::Malformed(error.to_string());
        let bytes = to_bytes(body, length)
            .await
            .map_err(|error| malformed(&error))?;
        let asked: AdmissionReview<DynamicObject> =
            serde_json::from_slice(&bytes).map_err(|error| malformed(&error))?;
        let request: Request = asked.try_into().map_err(|error| malformed(&error))?;
        let labels = match &request.namespace {
            Some(name) if !name.is_empty() => self.namespaces.labels(name).await,
            _ => None,
        };
        // The permit goes with the work, also where nobody waits for it any more.
        let permit = Arc::clone(&self.reviews)
            .acquire_owned()
            .await
            .map_err(|_| Refusal::Bug)?;
        let constitutions = Arc::clone(&self.constitutions);
        let judged = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let constitutions = constitutions.read().unwrap_or_else(PoisonError::into_inner);
            let verdict = review(&request, &constitutions, labels.as_ref());
            tracing::debug!(
                kind = request.kind.kind,
                name = request.name,
                violations = verdict.violations.len(),
                "judged"
            );
            respond(&request, verdict).into_review()
        });
        judged.await.map_err(|_| Refusal::Bug)
    }
}

/// The routes of the webhook.
pub(super) fn router(judge: Arc<Judge>) -> Router {
    Router::new().route(PATH, post(validate)).with_state(judge)
}

async fn validate(State(judge): State<Arc<Judge>>, headers: HeaderMap, body: Body) -> Response {
    let judged = timeout(REQUEST_TIMEOUT, judge.judge(&headers, body)).await;
    match judged.unwrap_or(Err(Refusal::Timeout)) {
        Ok(review) => Json(review).into_response(),
        Err(refusal) => {
            tracing::warn!(%refusal, "a request has no verdict");
            (refusal.status(), refusal.to_string()).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::readiness::Part;
    use super::*;

    /// A judge whose API server nobody answers for: none of this may need it.
    fn judge() -> (Arc<Judge>, tokio_util::task::AbortOnDropHandle<()>) {
        let config = kube::Config::new("https://127.0.0.1:9".parse().unwrap());
        let client = kube::Client::try_from(config).unwrap();
        let readiness = Readiness::default();
        let (namespaces, following) = Namespaces::follow(client, &readiness);
        let known = Arc::new(RwLock::new(Constitutions::default()));
        (
            Arc::new(Judge::new(known, namespaces, readiness)),
            following,
        )
    }

    async fn ask(judge: &Arc<Judge>, length: Option<usize>, body: &str) -> (u16, String) {
        let mut headers = HeaderMap::new();
        headers.extend(length.map(|it| (header::CONTENT_LENGTH, it.into())));
        let body = Body::from(body.to_owned());
        let response = validate(State(Arc::clone(judge)), headers, body).await;
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 4096).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn what_cannot_be_judged_gets_a_status_that_refuses() {
        let (judge, _following) = judge();
        // Before the caches are there, an answer would be a guess.
        let (status, text) = ask(&judge, Some(2), "{}").await;
        assert_eq!(status, 503, "{text}");
        judge.readiness.set(Part::Constitutions);
        judge.readiness.set(Part::Namespaces);
        for (length, body, expected) in [
            (None, "{}", 411),
            (Some(MAX_BODY_BYTES + 1), "{}", 413),
            // More than was announced.
            (Some(2), "{\"a\": 1}", 400),
            (Some(2), "{}", 400),
            (Some(4), "null", 400),
        ] {
            let (status, text) = ask(&judge, length, body).await;
            assert_eq!(status, expected, "{body}: {text}");
        }
    }

    #[tokio::test]
    async fn a_namespace_that_cannot_be_had_is_no_reason_to_wait() {
        let (judge, _following) = judge();
        judge.readiness.set(Part::Constitutions);
        judge.readiness.set(Part::Namespaces);
        let body = serde_json::json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "u", "operation": "CREATE", "userInfo": {}, "namespace": "new", "name": "t",
                "kind": {"group": "axiomhive.io", "version": "v1alpha1", "kind": "SupervisedTask"},
                "resource": {"group": "axiomhive.io", "version": "v1alpha1", "resource": "supervisedtasks"},
                "object": {
                    "apiVersion": "axiomhive.io/v1alpha1", "kind": "SupervisedTask", "metadata": {"name": "t"},
                    "spec": {"constitutionRef": {"name": "c"}, "prompt": "p", "runtime": {"echo": {}}},
                },
            },
        })
        .to_string();
        let (status, text) = ask(&judge, Some(body.len()), &body).await;
        assert_eq!(status, 200, "{text}");
        assert!(
            text.contains("\"allowed\":true") && text.contains("too new"),
            "{text}"
        );
    }
}
