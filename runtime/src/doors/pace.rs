//! The pace of a model or a tenant: so many requests and so many tokens a minute, over all runs that share it.
//!
//! Never: holds a budget; what a run may spend is the ledger's business. Waiting here is the host's doing: it counts as
//! wall time, never as work time. Invariants: first come, first served, whatever the sizes; a request takes its slot and
//! its tokens together or takes nothing, so that a dropped wait leaves no trace; what a provider says only slows down,
//! and for a bounded time.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::bucket::Bucket;
use super::rates::RateNews;

/// The longest that one word of a provider's can stop a pace. Honest limits are per minute, a few per ten; a lying
/// provider could otherwise stop a host for years.
pub const MAX_PAUSE: Duration = Duration::from_secs(600);

const MINUTE: Duration = Duration::from_secs(60);

/// What a pace allows. The default sets no pace; then only what a provider says slows down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Spread evenly: there is no burst, so that a minute never sees more.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Input and output together. A minute's tokens may go at once; then they come back at this rate.
    pub tokens_per_minute: Option<NonZeroU64>,
}

/// Lets one request after the other through. Shared by everybody who uses one model, or one tenant.
pub struct Pace {
    /// Whoever holds it is the next to go. The lock is fair: the others stand in the order in which they came.
    head: tokio::sync::Mutex<()>,
    requests: Option<Requests>,
    state: Mutex<State>,
    /// Told when tokens came back: the head may go sooner than it thought.
    returned: Notify,
}

struct State {
    tokens: Option<Bucket>,
    /// Nobody goes before, because a provider said so.
    closed_until: Instant,
}

/// A request that may go. Its tokens stay taken until it is settled: dropped, it is paid for as it was reserved, because
/// nobody knows what it used.
#[must_use = "an admission is settled when it is known what the request used"]
pub struct Admission<'pace> {
    pace: &'pace Pace,
    tokens: u64,
    waited: Duration,
}

impl Pace {
    pub fn new(rates: Rates) -> Self {
        let now = Instant::now();
        let tokens = rates.tokens_per_minute.map(|rate| Bucket::new(rate, now));
        Self {
            head: tokio::sync::Mutex::new(()),
            requests: rates.requests_per_minute.map(Requests::new),
            state: Mutex::new(State { tokens, closed_until: now }),
            returned: Notify::new(),
        }
    }

    /// Waits until a request of `tokens` may go, behind everybody who asked before.
    ///
    /// `tokens` is the most that it can use, input and output. More than a minute's tokens go when the bucket is full,
    /// and whoever comes next waits for the debt. Dropping the future gives up the place in the line and takes nothing.
    pub async fn admit(&self, tokens: u64) -> Admission<'_> {
        let asked = Instant::now();
        let _head = self.head.lock().await;
        while let Err(wait) = self.take(tokens) {
            // An early end of the wait means that tokens came back; either way, look again.
            let _ = tokio::time::timeout(wait, self.returned.notified()).await;
        }
        Admission { pace: self, tokens, waited: asked.elapsed() }
    }

    /// Takes in what the provider said with its answer to a request. If that request was admitted here, settle it
    /// first: a refund that comes after is added to what the provider says remains.
    ///
    /// The bucket holds no more tokens than the provider said remain, and what came in since it said so. For `retry-after` everybody waits, at most
    /// [`MAX_PAUSE`]; so they do until the stated reset where no tokens remain and there is no bucket to empty, and for
    /// one request's share of the minute where no requests remain.
    pub fn observe(&self, news: &RateNews) {
        let now = Instant::now();
        let mut pause = news.retry_after.unwrap_or_default();
        let mut state = self.state();
        if let Some(remaining) = news.remaining_tokens {
            match &mut state.tokens {
                Some(bucket) => bucket.lower_to(remaining, news.age, now),
                None if remaining == 0 => pause = pause.max(news.reset_tokens.unwrap_or_default()),
                None => {}
            }
        }
        if let (Some(requests), Some(0)) = (&self.requests, news.remaining_requests) {
            pause = pause.max(requests.share);
        }
        let until = now + pause.min(MAX_PAUSE).saturating_sub(news.age);
        state.closed_until = state.closed_until.max(until);
    }

    /// Takes a request's slot and its tokens, or nothing. `Err`: how long until it is worth another look.
    fn take(&self, tokens: u64) -> Result<(), Duration> {
        let mut state = self.state();
        let now = Instant::now();
        let closed = state.closed_until.saturating_duration_since(now);
        if !closed.is_zero() {
            return Err(closed);
        }
        if let Some(wait) = state.tokens.as_mut().and_then(|bucket| bucket.wait(tokens, now)) {
            return Err(wait);
        }
        // The last question, because a slot cannot be given back.
        if let Some(requests) = &self.requests {
            requests.take()?;
        }
        if let Some(bucket) = &mut state.tokens {
            bucket.take(tokens);
        }
        Ok(())
    }

    /// The state is plain numbers, true between any two statements: a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission<'_> {
    /// How long the request waited, the line included.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Gives back what was reserved and not used, at once, or takes what was used beyond.
    ///
    /// So what is bounded over a time is what was reserved less what was given back in that time, not what was used:
    /// the refunds of long requests that used little let others go now. No bucket ever holds more than a minute's tokens.
    pub fn settle(self, used: u64) {
        if let Some(bucket) = &mut self.pace.state().tokens {
            bucket.settle(self.tokens, used, Instant::now());
        }
        if used < self.tokens {
            self.pace.returned.notify_one();
        }
    }
}

/// Slots for requests.
struct Requests {
    limiter: RateLimiter<NotKeyed, InMemoryState, HostTime, NoOpMiddleware<Nanos>>,
    time: HostTime,
    /// One request's share of a minute.
    share: Duration,
}

impl Requests {
    fn new(per_minute: NonZeroU32) -> Self {
        let time = HostTime(Instant::now());
        let quota = Quota::per_minute(per_minute).allow_burst(NonZeroU32::MIN);
        let limiter = RateLimiter::direct_with_clock(quota, time.clone());
        Self { limiter, time, share: MINUTE / per_minute.get() }
    }

    fn take(&self) -> Result<(), Duration> {
        self.limiter.check().map_err(|not_yet| not_yet.wait_time_from(self.time.now()))
    }
}

/// governor's view of the host's clock, so that a test that pauses time pauses the pace too.
#[derive(Clone, Debug)]
struct HostTime(Instant);

impl GovernorClock for HostTime {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.elapsed())
    }
}

#[cfg(test)]
mod tests;
