//! The books in SQLite: one file of the host, shared by all its processes.
//!
//! Each process has one writer thread, which folds the works that wait into one transaction; who writes holds the lock of
//! the store meanwhile. Never: decides what may be spent (the ledger does, on rows that were read in the same
//! transaction), sends before it is on disk. Invariants here: L3 and L4 (what is kept is what was decided, and a crash
//! anywhere leaves it), L9 (full, read-only, locked, damaged: refused, and nothing is lost).

mod opening;

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use self::opening::{connect, keep_book, open_checked};
use super::chain::Kept;
use super::clock::Clock;
use super::rows::Rows;
use super::store::{AtClock, Books, Change, Done, Durability, Pages, RunRow, Store, StoreError, Work, Written};
use crate::rules::andon::{LineRecord, Pulled};
use crate::rules::digest::Digest;
use crate::rules::item::ItemRecord;
use crate::rules::ledger::{Ledger, ScopeId};
use crate::rules::operate::Act;
use crate::rules::question::{Question, QuestionId};

/// The store's file below the host's directory.
pub const FILE: &str = "ledger.sqlite";

/// Two connections that write and checkpoint could corrupt a file before this: <https://www.sqlite.org/wal.html#walresetbug>.
const OLDEST_SQLITE: i32 = 3_051_003;

/// How long a writer waits for other processes, all in all. A transaction takes milliseconds: whoever holds the lock for
/// longer is stuck, and waiting on would keep runs past their deadlines.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// How long SQLite itself waits for whoever uses the file without our lock, a person with a shell for example.
const BUSY_WAIT: Duration = Duration::from_secs(2);

/// Between two looks at the lock, at first and at most.
const LOCK_LOOK: [Duration; 2] = [Duration::from_micros(50), Duration::from_millis(2)];

/// Works of one transaction: more would only make the first of them wait.
const MAX_BATCH: usize = 512;

/// Pages that are given back to the disk in one transaction: 16 MiB, some ten milliseconds.
const SHRINK_PAGES: u64 = 4_096;

/// Scopes that a writer remembers between transactions: items are never closed, and a service sees ever new ones.
const MAX_REMEMBERED: usize = 10_000;

/// How far the clock may be behind what the store has seen: a machine that sets its clock by the network steps back by
/// less. More makes rolling windows meaningless.
const MAX_CLOCK_BEHIND_MS: u64 = 10 * 60_000;

/// Where a crash of the process would hurt most; tests are told, nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitPoint {
    Before,
    After,
}

/// Hears of each [`CommitPoint`] on the writer's thread.
pub type Probe = Arc<dyn Fn(CommitPoint) + Send + Sync>;

/// The books in a file. Dropping it finishes what was submitted.
pub struct SqliteStore {
    works: Option<mpsc::Sender<Work>>,
    writer: Option<JoinHandle<()>>,
    /// `None` once it is closed.
    reader: Mutex<Option<Connection>>,
    /// Held shared as long as this process has the store open, so that the next one knows whether it is alone.
    _users: File,
}

impl SqliteStore {
    /// Opens the store in `dir`, whose path is `path`, and makes it if it is not there. After an unclean stop the file is
    /// checked first. Blocking.
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be opened, is damaged, or a later version wrote it.
    pub fn open(dir: &Dir, path: &Path, clock: Clock) -> Result<Self, StoreError> {
        Self::open_probed(dir, path, clock, Arc::new(|_| ()))
    }

    /// As [`SqliteStore::open`], with somebody who hears of every commit.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open_probed(dir: &Dir, path: &Path, clock: Clock, probe: Probe) -> Result<Self, StoreError> {
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(StoreError::Failed(format!("SQLite {} is too old", rusqlite::version())));
        }
        let lock = Lock { turn: lock_file(dir, "ledger.turn")?, store: lock_file(dir, "ledger.lock")? };
        let file = path.join(FILE);
        let users = lock_file(dir, "ledger.users")?;
        lock.take()?;
        let opened = open_checked(dir, &file, &users);
        lock.give_back();
        let connection = opened?;
        wait_for(patience(), || users.try_lock_shared())?;
        let reader = connect(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let (works, queue) = mpsc::channel();
        let writer = Writer {
            connection,
            dir: dir.try_clone().map_err(failed)?,
            lock,
            clock,
            probe,
            pages: Pages::default(),
            data_version: None,
            synchronous: None,
            is_counted: false,
        };
        let thread = std::thread::Builder::new().name("jidoka-ledger".into());
        let writer = thread.spawn(move || writer.serve(&queue)).map_err(failed)?;
        Ok(Self { works: Some(works), writer: Some(writer), reader: Mutex::new(Some(reader)), _users: users })
    }

    /// Whether the books agree with all calls that were ever made. Blocking, and reads everything.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with what does not agree.
    pub fn audit(&self) -> Result<(), StoreError> {
        self.read(|rows| rows.survey(true))?.audit().map_err(StoreError::Corrupt)
    }

    fn read<T>(&self, read: impl FnOnce(Rows<'_>) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = reader.as_ref().ok_or_else(|| StoreError::Failed("it is closed".into()))?;
        // One snapshot, whatever others write meanwhile.
        let snapshot = reader.unchecked_transaction().map_err(refused)?;
        read(Rows(&snapshot)).map_err(refused)
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // Whoever closes last folds the log into the file, which a reader cannot.
        drop(self.reader.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.works.take());
        if let Some(writer) = self.writer.take() {
            // It catches its own panics; there is nothing to hear from it.
            drop(writer.join());
        }
    }
}

