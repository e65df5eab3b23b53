//! What is kept of runs that are over: by age and by size all that they hold goes; their chains stay and still hold.
//!
//! Never: touches a run that may go on, one that somebody works on, or one that a fork stands on whose contents are kept.
//! Invariants here: what is erased is gone from the store, durably, before its files are, so that a crash leaves files too many
//! and never too few, which the next prune removes; a rehearsal and the real thing follow the same plan.

mod over;
mod shares;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::doors::blobs::BlobError;
use crate::doors::cache;
use crate::doors::state::{Disk, LeaseError, RunDir, State};
use crate::doors::store::{AtClock, Durability, Need, RunRow, Store, StoreError, transact_at};
use crate::rules::ledger::ScopeId;

use self::over::{Candidates, Known, Stopped, item_of, line_of, lock_of, may_go_on};
use self::shares::Shares;
use super::recovery::{blocking, close_quiet_dead_runs};
use super::serial;

/// Runs that are erased in one transaction. Each holds two descriptors meanwhile.
const BATCH: usize = 128;

/// Plans that are made to come below a size, since what a plan expects of the store's pages is an estimate.
const MAX_PLANS: usize = 3;

/// What stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// What was used for the last time before this goes. Milliseconds since 1970-01-01T00:00:00Z.
    pub before_ms: Option<u64>,
    /// The oldest goes until the host's directory takes at most so many bytes on the disk. Files of runs that never began go
    /// first, then compiled code, which is made again when it is needed, then what runs hold.
    pub max_bytes: Option<u64>,
}

/// What went, or would go.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    /// Runs whose contents were erased, the oldest first.
    pub runs: Vec<String>,
    /// Directories of runs that never began, because they were killed or not admitted.
    pub leftovers: Vec<String>,
    /// Compiled components.
    pub compiled: usize,
    /// Runs that stay whatever their age, because they may go on or a stopped line names them.
    pub unfinished: usize,
    /// Bytes that the host's directory takes on the disk, before and after.
    pub before_bytes: u64,
    pub after_bytes: u64,
}

