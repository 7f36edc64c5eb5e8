//! Network addresses.

use super::{ends, run};

/// Four decimal octets without leading zeros.
pub(super) fn ipv4(window: &[u8]) -> Option<usize> {
    let mut at = 0;
    for octet in 0..4 {
        let digits = run(&window[at..], 3, |byte| byte.is_ascii_digit());
        let text = &window[at..at + digits];
        let value = text
            .iter()
            .fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
        if digits == 0 || value > 255 || (digits > 1 && text[0] == b'0') {
            return None;
        }
        at += digits;
        if octet < 3 {
            if window.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
    }
    ends(window, at)
}

/// The longest prefix that is an IPv6 address as RFC 4291 section 2.2 writes them. One with fewer than
/// four characters or without a digit (`a::b` is also how programs write paths) is not taken for one.
/// Every prefix counts, so that what follows the address cannot hide it.
pub(super) fn ipv6(window: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut groups = 0;
    let mut is_compressed = window.starts_with(b"::");
    let mut best = None;
    if is_compressed {
        at = 2;
    }
    loop {
        let tail = ipv4(&window[at.min(window.len())..]);
        if let Some(length) = tail.filter(|_| groups == 6 || (is_compressed && groups < 6)) {
            best = Some(at + length);
        }
        let digits = run(&window[at.min(window.len())..], 4, |byte| {
            byte.is_ascii_hexdigit()
        });
        if digits == 0 || groups == 8 {
            break;
        }
        at += digits;
        groups += 1;
        if groups == 8 || is_compressed {
            best = ends(window, at).or(best);
        }
        match (window.get(at), window.get(at + 1)) {
            (Some(b':'), Some(b':')) if !is_compressed && groups < 8 => {
                is_compressed = true;
                at += 2;
                best = ends(window, at).or(best);
            }
            (Some(b':'), Some(_)) => at += 1,
            _ => break,
        }
    }
    let length = best?;
    let has_digit = window[..length].iter().any(u8::is_ascii_digit);
    if length >= 4 && has_digit && groups <= 8 {
        Some(length)
    } else {
        None
    }
}

/// A MAC address: six pairs with colons or hyphens, or three groups of four with dots.
pub(super) fn mac(window: &[u8]) -> Option<usize> {
    grouped(window, 2, 6, b":-").or_else(|| grouped(window, 4, 3, b"."))
}

fn grouped(window: &[u8], size: usize, groups: usize, separators: &[u8]) -> Option<usize> {
    let length = (size + 1) * groups - 1;
    let text = window.get(..length)?;
    let separator = text[size];
    let holds = separators.contains(&separator)
        && text.iter().enumerate().all(|(at, byte)| {
            if at % (size + 1) == size {
                *byte == separator
            } else {
                byte.is_ascii_hexdigit()
            }
        });
    if holds { ends(window, length) } else { None }
}
