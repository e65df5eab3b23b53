//! A bucket of tokens: time fills it, requests take from it, and what they did not use comes back.
//!
//! Never: waits, reads a clock (whoever asks gives the time), uses floats. It is kept as the time at which it is full, so
//! that askers of different rates can share it: each takes its share of a minute. Invariants: the bucket never holds more
//! than a minute's tokens; a bucket that is full later than a minute from now is a debt that only time pays; what cannot
//! be told in whole nanoseconds is rounded so that less goes through.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds of a minute.
pub const MINUTE: u64 = 60_000_000_000;

/// Times are nanoseconds of one clock. A bucket that was full at the beginning of that clock is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bucket {
    full_at: u64,
}

/// Tokens a minute.
type Rate = NonZeroU64;

impl Bucket {
    /// How long until `tokens` are there, if nobody takes or returns any. Zero: they are there.
    ///
    /// What is larger than the bucket waits until the bucket is full: then [`Bucket::take`] makes a debt of the rest.
    pub fn wait(self, rate: Rate, tokens: u64, now: u64) -> Duration {
        let needed = rounded_up(tokens.min(rate.get()), rate);
        let missing = self.full_at.saturating_sub(now).saturating_add(needed);
        Duration::from_nanos(missing.saturating_sub(MINUTE))
    }

    /// Takes `tokens`, whether they are there or not.
    pub fn take(&mut self, rate: Rate, tokens: u64, now: u64) {
        self.full_at = self.full_at.max(now).saturating_add(rounded_up(tokens, rate));
    }

    /// Corrects what was `taken` before to what was really used, which may be less or more.
    pub fn settle(&mut self, rate: Rate, taken: u64, used: u64, now: u64) {
        let full_at = self.full_at.max(now);
        self.full_at = match used.checked_sub(taken) {
            Some(more) => full_at.saturating_add(rounded_up(more, rate)),
            None => full_at.saturating_sub(rounded_down(taken - used, rate)).max(now),
        };
    }

    /// Pours out what there would not be, had there been no more than `tokens` at a time `age` ago. Never adds.
    pub fn lower_to(&mut self, rate: Rate, tokens: u64, age: Duration, now: u64) {
        let missing = MINUTE - rounded_down(tokens.min(rate.get()), rate);
        let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        self.full_at = self.full_at.max(now.saturating_add(missing).saturating_sub(age));
    }

    /// The same bucket by a clock that shows less.
    pub fn earlier(self, by: u64) -> Self {
        Self { full_at: self.full_at.saturating_sub(by) }
    }
}

/// The time in which so many tokens come.
fn rounded_up(tokens: u64, rate: Rate) -> u64 {
    nanoseconds(time(tokens).div_ceil(u128::from(rate.get())))
}

fn rounded_down(tokens: u64, rate: Rate) -> u64 {
    nanoseconds(time(tokens) / u128::from(rate.get()))
}

/// At a rate of one token a minute. Below 2^100.
fn time(tokens: u64) -> u128 {
    u128::from(tokens) * u128::from(MINUTE)
}

/// At most 584 years.
fn nanoseconds(time: u128) -> u64 {
    u64::try_from(time).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_000_000_000_000;

    fn rate(tokens_per_minute: u64) -> Rate {
        NonZeroU64::new(tokens_per_minute).unwrap()
    }

    fn ns(nanoseconds: u64) -> Duration {
        Duration::from_nanos(nanoseconds)
    }

    #[test]
    fn a_full_bucket_has_its_capacity_and_not_one_more() {
        let (mut bucket, rate) = (Bucket::default(), rate(600));
        bucket.take(rate, 599, START);
        assert_eq!(bucket.wait(rate, 1, START), Duration::ZERO);
        bucket.take(rate, 1, START);
        assert_eq!(bucket.wait(rate, 1, START), Duration::from_millis(100));
        assert_eq!(bucket.wait(rate, 0, START), Duration::ZERO);
    }

    #[test]
    fn a_refill_does_not_drift_however_often_somebody_looks() {
        // 7 tokens a minute are no whole number of nanoseconds each.
        let (mut bucket, rate) = (Bucket::default(), rate(7));
        bucket.take(rate, 7, START);
        let mut now = START;
        while now < START + MINUTE {
            now = (now + 7_777_777).min(START + MINUTE);
            assert_eq!(bucket.wait(rate, 7, now).is_zero(), now == START + MINUTE);
        }
    }

    #[test]
    fn the_wait_that_is_told_is_the_shortest_that_is_enough() {
        for (per_minute, tokens, nanoseconds) in
            [(7, 3, 25_714_285_715), (1, 1, MINUTE), (600, 599, 59_900_000_000), (u64::MAX, u64::MAX, MINUTE)]
        {
            let (mut bucket, rate) = (Bucket::default(), rate(per_minute));
            bucket.take(rate, per_minute, START);
            assert_eq!(bucket.wait(rate, tokens, START), ns(nanoseconds), "{tokens} at {rate}");
            assert_eq!(bucket.wait(rate, tokens, START + nanoseconds - 1), ns(1), "{tokens} at {rate}");
            assert_eq!(bucket.wait(rate, tokens, START + nanoseconds), Duration::ZERO, "{tokens} at {rate}");
        }
    }

    #[test]
    fn askers_of_different_rates_take_their_shares_of_one_minute() {
        let (mut bucket, slow, fast) = (Bucket::default(), rate(600), rate(60_000));
        bucket.take(slow, 300, START);
        assert_eq!(bucket.wait(fast, 30_000, START), Duration::ZERO, "the slow one left half of the minute");
        assert_eq!(bucket.wait(fast, 30_001, START), Duration::from_millis(1));
        bucket.take(fast, 30_000, START);
        assert_eq!(bucket.wait(slow, 1, START), Duration::from_millis(100));
    }

    #[test]
    fn numbers_as_large_as_they_get_neither_wrap_nor_panic() {
        let (mut bucket, rate) = (Bucket::default(), rate(1));
        for _ in 0..1000 {
            bucket.take(rate, u64::MAX, START);
            bucket.settle(rate, 0, u64::MAX, START);
        }
        assert!(bucket.wait(rate, 1, START) > ns(u64::MAX / 2));
        for _ in 0..3000 {
            bucket.settle(rate, u64::MAX, 0, START);
        }
        assert_eq!(bucket.wait(rate, 1, START), Duration::ZERO);
        bucket.take(rate, 1, START);
        assert_eq!(bucket.wait(rate, 1, START), ns(MINUTE), "the bucket held more than a minute's tokens");
        bucket.lower_to(rate, u64::MAX, Duration::MAX, u64::MAX);
        assert_eq!(bucket.earlier(u64::MAX), Bucket::default());
    }
}
