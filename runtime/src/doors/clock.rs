//! The host's clock: time since 1970 and waiting.
//!
//! Never: reaches a guest, who has the run's virtual clock. Built on tokio's clock alone, so that a test that pauses
//! it moves all of the host's time at once.

use std::time::Duration;

use tokio::time::Instant;

/// The host's time. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    unix_ms_at_start: u64,
    start: Instant,
}

impl Clock {
    /// A clock that shows `unix_ms` now and goes on from there. `main` passes the machine's time, a test a fixed one.
    pub fn starting_at(unix_ms: u64) -> Self {
        Self { unix_ms_at_start: unix_ms, start: Instant::now() }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z. Never goes back, whatever the machine's own clock does.
    pub fn unix_ms(&self) -> u64 {
        self.unix_ms_at_start.saturating_add(millis(self.start.elapsed()))
    }

    /// The monotonic present.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// Waits until `deadline`.
    pub async fn sleep_until(&self, deadline: Instant) {
        tokio::time::sleep_until(deadline).await;
    }
}

/// Whole milliseconds of a duration, at most `u64::MAX`.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
