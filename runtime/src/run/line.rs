//! A run's line in the books: whether it is stopped, and stopping it.
//!
//! Never: clears a lock (only an operator's desk does). Invariants here: the lock is looked at in the transaction that lets
//! something begin, and it is kept in the one in which the pull is written down, so that nothing begins after a pull that
//! anybody knows of.

use std::sync::Arc;

use crate::doors::store::{AtClock, Books, Durability, Need, Store, StoreError, transact_at};
use crate::rules::andon::{Category, Lock, Pull, Pulled};
use crate::rules::item::Judged;
use crate::rules::ledger::ScopeId;
use crate::rules::verdict::Verdict;

use super::past::PastError;
use super::recovery::blocking;

/// Pulls of a line by one run.
#[derive(Debug, Default)]
pub struct Pulls {
    /// Kept already.
    pub kept: Vec<Pulled>,
    /// To be kept when the run is closed.
    pub due: Vec<Pull>,
    /// What its checks said of what, for the item's next attempts.
    pub judged: Vec<Judged>,
}

/// Who pulls, and in what.
#[derive(Clone, Debug)]
pub struct Place {
    pub line: ScopeId,
    pub run: Option<String>,
    pub item: Option<String>,
    pub person: Option<String>,
}

impl Place {
    /// The run of an item.
    pub fn of_run(line: &ScopeId, run: &str, item: &str) -> Self {
        Self { line: line.clone(), run: Some(run.to_owned()), item: Some(item.to_owned()), person: None }
    }

    /// A person at a desk.
    pub fn of_person(line: &ScopeId, person: &str) -> Self {
        Self { line: line.clone(), run: None, item: None, person: Some(person.to_owned()) }
    }
}

/// Stops a line, or joins the lock that it has. The work needs the line.
pub fn pull(books: &mut Books<'_>, place: Place, pull: Pull) -> Pulled {
    let Place { line, run, item, person } = place;
    let mut record = books.line(&line);
    let lock = record.pull(&pull, books.now_ms);
    books.remember_line(&line, record);
    let pulled = Pulled { at_ms: books.now_ms, line, lock, run, item, person, pull };
    books.keep_pull(pulled.clone());
    pulled
}

/// Lets nothing begin on a line that is stopped. The work needs the line.
///
/// # Errors
/// [`Verdict::NotAdmitted`].
pub fn is_clear(books: &Books<'_>, line: &ScopeId) -> Result<(), Verdict> {
    match books.line(line).lock {
        None => Ok(()),
        Some(Lock { number, first, pulls, .. }) => Err(Verdict::NotAdmitted {
            why: vec![format!(
                "line {} is stopped, pulled {pulls} times, first ({}): {}; a person clears it: jidoka andon clear \
                 {}/{number} --pulls {pulls} --cause TEXT (--policy-change TEXT | --no-policy-change)",
                line.path(),
                first.category.name(),
                first.reason,
                line.path()
            )],
        }),
    }
}

/// Stops the line of a run of this host's whose journal is not what was written; then returns what was to be returned.
///
/// # Errors
/// Those of `past`.
pub(super) async fn stop_for_flaw<T>(
    store: &Arc<dyn Store>,
    serial: &str,
    past: Result<T, PastError>,
) -> Result<T, PastError> {
    let Err(PastError::Flawed { flaw, .. }) = &past else { return past };
    let (books, run) = (Arc::clone(store), serial.to_owned());
    let row = blocking(move || books.run(&run)).await;
    if let Ok(Some(row)) = row
        && !row.imported
    {
        let line = ScopeId::host().child(&row.tenant).child(&row.line);
        let pull = Pull::by_host(Category::JournalCorrupt, format!("the journal of run {serial}: {flaw}"));
        if let Err(error) = stop(store, Place::of_run(&line, serial, &row.item), pull).await {
            tracing::error!(%error, "the line could not be stopped for a journal that is not what was written");
        }
    }
    past
}

/// Stops a line from outside of any run's journal.
///
/// # Errors
/// [`StoreError`]: it is not stopped.
pub async fn stop(store: &Arc<dyn Store>, place: Place, why: Pull) -> Result<Pulled, StoreError> {
    let needs = vec![Need::Line(place.line.clone())];
    // Whatever the clock shows: a wrong time is no reason not to stop.
    let pulled = move |books: &mut Books<'_>| pull(books, place, why);
    transact_at(&**store, needs, Durability::Durable, AtClock::Any, pulled).await
}
