//! The pace of a model or a tenant: so many requests and so many tokens a minute, over all runs that share it, in all
//! processes of one host's directory.
//!
//! Never: holds a budget; what a run may spend is the ledger's business. Waiting here is the host's doing: it counts as
//! wall time, never as work time. Invariants: first come, first served within a process, whatever the sizes, and one
//! request of each process in turn; a request takes its slot and its tokens together or takes nothing, so that a dropped
//! wait leaves no trace; what a provider says only slows down, and for a bounded time; a process that is killed makes
//! others wait a moment longer and lets nothing more through. Without rates and without a provider's word nothing is
//! written.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::clock::Clock;
use super::rates::RateNews;
use record::{Held, Missing, Place, Record, Taken};

pub use record::Open;

mod record;

/// The longest that one word of a provider's can stop a pace. Honest limits are per minute, a few per ten; a lying
/// provider could otherwise stop a host for years.
pub const MAX_PAUSE: Duration = Duration::from_secs(600);

/// The longest that a waiting process does not look whether it may go: others give tokens back and leave the line.
const LOOK: Duration = Duration::from_secs(1);

/// How soon a process looks again for which it is another's turn, now.
const SOON: Duration = Duration::from_millis(2);

/// How often, and how long after each other, it is tried to write down what became of a request. Another process has the
/// file for microseconds.
const TRIES: u32 = 50;
const TRY_PAUSE: Duration = Duration::from_millis(1);

/// What a pace allows. The default sets no pace; then only what a provider says slows down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rates {
    /// Spread evenly, so that a minute never sees more. After a minute without requests two may go at once; then the pace
    /// makes up for it.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Input and output together. A minute's tokens may go at once; then they come back at this rate.
    pub tokens_per_minute: Option<NonZeroU64>,
}

/// Lets one request after the other through. Shared by everybody in this process who uses one model, or one tenant, at
/// the same rates.
pub struct Pace {
    /// Whoever holds it is the next of this process to go. The lock is fair: the others stand in the order in which they
    /// came.
    head: tokio::sync::Mutex<()>,
    rates: Rates,
    clock: Clock,
    /// What this process is called among those that wait.
    who: u64,
    /// `None`: no other process shares it.
    place: Option<Place>,
    /// As it was seen last; all that is known where no file can be had.
    known: Mutex<Record>,
    /// Told when tokens came back: the head may go sooner than it thought.
    returned: Notify,
    /// It was said that there is no file.
    complained: AtomicBool,
}

/// A request that may go. Its tokens stay taken until it is settled: dropped, it is paid for as it was reserved, because
/// nobody knows what it used.
#[must_use = "an admission is settled when it is known what the request used"]
pub struct Admission<'pace> {
    pace: &'pace Pace,
    tokens: u64,
    waited: Duration,
}

/// A request in the line of processes. Dropped, it leaves.
struct Standing<'pace>(&'pace Pace);

/// Another process has the file, for a moment.
struct Busy;

impl Pace {
    /// A pace of this process alone.
    pub fn new(rates: Rates) -> Self {
        Self::with(rates, Clock::starting_at(0), None)
    }

    /// A pace of all processes that open this directory and call it so. `of` may be any text.
    pub fn shared(rates: Rates, clock: Clock, open: Open, of: String) -> Self {
        Self::with(rates, clock, Some(Place::new(open, of)))
    }

    fn with(rates: Rates, clock: Clock, place: Option<Place>) -> Self {
        // Without randomness two could have one place in the line, and one of them would go too early in it.
        let who = getrandom::u64().unwrap_or_else(|_| clock.up_ns());
        Self {
            head: tokio::sync::Mutex::new(()),
            rates,
            clock,
            who,
            place,
            known: Mutex::default(),
            returned: Notify::new(),
            complained: AtomicBool::new(false),
        }
    }

