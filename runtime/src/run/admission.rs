//! From a job to a run that may begin: the item is leased, components are compiled, trees are copied, the attempt is
//! counted, its scope and its journal are opened.
//!
//! Never: runs anything of the worker. Invariants here: an attempt is counted durably before it starts, in the transaction
//! that opens its scope and reserves what it may use; what dead runs left open is closed first.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use cap_std::fs::Dir;
use tokio::sync::mpsc;

use crate::doors::accepted::Accepted;
use crate::doors::apply;
use crate::doors::blobs::Keeping;
use crate::doors::chain::Key;
use crate::doors::ignored::{Ignored, LeaveOut};
use crate::doors::state::{ItemLease, RunDir};
use crate::doors::store::{Durability, Need, transact};
use crate::doors::trail::Trail;
use crate::doors::tree::{self, Manifest, ScanError};
use crate::doors::workspace;
use crate::rules::digest::Digest;
use crate::rules::effect::{Body, Entry, FORMAT, OpenedJob, Opening, Parts, RunOrigin};
use crate::rules::guard::Memory;
use crate::rules::item::{ItemRecord, NotNow, Retries, State};
use crate::rules::ledger::{Denial, Ledger, Limits, ScopeId, Terms};
use crate::rules::left_out::LeftOut;
use crate::rules::model::Profile;
use crate::rules::progress::Passed;
use crate::rules::record::Record;
use crate::rules::spec::{RunSpec, Wall};
use crate::rules::tool::{ToolOffer, ToolSource};
use crate::rules::verdict::{UsedUp, Verdict};

use super::around;
use super::checks;
use super::children::{Birth, Lineage};
use super::cord::Cord;
use super::journal::{Beginning, Journal};
use super::line::{self, Pulls};
use super::meter::Meter;
use super::pinned;
use super::recovery::{self, Behind, Left};
use super::runner::{Job, Runner};
use super::sandbox::{ENGINE_NAME, Prepared, World};
use super::senses::VirtualClock;
use super::tools::{self, Kit, Toolbox, Tools, pin_of};

/// Separates this use of BLAKE3 from every other; the number changes with the encoding.
const JUDGES_CONTEXT: &str = "jidoka judges, encoding 1";

/// A run that may begin: everything is opened, counted and copied.
pub(super) struct Admitted {
    pub(super) job: Job,
    pub(super) serial: String,
    pub(super) run_dir: RunDir,
    pub(super) scopes: Scopes,
    pub(super) lineage: Lineage,
    pub(super) item: ItemRecord,
    pub(super) meter: Arc<Meter>,
    /// None: the run is one call of a tool.
    pub(super) prepared: Option<Prepared>,
    pub(super) checks: Vec<Option<Prepared>>,
    pub(super) tools: Arc<Tools>,
    pub(super) trees: Option<Trees>,
    pub(super) context: Option<Dir>,
    pub(super) journal: Arc<Journal>,
    pub(super) cord: Cord,
    pub(super) time: Arc<VirtualClock>,
    pub(super) origin: RunOrigin,
    pub(super) offers: BTreeMap<String, Profile>,
    pub(super) edits: BTreeMap<usize, String>,
    /// What the guest is told of its task.
    pub(super) told: Told,
    /// What the item knew of this run's calls before it went on: a run that ends before all of it is told again forgets none
    /// of it.
    pub(super) known: Option<Memory>,
    /// Pulls of its line in this run, and those that are still to be written.
    pub(super) pulls: Arc<Mutex<Pulls>>,
    /// The checks that the item had passed when the attempt began.
    pub(super) passed: Passed,
    /// What each check is, in their order: the component, or the command with its files.
    pub(super) judges: Vec<Digest>,
    /// Its changes are committed and could not all be made: the journal stays open until a recovery makes them.
    pub(super) unfinished: AtomicBool,
    /// Nobody else works on the item as long as this is here.
    pub(super) _lease: Option<ItemLease>,
}

/// What a guest is told that its attempt is of.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) item: String,
    pub(super) attempt: u32,
}

/// The scopes that a run spends in.
#[derive(Clone, Debug)]
pub(super) struct Scopes {
    tenant: ScopeId,
    pub(super) line: ScopeId,
    pub(super) item: ScopeId,
    pub(super) attempt: ScopeId,
}

