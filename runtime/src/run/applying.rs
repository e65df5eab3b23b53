//! What an apply is in the life of runs: those that a crash interrupted are ended before anything else begins in their
//! directory, and a run whose changes are all made is accepted, whether or not it could still say so itself.
//!
//! Never: applies for a run that works. Invariants here: the staging of an apply goes only when the verdict of its run is
//! written down, so that no crash lets its item be worked on again; doing it twice is as good as once.

use std::sync::Arc;

use crate::doors::apply::{self, ApplyError, Recovered};
use crate::doors::chain::Sealer;
use crate::doors::state::{LeaseError, RunDir};
use crate::doors::store::{Durability, Need};
use crate::rules::andon::Cause;
use crate::rules::effect::Body;
use crate::rules::record::{LedgerRecord, Record};
use crate::rules::spec::FileGrant;
use crate::rules::verdict::Verdict;

use super::admission::{Scopes, chain, faulted, not_admitted};
use super::journal::{Beginning, Journal};
use super::launch::{VerdictFile, blank_record};
use super::meter::Meter;
use super::past::{Past, PastError};
use super::recovery::recalled;
use super::runner::{Apply, Job, Runner};
use super::senses::VirtualClock;
use super::supervisor::end_item;
use super::tape::Tape;

/// The file in a run's directory with the record that it has once its changes are applied.
pub(super) const APPLYING: &str = "applying.json";

/// Ends what was interrupted in the real directory of a job, and sees that the job could be applied there.
///
/// # Errors
/// [`Verdict::NotAdmitted`]: nothing may begin there.
pub(super) async fn make_ready(runner: &Arc<Runner>, job: &Job, apply: Apply) -> Result<(), Verdict> {
    let Some(real) = &job.workspace else { return Ok(()) };
    let again = || real.try_clone().map_err(|error| not_admitted(format!("the workspace: {error}")));
    let (dir, spec) = (again()?, job.spec.clone());
    let recovered = tokio::task::spawn_blocking(move || {
        let recovered = apply::recover(&dir)?;
        if apply == Apply::Accepted && spec.grants.files == FileGrant::ReadWrite {
            apply::may_begin(&dir, &spec.done.tree)?;
        }
        Ok::<_, ApplyError>(recovered)
    });
    let recovered = recovered.await.map_err(|error| faulted(format!("the admission panicked: {error}")))?;
    let recovered = recovered.map_err(|error| not_admitted(format!("the workspace: {}", chain(&error))))?;
    for one in recovered {
        match one {
            Recovered::Discarded { .. } => {}
            Recovered::TakenBack { serial, why } => {
                tracing::warn!(serial, why, "an apply that was interrupted is taken back: its run is not accepted");
            }
            Recovered::Applied { serial } => {
                if accept(runner, &serial).await? {
                    clear(again()?, serial).await;
                }
            }
        }
    }
    Ok(())
}

/// Removes what an apply left, now that its run's verdict is written down.
pub(super) async fn clear(real: cap_std::fs::Dir, serial: String) {
    let run = serial.clone();
    match tokio::task::spawn_blocking(move || apply::clear(&real, &run)).await {
        Ok(Ok(kept)) if kept.is_empty() => {}
        Ok(Ok(kept)) => tracing::warn!(
            serial,
            kept = kept.join(", "),
            "somebody wrote into what was replaced or removed: it is kept in the workspace; look at it, then remove it"
        ),
        Ok(Err(error)) => {
            tracing::warn!(
                serial,
                error = chain(&error),
                "what an apply left goes before the next run in its directory"
            );
        }
        Err(error) => tracing::warn!(serial, %error, "what an apply left goes before the next run in its directory"),
    }
}