    /// Waits until a request of `tokens` may go, behind everybody who asked before.
    ///
    /// `tokens` is the most that it can use, input and output. More than a minute's tokens go when the bucket is full,
    /// and whoever comes next waits for the debt. Dropping the future gives up the place in the line and takes nothing.
    pub async fn admit(&self, tokens: u64) -> Admission<'_> {
        let asked = Instant::now();
        let _head = self.head.lock().await;
        if let Err(mut wait) = self.take(tokens) {
            let standing = Standing(self);
            loop {
                // An early end of the wait means that tokens came back; either way, look again.
                let _ = tokio::time::timeout(wait, self.returned.notified()).await;
                match self.take(tokens) {
                    Ok(()) => break,
                    Err(longer) => wait = longer,
                }
            }
            // It has left the line with what it took.
            std::mem::forget(standing);
        }
        Admission { pace: self, tokens, waited: asked.elapsed() }
    }

    /// Takes in what the provider said with its answer to a request, for all processes. If that request was admitted
    /// here, settle it first: a refund that comes after is added to what the provider says remains.
    ///
    /// The bucket holds no more tokens than the provider said remain, and what came in since it said so. For `retry-after`
    /// everybody waits, at most [`MAX_PAUSE`]; so they do until the stated reset where no tokens remain and there is no
    /// bucket to empty, and where no requests remain for one request's share of the minute, or until the provider takes
    /// one more if no rate is set.
    pub fn observe(&self, news: &RateNews) {
        let mut pause = news.retry_after.unwrap_or_default();
        let bucket = self.rates.tokens_per_minute.zip(news.remaining_tokens);
        if bucket.is_none() && news.remaining_tokens == Some(0) {
            pause = pause.max(news.reset_tokens.unwrap_or_default());
        }
        if news.remaining_requests == Some(0) {
            let share = self.rates.requests_per_minute.map(|rate| Duration::from_nanos(record::share(rate)));
            pause = pause.max(share.or(news.reset_requests).unwrap_or_default());
        }
        let pause = pause.min(MAX_PAUSE).saturating_sub(news.age);
        if pause.is_zero() && bucket.is_none() {
            return;
        }
        self.note(|record, now| {
            if let Some((rate, remaining)) = bucket {
                record.tokens.lower_to(rate, remaining, news.age, now);
            }
            if !pause.is_zero() {
                record.closed_until = record.closed_until.max(later(now, pause));
            }
        });
    }

    /// Takes a request's slot and its tokens, or nothing. `Err`: how long until it is worth another look.
    fn take(&self, tokens: u64) -> Result<(), Duration> {
        let Rates { requests_per_minute, tokens_per_minute } = self.rates;
        let is_paced = requests_per_minute.is_some() || tokens_per_minute.is_some();
        let missing = if is_paced { Missing::Make } else { Missing::Leave };
        let taken = self.change(missing, |record, now| {
            let closed = Duration::from_nanos(record.closed_until.saturating_sub(now));
            let slot = requests_per_minute.map(|rate| record.slots.wait(rate, now)).unwrap_or_default();
            let filling = tokens_per_minute.map(|rate| record.tokens.wait(rate, tokens, now)).unwrap_or_default();
            let wait = closed.max(slot).max(filling);
            if !is_paced {
                return if wait.is_zero() { Ok(()) } else { Err(wait) };
            }
            let others = record.wait_for_others(self.who, now);
            if wait.is_zero() && others.is_none() {
                record.leave(self.who);
                if let Some(rate) = requests_per_minute {
                    record.slots.take(rate, now);
                }
                if let Some(rate) = tokens_per_minute {
                    record.tokens.take(rate, tokens, now);
                }
                return Ok(());
            }
            let look = others.map_or(wait, |others| wait.max(others).max(SOON)).min(LOOK);
            record.stand(self.who, later(now, look));
            Err(look)
        });
        taken.unwrap_or(Err(TRY_PAUSE))
    }

    /// Changes the record, whatever it takes. For a moment it blocks, if another process has the file.
    fn note(&self, change: impl Fn(&mut Record, u64)) {
        for _ in 0..TRIES {
            match self.change(Missing::Make, &change) {
                Ok(()) => return,
                Err(Busy) => std::thread::sleep(TRY_PAUSE),
            }
        }
        // Of what is given back others hear nothing; of what closes the pace they do when this process looks again.
        change(&mut self.known(), self.clock.up_ns());
        tracing::warn!("a process does not let go of the pace's file: what a request used is not written down");
    }

    /// Changes what all processes know, or what this one does where no file can be had.
    fn change<T>(&self, missing: Missing, change: impl FnOnce(&mut Record, u64) -> T) -> Result<T, Busy> {
        let mut known = self.known();
        let held = self.held(missing)?;
        // Not before the file is ours: nobody wrote in it later.
        let now = self.clock.up_ns();
        known.renew(now);
        let read = held.as_ref().and_then(|held| held.read().map_err(|error| self.complain(&error)).ok());
        if let Some(read) = &read {
            known.learn(read.clone(), now);
        }
        let changed = change(&mut known, now);
        if let (Some(held), Some(read)) = (held, read)
            && *known != read
        {
            held.write(&mut known, now).unwrap_or_else(|error| self.complain(&error));
        }
        Ok(changed)
    }

    /// The file, if there is one or is to be.
    fn held(&self, missing: Missing) -> Result<Option<Held>, Busy> {
        let Some(place) = &self.place else { return Ok(None) };
        match place.take(missing) {
            Ok(Taken::Ours(held)) => Ok(Some(held)),
            Ok(Taken::Missing) => Ok(None),
            Ok(Taken::Busy) => Err(Busy),
            Err(error) => {
                self.complain(&error);
                Ok(None)
            }
        }
    }

    /// Says once that other processes do not keep this pace.
    fn complain(&self, error: &std::io::Error) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            tracing::warn!("a pace holds in this process alone: its file cannot be used: {error}");
        }
    }

    /// The record is plain numbers, true between any two statements: a panic elsewhere does not spoil it.
    fn known(&self) -> MutexGuard<'_, Record> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission<'_> {
    /// How long the request waited, the line included.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Gives back what was reserved and not used, at once, or takes what was used beyond.
    ///
    /// So what is bounded over a time is what was reserved less what was given back in that time, not what was used:
    /// the refunds of long requests that used little let others go now. No bucket ever holds more than a minute's tokens.
    pub fn settle(self, used: u64) {
        let Some(rate) = self.pace.rates.tokens_per_minute.filter(|_| used != self.tokens) else { return };
        self.pace.note(|record, now| record.tokens.settle(rate, self.tokens, used, now));
        if used < self.tokens {
            self.pace.returned.notify_one();
        }
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        // If another process has the file now, the place is free after a moment.
        let _ = self.0.change(Missing::Leave, |record, _| record.leave(self.0.who));
    }
}

fn later(now: u64, time: Duration) -> u64 {
    now.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