impl Scopes {
    pub(super) fn of(spec: &RunSpec, item: &str, serial: &str) -> Self {
        let tenant = ScopeId::host().child(&spec.tenant);
        let line = tenant.child(&spec.line);
        let item = line.child(item);
        Self { attempt: item.child(serial), tenant, line, item }
    }

    /// Of a child's run: one scope below its caller's, which is its item and its attempt.
    pub(super) fn of_child(&self, serial: &str) -> Self {
        let scope = self.attempt.child(serial);
        Self { tenant: self.tenant.clone(), line: self.line.clone(), item: scope.clone(), attempt: scope }
    }

    /// Whether they are of a child.
    pub(super) fn is_childs(&self) -> bool {
        self.item == self.attempt
    }

    /// Opens them all, from the outside in, with the limits of today. Those around a child are open.
    pub(super) fn open(&self, ledger: &mut Ledger, spec: &RunSpec, now_ms: u64) -> Result<(), Denial> {
        if self.is_childs() {
            return ledger.open(&self.attempt, spec.terms_of_child(), now_ms);
        }
        let shared = [
            (&ScopeId::host(), &spec.shared.host),
            (&self.tenant, &spec.shared.tenant),
            (&self.line, &spec.shared.line),
        ];
        for (scope, allowance) in shared {
            // Without an operator's file nobody speaks for the operator: what was said before stays in force.
            let known = ledger.scope(scope).map(|scope| scope.terms.clone()).unwrap_or_default();
            let terms = if spec.shared.declared { Terms::from(allowance) } else { known };
            ledger.open(scope, terms, now_ms)?;
        }
        let item = Terms { limits: Limits::from(&spec.budget.item), ..Terms::default() };
        ledger.open(&self.item, item, now_ms)?;
        ledger.open(&self.attempt, spec.terms_of_attempt(), now_ms)
    }
}

pub(super) struct Trees {
    /// The private copy.
    pub(super) work: Arc<Dir>,
    /// What its guests do there.
    pub(super) trail: Arc<Trail>,
    pub(super) base: Arc<Manifest>,
    /// Where the base is kept.
    pub(super) address: Digest,
    /// What is left out of both.
    pub(super) ignored: Arc<Ignored>,
}

impl Trees {
    /// The digest of the base that no mark may have.
    pub(super) fn mark(&self, spec: &RunSpec) -> Digest {
        self.base.mark(&spec.done.tree, &self.ignored)
    }
}

pub(super) fn not_admitted(why: impl ToString) -> Verdict {
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
    birth: Option<Birth>,
    run_dir: &RunDir,
    (cord, watcher): (Cord, mpsc::UnboundedSender<Entry>),
    record: &mut Record,
) -> Result<Admitted, Verdict> {
    let host = Arc::clone(runner);
    let (serial, run_dir) = (serial.to_owned(), run_dir.clone());
    let item_name = record.item.clone();
    let (scopes, caller, lineage) = match birth {
        Some(Birth { scopes, caller, lineage, .. }) => (scopes, Some(caller), lineage),
        None => (Scopes::of(&job.spec, &item_name, &serial), None, Lineage::default()),
    };
    let opened = {
        let (run_dir, whose) = (run_dir.clone(), if caller.is_some() { Workspace::Callers } else { Workspace::Real });
        tokio::task::spawn_blocking(move || Opened::open(&host, job, &item_name, &run_dir, whose)).await
    };
    let opened = opened.map_err(|error| faulted(format!("the admission panicked: {error}")))??;
    let Opened { job, lease, materials, seed, keeping } = opened;
    let tools = offered(runner, &job.spec, &materials).await?;
    close_dead_runs(runner, &job).await?;
    let left = recovery::what_was_left(&runner.store, &scopes).await;
    let left = left.map_err(|error| not_admitted(format!("the ledger: {error}")))?;

    let start_ms = runner.clock.unix_ms();
    let origin = RunOrigin {
        format: FORMAT,
        serial: serial.clone(),
        tenant: job.spec.tenant.clone(),
        line: job.spec.line.clone(),
        item: record.item.clone(),
        attempt: 0,
        component: materials.component,
        checks: materials.checks.iter().map(|check| check.as_ref().map(|check| check.digest)).collect(),
        tools: materials
            .toolboxes
            .iter()
            .filter_map(|(name, toolbox)| Some((name.clone(), toolbox.digest()?)))
            .collect(),
        children: materials.children.clone(),
        caller,
        engine: ENGINE_NAME.to_owned(),
        seed,
        start_ms,
        base: materials.trees.as_ref().map(|trees| trees.mark(&job.spec)),
        tree: materials.trees.as_ref().map(|trees| trees.address),
        context: materials.context.as_ref().map(|context| context.address),
        parent: None,
    };
    let opened = OpenedJob {
        spec: job.spec.clone(),
        dir: job.dir.clone(),
        item: record.item.clone(),
        attempt: 0,
        offers: offers(&job.spec),
        tools,
        edits: BTreeMap::new(),
        passed: Passed::default(),
        left_out: materials.trees.as_ref().map(|trees| trees.ignored.left_out().clone()).unwrap_or_default(),
        lost: None,
    };
    let beginning = Beginning::blank(fresh_key()?);
    let ready = Ready { job, serial, run_dir, scopes, lineage, materials, cord, lease, keeping };
    ready.begin(runner, origin, opened, (left, start_ms), beginning, watcher, record).await
}

