//! Numbers with a check: payment cards and US social security numbers.

use super::ends;

const MIN_CARD_DIGITS: usize = 13;
const MAX_CARD_DIGITS: usize = 19;
/// 19 digits, a separator after each but the last, the byte after.
pub(super) const MAX_CARD_BYTES: usize = MAX_CARD_DIGITS * 2;

/// A payment card number (ISO/IEC 7812): 13 to 19 digits, first digit 2 to 6, single spaces or
/// hyphens between, Luhn check. The longest that holds.
pub(super) fn payment_card(window: &[u8]) -> Option<usize> {
    if !matches!(window.first(), Some(b'2'..=b'6')) {
        return None;
    }
    let mut digits = [0; MAX_CARD_DIGITS];
    let mut ends_at = [0; MAX_CARD_DIGITS];
    let mut count = 0;
    let mut at = 0;
    while count < MAX_CARD_DIGITS {
        match window.get(at) {
            Some(byte) if byte.is_ascii_digit() => {
                digits[count] = byte - b'0';
                at += 1;
                ends_at[count] = at;
                count += 1;
            }
            Some(b' ' | b'-') if window.get(at + 1).is_some_and(u8::is_ascii_digit) => at += 1,
            _ => break,
        }
    }
    (MIN_CARD_DIGITS..=count).rev().find_map(|length| {
        let end = ends(window, ends_at[length - 1])?;
        is_luhn(&digits[..length]).then_some(end)
    })
}

/// ISO/IEC 7812-1 annex B.
fn is_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(*digit);
            if at.is_multiple_of(2) {
                digit
            } else {
                digit * 2 / 10 + digit * 2 % 10
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// A US social security number `AAA-GG-SSSS` with hyphens or spaces: area not 000, 666 or 9xx,
/// group not 00, serial not 0000 (SSA rules since 2011).
pub(super) fn us_ssn(window: &[u8]) -> Option<usize> {
    let text = window.get(..11)?;
    let separator = text[3];
    let is_shaped = matches!(separator, b'-' | b' ')
        && text[6] == separator
        && [0, 1, 2, 4, 5, 7, 8, 9, 10]
            .iter()
            .all(|at| text[*at].is_ascii_digit());
    let (area, group, serial) = (&text[..3], &text[4..6], &text[7..]);
    let is_issued =
        area != b"000" && area != b"666" && area[0] != b'9' && group != b"00" && serial != b"0000";
    if is_shaped && is_issued {
        ends(window, 11)
    } else {
        None
    }
}