impl Store for SqliteStore {
    fn submit(&self, work: Work) {
        let Some(works) = &self.works else { return };
        if let Err(mpsc::SendError(work)) = works.send(work) {
            (work.change)(Err(StoreError::Failed("its writer is gone".into())))(Ok(()));
        }
    }

    fn journal(&self, serial: &str) -> Result<Option<Kept>, StoreError> {
        self.read(|rows| rows.journal(serial))
    }

    fn runs(&self) -> Result<Vec<RunRow>, StoreError> {
        self.read(|rows| rows.runs())
    }

    fn named(&self) -> Result<Vec<(String, Digest)>, StoreError> {
        self.read(|rows| rows.named())
    }

    fn contents_bytes(&self) -> Result<u64, StoreError> {
        self.read(|rows| rows.contents_bytes())
    }

    fn free_bytes(&self) -> Result<u64, StoreError> {
        self.read(|rows| rows.free_bytes())
    }

    fn run(&self, serial: &str) -> Result<Option<RunRow>, StoreError> {
        self.read(|rows| rows.run(serial))
    }

    fn open_attempts(&self) -> Result<Vec<ScopeId>, StoreError> {
        self.read(|rows| rows.open_attempts())
    }

    fn survey(&self) -> Result<Ledger, StoreError> {
        self.read(|rows| rows.survey(false))
    }

    fn acts(&self) -> Result<Vec<Act>, StoreError> {
        self.read(|rows| rows.acts())
    }

    fn items(&self) -> Result<Vec<(ScopeId, ItemRecord)>, StoreError> {
        self.read(|rows| rows.items())
    }

    fn lines(&self) -> Result<Vec<(ScopeId, LineRecord)>, StoreError> {
        self.read(|rows| rows.lines())
    }

    fn pulls(&self) -> Result<Vec<Pulled>, StoreError> {
        self.read(|rows| rows.pulls())
    }

    fn questions(&self) -> Result<Vec<(QuestionId, Question)>, StoreError> {
        self.read(|rows| rows.questions())
    }
}

/// The one who writes, for this process.
struct Writer {
    connection: Connection,
    /// The host's directory.
    dir: Dir,
    lock: Lock,
    clock: Clock,
    probe: Probe,
    /// What was read and is still true: thrown away when another process wrote, and when anything failed.
    pages: Pages,
    data_version: Option<i64>,
    synchronous: Option<Durability>,
    /// Whether the store knows that this process has written in it.
    is_counted: bool,
}

impl Writer {
    fn serve(mut self, works: &mpsc::Receiver<Work>) {
        while let Ok(first) = works.recv() {
            let mut batch = vec![first];
            batch.extend(works.try_iter().take(MAX_BATCH - 1));
            self.commit(batch);
        }
    }

    /// One transaction for all works of the batch; what came of it is told to each.
    fn commit(&mut self, batch: Vec<Work>) {
        let mut waiting: VecDeque<Work> = batch.into();
        let mut done: Vec<Done> = Vec::with_capacity(waiting.len());
        let kept = self.lock.take().and_then(|()| {
            // A panic of ours in one work must not leave the lock, or the others without an answer.
            let kept = std::panic::catch_unwind(AssertUnwindSafe(|| self.transaction(&mut waiting, &mut done)));
            let kept = kept.unwrap_or_else(|_| Err(StoreError::Failed("a change panicked".into())));
            if kept.is_err() {
                if !self.connection.is_autocommit() {
                    // If this fails too, the connection rolls back when the process ends.
                    drop(self.connection.execute_batch("ROLLBACK"));
                }
                self.forget();
            }
            self.lock.give_back();
            kept
        });
        for done in done {
            done(kept.clone());
        }
        let error = kept.err().unwrap_or_else(|| StoreError::Failed("the work was passed over".into()));
        for work in waiting {
            (work.change)(Err(error.clone()))(Err(error.clone()));
        }
    }

