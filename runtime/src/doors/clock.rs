//! The host's clock: time since 1970 and waiting.
//!
//! Never: reaches a guest, who has the run's virtual clock. Built on tokio's clock alone, so that a test that pauses
//! it moves all of the host's time at once; what the machine's clocks show is asked of whoever made this.

use std::time::Duration;

use tokio::time::Instant;

/// The host's time. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    unix_ms_at_start: u64,
    start: Instant,
    /// What the machine says, if somebody may ask it.
    machine: Option<Machine>,
}

/// The clocks of a machine.
#[derive(Clone, Copy, Debug)]
struct Machine {
    unix_ms: fn() -> u64,
    up: fn() -> Duration,
}

impl Clock {
    /// A clock that shows `unix_ms` now and goes on from there.
    pub fn starting_at(unix_ms: u64) -> Self {
        Self { unix_ms_at_start: unix_ms, start: Instant::now(), machine: None }
    }

    /// The machine's clock. It keeps up when the machine was suspended or its time was set forward, and goes on by itself
    /// when it was set back. `up` is how long the machine runs, by a clock that nobody sets and that counts while it
    /// is suspended.
    pub fn of_machine(unix_ms: fn() -> u64, up: fn() -> Duration) -> Self {
        Self { machine: Some(Machine { unix_ms, up }), ..Self::starting_at(unix_ms()) }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z. Never goes back, whatever the machine's own clock does.
    pub fn unix_ms(&self) -> u64 {
        let counted = self.unix_ms_at_start.saturating_add(millis(self.start.elapsed()));
        self.machine.map_or(counted, |machine| counted.max((machine.unix_ms)()))
    }

    /// Nanoseconds that the machine runs: the same for all of its processes, whatever happens to its calendar. It begins
    /// anew when the machine does. Without a machine it is the time since 1970.
    pub fn up_ns(&self) -> u64 {
        let up = self.machine.map_or_else(
            || Duration::from_millis(self.unix_ms_at_start).saturating_add(self.start.elapsed()),
            |machine| (machine.up)(),
        );
        u64::try_from(up.as_nanos()).unwrap_or(u64::MAX)
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
