//! A run goes on after a crash or a stop: it is admitted again, its files are as they were at the start, and what its
//! journal tells is told again before anything is performed.
//!
//! Never: counts an attempt, performs what has an answer. Invariants here: one process at a time works on a run; a run whose
//! item has moved on stays as it is.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cap_std::fs::Dir;
use tokio::sync::mpsc;

use crate::doors::blobs::{Blobs, MAX_TREE_BYTES};
use crate::doors::chain::Sealer;
use crate::doors::state::{ItemLease, RunDir};
use crate::doors::store::{Durability, Need};
use crate::doors::trail::Trail;
use crate::doors::tree;
use crate::doors::workspace;
use crate::rules::effect::{Body, Entry, RunOrigin};
use crate::rules::item::NotNow;
use crate::rules::ledger::{CallId, Line};
use crate::rules::record::Record;
use crate::rules::verdict::Verdict;

use super::admission::{
    Admitted, Compiled, Context, Materials, Scopes, Told, Trees, chain, close_dead_runs, compile, faulted, ignored,
    not_admitted, not_now, refused,
};
use super::children::Lineage;
use super::cord::Cord;
use super::journal::{Beginning, Journal};
use super::line;
use super::meter::Meter;
use super::past::Past;
use super::runner::{Job, Runner};
use super::senses::VirtualClock;
use super::tape::{Tape, Then};
use super::tools::Tools;

/// Opens a past run again. Nothing of the worker runs.
pub(super) async fn readmit(
    runner: &Arc<Runner>,
    job: Job,
    past: Past,
    run_dir: &RunDir,
    cord: Cord,
    watcher: mpsc::UnboundedSender<Entry>,
    record: &mut Record,
) -> Result<Admitted, Verdict> {
    let after = past.goes_on_after().map_err(not_admitted)?;
    let job = Job { left_out: past.job.left_out.clone(), ..job };
    let host = Arc::clone(runner);
    let restored = {
        let (origin, run_dir) = (past.origin.clone(), run_dir.clone());
        tokio::task::spawn_blocking(move || {
            let lease = host.state.lease(&origin.tenant, &origin.line, &origin.item);
            let lease = lease.map_err(|error| not_admitted(chain(&error)))?;
            let materials = restored(&host, &job, &origin, &run_dir)?;
            Ok::<_, Verdict>((job, lease, materials))
        })
    };
    let (job, lease, materials) =
        restored.await.map_err(|error| faulted(format!("the admission panicked: {error}")))??;
    close_dead_runs(runner, &job).await?;
    let tools = Tools::of(past.job.tools.clone(), &materials.toolboxes).map_err(not_admitted)?;
    let resumption = past.resumptions() + 1;
    let tape = Tape::of(past.told_until(after), Then::Live).map_err(not_admitted)?;
    let time = Arc::new(VirtualClock::starting_at_ms(past.origin.start_ms));
    time.move_to_ms(past.first_ms());
    let beginning = Beginning { sealer: Sealer::after(past.key, past.head, &past.pieces), tape, resumption };
    let (store, clock, serial) = (Arc::clone(&runner.store), runner.clock, past.serial.clone());
    let journal = Journal::new(store, &serial, clock, Arc::clone(&time), Some(watcher), beginning);
    let scopes = Scopes::of(&job.spec, &past.origin.item, &serial);
    let meter = |resumption: u32| Meter::id_after(&serial, resumption);
    let call = meter(resumption);
    let (before, prepaid) = (meter(past.resumptions()), (0..=past.resumptions()).map(meter).collect::<Vec<_>>());
    let used_ms = past.worked_ms();
    let lost = lost_meters(runner, &past).await;
    let own = [Need::Tree(scopes.attempt.clone()), Need::Item(scopes.item.clone()), Need::Line(scopes.line.clone())];
    let meters = prepaid.iter().chain(lost.iter().map(|(meter, _)| meter));
    let needs = own.into_iter().chain(meters.cloned().map(Need::Call)).collect();
    let (ids, spec, metered, checks) = (scopes.clone(), job.spec.clone(), call.clone(), materials.all_judges());
    let (run, attempt) = (serial.clone(), past.origin.attempt);
    let begun = journal.step(needs, Durability::Durable, move |step| {
        line::is_clear(step.books, &ids.line)?;
        let mut item = step.books.item(&ids.item);
        let known = item.left.clone();
        item.judged_by(checks);
        item.resume(&run, attempt, step.books.now_ms).map_err(|why| match why {
            NotNow::MovedOn { .. } => {
                not_admitted(format!("run {run} cannot go on: {why}, and this is attempt {attempt}; fork it instead"))
            }
            why => not_now(why),
        })?;
        let (now_ms, ledger) = (step.books.now_ms, &mut *step.books.ledger);
        // Nobody has it: what the last process left open is in doubt, whether or not somebody closed it already.
        ledger.close(&ids.attempt, now_ms);
        ledger.reopen(&ids.attempt);
        for (meter, used_ms) in [(before, used_ms)].into_iter().chain(lost) {
            Meter::take_over(ledger, &meter, used_ms, now_ms);
        }
        let booked = |meter: &CallId| ledger.find(meter).map_or(0, |meter| meter.spent.get(Line::DiskBytes));
        let prepaid = prepaid.iter().map(booked).sum();
        let begun = ids
            .open(ledger, &spec, now_ms)
            .and_then(|()| Meter::begin(ledger, &ids.attempt, &metered, spec.caps.memory_bytes, now_ms));
        let begun = begun.map_err(|denial| refused(ledger, &ids, denial, now_ms))?;
        step.books.remember(&ids.item, item.clone());
        step.write(Body::Resumed { after, resumption });
        Ok::<_, Verdict>((item, begun, prepaid, known))
    });
    let begun = begun.await.map_err(|end| not_admitted(format!("the run could not be opened again: {end}")))?;
    let (item, begun, prepaid, known) = begun?;
    record.attempt = past.origin.attempt;
    record.component = Some(materials.component);
    let meter = Meter::new(Arc::clone(&runner.store), scopes.attempt.clone(), call, begun);
    meter.prepaid(prepaid);
    let begun = Begun { past, job, run_dir: run_dir.clone(), materials, cord, lease: Some(lease) };
    Ok(Admitted { known, ..begun.admitted(scopes, item, meter, journal, (time, tools)) })
}