/// Why not everything went that should have.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Blobs(#[from] BlobError),
    #[error("the files of run {serial}")]
    Files { serial: String, source: std::io::Error },
    #[error("the compiled code")]
    Compiled(#[source] std::io::Error),
    #[error("the size of what is kept")]
    Size(#[source] std::io::Error),
}

/// Says what [`prune`] would do, and does nothing.
///
/// # Errors
/// [`PruneError`].
pub(super) async fn rehearse(
    store: &Arc<dyn Store>,
    state: &State,
    retention: Retention,
) -> Result<Pruned, PruneError> {
    let plan = Plan::of_now(store, state, retention).await?;
    Ok(plan.told())
}

/// Erases what need not stay.
///
/// # Errors
/// [`PruneError`]: what was erased until then stays erased.
pub(super) async fn prune(store: &Arc<dyn Store>, state: &State, retention: Retention) -> Result<Pruned, PruneError> {
    close_quiet_dead_runs(store, state).await?;
    let mut plan = Plan::of_now(store, state, retention).await?;
    let mut pruned = Pruned { before_bytes: plan.before_bytes, unfinished: plan.unfinished, ..Pruned::default() };
    for _ in 0..MAX_PLANS {
        let went = plan.carry_out(store, state).await?;
        let is_all = retention.max_bytes.is_none() || went == Pruned::default();
        pruned.compiled += went.compiled;
        pruned.runs.extend(went.runs);
        pruned.leftovers.extend(went.leftovers);
        if is_all {
            break;
        }
        plan = Plan::of_now(store, state, retention).await?;
        pruned.unfinished = plan.unfinished;
    }
    let state = state.clone();
    let after = tokio::task::spawn_blocking(move || state.disk()).await;
    let after = after.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
    pruned.after_bytes = after.map_err(PruneError::Size)?.total;
    Ok(pruned)
}

/// What is to go, decided at one moment.
#[derive(Debug, Default)]
struct Plan {
    runs: Vec<String>,
    leftovers: Vec<String>,
    compiled: Vec<String>,
    unfinished: usize,
    before_bytes: u64,
    /// What is expected.
    after_bytes: u64,
    /// The lines that were stopped.
    stopped: Arc<Stopped>,
}

impl Plan {
    async fn of_now(store: &Arc<dyn Store>, state: &State, retention: Retention) -> Result<Self, PruneError> {
        let (store, state) = (Arc::clone(store), state.clone());
        let plan = tokio::task::spawn_blocking(move || Self::make(&*store, &state, retention)).await;
        plan.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string()).into()))
    }

    fn make(store: &dyn Store, state: &State, retention: Retention) -> Result<Self, PruneError> {
        // The directories first: a run that begins after that is in none of both.
        let disk = state.disk().map_err(PruneError::Size)?;
        let known = Known::read(store)?;
        let mut shares = Shares::of(store.named()?, state.blobs())?;
        let free = shares.unneeded().saturating_add(store.free_bytes()?);
        let mut plan = Self {
            unfinished: known.unfinished(),
            before_bytes: disk.total,
            after_bytes: disk.total.saturating_sub(free),
            stopped: Arc::new(known.stopped.clone()),
            ..Self::default()
        };
        plan.choose_leftovers(&disk, &known, state, retention)?;
        plan.choose_compiled(state, retention)?;
        let contents: u64 = known.runs.iter().map(|run| run.bytes).sum();
        let taken = store.contents_bytes()?;
        // What bytes of contents take of the store, with all that is around them.
        let of_store = |bytes: u64| u128::from(bytes) * u128::from(taken) / u128::from(contents.max(1));
        let mut candidates = Candidates::of(&known);
        while let Some(run) = candidates.next() {
            let is_old = retention.before_ms.is_some_and(|before_ms| run.latest_ms < before_ms);
            if !(is_old || plan.is_too_much(retention)) || !is_free(state, &run.serial)? {
                continue;
            }
            let own = disk.runs.get(&run.serial).copied().unwrap_or(0);
            let of_store = u64::try_from(of_store(run.bytes)).unwrap_or(u64::MAX);
            plan.drop_bytes(own.saturating_add(shares.release(&run.serial)).saturating_add(of_store));
            plan.runs.push(run.serial.clone());
            candidates.erased(run);
        }
        Ok(plan)
    }

    /// Directories that no run has whose contents are kept: of runs that never began, and what a crash left of an erasure.
    fn choose_leftovers(
        &mut self,
        disk: &Disk,
        known: &Known,
        state: &State,
        retention: Retention,
    ) -> Result<(), PruneError> {
        let kept: BTreeSet<&str> = known.runs.iter().filter(|run| !run.erased).map(|run| run.serial.as_str()).collect();
        // A serial begins with its time.
        let before = retention.before_ms.map(|before_ms| serial(before_ms, 0));
        for (name, bytes) in &disk.runs {
            let is_old = before.as_ref().is_some_and(|before| name < before);
            if !kept.contains(name.as_str()) && (is_old || self.is_too_much(retention)) && is_free(state, name)? {
                self.drop_bytes(*bytes);
                self.leftovers.push(name.clone());
            }
        }
        Ok(())
    }

    fn choose_compiled(&mut self, state: &State, retention: Retention) -> Result<(), PruneError> {
        let dir = state.cache().map_err(PruneError::Compiled)?;
        for entry in cache::compiled(&dir).map_err(PruneError::Compiled)? {
            if retention.before_ms.is_some_and(|before_ms| entry.used_ms < before_ms) || self.is_too_much(retention) {
                self.drop_bytes(entry.bytes);
                self.compiled.push(entry.name);
            }
        }
        Ok(())
    }

    fn is_too_much(&self, retention: Retention) -> bool {
        retention.max_bytes.is_some_and(|most| self.after_bytes > most)
    }

    fn drop_bytes(&mut self, bytes: u64) {
        self.after_bytes = self.after_bytes.saturating_sub(bytes);
    }

    fn told(self) -> Pruned {
        let Self { runs, leftovers, compiled, unfinished, before_bytes, after_bytes, stopped: _ } = self;
        Pruned { runs, leftovers, compiled: compiled.len(), unfinished, before_bytes, after_bytes }
    }

    /// Does it. Returns what went: some of it may be in use, or needed, by now.
    async fn carry_out(&self, store: &Arc<dyn Store>, state: &State) -> Result<Pruned, PruneError> {
        let leftovers = remove_unkept(store, state, &self.leftovers).await?;
        let mut went = Pruned { leftovers, ..Pruned::default() };
        let dir = state.cache().map_err(PruneError::Compiled)?;
        for name in &self.compiled {
            cache::remove(&dir, name).map_err(PruneError::Compiled)?;
            went.compiled += 1;
        }
        for batch in self.runs.chunks(BATCH) {
            went.runs.extend(erase(store, state, batch, &self.stopped).await?);
        }
        // Before any file goes, whatever becomes of the machine.
        fold(store).await?;
        remove_unkept(store, state, &went.runs).await?;
        shrink(store).await?;
        sweep(store, state).await?;
        Ok(went)
    }
}

