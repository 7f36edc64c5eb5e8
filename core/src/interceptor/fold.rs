//! The folded view of one character: what rules match on. Catalogue 1.
//!
//! Folding looks at one character alone and gives one byte, or nothing for a character that a reader
//! does not see. What can be seen of ASCII stands for itself. A released table never changes; a better
//! one is a new catalogue.

/// A letter or digit of another script: part of a word.
pub(super) const OTHER_LETTER: u8 = 0x80;
/// Any other character: part of no word.
pub(super) const OTHER_SYMBOL: u8 = 0x81;

/// Whether a folded byte is part of a word.
pub(super) fn is_word(byte: u8) -> bool {
    WORD[byte as usize]
}

/// A table, because the scan asks this of every byte.
const WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let value = byte as u8;
        table[byte] = value.is_ascii_alphanumeric() || value == b'_' || value == OTHER_LETTER;
        byte += 1;
    }
    table
};

/// Whether a match of the first `length` bytes ends at the edge of a word. Together with the same test
/// at its front this makes filtering idempotent: where it fails, a word goes on, and no other finding
/// can begin there.
pub(super) fn is_edge(window: &[u8], length: usize) -> bool {
    let is_inside = |at: usize| window.get(at).is_some_and(|byte| is_word(*byte));
    !(is_inside(length) && length > 0 && is_inside(length - 1))
}

/// Whether a folded byte may stand in no match, because placeholders, marks and masks are made of
/// these. What rules replace can therefore never become part of a later match.
pub(super) fn is_reserved(byte: u8) -> bool {
    matches!(byte, b'[' | b']' | b'*')
}

/// Whether a byte is a character of ASCII that stands for itself: not a control character, but for
/// tab, line feed and carriage return.
pub(super) fn stands_for_itself(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r')
}

/// The folded byte of a character that does not stand for itself; `None` for one that is dropped.
pub(super) fn fold(c: char) -> Option<u8> {
    if is_dropped(c) {
        return None;
    }
    let code = u32::from(c);
    let folded = match c {
        // Full-width forms of all of printable ASCII.
        '\u{ff01}'..='\u{ff5e}' => (code - 0xfee0) as u8,
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => {
            b' '
        }
        '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => b'\n',
        '\u{2010}'..='\u{2015}' | '\u{2043}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' => b'-',
        '\u{2024}' | '\u{3002}' | '\u{fe52}' | '\u{ff61}' => b'.',
        '\u{fe6b}' => b'@',
        '\u{2044}' | '\u{2215}' => b'/',
        '\u{2236}' | '\u{fe55}' | '\u{a789}' => b':',
        '\u{fe62}' => b'+',
        '\u{2018}' | '\u{2019}' | '\u{2032}' => b'\'',
        '\u{201c}' | '\u{201d}' | '\u{2033}' => b'"',
        _ => {
            return Some(
                digit(code)
                    .or_else(|| letter(c))
                    .unwrap_or_else(|| class(code)),
            );
        }
    };
    Some(folded)
}

