//! Runs whose process died: reads one from its journal, and closes it as `lost`.
//!
//! Never: touches a run that a process still has. Invariant here: a run that is closed here has the end that its own journal
//! says, and `lost` only if it says none.

use std::sync::Arc;

use crate::doors::chain::{Head, Key, Sealer};
use crate::doors::state::State;
use crate::doors::store::{AtClock, Books, Durability, Need, Store, StoreError, transact_at};
use crate::rules::andon::{Category, Pull, Pulled};
use crate::rules::effect::Body;
use crate::rules::facts::Facts;
use crate::rules::item::State as ItemState;
use crate::rules::ledger::ScopeId;
use crate::rules::record::{LedgerRecord, Record};
use crate::rules::spec::{OnLost, RunSpec};
use crate::rules::verdict::{Stop, Verdict};

use super::admission::Scopes;
use super::launch::{VERDICT, VerdictFile, blank_record};
use super::line::{self, Place};
use super::past::Past;
use super::recovery::blocking;

/// A run that has no end and no process.
pub(super) struct Dead {
    serial: Arc<str>,
    spec: RunSpec,
    scopes: Scopes,
    key: Key,
    sealer: Sealer,
    /// What its journal says of it.
    record: Record,
    /// What stopped it, if something did before its process was gone.
    stop: Option<Stop>,
}

impl Dead {
    /// The run of this serial. `None`: it has an end, or its journal cannot be read. Blocking.
    pub(super) fn read(store: &Arc<dyn Store>, serial: &str) -> Option<Self> {
        let past = Past::open(store, serial).ok()?;
        // One that was applying is ended in its directory.
        if past.record().is_some() || past.origin.caller.is_some() || past.is_applying() {
            return None;
        }
        let mut record = blank_record(&past.job.spec, serial);
        record.item.clone_from(&past.origin.item);
        (record.attempt, record.component) = (past.origin.attempt, Some(past.origin.component));
        (record.marks, record.resumptions) = (past.marks(), past.resumptions());
        let mut stop = None;
        for entry in past.told() {
            match (&entry.facts, entry.entry().ok().flatten().map(|entry| entry.body)) {
                (Facts::Ended { .. }, Some(Body::Ended { changed, .. })) => record.changes = changed,
                (Facts::Checked { .. }, Some(Body::Checked { result })) => record.gates.push(result),
                (Facts::Stopped, Some(Body::Stopped { stop: by })) => stop = Some(by),
                _ => {}
            }
        }
        Some(Self {
            serial: serial.into(),
            scopes: Scopes::of(&past.job.spec, &past.origin.item, serial),
            key: past.key,
            sealer: Sealer::after(past.key, past.head, &past.pieces),
            spec: past.job.spec,
            record,
            stop,
        })
    }

    /// What closing it needs.
    pub(super) fn needs(&self) -> Vec<Need> {
        let Scopes { line, item, attempt, .. } = self.scopes.clone();
        vec![Need::Tree(attempt), Need::Item(item), Need::Line(line)]
    }

    /// How it ended: as its journal says, or it is lost.
    pub(super) fn verdict(&self) -> Verdict {
        self.stop.as_ref().map_or(Verdict::Lost, Stop::verdict)
    }

    /// Its serial, if nothing says how it ended.
    pub(super) fn lost(&self) -> Option<String> {
        self.stop.is_none().then(|| self.serial.to_string())
    }

    /// Whether its job wants its line pulled when it is lost.
    pub(super) fn wants_pull(&self) -> bool {
        self.spec.on_lost == OnLost::Pull && self.stop.is_none()
    }

    /// Writes its end into its journal, and closes its scope.
    pub(super) fn close(mut self, books: &mut Books<'_>, verdict: &Verdict) -> Closed {
        books.ledger.close(&self.scopes.attempt, books.now_ms);
        let totals = |scope| books.ledger.totals(scope);
        self.record.ledger = LedgerRecord { item: totals(&self.scopes.item), attempt: totals(&self.scopes.attempt) };
        self.record.judge(verdict);
        let sealed = self.sealer.seal(books.now_ms, Body::Closed { record: Box::new(self.record.clone()) });
        books.append(&self.serial, self.key, sealed);
        Closed { record: self.record, head: self.sealer.head() }
    }

