//! International bank account numbers (ISO 13616).

use super::ends;

/// 34 characters, a space after each, the byte after.
pub(super) const MAX_IBAN_BYTES: usize = 34 * 2 + 1;

/// Country and length (SWIFT IBAN registry, release 99), sorted.
const LENGTHS: [(&[u8; 2], usize); 87] = [
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"XK", 20),
];

/// An IBAN in either case, with or without single spaces: the country's length and mod 97.
pub(super) fn iban(window: &[u8]) -> Option<usize> {
    let country = window.get(..2)?.to_ascii_uppercase();
    let at = LENGTHS
        .binary_search_by(|(code, _)| code.as_slice().cmp(&country))
        .ok()?;
    let length = LENGTHS[at].1;
    let mut compact = [0; 34];
    let mut count = 0;
    let mut at = 0;
    while count < length {
        match window.get(at) {
            Some(byte) if byte.is_ascii_alphanumeric() => {
                compact[count] = byte.to_ascii_uppercase();
                count += 1;
            }
            Some(b' ') if at > 0 && window[at - 1] != b' ' => {}
            _ => return None,
        }
        at += 1;
    }
    let compact = &compact[..length];
    let is_checked = compact[2..4].iter().all(u8::is_ascii_digit) && mod_97(compact) == 1;
    if is_checked { ends(window, at) } else { None }
}

/// ISO 7064 mod 97-10 with the first four characters moved to the end.
fn mod_97(compact: &[u8]) -> u32 {
    let (front, rest) = compact.split_at(4);
    rest.iter().chain(front).fold(0, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    })
}
