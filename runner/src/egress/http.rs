//! One plain HTTP request, sent on over a connection of its own.
//!
//! The request is parsed and written anew by one library, so what the target reads is what was
//! checked: a second request cannot hide behind the first.

use http::header::{
    CONNECTION, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Request, Uri};

use super::rules::{Destination, Refusal};

/// Headers that end at a proxy (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Where a request with an absolute URL goes; its `Host` headers must all say the same.
pub(super) fn destination<B>(request: &Request<B>) -> Result<Destination, Refusal> {
    let uri = request.uri();
    let authority = uri.authority().ok_or(Refusal::Malformed)?;
    if uri.scheme() != Some(&Scheme::HTTP) {
        return Err(Refusal::Malformed);
    }
    let to = Destination::parse(authority.as_str(), Some(80)).ok_or(Refusal::Malformed)?;
    let mut hosts = request.headers().get_all(HOST).iter().peekable();
    if hosts.peek().is_none() {
        return Err(Refusal::ServerName);
    }
    let is_same = hosts.all(|host| {
        host.to_str()
            .ok()
            .and_then(|text| Destination::parse(text, Some(80)))
            .as_ref()
            == Some(&to)
    });
    is_same.then_some(to).ok_or(Refusal::ServerName)
}

/// The request as the target sees it: only path and query, no header that ends here.
pub(super) fn onward<B>(mut request: Request<B>) -> Request<B> {
    let path = request.uri().path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    strip(request.headers_mut());
    request
}

/// Removes the headers that end at a proxy, those that `Connection` names included.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != HOST)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn to(uri: &str, hosts: &[&str]) -> Result<Destination, Refusal> {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        destination(&request.body(()).unwrap())
    }

    #[test]
    fn url_and_host_must_agree() {
        let expected = Destination::parse("a.example.com:80", None);
        assert_eq!(
            to("http://a.example.com/x", &["a.example.com"]).ok(),
            expected
        );
        assert_eq!(
            to("http://a.example.com:80/x", &["A.example.com"]).ok(),
            expected
        );
        for hosts in [
            &[][..],
            &["b.example.com"],
            &["a.example.com:81"],
            &["a.example.com", "b.example.com"],
        ] {
            assert_eq!(
                to("http://a.example.com/x", hosts),
                Err(Refusal::ServerName),
                "{hosts:?}"
            );
        }
        for uri in [
            "/x",
            "https://a.example.com/x",
            "ftp://a.example.com/x",
            "http://u:p@a.example.com/",
        ] {
            assert_eq!(
                to(uri, &["a.example.com"]),
                Err(Refusal::Malformed),
                "{uri}"
            );
        }
    }

    #[test]
    fn what_ends_here_is_not_sent_on() {
        let request = Request::builder()
            .uri("http://a.example.com/x?y=1")
            .header(HOST, "a.example.com")
            .header("connection", "close, X-Secret, host")
            .header("x-secret", "1")
            .header("proxy-authorization", "Basic eA==")
            .header("accept", "*/*")
            .body(())
            .unwrap();
        let onward = onward(request);
        assert_eq!(onward.uri(), "/x?y=1");
        let names: Vec<&str> = onward.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "accept"]);
    }
}
