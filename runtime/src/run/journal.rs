//! The run's memory: entries in order, each kept together with what it did to the ledger.
//!
//! Never: changes an entry. Whoever watches a run reads the same entries; there is no second event stream. Invariants
//! here: entries are kept in the order of their numbers and without a gap, so that what a crash leaves is a prefix; while
//! a tape is told nothing is written, and what the run would write is compared with what was.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::doors::chain::{Head, Key, Sealed, Sealer};
use crate::doors::clock::Clock;
use crate::doors::store::{AtClock, Books, Durability, Need, Store, StoreError, transact_at};
use crate::rules::divergence::{Divergence, DivergenceKind};
use crate::rules::effect::{Body, Effect, Entry};
use crate::rules::record::Record;
use crate::rules::spec::MarkKind;
use crate::rules::verdict::{CheckResult, Stop, UsedUp};

use super::RunEnd;
use super::lock;
use super::recovery::blocking;
use super::senses::VirtualClock;
use super::tape::{Retold, Tape, Then, Untold};

/// Bytes of entries that wait in memory for a durable one: what a guest makes the host write must not pile up.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// Between two tries to close a journal that the store refused, in milliseconds. A store that another process holds, or a
/// disk that is full for a moment, is there again after some seconds; who waits for the verdict waits no longer.
const CLOSE_PAUSES_MS: [u64; 6] = [100, 200, 400, 800, 1_600, 3_200];

/// The journal of one run.
pub struct Journal {
    store: Arc<dyn Store>,
    pages: Arc<Pages>,
    tape: Mutex<Tape>,
    next_call: AtomicU64,
    /// How often the run was resumed.
    resumption: u32,
}

/// What the store's writer and the run both write on.
struct Pages {
    serial: Arc<str>,
    key: Key,
    clock: Clock,
    /// Moves with every entry.
    time: Arc<VirtualClock>,
    watcher: Option<mpsc::UnboundedSender<Entry>>,
    state: Mutex<State>,
}

struct State {
    sealer: Sealer,
    /// Entries in order that no store has yet.
    waiting: Vec<Sealed>,
    waiting_bytes: usize,
    /// The number of the latest entry about a mark.
    last_mark: Option<u64>,
    /// Why a transaction failed: entries are lost, and nothing may be appended after the gap.
    broken: Option<String>,
    /// Where the journal was before it was tried to close it, as long as nobody knows what came of that.
    closing: Option<(Sealer, Vec<Sealed>)>,
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

/// What a journal begins with.
pub struct Beginning {
    pub sealer: Sealer,
    pub tape: Tape,
    /// How often the run was resumed.
    pub resumption: u32,
}

impl Beginning {
    /// Of a run that is new.
    pub fn blank(key: Key) -> Self {
        Self { sealer: Sealer::new(key), tape: Tape::blank(), resumption: 0 }
    }
}

impl Journal {
    /// A journal in `store`. A watcher that goes away is no reason to stop.
    pub fn new(
        store: Arc<dyn Store>,
        serial: &str,
        clock: Clock,
        time: Arc<VirtualClock>,
        watcher: Option<mpsc::UnboundedSender<Entry>>,
        beginning: Beginning,
    ) -> Self {
        let Beginning { sealer, tape, resumption } = beginning;
        let key = sealer.key();
        let state =
            State { sealer, waiting: Vec::new(), waiting_bytes: 0, last_mark: None, broken: None, closing: None };
        let pages = Pages { serial: serial.into(), key, clock, time, watcher, state: Mutex::new(state) };
        pages.time.hurry(tape.is_telling());
        Self { store, pages: Arc::new(pages), tape: Mutex::new(tape), next_call: AtomicU64::new(1), resumption }
    }

    /// Where it is kept.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Numbers for so many calls, and the first of them: one series for all guests that write here. A guest that does the
    /// same gets the same numbers.
    pub fn next_calls(&self, count: usize) -> u64 {
        self.next_call.fetch_add(count as u64, Ordering::Relaxed)
    }

    /// How often the run was resumed.
    pub fn resumption(&self) -> u32 {
        self.resumption
    }

    /// Where the chain ends, once there is an entry.
    pub fn head(&self) -> Option<Head> {
        lock(&self.pages.state).sealer.head()
    }

