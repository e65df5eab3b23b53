//! What a guest uses as it runs: elapsed, work and processor time, disk, memory. Lines of the ledger like all others.
//!
//! One call of the ledger that lasts as long as the guest: memory is reserved whole, disk as far as it is left, and time
//! in slices that are renewed before they are used up. So nothing is used that was not reserved, others see what is used
//! while it is, and what a crash leaves in doubt is a slice of time, and its disk, until the run goes on. Never: reads the
//! ledger on the way of a guest's write.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use crate::doors::clock::millis;
use crate::doors::store::{AtClock, Durability, Need, Store, StoreError, transact, transact_at};
use crate::rules::ledger::{Amounts, CallId, CallState, Denial, Headroom, Ledger, Line, Renewed, ScopeId};
use crate::rules::verdict::Stop;

use super::limits::CpuMeter;
use super::lock;

/// Time that is reserved ahead. It is renewed at half of it: the other half is longer than a store may be locked.
const SLICE_MS: u64 = 30_000;

/// Between two renewals at least: near a limit each one brings less.
const RENEW_MS: u64 = 1_000;

/// Processor time that a guest keeps which lends: one in a process of its own uses a little of it as it waits.
const SPARED_CPU_MS: u64 = 200;

const TIMES: [Line; 3] = [Line::WallMs, Line::WorkMs, Line::CpuMs];

/// The meter of one guest.
pub struct Meter {
    store: Arc<dyn Store>,
    scope: ScopeId,
    call: CallId,
    cpu: CpuMeter,
    /// Whose disk it is.
    payer: Option<Arc<Meter>>,
    state: Mutex<State>,
    /// A renewal brought something.
    renewed: Notify,
    /// One renewal at a time, or what an earlier one brought would be taken for the latest.
    renewing: tokio::sync::Mutex<()>,
}

struct State {
    started: Option<Instant>,
    disk_bytes: u64,
    /// Of what is told again, what an earlier process has paid for. Everything, once the rest is paid.
    prepaid_bytes: u64,
    /// Used, and known to the ledger.
    booked: Amounts,
    /// Reserved beside that.
    ahead: Amounts,
    /// What stood in the way of more.
    short: Vec<(Line, Headroom)>,
}

/// When a guest's time is up.
enum Deadline {
    At(Instant),
    /// Beyond what a clock can hold.
    Never,
}

impl Meter {
    /// The id of a run's meter in the ledger.
    pub fn id(serial: &str) -> CallId {
        CallId::new(format!("{serial}-meter"))
    }

    /// Reserves what a guest may use from its start. Part of the transaction that admits it.
    ///
    /// # Errors
    /// [`Denial::Short`] if the memory is not to be had; of everything else less is given where less is left.
    pub fn begin(
        ledger: &mut Ledger,
        scope: &ScopeId,
        call: &CallId,
        memory_bytes: u64,
        now_ms: u64,
    ) -> Result<Renewed, Denial> {
        let memory = Amounts::of(Line::MemoryBytes, memory_bytes);
        let reservation = ledger.reserve(scope, call.clone(), &memory, now_ms)?;
        // From now on: what is in use when the host crashes is in doubt.
        let running = ledger.dispatch(reservation, now_ms)?;
        ledger.renew(running.id(), &Amounts::default(), &wanted(), now_ms)
    }

    /// The call of the meter that a run has after so many resumptions.
    pub fn id_after(serial: &str, resumptions: u32) -> CallId {
        match resumptions {
            0 => Self::id(serial),
            resumptions => CallId::new(format!("{serial}-r{resumptions}-meter")),
        }
    }

