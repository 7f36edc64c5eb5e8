//! The settings file of the service: who is who, and the limits.
//!
//! ```
//! let config = axiom_hive_runner::ledger_service::Config::parse(r#"
//! [kubernetes]
//! audience = "axiom-hive-ledger"
//! operator = "system:serviceaccount:axiom-hive:axiom-hive-operator"
//! runner_service_account = "axh-runner"
//!
//! [[clients]]                        # outside a cluster: a certificate's DNS name or URI
//! name = "auditor.example.com"
//! role = "auditor"
//!
//! [limits]
//! runner_requests_per_second = 20
//! "#).unwrap();
//! assert_eq!(config.clients.len(), 1);
//! ```

use std::path::PathBuf;

use axiom_hive_core::tlog::Policy;
use axiom_hive_core::wire::MAX_REQUEST_BYTES;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Upper bound of the clients and auditors that a file lists.
const MAX_LISTED: usize = 1000;
/// Where a pod finds what it needs to speak to its API server.
const IN_CLUSTER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The settings file (TOML).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bearer tokens, reviewed by an API server; absent: none are accepted.
    pub kubernetes: Option<KubernetesConfig>,
    /// Client certificates and what they may do.
    #[serde(default)]
    pub clients: Vec<ClientConfig>,
    /// Who watches the ledger; absent: nobody is asked.
    pub witnesses: Option<WitnessesConfig>,
    /// Bounds.
    #[serde(default)]
    pub limits: LimitsConfig,
}

/// `[witnesses]`: C2SP tlog-witness.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessesConfig {
    /// The text of a policy (C2SP tlog-policy): the witnesses, each with a URL, and how many are enough.
    #[serde(deserialize_with = "policy")]
    pub policy: Policy,
    /// How often they are asked to cosign what is new: 1..=86400; default 10.
    #[serde(default = "interval_seconds")]
    pub interval_seconds: u32,
    /// Where the newest cosigned checkpoint is kept; not in the ledger.
    pub folder: PathBuf,
    /// The authority of witnesses with `https://` (PEM).
    pub ca_file: Option<PathBuf>,
}

/// `[kubernetes]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesConfig {
    /// The audience that a token must be for.
    pub audience: String,
    /// The user name of the operator: `system:serviceaccount:<namespace>:<name>`.
    pub operator: String,
    /// User names of auditors.
    #[serde(default)]
    pub auditors: Vec<String>,
    /// The service account of runner pods, in whichever namespace.
    pub runner_service_account: String,
    /// How long a verdict on a token is kept: 1..=300; default 30.
    #[serde(default = "review_cache_seconds")]
    pub review_cache_seconds: u32,
    /// The API server.
    #[serde(default = "api_server")]
    pub api_server: String,
    /// Its certificate authority (PEM).
    #[serde(default = "ca_file")]
    pub ca_file: PathBuf,
    /// The service's own token, which must be allowed to create token reviews.
    #[serde(default = "token_file")]
    pub token_file: PathBuf,
}

/// One of `[[clients]]`: a client certificate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// A DNS name or URI of its `subjectAltName`.
    pub name: String,
    /// What it may do.
    pub role: ClientRole,
    /// For a runner: the pod UID that intents name it by.
    pub pod_uid: Option<String>,
}

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientRole {
    /// Starts and closes tasks.
    Operator,
    /// Reads everything.
    Auditor,
    /// Ends the attempts that name it.
    Runner,
}

/// `[limits]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Requests a second of one runner; twice that at once. 1..=1000000.
    pub runner_requests_per_second: u32,
    /// Requests a second of the operator; twice that at once.
    pub operator_requests_per_second: u32,
    /// Requests a second of one auditor, or of one address without a credential; twice that at once.
    pub reader_requests_per_second: u32,
    /// A request's body: at most 58720256 (56 MiB).
    pub request_bytes: u32,
    /// All bodies that are being received or appended, together: at least `request_bytes`.
    pub bodies_in_flight_bytes: u32,
    /// Connections at once: 1..=65536.
    pub connections: u32,
    /// How long a body may take to arrive: 1..=600.
    pub body_seconds: u32,
    /// How long requests in flight may take after the end was asked for: 1..=600.
    pub drain_seconds: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            runner_requests_per_second: 20,
            operator_requests_per_second: 2000,
            reader_requests_per_second: 200,
            request_bytes: MAX_REQUEST_BYTES as u32,
            bodies_in_flight_bytes: 256 * 1024 * 1024,
            connections: 4096,
            body_seconds: 60,
            drain_seconds: 20,
        }
    }
}

