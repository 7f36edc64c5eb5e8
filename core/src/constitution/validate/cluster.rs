//! The bounds of `[egress]` and `[cluster]`.
//!
//! Names are checked as Kubernetes checks them (`apimachinery/pkg/util/validation`), so that nothing
//! built from them is refused later.

use std::net::IpAddr;

use super::{Check, is_dns_label};
use crate::constitution::diagnostic::path_key;
use crate::constitution::model::{
    BROKER_PORT, ClusterPolicy, Constitution, Containment, EgressPolicy, EgressTarget,
    ServiceTarget,
};

use crate::record::MAX_EGRESS_TARGETS as MAX_TARGETS;
const MAX_DNS_NAME_BYTES: usize = 253;
const MAX_LABELS: usize = 16;
const MAX_LABEL_BYTES: usize = 63;
const MAX_IMAGES: usize = 64;
const MAX_IMAGE_BYTES: usize = 255;
const MAX_EXTENDED_RESOURCES: usize = 8;
const MAX_NAMES: usize = 16;

const DNS_NAME: &str = "must be a DNS name: at most 253 bytes of labels of 1 to 63 lowercase \
    letters, digits and \"-\", parted by \".\"";
const LABEL_KEY: &str = "must be a qualified name: 1 to 63 letters, digits, \"-\", \"_\" and \".\", \
    with an optional DNS name and \"/\" before it";
const LABEL_VALUE: &str = "must be at most 63 letters, digits, \"-\", \"_\" and \".\", beginning and \
    ending with a letter or digit";

impl Check {
    pub(super) fn egress(&mut self, policy: &EgressPolicy) {
        let path = "egress.allow";
        self.count(path, &policy.allow, 0, MAX_TARGETS, "targets");
        for (index, target) in policy.allow.iter().enumerate() {
            let at = format!("{path}[{index}]");
            match target {
                EgressTarget::Host { host, port } => {
                    // A name whose last label is a number is read as an address by everybody else.
                    if !is_dns_name(host) || is_numeric(host.rsplit('.').next()) {
                        self.fail(format!("{at}.host"), DNS_NAME);
                    }
                    self.port(format!("{at}.port"), *port);
                }
                EgressTarget::Cidr { cidr, port } => {
                    if !is_cidr(cidr) {
                        self.fail(
                            format!("{at}.cidr"),
                            "must be a network and its prefix length with every later bit zero, \
                             such as \"10.20.0.0/16\"",
                        );
                    }
                    self.port(format!("{at}.port"), *port);
                }
                EgressTarget::Service { service } => self.service(&at, service),
            }
            if policy.allow[..index].contains(target) {
                self.fail(at, "must be listed once");
            }
        }
    }

    fn service(&mut self, target: &str, service: &ServiceTarget) {
        let at = format!("{target}.service");
        for (key, name) in [("namespace", &service.namespace), ("name", &service.name)] {
            if !is_dns_label(name) {
                let message = "must be a DNS label: 1 to 63 lowercase letters, digits and \"-\"";
                self.fail(format!("{at}.{key}"), message);
            }
        }
        self.port(format!("{at}.port"), service.port);
        if let Some(port) = service.target_port {
            self.port(format!("{at}.target_port"), port);
        }
        if !(1..=MAX_LABELS).contains(&service.pod_labels.len()) {
            let message = format!("must have 1 to {MAX_LABELS} labels");
            self.fail(format!("{at}.pod_labels"), message);
        }
        for (key, value) in &service.pod_labels {
            if !is_label_key(key) {
                self.fail(format!("{at}.pod_labels"), LABEL_KEY);
            }
            if !is_label_value(value) {
                self.fail(format!("{at}.pod_labels.{}", path_key(key)), LABEL_VALUE);
            }
        }
    }

    fn port(&mut self, path: String, port: u16) {
        if port == 0 || port == BROKER_PORT {
            let message = format!(
                "must be a TCP port from 1 to 65535, but not {BROKER_PORT}, the broker's own"
            );
            self.fail(path, message);
        }
    }