    /// Ends the meter that a crash left in doubt, in the transaction in which its run goes on: of time it used what the
    /// journal knows of, at most what was reserved, and of disk what was booked. What it did after its last entry is lost
    /// with it, and done again; that is charged.
    pub fn take_over(ledger: &mut Ledger, call: &CallId, known_ms: u64, now_ms: u64) {
        let Some(left) = ledger.find(call).filter(|call| call.state == CallState::Held) else { return };
        let lost = |line| known_ms.saturating_sub(left.spent.get(line)).min(left.reserved.get(line));
        let known: Amounts = TIMES.into_iter().map(|line| (line, lost(line))).collect();
        // If it is refused it stays held, which is safe.
        drop(ledger.settle_id(call, &known, now_ms));
    }

    /// The meter of a guest for which `begun` was reserved in `scope`.
    pub fn new(store: Arc<dyn Store>, scope: ScopeId, call: CallId, begun: Renewed) -> Self {
        let state = State {
            started: None,
            disk_bytes: 0,
            prepaid_bytes: 0,
            booked: Amounts::default(),
            ahead: begun.reserved,
            short: begun.short,
        };
        let meter = Self {
            store,
            scope,
            call,
            cpu: CpuMeter::default(),
            payer: None,
            state: Mutex::new(state),
            renewed: Notify::new(),
            renewing: tokio::sync::Mutex::default(),
        };
        meter.bound_cpu(&lock(&meter.state));
        meter
    }

    /// Every byte that is written is another's too, and written only if both have it.
    pub fn paid_by(self, payer: Option<Arc<Self>>) -> Self {
        Self { payer, ..self }
    }

    /// The processor's part, for whoever polls the guest.
    pub fn cpu(&self) -> &CpuMeter {
        &self.cpu
    }

    /// Bytes of what is told again that were booked when they were first written.
    pub fn prepaid(&self, bytes: u64) {
        lock(&self.state).prepaid_bytes = bytes;
    }

    /// Charges what was told again, beyond what was booked for it before: once, before anything else is written.
    pub fn catch_up(&self, told_bytes: u64) -> Result<(), Headroom> {
        let prepaid = lock(&self.state).prepaid_bytes;
        self.write(told_bytes.saturating_sub(prepaid))?;
        lock(&self.state).prepaid_bytes = u64::MAX;
        Ok(())
    }

    /// The guest starts now.
    pub fn start(&self, now: Instant) {
        lock(&self.state).started = Some(now);
    }

    /// Charges bytes that the guest is about to write. `Err` with what stands in the way: nothing may be written.
    pub fn write(&self, bytes: u64) -> Result<(), Headroom> {
        let mut state = lock(&self.state);
        let used = state.disk_bytes.saturating_add(bytes);
        if used > state.granted(Line::DiskBytes) {
            return Err(state.limit_on(Line::DiskBytes, &self.scope));
        }
        if let Some(payer) = &self.payer {
            payer.write(bytes)?;
        }
        state.disk_bytes = used;
        Ok(())
    }

    /// Milliseconds of a time line that were granted so far and are not used when `used_ms` are.
    pub fn granted_left(&self, line: Line, used_ms: u64) -> u64 {
        lock(&self.state).granted(line).saturating_sub(used_ms)
    }

    /// Bytes that may still be written.
    pub fn disk_left(&self) -> u64 {
        let state = lock(&self.state);
        state.granted(Line::DiskBytes).saturating_sub(state.disk_bytes)
    }