/// What must hold for the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {must}")]
pub struct ConfigError {
    /// Which field.
    pub path: String,
    /// What must hold.
    pub must: String,
}

fn review_cache_seconds() -> u32 {
    30
}

fn interval_seconds() -> u32 {
    10
}

fn policy<'de, D: Deserializer<'de>>(from: D) -> Result<Policy, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(D::Error::custom)
}

fn api_server() -> String {
    "https://kubernetes.default.svc".to_owned()
}

fn ca_file() -> PathBuf {
    PathBuf::from(IN_CLUSTER).join("ca.crt")
}

fn token_file() -> PathBuf {
    PathBuf::from(IN_CLUSTER).join("token")
}

impl Config {
    /// Reads and checks the text of a settings file.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError {
            path: "settings".to_owned(),
            must: error.to_string(),
        })?;
        config.limits.check()?;
        if let Some(kubernetes) = &config.kubernetes {
            kubernetes.check()?;
        }
        if let Some(witnesses) = &config.witnesses {
            witnesses.check()?;
        }
        check(
            config.clients.len() <= MAX_LISTED,
            "clients",
            "at most 1000",
        )?;
        for (at, client) in config.clients.iter().enumerate() {
            client.check(at, &config.clients[..at])?;
        }
        Ok(config)
    }
}

impl KubernetesConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let at = |field: &str| format!("kubernetes.{field}");
        for (field, text) in [
            ("audience", &self.audience),
            ("operator", &self.operator),
            ("runner_service_account", &self.runner_service_account),
        ] {
            check((1..=512).contains(&text.len()), at(field), "1..=512 bytes")?;
        }
        let is_https = self.api_server.starts_with("https://");
        check(is_https, at("api_server"), "a URL with https://")?;
        let listed = self.auditors.len();
        check(listed <= MAX_LISTED, at("auditors"), "at most 1000")?;
        let seconds = self.review_cache_seconds;
        check(
            (1..=300).contains(&seconds),
            at("review_cache_seconds"),
            "1..=300",
        )
    }
}

impl WitnessesConfig {
    /// The newest checkpoint that enough witnesses cosigned: an anchor for the next opening.
    #[must_use]
    pub fn cosigned_file(&self) -> PathBuf {
        self.folder.join(super::witnessing::FILE)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let seconds = self.interval_seconds;
        check(
            (1..=86_400).contains(&seconds),
            "witnesses.interval_seconds",
            "1..=86400",
        )?;
        let witnesses = self.policy.witnesses.iter().enumerate();
        let asked: Vec<usize> = witnesses
            .filter(|(_, witness)| witness.url.is_some())
            .map(|(position, _)| position)
            .collect();
        let must = "a policy whose witnesses with a URL are enough for its quorum";
        let is_enough = self.policy.is_met_by(&asked) && !asked.is_empty();
        check(is_enough, "witnesses.policy", must)?;
        for url in self
            .policy
            .witnesses
            .iter()
            .filter_map(|it| it.url.as_deref())
        {
            let is_plain = url.starts_with("http://");
            let is_known = is_plain || (url.starts_with("https://") && self.ca_file.is_some());
            let must = "one with URLs of http:// or, with ca_file, https://";
            check(is_known, "witnesses.policy", must)?;
        }
        Ok(())
    }
}

