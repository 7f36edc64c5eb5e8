//! What may be reached: pure, from the constitution's `[egress]`.

use std::net::IpAddr;

use axiom_hive_core::constitution::{EgressPolicy, EgressTarget};
use ipnet::IpNet;

use super::address::{is_never_a_service, is_public, plain};

/// The longest host name, in bytes (RFC 1035, section 2.3.4).
const MAX_NAME_BYTES: usize = 253;

/// Where a runtime wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// A name in lower case without a final dot, or an address without brackets.
    pub host: Host,
    /// TCP port.
    pub port: u16,
}

/// The host of a [`Destination`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A DNS name.
    Name(String),
    /// An address, IPv4 in IPv6 undone.
    Address(IpAddr),
}

/// Why an attempt was refused. The record counts each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// No `CONNECT host:port` and no absolute `http://` URL.
    #[error("the request must be CONNECT host:port, or have an absolute http:// URL")]
    Malformed,
    /// Not in the list.
    #[error("the host and port must be listed under [egress] of the constitution")]
    Unlisted,
    /// The name leads to an address that is neither public nor listed.
    #[error("the name must lead to a public or listed address")]
    Address,
    /// No TLS client hello, or one for another name; or another `Host` header.
    #[error("the server name of the connection must be the host that was asked for")]
    ServerName,
    /// Too many connections or bytes.
    #[error("connections and bytes must stay within their limits")]
    Limit,
}

impl Refusal {
    /// Every reason, in the order of the record's counts.
    pub const ALL: [Self; 5] = [
        Self::Malformed,
        Self::Unlisted,
        Self::Address,
        Self::ServerName,
        Self::Limit,
    ];
}

/// The list, ready to be asked.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    targets: Vec<Target>,
}

#[derive(Debug, Clone)]
enum Target {
    Name { name: String, port: u16 },
    Network { network: IpNet, port: u16 },
    Service { names: [String; 3], port: u16 },
}

impl Destination {
    /// Reads `host:port`, with `default_port` where there is none.
    ///
    /// An address must be written the one usual way: `127.1`, `0x7f.1` and their like are names, which
    /// no list can hold.
    #[must_use]
    pub fn parse(authority: &str, default_port: Option<u16>) -> Option<Self> {
        let authority: http::uri::Authority = authority.parse().ok()?;
        // User information has no place in either form of request.
        if authority.as_str().contains('@') {
            return None;
        }
        let port = authority
            .port_u16()
            .or(default_port)
            .filter(|port| *port != 0)?;
        let host = authority.host();
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let host = match bare.parse::<IpAddr>() {
            Ok(address) => Host::Address(plain(address)),
            Err(_) => Host::Name(name(bare)?),
        };
        Some(Self { host, port })
    }
}

/// A DNS name in lower case, without a final dot.
pub(super) fn name(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    (text.len() <= MAX_NAME_BYTES && text.split('.').all(is_label))
        .then(|| text.to_ascii_lowercase())
}

impl Rules {
    /// From a constitution that has passed its validation; what cannot be read is left out, so
    /// nothing is opened by mistake.
    #[must_use]
    pub fn new(policy: &EgressPolicy) -> Self {
        Self {
            targets: policy.allow.iter().filter_map(target).collect(),
        }
    }

    /// How many targets are listed; the record has counts for each.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether nothing may be reached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// The target that lists this destination, before any name is looked up: a name that is not
    /// listed is not asked of a name server either, since the question alone can carry data out.
    pub fn admit(&self, to: &Destination) -> Result<usize, Refusal> {
        self.targets
            .iter()
            .position(|target| match (target, &to.host) {
                (Target::Name { name, port }, Host::Name(asked)) => {
                    name == asked && *port == to.port
                }
                (Target::Service { names, port }, Host::Name(asked)) => {
                    names.contains(asked) && *port == to.port
                }
                (Target::Network { network, port }, Host::Address(address)) => {
                    network.contains(address) && *port == to.port
                }
                _ => false,
            })
            .ok_or(Refusal::Unlisted)
    }

