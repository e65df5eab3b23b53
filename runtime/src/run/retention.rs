//! What is kept of runs that are over: by age and by size all that they hold goes; their chains stay and still hold.
//!
//! Never: touches a run that may go on, one that somebody works on, or one that a fork stands on whose contents are kept.
//! Invariants here: what is erased is gone from the store before its files are, so that a crash leaves files too many and
//! never too few, which the next prune removes; a rehearsal and the real thing follow the same plan.

mod over;
mod shares;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::doors::blobs::BlobError;
use crate::doors::cache;
use crate::doors::state::{Disk, LeaseError, RunDir, State};
use crate::doors::store::{AtClock, Books, Durability, Need, RunRow, Store, StoreError, transact_at};

use self::over::{Candidates, Known, item_of, may_go_on};
use self::shares::Shares;
use super::recovery::{blocking, close_dead_runs};
use super::serial;

/// Runs that are erased in one transaction. Each holds descriptors meanwhile.
const BATCH: usize = 32;

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
    close_dead_runs(store, state).await?;
    let mut plan = Plan::of_now(store, state, retention).await?;
    let mut pruned = Pruned { before_bytes: plan.before_bytes, ..Pruned::default() };
    loop {
        let went = plan.carry_out(store, state).await?;
        // What a plan expects of the store's pages is an estimate: a look at what came of it makes sure.
        plan = Plan::of_now(store, state, retention).await?;
        pruned.after_bytes = plan.before_bytes;
        pruned.unfinished = plan.unfinished;
        pruned.compiled += went.compiled;
        let is_all = plan.is_empty() || (went.runs.is_empty() && went.leftovers.is_empty() && went.compiled == 0);
        pruned.runs.extend(went.runs);
        pruned.leftovers.extend(went.leftovers);
        if is_all {
            return Ok(pruned);
        }
    }
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

    fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.leftovers.is_empty() && self.compiled.is_empty()
    }

    fn told(self) -> Pruned {
        let Self { runs, leftovers, compiled, unfinished, before_bytes, after_bytes } = self;
        Pruned { runs, leftovers, compiled: compiled.len(), unfinished, before_bytes, after_bytes }
    }

    /// Does it. Returns what went: some of it may be in use, or needed, by now.
    async fn carry_out(&self, store: &Arc<dyn Store>, state: &State) -> Result<Pruned, PruneError> {
        let mut went =
            Pruned { leftovers: remove_leftovers(store, state, &self.leftovers).await?, ..Pruned::default() };
        let dir = state.cache().map_err(PruneError::Compiled)?;
        for name in &self.compiled {
            cache::remove(&dir, name).map_err(PruneError::Compiled)?;
            went.compiled += 1;
        }
        for batch in self.runs.chunks(BATCH) {
            went.runs.extend(erase(store, state, batch).await?);
        }
        sweep(store, state).await?;
        shrink(store).await?;
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

async fn remove_leftovers(store: &Arc<dyn Store>, state: &State, names: &[String]) -> Result<Vec<String>, PruneError> {
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

/// Erases runs, and removes their files. Returns those of them that nobody works on, and that are over by now too.
async fn erase(store: &Arc<dyn Store>, state: &State, serials: &[String]) -> Result<Vec<String>, PruneError> {
    let (books, home, serials) = (Arc::clone(store), state.clone(), serials.to_vec());
    let taken = tokio::task::spawn_blocking(move || {
        let mut taken: Vec<(RunRow, Option<RunDir>)> = Vec::new();
        for name in serials {
            let dir = match home.reopen_run(&name) {
                Ok(dir) => Some(dir),
                // An imported run may have none.
                Err(LeaseError::Run { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
                Err(_) => continue,
            };
            taken.extend(books.run(&name)?.map(|run| (run, dir)));
        }
        Ok::<_, StoreError>(taken)
    });
    let taken = taken.await.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string())))?;
    let rows: Vec<RunRow> = taken.iter().map(|(run, _)| run.clone()).collect();
    let needs = rows.iter().map(|run| Need::Item(item_of(run))).collect();
    let erase = move |books: &mut Books<'_>| {
        for run in &rows {
            // Since it was looked at, an operator may have let its item be tried again. A child's item is its caller's.
            if run.caller.is_some() || !may_go_on(run, &books.item(&item_of(run))) {
                books.erase(&run.serial.as_str().into());
            }
        }
    };
    transact_at(&**store, needs, Durability::Durable, AtClock::Any, erase).await?;
    let (books, home) = (Arc::clone(store), state.clone());
    let removed = tokio::task::spawn_blocking(move || {
        let mut erased = Vec::new();
        for (RunRow { serial, .. }, dir) in taken {
            if !books.run(&serial)?.is_some_and(|run| run.erased) {
                continue;
            }
            if let Some(dir) = dir {
                home.remove_run(&serial, &dir).map_err(files_of(&serial))?;
            }
            erased.push(serial);
        }
        Ok(erased)
    });
    removed.await.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string()).into()))
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
            return Ok(());
        }
        before = free;
        transact_at(&**store, vec![], Durability::Durable, AtClock::Any, |books| books.shrink()).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            by_itself: false,
            parent: None,
            caller: None,
            imported: false,
            erased: false,
            bytes: 10,
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
        let known = Known { runs, over };
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
