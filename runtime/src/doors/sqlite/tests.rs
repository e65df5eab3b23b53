//! The store against the memory, against itself, and against what goes wrong with files.

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;
use crate::doors::chain::tests::{KEY, closed, opened};
use crate::doors::chain::{Sealed, Sealer};
use crate::doors::rows::FORMAT;
use crate::doors::store::{MemoryStore, Need, accept_clock, transact, transact_at};
use crate::rules::digest::Digest;
use crate::rules::effect::{Body, Level, Parent};
use crate::rules::ledger::tests::story::{self, SCOPES, Step, Teller};
use crate::rules::ledger::{Amounts, CallId, Denial, Limits, Line, Terms};
use crate::rules::operate::Deed;

const START_MS: u64 = 1_700_000_000_000;

/// From a thread of its own, so that it may be called from within a runtime too.
fn transact_blocking<T: Send + 'static>(
    store: &dyn Store,
    needs: Vec<Need>,
    change: impl FnOnce(&mut Books<'_>) -> T + Send + 'static,
) -> Result<T, StoreError> {
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(transact(store, needs, Durability::Durable, change))
        });
        work.join().expect("no panic")
    })
}

fn clock() -> Clock {
    Clock::starting_at(START_MS)
}

fn handle(dir: &Path) -> Dir {
    Dir::open_ambient_dir(dir, cap_std::ambient_authority()).expect("opens")
}

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(&handle(dir), dir, clock()).expect("opens")
}

fn tokens(amount: u64) -> Amounts {
    Amounts::of(Line::Tokens, amount)
}

fn host(limit: u64) -> Terms {
    Terms { limits: Limits::from_iter([(Line::Tokens, limit)]), ..Terms::default() }
}

/// Opens the host's scope.
fn open_host(store: &dyn Store, limit: u64) {
    let needs = vec![Need::Scope(ScopeId::host())];
    let opened =
        transact_blocking(store, needs, move |books| books.ledger.open(&ScopeId::host(), host(limit), books.now_ms));
    opened.expect("kept").expect("opens");
}

fn reserve(store: &dyn Store, id: &'static str, amount: u64) -> Result<Result<(), Denial>, StoreError> {
    transact_blocking(store, vec![Need::Scope(ScopeId::host()), Need::Call(CallId::new(id))], move |books| {
        let reserved = books.ledger.reserve(&ScopeId::host(), CallId::new(id), &tokens(amount), books.now_ms);
        books.ledger.dispatch(reserved?, books.now_ms).map(drop)
    })
}

fn left(store: &dyn Store) -> u64 {
    let survey = store.survey().expect("reads");
    survey.headroom(&ScopeId::host(), Line::Tokens, START_MS).expect("is limited").left
}

fn needs(step: &Step) -> Vec<Need> {
    // All of a tree, so that a scope that is closed knows what is in it.
    let scope = story::scope_of(step).map(Need::Tree);
    let call = story::call_of(step).map(Need::Call);
    scope.into_iter().chain(call).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Two processes (two stores on one file, who throw away what they read whenever the other wrote) tell one story
    /// together, and after each step they have answered, and keep, what one ledger in memory has.
    #[test]
    fn the_file_and_the_memory_tell_the_same_story(steps in story::stories(50), turns in any::<u64>()) {
        let dir = tempfile::tempdir().expect("a directory");
        let stores = [open(dir.path()), open(dir.path())];
        let mut memory = Ledger::default();
        let mut here = Teller::default();
        let there = Arc::new(Mutex::new(Teller::default()));
        for (number, step) in steps.iter().enumerate() {
            let expected = here.tell(&mut memory, step);
            let (teller, told) = (Arc::clone(&there), step.clone());
            // Ended calls are forgotten by whoever kept them, so a new one's id is looked up too.
            let mut needs = needs(step);
            needs.extend((0..=number).map(|number| Need::Call(story::call(number))));
            let store = &stores[usize::try_from(turns >> (number % 64) & 1).expect("a bit")];
            let got = transact_blocking(store, needs, move |books| {
                teller.lock().unwrap_or_else(PoisonError::into_inner).tell(books.ledger, &told)
            });
            prop_assert_eq!(got.expect("kept"), expected, "step {}: {:?}", number, step);
            let kept = store.survey().expect("reads");
            for path in SCOPES {
                let id = ScopeId::of_path(path);
                prop_assert_eq!(kept.scope(&id), memory.scope(&id), "after {:?}", step);
            }
        }
        prop_assert!(stores[0].audit().is_ok());
    }
}

