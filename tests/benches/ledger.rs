//! What the ledger costs, in one process and one go: `cargo bench --bench ledger`. With `--smoke` each figure is taken from
//! a few rounds, to see that it can be.
//!
//! A pair is what a model call needs: fit to what is left and reserve, dispatch, settle. Ratios are the point; absolute
//! rates are this machine's, at this hour.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use jidoka::doors::store::{Durability, MemoryStore, Need, Store, transact};
use jidoka::rules::ledger::{Amounts, CallId, Ledger, Limits, Line, ScopeId, Terms};
use jidoka::rules::window::Span;
use jidoka_tests::bench;

/// What a model call is metered by.
const LINES: [(Line, u64); 5] =
    [(Line::ModelCalls, 1), (Line::TokensIn, 100), (Line::TokensOut, 50), (Line::Tokens, 150), (Line::MicroUsd, 700)];

/// From the host to a child of a run's worker.
const NAMES: [&str; 5] = ["tenant", "line", "item", "attempt", "worker"];

fn main() {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let rounds = |full: usize| if smoke { 10.min(full) } else { full };
    let time = |full: Duration| if smoke { Duration::from_millis(50) } else { full };
    println!("{:<70} {:>14}", "what", "figure");
    let plain = in_memory(rounds(400_000), false);
    print("pairs/s in memory, six scopes, five lines", plain);
    let windowed = in_memory(rounds(400_000), true);
    print("  with an hour's and a day's window on host and tenant", windowed);
    println!("{:<70} {:>11.2} us", "  so one model call costs", 1e6 / plain);

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let memory = concurrent(Arc::new(MemoryStore::default()), 1, time(Duration::from_secs(1)), Durability::Durable);
        print("pairs/s through the store in memory, 1 run", memory.await);
        let dir = tempfile::tempdir().expect("a directory");
        let lazy =
            concurrent(bench::slow_store(dir.path(), None), 1, time(Duration::from_secs(2)), Durability::Lazy).await;
        print("pairs/s in SQLite without waiting for the disk, 1 run", lazy);
        println!("{:<70} {:>11.2} us", "  so one model call costs, beside two fsyncs", 1e6 / lazy);
        for (disk, commit) in [("on this disk", None), ("on a disk that needs 4 ms", Some(Duration::from_millis(4)))] {
            let store = bench::slow_store(dir.path(), commit);
            let mut single = None;
            for runs in [1, 8, 64] {
                let store: Arc<dyn Store> = Arc::clone(&store) as _;
                let rate = concurrent(store, runs, time(Duration::from_secs(4)), Durability::Durable).await;
                print(&format!("pairs/s {disk}, {runs} runs at once"), rate);
                println!("{:<70} {:>13.1}x", "  to one run", rate / *single.get_or_insert(rate));
            }
        }
    });
    runtime.shutdown_background();
}

fn print(what: &str, rate: f64) {
    println!("{what:<70} {rate:>14.0}");
}

fn amounts() -> Amounts {
    LINES.into_iter().collect()
}

/// Opens a path of scopes, each with a limit on every line.
fn open(ledger: &mut Ledger, names: &[&str], windows: bool) -> ScopeId {
    let limits: Limits = Line::ALL.into_iter().map(|line| (line, u64::MAX / 4)).collect();
    let mut scope = ScopeId::host();
    for name in std::iter::once(None).chain(names.iter().map(Some)) {
        scope = name.map_or(scope.clone(), |name| scope.child(name));
        let mut terms = Terms { limits, ..Terms::default() };
        if windows && scope.path().split('/').count() <= 1 {
            terms.windows = [(Span::Hour, limits), (Span::Day, limits)].into();
        }
        ledger.open(&scope, terms, 0).expect("opens");
    }
    scope
}

/// Pairs per second of the pure ledger.
fn in_memory(rounds: usize, windows: bool) -> f64 {
    let mut ledger = Ledger::default();
    let scope = open(&mut ledger, &NAMES, windows);
    let ids: Vec<CallId> = (0..rounds).map(|number| CallId::new(format!("run-{number}"))).collect();
    let (amounts, started) = (amounts(), Instant::now());
    for (now_ms, id) in ids.into_iter().enumerate() {
        let now_ms = now_ms as u64;
        let room = ledger.room(&scope, now_ms);
        assert!(LINES.iter().all(|&(line, asked)| room.left(line) >= asked));
        let reservation = ledger.reserve(&scope, id, &amounts, now_ms).expect("fits");
        let dispatched = ledger.dispatch(reservation, now_ms).expect("is reserved");
        ledger.settle(dispatched, &amounts, now_ms).expect("is dispatched");
    }
    rounds as f64 / started.elapsed().as_secs_f64()
}

/// Pairs per second of so many runs at once, each with an attempt of its own below one line.
async fn concurrent(store: Arc<dyn Store>, runs: usize, time: Duration, durability: Durability) -> f64 {
    static MEASUREMENTS: AtomicU32 = AtomicU32::new(0);
    let measurement = MEASUREMENTS.fetch_add(1, Ordering::Relaxed);
    let mut tasks = tokio::task::JoinSet::new();
    let started = Instant::now();
    for run in 0..runs {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let name = format!("{measurement}-{run}");
            let path = ["tenant", "line", &name, "attempt"].map(str::to_owned);
            let opened = transact(&*store, vec![Need::Scope(ScopeId::host())], Durability::Lazy, move |books| {
                open(books.ledger, &path.each_ref().map(String::as_str), false)
            });
            let scope = opened.await.expect("kept");
            let mut pairs: u32 = 0;
            while started.elapsed() < time {
                pair(&*store, &scope, CallId::new(format!("{name}-{pairs}")), durability).await;
                pairs += 1;
            }
            pairs
        });
    }
    let mut pairs = 0;
    while let Some(done) = tasks.join_next().await {
        pairs += done.expect("no panic");
    }
    f64::from(pairs) / started.elapsed().as_secs_f64()
}

/// The two transactions of a model call.
async fn pair(store: &dyn Store, scope: &ScopeId, id: CallId, durability: Durability) {
    let (scope, call) = (scope.clone(), id.clone());
    let sent = transact(store, vec![Need::Scope(scope.clone())], durability, move |books| {
        let reservation = books.ledger.reserve(&scope, call, &amounts(), books.now_ms)?;
        books.ledger.dispatch(reservation, books.now_ms)
    });
    let dispatched = sent.await.expect("kept").expect("fits");
    let settled = transact(store, vec![Need::Call(id)], durability, move |books| {
        books.ledger.settle(dispatched, &amounts(), books.now_ms)
    });
    settled.await.expect("kept").expect("is dispatched");
}
