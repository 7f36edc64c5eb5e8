//! Interleaved rounds and medians: what is compared is measured in alternation, so that a noisy
//! machine is noisy for both.

use std::hint::black_box;
use std::time::Instant;

/// Rounds of every comparison; odd, so that the median is one of them.
pub(crate) const ROUNDS: usize = 9;

/// Something to be timed; it returns a number that keeps the work from being optimised away.
pub(crate) type Work<'a> = Box<dyn FnMut() -> u64 + 'a>;

/// Times every piece of work once a round; the medians in nanoseconds, in the order given.
pub(crate) fn medians(mut works: Vec<Work<'_>>) -> Vec<u64> {
    // One round that does not count warms caches and lazy automata.
    for work in &mut works {
        black_box(work());
    }
    let mut times = vec![Vec::with_capacity(ROUNDS); works.len()];
    for _ in 0..ROUNDS {
        for (work, times) in works.iter_mut().zip(&mut times) {
            times.push(time(work));
        }
    }
    times
        .into_iter()
        .map(|times| percentile(times, 50))
        .collect()
}

/// Nanoseconds of one call, at least 1.
pub(crate) fn time(work: &mut dyn FnMut() -> u64) -> u64 {
    let start = Instant::now();
    black_box(work());
    u64::try_from(start.elapsed().as_nanos())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// The smallest value that `percent` of the values do not exceed; 0 for none.
pub(crate) fn percentile(mut values: Vec<u64>, percent: usize) -> u64 {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied().unwrap_or(0)
}

/// Megabytes (10^6 bytes) a second.
pub(crate) fn megabytes_per_second(bytes: usize, nanos: u64) -> u64 {
    bytes as u64 * 1_000 / nanos
}

/// `part / whole` in percent.
pub(crate) fn percent(part: u64, whole: u64) -> u64 {
    part * 100 / whole.max(1)
}

/// A number of hundredths as a decimal: 123 is `1.23`.
pub(crate) fn hundredths(value: u64) -> String {
    format!("{}.{:02}", value / 100, value % 100)
}