#[test]
fn what_is_kept_is_there_after_the_store_was_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    open_host(&store, 100);
    reserve(&store, "a", 30).expect("kept").expect("fits");
    drop(store);
    let log = dir.path().join(format!("{FILE}-wal"));
    assert!(!log.exists(), "a clean close leaves nothing to repair");
    let store = open(dir.path());
    assert_eq!(left(&store), 70);
    let settled = transact_blocking(&store, vec![Need::Call(CallId::new("a"))], |books| {
        books.ledger.settle_id(&CallId::new("a"), &tokens(10), books.now_ms)
    });
    assert!(settled.expect("kept").is_ok());
    assert_eq!(left(&store), 90);
    let again = reserve(&store, "a", 1).expect("kept");
    assert!(matches!(again, Err(Denial::Taken(_))), "an id is used once, also after it was forgotten: {again:?}");
}

#[test]
fn entries_are_kept_in_order_with_what_they_are_about() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let serial: Arc<str> = "run".into();
    let mut sealer = Sealer::new(KEY);
    let note = |number| Body::Noted { level: Level::Info, message: format!("note {number}"), fields: vec![] };
    let entries: Vec<Sealed> = [opened("run"), note(1), note(2)].into_iter().map(|body| sealer.seal(5, body)).collect();
    let (run, written, again) = (Arc::clone(&serial), entries.clone(), entries[1].clone());
    let kept = transact_blocking(&store, vec![], move |books| {
        written.into_iter().for_each(|entry| books.append(&run, KEY, entry));
    });
    kept.expect("kept");
    let again = transact_blocking(&store, vec![], move |books| books.append(&serial, KEY, again));
    assert!(again.is_err(), "an entry is never written over");
    let kept = store.journal("run").expect("reads").expect("is there");
    assert_eq!(Some(kept.head), sealer.head());
    assert_eq!(kept.rows, entries.iter().map(|entry| entry.row.clone()).collect::<Vec<_>>());
    assert_eq!(kept.open().expect("holds").len(), 3);
    assert!(store.journal("other").expect("reads").is_none());
    let runs = store.runs().expect("reads");
    assert_eq!((runs.len(), runs[0].entries, runs[0].opened_ms, &runs[0].verdict), (1, 3, 5, &None));
}

#[test]
fn a_run_is_erased_only_if_no_fork_that_is_kept_stands_on_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let stores: [Arc<dyn Store>; 2] = [Arc::new(open(dir.path())), Arc::new(MemoryStore::default())];
    for store in stores {
        let begin = |serial: &'static str, parent: Option<&str>| {
            let mut sealer = Sealer::new(KEY);
            let mut first = opened(serial);
            if let Body::Opened { opening } = &mut first {
                let hash = Digest::from_bytes([1; 32]);
                opening.origin.parent = parent.map(|parent| Parent { serial: parent.to_owned(), seq: 0, hash });
            }
            let entries: Vec<Sealed> = [first, closed()].into_iter().map(|body| sealer.seal(5, body)).collect();
            let kept = transact_blocking(&*store, vec![], move |books| {
                entries.into_iter().for_each(|entry| books.append(&serial.into(), KEY, entry));
            });
            kept.expect("kept");
        };
        begin("parent", None);
        begin("fork", Some("parent"));
        let erased = |serial: &'static str| {
            transact_blocking(&*store, vec![], move |books| books.erase(&serial.into())).expect("kept");
            let kept = store.journal(serial).expect("reads").expect("is there");
            assert!(kept.clone().open().is_ok(), "the chain holds");
            let is_erased = kept.key.is_none();
            assert!(kept.rows.iter().all(|row| row.content.is_none() == is_erased));
            is_erased
        };
        assert!(!erased("parent"));
        assert!(erased("fork") && erased("parent"));
    }
}

#[test]
fn a_work_that_cannot_be_kept_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    open_host(&store, 100);
    let panicked = transact_blocking(&store, vec![Need::Scope(ScopeId::host())], |books| -> u32 {
        let reserved = books.ledger.reserve(&ScopeId::host(), CallId::new("a"), &tokens(30), 0);
        panic!("in the middle: {reserved:?}")
    });
    assert!(panicked.is_err());
    assert_eq!(left(&store), 100);
    reserve(&store, "a", 100).expect("kept").expect("the next one finds what was there before");
}

