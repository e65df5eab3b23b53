//! A model that said no for now: the same call is made again after a wait, and when it stays so the run is deferred.
//!
//! Never: retries more than twice what may have been billed, waits past the run's own time. Invariants here: while a call waits nothing of it
//! is on its way, so that whoever stops the run leaves nothing in doubt; what a try may have cost is settled or held, and what
//! the next one may cost is reserved, in one transaction.

use std::time::Duration;

use crate::doors::clock::millis;
use crate::doors::store::{Durability, Need};
use crate::rules::calendar;
use crate::rules::effect::{Body, Cost, Denied, Effect, Failure, FailureKind};
use crate::rules::ledger::{Amounts, CallId, Denial, Dispatched, Line, Reservation};
use crate::rules::quote::Quote;
use crate::rules::retry;
use crate::rules::spec::OnOverload;
use crate::rules::verdict::Stop;

use super::super::RunEnd;
use super::super::waits::Waiting;
use super::{Admitted, Gate, ModelDoor, Performed};

impl ModelDoor {
    /// Whether a failure passes by itself. A script that says that nobody is there says so for ever.
    pub(super) fn may_pass(&self, failure: &Failure) -> bool {
        failure.kind.may_pass() && (failure.kind == FailureKind::Overloaded || self.way.model.uses_network())
    }
}

/// The tries of one call that failed.
#[derive(Default)]
pub(super) struct Tries {
    failed: u32,
    /// Of these, how many may have been billed.
    billed: u32,
    /// When the first one had failed. Milliseconds since 1970-01-01T00:00:00Z.
    since_ms: u64,
}

/// What becomes of a call after a try.
pub(super) enum Next {
    /// It ends as the try did.
    Ends(Option<(Quote, Dispatched)>),
    /// It may be made again.
    Again(Quote, Reservation),
}

impl Gate {
    /// After a try: waits, if the call is to be made again. What the try cost is booked then.
    pub(super) async fn next_try(
        &self,
        admitted: &Admitted,
        performed: &Performed,
        tries: &mut Tries,
        paid: Option<(Quote, Dispatched)>,
    ) -> Result<Next, RunEnd> {
        let (Effect::Model { request }, Err(Denied::Failed(failure))) = (&admitted.ask.effect, &performed.heard) else {
            return Ok(Next::Ends(paid));
        };
        let door = self.door(request);
        if !door.may_pass(failure) {
            return Ok(Next::Ends(paid));
        }
        let Some((quote, dispatched)) = paid else { return Ok(Next::Ends(None)) };
        tries.failed += 1;
        tries.billed += u32::from(performed.spent.is_none_or(|spent| spent.get(Line::Tokens) > 0));
        let now_ms = self.passage.clock.unix_ms();
        if tries.failed == 1 {
            tries.since_ms = now_ms;
        }
        let said = performed.rates.retry_after.map(|after| millis(after.saturating_sub(performed.rates.age)));
        let wait_ms = retry::pause_ms(said, tries.failed, self.call_id(admitted.call).as_str());
        let is_worth_it = tries.failed <= door.retries && tries.billed <= retry::MOST_BILLED;
        if is_worth_it && wait_ms < self.wall_left().await? {
            match self.book_try(admitted, (quote, dispatched), performed, failure, (tries.failed, wait_ms)).await? {
                Ok((quote, reservation)) => {
                    self.wait(wait_ms).await;
                    return Ok(Next::Again(quote, reservation));
                }
                // The budget has no room for one more.
                Err(paid) => {
                    self.defer(door, &request.model, (failure, said), tries);
                    return Ok(Next::Ends(paid));
                }
            }
        }
        self.defer(door, &request.model, (failure, said), tries);
        Ok(Next::Ends(Some((quote, dispatched))))
    }

