//! From a job to a run that may begin: the item is leased, components are compiled, trees are copied, the attempt is
//! counted, the journal is opened.
//!
//! Never: runs anything of the worker. Invariants here: an attempt is counted durably before it starts; what an earlier
//! run left open is booked first.

use std::sync::Arc;

use cap_std::fs::Dir;
use tokio::sync::mpsc;

use crate::doors::apply;
use crate::doors::state::{ItemLease, RunDir};
use crate::doors::store::{Durability, FileStore};
use crate::doors::tree::{self, Manifest};
use crate::doors::workspace;
use crate::rules::effect::{Body, Entry, FORMAT, Opening};
use crate::rules::item::ItemRecord;
use crate::rules::record::Record;
use crate::rules::verdict::Verdict;

use super::cord::Cord;
use super::journal::Journal;
use super::runner::{Job, Runner};
use super::sandbox::{ENGINE_NAME, Prepared, World};
use super::senses::VirtualClock;

/// A run that may begin: everything is opened, counted and copied.
pub(super) struct Admitted {
    pub(super) job: Job,
    pub(super) serial: String,
    pub(super) run_dir: RunDir,
    pub(super) lease: ItemLease,
    pub(super) item: ItemRecord,
    pub(super) prepared: Prepared,
    pub(super) checks: Vec<Option<Prepared>>,
    pub(super) trees: Option<Trees>,
    pub(super) context: Option<Dir>,
    pub(super) journal: Arc<Journal>,
    pub(super) cord: Cord,
    pub(super) time: Arc<VirtualClock>,
    pub(super) start_ms: u64,
    pub(super) seed: u64,
}

pub(super) struct Trees {
    /// The private copy.
    pub(super) work: Arc<Dir>,
    pub(super) base: Arc<Manifest>,
}

fn not_admitted(why: impl ToString) -> Verdict {
    Verdict::NotAdmitted { why: vec![why.to_string()] }
}

pub(super) fn faulted(why: impl ToString) -> Verdict {
    Verdict::Fault { why: why.to_string() }
}

/// An error with all its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Opens, counts and copies everything that the run needs. Nothing of the worker runs.
pub(super) async fn admit(
    runner: &Arc<Runner>,
    job: Job,
    serial: &str,
    run_dir: &RunDir,
    cord: Cord,
    watcher: mpsc::UnboundedSender<Entry>,
    record: &mut Record,
) -> Result<Admitted, Verdict> {
    let host = Arc::clone(runner);
    let (serial, run_dir) = (serial.to_owned(), run_dir.clone());
    let item_name = record.item.clone();
    let admitted = tokio::task::spawn_blocking(move || {
        let spec = &job.spec;
        let (lease, mut item) =
            host.state.lease(&spec.line, &item_name).map_err(|error| not_admitted(chain(&error)))?;
        let prepare = |bytes: &[u8], world, what: &str| {
            host.sandbox.prepare(bytes, world).map_err(|error| not_admitted(format!("{what}: {}", chain(&error))))
        };
        let prepared = prepare(&job.component, World::Worker, "worker")?;
        let checks = job
            .checks
            .iter()
            .map(|check| {
                let what = format!("check \"{}\"", check.check.name);
                check.component.as_deref().map(|bytes| prepare(bytes, World::Verifier, &what)).transpose()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let trees = copies(&host, &job, &run_dir)?;
        let context = context_copy(&host, &job, &run_dir)?;
        let attempt = item
            .start_attempt(spec.max_attempts)
            .map_err(|spent| Verdict::AttemptsExhausted { attempts: spent.attempts, max: spent.max })?;
        // Counted before anything runs: a crash in the middle is an attempt too.
        if let Some(crashed) = item.open.replace(serial.clone()) {
            let mut limits = spec.budget.item.clone();
            limits.extend(&spec.budget.attempt);
            item.recover(host.state.entries(&crashed).as_deref(), &limits);
        }
        lease.remember(&item).map_err(|error| faulted(format!("the item's memory could not be written: {error}")))?;
        let store = FileStore::create(run_dir.dir(), "journal.jsonl")
            .map_err(|error| faulted(format!("the journal could not be made: {error}")))?;
        let start_ms = host.clock.unix_ms();
        let time = Arc::new(VirtualClock::starting_at_ms(start_ms));
        let journal = Journal::new(Arc::new(store), host.clock, Arc::clone(&time), Some(watcher));
        let seed = match spec.seed {
            Some(seed) => seed,
            None => fresh_seed()?,
        };
        Ok::<_, Verdict>((
            attempt,
            Admitted {
                serial,
                run_dir,
                lease,
                item,
                prepared,
                checks,
                trees,
                context,
                journal: Arc::new(journal),
                cord,
                time,
                start_ms,
                seed,
                job,
            },
        ))
    })
    .await
    .map_err(|error| faulted(format!("the admission panicked: {error}")))?;
    let (attempt, admitted) = admitted?;
    record.attempt = attempt;
    record.component = Some(admitted.prepared.digest);
    let spec = &admitted.job.spec;
    let opening = Opening {
        format: FORMAT,
        serial: admitted.serial.clone(),
        line: spec.line.clone(),
        item: record.item.clone(),
        attempt,
        component: admitted.prepared.digest,
        engine: ENGINE_NAME.to_owned(),
        seed: admitted.seed,
        grants: spec.grants.clone(),
        caps: spec.caps,
        base: admitted.trees.as_ref().map(|trees| trees.base.digest(&spec.done.tree)),
    };
    admitted
        .journal
        .append(Body::Opened { opening: Box::new(opening) }, Durability::Durable)
        .await
        .map_err(|error| faulted(error.to_string()))?;
    Ok(admitted)
}

fn fresh_seed() -> Result<u64, Verdict> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| faulted(format!("the machine gives no randomness: {error}")))?;
    // Below 2^63, so that the seed can be written into a job file.
    Ok(u64::from_le_bytes(seed) >> 1)
}

fn copies(runner: &Runner, job: &Job, run_dir: &RunDir) -> Result<Option<Trees>, Verdict> {
    let Some(real) = &job.workspace else { return Ok(None) };
    let unreadable = |error: &dyn std::error::Error| not_admitted(format!("the workspace: {}", chain(error)));
    apply::recover(real).map_err(|error| unreadable(&error))?;
    let work = run_dir.subdir("work").map_err(|error| unreadable(&error))?;
    workspace::copy(real, &work, &runner.bounds, &job.spec.done.ignore).map_err(|error| unreadable(&error))?;
    let base = tree::scan(&work, &runner.bounds, &job.spec.done.ignore).map_err(|error| unreadable(&error))?;
    Ok(Some(Trees { work: Arc::new(work), base: Arc::new(base) }))
}

fn context_copy(runner: &Runner, job: &Job, run_dir: &RunDir) -> Result<Option<Dir>, Verdict> {
    let Some(context) = &job.context else { return Ok(None) };
    let unreadable = |error: &dyn std::error::Error| not_admitted(format!("the context: {}", chain(error)));
    let copy = run_dir.subdir("context").map_err(|error| unreadable(&error))?;
    workspace::copy(context, &copy, &runner.bounds, &[]).map_err(|error| unreadable(&error))?;
    Ok(Some(copy))
}
