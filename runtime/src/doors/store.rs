//! Where the books are kept: the ledger, what items remember, and the entries of every run, changed together or not at all.
//!
//! A [`Work`] is one transaction over all three. Never: interprets an entry, decides what may be spent. Invariants here:
//! a work is whole or did nothing; when a [`Durability::Durable`] one is done, it and all before it survive a crash of
//! the machine; works of one store are done in the order in which they came.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tokio::sync::oneshot;

use super::chain::{Head, Kept, KeptEntry, Key, Pieces, Row, Sealed, named_in};
use crate::rules::andon::{LineRecord, Pulled};
use crate::rules::digest::Digest;
use crate::rules::effect::RunOrigin;
use crate::rules::facts::Facts;
use crate::rules::item::ItemRecord;
use crate::rules::ledger::{CallId, Ledger, ScopeId};
use crate::rules::operate::Act;
use crate::rules::question::{Question, QuestionId};

/// A run in the list of all runs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RunRow {
    pub serial: String,
    pub tenant: String,
    pub line: String,
    pub item: String,
    pub attempt: u32,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub opened_ms: u64,
    /// Of its last entry.
    pub latest_ms: u64,
    pub entries: u64,
    /// None while it is open.
    pub verdict: Option<String>,
    pub exit_code: Option<u8>,
    /// Its worker returned by itself, and no apply of its changes is pending.
    pub settled: bool,
    /// The run that it is a fork of.
    pub parent: Option<String>,
    /// The run that it is a child of.
    pub caller: Option<String>,
    /// It came from an export; its calls are not in this ledger.
    pub imported: bool,
    /// Its contents are erased.
    pub erased: bool,
    /// Bytes of its contents in the store: what an erasure takes away.
    pub bytes: u64,
}

impl RunRow {
    /// The row of a run that has its first entry. `None`: the entry is another.
    pub(super) fn opened(entry: &Sealed) -> Option<Self> {
        match &entry.facts {
            Facts::Opened(origin) => Some(Self::of(origin, entry.at_ms)),
            _ => None,
        }
    }

    fn of(origin: &RunOrigin, opened_ms: u64) -> Self {
        Self {
            serial: origin.serial.clone(),
            tenant: origin.tenant.clone(),
            line: origin.line.clone(),
            item: origin.item.clone(),
            attempt: origin.attempt,
            opened_ms,
            latest_ms: opened_ms,
            entries: 0,
            verdict: None,
            exit_code: None,
            settled: false,
            parent: origin.parent.as_ref().map(|parent| parent.serial.clone()),
            caller: origin.caller.as_ref().map(|caller| caller.serial.clone()),
            imported: false,
            erased: false,
            bytes: 0,
        }
    }

    /// The row of a run that comes from elsewhere, with its whole journal. `None`: it is no journal, or one of a time that
    /// no clock shows and that the store could not keep.
    pub(crate) fn imported(entries: &[KeptEntry], kept: &Kept) -> Option<Self> {
        let (first, last) = (entries.first()?, entries.last()?);
        let Facts::Opened(origin) = &first.facts else { return None };
        i64::try_from(first.at_ms.max(last.at_ms)).ok()?;
        let bytes = kept.rows.iter().filter_map(|row| row.content.as_ref()).map(String::len);
        let bytes = bytes.chain(kept.pieces.values().map(String::len)).map(|bytes| bytes as u64).sum();
        let mut row = Self {
            imported: true,
            erased: kept.key.is_none(),
            entries: kept.head.entries,
            latest_ms: last.at_ms,
            bytes,
            ..Self::of(origin, first.at_ms)
        };
        entries.iter().for_each(|entry| row.judge(&entry.facts));
        Some(row)
    }

    /// Follows an entry.
    pub(super) fn follow(&mut self, entry: &Sealed) {
        self.entries = entry.seq + 1;
        self.latest_ms = entry.at_ms;
        self.bytes += entry.erasable_bytes() as u64;
        self.judge(&entry.facts);
    }

