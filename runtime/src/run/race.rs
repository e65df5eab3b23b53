//! A guest's call against its clocks and its cord.
//!
//! Never: decides what an end means. Invariant here: whoever is first ends the call, and what it used is booked however
//! it ended.

use std::sync::Arc;

use crate::doors::clock::Clock;
use crate::rules::verdict::Outcome;

use super::cord::Cord;
use super::gate::Gate;
use super::meter::Meter;
use super::sandbox::Returned;
use super::seat::CallBounds;

/// A guest's call against its clocks: whoever is first ends it.
pub(super) struct GuestCall {
    pub clock: Clock,
    pub cord: Cord,
    pub gate: Arc<Gate>,
    pub meter: Arc<Meter>,
}

impl GuestCall {
    /// Calls, and books what it used.
    pub async fn race<F: Future<Output = Result<Returned, Outcome>>>(
        self,
        call: impl FnOnce(CallBounds) -> F,
    ) -> Result<Returned, Outcome> {
        let Self { clock, cord, gate, meter } = self;
        let waited = || gate.waited_ms();
        meter.start(clock.now());
        let bounds = CallBounds { cord: cord.clone(), cpu: meter.cpu().clone() };
        let watch = async {
            match meter.run_out(waited).await {
                Ok(stop) => {
                    cord.pull(stop);
                    // The call hears of it by its cord, and ends.
                    std::future::pending().await
                }
                Err(why) => why,
            }
        };
        let ended = tokio::select! {
            biased;
            why = watch => Err(Outcome::Faulted(why)),
            why = meter.keep_renewed(waited) => Err(Outcome::Faulted(why)),
            never = gate.watch_for_silence() => match never {},
            ended = call(bounds) => ended,
        };
        // What was told and never followed by a write; if there is no room, it was refused to whoever wrote next, too.
        drop(gate.catch_up());
        match meter.finish(gate.waited_ms()).await {
            Ok(()) => ended,
            Err(error) => Err(Outcome::Faulted(format!("what the guest used could not be booked: {error}"))),
        }
    }
}