/// Closes what dead runs left open. The hooks hear of lines that are pulled for it.
///
/// # Errors
/// The verdict on a run of which nothing runs.
pub(super) async fn close_dead_runs(runner: &Arc<Runner>, job: &Job) -> Result<(), Verdict> {
    let pulled = recovery::close_dead_runs(&runner.store, &runner.state).await;
    for pulled in pulled.map_err(|error| not_admitted(format!("the ledger: {error}")))? {
        around::tell_of(&job.hooks, &pulled).await;
    }
    Ok(())
}

/// The models as a guest can look them up.
pub(super) fn offers(spec: &RunSpec) -> BTreeMap<String, Profile> {
    spec.models.iter().map(|(name, model)| (name.clone(), model.profile.clone())).collect()
}

/// What the tools of a job offer, if it is what was accepted; of a toolbox that was never seen it is accepted now.
async fn offered(runner: &Arc<Runner>, spec: &RunSpec, materials: &Materials) -> Result<Vec<ToolOffer>, Verdict> {
    let wall = runner.wall(spec);
    let mut all = Vec::new();
    for (name, toolbox) in &materials.toolboxes {
        let what = |why: String| not_admitted(format!("tool \"{name}\": {why}"));
        let evidence = runner.state.describing().map_err(faulted)?;
        let offers = toolbox.offers(name, &runner.sandbox, runner.clock, wall, evidence).await.map_err(what)?;
        if toolbox.spec.pin.digest.is_some() {
            // These bytes and no others, which say the same of themselves every time.
            all.extend(offers);
            continue;
        }
        let (state, known, at_ms) = (runner.state.clone(), offers.clone(), runner.clock.unix_ms());
        let (tenant, line, toolbox) = (spec.tenant.clone(), spec.line.clone(), name.clone());
        let held = tokio::task::spawn_blocking(move || {
            let acceptances = state.acceptances().map_err(|error| error.to_string())?;
            tools::held(
                &acceptances,
                Accepted { tenant, line, toolbox, digest: pin_of(&known), offers: known, at_ms, reason: None },
            )
        });
        held.await.map_err(faulted)?.map_err(what)?;
        all.extend(offers);
    }
    Ok(all)
}

/// A run of which everything is opened, and nothing counted.
pub(super) struct Ready {
    pub(super) job: Job,
    pub(super) serial: String,
    pub(super) run_dir: RunDir,
    pub(super) scopes: Scopes,
    pub(super) lineage: Lineage,
    pub(super) materials: Materials,
    pub(super) cord: Cord,
    pub(super) lease: ItemLease,
    /// Until the opening names what was kept, nobody may sweep it away.
    pub(super) keeping: Keeping,
}