    fn transaction(&mut self, waiting: &mut VecDeque<Work>, done: &mut Vec<Done>) -> Result<(), StoreError> {
        let durability = waiting.iter().map(|work| work.durability).max().unwrap_or(Durability::Durable);
        // What is noted beside the store must not be ahead of it, whatever becomes of the machine.
        let durability = if self.is_counted { durability } else { Durability::Durable };
        if self.synchronous != Some(durability) {
            let word = match durability {
                Durability::Lazy => "NORMAL",
                Durability::Durable => "FULL",
            };
            self.connection.pragma_update(None, "synchronous", word).map_err(refused)?;
            self.synchronous = Some(durability);
        }
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(refused)?;
        let data_version =
            self.connection.pragma_query_value(None, "data_version", |row| row.get(0)).map_err(refused)?;
        if self.data_version != Some(data_version) {
            self.forget();
            self.data_version = Some(data_version);
        }
        let latest_ms = Rows(&self.connection).latest_ms().map_err(refused)?;
        let mut now_ms = self.clock.unix_ms();
        let behind_ms = latest_ms.saturating_sub(now_ms);
        let mut written = Written::default();
        while let Some(work) = waiting.pop_front() {
            if behind_ms > MAX_CLOCK_BEHIND_MS && work.clock == AtClock::NotBehind {
                let error = StoreError::ClockBehind { behind_ms };
                done.push(failing(work.change, error));
                continue;
            }
            let rows = Rows(&self.connection);
            let loaded = work.needs.iter().try_for_each(|need| rows.load(need, &mut self.pages));
            if let Err(error) = loaded.map_err(refused) {
                done.push(failing(work.change, error.clone()));
                if matches!(error, StoreError::Corrupt(_)) {
                    // One damaged row is no reason to refuse those who do not need it.
                    continue;
                }
                return Err(error);
            }
            let now_ms = now_ms.max(latest_ms);
            done.push((work.change)(Ok(&mut Books::at(&mut self.pages, now_ms, &mut written))));
        }
        if !written.accept_clock {
            now_ms = now_ms.max(latest_ms);
        }
        let rows = Rows(&self.connection);
        rows.save(&mut self.pages, &mut written).map_err(refused)?;
        if written.shrink {
            rows.shrink(SHRINK_PAGES).map_err(refused)?;
        }
        if !self.is_counted {
            rows.next_generation().map_err(refused)?;
        }
        if now_ms != latest_ms {
            rows.set_latest_ms(now_ms).map_err(refused)?;
        }
        (self.probe)(CommitPoint::Before);
        self.connection.execute_batch("COMMIT").map_err(refused)?;
        (self.probe)(CommitPoint::After);
        if !self.is_counted {
            self.is_counted = true;
            let book = Rows(&self.connection).book().map_err(refused);
            let kept = book.and_then(|book| keep_book(&self.dir, &book).map_err(failed));
            if let Err(error) = kept {
                tracing::warn!(%error, "how far the store came could not be noted beside it");
            }
        }
        if written.fold {
            // Old pages are in the log too. If somebody reads just now, the next one who closes the store does it.
            drop(self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
        }
        if self.pages.ledger.len() > MAX_REMEMBERED {
            self.forget();
        }
        Ok(())
    }

    /// What was read is not to be relied on any more.
    fn forget(&mut self) {
        self.pages = Pages::default();
        self.data_version = None;
    }
}

/// A change that never came to the books.
fn failing(change: Change, error: StoreError) -> Done {
    let told = change(Err(error.clone()));
    Box::new(move |_| told(Err(error)))
}

/// Two lock files in a row: whoever gives the store back has to queue behind the one who waits, so that a busy process
/// does not starve the others.
struct Lock {
    turn: File,
    store: File,
}

impl Lock {
    fn take(&self) -> Result<(), StoreError> {
        let until = patience();
        wait_for(until, || self.turn.try_lock())?;
        let taken = wait_for(until, || self.store.try_lock());
        drop(self.turn.unlock());
        taken
    }

    fn give_back(&self) {
        // If it fails the file is closed with the process, and the lock with it.
        drop(self.store.unlock());
    }
}

/// When the writer's patience with other processes ends.
#[expect(clippy::disallowed_methods, reason = "the writer's patience with other processes is no time of a run")]
fn patience() -> Instant {
    Instant::now() + LOCK_WAIT
}

fn wait_for(until: Instant, try_lock: impl Fn() -> Result<(), TryLockError>) -> Result<(), StoreError> {
    let mut pause = LOCK_LOOK[0];
    loop {
        match try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if until > patience() - LOCK_WAIT => {
                std::thread::sleep(pause);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { waited_ms: super::clock::millis(LOCK_WAIT) });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        pause = (pause * 2).min(LOCK_LOOK[1]);
    }
}

fn lock_file(dir: &Dir, name: &str) -> Result<File, StoreError> {
    let file = dir.open_with(name, OpenOptions::new().write(true).create(true).mode(0o600)).map_err(failed)?;
    Ok(file.into_std())
}

fn failed(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => StoreError::ReadOnly,
        _ => StoreError::Failed(error.to_string()),
    }
}

/// What SQLite's refusal means.
fn refused(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => StoreError::ReadOnly,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Locked { waited_ms: super::clock::millis(LOCK_WAIT) }
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt(error.to_string()),
        Some(_) | None => match error {
            rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => {
                StoreError::Corrupt(error.to_string())
            }
            other => StoreError::Failed(other.to_string()),
        },
    }
}

#[cfg(test)]
mod tests;