/// The meters of children that ended with this run and were never heard of, and how long each worked as far as its journal
/// knows: what they had reserved is in doubt with their caller's. Milliseconds.
async fn lost_meters(runner: &Arc<Runner>, past: &Past) -> Vec<(CallId, u64)> {
    let (mut meters, mut lost) = (Vec::new(), past.lost_children());
    while let Some(serial) = lost.pop() {
        // One that was not begun has no meter; of one that cannot be read the line is stopped, and all stays held.
        if let Ok(child) = runner.past(&serial).await {
            meters.push((Meter::id(&serial), child.worked_ms()));
            lost.extend(child.lost_children());
        }
    }
    meters
}

/// A past run that goes on, or is told again.
pub(super) struct Begun {
    pub(super) past: Past,
    pub(super) job: Job,
    pub(super) run_dir: RunDir,
    pub(super) materials: Materials,
    pub(super) cord: Cord,
    pub(super) lease: Option<ItemLease>,
}

impl Begun {
    pub(super) fn admitted(
        self,
        scopes: Scopes,
        item: crate::rules::item::ItemRecord,
        meter: Meter,
        journal: Journal,
        (time, tools): (Arc<VirtualClock>, Tools),
    ) -> Admitted {
        let Self { past, job, run_dir, materials, cord, lease } = self;
        let Past { serial, origin, job: opened, .. } = past;
        let Materials { prepared, component: _, checks, judges, toolboxes: _, children: _, trees, context } = materials;
        Admitted {
            job,
            serial,
            run_dir,
            scopes,
            lineage: Lineage::default(),
            item,
            meter: Arc::new(meter),
            prepared,
            checks,
            tools: Arc::new(tools),
            trees,
            context: context.map(|context| context.dir),
            journal: Arc::new(journal),
            cord,
            time,
            origin,
            offers: opened.offers,
            edits: opened.edits,
            told: Told { item: opened.item, attempt: opened.attempt },
            known: None,
            pulls: Arc::default(),
            passed: opened.passed,
            judges,
            unfinished: AtomicBool::new(false),
            _lease: lease,
        }
    }
}

/// Compiles the components and lays out the files as they were at the start. Blocking.
pub(super) fn restored(host: &Runner, job: &Job, origin: &RunOrigin, run_dir: &RunDir) -> Result<Materials, Verdict> {
    let Compiled { prepared, component, checks, judges, toolboxes, children: _ } = compile(host, job)?;
    let blobs = host.state.blobs();
    let failed = |error: &dyn std::error::Error| not_admitted(format!("the run's files: {}", chain(error)));
    let trees = match &origin.tree {
        None => None,
        Some(address) => {
            let base = blobs.tree(address, MAX_TREE_BYTES).map_err(|error| failed(&error))?;
            let work = laid_out(blobs, &base, run_dir, "work")?;
            let ignored = ignored(host, &job.spec, &work, &job.left_out).map_err(|error| failed(&error))?;
            let seen = tree::see(&work, &host.bounds, &ignored).map_err(|error| failed(&error))?;
            let ignored = Arc::new(ignored);
            let trail = Arc::new(Trail::new(&seen, Arc::clone(&ignored)));
            Some(Trees { work: Arc::new(work), trail, base: Arc::new(base), address: *address, ignored })
        }
    };
    let context = match &origin.context {
        None => None,
        Some(address) => {
            let tree = blobs.tree(address, MAX_TREE_BYTES).map_err(|error| failed(&error))?;
            Some(Context { dir: laid_out(blobs, &tree, run_dir, "context")?, address: *address })
        }
    };
    // They are where the run began, and what it keeps of them too.
    let children = origin.children.clone();
    Ok(Materials { prepared, component, checks, judges, toolboxes, children, trees, context })
}

fn laid_out(blobs: &Blobs, tree: &crate::doors::tree::Manifest, run_dir: &RunDir, name: &str) -> Result<Dir, Verdict> {
    let failed = |error: &dyn std::error::Error| not_admitted(format!("the run's files: {}", chain(error)));
    workspace::remove_tree(run_dir.dir(), name).map_err(|error| failed(&error))?;
    let dir = run_dir.subdir(name).map_err(|error| failed(&error))?;
    blobs.restore(tree, &dir).map_err(|error| failed(&error))?;
    Ok(dir)
}