fn files_of(serial: &str) -> impl FnOnce(std::io::Error) -> PruneError {
    move |source| PruneError::Files { serial: serial.to_owned(), source }
}

/// Whether nobody works on a run. What is no directory of a run's is nobody's to remove.
fn is_free(state: &State, serial: &str) -> Result<bool, PruneError> {
    match state.is_dead(serial) {
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(false),
        is_dead => is_dead.map_err(files_of(serial)),
    }
}

/// Removes directories of runs that are erased or were never opened, and that no process has. Returns their names.
async fn remove_unkept(store: &Arc<dyn Store>, state: &State, names: &[String]) -> Result<Vec<String>, PruneError> {
    let (store, state, names) = (Arc::clone(store), state.clone(), names.to_vec());
    let removed = tokio::task::spawn_blocking(move || {
        let mut removed = Vec::new();
        for name in names {
            let Some(taken) = state.take_left(&name).map_err(files_of(&name))? else { continue };
            // Somebody may have begun it, and ended it, since it was looked for.
            if store.run(&name)?.is_none_or(|run| run.erased) {
                state.remove_run(&name, &taken).map_err(files_of(&name))?;
                removed.push(name);
            }
        }
        Ok(removed)
    });
    removed.await.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string()).into()))
}

/// A run that is to be erased, and the outermost caller of it, whose item decides whether it is over; that may be itself.
struct Doomed {
    run: RunRow,
    top: RunRow,
    /// While this is held no process can resume the run. An imported run may have no directory.
    _taken: Option<RunDir>,
}