    /// Whether there is something left to tell.
    pub fn is_telling(&self) -> bool {
        lock(&self.tape).is_telling()
    }

    /// Whether nothing may be performed, told or not.
    pub fn is_shut(&self) -> bool {
        lock(&self.tape).then() == Then::Shut
    }

    /// What ended the guest from outside, once everything that it did is told.
    pub fn cut(&self) -> Option<Stop> {
        lock(&self.tape).cut().cloned()
    }

    /// What the journal knows of effects that the guest asks for here, as calls from `first` on.
    ///
    /// # Errors
    /// [`Untold`].
    pub fn retell(&self, first: u64, effects: &[Effect]) -> Result<Retold, Untold> {
        let (retold, last_told) = {
            let mut tape = lock(&self.tape);
            (tape.retell(first, effects, &self.pages.time), tape.last_told())
        };
        if retold.as_ref().is_ok_and(|retold| !retold.marks.is_empty()) {
            lock(&self.pages.state).last_mark = Some(last_told);
        }
        self.go_live();
        retold
    }

    /// As [`Tape::full`].
    pub fn full(&self, used: u64, bytes: u64) -> Option<(u64, UsedUp)> {
        let granted = lock(&self.tape).full(used, bytes, &self.pages.time);
        self.go_live();
        granted
    }

    /// As [`Tape::check`].
    ///
    /// # Errors
    /// [`RunEnd::Diverged`].
    pub fn told_check(&self, name: &str) -> Result<Option<CheckResult>, RunEnd> {
        let told = lock(&self.tape).check(name, &self.pages.time).map_err(RunEnd::from)?;
        self.go_live();
        if told.is_none() && self.is_shut() {
            return Err(self.past_the_end(&format!("check {name}")));
        }
        Ok(told)
    }

    /// Tells an entry that the run writes now; `false`: it is new.
    ///
    /// # Errors
    /// [`RunEnd::Diverged`].
    fn tell(&self, body: &Body) -> Result<bool, RunEnd> {
        let told = {
            let mut tape = lock(&self.tape);
            if tape.then() == Then::Live && !tape.is_telling() {
                return Ok(false);
            }
            tape.expect(body, &self.pages.time).map_err(RunEnd::from)?
        };
        self.go_live();
        if !told && self.is_shut() {
            let (facts, _) = body.clone().split();
            return Err(self.past_the_end(&super::tape::describe(&facts)));
        }
        Ok(told)
    }

    /// Leaves the rest of the tape untold: the run went another way.
    pub fn give_up_tape(&self) {
        lock(&self.tape).give_up();
        self.go_live();
    }

    /// The number of the entry that was told last.
    pub fn last_told(&self) -> u64 {
        lock(&self.tape).last_told()
    }

    /// The number of the latest entry about a mark, if the run has earned one.
    pub fn last_mark(&self) -> Option<u64> {
        lock(&self.pages.state).last_mark
    }

    /// Whether the journal says that changes are applied next.
    pub fn applies_next(&self) -> bool {
        lock(&self.tape).applies_next()
    }

    /// As [`Tape::ends_unseen`].
    pub fn ends_unseen(&self) -> bool {
        lock(&self.tape).ends_unseen()
    }

    /// As [`Tape::marks_next`].
    pub fn marks_next(&self, kind: MarkKind) -> bool {
        lock(&self.tape).marks_next(kind)
    }

    /// As [`Tape::told_record`].
    pub fn told_record(&self) -> Option<Box<Record>> {
        lock(&self.tape).told_record()
    }

    fn past_the_end(&self, got: &str) -> RunEnd {
        let seq = self.head().map_or(0, |head| head.entries);
        let (expected, got) = ("nothing more".to_owned(), got.to_owned());
        RunEnd::Diverged(Box::new(Divergence { seq, kind: DivergenceKind::ExtraCall, expected, got, diff: vec![] }))
    }

    /// Waits take their time again once everything is told and the run goes on.
    fn go_live(&self) {
        let tape = lock(&self.tape);
        if tape.then() == Then::Live && !tape.is_telling() {
            self.pages.time.hurry(false);
        }
    }

