//! Who is asking.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axiom_hive_core::wire::ErrorCode;
use axum::http::{HeaderMap, header};

use super::authorize::Role;
use super::config::{ClientRole, Config, KubernetesConfig, LimitsConfig};
use super::refusal::Refusal;
use super::token_review::{TokenReviews, User};
use axiom_hive_client::tls::TlsError;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// DNS names and URIs of its certificate, which an authority of ours signed; none without one.
    pub(super) names: Arc<[String]>,
}

/// What a request shows of its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Credential<'a> {
    None,
    Token(&'a str),
    Certificate(&'a [String]),
}

/// Who is asking, as far as limits and permissions go.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// For rate limits and logs.
    pub(super) name: String,
    /// `None`: anybody.
    pub(super) role: Option<Role>,
}

/// Knows tokens and certificates.
#[derive(Debug)]
pub(super) struct Authentication {
    tokens: Option<(TokenReviews, KubernetesConfig)>,
    clients: HashMap<String, Role>,
}

impl Authentication {
    pub(super) fn new(config: &Config) -> Result<Self, TlsError> {
        let reviews = |kubernetes: &KubernetesConfig| {
            TokenReviews::new(kubernetes).map(|reviews| (reviews, kubernetes.clone()))
        };
        let client = |client: &super::config::ClientConfig| {
            let role = match (client.role, &client.pod_uid) {
                (ClientRole::Operator, _) => Role::Operator,
                (ClientRole::Runner, Some(pod_uid)) => Role::Runner {
                    pod_uid: pod_uid.clone(),
                },
                // A runner without a pod UID is refused when the settings are read.
                (ClientRole::Auditor | ClientRole::Runner, _) => Role::Auditor,
            };
            (client.name.clone(), role)
        };
        Ok(Self {
            tokens: config.kubernetes.as_ref().map(reviews).transpose()?,
            clients: config.clients.iter().map(client).collect(),
        })
    }

    /// Names the caller. `before_review` is asked before the API server is.
    pub(super) async fn identify(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        before_review: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<Caller, Refusal> {
        match Credential::of(headers, peer)? {
            Credential::None => Ok(Caller {
                name: peer.address.to_string(),
                role: None,
            }),
            Credential::Certificate(names) => self.by_certificate(names),
            Credential::Token(token) => {
                let Some((reviews, kubernetes)) = &self.tokens else {
                    return Err(unauthenticated("no bearer token is accepted here"));
                };
                let user = if let Some(known) = reviews.known(token) {
                    known?
                } else {
                    before_review()?;
                    reviews.review(token).await?
                };
                Ok(by_user(kubernetes, user))
            }
        }
    }

    fn by_certificate(&self, names: &[String]) -> Result<Caller, Refusal> {
        let mut known = names.iter().filter_map(|name| {
            let role = self.clients.get(name)?;
            Some((name, role))
        });
        match (known.next(), known.next()) {
            (Some((name, role)), None) => Ok(Caller {
                name: name.clone(),
                role: Some(role.clone()),
            }),
            _ => Err(unauthenticated(
                "the client certificate must have exactly one name that the settings list",
            )),
        }
    }
}

/// A user without a role may still read what anybody may.
fn by_user(kubernetes: &KubernetesConfig, user: User) -> Caller {
    let User { name, pod_uid } = user;
    let mut parts = name
        .strip_prefix("system:serviceaccount:")
        .unwrap_or_default()
        .split(':');
    let (_namespace, account) = (parts.next(), parts.next());
    let role = if name == kubernetes.operator {
        Some(Role::Operator)
    } else if kubernetes.auditors.contains(&name) {
        Some(Role::Auditor)
    } else if account == Some(kubernetes.runner_service_account.as_str()) {
        pod_uid.clone().map(|pod_uid| Role::Runner { pod_uid })
    } else {
        None
    };
    Caller {
        // Runners of a namespace share a user: the pod is who they are.
        name: pod_uid.map_or_else(|| name.clone(), |uid| format!("{name}/{uid}")),
        role,
    }
}

impl<'a> Credential<'a> {
    fn of(headers: &'a HeaderMap, peer: &'a Peer) -> Result<Self, Refusal> {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        match (given.next(), given.next()) {
            (None, _) if peer.names.is_empty() => Ok(Self::None),
            (None, _) => Ok(Self::Certificate(&peer.names)),
            (Some(value), None) => {
                let text = value.to_str().unwrap_or_default();
                let (scheme, token) = text.split_once(' ').unwrap_or_default();
                if scheme.eq_ignore_ascii_case("bearer") {
                    Ok(Self::Token(token.trim()))
                } else {
                    Err(unauthenticated(
                        "the header Authorization must be \"Bearer TOKEN\"",
                    ))
                }
            }
            _ => Err(unauthenticated("the header Authorization must come once")),
        }
    }
}

impl Caller {
    /// Whoever may do more than read what is public.
    pub(super) fn role(&self) -> Result<&Role, Refusal> {
        let must = "this needs the token of a runner pod, the operator or an auditor, or a client certificate";
        self.role.as_ref().ok_or_else(|| unauthenticated(must))
    }

    pub(super) fn requests_per_second(&self, limits: &LimitsConfig) -> u32 {
        match self.role {
            Some(Role::Operator) => limits.operator_requests_per_second,
            Some(Role::Runner { .. }) => limits.runner_requests_per_second,
            Some(Role::Auditor) | None => limits.reader_requests_per_second,
        }
    }
}

fn unauthenticated(must: &str) -> Refusal {
    Refusal::new(ErrorCode::Unauthenticated, must)
}
