//! Bearer tokens, judged by an API server: `TokenReview` of `authentication.k8s.io/v1`.
//!
//! The API server says whether a token holds (signature, expiry, audience, that its pod still
//! exists) and whom it names. Its verdict is kept for a bounded time, and never beyond the token's
//! own end, so that a runner costs it one review and not one a request.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axiom_hive_core::wire::ErrorCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Client;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::config::KubernetesConfig;
use super::refusal::Refusal;
use axiom_hive_client::tls::{TlsError, http_client, read};

const REVIEW_PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// A review takes milliseconds; an API server that takes longer is not there.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);
/// Reviews at once.
const MAX_REVIEWS: usize = 16;
/// Verdicts kept at once.
const MAX_VERDICTS: usize = 20_000;
/// Upper bound of a token, in bytes; those of Kubernetes have about 1000.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// How long a token that does not hold is refused without asking again.
const REFUSED_FOR: Duration = Duration::from_secs(5);

/// Whom a token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    /// `system:serviceaccount:<namespace>:<name>`, or another user.
    pub(super) name: String,
    /// The pod that the token is bound to.
    pub(super) pod_uid: Option<String>,
}

/// Asks an API server, and remembers.
#[derive(Debug)]
pub(super) struct TokenReviews {
    client: Client,
    url: String,
    audience: String,
    own_token: PathBuf,
    keep: Duration,
    /// By the SHA-256 of the token: a dump of this memory gives none away.
    verdicts: Mutex<HashMap<[u8; 32], Verdict>>,
    slots: Semaphore,
}

#[derive(Debug, Clone)]
struct Verdict {
    /// `None`: the token does not hold.
    user: Option<User>,
    until: Instant,
}

impl TokenReviews {
    pub(super) fn new(config: &KubernetesConfig) -> Result<Self, TlsError> {
        Ok(Self {
            client: http_client(&read(&config.ca_file)?, None)?,
            url: format!("{}{REVIEW_PATH}", config.api_server.trim_end_matches('/')),
            audience: config.audience.clone(),
            own_token: config.token_file.clone(),
            keep: Duration::from_secs(config.review_cache_seconds.into()),
            verdicts: Mutex::default(),
            slots: Semaphore::new(MAX_REVIEWS),
        })
    }

    /// What is known of a token without asking.
    pub(super) fn known(&self, token: &str) -> Option<Result<User, Refusal>> {
        let verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = verdicts.get(&digest(token))?;
        (verdict.until > Instant::now()).then(|| verdict.user.clone().ok_or_else(refused))
    }

    /// Asks the API server.
    pub(super) async fn review(&self, token: &str) -> Result<User, Refusal> {
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Err(refused());
        }
        let busy = |_| Refusal::unavailable("too many tokens are being reviewed");
        let _slot = self.slots.try_acquire().map_err(busy)?;
        let asked = self.ask(token).await.map_err(|why| {
            tracing::warn!(why, "a token could not be reviewed");
            Refusal::unavailable("the API server must answer a token review")
        })?;
        let user = asked.filter(|_| !is_over(token));
        let now = Instant::now();
        let until = match &user {
            Some(_) => now + self.keep.min(remaining(token)),
            None => now + REFUSED_FOR,
        };
        self.remember(
            token,
            Verdict {
                user: user.clone(),
                until,
            },
        );
        user.ok_or_else(refused)
    }

    fn remember(&self, token: &str, verdict: Verdict) {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if verdicts.len() >= MAX_VERDICTS {
            let now = Instant::now();
            verdicts.retain(|_, verdict| verdict.until > now);
            if verdicts.len() >= MAX_VERDICTS {
                // Asking once more is cheaper than remembering which one to forget.
                verdicts.clear();
            }
        }
        verdicts.insert(digest(token), verdict);
    }

    /// `None` when the token does not hold; an error when nobody can say.
    async fn ask(&self, token: &str) -> Result<Option<User>, String> {
        // Read anew each time: the kubelet replaces it long before it ends.
        let own = tokio::fs::read_to_string(&self.own_token).await;
        let own = own.map_err(|error| format!("{}: {error}", self.own_token.display()))?;
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self.audience]},
        });
        let call = self.client.post(&self.url).bearer_auth(own.trim());
        let call = call.timeout(REVIEW_TIMEOUT).json(&review).send();
        let response = call.await.map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            return Err(format!("status {}", response.status()));
        }
        let review: Review = response.json().await.map_err(|error| error.to_string())?;
        Ok(review.status.user_for(&self.audience))
    }
}