    /// Appends; returns when `durability` holds. A lazy entry is kept before the next step is.
    ///
    /// # Errors
    /// [`RunEnd::Fault`]: the store refused, and the run must not go on. [`RunEnd::Diverged`]: while a tape is told, another
    /// entry came next.
    pub async fn append(&self, body: Body, durability: Durability) -> Result<(), RunEnd> {
        if self.tell(&body)? {
            return Ok(());
        }
        let body = match durability {
            Durability::Lazy => {
                if self.pages.wait(body)? {
                    return Ok(());
                }
                None
            }
            Durability::Durable => Some(body),
        };
        self.step_at_any_time(vec![], durability, |step| step.written.extend(body)).await
    }

    /// Appends an entry durably, and changes the books in the same transaction. While a tape is told nothing is changed.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub async fn append_with(
        &self,
        body: Body,
        needs: Vec<Need>,
        change: impl FnOnce(&mut Books<'_>) + Send + 'static,
    ) -> Result<(), RunEnd> {
        if self.tell(&body)? {
            return Ok(());
        }
        let step = self.step_at_any_time(needs, Durability::Durable, move |step| {
            change(step.books);
            step.write(body);
        });
        step.await
    }

    /// Appends an entry that nobody needs to wait for: it is kept before the next step is.
    ///
    /// # Errors
    /// [`RunEnd::Fault`]: an earlier entry was lost.
    pub fn append_now(&self, body: Body) -> Result<(), RunEnd> {
        self.pages.wait(body).map(drop)
    }

    /// Changes the books and writes about it, in one transaction: all of it is kept, or nothing.
    ///
    /// # Errors
    /// [`RunEnd::Fault`]: the store refused, and the run must not go on.
    pub async fn step<T: Send + 'static>(
        &self,
        needs: Vec<Need>,
        durability: Durability,
        change: impl FnOnce(&mut Step<'_, '_>) -> T + Send + 'static,
    ) -> Result<T, RunEnd> {
        self.step_at(needs, durability, AtClock::NotBehind, change).await
    }

    /// As [`Journal::step`], whatever the clock shows: for what stops something, or says how it ended.
    ///
    /// # Errors
    /// As [`Journal::step`].
    pub async fn step_at_any_time<T: Send + 'static>(
        &self,
        needs: Vec<Need>,
        durability: Durability,
        change: impl FnOnce(&mut Step<'_, '_>) -> T + Send + 'static,
    ) -> Result<T, RunEnd> {
        self.step_at(needs, durability, AtClock::Any, change).await
    }

    async fn step_at<T: Send + 'static>(
        &self,
        needs: Vec<Need>,
        durability: Durability,
        clock: AtClock,
        change: impl FnOnce(&mut Step<'_, '_>) -> T + Send + 'static,
    ) -> Result<T, RunEnd> {
        lock(&self.pages.state).whole()?;
        let pages = Arc::clone(&self.pages);
        let kept = transact_at(&*self.store, needs, durability, clock, move |books| {
            // A transaction before this one may have failed since it was asked for.
            lock(&pages.state).whole()?;
            let mut step = Step { books, written: Vec::new() };
            let result = change(&mut step);
            let written = std::mem::take(&mut step.written);
            Pages::keep(&pages, step.books, written);
            Ok(result)
        });
        kept.await.unwrap_or_else(|error| {
            // For a clock nothing was even begun: what waits is still to be kept, and how the run ends.
            if !matches!(error, StoreError::ClockBehind { .. }) {
                lock(&self.pages.state).broken.get_or_insert(error.to_string());
            }
            Err(RunEnd::Fault(format!("the journal could not be written: {error}; jidoka resume lets the run go on")))
        })
    }
}