    /// Pulls its line and closes it, if its job asks for that when it is lost.
    fn pull(self, books: &mut Books<'_>) -> (Pulled, Closed) {
        let (line, item) = (self.scopes.line.clone(), self.scopes.item.clone());
        let mut record = books.item(&item);
        if record.open.as_deref() == Some(&*self.serial) && record.state == ItemState::Running {
            record.lost(&self.serial, books.now_ms);
            books.remember(&item, record);
        }
        let reason = format!("the process of run {} is gone: [andon] on-lost = \"pull\"", self.serial);
        let place = Place::of_run(&line, &self.serial, item.name());
        let pulled = line::pull(books, place, Pull::by_host(Category::RunLost, reason));
        (pulled, self.close(books, &Verdict::Lost))
    }
}

/// A run that was closed by whoever found it.
pub(super) struct Closed {
    pub(super) record: Record,
    /// Where its journal ends.
    pub(super) head: Option<Head>,
}

impl Closed {
    /// Writes its `verdict.json`. Blocking.
    pub(super) fn write(&self, state: &State) {
        let written = state.reopen_run(&self.record.serial).map_err(|error| super::admission::chain(&error));
        let written = written.and_then(|dir| {
            let file = VerdictFile { record: &self.record, journal: self.head };
            dir.write(VERDICT, &file).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            tracing::warn!(run = self.record.serial, "{VERDICT} could not be written: {error}");
        }
    }
}

/// Closes the runs among these dead attempts whose jobs want their line pulled for it.
///
/// # Errors
/// [`StoreError`]: they stay as they are.
pub(super) async fn pull_for_lost(
    store: &Arc<dyn Store>,
    state: &State,
    dead: &[ScopeId],
) -> Result<Vec<Pulled>, StoreError> {
    let mut all = Vec::new();
    for attempt in dead {
        let (books, host, serial) = (Arc::clone(store), state.clone(), attempt.name().to_owned());
        let found = blocking(move || {
            let wanted = Dead::read(&books, &serial).filter(Dead::wants_pull);
            // As long as it is taken nobody lets it go on.
            Ok(wanted.and_then(|dead| Some((host.reopen_run(&serial).ok()?, dead))))
        });
        let Some((taken, dead)) = found.await? else { continue };
        let needs = dead.needs();
        let (pulled, closed) =
            transact_at(&**store, needs, Durability::Durable, AtClock::Any, move |books| dead.pull(books)).await?;
        drop(taken);
        let host = state.clone();
        blocking(move || {
            closed.write(&host);
            Ok(())
        })
        .await?;
        all.push(pulled);
    }
    Ok(all)
}

/// Closes a run of this process that has no end, whatever kept it from one. `None`: it has no journal, or an end.
///
/// # Errors
/// [`StoreError`]: it stays open, and is lost when this process is gone.
pub(super) async fn close(
    store: &Arc<dyn Store>,
    serial: &str,
    verdict: &Verdict,
) -> Result<Option<Closed>, StoreError> {
    let (books, name) = (Arc::clone(store), serial.to_owned());
    let Some(dead) = blocking(move || Ok(Dead::read(&books, &name))).await? else { return Ok(None) };
    let (needs, verdict) = (dead.needs(), verdict.clone());
    let closed = transact_at(&**store, needs, Durability::Durable, AtClock::Any, move |books| {
        let item = dead.scopes.item.clone();
        let mut record = books.item(&item);
        if record.open.as_deref() == Some(&*dead.serial) && record.state == ItemState::Running {
            record.lost(&dead.serial, books.now_ms);
            books.remember(&item, record);
        }
        dead.close(books, &verdict)
    });
    let error = match closed.await {
        Ok(closed) => return Ok(Some(closed)),
        Err(error) => error,
    };
    // Perhaps it was kept, and the store said that it was not.
    let (books, name) = (Arc::clone(store), serial.to_owned());
    let past = blocking(move || Ok(Past::open(&books, &name).ok())).await?;
    let kept = past.and_then(|past| Some(Closed { record: past.record()?, head: Some(past.head) }));
    kept.map_or(Err(error), |closed| Ok(Some(closed)))
}