    /// What may be reserved beyond what this guest has, on every line that has a limit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn beyond(&self) -> Result<Vec<(Line, Headroom)>, StoreError> {
        let scope = self.scope.clone();
        transact(&*self.store, vec![Need::Scope(scope.clone())], Durability::Lazy, move |books| {
            let left = |line| Some((line, books.ledger.headroom(&scope, line, books.now_ms)?));
            Line::ALL.into_iter().filter_map(left).collect()
        })
        .await
    }

    /// Renews again and again, so that no slice is used up before the next one is reserved. Returns only if the ledger
    /// does not answer.
    pub async fn keep_renewed(&self, waited_ms: impl Fn() -> u64) -> String {
        loop {
            let ahead = |line: &Line| self.granted_left(*line, self.used(waited_ms()).get(*line));
            let least = TIMES.iter().map(ahead).min().unwrap_or(0);
            let pause = Duration::from_millis((least / 2).max(RENEW_MS));
            tokio::time::sleep(pause).await;
            let _renewing = self.renewing().await;
            let (call, used) = (self.call.clone(), self.used(waited_ms()));
            // On disk, or a crash of the machine would forget more than a slice.
            let renewed = transact(&*self.store, vec![Need::Call(call.clone())], Durability::Durable, move |books| {
                renew(books.ledger, &call, &used, &wanted(), books.now_ms)
            });
            match renewed.await {
                Ok(Ok(renewed)) => self.go_on(used, renewed),
                Ok(Err(denial)) => return denial.to_string(),
                Err(error) => return error.to_string(),
            }
        }
    }

    /// Waits until the guest's elapsed or work time is up, and says what stopped it. `Err`: time that the ledger did not
    /// refuse is not granted either, because it does not answer.
    pub async fn run_out(&self, waited_ms: impl Fn() -> u64) -> Result<Stop, String> {
        loop {
            let (line, deadline) = self.deadline(waited_ms());
            let Deadline::At(at) = deadline else { return std::future::pending().await };
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(at) => {}
                () = self.renewed.notified() => continue,
            }
            // Work time stands still while the host makes the guest wait.
            match self.deadline(waited_ms()) {
                (_, Deadline::At(at)) if at <= Instant::now() => return lock(&self.state).stopped_by(line),
                (_, Deadline::At(_) | Deadline::Never) => {}
            }
        }
    }

    /// Books the rest of what was used, and gives the rest of what was reserved back.
    ///
    /// # Errors
    /// [`StoreError`]: what is reserved stays so until the scope is closed, and is held then.
    pub async fn finish(&self, waited_ms: u64) -> Result<(), StoreError> {
        let (call, used) = (self.call.clone(), self.used(waited_ms));
        let needs = vec![Need::Call(call.clone())];
        let settled = transact_at(&*self.store, needs, Durability::Lazy, AtClock::Any, move |books| {
            // What was used now is of now, and not of when the guest began.
            renew(books.ledger, &call, &used, &Amounts::default(), books.now_ms)?;
            books.ledger.settle_id(&call, &Amounts::default(), books.now_ms)
        });
        match settled.await? {
            Ok(_nothing_more) => Ok(()),
            Err(denial) => Err(StoreError::Failed(denial.to_string())),
        }
    }

    /// Part of the transaction that writes a mark down: what was `used` is booked first, so that it is before the mark,
    /// and what is ahead is of the new gap.
    ///
    /// # Errors
    /// [`Denial::NotOpen`]: somebody closed the scope in the meantime.
    pub fn mark(
        ledger: &mut Ledger,
        scope: &ScopeId,
        call: &CallId,
        used: &Amounts,
        now_ms: u64,
    ) -> Result<Renewed, Denial> {
        renew(ledger, call, used, &Amounts::default(), now_ms)?;
        ledger.mark(scope);
        renew(ledger, call, used, &wanted(), now_ms)
    }

    /// Held by whoever renews, until the meter goes on with what came of it.
    pub async fn renewing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.renewing.lock().await
    }

    /// Part of a transaction in which something is to be taken from what the meter keeps for its guest, who waits meanwhile:
    /// all that is not used is given back before `take`, but for what waiting itself costs, and what is left then is reserved
    /// anew.
    ///
    /// # Errors
    /// [`Denial::NotOpen`]: somebody closed the scope in the meantime. Those of `take`, after which nothing may be kept.
    pub fn lend<T>(
        ledger: &mut Ledger,
        call: &CallId,
        used: &Amounts,
        now_ms: u64,
        take: impl FnOnce(&mut Ledger) -> Result<T, Denial>,
    ) -> Result<(T, Renewed), Denial> {
        renew(ledger, call, used, &Amounts::default(), now_ms)?;
        let reserved = ledger.find(call).map(|call| call.reserved).unwrap_or_default();
        let spared = Amounts::of(Line::CpuMs, SPARED_CPU_MS);
        ledger.give_back(call, &reserved.only(|line| !line.is_level()).less(&spared))?;
        let taken = take(ledger)?;
        Ok((taken, renew(ledger, call, used, &wanted(), now_ms)?))
    }

    /// The call that it is in the ledger.
    pub fn call(&self) -> &CallId {
        &self.call
    }

    /// Goes on with what a renewal brought, at which so much was used.
    pub fn go_on(&self, used: Amounts, renewed: Renewed) {
        let mut state = lock(&self.state);
        state.booked = used;
        state.ahead = renewed.reserved;
        state.short = renewed.short;
        self.bound_cpu(&state);
        drop(state);
        self.renewed.notify_one();
    }

    /// What was used so far.
    pub fn used(&self, waited_ms: u64) -> Amounts {
        let state = lock(&self.state);
        let wall_ms = state.started.map_or(0, |started| millis(started.elapsed()));
        [
            (Line::WallMs, wall_ms),
            (Line::WorkMs, wall_ms.saturating_sub(waited_ms)),
            (Line::CpuMs, self.cpu.total_ns() / 1_000_000),
            (Line::DiskBytes, state.disk_bytes),
        ]
        .into_iter()
        .collect()
    }

    /// The tick that stops a guest at its processor time looks at a bound only where the ledger gave less than was wanted,
    /// and less than of elapsed time: one thread cannot use more processor time than time, so else the next renewal comes
    /// first.
    fn bound_cpu(&self, state: &State) {
        let is_short = state.short.iter().any(|(line, _)| *line == Line::CpuMs);
        let tighter = state.ahead.get(Line::CpuMs) < state.ahead.get(Line::WallMs);
        match state.stopped_by(Line::CpuMs) {
            Ok(stop) if is_short && tighter => {
                self.cpu.bound(state.granted(Line::CpuMs).saturating_mul(1_000_000), stop);
            }
            Ok(_) | Err(_) => self.cpu.unbound(),
        }
    }

    fn deadline(&self, waited_ms: u64) -> (Line, Deadline) {
        let state = lock(&self.state);
        let Some(started) = state.started else { return (Line::WallMs, Deadline::Never) };
        let after = |ms: u64| started.checked_add(Duration::from_millis(ms));
        let wall = after(state.granted(Line::WallMs));
        let work = after(state.granted(Line::WorkMs).saturating_add(waited_ms));
        match (wall, work) {
            (Some(wall), Some(work)) if work < wall => (Line::WorkMs, Deadline::At(work)),
            (Some(wall), _) => (Line::WallMs, Deadline::At(wall)),
            (None, _) => (Line::WallMs, Deadline::Never),
        }
    }
}

