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
        let mut entries = Vec::new();
        for body in written {
            let entry = this.number(&mut state, body);
            if this.watcher.is_some() {
                entries.push(entry.clone());
            }
            books.append(&this.serial, entry);
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::doors::store::{MemoryStore, StoreError, Work};
    use crate::rules::effect::Level;
    use crate::rules::ledger::{Ledger, ScopeId};
    use crate::rules::operate::Act;
    use crate::rules::progress::Mark;

    /// Keeps works waiting until it is told how the next one ends.
    #[derive(Default)]
    struct Told {
        memory: MemoryStore,
        waiting: Mutex<VecDeque<Work>>,
    }

    impl Told {
        fn end_next(&self, keep: bool) {
            let work = lock(&self.waiting).pop_front().expect("something waits");
            if keep {
                return self.memory.submit(work);
            }
            // The change was made, and then the disk was full.
            let scratch = MemoryStore::default();
            let failing = Work {
                change: Box::new(move |books| {
                    let done = (work.change)(books);
                    Box::new(move |_| done(Err(StoreError::Full)))
                }),
                ..work
            };
            scratch.submit(failing);
        }
    }

    impl Store for Told {
        fn submit(&self, work: Work) {
            lock(&self.waiting).push_back(work);
        }

        fn marks(&self, serial: &str) -> Result<Vec<Mark>, StoreError> {
            self.memory.marks(serial)
        }

        fn entries(&self, serial: &str) -> Result<Vec<Entry>, StoreError> {
            self.memory.entries(serial)
        }

        fn open_attempts(&self) -> Result<Vec<ScopeId>, StoreError> {
            self.memory.open_attempts()
        }

        fn survey(&self) -> Result<Ledger, StoreError> {
            self.memory.survey()
        }

        fn acts(&self) -> Result<Vec<Act>, StoreError> {
            self.memory.acts()
        }
    }

    fn note(message: &str) -> Body {
        Body::Noted { level: Level::Info, message: message.into(), fields: vec![] }
    }

    #[tokio::test]
    async fn nothing_follows_a_step_that_was_not_kept() {
        let store = Arc::new(Told::default());
        let (watcher, mut watched) = mpsc::unbounded_channel();
        let clock = Clock::starting_at(0);
        let time = Arc::new(VirtualClock::starting_at_ms(0));
        let journal = Journal::new(Arc::clone(&store) as Arc<dyn Store>, "run", clock, time, Some(watcher));
        journal.append(note("waits"), Durability::Lazy).await.expect("waits in memory");
        // One is given up by whoever asked for it, another is asked for before the first has failed.
        assert!(journal.append(note("lost"), Durability::Durable).now_or_never().is_none());
        let next = journal.append(note("next"), Durability::Durable);
        tokio::pin!(next);
        assert!(next.as_mut().now_or_never().is_none());
        store.end_next(false);
        store.end_next(true);
        assert!(next.await.is_err());
        assert!(journal.append(note("later"), Durability::Lazy).await.is_err());
        assert_eq!(store.entries("run").expect("reads"), []);
        let seen: Vec<Entry> = std::iter::from_fn(|| watched.try_recv().ok()).collect();
        assert_eq!(seen.len(), 1, "who watches sees what waits, and nothing that was not kept: {seen:?}");
    }
}
