//! Which runs are over: no resume can continue them, and no question, fork or stopped line needs them.
//!
//! Never: asks whether a process is alive; who erases has to find that out. A run of which it is not certain is not over.

use std::collections::{BTreeSet, HashMap};

use crate::doors::store::{RunRow, Store, StoreError};
use crate::rules::andon::{LineRecord, Pulled};
use crate::rules::item::{ItemRecord, State};
use crate::rules::ledger::ScopeId;

use super::super::past::INTERRUPTED;

/// The line of a run.
pub(super) fn line_of(run: &RunRow) -> ScopeId {
    ScopeId::host().child(&run.tenant).child(&run.line)
}

/// The item that a run is an attempt of.
pub(super) fn item_of(run: &RunRow) -> ScopeId {
    line_of(run).child(&run.item)
}

/// Whether a resume could let the run go on, or a person has to say first what becomes of its item.
pub(super) fn may_go_on(run: &RunRow, item: &ItemRecord) -> bool {
    let has_moved_on = item.attempts != run.attempt || item.open.as_ref().is_some_and(|open| *open != run.serial);
    if run.imported || has_moved_on {
        return false;
    }
    match item.state {
        State::Running | State::Parked | State::Halted => true,
        State::Ready | State::RetryWait => {
            !run.settled || run.verdict.as_deref().is_some_and(|verdict| INTERRUPTED.contains(&verdict))
        }
        State::Accepted | State::Abandoned => false,
    }
}

/// The number of the lock that stops a line, and how often it was pulled.
pub(super) fn lock_of(line: &LineRecord) -> Option<(u64, u64)> {
    line.lock.as_ref().map(|lock| (lock.number, lock.pulls))
}

/// The books, as far as they say which runs are over.
pub(super) struct Known {
    /// All runs, in the order of their serials.
    pub runs: Vec<RunRow>,
    /// Those that are over, whether or not they are erased.
    pub over: BTreeSet<String>,
    /// The lines that are stopped.
    pub stopped: Stopped,
}

/// The locks of lines, and how often each was pulled.
pub(super) type Stopped = HashMap<ScopeId, (u64, u64)>;

impl Known {
    /// Reads them. Blocking.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let runs = store.runs()?;
        let items: HashMap<ScopeId, ItemRecord> = store.items()?.into_iter().collect();
        let locks = store.lines()?.into_iter().filter_map(|(line, record)| Some((line, lock_of(&record)?)));
        let stopped: Stopped = locks.collect();
        // Whoever is to clear a line wants to see why it was stopped.
        let stands = |pulled: &Pulled| stopped.get(&pulled.line).is_some_and(|(number, _)| *number == pulled.lock);
        let stands = store.pulls()?.into_iter().filter(stands);
        let shown: BTreeSet<String> = stands.filter_map(|pulled| pulled.run).collect();
        let over = over(&runs, &items, &shown);
        Ok(Self { runs, over, stopped })
    }

    /// Runs that are kept, and not over.
    pub fn unfinished(&self) -> usize {
        self.runs.iter().filter(|run| !run.erased && !self.over.contains(&run.serial)).count()
    }
}

/// Runs that could be erased, the oldest first, and a fork before its parent.
pub(super) struct Candidates<'a> {
    by_serial: HashMap<&'a str, &'a RunRow>,
    over: &'a BTreeSet<String>,
    /// How many forks that are kept stand on a run.
    forks: HashMap<&'a str, usize>,
    next: BTreeSet<(u64, &'a str)>,
}

impl<'a> Candidates<'a> {
    pub fn of(known: &'a Known) -> Self {
        let kept = known.runs.iter().filter(|run| !run.erased);
        let by_serial: HashMap<&str, &RunRow> = kept.map(|run| (run.serial.as_str(), run)).collect();
        let mut forks: HashMap<&str, usize> = HashMap::new();
        by_serial.values().filter_map(|run| run.parent.as_deref()).for_each(|of| *forks.entry(of).or_default() += 1);
        let mut candidates = Self { by_serial, over: &known.over, forks, next: BTreeSet::new() };
        known.runs.iter().for_each(|run| candidates.consider(&run.serial));
        candidates
    }

