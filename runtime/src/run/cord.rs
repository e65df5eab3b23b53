//! The cord: the one way to stop a run from outside the guest, whoever pulls it; and what can be seen of the run from there
//! that is in no journal: how far its changes are applied.
//!
//! Worker, ledger, host, operator and deadline all come through here. Never: is let go again. Invariant here: the
//! first pull wins and is never lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::rules::verdict::Stop;

/// A handle of a run's cord. Cheap to clone; anyone who has one may pull.
#[derive(Clone, Debug)]
pub struct Cord {
    state: Arc<watch::Sender<Option<Stop>>>,
    /// The same fact for the epoch callback, which runs a thousand times a second and takes no lock.
    pulled: Arc<AtomicBool>,
    applied: Arc<watch::Sender<(u64, u64)>>,
}

impl Default for Cord {
    fn default() -> Self {
        Self { state: Arc::new(watch::Sender::new(None)), pulled: Arc::default(), applied: Arc::default() }
    }
}

impl Cord {
    /// Stops the run. Returns whether this pull was the first; a later one changes nothing.
    pub fn pull(&self, stop: Stop) -> bool {
        let first = self.state.send_if_modified(|state| {
            let first = state.is_none();
            if first {
                *state = Some(stop);
            }
            first
        });
        self.pulled.store(true, Ordering::Release);
        first
    }

    /// Whether somebody pulled.
    pub fn is_pulled(&self) -> bool {
        self.pulled.load(Ordering::Acquire)
    }

    /// Why the run was stopped, if it was.
    pub fn stop(&self) -> Option<Stop> {
        self.state.borrow().clone()
    }

    /// Shows how many of how many changes to the disk are made.
    pub fn shows(&self, made: u64, total: u64) {
        self.applied.send_replace((made, total));
    }

    /// How many of how many changes to the disk are made, as that grows.
    pub fn applied(&self) -> watch::Receiver<(u64, u64)> {
        self.applied.subscribe()
    }

    /// Waits until somebody pulls.
    pub async fn pulled(&self) -> Stop {
        let mut state = self.state.subscribe();
        let stop = state.wait_for(Option::is_some).await.expect("the sender lives as long as this handle");
        stop.clone().expect("waited for it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::ledger::{LimitKind, Line};

    #[tokio::test]
    async fn the_first_pull_wins_and_is_never_lost() {
        let cord = Cord::default();
        let first =
            Stop::Exhausted { scope: "attempt".into(), line: Line::WallMs, limit: LimitKind::Total, opens_ms: None };
        assert!(cord.pull(first.clone()));
        assert!(!cord.pull(Stop::Cancelled));
        assert_eq!(cord.pulled().await, first);
        assert_eq!(cord.stop(), Some(first));
    }
}