impl Ready {
    /// Counts a new attempt, opens its scopes, and writes its opening.
    #[expect(clippy::too_many_arguments, reason = "what an attempt begins with")]
    pub(super) async fn begin(
        self,
        runner: &Arc<Runner>,
        origin: RunOrigin,
        opened: OpenedJob,
        (left, first_ms): (Left, u64),
        beginning: Beginning,
        watcher: mpsc::UnboundedSender<Entry>,
        record: &mut Record,
    ) -> Result<Admitted, Verdict> {
        let Self { job, serial, run_dir, scopes, lineage, materials, cord, lease, keeping } = self;
        let tools = Tools::of(opened.tools.clone(), &materials.toolboxes).map_err(not_admitted)?;
        let time = Arc::new(VirtualClock::starting_at_ms(origin.start_ms));
        time.move_to_ms(first_ms);
        let (store, clock) = (Arc::clone(&runner.store), runner.clock);
        let journal = Journal::new(store, &serial, clock, Arc::clone(&time), Some(watcher), beginning);
        let (call, ids, spec) = (Meter::id(&serial), scopes.clone(), job.spec.clone());
        let (metered, run) = (call.clone(), serial.clone());
        let own = [Need::Tree(scopes.attempt.clone()), Need::Item(scopes.item.clone())];
        let of_dead = left.dead.iter().flat_map(|dead| dead.needs());
        let needs = own.into_iter().chain([Need::Line(scopes.line.clone())]).chain(of_dead).collect();
        let (is_fork, checks) = (origin.parent.is_some(), materials.all_judges());
        let (offers, edits) = (opened.offers.clone(), opened.edits.clone());
        let counted = journal.step(needs, Durability::Durable, move |step| {
            line::is_clear(step.books, &ids.line)?;
            let mut item = step.books.item(&ids.item);
            if let Some(Behind { marked, memory, stop }) = left.behind {
                if let (Some(stop), State::Running) = (stop, item.state) {
                    let retries = Retries { max: spec.max_attempts, backoff: spec.backoff };
                    item.end(&stop.verdict(), marked, retries, step.books.now_ms).map_err(not_now)?;
                }
                item.recover(memory);
            }
            item.judged_by(checks);
            let attempt = item.start(&run, spec.max_attempts, step.books.now_ms).map_err(not_now)?;
            let (now_ms, ledger) = (step.books.now_ms, &mut *step.books.ledger);
            let begun = ids
                .open(ledger, &spec, now_ms)
                .and_then(|()| Meter::begin(ledger, &ids.attempt, &metered, spec.caps.memory_bytes, now_ms));
            let begun = begun.map_err(|denial| refused(ledger, &ids, denial, now_ms))?;
            if !ids.is_childs() {
                step.books.remember(&ids.item, item.clone());
            }
            // Nobody lets it go on any more.
            let lost = left.dead.as_ref().and_then(|dead| dead.lost());
            let ended = left.dead.map(|dead| {
                let verdict = dead.verdict();
                dead.close(step.books, &verdict)
            });
            let origin = RunOrigin { attempt, ..origin };
            // A fork's guest hears what its parent's heard.
            let told = if is_fork { opened.attempt } else { attempt };
            let job = OpenedJob { attempt: told, passed: item.passed.clone(), lost, ..opened };
            let told = Told { item: job.item.clone(), attempt: told };
            step.write(Body::Opened { opening: Box::new(Opening { origin: origin.clone(), job }) });
            Ok::<_, Verdict>((item, begun, origin, told, ended))
        });
        // Nothing of the worker ran, and nothing is counted.
        let counted = counted.await.map_err(|end| not_admitted(format!("the attempt could not be counted: {end}")))?;
        let (item, begun, origin, told, ended) = counted?;
        drop(keeping);
        if let Some(ended) = ended {
            let state = runner.state.clone();
            let written = tokio::task::spawn_blocking(move || ended.write(&state)).await;
            written.map_err(|error| faulted(format!("the admission panicked: {error}")))?;
        }
        let passed = item.passed.clone();
        record.attempt = item.attempts;
        record.component = Some(materials.component);
        let meter = Meter::new(Arc::clone(&runner.store), scopes.attempt.clone(), call, begun);
        let Materials { prepared, component: _, checks, judges, toolboxes: _, children: _, trees, context } = materials;
        Ok(Admitted {
            job,
            serial,
            run_dir,
            scopes,
            lineage,
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
            offers,
            edits,
            told,
            known: None,
            pulls: Arc::default(),
            passed,
            judges,
            unfinished: AtomicBool::new(false),
            _lease: Some(lease),
        })
    }
}