#[test]
fn a_store_that_another_process_keeps_locked_is_refused_in_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    open_host(&store, 100);
    let stuck = lock_file(&handle(dir.path()), "ledger.lock").expect("opens");
    stuck.lock().expect("is free");
    let refused = reserve(&store, "a", 30);
    assert!(matches!(refused, Err(StoreError::Locked { .. })), "{refused:?}");
    stuck.unlock().expect("was locked");
    assert_eq!(left(&store), 100);
    reserve(&store, "a", 30).expect("kept").expect("fits");
}

#[test]
fn a_store_that_cannot_be_written_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    open_host(&store, 100);
    drop(store);
    // Even for the superuser: a directory in the place of the log cannot be written.
    std::fs::create_dir(dir.path().join(format!("{FILE}-journal"))).expect("a directory");
    std::fs::create_dir(dir.path().join(format!("{FILE}-wal"))).expect("a directory");
    let opened = SqliteStore::open(&handle(dir.path()), dir.path(), clock());
    assert!(opened.is_err());
    std::fs::remove_dir(dir.path().join(format!("{FILE}-journal"))).expect("removed");
    std::fs::remove_dir(dir.path().join(format!("{FILE}-wal"))).expect("removed");
    assert_eq!(left(&open(dir.path())), 100);
}

#[test]
fn a_damaged_file_is_not_believed_after_an_unclean_stop() {
    use std::io::{Seek, SeekFrom, Write};
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    open_host(&store, 100);
    let mut sealer = Sealer::new(KEY);
    let note = |_| Body::Noted { level: Level::Info, message: "x".repeat(2_000), fields: vec![] };
    for body in std::iter::once(opened("run")).chain((0..200).map(note)) {
        let entry = sealer.seal(0, body);
        transact_blocking(&store, vec![], move |books| books.append(&"run".into(), KEY, entry)).expect("kept");
    }
    drop(store);
    let mut file = std::fs::OpenOptions::new().write(true).open(dir.path().join(FILE)).expect("opens");
    for page in 3..30 {
        file.seek(SeekFrom::Start(page * 4_096)).expect("seeks");
        file.write_all(&[0xa5; 64]).expect("writes");
    }
    // What a killed process leaves behind.
    std::fs::write(dir.path().join(format!("{FILE}-wal")), b"torn").expect("writes");
    let opened = SqliteStore::open(&handle(dir.path()), dir.path(), clock());
    assert!(matches!(opened.err(), Some(StoreError::Corrupt(_))));
}

fn reopened(dir: &Path) -> Result<(), StoreError> {
    SqliteStore::open(&handle(dir), dir, clock()).map(drop)
}

/// A host's directory with a store in which two processes have written, and what a copy after the first had.
fn with_history() -> (tempfile::TempDir, Vec<u8>) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    open_host(&store, 100);
    drop(store);
    let copy = std::fs::read(dir.path().join(FILE)).expect("reads");
    reserve(&open(dir.path()), "a", 30).expect("kept").expect("fits");
    (dir, copy)
}

#[test]
fn a_store_of_another_version_is_refused() {
    for other in [FORMAT - 1, FORMAT + 1] {
        let (dir, _) = with_history();
        let connection = Connection::open(dir.path().join(FILE)).expect("opens");
        connection.pragma_update(None, "user_version", other).expect("writes");
        drop(connection);
        assert_eq!(reopened(dir.path()), Err(StoreError::Format { found: other, known: FORMAT }));
    }
}

#[test]
fn a_store_that_is_gone_is_not_begun_anew_beside_anything_that_knew_it() {
    let (dir, _) = with_history();
    let (file, book) = (dir.path().join(FILE), dir.path().join("ledger.book"));
    std::fs::write(&file, b"").expect("writes");
    assert_eq!(reopened(dir.path()), Err(StoreError::Missing));
    std::fs::remove_file(&file).expect("is there");
    assert_eq!(reopened(dir.path()), Err(StoreError::Missing));
    // Also where only what runs left says so.
    std::fs::remove_file(&book).expect("is there");
    for left in ["runs/01m7yrddxh-f0yzp7", "items/default", "blobs/trees/00", "blobs/files/ff"] {
        std::fs::create_dir_all(dir.path().join(left)).expect("made");
        assert_eq!(reopened(dir.path()), Err(StoreError::Missing), "{left}");
        let top = left.split('/').next().expect("a name");
        std::fs::remove_dir_all(dir.path().join(top)).expect("is there");
    }
    assert_eq!(reopened(dir.path()), Ok(()), "nothing was ever here");
    assert!(book.exists());
}