fn refused() -> Refusal {
    let must =
        "the token must hold for this service: not expired, for its audience, of a pod that exists";
    Refusal::new(ErrorCode::Unauthenticated, must)
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// What is left of a token, by its own word; the API server vouched for it.
fn remaining(token: &str) -> Duration {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let left = |end: u64| Duration::from_secs(end).saturating_sub(now);
    expiry(token).map_or(Duration::MAX, left)
}

fn is_over(token: &str) -> bool {
    remaining(token).is_zero()
}

/// The claim `exp` of a JSON Web Token (RFC 7519 section 4.1.4), in seconds since the Unix epoch.
fn expiry(token: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    Some(claims.exp)
}

#[derive(Deserialize)]
struct Review {
    #[serde(default)]
    status: ReviewStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReviewStatus {
    authenticated: bool,
    user: ReviewUser,
    audiences: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ReviewUser {
    username: String,
    extra: HashMap<String, Vec<String>>,
}

impl ReviewStatus {
    /// An API server that knows no audiences leaves them out: its word is then about itself only.
    fn user_for(self, audience: &str) -> Option<User> {
        let holds = self.authenticated
            && !self.user.username.is_empty()
            && self.audiences.iter().any(|named| named == audience);
        holds.then(|| {
            let pod = self.user.extra.get("authentication.kubernetes.io/pod-uid");
            User {
                pod_uid: pod.and_then(|values| match values.as_slice() {
                    [uid] => Some(uid.clone()),
                    _ => None,
                }),
                name: self.user.username,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(status: &serde_json::Value) -> Option<User> {
        let review: Review = serde_json::from_value(json!({ "status": status })).unwrap();
        review.status.user_for("ours")
    }

    #[test]
    fn a_user_counts_only_when_authenticated_for_this_audience() {
        let extra = json!({"authentication.kubernetes.io/pod-uid": ["p"]});
        let user = json!({"username": "u", "extra": extra});
        let named = read(&json!({"authenticated": true, "user": user, "audiences": ["ours"]}));
        let expected = User {
            name: "u".to_owned(),
            pod_uid: Some("p".to_owned()),
        };
        assert_eq!(named, Some(expected));
        for status in [
            json!({"authenticated": false, "user": user, "audiences": ["ours"]}),
            json!({"authenticated": true, "user": user, "audiences": ["theirs"]}),
            json!({"authenticated": true, "user": user}),
            json!({"authenticated": true, "audiences": ["ours"]}),
            json!({}),
        ] {
            assert_eq!(read(&status), None, "{status}");
        }
    }

    #[test]
    fn a_token_of_two_pods_is_of_none() {
        let extra = json!({"authentication.kubernetes.io/pod-uid": ["p", "q"]});
        let user = json!({"username": "u", "extra": extra});
        let named = read(&json!({"authenticated": true, "user": user, "audiences": ["ours"]}));
        assert_eq!(named.unwrap().pod_uid, None);
    }

    #[test]
    fn the_end_of_a_token_is_read_from_it() {
        let claims = URL_SAFE_NO_PAD.encode(br#"{"exp":1700000000,"sub":"x"}"#);
        assert_eq!(expiry(&format!("h.{claims}.s")), Some(1_700_000_000));
        assert!(is_over(&format!("h.{claims}.s")));
        for token in ["", "opaque", "a.b.c"] {
            assert_eq!(expiry(token), None);
            assert!(!is_over(token));
        }
    }
}