    fn judge(&mut self, facts: &Facts) {
        match facts {
            Facts::Closed { verdict, exit_code } => {
                (self.verdict, self.exit_code) = (Some(verdict.clone()), Some(*exit_code));
                self.settled |= verdict == "accepted";
            }
            Facts::Resumed { .. } => (self.verdict, self.exit_code, self.settled) = (None, None, false),
            Facts::Ended { outcome, .. } => self.settled = outcome.is_own(),
            Facts::Applying => self.settled = false,
            _ => {}
        }
    }
}

/// What is promised when a work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// It survives a crash of this process and is seen by all others; a crash of the machine may undo it.
    Lazy,
    /// It survives a crash of the machine.
    Durable,
}

/// Why the books could not be changed or read. Nothing was changed, and nothing may be sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No room on the disk.
    #[error("the disk is full: make room, and do it again; nothing was changed")]
    Full,
    /// The file or its directory cannot be written.
    #[error("the store cannot be written: it, its directory or the disk is read-only; nothing was changed")]
    ReadOnly,
    /// Somebody else has had it for too long.
    #[error(
        "the store was locked by another process for {waited_ms} ms: do it again when that process has ended \
        (`fuser` on ledger.lock and ledger.sqlite names it); nothing was changed"
    )]
    Locked { waited_ms: u64 },
    /// What is there is not what was written.
    #[error(
        "the store is damaged: {0}; put a copy of the host's directory back, or move it away to begin with a new one"
    )]
    Corrupt(String),
    /// There is none, and runs have left something.
    #[error(
        "the store is gone, and what runs left is still here: bring back the latest copy of ledger.sqlite; or move this \
        directory away, and new books are begun, which know of no stopped line, no attempt and nothing that was spent"
    )]
    Missing,
    /// Somebody else wrote it.
    #[error(
        "ledger.sqlite is {0}: bring back the latest copy of this directory's own; or move this directory away, and new \
        books are begun"
    )]
    Foreign(String),
    /// Another version wrote it.
    #[error(
        "the store has format {found}, and this version reads {known} and no other: use the version that wrote it; or \
        move this directory away, and new books are begun"
    )]
    Format { found: i64, known: i64 },
    /// It has forgotten what was in it.
    #[error(
        "the store is not the latest: {found} processes have written in it, and it knew of {known}; its log \
        (ledger.sqlite-wal) was removed, or an older copy was brought back. Bring back the latest; or remove ledger.book to \
        go on with this one, which has forgotten what was stopped and spent since"
    )]
    Outdated { found: u64, known: u64 },
    /// The host's clock is far behind what the store has seen: windows cannot be told.
    #[error(
        "the clock is {behind_ms} ms behind what the store has seen: set it right, or `jidoka budget accept-clock`"
    )]
    ClockBehind { behind_ms: u64 },
    /// Anything else.
    #[error("the store failed, and nothing was changed: {0}")]
    Failed(String),
}

/// What a work touches, so that it is at hand when the work is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A scope and all around it.
    Scope(ScopeId),
    /// A scope with all open scopes and calls below it.
    Tree(ScopeId),
    /// A call and its scope.
    Call(CallId),
    /// What an item remembers.
    Item(ScopeId),
    /// What the host remembers of a line: whether it is stopped.
    Line(ScopeId),
    /// A question to a person.
    Question(QuestionId),
}

/// The pages of the books that were read and are still true.
#[derive(Debug, Default)]
pub(super) struct Pages {
    pub ledger: Ledger,
    pub items: HashMap<ScopeId, ItemRecord>,
    pub lines: HashMap<ScopeId, LineRecord>,
    pub questions: HashMap<QuestionId, Question>,
}

/// The books, open at the pages that a work needs.
pub struct Books<'a> {
    pub ledger: &'a mut Ledger,
    /// Milliseconds since 1970-01-01T00:00:00Z; never less than at an earlier work.
    pub now_ms: u64,
    items: &'a mut HashMap<ScopeId, ItemRecord>,
    lines: &'a mut HashMap<ScopeId, LineRecord>,
    questions: &'a mut HashMap<QuestionId, Question>,
    pub(super) written: &'a mut Written,
    pub(super) when_kept: Vec<WhenKept>,
}

