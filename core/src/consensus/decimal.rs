//! Exact decimals of bounded length, quantised without a float.

/// A decimal text may have at most this many digits.
const MAX_DIGITS: usize = 64;

/// Reads `[+-]digits[.digits]` and rounds half to even to `decimals` places. The result is the
/// canonical text: no leading zeros, exactly `decimals` places, no negative zero. `None` for
/// anything else, thousands separators and exponents included, and beyond [`MAX_DIGITS`].
///
/// A quantum is used and no tolerance, because "within ε" is not transitive and would make the
/// classes depend on the order of the votes.
pub(super) fn quantise(text: &str, decimals: u32) -> Option<String> {
    let text = text.trim();
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    if whole.len() + fraction.len() > MAX_DIGITS || (fraction.is_empty() && digits.contains('.')) {
        return None;
    }
    let places = usize::try_from(decimals).ok()?;
    let kept = fraction.len().min(places);
    let mut scaled: Vec<u8> = whole.bytes().chain(fraction.bytes().take(kept)).collect();
    scaled.resize(whole.len() + places, b'0');
    if rounds_up(scaled.last().copied(), &fraction.as_bytes()[kept..]) {
        increment(&mut scaled);
    }
    Some(format(negative, &scaled, places))
}

/// Half to even: up above one half, and at one half when the last kept digit is odd.
fn rounds_up(last: Option<u8>, rest: &[u8]) -> bool {
    let Some((first, tail)) = rest.split_first() else {
        return false;
    };
    let is_odd = last.is_some_and(|digit| (digit - b'0') % 2 == 1);
    match first.cmp(&b'5') {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => is_odd || tail.iter().any(|digit| *digit != b'0'),
    }
}

fn increment(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
    digits.insert(0, b'1');
}

fn format(negative: bool, scaled: &[u8], places: usize) -> String {
    let (whole, fraction) = scaled.split_at(scaled.len() - places);
    let text = |digits: &[u8]| {
        digits
            .iter()
            .map(|digit| char::from(*digit))
            .collect::<String>()
    };
    let whole = text(whole);
    let whole = whole.trim_start_matches('0');
    let is_zero = scaled.iter().all(|digit| *digit == b'0');
    let mut out = String::from(if negative && !is_zero { "-" } else { "" });
    out.push_str(if whole.is_empty() { "0" } else { whole });
    if places > 0 {
        out.push('.');
        out.push_str(&text(fraction));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::quantise;

    #[test]
    fn rounds_half_to_even_exactly() {
        for (text, decimals, expected) in [
            ("2.5", 0, Some("2")),
            ("3.5", 0, Some("4")),
            ("2.5000000000000000000000001", 0, Some("3")),
            ("-0.4", 0, Some("0")),
            ("-0.6", 0, Some("-1")),
            ("+007.125", 2, Some("7.12")),
            ("7.135", 2, Some("7.14")),
            ("9.99", 1, Some("10.0")),
            ("42", 2, Some("42.00")),
            (" 42 ", 0, Some("42")),
            ("42.", 0, None),
            (".5", 0, None),
            ("1,000", 0, None),
            ("1e3", 0, None),
            ("--1", 0, None),
            ("", 0, None),
            ("-", 0, None),
            ("٤٢", 0, None),
        ] {
            assert_eq!(
                quantise(text, decimals).as_deref(),
                expected,
                "{text} to {decimals}"
            );
        }
    }

    #[test]
    fn more_digits_than_the_bound_are_no_number() {
        assert!(quantise(&"1".repeat(64), 0).is_some());
        assert!(quantise(&"1".repeat(65), 0).is_none());
    }
}
