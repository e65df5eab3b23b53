//! The children of a run: other jobs that its worker starts, each a run of its own with its own journal, below its caller.
//!
//! Never: judges one, spends. Invariants here: a child begins with what was carved out for it and no more; whoever gives up
//! waiting for a child stops it; none is left when its caller is judged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cap_std::fs::Dir;
use tokio::sync::mpsc;

use crate::doors::evidence::address;
use crate::rules::child::Errand;
use crate::rules::effect::{Caller, Refusal};
use crate::rules::left_out::LeftOut;
use crate::rules::line::Line;
use crate::rules::policy::{self, MAX_CHILD_DEPTH, MAX_CHILDREN};
use crate::rules::record::Record;
use crate::rules::spec::RunSpec;
use crate::rules::tool::Reach;
use crate::rules::verdict::Stop;

use super::RunEnd;
use super::admission::Scopes;
use super::cord::Cord;
use super::line::Pulls;
use super::lock;
use super::runner::{Account, Job, Runner};

/// What a worker needs to have children.
pub struct Children {
    runner: Arc<Runner>,
    /// The caller's job.
    spec: RunSpec,
    /// The jobs of its children, by its names for them. A replay has none: what they came to is told.
    jobs: Arc<BTreeMap<String, Job>>,
    scopes: Scopes,
    seed: u64,
    lineage: Lineage,
    /// Whose account it all is on.
    account: Account,
    /// What is left out of the caller's files, in which its children work.
    left_out: LeftOut,
    pulls: Arc<Mutex<Pulls>>,
    /// Everybody who is alive has one of them.
    alive: Mutex<Option<mpsc::Sender<()>>>,
    gone: tokio::sync::Mutex<mpsc::Receiver<()>>,
}

/// Where a run stands among its callers.
#[derive(Clone, Default)]
pub(super) struct Lineage {
    /// How many callers are above it.
    pub(super) depth: usize,
    /// How many children the run at the top has had, theirs included.
    had: Arc<AtomicU64>,
}

/// What a child is begun with, beside its job.
#[derive(Clone)]
pub(super) struct Birth {
    pub(super) scopes: Scopes,
    pub(super) caller: Caller,
    pub(super) lineage: Lineage,
    /// Where its caller keeps the pulls of its line.
    pub(super) pulls: Arc<Mutex<Pulls>>,
}

/// A child that was carved out for.
pub(super) struct Carved<'a> {
    pub(super) job: &'a Job,
    pub(super) scopes: Scopes,
}

/// Stops a child whose caller does not wait for it any more.
struct Awaited(Cord);

impl Drop for Awaited {
    fn drop(&mut self) {
        // Of one that has ended nobody hears.
        self.0.pull(Stop::Cancelled);
    }
}

impl Children {
    pub(super) fn new(
        runner: &Arc<Runner>,
        job: &Job,
        scopes: &Scopes,
        seed: u64,
        lineage: &Lineage,
        pulls: &Arc<Mutex<Pulls>>,
        left_out: LeftOut,
    ) -> Self {
        let (alive, gone) = mpsc::channel(1);
        Self {
            runner: Arc::clone(runner),
            spec: job.spec.clone(),
            jobs: Arc::clone(&job.children),
            scopes: scopes.clone(),
            seed,
            lineage: lineage.clone(),
            account: job.account.clone(),
            left_out,
            pulls: Arc::clone(pulls),
            alive: Mutex::new(Some(alive)),
            gone: tokio::sync::Mutex::new(gone),
        }
    }

    /// How far a child reaches. One that is not there is said to reach farthest.
    pub(super) fn reach(&self, name: &str) -> Reach {
        self.spec.child(name).map_or(Reach::Outside, RunSpec::reach)
    }

    /// Counts one more child of the run at the top.
    ///
    /// # Errors
    /// A [`Refusal`]: it has had as many as a run may have, or the caller is as deep below it as a child may be.
    pub(super) fn count(&self) -> Result<(), Refusal> {
        policy::at_most("children within each other", self.lineage.depth as u64 + 1, MAX_CHILD_DEPTH as u64)?;
        let one_more = |had: u64| (had < MAX_CHILDREN).then_some(had + 1);
        let counted = self.lineage.had.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        counted.map(drop).or_else(|had| policy::at_most("children, theirs included", had + 1, MAX_CHILDREN))
    }

    /// Counts one of which the journal tells.
    pub(super) fn count_told(&self) {
        self.lineage.had.fetch_add(1, Ordering::Relaxed);
    }

    /// One that was counted was not begun.
    pub(super) fn discount(&self) {
        self.lineage.had.fetch_sub(1, Ordering::Relaxed);
    }

    /// A child by its name, and where it would spend.
    ///
    /// # Errors
    /// [`RunEnd::Fault`]: it is granted, and its job was not loaded.
    pub(super) fn find(&self, name: &str, serial: &str) -> Result<Carved<'_>, RunEnd> {
        let job = self.jobs.get(name);
        let job = job.ok_or_else(|| RunEnd::Fault(format!("child {name:?} is granted, and its job is not there")))?;
        Ok(Carved { job, scopes: self.scopes.of_child(serial) })
    }

    /// Runs a child to its verdict, in the caller's files.
    ///
    /// # Errors
    /// [`RunEnd::Fault`]: the host's own trouble.
    pub(super) async fn run(
        &self,
        child: Carved<'_>,
        (serial, call): (&str, u64),
        (task, budget): (String, BTreeMap<Line, u64>),
        workspace: Option<Dir>,
    ) -> Result<Record, RunEnd> {
        let fault = |error: std::io::Error| RunEnd::Fault(format!("the files of a child could not be opened: {error}"));
        let mut job = child.job.again().map_err(fault)?;
        job.spec = job.spec.as_child(&self.spec, Errand { task, budget, seed: self.seed_of(call) });
        (job.workspace, job.find) = (workspace, None);
        job.account = self.account.clone();
        job.left_out = self.left_out.clone();
        let caller = Caller { serial: self.scopes.attempt.name().to_owned(), call };
        let pulls = Arc::clone(&self.pulls);
        let lineage = Lineage { depth: self.lineage.depth + 1, had: Arc::clone(&self.lineage.had) };
        let birth = Birth { scopes: child.scopes, caller, lineage, pulls };
        let Some(alive) = lock(&self.alive).clone() else { return Err(RunEnd::Stopped) };
        let handle = self.runner.start_child(job, serial.to_owned(), birth);
        let awaited = Awaited(handle.cord());
        // It comes to its end also if nobody waits for it any more.
        let task = tokio::spawn(async move {
            let record = handle.verdict().await;
            drop(alive);
            record
        });
        let record = task.await.map_err(|error| RunEnd::Fault(error.to_string()))?;
        drop(awaited);
        record
    }

    /// Waits until no child is alive. None can be started any more.
    pub(super) async fn ended(&self) {
        drop(lock(&self.alive).take());
        // Nobody sends anything: this is when the last of them is dropped.
        while self.gone.lock().await.recv().await.is_some() {}
    }

    /// The seed of a child: it follows from its caller's, so that one seed makes all of them.
    fn seed_of(&self, call: u64) -> u64 {
        let digest = address(format!("child {call} of {}", self.seed).as_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest.as_bytes()[..8]);
        // Below 2^63, so that the seed can be written into a job file.
        u64::from_le_bytes(bytes) >> 1
    }
}