/// Whether a new attempt may begin at all, before anything is compiled, copied or told for it. What is decided here is decided
/// again when the attempt is counted.
///
/// # Errors
/// The verdict on a run of which nothing runs.
pub(super) async fn may_begin(runner: &Arc<Runner>, spec: &RunSpec, item: &str, serial: &str) -> Result<(), Verdict> {
    let ids = Scopes::of(spec, item, serial);
    let (run, max) = (serial.to_owned(), spec.max_attempts);
    let needs = vec![Need::Line(ids.line.clone()), Need::Item(ids.item.clone())];
    let looked = transact(&*runner.store, needs, Durability::Lazy, move |books| {
        line::is_clear(books, &ids.line)?;
        books.item(&ids.item).start(&run, max, books.now_ms).map(drop).map_err(not_now)
    });
    looked.await.map_err(|error| not_admitted(format!("the ledger: {error}")))?
}

/// Why an item is not worked on.
pub(super) fn not_now(why: NotNow) -> Verdict {
    match why {
        NotNow::Spent { attempts, max } => Verdict::AttemptsExhausted { attempts, max },
        NotNow::Illegal { .. } => {
            not_admitted(format!("{why}; an operator may let it be tried again: jidoka items revive"))
        }
        NotNow::PutOff { until_ms, .. } => Verdict::Deferred { why: why.to_string(), retry_at_ms: until_ms },
        NotNow::Resting { .. } | NotNow::MovedOn { .. } => not_admitted(why),
    }
}

/// Why the ledger does not let an attempt begin. Its scope is closed again.
pub(super) fn refused(ledger: &mut Ledger, ids: &Scopes, denial: Denial, now_ms: u64) -> Verdict {
    ledger.close(&ids.attempt, now_ms);
    match denial {
        Denial::Short(short) => UsedUp::of(&short).verdict(),
        other => faulted(other),
    }
}

/// What is opened before anything is counted.
struct Opened {
    job: Job,
    lease: ItemLease,
    materials: Materials,
    seed: u64,
    keeping: Keeping,
}

/// What a guest runs on: compiled components, and copies of files.
pub(super) struct Materials {
    pub(super) prepared: Option<Prepared>,
    /// BLAKE3 of the worker's component, or of the tool's that is called in its place.
    pub(super) component: Digest,
    pub(super) checks: Vec<Option<Prepared>>,
    /// What each check is.
    pub(super) judges: Vec<Digest>,
    pub(super) toolboxes: BTreeMap<String, Toolbox>,
    /// What its children would run on.
    pub(super) children: BTreeMap<String, Parts>,
    pub(super) trees: Option<Trees>,
    pub(super) context: Option<Context>,
}

