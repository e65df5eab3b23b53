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
    /// What the machine says, if somebody may ask it.
    machine: Option<fn() -> u64>,
}

impl Clock {
    /// A clock that shows `unix_ms` now and goes on from there.
    pub fn starting_at(unix_ms: u64) -> Self {
        Self { unix_ms_at_start: unix_ms, start: Instant::now(), machine: None }
    }

    /// The machine's clock. It keeps up when the machine was suspended or its time was set forward, and goes on by itself
    /// when it was set back.
    pub fn of_machine(unix_ms: fn() -> u64) -> Self {
        Self { machine: Some(unix_ms), ..Self::starting_at(unix_ms()) }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z. Never goes back, whatever the machine's own clock does.
    pub fn unix_ms(&self) -> u64 {
        let counted = self.unix_ms_at_start.saturating_add(millis(self.start.elapsed()));
        self.machine.map_or(counted, |machine| counted.max(machine()))
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
