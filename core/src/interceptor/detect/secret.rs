//! Keys and tokens with a known shape.

use super::{ends, run};

/// An AWS access key id: a four-letter prefix and sixteen capitals and digits.
pub(super) fn aws_key(window: &[u8]) -> Option<usize> {
    let is_prefix = [b"AKIA", b"ASIA", b"ABIA", b"ACCA"]
        .iter()
        .any(|p| window.starts_with(*p));
    let rest = window.get(4..)?;
    let length = run(rest, 16, |byte| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit()
    });
    if is_prefix && length == 16 {
        ends(window, 20)
    } else {
        None
    }
}

/// The most bytes of a token whose length its issuer leaves open.
const MAX_TOKEN_BYTES: usize = 256;

/// `prefix` and a run of at least `min` token bytes that ends at a boundary.
fn token(window: &[u8], prefix: &[u8], min: usize, is_part: fn(u8) -> bool) -> Option<usize> {
    let rest = window.strip_prefix(prefix)?;
    let length = run(rest, MAX_TOKEN_BYTES - prefix.len(), is_part);
    // Every prefix counts, so that what follows the token cannot hide it.
    (min..=length)
        .rev()
        .find_map(|length| ends(window, prefix.len() + length))
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn is_word_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_dash_token(byte: u8) -> bool {
    is_word_token(byte) || byte == b'-'
}

/// GitHub tokens: `ghp_`, `gho_`, `ghu_`, `ghs_`, `ghr_` and fine-grained `github_pat_`.
pub(super) fn github_token(window: &[u8]) -> Option<usize> {
    let classic = [b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"]
        .iter()
        .find_map(|prefix| token(window, *prefix, 36, is_alphanumeric));
    classic.or_else(|| token(window, b"github_pat_", 60, is_word_token))
}

/// A Google API key: `AIza` and 35 token bytes.
pub(super) fn google_api_key(window: &[u8]) -> Option<usize> {
    let rest = window.strip_prefix(b"AIza")?;
    if run(rest, 35, is_dash_token) == 35 {
        ends(window, 39)
    } else {
        None
    }
}

/// Slack tokens: `xoxa-`, `xoxb-`, `xoxe-`, `xoxp-`, `xoxr-`, `xoxs-`.
pub(super) fn slack_token(window: &[u8]) -> Option<usize> {
    [b"xoxa-", b"xoxb-", b"xoxe-", b"xoxp-", b"xoxr-", b"xoxs-"]
        .iter()
        .find_map(|prefix| token(window, *prefix, 10, is_dash_token))
}

/// Stripe keys: secret, restricted and publishable, live and test; webhook secrets.
pub(super) fn stripe_key(window: &[u8]) -> Option<usize> {
    [
        b"sk_live_",
        b"sk_test_",
        b"rk_live_",
        b"rk_test_",
        b"pk_live_",
        b"pk_test_",
    ]
    .iter()
    .find_map(|prefix| token(window, *prefix, 16, is_alphanumeric))
    .or_else(|| token(window, b"whsec_", 16, is_alphanumeric))
}

/// The front of a JSON Web Token (RFC 7519): base64url of `{"` and five bytes more.
pub(super) fn jwt_prefix(window: &[u8]) -> Option<usize> {
    let rest = window.strip_prefix(b"eyJ")?;
    (run(rest, 8, is_dash_token) == 8).then_some(11)
}

/// `Bearer` in any case, a separator, and sixteen token bytes with a digit among them (RFC 6750).
pub(super) fn bearer_prefix(window: &[u8]) -> Option<usize> {
    let rest = window
        .get(6..)
        .filter(|_| window[..6].eq_ignore_ascii_case(b"bearer"))?;
    let gap = run(rest, 8, |byte| matches!(byte, b' ' | b':' | b'='));
    let token = rest.get(gap..gap + 16).filter(|_| gap > 0)?;
    let holds = token
        .iter()
        .all(|byte| super::super::sticky::is_bearer(*byte))
        && token.iter().any(u8::is_ascii_digit);
    holds.then_some(6 + gap + 16)
}

/// `-----BEGIN … PRIVATE KEY-----` (RFC 7468).
pub(super) fn pem_prefix(window: &[u8]) -> Option<usize> {
    let rest = window.strip_prefix(b"-----BEGIN ")?;
    let label = run(rest, 48, |byte| byte.is_ascii_uppercase() || byte == b' ');
    let holds = rest[..label].ends_with(b"PRIVATE KEY") && rest[label..].starts_with(b"-----");
    holds.then_some(11 + label + 5)
}