/// Accepts a run whose changes are made and who could not say so. Returns whether its staging may go: not if somebody still
/// works on the run, nor if it is another host's, which has yet to find what its run came to.
async fn accept(runner: &Arc<Runner>, serial: &str) -> Result<bool, Verdict> {
    match runner.past(serial).await {
        Ok(past) if past.is_applying() => {}
        // It said so itself, or was never applied.
        Ok(_) | Err(PastError::Erased { .. }) => return Ok(true),
        Err(PastError::NoRun { .. }) => return Ok(false),
        Err(error) => return Err(not_admitted(chain(&error))),
    }
    let (state, run) = (runner.state.clone(), serial.to_owned());
    let taken = tokio::task::spawn_blocking(move || state.reopen_run(&run)).await.map_err(faulted)?;
    let run_dir = match taken {
        Ok(run_dir) => run_dir,
        Err(LeaseError::Alive { .. }) => return Ok(false),
        Err(error) => return Err(not_admitted(chain(&error))),
    };
    // As it is now that nobody else works on it.
    let past = runner.past(serial).await.map_err(|error| not_admitted(chain(&error)))?;
    if !past.is_applying() {
        return Ok(true);
    }
    let (state, origin) = (runner.state.clone(), past.origin.clone());
    let lease = tokio::task::spawn_blocking(move || state.lease(&origin.tenant, &origin.line, &origin.item));
    let _lease = match lease.await.map_err(faulted)? {
        Ok(lease) => lease,
        Err(LeaseError::Taken { .. }) => return Ok(false),
        Err(error) => return Err(not_admitted(chain(&error))),
    };
    let record = close(runner, past, &run_dir).await?;
    tracing::warn!(
        serial,
        item = record.item,
        "the apply of an earlier run was interrupted: all its changes are made now, and the run is accepted"
    );
    Ok(true)
}

/// Writes down that a run is accepted: in its journal, the ledger, its item, and `verdict.json`.
async fn close(runner: &Arc<Runner>, past: Past, run_dir: &RunDir) -> Result<Record, Verdict> {
    let spec = past.job.spec.clone();
    let kept = run_dir.read(APPLYING).map_err(|error| not_admitted(format!("run {}: {error}", past.serial)))?;
    let mut record: Record = kept.unwrap_or_else(|| Record {
        item: past.origin.item.clone(),
        attempt: past.origin.attempt,
        component: Some(past.origin.component),
        ..blank_record(&spec, &past.serial)
    });
    record.applied = true;
    let scopes = Scopes::of(&spec, &past.origin.item, &past.serial);
    let time = Arc::new(VirtualClock::starting_at_ms(past.origin.start_ms));
    time.move_to_ms(past.first_ms());
    let meter = Meter::id_after(&past.serial, past.resumptions());
    let (worked_ms, attempt, serial) = (past.worked_ms(), past.origin.attempt, past.serial.clone());
    let beginning = Beginning {
        sealer: Sealer::after(past.key, past.head, &past.pieces),
        tape: Tape::blank(),
        resumption: past.resumptions(),
    };
    let journal = Journal::new(Arc::clone(&runner.store), &serial, runner.clock, time, None, beginning);
    let own = [Need::Tree(scopes.attempt.clone()), Need::Item(scopes.item.clone()), Need::Line(scopes.line.clone())];
    let needs = own.into_iter().chain([Need::Call(meter.clone())]).collect();
    let entries = past.entries;
    let closed = journal.step(needs, Durability::Durable, move |step| {
        let now_ms = step.books.now_ms;
        step.books.ledger.close(&scopes.attempt, now_ms);
        Meter::take_over(step.books.ledger, &meter, worked_ms, now_ms);
        let mut item = step.books.item(&scopes.item);
        // Unless it has had another attempt since, or an operator gave it up.
        if item.resume(&serial, attempt, now_ms).is_ok() {
            if let Ok((_, memory, _)) = recalled(&entries, item.memory.clone()) {
                item.recover(memory);
            }
            item.seen.extend(&record.marks);
            let pull = end_item(
                step.books,
                &scopes,
                item,
                (&Verdict::Accepted, Cause::Items),
                !record.marks.is_empty(),
                &spec,
            );
            debug_assert!(pull.is_none(), "an accepted run stops no line");
        }
        let totals = |scope| step.books.ledger.totals(scope);
        record.ledger = LedgerRecord { item: totals(&scopes.item), attempt: totals(&scopes.attempt) };
        record.judge(&Verdict::Accepted);
        step.write(Body::Closed { record: Box::new(record.clone()) });
        record
    });
    let record = closed.await.map_err(|end| not_admitted(format!("an apply could not be accepted: {end}")))?;
    let written = run_dir.write("verdict.json", &VerdictFile { record: &record, journal: journal.head() });
    if let Err(error) = written {
        tracing::warn!(serial = record.serial, %error, "verdict.json could not be written");
    }
    Ok(record)
}
