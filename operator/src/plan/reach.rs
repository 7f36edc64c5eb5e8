//! Whether the constitution opens the endpoint that a task names.
//!
//! The same question that the egress broker asks: a name by itself, a service by its names in the
//! cluster, an address by its network; and the port.

use std::net::IpAddr;

use axiom_hive_core::constitution::{EgressPolicy, EgressTarget};
use http::Uri;
use ipnet::IpNet;

/// Whether `url` names a place that `policy` lists; `None` if it is no `http` or `https` URL.
#[must_use]
pub fn is_open(policy: &EgressPolicy, url: &str) -> Option<bool> {
    let uri: Uri = url.parse().ok()?;
    let port = match uri.scheme_str()? {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = uri.authority()?;
    if authority.as_str().contains('@') {
        return None;
    }
    let port = authority.port_u16().unwrap_or(port);
    let host = authority.host();
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
    let address: Option<IpAddr> = bare.parse().ok();
    Some(policy.allow.iter().any(|target| match target {
        EgressTarget::Host { host, port: listed } => *listed == port && *host == name,
        EgressTarget::Cidr { cidr, port: listed } => {
            let network: Option<IpNet> = cidr.parse().ok();
            let is_inside = network
                .zip(address)
                .is_some_and(|(net, it)| net.contains(&it));
            *listed == port && is_inside
        }
        EgressTarget::Service { service } => {
            let short = format!("{}.{}", service.name, service.namespace);
            let is_it = name
                .strip_prefix(&short)
                .is_some_and(|rest| matches!(rest, "" | ".svc" | ".svc.cluster.local"));
            service.port == port && is_it
        }
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_listed_is_open_and_nothing_else() {
        let policy: EgressPolicy = serde_json::from_value(serde_json::json!({"allow": [
            {"host": "api.example.com", "port": 443},
            {"cidr": "10.20.0.0/16", "port": 8080},
            {"service": {"namespace": "models", "name": "llm", "port": 80, "podLabels": {"a": "b"}}},
        ]}))
        .unwrap();
        for open in [
            "https://api.example.com/v1",
            "https://API.example.com.:443/",
            "http://10.20.255.1:8080/x",
            "http://llm.models/v1",
            "http://llm.models.svc",
            "http://llm.models.svc.cluster.local:80",
        ] {
            assert_eq!(is_open(&policy, open), Some(true), "{open}");
        }
        for closed in [
            "http://api.example.com/",
            "https://x.api.example.com/",
            "https://api.example.com:8443/",
            "http://10.21.0.1:8080/",
            "http://10.20.0.1/",
            "http://llm.models.svc.evil",
            "http://llm.modelsx",
            "http://[::1]:8080/",
        ] {
            assert_eq!(is_open(&policy, closed), Some(false), "{closed}");
        }
        for none in [
            "",
            "ftp://api.example.com",
            "api.example.com",
            "https://u@api.example.com/",
        ] {
            assert_eq!(is_open(&policy, none), None, "{none}");
        }
    }
}
