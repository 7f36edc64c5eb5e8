//! Rate limits: a token bucket for each identity and address.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Identities and addresses that are remembered at once.
const MAX_BUCKETS: usize = 20_000;

/// Buckets by name. A bucket that has filled up again is forgotten when room is needed.
#[derive(Debug, Default)]
pub(super) struct Limiter(Mutex<HashMap<String, Bucket>>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// When it will be full again.
    full_at: Instant,
}

impl Limiter {
    /// Takes one request of `name` from its bucket of two seconds' worth; when it is empty, says how
    /// long to wait.
    pub(super) fn take(
        &self,
        name: &str,
        requests_per_second: u32,
        now: Instant,
    ) -> Result<(), Duration> {
        let cost = Duration::from_secs(1) / requests_per_second.max(1);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(name) && buckets.len() >= MAX_BUCKETS {
            buckets.retain(|_, bucket| bucket.full_at > now);
            if buckets.len() >= MAX_BUCKETS {
                return Err(Duration::from_secs(1));
            }
        }
        let bucket = buckets
            .entry(name.to_owned())
            .or_insert(Bucket { full_at: now });
        // What is missing from a full bucket, as the time it takes to flow in.
        let missing = bucket.full_at.saturating_duration_since(now) + cost;
        let capacity = Duration::from_secs(2).max(cost);
        let excess = missing.saturating_sub(capacity);
        if !excess.is_zero() {
            return Err(excess);
        }
        bucket.full_at = now + missing;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn two_seconds_worth_at_once_then_one_by_one() {
        let limiter = Limiter::default();
        let start = Instant::now();
        for _ in 0..20 {
            limiter.take("a", 10, start).unwrap();
        }
        let wait = limiter.take("a", 10, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        limiter.take("b", 10, start).unwrap();
        limiter.take("a", 10, start + wait).unwrap();
        assert!(limiter.take("a", 10, start + wait).is_err());
    }

    #[test]
    fn even_the_slowest_rate_lets_one_through() {
        let limiter = Limiter::default();
        let start = Instant::now();
        for second in 0..5 {
            limiter
                .take("a", 1, start + Duration::from_secs(second))
                .unwrap();
        }
    }

    #[test]
    fn buckets_are_bounded_and_idle_ones_forgotten() {
        let limiter = Limiter::default();
        let start = Instant::now();
        for number in 0..MAX_BUCKETS {
            limiter.take(&number.to_string(), 1, start).unwrap();
        }
        assert!(limiter.take("one more", 1, start).is_err());
        limiter.take("7", 1, start).unwrap();
        let later = start + Duration::from_secs(3);
        limiter.take("one more", 1, later).unwrap();
        assert_eq!(limiter.0.lock().unwrap().len(), 1);
    }
}