impl State {
    fn granted(&self, line: Line) -> u64 {
        self.booked.get(line).saturating_add(self.ahead.get(line))
    }

    /// What stands in the way of more of a line.
    fn limit_on(&self, line: Line, scope: &ScopeId) -> Headroom {
        let short = self.short.iter().find(|(short, _)| *short == line);
        let unlimited = || Headroom::nothing(scope.clone());
        short.map_or_else(unlimited, |(_, headroom)| Headroom { left: 0, ..headroom.clone() })
    }

    fn stopped_by(&self, line: Line) -> Result<Stop, String> {
        match self.short.iter().find(|(short, _)| *short == line) {
            Some((_, short)) => {
                let scope = short.scope.level().name().to_owned();
                Ok(Stop::Exhausted { scope, line, limit: short.limit, opens_ms: short.opens_ms(RENEW_MS) })
            }
            None => Err(format!("the ledger did not grant more of {} in time", line.name())),
        }
    }
}

/// What was used and is not in the ledger: it knows what is, also from a renewal that nobody waited for in the end.
fn not_booked(ledger: &Ledger, call: &CallId, used: &Amounts) -> Amounts {
    ledger.find(call).map_or(*used, |call| used.less(&call.spent))
}

fn renew(ledger: &mut Ledger, call: &CallId, used: &Amounts, ahead: &Amounts, now_ms: u64) -> Result<Renewed, Denial> {
    let since = not_booked(ledger, call, used);
    ledger.renew(call, &since, ahead, now_ms)
}