/// Hears whether a work was kept, before whoever waits for it does.
pub(super) type WhenKept = Box<dyn FnOnce(&Result<(), StoreError>) + Send>;

/// What works wrote beside the ledger.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub entries: Vec<(Arc<str>, Key, Sealed)>,
    pub imports: Vec<(RunRow, Kept)>,
    pub items: Vec<ScopeId>,
    pub lines: Vec<ScopeId>,
    pub questions: Vec<QuestionId>,
    pub pulls: Vec<Pulled>,
    /// Runs whose contents go.
    pub erased: Vec<Arc<str>>,
    pub shrink: bool,
    pub fold: bool,
    pub acts: Vec<Act>,
    pub accept_clock: bool,
}

impl<'a> Books<'a> {
    pub(super) fn at(pages: &'a mut Pages, now_ms: u64, written: &'a mut Written) -> Self {
        let Pages { ledger, items, lines, questions } = pages;
        Self { ledger, now_ms, items, lines, questions, written, when_kept: Vec::new() }
    }

    /// What an item remembers; nothing yet, if it is new.
    pub fn item(&self, id: &ScopeId) -> ItemRecord {
        self.items.get(id).cloned().unwrap_or_default()
    }

    /// Whether the item was ever heard of.
    pub fn knows(&self, id: &ScopeId) -> bool {
        self.items.contains_key(id)
    }

    /// Keeps what an item remembers.
    pub fn remember(&mut self, id: &ScopeId, record: ItemRecord) {
        self.items.insert(id.clone(), record);
        self.written.items.push(id.clone());
    }

    /// What the host remembers of a line; nothing yet, if it is new.
    pub fn line(&self, id: &ScopeId) -> LineRecord {
        self.lines.get(id).cloned().unwrap_or_default()
    }

    /// Keeps what the host remembers of a line.
    pub fn remember_line(&mut self, id: &ScopeId, record: LineRecord) {
        self.lines.insert(id.clone(), record);
        self.written.lines.push(id.clone());
    }

    /// Keeps a pull, for ever.
    pub fn keep_pull(&mut self, pulled: Pulled) {
        self.written.pulls.push(pulled);
    }

    /// A question to a person, if it was asked.
    pub fn question(&self, id: &QuestionId) -> Option<&Question> {
        self.questions.get(id)
    }

    /// Keeps a question, or what became of it.
    pub fn remember_question(&mut self, id: &QuestionId, question: Question) {
        self.questions.insert(id.clone(), question);
        self.written.questions.push(id.clone());
    }

    /// Appends an entry to a run's journal, whose contents have this key.
    pub fn append(&mut self, serial: &Arc<str>, key: Key, entry: Sealed) {
        self.written.entries.push((Arc::clone(serial), key, entry));
    }

    /// Erases the contents of a run; its chain stays. One that a fork stands on whose contents are kept stays as it is. The
    /// caller has the run to itself, and knows that it is over.
    pub fn erase(&mut self, serial: &Arc<str>) {
        self.written.erased.push(Arc::clone(serial));
    }

    /// Gives a part of what is free in the store back to the disk, which keeps others waiting for some milliseconds.
    pub fn shrink(&mut self) {
        self.written.shrink = true;
    }

    /// Checkpoints the write-ahead log into the store's file and truncates the log, so that neither holds what was erased.
    pub fn fold(&mut self) {
        self.written.fold = true;
    }

    /// Keeps a run that comes from elsewhere, with its whole journal. There is none of its serial: the caller has the run's
    /// directory to itself, without which nobody writes a journal.
    pub fn import(&mut self, row: RunRow, kept: Kept) {
        self.written.imports.push((row, kept));
    }

    /// Calls `listener` when this work is kept, or could not be; before the next transaction begins.
    pub fn when_kept(&mut self, listener: impl FnOnce(&Result<(), StoreError>) + Send + 'static) {
        self.when_kept.push(Box::new(listener));
    }

    /// Keeps what an operator did, for ever.
    pub fn record(&mut self, act: Act) {
        self.written.acts.push(act);
    }
}

