//! The webhook: refuses, with everything that is wrong at once, what schema and CEL cannot refuse.
//!
//! Nothing in a review asks anybody: what it judges with is in memory, so its cost is that of the object.
//! The API server is told nothing that the reconciler relies on: admission is a courtesy.
//!
//! | module | what it holds |
//! |---|---|
//! | [`review`] | pure: a request, what is known, a verdict |
//! | [`authority`] | our own certificate authority, with the clock passed in |
//! | `certificate` | the serving certificate: own or from files, always fresh |
//! | `http`, `listen` | one path, over TLS |
//! | `namespaces` | the labels of namespaces |
//! | [`readiness`] | what is missing; the webhook asks itself before it is ready |

pub mod authority;
mod certificate;
mod http;
mod listen;
mod namespaces;
pub mod readiness;
pub mod review;
mod self_review;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use certificate::{CertificateError, Certificates, SECRET};
pub use http::{MAX_BODY_BYTES, PATH};

use self::certificate::Serving;
use self::http::Judge;
use self::namespaces::Namespaces;
use self::readiness::{Part, Readiness};
use crate::plan::resolve::Constitutions;

/// The port of the webhook.
pub const PORT: u16 = 9443;
/// A self-review that failed is repeated after this.
const SELF_REVIEW_PAUSE: Duration = Duration::from_secs(1);

/// What the webhook needs.
pub struct Webhook {
    /// Where it listens: [`PORT`] of every address in a pod.
    pub listener: TcpListener,
    /// DNS names and addresses on the certificate, the first the one that API servers use:
    /// `<service>.<namespace>.svc`.
    pub names: Vec<String>,
    /// Where the certificate comes from.
    pub certificates: Certificates,
    /// What is known of constitutions; whoever fills it sets [`Part::Constitutions`] when it is filled.
    pub constitutions: Arc<RwLock<Constitutions>>,
    /// For namespaces, the Secret and the webhook configuration.
    pub client: Client,
    /// What `/readyz` says.
    pub readiness: Readiness,
}

/// Why the webhook cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// Without a name no API server would trust the certificate.
    #[error("the webhook must have at least one name")]
    Name,
    /// The listener is of no use.
    #[error("the webhook's listener must have an address: {0}")]
    Listener(#[from] std::io::Error),
}

/// Serves until `shutdown`, then lets requests in flight end.
pub async fn serve(webhook: Webhook, shutdown: CancellationToken) -> Result<(), AdmissionError> {
    let Webhook {
        listener,
        names,
        certificates,
        constitutions,
        client,
        readiness,
    } = webhook;
    let name = names.first().cloned().ok_or(AdmissionError::Name)?;
    let address = listener.local_addr()?;
    let (serving, mut current) = watch::channel(None::<Serving>);
    let (namespaces, _following) = Namespaces::follow(client.clone(), &readiness);
    let fresh = certificate::keep_fresh(certificates, names, client, serving);
    let _fresh = AbortOnDropHandle::new(tokio::spawn(fresh));
    let judge = Arc::new(Judge::new(constitutions, namespaces, readiness.clone()));
    let receiver = current.clone();
    let _checking = AbortOnDropHandle::new(tokio::spawn(async move {
        // It ends with this function, so there is always somebody who sends.
        let Ok(serving) = current.wait_for(Option::is_some).await.map(|it| it.clone()) else {
            return;
        };
        readiness.set(Part::Certificate);
        readiness.caches().await;
        while let Some(serving) = &serving
            && let Err(error) = self_review::self_review(address, &name, serving).await
        {
            tracing::warn!(%error, "the self-review failed");
            sleep(SELF_REVIEW_PAUSE).await;
        }
        readiness.set(Part::SelfReview);
        tracing::info!(%address, "the webhook is ready");
    }));
    listen::serve(listener, http::router(judge), receiver, shutdown).await;
    Ok(())
}