    /// The next one, which is not given again.
    pub fn next(&mut self) -> Option<&'a RunRow> {
        let (_, serial) = self.next.pop_first()?;
        self.by_serial.get(serial).copied()
    }

    /// It is to go: what it is a fork of may go too.
    pub fn erased(&mut self, run: &'a RunRow) {
        self.by_serial.remove(run.serial.as_str());
        let Some(parent) = run.parent.as_deref() else { return };
        let Some(forks) = self.forks.get_mut(parent) else { return };
        *forks -= 1;
        if *forks == 0 {
            self.forks.remove(parent);
            self.consider(parent);
        }
    }

    fn consider(&mut self, serial: &'a str) {
        if let Some(run) = self.by_serial.get(serial)
            && self.over.contains(serial)
            && !self.forks.contains_key(serial)
        {
            self.next.insert((run.latest_ms, &run.serial));
        }
    }
}

fn over(runs: &[RunRow], items: &HashMap<ScopeId, ItemRecord>, shown: &BTreeSet<String>) -> BTreeSet<String> {
    let by_serial: HashMap<&str, &RunRow> = runs.iter().map(|run| (run.serial.as_str(), run)).collect();
    let is_over = |run: &&RunRow| {
        let mut chain = vec![*run];
        // A child is a part of its caller: who goes on settles what its children left.
        while let Some(caller) = chain.last().and_then(|run| by_serial.get(run.caller.as_deref()?)) {
            if chain.len() > runs.len() {
                return false;
            }
            chain.push(caller);
        }
        let top = chain.last().unwrap_or(run);
        let goes_on = items.get(&item_of(top)).is_some_and(|item| may_go_on(top, item));
        !goes_on && !chain.iter().any(|run| shown.contains(&run.serial))
    };
    runs.iter().filter(is_over).map(|run| run.serial.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::retention::tests::run;

    fn item(state: State) -> ItemRecord {
        ItemRecord { state, attempts: 1, ..ItemRecord::default() }
    }

    #[test]
    fn a_run_is_over_when_its_item_has_moved_on_or_is_at_its_end_or_its_worker_ended() {
        let interrupted = run("run", 1);
        let settled = RunRow { settled: true, ..interrupted.clone() };
        for state in State::ALL {
            let waits = matches!(state, State::Running | State::Parked | State::Halted);
            let ended = matches!(state, State::Accepted | State::Abandoned);
            assert_eq!(may_go_on(&settled, &item(state)), waits, "{state:?}");
            assert_eq!(may_go_on(&interrupted, &item(state)), !ended, "{state:?}");
            let unapplied = RunRow { verdict: Some("rejected".into()), ..interrupted.clone() };
            assert_eq!(may_go_on(&unapplied, &item(state)), !ended, "{state:?}");
            let faulted = RunRow { verdict: Some("fault".into()), ..settled.clone() };
            assert_eq!(may_go_on(&faulted, &item(state)), !ended, "{state:?}");
            assert!(!may_go_on(&RunRow { imported: true, ..interrupted.clone() }, &item(state)));
            assert!(!may_go_on(&interrupted, &ItemRecord { attempts: 2, ..item(state) }));
            assert!(!may_go_on(&interrupted, &ItemRecord { open: Some("other".into()), ..item(state) }));
            let own = ItemRecord { open: Some("run".into()), ..item(state) };
            assert_eq!(may_go_on(&interrupted, &own), !ended, "{state:?}");
        }
    }

    #[test]
    fn a_child_is_over_when_its_caller_is_and_what_a_stopped_line_names_is_not() {
        let caller = RunRow { item: "parked".into(), ..run("caller", 1) };
        let child =
            |serial: &str, caller: &str| RunRow { caller: Some(caller.into()), settled: true, ..run(serial, 2) };
        let runs = [caller, child("child", "caller"), child("below", "child"), run("done", 3), child("its", "done")];
        let items = [("parked", State::Parked), ("i", State::Accepted)];
        let items = items.map(|(name, state)| (item_of(&RunRow { item: name.into(), ..run("", 0) }), item(state)));
        let found = |shown: &[&str]| {
            let shown = shown.iter().map(|&serial| serial.to_owned()).collect();
            over(&runs, &items.iter().cloned().collect(), &shown).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(found(&[]), ["done", "its"]);
        assert_eq!(found(&["done"]), Vec::<String>::new());
    }
}
