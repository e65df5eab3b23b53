//! The run's memory: entries in order, each kept together with what it did to the ledger.
//!
//! Never: changes an entry. Whoever watches a run reads the same entries; there is no second event stream. Invariant
//! here: entries are kept in the order of their numbers and without a gap, so that what a crash leaves is a prefix.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use crate::doors::clock::Clock;
use crate::doors::store::{Books, Durability, Need, Store, transact};
use crate::rules::effect::{Body, Entry};

use super::RunEnd;
use super::lock;
use super::senses::VirtualClock;

/// Bytes of entries that wait in memory for a durable one: what a guest makes the host write must not pile up.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// The journal of one run.
pub struct Journal {
    store: Arc<dyn Store>,
    pages: Arc<Pages>,
    next_call: AtomicU64,
}

/// What the store's writer and the run both write on.
struct Pages {
    serial: Arc<str>,
    clock: Clock,
    /// Moves with every entry.
    time: Arc<VirtualClock>,
    watcher: Option<mpsc::UnboundedSender<Entry>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_seq: u64,
    /// Entries in order that no store has yet.
    waiting: Vec<Entry>,
    waiting_bytes: usize,
    /// Why a transaction failed: entries are lost, and nothing may be appended after the gap.
    broken: Option<String>,
}

/// One step of a run: the books, and entries about what is done to them.
pub struct Step<'a, 'b> {
    pub books: &'a mut Books<'b>,
    written: Vec<Body>,
}

impl Step<'_, '_> {
    /// Writes an entry. It is kept if the step is.
    pub fn write(&mut self, body: Body) {
        self.written.push(body);
    }
}

impl Journal {
    /// An empty journal in `store`. A watcher that goes away is no reason to stop.
    pub fn new(
        store: Arc<dyn Store>,
        serial: &str,
        clock: Clock,
        time: Arc<VirtualClock>,
        watcher: Option<mpsc::UnboundedSender<Entry>>,
    ) -> Self {
        let pages = Pages { serial: serial.into(), clock, time, watcher, state: Mutex::default() };
        Self { store, pages: Arc::new(pages), next_call: AtomicU64::new(1) }
    }

    /// Where it is kept.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// A number for a call: one series for all guests that write here, so that no two calls of a run share one.
    pub fn next_call(&self) -> u64 {
        self.next_call.fetch_add(1, Ordering::Relaxed)
    }

    /// Appends; returns when `durability` holds. A lazy entry is kept before the next step is.
    ///
    /// # Errors
    /// [`RunEnd::Fault`]: the store refused, and the run must not go on.
    pub async fn append(&self, body: Body, durability: Durability) -> Result<(), RunEnd> {
        if durability == Durability::Lazy && self.pages.wait(body.clone())? {
            return Ok(());
        }
        let written = if durability == Durability::Lazy { None } else { Some(body) };
        self.step(vec![], durability, |step| step.written.extend(written)).await
    }

    /// Changes the books and writes about it, in one transaction: all of it is kept, or nothing.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub async fn step<T: Send + 'static>(
        &self,
        needs: Vec<Need>,
        durability: Durability,
        change: impl FnOnce(&mut Step<'_, '_>) -> T + Send + 'static,
    ) -> Result<T, RunEnd> {
        lock(&self.pages.state).whole()?;
        let pages = Arc::clone(&self.pages);
        let kept = transact(&*self.store, needs, durability, move |books| {
            // A transaction before this one may have failed since it was asked for.
            lock(&pages.state).whole()?;
            let mut step = Step { books, written: Vec::new() };
            let result = change(&mut step);
            let written = std::mem::take(&mut step.written);
            Pages::keep(&pages, step.books, written);
            Ok(result)
        });
        kept.await.unwrap_or_else(|error| {
            lock(&self.pages.state).broken.get_or_insert(error.to_string());
            Err(RunEnd::Fault(format!("the journal could not be written: {error}")))
        })
    }
}

impl State {
    fn whole(&self) -> Result<(), RunEnd> {
        match &self.broken {
            None => Ok(()),
            Some(why) => Err(RunEnd::Fault(format!("an earlier entry could not be written: {why}"))),
        }
    }
}

impl Pages {
    /// Lets an entry wait for the next step. Returns whether there is room for more.
    fn wait(&self, body: Body) -> Result<bool, RunEnd> {
        let mut state = lock(&self.state);
        state.whole()?;
        let bytes = serde_json::to_vec(&body).map_or(0, |json| json.len());
        let entry = self.number(&mut state, body);
        self.show(&entry);
        state.waiting.push(entry);
        state.waiting_bytes += bytes;
        Ok(state.waiting_bytes <= MAX_WAITING_BYTES)
    }

    /// Hands over what waited and what a step wrote, numbered in this order. What a step wrote is shown once it is kept;
    /// if it is not, nothing may follow it, whether or not anybody still waits for the step.
    fn keep(this: &Arc<Self>, books: &mut Books<'_>, written: Vec<Body>) {
        let mut state = lock(&this.state);
        state.waiting_bytes = 0;
        for entry in std::mem::take(&mut state.waiting) {
            books.append(&this.serial, entry);
        }
        let mut entries = Vec::with_capacity(written.len());
        for body in written {
            let entry = this.number(&mut state, body);
            books.append(&this.serial, entry.clone());
            entries.push(entry);
        }
        let pages = Arc::clone(this);
        books.when_kept(move |kept| match kept {
            Ok(()) => entries.iter().for_each(|entry| pages.show(entry)),
            Err(error) => {
                lock(&pages.state).broken.get_or_insert(error.to_string());
            }
        });
    }

    fn number(&self, state: &mut State, body: Body) -> Entry {
        let entry = Entry { seq: state.next_seq, at_ms: self.clock.unix_ms(), body };
        state.next_seq += 1;
        self.time.move_to_ms(entry.at_ms);
        entry
    }

    fn show(&self, entry: &Entry) {
        if let Some(watcher) = &self.watcher {
            // A watcher that left is its own affair.
            drop(watcher.send(entry.clone()));
        }
    }
}
