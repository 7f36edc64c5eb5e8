//! Every state that a power loss may leave at one moment, each once, the telling ones first.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};

use super::disk::{Choices, Disk, Files};

/// One moment of a run, with what of its states was not yet given out.
pub(super) struct Moment {
    /// For messages.
    pub(super) what: String,
    /// Steps of the script that were begun and acknowledged before it.
    pub(super) started: usize,
    pub(super) acknowledged: usize,
    /// How many crashes came before this one.
    pub(super) depth: usize,
    settled: Files,
    settled_hash: u64,
    touched: Files,
    choices: Choices,
    radices: Vec<usize>,
    total: u128,
    stride: u128,
    next: u128,
}

/// A state of the disk, and how it came about.
pub(super) struct State {
    pub(super) files: Files,
    pub(super) values: Vec<usize>,
}

/// What a moment gives when it is asked for a state.
pub(super) enum Next {
    State(State),
    /// Many were seen already: others first.
    Later,
    /// All were seen.
    End,
}

/// States that are looked at before it is another moment's turn.
const MAX_LOOKS: usize = 64;

/// The hash of anything, the same in every run.
pub(super) fn hash_of(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The hash of files, whatever their order; that of two parts is the sum of the parts' hashes.
fn hash_files(files: &Files) -> u64 {
    let hashes = files.iter().map(|file| hash_of(&file));
    hashes.fold(0, u64::wrapping_add)
}

fn greatest_common_divisor(a: u128, b: u128) -> u128 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

impl Moment {
    pub(super) fn new(disk: &Disk, progress: (usize, usize), depth: usize, what: String) -> Self {
        let (settled, touched) = disk.split();
        let choices = disk.choices();
        let radices = choices.radices();
        let total: u128 = radices.iter().map(|radix| *radix as u128).product();
        assert!(total < 1 << 96, "too many choices to count: {radices:?}");
        // Near the golden section, so that neighbours differ in many places.
        let mut stride = total * 5 / 8 + 1;
        while greatest_common_divisor(stride, total) != 1 {
            stride += 1;
        }
        Self {
            what,
            started: progress.0,
            acknowledged: progress.1,
            depth,
            settled_hash: hash_files(&settled),
            settled,
            touched,
            choices,
            radices,
            total,
            stride,
            next: 0,
        }
    }

    /// Looks for the next state that was not seen yet.
    pub(super) fn next(&mut self, seen: &mut HashSet<u64>) -> Next {
        for _ in 0..MAX_LOOKS {
            let Some(values) = self.values(self.next) else {
                return Next::End;
            };
            self.next += 1;
            let touched = self.choices.apply(&self.touched, &values);
            let files = self.settled_hash.wrapping_add(hash_files(&touched));
            let hash = hash_of(&(files, self.started, self.acknowledged));
            if seen.insert(hash) {
                let mut files = self.settled.clone();
                files.extend(touched);
                return Next::State(State { files, values });
            }
        }
        Next::Later
    }

    /// First everything lost and everything kept; then, for each choice: kept up to it, kept from it
    /// on, it alone lost, it alone kept; then every combination there is.
    fn values(&self, number: u128) -> Option<Vec<usize>> {
        let all = |value: fn(usize) -> usize| self.radices.iter().map(|r| value(*r)).collect();
        let (lost, kept): (Vec<usize>, Vec<usize>) = (all(|_| 0), all(|radix| radix - 1));
        let special = 2 + 4 * self.radices.len() as u128;
        match number {
            0 => Some(lost),
            1 => Some(kept),
            _ if number < special => {
                let (at, way) = (((number - 2) / 4) as usize, (number - 2) % 4);
                let mixed = lost.into_iter().zip(kept).enumerate();
                let mixed = mixed.map(|(number, (lost, kept))| {
                    let is_kept = match way {
                        0 => number <= at,
                        1 => number >= at,
                        2 => number != at,
                        _ => number == at,
                    };
                    if is_kept { kept } else { lost }
                });
                Some(mixed.collect())
            }
            _ => {
                let number = number - special;
                (number < self.total).then(|| self.decode(number * self.stride % self.total))
            }
        }
    }

    fn decode(&self, mut number: u128) -> Vec<usize> {
        let values = self.radices.iter().map(|radix| {
            let radix = *radix as u128;
            let value = number % radix;
            number /= radix;
            value as usize
        });
        values.collect()
    }
}