    pub(super) fn cluster(&mut self, constitution: &Constitution) {
        let policy = &constitution.cluster;
        let mib = 1_048_576;
        let ranges = [
            ("max_cpu_millis", policy.max_cpu_millis, 1, 256_000, ""),
            ("max_memory_mib", policy.max_memory_mib, 16, mib, " MiB"),
            (
                "max_ephemeral_storage_mib",
                policy.max_ephemeral_storage_mib,
                1,
                mib,
                " MiB",
            ),
            ("max_retry_limit", policy.max_retry_limit, 0, 10, ""),
        ];
        for (key, value, least, most, unit) in ranges {
            self.range(&format!("cluster.{key}"), value, least, most, unit);
        }
        self.containment(constitution);
        self.images(policy);
        self.lists(policy);
        self.scheduling(policy);
    }

    fn containment(&mut self, constitution: &Constitution) {
        match &constitution.cluster.containment {
            Containment::Strict => {}
            Containment::NoNetwork => {
                if !constitution.egress.allow.is_empty() {
                    let message = "must be \"strict\" or \"sandboxed\" where egress.allow lists a \
                        target";
                    self.fail("cluster.containment", message);
                }
            }
            Containment::Sandboxed { runtime_class_name } => {
                if !is_dns_name(runtime_class_name) {
                    self.fail("cluster.containment.runtime_class_name", DNS_NAME);
                }
            }
        }
    }

    fn images(&mut self, policy: &ClusterPolicy) {
        let path = "cluster.images";
        self.count(path, &policy.images, 0, MAX_IMAGES, "images");
        for (index, image) in policy.images.iter().enumerate() {
            if image.len() > MAX_IMAGE_BYTES || !is_image_pattern(image) {
                let message = format!(
                    "must be a repository with its registry and without tag or digest, such as \
                     \"registry.example.com/team/runtime\", or all below a path: \
                     \"registry.example.com/team/*\"; at most {MAX_IMAGE_BYTES} bytes"
                );
                self.fail(format!("{path}[{index}]"), message);
            }
        }
    }

    fn lists(&mut self, policy: &ClusterPolicy) {
        let lists = [
            ("priority_classes", &policy.priority_classes),
            ("image_pull_secrets", &policy.image_pull_secrets),
        ];
        for (key, names) in lists {
            let path = format!("cluster.{key}");
            self.count(&path, names, 0, MAX_NAMES, "names");
            for (index, name) in names.iter().enumerate() {
                if !is_dns_name(name) {
                    self.fail(format!("{path}[{index}]"), DNS_NAME);
                }
            }
        }
        let path = "cluster.max_extended_resources";
        let resources = &policy.max_extended_resources;
        if resources.len() > MAX_EXTENDED_RESOURCES {
            let message = format!("must have at most {MAX_EXTENDED_RESOURCES} resources");
            self.fail(path, message);
        }
        for (name, most) in resources {
            if !name.contains('/') || !is_label_key(name) {
                let message = "must be named as \"DOMAIN/NAME\", such as \"nvidia.com/gpu\"";
                self.fail(path, message);
            }
            self.range(&format!("{path}.{}", path_key(name)), *most, 1, 64, "");
        }
    }

    fn scheduling(&mut self, policy: &ClusterPolicy) {
        let path = "cluster.node_selector";
        if policy.node_selector.len() > MAX_LABELS {
            self.fail(path, format!("must have at most {MAX_LABELS} labels"));
        }
        for (key, values) in &policy.node_selector {
            if !is_label_key(key) {
                self.fail(path, LABEL_KEY);
            }
            let at = format!("{path}.{}", path_key(key));
            self.count(&at, values, 1, MAX_NAMES, "values");
            for (index, value) in values.iter().enumerate() {
                if !is_label_value(value) {
                    self.fail(format!("{at}[{index}]"), LABEL_VALUE);
                }
            }
        }
        let path = "cluster.tolerations";
        self.count(path, &policy.tolerations, 0, MAX_NAMES, "tolerations");
        for (index, rule) in policy.tolerations.iter().enumerate() {
            if !is_label_key(&rule.key) {
                self.fail(format!("{path}[{index}].key"), LABEL_KEY);
            }
            if !rule.value.as_deref().is_none_or(is_label_value) {
                self.fail(format!("{path}[{index}].value"), LABEL_VALUE);
            }
        }
    }
}

