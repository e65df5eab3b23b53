//! What is kept of runs that are over: their contents go, by age and by size; their chains stay and still hold.
//!
//! Never: touches a run that is open, or one that somebody works on, or one that a fork stands on whose contents are kept.
//! Invariant here: what is erased is gone from the store before its files are, so that a crash leaves files too many and
//! never too few.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::doors::blobs::BlobError;
use crate::doors::state::{LOCK, State};
use crate::doors::store::{Durability, RunRow, Store, StoreError, transact};
use crate::doors::workspace;

use super::recovery::blocking;

/// What stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Contents of runs that ended before this go. Milliseconds since 1970-01-01T00:00:00Z.
    pub before_ms: Option<u64>,
    /// Contents of the oldest runs go until all together have at most so many bytes.
    pub max_bytes: Option<u64>,
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    /// Runs whose contents were erased, the oldest first.
    pub runs: Vec<String>,
    /// Bytes of contents, trees and components before and after.
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
    #[error("the size of what is kept")]
    Size(#[source] std::io::Error),
}

/// Erases what need not stay.
///
/// # Errors
/// [`PruneError`]: what was erased until then stays erased.
pub(super) async fn prune(store: &Arc<dyn Store>, state: &State, retention: Retention) -> Result<Pruned, PruneError> {
    let mut pruned = Pruned { before_bytes: kept_bytes(store, state).await?, ..Pruned::default() };
    pruned.after_bytes = pruned.before_bytes;
    let mut swept = true;
    let known = runs(store).await?;
    for serial in candidates(&known) {
        let ended_ms = known.iter().find(|run| run.serial == serial).map_or(u64::MAX, |run| run.latest_ms);
        let is_old = retention.before_ms.is_some_and(|before_ms| ended_ms < before_ms);
        let is_too_much = retention.max_bytes.is_some_and(|most| pruned.after_bytes > most);
        if !is_old && !is_too_much {
            continue;
        }
        if erase(store, state, &serial).await? {
            pruned.runs.push(serial);
            swept = false;
            if retention.max_bytes.is_some() {
                sweep(store, state).await?;
                swept = true;
                pruned.after_bytes = kept_bytes(store, state).await?;
            }
        }
    }
    if !swept {
        sweep(store, state).await?;
    }
    pruned.after_bytes = kept_bytes(store, state).await?;
    Ok(pruned)
}

/// What a prune would look at, the oldest first: what is over, has contents, and has no fork that needs them.
pub fn candidates(runs: &[RunRow]) -> Vec<String> {
    let mut runs: Vec<&RunRow> = runs.iter().filter(|run| !run.erased).collect();
    // A fork before its parent, so that both can go at once.
    runs.sort_by(|one, other| (one.latest_ms, &one.serial).cmp(&(other.latest_ms, &other.serial)));
    let mut chosen: Vec<String> = Vec::new();
    loop {
        let gone: BTreeSet<&String> = chosen.iter().collect();
        let needed: BTreeSet<&String> =
            runs.iter().filter(|run| !gone.contains(&run.serial)).filter_map(|run| run.parent.as_ref()).collect();
        let is_over = |run: &RunRow| run.verdict.is_some() || run.imported;
        let next = runs.iter().find(|run| is_over(run) && !gone.contains(&run.serial) && !needed.contains(&run.serial));
        match next {
            Some(run) => chosen.push(run.serial.clone()),
            None => return chosen,
        }
    }
}

async fn runs(store: &Arc<dyn Store>) -> Result<Vec<RunRow>, StoreError> {
    let store = Arc::clone(store);
    blocking(move || store.runs()).await
}

async fn kept_bytes(store: &Arc<dyn Store>, state: &State) -> Result<u64, PruneError> {
    let contents: u64 = runs(store).await?.iter().map(|run| run.bytes).sum();
    let blobs = state.blobs().clone();
    let files = tokio::task::spawn_blocking(move || blobs.total_bytes()).await;
    let files = files.map_err(std::io::Error::other).and_then(|bytes| bytes).map_err(PruneError::Size)?;
    Ok(contents + files)
}

/// Erases the contents of one run and its own files. `false`: somebody works on it, or it is open again.
async fn erase(store: &Arc<dyn Store>, state: &State, serial: &str) -> Result<bool, PruneError> {
    // An imported run has a directory only for its evidence.
    let dir = state.run_dir(serial).map_err(|source| PruneError::Files { serial: serial.to_owned(), source })?;
    let taken = match dir {
        None => None,
        Some(_) => match state.reopen_run(serial) {
            Ok(taken) => Some(taken),
            Err(_) => return Ok(false),
        },
    };
    let erased: Arc<str> = serial.into();
    transact(&**store, vec![], Durability::Durable, move |books| books.erase(&erased)).await?;
    let store = Arc::clone(store);
    let name = serial.to_owned();
    let is_erased = blocking(move || Ok(store.runs()?.iter().any(|run| run.serial == name && run.erased))).await?;
    let Some(taken) = taken.filter(|_| is_erased) else { return Ok(is_erased) };
    let removed = tokio::task::spawn_blocking(move || {
        // Everything, whatever a crash has left there; `verdict.json` has the worker's words too.
        for entry in taken.dir().entries()? {
            let entry = entry?;
            match entry.file_name().to_str() {
                Some(name) if name != LOCK && entry.file_type()?.is_dir() => workspace::remove_tree(taken.dir(), name)?,
                Some(name) if name != LOCK => taken.dir().remove_file(name)?,
                Some(_) | None => {}
            }
        }
        Ok(())
    });
    let removed = removed.await.map_err(std::io::Error::other).and_then(|removed| removed);
    removed.map_err(|source| PruneError::Files { serial: serial.to_owned(), source })?;
    Ok(true)
}

/// Removes blobs that no run names any more whose contents are kept.
async fn sweep(store: &Arc<dyn Store>, state: &State) -> Result<(), PruneError> {
    let (store, blobs) = (Arc::clone(store), state.blobs().clone());
    let swept = tokio::task::spawn_blocking(move || {
        // Nobody keeps anything new while what is named is looked up.
        let sweeping = blobs.sweeping()?;
        let named: BTreeSet<_> = store.named()?.into_iter().collect();
        sweeping.sweep(&|address| named.contains(address))?;
        Ok::<_, PruneError>(())
    });
    swept.await.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string()).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(serial: &str, latest_ms: u64) -> RunRow {
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
            parent: None,
            imported: false,
            erased: false,
            bytes: 10,
        }
    }

    #[test]
    fn open_runs_and_parents_of_kept_forks_are_no_candidates() {
        let open = RunRow { verdict: None, ..run("open", 1) };
        let erased = RunRow { erased: true, ..run("erased", 2) };
        let fork = RunRow { parent: Some("old".into()), ..run("fork", 9) };
        let of_open = RunRow { parent: Some("needed".into()), verdict: None, ..run("of-open", 9) };
        let runs = [open, erased, fork, of_open, run("old", 3), run("needed", 4), run("older", 2)];
        assert_eq!(candidates(&runs), ["older", "fork", "old"]);
    }
}
