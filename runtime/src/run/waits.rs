//! How long the host made a guest wait: time that counts as wall time and not as work time.
//!
//! Never: forgets a wait whose future was dropped.

use std::sync::Mutex;

use tokio::time::Instant;

use crate::doors::clock::millis;

use super::lock;

/// Waits that the host caused; several parts of a batch may wait at once.
#[derive(Default)]
pub(super) struct Waits {
    running: u32,
    since: Option<Instant>,
    ended_ms: u64,
}

/// One running wait. It ends when this is dropped, however that comes about.
pub(super) struct Waiting<'a>(&'a Mutex<Waits>);

impl<'a> Waiting<'a> {
    /// Begins a wait.
    pub(super) fn begin(waits: &'a Mutex<Waits>) -> Self {
        let mut running = lock(waits);
        running.running += 1;
        running.since.get_or_insert_with(Instant::now);
        drop(running);
        Self(waits)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waits = lock(self.0);
        waits.running -= 1;
        if waits.running == 0
            && let Some(since) = waits.since.take()
        {
            waits.ended_ms = waits.ended_ms.saturating_add(millis(since.elapsed()));
        }
    }
}

impl Waits {
    /// Milliseconds so far, a wait that goes on included.
    pub(super) fn total_ms(&self) -> u64 {
        self.ended_ms.saturating_add(self.since.map_or(0, |since| millis(since.elapsed())))
    }
}