impl Materials {
    /// All checks as one digest.
    pub(super) fn all_judges(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key(JUDGES_CONTEXT);
        for judge in &self.judges {
            hasher.update(judge.as_bytes());
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }
}

/// The guest's own copy of the context.
pub(super) struct Context {
    pub(super) dir: Dir,
    /// Where it is kept.
    pub(super) address: Digest,
}

impl Opened {
    /// Blocking: compiles and copies.
    fn open(host: &Runner, job: Job, item: &str, run_dir: &RunDir, whose: Workspace) -> Result<Self, Verdict> {
        let spec = &job.spec;
        ready(&job, whose)?;
        let lease = host.state.lease(&spec.tenant, &spec.line, item).map_err(|error| not_admitted(chain(&error)))?;
        let compiled = compile(host, &job)?;
        let keeping = host.state.blobs().keeping().map_err(|error| not_admitted(format!("the blobs: {error}")))?;
        keep_components(&keeping, &job, &compiled)?;
        let children = compiled.parts().children;
        let Compiled { prepared, component, checks, judges, toolboxes, children: _ } = compiled;
        let trees = copies(host, &job, run_dir, &keeping)?;
        let context = context_copy(host, &job, run_dir, &keeping)?;
        let seed = match spec.seed {
            Some(seed) => seed,
            None => fresh_seed()?,
        };
        let materials = Materials { prepared, component, checks, judges, toolboxes, children, trees, context };
        Ok(Self { job, lease, materials, seed, keeping })
    }
}

/// The components of a job, compiled.
pub(super) struct Compiled {
    pub(super) prepared: Option<Prepared>,
    pub(super) component: Digest,
    pub(super) checks: Vec<Option<Prepared>>,
    pub(super) judges: Vec<Digest>,
    pub(super) toolboxes: BTreeMap<String, Toolbox>,
    pub(super) children: BTreeMap<String, Compiled>,
}

impl Compiled {
    /// Which components they are.
    fn parts(&self) -> Parts {
        let tools = self.toolboxes.iter().filter_map(|(name, toolbox)| Some((name.clone(), toolbox.digest()?)));
        Parts {
            worker: self.component,
            checks: self.checks.iter().map(|check| check.as_ref().map(|check| check.digest)).collect(),
            tools: tools.collect(),
            children: self.children.iter().map(|(name, child)| (name.clone(), child.parts())).collect(),
        }
    }
}

/// Compiles the worker, the checks, the tools and what the children run on, if they are what they must be. Blocking.
pub(super) fn compile(host: &Runner, job: &Job) -> Result<Compiled, Verdict> {
    pinned::check(job)?;
    if host.wall(&job.spec) == Wall::Process {
        let stands = host.sandbox.process_wall();
        stands.map_err(|why| not_admitted(format!("the process wall does not stand on this machine: {why}")))?;
    }
    let prepare = |bytes: &[u8], world, what: &str| {
        host.sandbox.prepare(bytes, world).map_err(|error| not_admitted(format!("{what}: {}", chain(&error))))
    };
    let prepared = match &job.spec.call {
        None => Some(prepare(&job.component, World::Worker, "worker")?),
        Some(_) => None,
    };
    let checks = job
        .checks
        .iter()
        .map(|check| {
            let what = format!("check \"{}\"", check.check.name);
            check.component.as_deref().map(|bytes| prepare(bytes, World::Verifier, &what)).transpose()
        })
        .collect::<Result<Vec<_>, _>>()?;
    let judges =
        job.checks.iter().zip(&checks).map(|(check, prepared)| checks::identity(&check.check, prepared.as_ref()));
    let judges = judges.collect();
    let mut toolboxes = BTreeMap::new();
    for (name, spec) in &job.spec.tools {
        let what = format!("tool \"{name}\"");
        let kit = match &spec.source {
            ToolSource::Component(_) => {
                let missing = || not_admitted(format!("{what}: its component is not there"));
                Kit::Component(prepare(job.tools.get(name).ok_or_else(missing)?, World::Tool, &what)?)
            }
            ToolSource::Server(server) => Kit::server(server, job.servers.get(name).cloned()),
        };
        toolboxes.insert(name.clone(), Toolbox { spec: spec.clone(), kit });
    }
    let component = match (&prepared, toolboxes.values().next()) {
        (Some(prepared), _) => prepared.digest,
        (None, Some(toolbox)) => Digest::from_bytes(*blake3::hash(toolbox.named(job)).as_bytes()),
        (None, None) => return Err(not_admitted("a tool is to be called, and none is granted")),
    };
    let mut children = BTreeMap::new();
    // Nobody starts one from a tool's call.
    for (name, child) in job.children.iter().filter(|_| job.spec.call.is_none()) {
        let compiled = compile(host, child).map_err(|verdict| match verdict {
            Verdict::NotAdmitted { why } => {
                Verdict::NotAdmitted { why: why.into_iter().map(|why| format!("child \"{name}\": {why}")).collect() }
            }
            other => other,
        })?;
        children.insert(name.clone(), compiled);
    }
    Ok(Compiled { prepared, component, checks, judges, toolboxes, children })
}

/// Keeps the components' bytes, so that the run can be replayed when nobody else has them any more.
fn keep_components(keeping: &Keeping, job: &Job, compiled: &Compiled) -> Result<(), Verdict> {
    for (name, child) in &compiled.children {
        if let Some(job) = job.children.get(name) {
            keep_components(keeping, job, child)?;
        }
    }
    let Compiled { prepared, checks, toolboxes, .. } = compiled;
    let of_checks =
        job.checks.iter().zip(checks).filter_map(|(check, prepared)| prepared.as_ref().and(check.component.as_ref()));
    let of_tools = toolboxes.iter().filter_map(|(name, toolbox)| toolbox.digest().and(job.tools.get(name)));
    // A run that is one call of a server's tool has its name for a component.
    let alone = prepared.is_none().then(|| toolboxes.values().next()).flatten();
    let alone = alone.filter(|toolbox| toolbox.digest().is_none()).map(|toolbox| toolbox.named(job).to_vec());
    if let Some(name) = alone {
        keeping.keep(&name).map_err(|error| not_admitted(format!("keep a name: {}", chain(&error))))?;
    }
    let of_worker = prepared.as_ref().map(|_| &job.component);
    for bytes in of_worker.into_iter().chain(of_checks).chain(of_tools) {
        keeping.keep(bytes).map_err(|error| not_admitted(format!("keep a component: {}", chain(&error))))?;
    }
    Ok(())
}

fn fresh_seed() -> Result<u64, Verdict> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| faulted(format!("the machine gives no randomness: {error}")))?;
    // Below 2^63, so that the seed can be written into a job file.
    Ok(u64::from_le_bytes(seed) >> 1)
}