/// Erases the contents of runs in the store. Returns the runs that it erased: those that no process has, and that are still over.
async fn erase(
    store: &Arc<dyn Store>,
    state: &State,
    serials: &[String],
    stopped: &Arc<Stopped>,
) -> Result<Vec<String>, PruneError> {
    let (books, home, serials) = (Arc::clone(store), state.clone(), serials.to_vec());
    let doomed = tokio::task::spawn_blocking(move || {
        let mut doomed = Vec::new();
        for serial in serials {
            let taken = match home.reopen_run(&serial) {
                Ok(dir) => Some(dir),
                Err(LeaseError::Run { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
                Err(LeaseError::Alive { .. }) => continue,
                Err(error) => return Err(files_of(&serial)(std::io::Error::other(error))),
            };
            let Some(run) = books.run(&serial)? else { continue };
            doomed.push(Doomed { top: top_of(&*books, &run)?, run, _taken: taken });
        }
        Ok(doomed)
    });
    let doomed = doomed.await.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string()).into()))?;
    let places = |doomed: &Doomed| {
        [Need::Item(item_of(&doomed.top)), Need::Line(line_of(&doomed.top)), Need::Line(line_of(&doomed.run))]
    };
    let needs = doomed.iter().flat_map(places).collect();
    let stopped = Arc::clone(stopped);
    let erased = transact_at(&**store, needs, Durability::Lazy, AtClock::Any, move |books| {
        // Since they were looked at, an operator may have let an item be tried again, and somebody may have stopped a line.
        let is_as_planned = |line: &ScopeId| lock_of(&books.line(line)) == stopped.get(line).copied();
        let is_over = |doomed: &Doomed| {
            !may_go_on(&doomed.top, &books.item(&item_of(&doomed.top)))
                && is_as_planned(&line_of(&doomed.top))
                && is_as_planned(&line_of(&doomed.run))
        };
        let over = doomed.iter().filter(|doomed| is_over(doomed)).map(|doomed| doomed.run.serial.clone());
        let over: Vec<String> = over.collect();
        over.iter().for_each(|serial| books.erase(&serial.as_str().into()));
        (over, doomed)
    });
    let (over, doomed) = erased.await?;
    let books = Arc::clone(store);
    let erased = blocking(move || {
        let mut erased = Vec::new();
        for serial in over {
            // A fork may have come to stand on it.
            if books.run(&serial)?.is_some_and(|run| run.erased) {
                erased.push(serial);
            }
        }
        drop(doomed);
        Ok(erased)
    });
    Ok(erased.await?)
}

/// The outermost caller of a run; itself, if it is no child.
fn top_of(store: &dyn Store, run: &RunRow) -> Result<RunRow, StoreError> {
    let (mut top, mut seen) = (run.clone(), BTreeSet::from([run.serial.clone()]));
    while let Some(caller) = top.caller.as_deref().filter(|caller| seen.insert((*caller).to_owned())) {
        let Some(caller) = store.run(caller)? else { break };
        top = caller;
    }
    Ok(top)
}

/// Checkpoints the store, durably.
async fn fold(store: &Arc<dyn Store>) -> Result<(), StoreError> {
    transact_at(&**store, vec![], Durability::Durable, AtClock::Any, |books| books.fold()).await
}

/// Removes blobs that no run names any more whose contents are kept.
async fn sweep(store: &Arc<dyn Store>, state: &State) -> Result<(), PruneError> {
    let (store, blobs) = (Arc::clone(store), state.blobs().clone());
    let swept = tokio::task::spawn_blocking(move || {
        // Nobody keeps anything new while what is named is looked up.
        let sweeping = blobs.sweeping()?;
        let named: BTreeSet<_> = store.named()?.into_iter().map(|(_, address)| address).collect();
        sweeping.sweep(&|address| named.contains(address))?;
        Ok::<_, PruneError>(())
    });
    swept.await.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string()).into()))
}