fn is_dns_name(name: &str) -> bool {
    name.len() <= MAX_DNS_NAME_BYTES && name.split('.').all(is_dns_label)
}

fn is_numeric(label: Option<&str>) -> bool {
    label.is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()))
}

fn is_label_value(value: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let is_edge = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    bytes.len() <= MAX_LABEL_BYTES
        && bytes.iter().all(|b| is_inner(*b))
        && is_edge(bytes.first())
        && is_edge(bytes.last())
}

fn is_label_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    !name.is_empty() && is_label_value(name) && prefix.is_none_or(is_dns_name)
}

/// An address without leading zeros, `/`, a prefix length without leading zeros, and no bit set
/// behind the prefix.
fn is_cidr(cidr: &str) -> bool {
    let Some((network, length)) = cidr.split_once('/') else {
        return false;
    };
    let (Ok(address), Ok(prefix)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else {
        return false;
    };
    let (bits, width) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    // A shift by all 128 bits leaves nothing.
    let host_bits = bits.checked_shl(prefix).unwrap_or_default();
    prefix <= width && host_bits == 0 && prefix.to_string() == length
}

/// `REGISTRY/PATH` or `REGISTRY/PATH/*`; the registry is a host with an optional port.
fn is_image_pattern(image: &str) -> bool {
    let path = image.strip_suffix("/*").unwrap_or(image);
    let (registry, rest) = match path.split_once('/') {
        Some((registry, rest)) => (registry, Some(rest)),
        None => (path, None),
    };
    let is_component = |part: &str| {
        let is_inner =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
        let is_edge =
            |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = part.as_bytes();
        bytes.iter().all(|b| is_inner(*b)) && is_edge(bytes.first()) && is_edge(bytes.last())
    };
    let has_path = rest.is_some() || image.ends_with("/*");
    is_registry(registry) && has_path && rest.is_none_or(|it| it.split('/').all(is_component))
}

/// A host that is told from a path by a `.`, a port, or the name `localhost`.
fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (registry, None),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|it| it.to_string() == port);
    is_dns_name(host)
        && port.is_none_or(is_port)
        && (host.contains('.') || port.is_some() || host == "localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_no_bit_behind_their_prefix() {
        for good in [
            "0.0.0.0/0",
            "10.20.0.0/16",
            "192.0.2.1/32",
            "::/0",
            "2001:db8::/32",
        ] {
            assert!(is_cidr(good), "{good}");
        }
        for bad in [
            "",
            "10.0.0.0",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "010.0.0.0/8",
            "2001:db8::1/32",
            "::/129",
            "a/8",
            "10.0.0.0/",
        ] {
            assert!(!is_cidr(bad), "{bad}");
        }
    }

    #[test]
    fn image_patterns_name_a_registry_and_no_tag() {
        for good in [
            "registry.example.com/team/runtime",
            "registry.example.com/*",
            "registry.example.com:5000/team/*",
            "localhost/runtime",
            "localhost:5000/runtime",
        ] {
            assert!(is_image_pattern(good), "{good}");
        }
        for bad in [
            "",
            "*",
            "/*",
            "runtime",
            "team/runtime",
            "registry.example.com",
            "registry.example.com/team/runtime:1",
            "registry.example.com/a@sha256:0",
            "registry.example.com/*/runtime",
            "registry.example.com/te*",
            "registry.example.com//a",
            "registry.example.com/Team",
            "registry.example.com/a/",
            "registry.example.com:x/a",
        ] {
            assert!(!is_image_pattern(bad), "{bad}");
        }
    }

    #[test]
    fn labels_are_those_of_kubernetes() {
        for good in ["a", "A.b_c-d", "kubernetes.io/arch", "nvidia.com/gpu"] {
            assert!(is_label_key(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a/", "/a", "a/b/c", "A.b/c", "a b"] {
            assert!(!is_label_key(bad), "{bad}");
        }
        assert!(is_label_value(""));
        assert!(!is_label_value(&"a".repeat(64)));
    }
}