/// What is called when a work is kept, or could not be.
pub type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What a work does to the books. Called once: with the books, or with the reason why there are none.
pub type Change = Box<dyn FnOnce(Result<&mut Books<'_>, StoreError>) -> Done + Send>;

/// One transaction.
pub struct Work {
    pub needs: Vec<Need>,
    pub durability: Durability,
    pub clock: AtClock,
    pub change: Change,
}

/// How far the clock may be behind what the store has seen for a work to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtClock {
    /// Hardly.
    NotBehind,
    /// At all: for what stops something or says how it ended, and for the work that accepts the clock. Nothing that is let
    /// go on may be done so.
    Any,
}

/// Keeps the books.
pub trait Store: Send + Sync {
    /// Takes a work, which is done after all that were taken before it. Never waits.
    fn submit(&self, work: Work);

    /// The journal of a run as it was kept; none, if there is no such run. Blocking.
    ///
    /// # Errors
    /// [`StoreError`].
    fn journal(&self, serial: &str) -> Result<Option<Kept>, StoreError>;

    /// All runs that have a journal, in the order of their serials. Blocking.
    ///
    /// # Errors
    /// [`StoreError`].
    fn runs(&self) -> Result<Vec<RunRow>, StoreError>;

    /// The addresses of all trees and components, each with a run that names it and whose contents are kept. Blocking.
    ///
    /// # Errors
    /// [`StoreError`].
    fn named(&self) -> Result<Vec<(String, Digest)>, StoreError>;

    /// What the contents of all runs take on the disk. Blocking.
    ///
    /// # Errors
    /// [`StoreError`].
    fn contents_bytes(&self) -> Result<u64, StoreError>;

    /// What [`Books::shrink`] could give back to the disk. Blocking.
    ///
    /// # Errors
    /// [`StoreError`].
    fn free_bytes(&self) -> Result<u64, StoreError>;

    /// A run in the list of all runs; none, if there is no such run. Blocking.
    ///
    /// # Errors
    /// [`StoreError`].
    fn run(&self, serial: &str) -> Result<Option<RunRow>, StoreError>;

    /// The attempts whose scopes are open. Blocking.
    ///
    /// # Errors
    /// [`StoreError`].
    fn open_attempts(&self) -> Result<Vec<ScopeId>, StoreError>;

    /// The whole ledger as it was at one moment, without calls that are over. Blocking.
    ///
    /// # Errors
    /// [`StoreError`].
    fn survey(&self) -> Result<Ledger, StoreError>;

    /// What operators did, the oldest first. Blocking.
    ///
    /// # Errors
    /// [`StoreError`].
    fn acts(&self) -> Result<Vec<Act>, StoreError>;

    /// All items, in the order of their paths. Blocking.
    ///
    /// # Errors
    /// [`StoreError`].
    fn items(&self) -> Result<Vec<(ScopeId, ItemRecord)>, StoreError>;

    /// All lines that were ever pulled or had a run, in the order of their paths. Blocking.
    ///
    /// # Errors
    /// [`StoreError`].
    fn lines(&self) -> Result<Vec<(ScopeId, LineRecord)>, StoreError>;

    /// All pulls, the oldest first. Blocking.
    ///
    /// # Errors
    /// [`StoreError`].
    fn pulls(&self) -> Result<Vec<Pulled>, StoreError>;

    /// All questions to people, answered ones included. Blocking.
    ///
    /// # Errors
    /// [`StoreError`].
    fn questions(&self) -> Result<Vec<(QuestionId, Question)>, StoreError>;
}

/// Changes the books and returns what came of it, once it is kept.
///
/// # Errors
/// [`StoreError`]: nothing was changed. If the store vanished on the way, nobody knows; the next one who opens it will.
pub async fn transact<T: Send + 'static>(
    store: &dyn Store,
    needs: Vec<Need>,
    durability: Durability,
    change: impl FnOnce(&mut Books<'_>) -> T + Send + 'static,
) -> Result<T, StoreError> {
    transact_at(store, needs, durability, AtClock::NotBehind, change).await
}

