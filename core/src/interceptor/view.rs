//! The pending text: raw characters, their folded bytes and the offsets between the two.
//!
//! Bytes come in any chunks; what is stored depends only on the whole. Broken UTF-8 becomes U+FFFD,
//! one for each maximal subpart (Unicode 16, section 3.9), as `String::from_utf8_lossy` does. A run
//! of more than [`MAX_DROPPED_RUN`] characters that have no folded byte is cut.

use super::fold::{OTHER_SYMBOL, fold, stands_for_itself};

/// Of a run of invisible characters, so many are kept.
pub(super) const MAX_DROPPED_RUN: u32 = 8;

/// From this raw position on, the input position is the raw one plus `delta`.
#[derive(Debug, Clone, Copy)]
struct Shift {
    raw: u64,
    delta: i64,
}

/// Text that came in and is not yet decided.
#[derive(Debug, Default)]
pub(super) struct View {
    raw: Vec<u8>,
    fold: Vec<u8>,
    /// Raw offset of each folded byte from `ascii` on; before it, a folded byte's offset is its own.
    starts: Vec<u32>,
    /// Folded bytes at the front whose raw offset equals their index.
    ascii: usize,
    /// An incomplete UTF-8 sequence at the end of the last chunk.
    partial: Vec<u8>,
    /// Raw and folded bytes dropped from the front so far.
    raw_base: u64,
    shifts: Vec<Shift>,
    dropped_run: u32,
    cut: u64,
}

impl View {
    /// The folded bytes that are pending.
    pub(super) fn folded(&self) -> &[u8] {
        &self.fold
    }

    /// The raw text of a raw range.
    pub(super) fn raw(&self, from: usize, to: usize) -> &str {
        std::str::from_utf8(self.raw.get(from..to).unwrap_or_default()).unwrap_or_default()
    }

    pub(super) fn raw_len(&self) -> usize {
        self.raw.len()
    }

    /// Raw bytes that are pending, an incomplete sequence included.
    pub(super) fn held_bytes(&self) -> usize {
        self.raw.len() + self.partial.len()
    }

    /// Invisible characters cut so far.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    /// Raw offset of the folded byte `at`; the end for the one after the last.
    pub(super) fn start(&self, at: usize) -> usize {
        if at >= self.fold.len() {
            return self.raw.len();
        }
        match at.checked_sub(self.ascii) {
            None => at,
            Some(at) => self.starts[at] as usize,
        }
    }

    /// Raw offset after the character of the folded byte `at`, without what is invisible after it.
    pub(super) fn end(&self, at: usize) -> usize {
        let start = self.start(at);
        let length = match self.raw.get(start) {
            Some(0xf0..) => 4,
            Some(0xe0..) => 3,
            Some(0x80..) => 2,
            Some(_) => 1,
            None => 0,
        };
        start + length
    }

    /// Position in the input of a raw offset.
    pub(super) fn input_position(&self, raw: usize) -> u64 {
        let raw = self.raw_base + raw as u64;
        let delta = self
            .shifts
            .iter()
            .rev()
            .find(|shift| shift.raw <= raw)
            .map_or(0, |s| s.delta);
        raw.saturating_add_signed(delta)
    }