#[test]
fn what_is_no_store_of_this_directory_is_refused_and_stays_as_it_is() {
    let other = with_history().0;
    let foreign = tempfile::tempdir().expect("a directory");
    let sqlite = foreign.path().join("other.sqlite");
    Connection::open(&sqlite).and_then(|file| file.execute_batch("CREATE TABLE t (a)")).expect("made");
    let empty = foreign.path().join("empty.sqlite");
    let blank = Connection::open(&empty).expect("opens");
    blank.execute_batch("CREATE TABLE t (a); DROP TABLE t").expect("made");
    drop(blank);
    for bytes in [&b"not a database, but more than an empty file"[..], &std::fs::read(sqlite).expect("reads")] {
        let (dir, _) = with_history();
        std::fs::write(dir.path().join(FILE), bytes).expect("writes");
        assert!(matches!(reopened(dir.path()), Err(StoreError::Foreign(_))), "{:?}", reopened(dir.path()));
        assert_eq!(std::fs::read(dir.path().join(FILE)).expect("reads"), bytes);
        // Nor where there never was one: somebody else's file is not written into.
        let fresh = tempfile::tempdir().expect("a directory");
        std::fs::write(fresh.path().join(FILE), bytes).expect("writes");
        assert!(matches!(reopened(fresh.path()), Err(StoreError::Foreign(_))));
    }
    let (dir, _) = with_history();
    let file = dir.path().join(FILE);
    std::fs::copy(empty, &file).expect("copies");
    assert_eq!(reopened(dir.path()), Err(StoreError::Missing));
    std::fs::copy(other.path().join(FILE), &file).expect("copies");
    assert!(matches!(reopened(dir.path()), Err(StoreError::Foreign(_))), "it is another directory's");
    std::fs::remove_file(&file).expect("is there");
    std::os::unix::fs::symlink(other.path().join(FILE), &file).expect("linked");
    assert!(matches!(reopened(dir.path()), Err(StoreError::Foreign(_))));
    std::fs::remove_file(&file).expect("is there");
    std::fs::create_dir(&file).expect("made");
    assert!(matches!(reopened(dir.path()), Err(StoreError::Foreign(_))));
}

#[test]
fn an_older_copy_of_the_store_is_refused_until_a_person_takes_it_for_the_latest() {
    let (dir, copy) = with_history();
    std::fs::write(dir.path().join(FILE), copy).expect("writes");
    let outdated = Err(StoreError::Outdated { found: 1, known: 2 });
    assert_eq!((reopened(dir.path()), reopened(dir.path())), (outdated.clone(), outdated));
    std::fs::remove_file(dir.path().join("ledger.book")).expect("is there");
    assert_eq!(left(&open(dir.path())), 100);
    assert_eq!(reopened(dir.path()), Ok(()));
}

#[test]
fn a_log_that_was_removed_after_a_crash_is_missed() {
    let (dir, copy) = with_history();
    // The process that wrote last was killed: its commits are in the log alone.
    let store = open(dir.path());
    reserve(&store, "b", 30).expect("kept").expect("fits");
    let crashed = tempfile::tempdir().expect("a directory");
    for name in [FILE, "ledger.book"] {
        std::fs::copy(dir.path().join(name), crashed.path().join(name)).expect("copies");
    }
    assert!(dir.path().join(format!("{FILE}-wal")).exists() && copy.len() > 4_096);
    assert_eq!(reopened(crashed.path()), Err(StoreError::Outdated { found: 2, known: 3 }));
    std::fs::copy(dir.path().join(format!("{FILE}-wal")), crashed.path().join(format!("{FILE}-wal"))).expect("copies");
    assert_eq!(left(&open(crashed.path())), 40);
}

#[test]
fn the_store_and_what_is_beside_it_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, _) = with_history();
    let store = open(dir.path());
    reserve(&store, "b", 1).expect("kept").expect("fits");
    for entry in std::fs::read_dir(dir.path()).expect("reads") {
        let entry = entry.expect("reads");
        let mode = entry.metadata().expect("is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} {mode:o}", entry.file_name());
    }
}