/// As [`transact`], with a word on the clock. In the books time only goes forward.
///
/// # Errors
/// As [`transact`].
pub async fn transact_at<T: Send + 'static>(
    store: &dyn Store,
    needs: Vec<Need>,
    durability: Durability,
    clock: AtClock,
    change: impl FnOnce(&mut Books<'_>) -> T + Send + 'static,
) -> Result<T, StoreError> {
    answer_of(submit(store, needs, durability, clock, change).await)
}

/// Believes the clock as it is now, however far it is behind; `act` says who did that and why.
///
/// # Errors
/// As [`transact`].
pub async fn accept_clock(store: &dyn Store, act: Act) -> Result<(), StoreError> {
    let change = move |books: &mut Books<'_>| {
        books.written.accept_clock = true;
        books.record(act);
    };
    answer_of(submit(store, vec![], Durability::Durable, AtClock::Any, change).await)
}

fn submit<T: Send + 'static>(
    store: &dyn Store,
    needs: Vec<Need>,
    durability: Durability,
    clock: AtClock,
    change: impl FnOnce(&mut Books<'_>) -> T + Send + 'static,
) -> oneshot::Receiver<Result<T, StoreError>> {
    let (answer, answered) = oneshot::channel();
    store.submit(Work { needs, durability, clock, change: answering(change, answer) });
    answered
}

fn answer_of<T>(answer: Result<Result<T, StoreError>, oneshot::error::RecvError>) -> Result<T, StoreError> {
    answer.unwrap_or_else(|_| Err(StoreError::Failed("its writer is gone".into())))
}

/// A change that tells one listener what came of it. Who stopped listening is not told, and the change is kept all the
/// same.
fn answering<T: Send + 'static>(
    change: impl FnOnce(&mut Books<'_>) -> T + Send + 'static,
    answer: oneshot::Sender<Result<T, StoreError>>,
) -> Change {
    Box::new(move |books| match books {
        Ok(books) => {
            let result = change(books);
            let listeners = std::mem::take(&mut books.when_kept);
            Box::new(move |kept| {
                listeners.into_iter().for_each(|listener| listener(&kept));
                drop(answer.send(kept.map(|()| result)));
            })
        }
        Err(error) => {
            drop(answer.send(Err(error)));
            Box::new(|_| ())
        }
    })
}

/// Keeps the books in memory: the oracle of tests, and the floor of benchmarks.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    pages: Pages,
    written: Written,
    journals: std::collections::BTreeMap<Arc<str>, Journal>,
    now_ms: u64,
}

/// The journal of one run in memory.
#[derive(Debug)]
struct Journal {
    row: RunRow,
    /// `None`: erased.
    key: Option<Key>,
    head: Head,
    rows: Vec<Row>,
    pieces: Pieces,
}

impl MemoryStore {
    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the time; it only goes forward.
    pub fn set_now_ms(&self, now_ms: u64) {
        let mut memory = self.memory();
        memory.now_ms = memory.now_ms.max(now_ms);
    }
}

impl Memory {
    fn keep(&mut self, serial: Arc<str>, key: Key, entry: Sealed) {
        let head = Head { entries: entry.seq + 1, hash: entry.hash };
        let journal = match self.journals.entry(serial) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                let Some(row) = RunRow::opened(&entry) else { return };
                new.insert(Journal { row, key: Some(key), head, rows: Vec::new(), pieces: Pieces::new() })
            }
        };
        journal.row.follow(&entry);
        journal.head = head;
        journal.rows.push(entry.row);
        journal.pieces.extend(entry.pieces);
    }
}

impl Memory {
    fn erase(&mut self, serial: &str) {
        let is_fork = |journal: &Journal| journal.row.parent.as_deref() == Some(serial) && journal.key.is_some();
        if self.journals.values().any(is_fork) {
            return;
        }
        let Some(journal) = self.journals.get_mut(serial) else { return };
        journal.key = None;
        journal.pieces.clear();
        journal.rows.iter_mut().for_each(|row| row.content = None);
        (journal.row.erased, journal.row.bytes) = (true, 0);
    }
}