    /// Takes a chunk.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.partial.is_empty() {
            return self.take(bytes);
        }
        let mut joined = std::mem::take(&mut self.partial);
        // An incomplete sequence is settled by at most three more bytes.
        let (head, tail) = bytes.split_at(bytes.len().min(3));
        joined.extend_from_slice(head);
        if tail.is_empty() {
            return self.take(&joined);
        }
        self.take(&joined);
        self.push(tail);
    }

    /// No more comes: an incomplete sequence is broken.
    pub(super) fn finish(&mut self) {
        if !self.partial.is_empty() {
            let broken = std::mem::take(&mut self.partial).len();
            self.replace_broken(broken);
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        loop {
            match std::str::from_utf8(bytes) {
                Ok(text) => return self.append(text),
                Err(error) => {
                    let (valid, rest) = bytes.split_at(error.valid_up_to());
                    self.append(std::str::from_utf8(valid).unwrap_or_default());
                    let Some(broken) = error.error_len() else {
                        self.partial = rest.to_vec();
                        return;
                    };
                    self.replace_broken(broken);
                    bytes = &rest[broken..];
                }
            }
        }
    }

    fn replace_broken(&mut self, broken: usize) {
        self.append("\u{fffd}");
        // One to three bytes became the three of U+FFFD.
        self.shift(i64::try_from(broken).unwrap_or(3) - 3);
    }

    fn shift(&mut self, delta: i64) {
        let raw = self.raw_base + self.raw.len() as u64;
        let before = self.shifts.last().map_or(0, |shift| shift.delta);
        self.shifts.push(Shift {
            raw,
            delta: before + delta,
        });
    }

    fn append(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let plain = plain_length(rest.as_bytes());
            let (head, tail) = rest.split_at(plain);
            self.append_plain(head.as_bytes());
            rest = tail;
            if let Some(c) = rest.chars().next() {
                self.append_other(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }

    fn append_plain(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.dropped_run = 0;
        if self.raw.len() == self.fold.len() && self.starts.is_empty() {
            self.ascii += bytes.len();
        } else {
            let start = self.raw.len() as u32;
            self.starts.extend(start..start + bytes.len() as u32);
        }
        self.raw.extend_from_slice(bytes);
        self.fold.extend_from_slice(bytes);
    }

    fn append_other(&mut self, c: char) {
        let mut utf8 = [0; 4];
        let utf8 = c.encode_utf8(&mut utf8).as_bytes();
        // U+FFFD is what a broken sequence becomes, so it must not be cut or dropped.
        let folded = if c == '\u{fffd}' {
            Some(OTHER_SYMBOL)
        } else {
            fold(c)
        };
        if let Some(folded) = folded {
            self.dropped_run = 0;
            self.starts.push(self.raw.len() as u32);
            self.fold.push(folded);
        } else {
            self.dropped_run += 1;
            if self.dropped_run > MAX_DROPPED_RUN {
                self.dropped_run = MAX_DROPPED_RUN;
                self.cut += 1;
                self.shift(i64::try_from(utf8.len()).unwrap_or(4));
                return;
            }
        }
        self.raw.extend_from_slice(utf8);
    }

    /// Forgets the folded bytes before `at` and the raw bytes before `raw`.
    pub(super) fn forget(&mut self, at: usize, raw: usize) {
        if at < self.ascii && raw != at {
            // The front would no longer be its own offset: write the offsets out.
            self.starts.splice(..0, 0..self.ascii as u32);
            self.ascii = 0;
        }
        let from_starts = at.saturating_sub(self.ascii);
        self.starts.drain(..from_starts);
        for start in &mut self.starts {
            *start -= raw as u32;
        }
        self.ascii = self.ascii.saturating_sub(at);
        self.raw.drain(..raw);
        self.fold.drain(..at);
        self.raw_base += raw as u64;
        if let Some(last) = self
            .shifts
            .iter()
            .rposition(|shift| shift.raw <= self.raw_base)
        {
            self.shifts.drain(..last);
        }
    }
}

/// Bytes at the front that stand for themselves. Whole blocks first, each in one check without an early
/// end; no byte is looked at more than twice, however many characters in the text stand for another.
fn plain_length(bytes: &[u8]) -> usize {
    const BLOCK_BYTES: usize = 64;
    let is_plain = |block: &&[u8]| {
        block
            .iter()
            .fold(true, |all, b| all & stands_for_itself(*b))
    };
    let blocks = bytes.chunks_exact(BLOCK_BYTES).take_while(is_plain).count();
    let at = blocks * BLOCK_BYTES;
    let rest = bytes[at..].iter().take_while(|b| stands_for_itself(**b));
    at + rest.count()
}