/// Characters that a reader does not see, or sees as part of the one before: control characters,
/// zero-width and bidi controls, soft hyphen, variation selectors, tags, combining marks.
fn is_dropped(c: char) -> bool {
    matches!(c,
        '\0'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}'
        | '\u{ad}' | '\u{300}'..='\u{36f}' | '\u{61c}' | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{20d0}'..='\u{20ff}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{fe20}'..='\u{fe2f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// The zeros of scripts whose ten decimal digits are consecutive (general category Nd), ascending.
const ZEROS: [u32; 46] = [
    0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66,
    0x0de6, 0x0e50, 0x0ed0, 0x0f20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90,
    0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0,
    0x104a0, 0x11066, 0x110f0, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e950,
    0x1fbf0,
];

fn digit(code: u32) -> Option<u8> {
    let value = match code {
        0x00b2 | 0x00b3 => code - 0x00b0,
        0x00b9 => 1,
        0x2070 | 0x2074..=0x2079 => code - 0x2070,
        0x2080..=0x2089 => code - 0x2080,
        0x2460..=0x2468 => code - 0x245f,
        0x24ea => 0,
        _ => {
            let zero = ZEROS.partition_point(|zero| *zero <= code).checked_sub(1)?;
            Some(code - ZEROS[zero]).filter(|value| *value < 10)?
        }
    };
    Some(b'0' + value as u8)
}

/// Letters that look like a Latin one (a small own table), styled Latin letters.
fn letter(c: char) -> Option<u8> {
    let code = u32::from(c);
    let folded = match c {
        // Thirteen mathematical alphabets of 52 letters each.
        '\u{1d400}'..='\u{1d6a3}' => {
            let at = ((code - 0x1d400) % 52) as u8;
            if at < 26 { b'A' + at } else { b'a' + at - 26 }
        }
        '\u{24b6}'..='\u{24cf}' => b'A' + (code - 0x24b6) as u8,
        '\u{24d0}'..='\u{24e9}' => b'a' + (code - 0x24d0) as u8,
        'А' | 'Α' => b'A',
        'В' | 'Β' => b'B',
        'С' | 'Ϲ' => b'C',
        'Е' | 'Ε' => b'E',
        'Н' | 'Η' => b'H',
        'І' | 'Ι' | 'Ӏ' => b'I',
        'Ј' => b'J',
        'К' | 'Κ' => b'K',
        'М' | 'Μ' => b'M',
        'Ν' => b'N',
        'О' | 'Ο' => b'O',
        'Р' | 'Ρ' => b'P',
        'Ѕ' => b'S',
        'Т' | 'Τ' => b'T',
        'Х' | 'Χ' => b'X',
        'У' | 'Υ' => b'Y',
        'Ζ' => b'Z',
        'а' | 'α' => b'a',
        'с' | 'ϲ' => b'c',
        'ԁ' => b'd',
        'е' => b'e',
        'һ' => b'h',
        'і' | 'ι' | 'ı' => b'i',
        'ј' => b'j',
        'к' | 'κ' => b'k',
        'ӏ' => b'l',
        'м' => b'm',
        'о' | 'ο' => b'o',
        'р' | 'ρ' => b'p',
        'ѕ' => b's',
        'т' | 'τ' => b't',
        'ν' => b'v',
        'ԝ' => b'w',
        'х' | 'χ' => b'x',
        'у' | 'γ' => b'y',
        _ => return None,
    };
    Some(folded)
}

/// Letters and symbols by block, so that the table does not move with a new Unicode version.
fn class(code: u32) -> u8 {
    match code {
        0x0080..=0x00bf
        | 0x00d7
        | 0x00f7
        | 0x2000..=0x2bff
        | 0x2e00..=0x2e7f
        | 0x3000..=0x303f
        | 0xe000..=0xf8ff
        | 0xfe10..=0xfe6f
        | 0xfff0..=0xffff
        | 0x1f000..=0x1faff => OTHER_SYMBOL,
        _ => OTHER_LETTER,
    }
}

#[cfg(test)]
mod tests {
    use super::{OTHER_LETTER, OTHER_SYMBOL, fold};

    #[test]
    fn folds_to_what_a_reader_sees() {
        for (c, expected) in [
            ('\u{200b}', None),
            ('\u{ad}', None),
            ('\u{338}', None),
            ('４', Some(b'4')),
            ('＠', Some(b'@')),
            ('٣', Some(b'3')),
            ('𝟗', Some(b'9')),
            ('𝐚', Some(b'a')),
            ('𝘡', Some(b'Z')),
            ('–', Some(b'-')),
            ('\u{a0}', Some(b' ')),
            ('а', Some(b'a')),
            ('é', Some(OTHER_LETTER)),
            ('漢', Some(OTHER_LETTER)),
            ('€', Some(OTHER_SYMBOL)),
            ('\u{fffd}', Some(OTHER_SYMBOL)),
            ('😀', Some(OTHER_SYMBOL)),
        ] {
            assert_eq!(fold(c), expected, "{c:?}");
        }
    }
}