/// What a renewal asks for: of time a slice, of disk all there is.
fn wanted() -> Amounts {
    TIMES.into_iter().map(|line| (line, SLICE_MS)).chain([(Line::DiskBytes, u64::MAX)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doors::store::MemoryStore;
    use crate::rules::ledger::LimitKind;
    use crate::rules::ledger::{Limits, Terms};
    use crate::rules::window::Span;

    /// A meter in a scope whose disk and wall time are limited.
    async fn meter(store: &Arc<MemoryStore>, windows: &[(Span, u64)]) -> Meter {
        let (scope, call) = (ScopeId::host(), CallId::new("run-meter"));
        let limits = [(Line::MemoryBytes, 64), (Line::DiskBytes, 10_000), (Line::WallMs, 100_000)];
        let disk = |&(span, limit): &(Span, u64)| (span, Limits::from_iter([(Line::DiskBytes, limit)]));
        let terms = Terms {
            limits: limits.into_iter().collect(),
            windows: windows.iter().map(disk).collect(),
            ..Terms::default()
        };
        let (opened, begun) = (scope.clone(), call.clone());
        let begun = transact(&**store, vec![], Durability::Lazy, move |books| {
            books.ledger.open(&opened, terms, books.now_ms).expect("opens");
            Meter::begin(books.ledger, &opened, &begun, 64, books.now_ms)
        });
        let begun = begun.await.expect("kept").expect("there is memory");
        Meter::new(Arc::clone(store) as Arc<dyn Store>, scope, call, begun)
    }

    #[tokio::test]
    async fn what_is_used_last_is_of_now_and_not_of_when_the_guest_began() {
        let store = Arc::new(MemoryStore::default());
        let meter = meter(&store, &[(Span::Hour, 1_000)]).await;
        meter.write(900).expect("is granted");
        // It lives for longer than the window looks back.
        let now_ms = 2 * 3_600_000;
        store.set_now_ms(now_ms);
        meter.finish(0).await.expect("booked");
        let ledger = store.survey().expect("reads");
        let left = ledger.headroom(&ScopeId::host(), Line::DiskBytes, now_ms).expect("is limited").left;
        assert_eq!(left, 100);
    }

    #[tokio::test]
    async fn the_last_byte_that_is_granted_is_written_and_one_more_is_not() {
        let store = Arc::new(MemoryStore::default());
        let meter = meter(&store, &[]).await;
        assert!(meter.write(10_000).is_ok());
        assert_eq!(meter.write(1).expect_err("is one more").limit, LimitKind::Total);
        meter.finish(0).await.expect("booked");
        let spent = store.survey().expect("reads").totals(&ScopeId::host()).spent;
        assert_eq!((spent.get(Line::DiskBytes), spent.get(Line::MemoryBytes)), (10_000, 0));
    }

    #[tokio::test]
    async fn a_renewal_that_nobody_waited_for_is_booked_once() {
        let store = Arc::new(MemoryStore::default());
        let meter = meter(&store, &[]).await;
        meter.write(500).expect("is granted");
        let (call, used) = (meter.call().clone(), meter.used(0));
        let renewed = transact(&*store, vec![], Durability::Lazy, move |books| {
            renew(books.ledger, &call, &used, &wanted(), books.now_ms)
        });
        drop(renewed.await.expect("kept").expect("is open"));
        // The meter never heard of it.
        meter.finish(0).await.expect("booked");
        assert_eq!(store.survey().expect("reads").totals(&ScopeId::host()).spent.get(Line::DiskBytes), 500);
    }
}