impl Journal {
    /// As [`Journal::step`], for the last step of the run: while the store refuses it is tried again, for some seconds. What
    /// an earlier transaction lost stays lost, and nothing of it stands in the journal. `None`: it is kept, and what the
    /// change returned is not known.
    ///
    /// # Errors
    /// [`RunEnd::Fault`]: the journal stays open.
    pub async fn close<T: Send + 'static>(
        &self,
        needs: Vec<Need>,
        change: impl FnOnce(&mut Step<'_, '_>) -> T + Clone + Send + 'static,
    ) -> Result<Option<T>, RunEnd> {
        let mut pauses = CLOSE_PAUSES_MS.into_iter();
        loop {
            let end = match self.try_to_close(needs.clone(), change.clone()).await {
                Err(end @ RunEnd::Fault(_)) => end,
                done => return done,
            };
            if let Ok(true) = self.mend().await {
                return Ok(None);
            }
            let Some(pause_ms) = pauses.next() else { return Err(end) };
            tracing::warn!(run = &*self.pages.serial, "{end}; the end of the run is written again in {pause_ms} ms");
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
    }

    async fn try_to_close<T: Send + 'static>(
        &self,
        needs: Vec<Need>,
        change: impl FnOnce(&mut Step<'_, '_>) -> T + Send + 'static,
    ) -> Result<Option<T>, RunEnd> {
        self.mend().await?;
        {
            let mut state = lock(&self.pages.state);
            state.closing = Some((state.sealer.clone(), state.waiting.clone()));
        }
        self.step_at_any_time(needs, Durability::Durable, change).await.map(Some)
    }

    /// Takes a journal that is broken back to what the store has. Returns whether it was closed after all.
    async fn mend(&self) -> Result<bool, RunEnd> {
        if lock(&self.pages.state).broken.is_none() {
            return Ok(false);
        }
        let failed = |error: StoreError| RunEnd::Fault(format!("the journal could not be written: {error}"));
        // All that was submitted before is over then.
        let settled = transact_at(&*self.store, vec![], Durability::Lazy, AtClock::Any, |_| ()).await.map_err(failed);
        let (store, serial) = (Arc::clone(&self.store), Arc::clone(&self.pages.serial));
        let kept = blocking(move || store.journal(&serial)).await.map_err(failed)?;
        let Some(kept) = kept else { return Err(RunEnd::Fault("the journal is not in the store".into())) };
        let mut state = lock(&self.pages.state);
        if state.closing.as_ref().is_some_and(|(before, _)| kept.head.entries > before.next_seq()) {
            return Ok(true);
        }
        settled?;
        match state.closing.take() {
            Some((sealer, waiting)) => {
                state.sealer = sealer;
                state.waiting = waiting.into_iter().filter(|entry| entry.seq >= kept.head.entries).collect();
            }
            None => {
                state.sealer = Sealer::after(self.pages.key, kept.head, &kept.pieces);
                state.waiting.clear();
            }
        }
        state.waiting_bytes = state.waiting.iter().map(Sealed::bytes).sum();
        state.broken = None;
        Ok(false)
    }
}

impl From<Untold> for RunEnd {
    fn from(untold: Untold) -> Self {
        match untold {
            Untold::Stopped(_) => RunEnd::Stopped,
            Untold::Diverged(divergence) => RunEnd::Diverged(divergence),
            Untold::Unknown { call, kind } => RunEnd::Fault(format!(
                "nobody knows how call {call} ({}) ended, and it must not be made twice",
                kind.name()
            )),
        }
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
        let (sealed, shown) = self.seal(&mut state, body);
        shown.iter().for_each(|entry| self.show(entry));
        state.waiting_bytes += sealed.bytes();
        state.waiting.push(sealed);
        Ok(state.waiting_bytes <= MAX_WAITING_BYTES)
    }

    /// Hands over what waited and what a step wrote, numbered in this order. What a step wrote is shown once it is kept;
    /// if it is not, nothing may follow it, whether or not anybody still waits for the step.
    fn keep(this: &Arc<Self>, books: &mut Books<'_>, written: Vec<Body>) {
        let mut state = lock(&this.state);
        state.waiting_bytes = 0;
        for entry in std::mem::take(&mut state.waiting) {
            books.append(&this.serial, this.key, entry);
        }
        let mut entries = Vec::new();
        for body in written {
            let (sealed, shown) = this.seal(&mut state, body);
            entries.extend(shown);
            books.append(&this.serial, this.key, sealed);
        }
        let pages = Arc::clone(this);
        books.when_kept(move |kept| match kept {
            Ok(()) => entries.iter().for_each(|entry| pages.show(entry)),
            Err(error) => {
                lock(&pages.state).broken.get_or_insert(error.to_string());
            }
        });
    }

