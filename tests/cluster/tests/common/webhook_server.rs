//! A validating webhook that refuses every object with the label `refuse-me`.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axiom_hive_testcluster::Authority;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// Serves on a free port of `address` until the test's runtime ends; gives the port.
pub(crate) async fn serve_webhook(authority: &Authority, address: IpAddr) -> SocketAddr {
    let identity = authority.server("webhook", &[], &[address]).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(
        vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()],
        PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
    )
    .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind((address, 0)).await.unwrap();
    let bound = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(review))
                        .await;
                }
            });
        }
    });
    bound
}

async fn review(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(&body).unwrap();
    let request: AdmissionRequest<DynamicObject> = review.try_into().unwrap();
    let mut response = AdmissionResponse::from(&request);
    let labels = request
        .object
        .and_then(|object| object.metadata.labels)
        .unwrap_or_default();
    if labels.contains_key("refuse-me") {
        response = response.deny("the test's webhook refuses this");
    }
    Ok(Response::new(Full::from(
        serde_json::to_vec(&response.into_review()).unwrap(),
    )))
}