    /// Ends what a try cost, and reserves for the next one, in one transaction. `Err`: there is no room for it; with what is
    /// still to be settled.
    async fn book_try(
        &self,
        admitted: &Admitted,
        (quote, dispatched): (Quote, Dispatched),
        performed: &Performed,
        failure: &Failure,
        (failed, wait_ms): (u32, u64),
    ) -> Result<Result<(Quote, Reservation), Option<(Quote, Dispatched)>>, RunEnd> {
        let call = admitted.call;
        let next = CallId::new(format!("{}-try{}", self.call_id(call), failed + 1));
        let scope = self.passage.scope.clone();
        // The call is one, however often it is made.
        let spent = performed.spent.map(|spent| spent.only(|line| line != Line::ModelCalls));
        let held = if spent.is_some() { Amounts::default() } else { quote.reserve };
        let cost = Cost {
            spent: spent.unwrap_or_default(),
            held,
            took_ms: performed.took_ms,
            waited_ms: performed.waited_ms,
            raw_usage: None,
        };
        let (kind, message, reserve) = (failure.kind, failure.message.clone(), quote.reserve);
        let needs = vec![Need::Call(dispatched.id().clone()), Need::Scope(scope.clone())];
        let booked = self.passage.journal.step(needs, Durability::Durable, move |step| {
            let (now_ms, ledger) = (step.books.now_ms, &mut *step.books.ledger);
            let room = ledger.room(&scope, now_ms);
            // What it has reserved is the next one's, but for what it spent or may have.
            if cost.spent.plus(&cost.held).iter().any(|(line, amount)| amount > room.left(line)) {
                return Ok(Err(Some(dispatched)));
            }
            match spent {
                Some(spent) => {
                    ledger.settle(dispatched, &spent, now_ms)?;
                }
                None => ledger.hold(dispatched),
            }
            match ledger.reserve(&scope, next, &reserve, now_ms) {
                Ok(reservation) => {
                    step.write(Body::Retried { call, kind, message, wait_ms, cost });
                    Ok(Ok(reservation))
                }
                Err(Denial::Short(_)) => Ok(Err(None)),
                Err(denial) => Err(denial),
            }
        });
        Ok(match booked.await?.map_err(|denial| RunEnd::Fault(denial.to_string()))? {
            Ok(reservation) => Ok((quote, reservation)),
            Err(dispatched) => Err(dispatched.map(|dispatched| (quote, dispatched))),
        })
    }

    /// The host's doing: wall time, and no work time.
    async fn wait(&self, ms: u64) {
        let _waiting = Waiting::begin(&self.waits);
        let clock = &self.passage.clock;
        clock.sleep_until(clock.now() + Duration::from_millis(ms)).await;
    }

    /// What comes after a wait: from here on the call may have been sent again.
    pub(super) async fn dispatch_again(&self, reservation: Reservation) -> Result<Dispatched, RunEnd> {
        let line = self.freezes_with();
        let id = reservation.id().clone();
        let needs = [Need::Call(id)].into_iter().chain(line.clone().map(Need::Line)).collect();
        let dispatched = self.passage.journal.step(needs, Durability::Durable, move |step| {
            if let Some(lock) = line.and_then(|line| step.books.line(&line).lock) {
                // What was reserved is free when the attempt is closed.
                return Ok(Err(lock.first));
            }
            Ok::<_, Denial>(Ok(step.books.ledger.dispatch(reservation, step.books.now_ms)?))
        });
        let dispatched = dispatched.await?.map_err(|denial| RunEnd::Fault(denial.to_string()))?;
        dispatched.map_err(|pull| self.freeze(pull))
    }

    /// Elapsed time that the run has left. Milliseconds.
    async fn wall_left(&self) -> Result<u64, RunEnd> {
        let meter = &self.passage.meter;
        let beyond = meter.beyond().await.map_err(|error| RunEnd::Fault(error.to_string()))?;
        let beyond = beyond.into_iter().find(|(line, _)| *line == Line::WallMs).map_or(0, |(_, room)| room.left);
        let used_ms = meter.used(self.waited_ms()).get(Line::WallMs);
        Ok(beyond.saturating_add(meter.granted_left(Line::WallMs, used_ms)))
    }

    /// The run is to end when all that it asked for at once has its answer, unless its job lets the worker hear of it.
    fn defer(&self, door: &ModelDoor, model: &str, (failure, said): (&Failure, Option<u64>), tries: &Tries) {
        if door.on_overload == OnOverload::Tell {
            return;
        }
        let put_off_ms = retry::put_off_ms(said, tries.failed, self.passage.deferrals);
        let times = match tries.failed {
            1 => "once".to_owned(),
            failed => format!("{failed} times"),
        };
        let how = match failure.kind {
            FailureKind::Unavailable => "cannot be reached",
            FailureKind::TimedOut => "does not answer in time",
            _ if tries.billed > 0 => "fails",
            _ => "is overloaded",
        };
        let since = calendar::utc(tries.since_ms);
        let why = format!("model \"{model}\" {how}, asked {times} since {since}: {}", failure.message);
        self.defer_until(why, self.passage.clock.unix_ms().saturating_add(put_off_ms));
    }

    /// As it is for whoever waits longest, where several things stand in the way.
    pub(super) fn defer_until(&self, why: String, retry_at_ms: u64) {
        let mut state = self.state();
        match &state.deferral {
            Some(Stop::Deferred { retry_at_ms: known, .. }) if *known >= retry_at_ms => {}
            Some(_) | None => state.deferral = Some(Stop::Deferred { why, retry_at_ms }),
        }
    }

    /// Ends the run here if something of what was asked for stays in the way.
    ///
    /// # Errors
    /// [`RunEnd::Stopped`].
    pub(super) fn end_if_deferred(&self) -> Result<(), RunEnd> {
        match self.state().deferral.take() {
            None => Ok(()),
            Some(stop) => {
                self.passage.cord.pull(stop);
                Err(RunEnd::Stopped)
            }
        }
    }
}
