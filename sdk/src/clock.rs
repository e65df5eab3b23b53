//! The run's own time. It is virtual, and the same on replay.

use std::time::Duration;

use crate::denied::Denied;
use crate::host;

/// Milliseconds since 1970-01-01T00:00:00Z on the run's virtual clock.
pub fn now_ms() -> u64 {
    host::clock::now()
}

/// Waits. Costs `wall-ms` and `work-ms`.
///
/// `Err` with `refused`: longer than what is left of the run's time.
pub fn sleep(duration: Duration) -> Result<(), Denied> {
    host::clock::sleep(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
