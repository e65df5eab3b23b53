//! A bucket of tokens: time fills it, requests take from it, and what they did not use comes back.
//!
//! Never: waits, reads a clock (whoever asks says what time it is), uses floats. Invariants: the level never passes the
//! capacity; a level below zero is a debt that only time pays; refills are exact, however often anybody looks.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::Instant;

/// Parts of a token. A rate of one token a minute brings one part each nanosecond, so that a refill is never rounded.
const PARTS: i128 = 60_000_000_000;

/// Holds one minute's tokens at most.
#[derive(Debug)]
pub struct Bucket {
    /// Tokens a minute, which is also parts a nanosecond.
    rate: i128,
    /// Parts.
    capacity: i128,
    /// Parts, as of `looked_at`.
    level: i128,
    looked_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(tokens_per_minute: NonZeroU64, now: Instant) -> Self {
        let capacity = parts(tokens_per_minute.get());
        Self { rate: i128::from(tokens_per_minute.get()), capacity, level: capacity, looked_at: now }
    }

    /// How long until `tokens` are there, if nobody takes or returns any. `None`: they are there.
    ///
    /// What is larger than the bucket waits until the bucket is full: then [`Bucket::take`] makes a debt of the rest.
    pub fn wait(&mut self, tokens: u64, now: Instant) -> Option<Duration> {
        self.fill(now);
        let missing = parts(tokens).min(self.capacity) - self.level;
        if missing <= 0 {
            return None;
        }
        let nanoseconds = (missing - 1) / self.rate + 1;
        Some(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)))
    }

    /// Takes `tokens`, whether they are there or not.
    pub fn take(&mut self, tokens: u64) {
        self.level = self.level.saturating_sub(parts(tokens));
    }

    /// Corrects what was `taken` before to what was really used, which may be less or more.
    pub fn settle(&mut self, taken: u64, used: u64, now: Instant) {
        self.fill(now);
        self.level = self.level.saturating_add(parts(taken) - parts(used)).min(self.capacity);
    }

    /// Pours out what there would not be, had there been no more than `tokens` at a time `age` ago. Never adds.
    pub fn lower_to(&mut self, tokens: u64, age: Duration, now: Instant) {
        self.fill(now);
        self.level = self.level.min(parts(tokens).saturating_add(self.refill(age)));
    }

    fn fill(&mut self, now: Instant) {
        let refill = self.refill(now.saturating_duration_since(self.looked_at));
        self.level = self.level.saturating_add(refill).min(self.capacity);
        self.looked_at = self.looked_at.max(now);
    }

    fn refill(&self, time: Duration) -> i128 {
        i128::try_from(time.as_nanos()).unwrap_or(i128::MAX).saturating_mul(self.rate)
    }
}

/// Below 2^100, so that sums of a few cannot overflow.
fn parts(tokens: u64) -> i128 {
    i128::from(tokens) * PARTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(tokens_per_minute: u64) -> (Bucket, Instant) {
        let start = Instant::now();
        (Bucket::new(NonZeroU64::new(tokens_per_minute).unwrap(), start), start)
    }

    #[test]
    fn a_full_bucket_has_its_capacity_and_not_one_more() {
        let (mut bucket, start) = bucket(600);
        bucket.take(599);
        assert_eq!(bucket.wait(1, start), None);
        bucket.take(1);
        assert_eq!(bucket.wait(1, start), Some(Duration::from_millis(100)));
        assert_eq!(bucket.wait(0, start), None);
    }

    #[test]
    fn a_refill_does_not_drift_however_often_somebody_looks() {
        // 7 tokens a minute are no whole number of nanoseconds each.
        let (mut bucket, start) = bucket(7);
        bucket.take(7);
        let minute = Duration::from_secs(60);
        let mut now = start;
        while now < start + minute {
            now += Duration::from_nanos(7_777_777).min(start + minute - now);
            assert_eq!(bucket.wait(7, now).is_none(), now == start + minute);
        }
    }

    #[test]
    fn the_wait_that_is_told_is_the_shortest_that_is_enough() {
        let minute = 60_000_000_000;
        for (rate, tokens, nanoseconds) in
            [(7, 3, 25_714_285_715), (1, 1, minute), (600, 599, 59_900_000_000), (u64::MAX, u64::MAX, minute)]
        {
            let (mut bucket, start) = bucket(rate);
            bucket.take(rate);
            let wait = Duration::from_nanos(nanoseconds);
            assert_eq!(bucket.wait(tokens, start), Some(wait), "{tokens} at {rate}");
            assert!(bucket.wait(tokens, start + wait - Duration::from_nanos(1)).is_some(), "{tokens} at {rate}");
            assert_eq!(bucket.wait(tokens, start + wait), None, "{tokens} at {rate}");
        }
    }

    #[test]
    fn numbers_as_large_as_they_get_neither_wrap_nor_panic() {
        let (mut bucket, start) = bucket(1);
        for _ in 0..1000 {
            bucket.take(u64::MAX);
            bucket.settle(0, u64::MAX, start);
        }
        assert_eq!(bucket.wait(1, start), Some(Duration::from_nanos(u64::MAX)));
        for _ in 0..3000 {
            bucket.settle(u64::MAX, 0, start);
        }
        assert_eq!(bucket.wait(1, start), None);
        bucket.take(1);
        assert!(bucket.wait(1, start).is_some(), "the level passed the capacity");
    }
}
