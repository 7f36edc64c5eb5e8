//! The built-in detectors of catalogue 1.
//!
//! A detector looks at the folded view from the first character of a word (or from one of a few
//! leading signs) and says how many bytes it covers. It is bounded, uses no context but its window,
//! and ends before a character that is no part of a word: that is what makes the scan independent of
//! chunks, and filtering idempotent. Whether a prefix of the window is a match depends on no byte but
//! the one after it; else a replacement further on could make a match that was none. Validators (Luhn, mod 97, ranges) decide; nothing is guessed by a
//! model.

mod card;
mod contact;
mod iban;
mod network;
mod secret;

use super::fold::is_edge;
use super::sticky::Sticky;
use crate::constitution::Category;

/// A built-in detector.
pub(super) struct Detector {
    pub(super) id: &'static str,
    pub(super) category: Category,
    pub(super) kind: Kind,
    /// The most bytes it looks at, the one after its match included.
    pub(super) max_bytes: usize,
    /// Whether a match can begin with these three bytes, each asked for alone: most words are dismissed
    /// by it.
    pub(super) leads: Leads,
}

/// What the first three bytes of a match can be.
pub(super) type Leads = [fn(u8) -> bool; 3];

/// How far a match goes.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// The detector returns the length of the match.
    Bounded(fn(&[u8]) -> Option<usize>),
    /// The detector returns the length of a prefix that is certain; the rest is swallowed.
    Sticky(Sticky, fn(&[u8]) -> Option<usize>),
}

const fn pii(
    id: &'static str,
    find: fn(&[u8]) -> Option<usize>,
    max_bytes: usize,
    leads: Leads,
) -> Detector {
    Detector {
        id,
        category: Category::Pii,
        kind: Kind::Bounded(find),
        max_bytes,
        leads,
    }
}

const fn secret(
    id: &'static str,
    find: fn(&[u8]) -> Option<usize>,
    max_bytes: usize,
    leads: Leads,
) -> Detector {
    Detector {
        id,
        category: Category::Secret,
        kind: Kind::Bounded(find),
        max_bytes,
        leads,
    }
}

const fn sticky(
    id: &'static str,
    how: Sticky,
    prefix: fn(&[u8]) -> Option<usize>,
    max_bytes: usize,
    leads: Leads,
) -> Detector {
    Detector {
        id,
        category: Category::Secret,
        kind: Kind::Sticky(how, prefix),
        max_bytes,
        leads,
    }
}

fn any(_: u8) -> bool {
    true
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic()
}

/// A digit, or what may stand between two of them.
fn is_digit_or_gap(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b' ' | b'-' | b'.' | b'(' | b')' | b'/')
}

fn is_hex_or_colon(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || byte == b':'
}

/// Every detector of catalogue 1, in the order of their ids.
pub(super) static CATALOGUE_1: [Detector; 16] = [
    secret(
        "aws_key",
        secret::aws_key,
        21,
        [
            |b| b == b'A',
            |b| matches!(b, b'K' | b'S' | b'B' | b'C'),
            |b| matches!(b, b'I' | b'C'),
        ],
    ),
    sticky(
        "bearer",
        Sticky::Bearer,
        secret::bearer_prefix,
        40,
        [
            |b| matches!(b, b'B' | b'b'),
            |b| matches!(b, b'E' | b'e'),
            |b| matches!(b, b'A' | b'a'),
        ],
    ),
    pii(
        "email",
        contact::email,
        contact::MAX_EMAIL_BYTES,
        [contact::begins_email, any, any],
    ),
    secret(
        "github_token",
        secret::github_token,
        257,
        [
            |b| b == b'g',
            |b| matches!(b, b'h' | b'i'),
            |b| matches!(b, b'p' | b'o' | b'u' | b's' | b'r' | b't'),
        ],
    ),
    secret(
        "google_api_key",
        secret::google_api_key,
        40,
        [|b| b == b'A', |b| b == b'I', |b| b == b'z'],
    ),
    pii(
        "iban",
        iban::iban,
        iban::MAX_IBAN_BYTES,
        [is_letter, is_letter, |b| is_digit(b) || b == b' '],
    ),
    pii(
        "ipv4",
        network::ipv4,
        16,
        [is_digit, is_digit_or_gap, is_digit_or_gap],
    ),
    pii(
        "ipv6",
        network::ipv6,
        56,
        [is_hex_or_colon, is_hex_or_colon, is_hex_or_colon],
    ),
    sticky(
        "jwt",
        Sticky::Jwt,
        secret::jwt_prefix,
        16,
        [|b| b == b'e', |b| b == b'y', |b| b == b'J'],
    ),
    pii(
        "mac",
        network::mac,
        18,
        [is_hex, is_hex, |b| is_hex_or_colon(b) || b == b'-'],
    ),
    pii(
        "payment_card",
        card::payment_card,
        card::MAX_CARD_BYTES,
        [is_digit, is_digit_or_gap, is_digit_or_gap],
    ),
    sticky(
        "pem_private_key",
        Sticky::Pem,
        secret::pem_prefix,
        64,
        [|b| b == b'-', |b| b == b'-', |b| b == b'-'],
    ),
    pii(
        "phone",
        contact::phone,
        contact::MAX_PHONE_BYTES,
        [
            |b| is_digit(b) || matches!(b, b'+' | b'('),
            is_digit_or_gap,
            is_digit_or_gap,
        ],
    ),
    secret(
        "slack_token",
        secret::slack_token,
        257,
        [|b| b == b'x', |b| b == b'o', |b| b == b'x'],
    ),
    secret(
        "stripe_key",
        secret::stripe_key,
        257,
        [
            |b| matches!(b, b's' | b'r' | b'p' | b'w'),
            |b| matches!(b, b'k' | b'h'),
            |b| matches!(b, b'_' | b's'),
        ],
    ),
    pii("us_ssn", card::us_ssn, 12, [is_digit, is_digit, is_digit]),
];

/// `length`, if a match of so many bytes ends at the edge of a word.
fn ends(window: &[u8], length: usize) -> Option<usize> {
    is_edge(window, length).then_some(length)
}

/// Bytes at the front of `window`, at most `max`, that `is_part` accepts.
fn run(window: &[u8], max: usize, is_part: impl Fn(u8) -> bool) -> usize {
    window
        .iter()
        .take(max)
        .take_while(|byte| is_part(**byte))
        .count()
}