impl Store for MemoryStore {
    fn submit(&self, work: Work) {
        let mut memory = self.memory();
        let Memory { pages, written, now_ms, journals: _ } = &mut *memory;
        let done = (work.change)(Ok(&mut Books::at(pages, *now_ms, written)));
        for (serial, key, entry) in std::mem::take(&mut memory.written.entries) {
            memory.keep(serial, key, entry);
        }
        for serial in std::mem::take(&mut memory.written.erased) {
            memory.erase(&serial);
        }
        for (row, kept) in std::mem::take(&mut memory.written.imports) {
            let Kept { key, head, rows, pieces } = kept;
            memory.journals.insert(row.serial.as_str().into(), Journal { row, key, head, rows, pieces });
        }
        drop(memory);
        done(Ok(()));
    }

    fn journal(&self, serial: &str) -> Result<Option<Kept>, StoreError> {
        let memory = self.memory();
        Ok(memory.journals.get(serial).map(|journal| Kept {
            key: journal.key,
            head: journal.head,
            rows: journal.rows.clone(),
            pieces: journal.pieces.clone(),
        }))
    }

    fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
        Ok(self.memory().journals.values().map(|journal| journal.row.clone()).collect())
    }

    fn run(&self, serial: &str) -> Result<Option<RunRow>, StoreError> {
        Ok(self.memory().journals.get(serial).map(|journal| journal.row.clone()))
    }

    fn contents_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.memory().journals.values().map(|journal| journal.row.bytes).sum())
    }

    fn free_bytes(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn named(&self) -> Result<Vec<(String, Digest)>, StoreError> {
        let memory = self.memory();
        let kept = memory.journals.iter().filter(|(_, journal)| journal.key.is_some());
        let lines = kept.flat_map(|(serial, journal)| journal.rows.iter().map(move |row| (serial, &row.line)));
        let named = lines.flat_map(|(serial, line)| named_in(line).into_iter().map(|of| (serial.to_string(), of)));
        Ok(named.collect())
    }

    fn open_attempts(&self) -> Result<Vec<ScopeId>, StoreError> {
        use crate::rules::ledger::Level;
        let memory = self.memory();
        let open = memory.pages.ledger.scopes().filter(|(id, scope)| id.level() == Level::Attempt && !scope.closed);
        Ok(open.map(|(id, _)| id.clone()).collect())
    }

    fn survey(&self) -> Result<Ledger, StoreError> {
        let memory = self.memory();
        let mut survey = Ledger::default();
        let mut scopes: Vec<_> = memory.pages.ledger.scopes().collect();
        scopes.sort_by_key(|(id, _)| *id);
        scopes.into_iter().for_each(|(id, scope)| survey.restore_scope(id.clone(), scope.clone()));
        for (id, call) in memory.pages.ledger.calls().filter(|(_, call)| call.state.is_open()) {
            survey.restore_call(id.clone(), call.clone());
        }
        Ok(survey)
    }

    fn acts(&self) -> Result<Vec<Act>, StoreError> {
        Ok(self.memory().written.acts.clone())
    }

    fn items(&self) -> Result<Vec<(ScopeId, ItemRecord)>, StoreError> {
        Ok(sorted(&self.memory().pages.items))
    }

    fn lines(&self) -> Result<Vec<(ScopeId, LineRecord)>, StoreError> {
        Ok(sorted(&self.memory().pages.lines))
    }

    fn pulls(&self) -> Result<Vec<Pulled>, StoreError> {
        Ok(self.memory().written.pulls.clone())
    }

    fn questions(&self) -> Result<Vec<(QuestionId, Question)>, StoreError> {
        Ok(sorted(&self.memory().pages.questions))
    }
}

fn sorted<K: Clone + Ord, V: Clone>(pages: &HashMap<K, V>) -> Vec<(K, V)> {
    let pages: std::collections::BTreeMap<K, V> = pages.iter().map(|(id, page)| (id.clone(), page.clone())).collect();
    pages.into_iter().collect()
}
