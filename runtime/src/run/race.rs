//! A guest's call against its clocks: wall, work and processor time, and the cord.
//!
//! Never: decides what an end means. Invariant here: whoever is first ends the call, and the time that it took is booked
//! however it ended.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::doors::clock::{Clock, millis};
use crate::rules::ledger::{Ledger, Line, ScopeId};
use crate::rules::verdict::{Outcome, Stop};

use super::cord::Cord;
use super::gate::Gate;
use super::limits::CpuMeter;
use super::lock;
use super::sandbox::{CallBounds, Returned};

/// A guest's call against its clocks: whoever is first ends it.
pub(super) struct GuestCall {
    pub clock: Clock,
    pub cord: Cord,
    pub gate: Arc<Gate>,
    pub ledger: Arc<Mutex<Ledger>>,
    pub scope: ScopeId,
}

impl GuestCall {
    /// Calls, and books the time that it took.
    pub async fn race<F: Future<Output = Result<Returned, Outcome>>>(
        self,
        call: impl FnOnce(CallBounds) -> F,
        caps: &crate::rules::spec::Caps,
    ) -> Result<Returned, Outcome> {
        let started = self.clock.now();
        let [wall, work, cpu] = [Line::WallMs, Line::WorkMs, Line::CpuMs].map(|line| self.left(line));
        let meter = CpuMeter::default();
        let bounds = CallBounds {
            cord: self.cord.clone(),
            cpu: meter.clone(),
            // One thread cannot use more processor time than time: a limit that is no tighter would only race with
            // the clock for whose name the verdict has.
            cpu_left_ns: if cpu.0 < wall.0 { cpu.0.saturating_mul(1_000_000) } else { u64::MAX },
            when_cpu_is_used: exhausted(&cpu.1, Line::CpuMs),
            lifted_bytes: caps.lifted_bytes,
            handles: caps.handles,
        };
        let ended = tokio::select! {
            biased;
            never = self.watch(started, &wall, &work) => match never {},
            ended = call(bounds) => ended,
        };
        let wall_ms = millis(started.elapsed());
        let mut ledger = lock(&self.ledger);
        ledger.meter(self.scope, Line::WallMs, wall_ms);
        ledger.meter(self.scope, Line::WorkMs, wall_ms.saturating_sub(self.gate.waited_ms()));
        ledger.meter(self.scope, Line::CpuMs, meter.total_ns() / 1_000_000);
        ended
    }

    /// What is left of a line, and the scope that says so.
    fn left(&self, line: Line) -> (u64, String) {
        let ledger = lock(&self.ledger);
        let (left, scope) = ledger.headroom(self.scope, line).unwrap_or((0, "none"));
        (left, scope.to_owned())
    }

    /// Pulls the cord when the time is up. Work time stands still while the host makes the guest wait.
    async fn watch(&self, started: Instant, wall: &(u64, String), work: &(u64, String)) -> Infallible {
        let after = |ms: u64| started.checked_add(Duration::from_millis(ms));
        loop {
            let work_ends = after(work.0.saturating_add(self.gate.waited_ms()));
            let (ends, stop) = match (after(wall.0), work_ends) {
                (Some(wall_ends), Some(work_ends)) if work_ends < wall_ends => {
                    (work_ends, exhausted(&work.1, Line::WorkMs))
                }
                (Some(wall_ends), _) => (wall_ends, exhausted(&wall.1, Line::WallMs)),
                // A limit beyond what the clock can hold never comes.
                (None, _) => return std::future::pending().await,
            };
            self.clock.sleep_until(ends).await;
            let still = after(work.0.saturating_add(self.gate.waited_ms())) == work_ends;
            if still || matches!(stop, Stop::Exhausted { line: Line::WallMs, .. }) {
                self.cord.pull(stop);
                return std::future::pending().await;
            }
        }
    }
}

fn exhausted(scope: &str, line: Line) -> Stop {
    Stop::Exhausted { scope: scope.to_owned(), line }
}