/// A key that nobody can guess, for the contents of a new run.
pub(super) fn fresh_key() -> Result<Key, Verdict> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| faulted(format!("the machine gives no randomness: {error}")))?;
    Ok(Key::from_bytes(key))
}

/// Whose directory a run works on a copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Workspace {
    /// A person's.
    Real,
    /// The copy of its caller, who writes there what it likes.
    Callers,
}

/// Sees that there is nothing in a caller's own copy that is called as an apply's staging is: nobody obeys it there. What was
/// interrupted in a person's directory was ended before.
fn ready(job: &Job, whose: Workspace) -> Result<(), Verdict> {
    let (Some(copy), Workspace::Callers) = (&job.workspace, whose) else { return Ok(()) };
    match apply::is_clear(copy).map_err(|error| not_admitted(format!("the workspace: {}", chain(&error))))? {
        true => Ok(()),
        false => Err(not_admitted("the workspace: the caller made a directory there as only the host makes them")),
    }
}

fn copies(runner: &Runner, job: &Job, run_dir: &RunDir, keeping: &Keeping) -> Result<Option<Trees>, Verdict> {
    let Some(real) = &job.workspace else { return Ok(None) };
    let unreadable = |error: &dyn std::error::Error| not_admitted(format!("the workspace: {}", chain(error)));
    let work = run_dir.subdir("work").map_err(|error| unreadable(&error))?;
    // No apply of another run comes in between.
    let still = apply::hold_still(real).map_err(|error| unreadable(&error))?;
    let ignored = |base: &Dir, left_out: &LeftOut| ignored(runner, &job.spec, base, left_out);
    let there = ignored(real, &job.left_out).map_err(|error| unreadable(&error))?;
    workspace::copy(real, &work, &runner.bounds, &there).map_err(|error| unreadable(&error))?;
    drop(still);
    // From now on the copy says what is ignored, as it will whenever it is restored.
    let ignored = ignored(&work, there.left_out()).map_err(|error| unreadable(&error))?;
    if !ignored.has_rules_of(&there) {
        return Err(not_admitted("the workspace: its ignore rules changed while it was copied; run again"));
    }
    let seen = tree::see(&work, &runner.bounds, &ignored).map_err(|error| unreadable(&error))?;
    let address = keeping.keep_tree(&work, &seen.manifest, None).map_err(|error| unreadable(&error))?;
    let ignored = Arc::new(ignored);
    let trail = Arc::new(Trail::new(&seen, Arc::clone(&ignored)));
    let base = Arc::new(seen.manifest);
    Ok(Some(Trees { work: Arc::new(work), trail, base, address, ignored }))
}

/// What is left out of a job's files, by what is at `base` and what the place of the workspace says.
pub(super) fn ignored(runner: &Runner, spec: &RunSpec, base: &Dir, left_out: &LeftOut) -> Result<Ignored, ScanError> {
    let (done, own) = (&spec.done, Some(runner.state.own()));
    Ignored::of_base(base, &runner.bounds, LeaveOut { paths: &done.ignore, deliverables: &done.tree, left_out, own })
}

fn context_copy(runner: &Runner, job: &Job, run_dir: &RunDir, keeping: &Keeping) -> Result<Option<Context>, Verdict> {
    let Some(context) = &job.context else { return Ok(None) };
    let unreadable = |error: &dyn std::error::Error| not_admitted(format!("the context: {}", chain(error)));
    let copy = run_dir.subdir("context").map_err(|error| unreadable(&error))?;
    let ignored = Ignored::of_context(Some(runner.state.own()));
    workspace::copy(context, &copy, &runner.bounds, &ignored).map_err(|error| unreadable(&error))?;
    let tree = tree::scan(&copy, &runner.bounds, &ignored).map_err(|error| unreadable(&error))?;
    let address = keeping.keep_tree(&copy, &tree, None).map_err(|error| unreadable(&error))?;
    Ok(Some(Context { dir: copy, address }))
}