    /// Whether a name of `target` may lead to this address: checked on the address that is then
    /// connected to, so that a second answer of a name server changes nothing.
    pub fn admit_address(&self, target: usize, address: IpAddr, port: u16) -> Result<(), Refusal> {
        let address = plain(address);
        let is_listed = || {
            self.targets.iter().any(|target| {
                matches!(target, Target::Network { network, port: listed } if *listed == port && network.contains(&address))
            })
        };
        let allowed = match self.targets.get(target) {
            Some(Target::Name { .. }) => is_public(address) || is_listed(),
            // A service's address is private by nature.
            Some(Target::Service { .. }) => !is_never_a_service(address),
            Some(Target::Network { .. }) => is_listed(),
            None => false,
        };
        allowed.then_some(()).ok_or(Refusal::Address)
    }
}

fn target(from: &EgressTarget) -> Option<Target> {
    Some(match from {
        EgressTarget::Host { host, port } => Target::Name {
            name: name(host)?,
            port: *port,
        },
        EgressTarget::Cidr { cidr, port } => Target::Network {
            network: cidr.parse().ok()?,
            port: *port,
        },
        EgressTarget::Service { service } => {
            let short = format!("{}.{}", service.name, service.namespace);
            Target::Service {
                names: [
                    format!("{short}.svc"),
                    format!("{short}.svc.cluster.local"),
                    short,
                ],
                port: service.port,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use axiom_hive_core::constitution::ServiceTarget;

    fn rules() -> Rules {
        Rules::new(&EgressPolicy {
            allow: vec![
                EgressTarget::Host {
                    host: "api.example.com".into(),
                    port: 443,
                },
                EgressTarget::Cidr {
                    cidr: "10.20.0.0/16".into(),
                    port: 8080,
                },
                EgressTarget::Service {
                    service: ServiceTarget {
                        namespace: "models".into(),
                        name: "llm".into(),
                        port: 80,
                        target_port: None,
                        pod_labels: [("app".to_owned(), "llm".to_owned())].into(),
                    },
                },
            ],
        })
    }

    fn admit(text: &str) -> Result<usize, Refusal> {
        rules().admit(&Destination::parse(text, None).ok_or(Refusal::Malformed)?)
    }

    #[test]
    fn what_is_listed_is_found() {
        assert_eq!(admit("api.example.com:443"), Ok(0));
        assert_eq!(admit("API.Example.COM.:443"), Ok(0));
        assert_eq!(admit("10.20.255.1:8080"), Ok(1));
        assert_eq!(admit("[::ffff:10.20.0.1]:8080"), Ok(1));
        for name in [
            "llm.models",
            "llm.models.svc",
            "llm.models.svc.cluster.local",
        ] {
            assert_eq!(admit(&format!("{name}:80")), Ok(2));
        }
    }

    #[test]
    fn nothing_else_is() {
        for text in [
            "api.example.com:80",
            "example.com:443",
            "x.api.example.com:443",
            "api.example.com.evil:443",
            "10.21.0.1:8080",
            "10.20.0.1:80",
            "llm.other:80",
            "llm:80",
            "127.0.0.1:443",
            "[::1]:443",
            "10.20.1:8080",
            "0x0a.20.0.1:8080",
            "169090600:8080",
        ] {
            assert_eq!(admit(text), Err(Refusal::Unlisted), "{text}");
        }
        for text in [
            "",
            "host",
            "host:0",
            "host:99999",
            "user@host:443",
            "a b:1",
            "host:443/path",
            "-.:1.:2",
            "[::1:443",
        ] {
            assert_eq!(admit(text), Err(Refusal::Malformed), "{text}");
        }
    }

    #[test]
    fn a_name_leads_to_no_private_address() {
        let rules = rules();
        let admit =
            |target, text: &str, port| rules.admit_address(target, text.parse().unwrap(), port);
        assert!(admit(0, "93.184.216.34", 443).is_ok());
        for address in [
            "127.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "::1",
            "fd00::1",
            "::ffff:192.168.0.1",
        ] {
            assert_eq!(admit(0, address, 443), Err(Refusal::Address), "{address}");
        }
        // Private, but listed with that port.
        assert!(admit(0, "10.20.0.1", 8080).is_ok());
        assert_eq!(admit(0, "10.20.0.1", 443), Err(Refusal::Address));
        assert!(admit(2, "10.96.3.4", 80).is_ok());
        assert_eq!(admit(2, "127.0.0.1", 80), Err(Refusal::Address));
        assert_eq!(admit(9, "93.184.216.34", 443), Err(Refusal::Address));
    }
}
