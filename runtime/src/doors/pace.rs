//! A pace for a model: so many requests a minute over all who share it.
//!
//! Never: holds a budget; what a run may spend is the ledger's business. Waiting here is the host's doing: it counts
//! as wall time, never as work time.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// Lets one request through at a time, spread over the minute.
pub struct Pace {
    limiter: RateLimiter<NotKeyed, InMemoryState, HostTime, NoOpMiddleware<Nanos>>,
    time: HostTime,
}

impl Pace {
    /// `requests_per_minute` is spread evenly; there is no burst, so that a minute never sees more.
    pub fn new(requests_per_minute: NonZeroU32) -> Self {
        let time = HostTime(Instant::now());
        let quota = Quota::per_minute(requests_per_minute).allow_burst(NonZeroU32::MIN);
        Self { limiter: RateLimiter::direct_with_clock(quota, time.clone()), time }
    }

    /// Waits until the next request may go, and returns how long that took.
    pub async fn wait(&self) -> Duration {
        let asked = Instant::now();
        while let Err(not_yet) = self.limiter.check() {
            tokio::time::sleep(not_yet.wait_time_from(self.time.now())).await;
        }
        asked.elapsed()
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
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_are_spread_over_the_minute() {
        let pace = Pace::new(NonZeroU32::new(60).expect("not zero"));
        assert_eq!(pace.wait().await, Duration::ZERO);
        let second = pace.wait().await;
        assert!(second >= Duration::from_millis(999) && second <= Duration::from_millis(1002), "{second:?}");
    }
}