/// Gives what is free in the store back to the disk, a part at a time, so that others write in between.
async fn shrink(store: &Arc<dyn Store>) -> Result<(), PruneError> {
    let mut before = u64::MAX;
    loop {
        let books = Arc::clone(store);
        let free = blocking(move || books.free_bytes()).await?;
        // What others free meanwhile is theirs.
        if free == 0 || free >= before {
            return Ok(fold(store).await?);
        }
        before = free;
        transact_at(&**store, vec![], Durability::Lazy, AtClock::Any, |books| books.shrink()).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doors::chain::Sealer;
    use crate::doors::chain::tests::{KEY, opened};
    use crate::doors::store::{Books, MemoryStore, transact};
    use crate::rules::andon::{Category, LineRecord, Pull};
    use crate::rules::effect::{Body, Caller};
    use crate::rules::item::{ItemRecord, State as ItemState};

    pub(super) fn run(serial: &str, latest_ms: u64) -> RunRow {
        RunRow {
            serial: serial.into(),
            tenant: "t".into(),
            line: "l".into(),
            item: "i".into(),
            attempt: 1,
            opened_ms: 0,
            latest_ms,
            entries: 3,
            verdict: Some("accepted".into()),
            exit_code: Some(0),
            settled: false,
            parent: None,
            caller: None,
            imported: false,
            erased: false,
            bytes: 10,
        }
    }

    /// Runs of one item, the second a child of the first, in a host's directory; all of them are over.
    async fn two_runs() -> (tempfile::TempDir, State, Arc<dyn Store>, ScopeId) {
        let dir = tempfile::tempdir().expect("a directory");
        let handle = cap_std::fs::Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).expect("opens");
        let state = State::open(handle).expect("opens");
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let item = ScopeId::of_path("t/l/i");
        for serial in ["caller", "child"] {
            drop(state.create_run(serial).expect("made"));
            let mut body = opened(serial);
            if let (Body::Opened { opening }, "child") = (&mut body, serial) {
                opening.origin.caller = Some(Caller { serial: "caller".into(), call: 1 });
                opening.origin.item = "part".into();
            }
            let (entry, item) = (Sealer::new(KEY).seal(5, body), item.clone());
            let kept = transact(&*store, vec![], Durability::Lazy, move |books| {
                books.append(&serial.into(), KEY, entry);
                books.remember(&item, ItemRecord { state: ItemState::Accepted, attempts: 1, ..ItemRecord::default() });
            });
            kept.await.expect("kept");
        }
        (dir, state, store, item)
    }

    #[tokio::test]
    async fn what_somebody_needs_again_since_the_plan_was_made_stays() {
        type Change = fn(&mut Books<'_>, &ScopeId);
        let nothing: Change = |_, _| ();
        let revived: Change = |books, item| {
            books.remember(item, ItemRecord { state: ItemState::Ready, attempts: 1, ..ItemRecord::default() });
        };
        let stopped: Change = |books, _| {
            let (line, mut record) = (ScopeId::of_path("t/l"), LineRecord::default());
            record.pull(&Pull::by_operator(Category::Operator, "a look"), 5);
            books.remember_line(&line, record);
        };
        for (change, went) in [(nothing, vec!["caller", "child"]), (revived, vec![]), (stopped, vec![])] {
            let (_dir, state, store, item) = two_runs().await;
            let all = Retention { before_ms: Some(u64::MAX), max_bytes: None };
            let plan = Plan::of_now(&store, &state, all).await.expect("a plan");
            assert_eq!(plan.runs, ["caller", "child"]);
            transact(&*store, vec![], Durability::Lazy, move |books| change(books, &item)).await.expect("kept");
            assert_eq!(plan.carry_out(&store, &state).await.expect("done").runs, went);
            assert_eq!(state.run_names().expect("reads").len(), 2 - went.len());
        }
    }

    #[test]
    fn what_is_not_over_and_parents_of_kept_forks_are_no_candidates() {
        let erased = RunRow { erased: true, ..run("erased", 2) };
        let fork = RunRow { parent: Some("old".into()), ..run("fork", 9) };
        let of_open = RunRow { parent: Some("needed".into()), ..run("of-open", 9) };
        let runs = vec![run("open", 1), erased, fork, of_open, run("old", 3), run("needed", 4), run("older", 2)];
        let open = ["open", "of-open"];
        let over =
            runs.iter().map(|run| run.serial.clone()).filter(|serial| !open.contains(&serial.as_str())).collect();
        let known = Known { runs, over, stopped: Stopped::default() };
        let mut candidates = Candidates::of(&known);
        let mut chosen = Vec::new();
        while let Some(run) = candidates.next() {
            candidates.erased(run);
            chosen.push(run.serial.as_str());
        }
        assert_eq!(chosen, ["older", "fork", "old"]);
        // A fork that stays keeps its parent.
        let mut candidates = Candidates::of(&known);
        let all: Vec<&str> = std::iter::from_fn(|| candidates.next()).map(|run| run.serial.as_str()).collect();
        assert_eq!(all, ["older", "fork"]);
    }
}
