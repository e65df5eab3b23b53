//! The store against the memory, against itself, and against what goes wrong with files.

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;
use crate::doors::chain::tests::{KEY, closed, opened};
use crate::doors::chain::{Sealed, Sealer};
use crate::doors::store::{MemoryStore, Need, accept_clock, transact};
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
fn a_run_is_erased_only_if_it_is_over_and_no_fork_that_is_kept_stands_on_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let stores: [Arc<dyn Store>; 2] = [Arc::new(open(dir.path())), Arc::new(MemoryStore::default())];
    for store in stores {
        let begin = |serial: &'static str, parent: Option<&str>, is_over: bool| {
            let mut sealer = Sealer::new(KEY);
            let mut first = opened(serial);
            if let Body::Opened { opening } = &mut first {
                let hash = Digest::from_bytes([1; 32]);
                opening.origin.parent = parent.map(|parent| Parent { serial: parent.to_owned(), seq: 0, hash });
            }
            let last = is_over.then(closed);
            let entries: Vec<Sealed> =
                [Some(first), last].into_iter().flatten().map(|body| sealer.seal(5, body)).collect();
            let kept = transact_blocking(&*store, vec![], move |books| {
                entries.into_iter().for_each(|entry| books.append(&serial.into(), KEY, entry));
            });
            kept.expect("kept");
        };
        begin("parent", None, true);
        begin("fork", Some("parent"), true);
        begin("open", None, false);
        let erased = |serial: &'static str| {
            transact_blocking(&*store, vec![], move |books| books.erase(&serial.into())).expect("kept");
            let kept = store.journal(serial).expect("reads").expect("is there");
            assert!(kept.clone().open().is_ok(), "the chain holds");
            let is_erased = kept.key.is_none();
            assert!(kept.rows.iter().all(|row| row.content.is_none() == is_erased));
            is_erased
        };
        assert!(!erased("open") && !erased("parent"));
        assert!(erased("fork") && erased("parent"));
    }
}

#[test]
fn a_store_of_a_version_that_is_not_read_any_more_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(dir.path()));
    let file = Connection::open(dir.path().join(FILE)).expect("opens");
    file.pragma_update(None, "user_version", OLDEST_FORMAT - 1).expect("writes");
    drop(file);
    let opened = SqliteStore::open(&handle(dir.path()), dir.path(), clock());
    let expected = StoreError::Older { found: OLDEST_FORMAT - 1, oldest: OLDEST_FORMAT };
    assert_eq!(opened.err(), Some(expected));
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
    for _ in 0..200 {
        let note = Body::Noted { level: Level::Info, message: "x".repeat(2_000), fields: vec![] };
        let entry = sealer.seal(0, note);
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

#[test]
fn a_store_of_a_later_version_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(dir.path()));
    let connection = Connection::open(dir.path().join(FILE)).expect("opens");
    connection.pragma_update(None, "user_version", FORMAT + 1).expect("writes");
    drop(connection);
    let opened = SqliteStore::open(&handle(dir.path()), dir.path(), clock());
    assert_eq!(opened.err(), Some(StoreError::Newer { found: FORMAT + 1, known: FORMAT }));
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

#[test]
fn a_store_of_the_version_before_is_taken_over_with_what_is_in_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join(FILE);
    let old = Connection::open(&file).expect("opens");
    old.pragma_update(None, "journal_mode", "WAL").expect("sets");
    let item = "INSERT INTO item VALUES ('default/tests/one', '{\"attempts\":2,\"seen\":[],\"open\":\"run\"}')";
    old.execute_batch(&format!("{TABLES} {item}; PRAGMA user_version = 2")).expect("writes");
    drop(old);
    let handle = Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).expect("opens");
    for _ in 0..2 {
        let store = SqliteStore::open(&handle, dir.path(), Clock::starting_at(0)).expect("is taken over");
        let items = store.items().expect("reads");
        assert_eq!(items.len(), 1);
        assert_eq!((items[0].1.attempts, items[0].1.open.as_deref()), (2, Some("run")));
        assert_eq!(items[0].1.state, crate::rules::item::State::Ready);
        assert_eq!((store.lines(), store.pulls(), store.questions()), (Ok(vec![]), Ok(vec![]), Ok(vec![])));
    }
    let version: i64 = Connection::open(&file)
        .and_then(|file| file.pragma_query_value(None, "user_version", |row| row.get(0)))
        .expect("reads");
    assert_eq!(version, FORMAT);
}