#[test]
fn what_is_erased_is_given_back_to_the_disk_while_another_process_has_the_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, other) = (open(dir.path()), open(dir.path()));
    open_host(&other, 100);
    for serial in ["one", "two"] {
        let mut sealer = Sealer::new(KEY);
        let note = |_| Body::Noted { level: Level::Info, message: "x".repeat(3_000), fields: vec![] };
        let bodies: Vec<Body> = std::iter::once(opened(serial)).chain((0..300).map(note)).collect();
        let entries: Vec<Sealed> = bodies.into_iter().map(|body| sealer.seal(5, body)).collect();
        let kept = transact_blocking(&store, vec![], move |books| {
            entries.into_iter().for_each(|entry| books.append(&serial.into(), KEY, entry));
        });
        kept.expect("kept");
    }
    let bytes = || {
        let names = [FILE.to_owned(), format!("{FILE}-wal")];
        names.iter().map(|name| std::fs::metadata(dir.path().join(name)).expect("is there").len()).sum::<u64>()
    };
    let fold = || transact_blocking(&store, vec![], |books| books.fold()).expect("kept");
    fold();
    let (before, contents) = (bytes(), store.contents_bytes().expect("reads"));
    transact_blocking(&store, vec![], |books| books.erase(&"one".into())).expect("kept");
    while store.free_bytes().expect("reads") > 0 {
        transact_blocking(&store, vec![], |books| books.shrink()).expect("kept");
    }
    fold();
    let freed = before - bytes();
    assert!(freed.abs_diff(contents / 2) < contents / 50, "{freed} of {contents} and {before}");
    assert!(store.journal("two").expect("reads").expect("is there").open().is_ok());
    reserve(&other, "a", 30).expect("kept").expect("fits");
}

#[tokio::test]
async fn a_clock_that_went_back_is_refused_until_an_operator_accepts_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    open_host(&store, 100);
    drop(store);
    let at = |unix_ms| SqliteStore::open(&handle(dir.path()), dir.path(), Clock::starting_at(unix_ms)).expect("opens");
    let near = at(START_MS - MAX_CLOCK_BEHIND_MS + 1_000);
    reserve(&near, "a", 1).expect("a small step back is none").expect("fits");
    drop(near);
    let far = at(START_MS - 2 * MAX_CLOCK_BEHIND_MS);
    assert!(matches!(reserve(&far, "b", 1), Err(StoreError::ClockBehind { .. })));
    // What stops something is done all the same, and at no earlier time than what was done before.
    let at_ms = transact_at(&far, vec![], Durability::Durable, AtClock::Any, |books| books.now_ms).await;
    assert!(at_ms.expect("kept") >= START_MS);
    let act = Act { at_ms: 0, by: "operator".into(), reason: "a flat battery".into(), deed: Deed::AcceptClock };
    accept_clock(&far, act.clone()).await.expect("kept");
    assert_eq!(far.acts().expect("reads"), [act]);
    reserve(&far, "b", 1).expect("kept").expect("fits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn works_that_come_together_share_a_commit() {
    let dir = tempfile::tempdir().expect("a directory");
    let commits = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let (held, counted) = (Arc::new(AtomicBool::new(true)), Arc::clone(&commits));
    let wait = Arc::clone(&held);
    let probe: Probe = Arc::new(move |point| {
        if point == CommitPoint::Before {
            counted.fetch_add(1, Ordering::Relaxed);
            while wait.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    let store = SqliteStore::open_probed(&handle(dir.path()), dir.path(), clock(), probe).expect("opens");
    let store: Arc<dyn Store> = Arc::new(store);
    let mut works = tokio::task::JoinSet::new();
    for number in 0..101_u64 {
        let store = Arc::clone(&store);
        works.spawn(async move {
            let serial = format!("run-{number}");
            let entry = Sealer::new(KEY).seal(0, opened(&serial));
            transact(&*store, vec![], Durability::Durable, move |books| books.append(&serial.into(), KEY, entry)).await
        });
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    held.store(false, Ordering::Relaxed);
    while let Some(done) = works.join_next().await {
        done.expect("no panic").expect("kept");
    }
    assert_eq!(store.runs().expect("reads").len(), 101);
    assert!(commits.load(Ordering::Relaxed) <= 4, "{commits:?}");
}

#[test]
fn the_memory_keeps_what_it_is_told() {
    let store = MemoryStore::default();
    open_host(&store, 100);
    reserve(&store, "a", 30).expect("kept").expect("fits");
    assert_eq!(left(&store), 70);
}
