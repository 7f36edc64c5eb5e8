//! E-mail addresses and telephone numbers.

use super::{ends, run};
use crate::interceptor::fold::{OTHER_LETTER, is_word};

/// RFC 5321 section 4.5.3.1: 64 bytes before the `@`, 253 usable after it; the byte after.
pub(super) const MAX_EMAIL_BYTES: usize = 64 + 1 + 253 + 1;
const MAX_LOCAL_BYTES: usize = 64;
const MAX_DOMAIN_BYTES: usize = 253;

pub(super) fn begins_email(byte: u8) -> bool {
    is_word(byte)
}

fn is_local(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'.' | b'%' | b'+' | b'-' | b'\'')
}

fn is_label(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == OTHER_LETTER
}

/// An e-mail address: a local part without quotes, a domain of at least two labels whose last one has
/// two letters or more, or is the ASCII form of such a one (`xn--`, RFC 5890).
pub(super) fn email(window: &[u8]) -> Option<usize> {
    let local = run(window, MAX_LOCAL_BYTES + 1, is_local);
    if local > MAX_LOCAL_BYTES || window.get(local) != Some(&b'@') {
        return None;
    }
    let domain = &window[local + 1..window.len().min(local + 1 + MAX_DOMAIN_BYTES + 1)];
    Some(local + 1 + domain_length(domain)?)
}

/// The longest prefix that is a domain.
fn domain_length(domain: &[u8]) -> Option<usize> {
    let mut best = None;
    let mut at = 0;
    let mut labels = 0;
    loop {
        let label = run(&domain[at..], 64, |byte| is_label(byte) || byte == b'-');
        if label == 0 || domain[at] == b'-' {
            return best;
        }
        labels += 1;
        for last in last_labels(&domain[at..at + label]) {
            if labels > 1 && at + last <= MAX_DOMAIN_BYTES {
                best = ends(domain, at + last).or(best);
            }
        }
        at += label;
        // A label that is too long ends the address, but hides no shorter one in front of it.
        if label > 63 || domain.get(at) != Some(&b'.') || at >= MAX_DOMAIN_BYTES {
            return best;
        }
        at += 1;
    }
}

/// The lengths of what can end a domain at the start of a label, ascending. Each depends on no byte
/// behind it: a longer one that fails takes no shorter one with it.
fn last_labels(label: &[u8]) -> impl Iterator<Item = usize> {
    const ENCODED: usize = 4;
    let letters = run(label, 63, |byte| is_label(byte) && !byte.is_ascii_digit());
    let prefix = label.get(..ENCODED);
    let is_encoded = prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"xn--"));
    let encoded = if is_encoded {
        ENCODED + 1..label.len().min(63) + 1
    } else {
        0..0
    };
    let encoded = encoded.filter(|length| label[length - 1] != b'-');
    (letters >= 2).then_some(letters).into_iter().chain(encoded)
}

const MAX_PHONE_DIGITS: usize = 15;
/// `+`, 15 digits with at most two separators after each, the byte after.
pub(super) const MAX_PHONE_BYTES: usize = 1 + MAX_PHONE_DIGITS * 3 + 1;

/// A telephone number: `+` and 8 to 15 digits (E.164) with spaces, dots, hyphens, slashes or
/// parentheses between; or a North American number with separators, `NXX-NXX-XXXX`, `(NXX) NXX-XXXX`,
/// with or without a leading 1. Ten digits in a row are more often an order or an account than a
/// telephone number, and are none here: a policy that knows better has a pattern for them.
pub(super) fn phone(window: &[u8]) -> Option<usize> {
    if window.first() == Some(&b'+') {
        return international(window);
    }
    let country = match window {
        [b'1', b' ' | b'-' | b'.', ..] => 2,
        _ => 0,
    };
    Some(country + north_american(&window[country..])?)
}

fn international(window: &[u8]) -> Option<usize> {
    let mut at = 1;
    let mut digits = 0;
    let mut best = None;
    while digits < MAX_PHONE_DIGITS {
        let separators = run(&window[at..], 2, |b| {
            matches!(b, b' ' | b'.' | b'-' | b'/' | b'(' | b')')
        });
        // The country code follows the sign at once.
        if digits == 0 && separators > 0 {
            return None;
        }
        match window.get(at + separators) {
            Some(byte) if byte.is_ascii_digit() => at += separators + 1,
            _ => break,
        }
        if digits == 0 && window[at - 1] == b'0' {
            return None;
        }
        digits += 1;
        if digits >= 8 {
            best = ends(window, at).or(best);
        }
    }
    best
}

fn north_american(window: &[u8]) -> Option<usize> {
    let (area, mut at) = match window.first()? {
        b'(' => {
            let space = usize::from(window.get(5) == Some(&b' '));
            (
                window.get(1..4).filter(|_| window.get(4) == Some(&b')'))?,
                5 + space,
            )
        }
        _ => (window.get(..3).filter(|_| is_separator(window.get(3)))?, 4),
    };
    let exchange = window
        .get(at..at + 3)
        .filter(|_| is_separator(window.get(at + 3)))?;
    at += 4;
    let is_code = |code: &[u8]| {
        matches!(code[0], b'2'..=b'9') && code[1..] != *b"11" && code.iter().all(u8::is_ascii_digit)
    };
    let line = window.get(at..at + 4)?;
    let holds = is_code(area) && is_code(exchange) && line.iter().all(u8::is_ascii_digit);
    if holds { ends(window, at + 4) } else { None }
}

fn is_separator(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b' ' | b'-' | b'.'))
}