impl ClientConfig {
    fn check(&self, at: usize, before: &[Self]) -> Result<(), ConfigError> {
        let at = |field: &str| format!("clients[{at}].{field}");
        check(
            (1..=512).contains(&self.name.len()),
            at("name"),
            "1..=512 bytes",
        )?;
        let is_new = before.iter().all(|other| other.name != self.name);
        check(is_new, at("name"), "listed once")?;
        let is_uid = |uid: &String| {
            let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            (1..=64).contains(&uid.len()) && uid.bytes().all(is_allowed)
        };
        let holds = match self.role {
            ClientRole::Runner => self.pod_uid.as_ref().is_some_and(is_uid),
            ClientRole::Operator | ClientRole::Auditor => self.pod_uid.is_none(),
        };
        let must = "1..=64 letters, digits and \"-\" for a runner, and absent for others";
        check(holds, at("pod_uid"), must)
    }
}

impl LimitsConfig {
    fn check(&self) -> Result<(), ConfigError> {
        for (field, value, range) in [
            (
                "runner_requests_per_second",
                self.runner_requests_per_second,
                1..=1_000_000,
            ),
            (
                "operator_requests_per_second",
                self.operator_requests_per_second,
                1..=1_000_000,
            ),
            (
                "reader_requests_per_second",
                self.reader_requests_per_second,
                1..=1_000_000,
            ),
            (
                "request_bytes",
                self.request_bytes,
                1024..=MAX_REQUEST_BYTES as u32,
            ),
            (
                "bodies_in_flight_bytes",
                self.bodies_in_flight_bytes,
                self.request_bytes..=u32::MAX,
            ),
            ("connections", self.connections, 1..=65_536),
            ("body_seconds", self.body_seconds, 1..=600),
            ("drain_seconds", self.drain_seconds, 1..=600),
        ] {
            let must = format!("{}..={}", range.start(), range.end());
            check(range.contains(&value), format!("limits.{field}"), must)?;
        }
        Ok(())
    }
}

fn check(
    holds: bool,
    path: impl Into<String>,
    must: impl std::fmt::Display,
) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError {
        path: path.into(),
        must: format!("must be {must}"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const KUBERNETES: &str =
        "[kubernetes]\naudience = \"a\"\noperator = \"o\"\nrunner_service_account = \"r\"\n";

    #[test]
    fn an_empty_file_is_a_service_that_only_shows() {
        let config = Config::parse("").unwrap();
        assert!(config.kubernetes.is_none() && config.clients.is_empty());
    }

    #[test]
    fn defaults_are_those_of_a_pod() {
        let kubernetes = Config::parse(KUBERNETES).unwrap().kubernetes.unwrap();
        assert_eq!(kubernetes.api_server, "https://kubernetes.default.svc");
        assert!(kubernetes.token_file.ends_with("serviceaccount/token"));
    }

    #[test]
    fn what_does_not_hold_is_named() {
        for (text, path) in [
            ("[limits]\nconnections = 0\n", "limits.connections"),
            (
                "[limits]\nrequest_bytes = 58720257\n",
                "limits.request_bytes",
            ),
            (
                "[limits]\nbodies_in_flight_bytes = 1024\n",
                "limits.bodies_in_flight_bytes",
            ),
            ("[limits]\nconnection = 1\n", "settings"),
            (
                "[[clients]]\nname = \"a\"\nrole = \"runner\"\n",
                "clients[0].pod_uid",
            ),
            (
                "[[clients]]\nname = \"a\"\nrole = \"auditor\"\npod_uid = \"p\"\n",
                "clients[0].pod_uid",
            ),
            (
                "[[clients]]\nname = \"a\"\nrole = \"auditor\"\n[[clients]]\nname = \"a\"\nrole = \"operator\"\n",
                "clients[1].name",
            ),
            (
                &format!("{KUBERNETES}api_server = \"http://x\"\n"),
                "kubernetes.api_server",
            ),
            (
                &format!("{KUBERNETES}review_cache_seconds = 301\n"),
                "kubernetes.review_cache_seconds",
            ),
        ] {
            assert_eq!(Config::parse(text).unwrap_err().path, path, "{text}");
        }
    }
}