    /// Numbers and seals an entry; the entry itself only if somebody watches.
    fn seal(&self, state: &mut State, body: Body) -> (Sealed, Option<Entry>) {
        let at_ms = self.clock.unix_ms();
        let shown = self.watcher.is_some().then(|| body.clone());
        // What a resumed run or a fork begins with is not of the time in which its guest lives.
        let moves_time = match &body {
            Body::Resumed { .. } => false,
            Body::Opened { opening } => opening.origin.parent.is_none(),
            _ => true,
        };
        let is_mark = matches!(body, Body::Marked { .. });
        let sealed = state.sealer.seal(at_ms, body);
        if is_mark {
            state.last_mark = Some(sealed.seq);
        }
        if moves_time {
            self.time.move_to_ms(at_ms);
        }
        let entry = shown.map(|body| Entry { seq: sealed.seq, at_ms, body });
        (sealed, entry)
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
    use crate::doors::chain::Kept;
    use crate::doors::store::{MemoryStore, RunRow, Work};
    use crate::rules::andon::{LineRecord, Pulled};
    use crate::rules::digest::Digest;
    use crate::rules::effect::Level;
    use crate::rules::item::ItemRecord;
    use crate::rules::ledger::{Ledger, ScopeId};
    use crate::rules::operate::Act;
    use crate::rules::question::{Question, QuestionId};

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

        fn journal(&self, serial: &str) -> Result<Option<Kept>, StoreError> {
            self.memory.journal(serial)
        }

        fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
            self.memory.runs()
        }

        fn named(&self) -> Result<Vec<(String, Digest)>, StoreError> {
            self.memory.named()
        }

        fn run(&self, serial: &str) -> Result<Option<RunRow>, StoreError> {
            self.memory.run(serial)
        }

        fn contents_bytes(&self) -> Result<u64, StoreError> {
            self.memory.contents_bytes()
        }

        fn free_bytes(&self) -> Result<u64, StoreError> {
            self.memory.free_bytes()
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

        fn items(&self) -> Result<Vec<(ScopeId, ItemRecord)>, StoreError> {
            self.memory.items()
        }

        fn lines(&self) -> Result<Vec<(ScopeId, LineRecord)>, StoreError> {
            self.memory.lines()
        }

        fn pulls(&self) -> Result<Vec<Pulled>, StoreError> {
            self.memory.pulls()
        }

        fn questions(&self) -> Result<Vec<(QuestionId, Question)>, StoreError> {
            self.memory.questions()
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
        let journal = Journal::new(
            Arc::clone(&store) as Arc<dyn Store>,
            "run",
            clock,
            time,
            Some(watcher),
            Beginning::blank(Key::from_bytes([7; 32])),
        );
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
        assert!(store.journal("run").expect("reads").is_none());
        let seen: Vec<Entry> = std::iter::from_fn(|| watched.try_recv().ok()).collect();
        assert_eq!(seen.len(), 1, "who watches sees what waits, and nothing that was not kept: {seen:?}");
    }

    #[tokio::test]
    async fn entries_wait_up_to_n_bytes_and_are_written_at_n_plus_1() {
        let store: Arc<dyn Store> = Arc::new(Told::default());
        // A time that has as many digits for as long as this takes.
        let (clock, time) = (Clock::starting_at(1_700_000_000_000), Arc::new(VirtualClock::starting_at_ms(0)));
        let journal = Journal::new(store, "run", clock, time, None, Beginning::blank(Key::from_bytes([7; 32])));
        let waiting = || lock(&journal.pages.state).waiting_bytes;
        let wait = || journal.append(note("waits"), Durability::Lazy).now_or_never();
        assert!(wait().is_some());
        let before = waiting();
        assert!(wait().is_some());
        let bytes = waiting() - before;
        lock(&journal.pages.state).waiting_bytes = MAX_WAITING_BYTES - bytes;
        assert!(wait().is_some() && waiting() == MAX_WAITING_BYTES, "{} of {MAX_WAITING_BYTES}", waiting());
        lock(&journal.pages.state).waiting_bytes = MAX_WAITING_BYTES - bytes + 1;
        assert!(wait().is_none(), "it is handed to the store, which takes its time");
    }
}
