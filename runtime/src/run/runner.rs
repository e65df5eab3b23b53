//! Admits jobs and starts runs: the embedder's door to the runtime.
//!
//! Never: opens a path or reads the environment; everything comes in as handles and bytes. Nothing of a worker runs
//! before the whole admission succeeded; a job that is not admitted gets a verdict too.

use std::collections::BTreeMap;
use std::sync::Arc;

use cap_std::fs::Dir;
use tokio::sync::{Semaphore, mpsc};

use crate::doors::clock::Clock;
use crate::doors::command::CommandEnvironment;
use crate::doors::fetch::Fetch;
use crate::doors::model::Model;
use crate::doors::pace::Pace;
pub use crate::doors::script::{ScriptError, ScriptedModel};
use crate::doors::state::State;
use crate::doors::store::{Store, StoreError};
use crate::doors::tree::Bounds;
use crate::rules::effect::Entry;
use crate::rules::left_out::LeftOut;
use crate::rules::mcp::McpSpec;
use crate::rules::model::Request;
use crate::rules::quote::NetNeed;
use crate::rules::record::Record;
use crate::rules::spec::{Check, RunSpec, Wall};
use crate::rules::verdict::{Stop, Verdict};

use super::RunEnd;
use super::children::Birth;
use super::cord::Cord;
use super::fork::Branch;
use super::hooks::Hooks;
use super::launch;
use super::line;
use super::lost;
use super::past::{Past, PastError};
use super::replay::{self, Replayed};
use super::sandbox::Sandbox;

/// A job with everything opened that it names.
pub struct Job {
    pub spec: RunSpec,
    /// The worker's component.
    pub component: Vec<u8>,
    /// In the order of the spec's checks.
    pub checks: Vec<CheckJob>,
    /// The components of the tools, by the job's names for them.
    pub tools: BTreeMap<String, Vec<u8>>,
    /// The MCP servers that are tools, by the job's names for them.
    pub servers: BTreeMap<String, McpSpec>,
    /// The jobs of its children, by the job's names for them. Their workspace is their caller's.
    pub children: Arc<BTreeMap<String, Job>>,
    /// The real directory, which only an accepted run changes.
    pub workspace: Option<Dir>,
    /// Finds the real directory once more by the name that the job has for it: a person may have moved it since.
    pub find: Option<Find>,
    pub context: Option<Dir>,
    /// What the place of the workspace leaves out of its files. Of a past run what held when it began.
    pub left_out: LeftOut,
    /// A door for every granted model.
    pub models: BTreeMap<String, Reached>,
    /// The way to the web. Who has no grant of `http` does not use it.
    pub web: WebDoor,
    /// Shared by all runs on the tenant's account.
    pub account: Account,
    /// What the operator has done around it.
    pub hooks: Hooks,
    /// The directory from which the job's paths begin, as a name: who resumes or forks the run finds the rest from there.
    pub dir: String,
}

impl Job {
    /// The same once more: what it has open is opened again.
    ///
    /// # Errors
    /// The process has no more descriptors.
    pub fn again(&self) -> std::io::Result<Self> {
        let again = |dir: &Option<Dir>| dir.as_ref().map(Dir::try_clone).transpose();
        Ok(Self {
            spec: self.spec.clone(),
            component: self.component.clone(),
            checks: self.checks.clone(),
            tools: self.tools.clone(),
            servers: self.servers.clone(),
            children: Arc::clone(&self.children),
            workspace: again(&self.workspace)?,
            find: self.find.clone(),
            context: again(&self.context)?,
            left_out: self.left_out.clone(),
            models: self.models.clone(),
            web: Arc::clone(&self.web),
            account: self.account.clone(),
            hooks: self.hooks.clone(),
            dir: self.dir.clone(),
        })
    }
}

/// Opens a directory by its name, whatever has that name by now.
pub type Find = Arc<dyn Fn() -> std::io::Result<Dir> + Send + Sync>;

/// A check with its component, if it is one.
#[derive(Clone)]
pub struct CheckJob {
    pub check: Check,
    pub component: Option<Vec<u8>>,
}

/// A way to a model, shared by all runs that may use it.
#[derive(Clone)]
pub struct Reached {
    pub model: Arc<dyn Model>,
    pub pace: Option<Arc<Pace>>,
    pub max_response_bytes: u64,
}

impl Reached {
    /// The bytes that a call would move; `None` if the model is not on a network.
    pub fn net_need(&self, request: &Request) -> Option<NetNeed> {
        let request_bytes = || self.model.request_bytes(request);
        self.model
            .uses_network()
            .then(|| NetNeed { request_bytes: request_bytes(), max_response_bytes: self.max_response_bytes })
    }
}

/// A way to the web, shared by all runs that may use it.
pub type WebDoor = Arc<dyn Fetch>;

/// What all runs of one tenant share, beside their scope in the ledger.
#[derive(Clone, Default)]
pub struct Account {
    /// The pace of all that they ask of any model.
    pub pace: Option<Arc<Pace>>,
}

/// Whether an accepted change set goes back to the real directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    Accepted,
    /// It stays in the run's own tree.
    Never,
}

/// Everything that runs share.
pub struct Runner {
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) state: State,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
    pub(super) bounds: Bounds,
    pub(super) commands: CommandEnvironment,
    slots: Arc<Semaphore>,
    /// Every guest has at least this wall.
    least_wall: Wall,
}

/// What a run does that is stopped before it has a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    /// It waits, and is written down as what it is.
    Kept,
    /// It goes: somebody waits for it who cannot.
    Left,
}

/// A run on its way.
pub struct RunHandle {
    cord: Cord,
    entries: mpsc::UnboundedReceiver<Entry>,
    task: tokio::task::JoinHandle<Record>,
}

impl Runner {
    /// A runner for at most `runs` runs at once; a further one waits. The sandbox needs two slots for each.
    pub fn new(
        sandbox: Arc<Sandbox>,
        state: State,
        store: Arc<dyn Store>,
        clock: Clock,
        commands: CommandEnvironment,
        runs: usize,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(runs));
        let least_wall = Wall::None;
        Self { sandbox, state, store, clock, bounds: Bounds::default(), commands, slots, least_wall }
    }

    /// With every guest at least behind this wall, whatever its job says.
    pub fn behind(self, wall: Wall) -> Self {
        Self { least_wall: wall, ..self }
    }

    /// A new run's serial number.
    ///
    /// # Errors
    /// [`RunEnd::Fault`]: the machine gives no randomness.
    pub fn serial(&self) -> Result<String, RunEnd> {
        let mut chance = [0; 4];
        let drawn = getrandom::fill(&mut chance);
        drawn.map_err(|error| RunEnd::Fault(format!("the machine gives no randomness: {error}")))?;
        Ok(super::serial(self.clock.unix_ms(), u32::from_le_bytes(chance)))
    }

    /// The wall of a run's guests.
    pub(super) fn wall(&self, spec: &RunSpec) -> Wall {
        spec.wall.max(self.least_wall)
    }

    /// Starts a run. It goes on to its verdict whether or not anybody watches.
    pub fn start(self: &Arc<Self>, job: Job, serial: String, apply: Apply) -> RunHandle {
        let blank = launch::blank_record(&job.spec, &serial);
        self.spawn(blank, move |runner, cord, watcher| launch::run(runner, job, serial, apply, cord, watcher))
    }

    /// Starts a child of a run. Its scope is open.
    pub(super) fn start_child(self: &Arc<Self>, job: Job, serial: String, birth: Birth) -> RunHandle {
        let blank = launch::blank_record(&job.spec, &serial);
        // Whoever waits for a slot has one of a lower depth at most, so somebody always goes on.
        let slots = self.sandbox.slots_at_depth(birth.lineage.depth);
        self.spawn_in(slots, Queue::Left, blank, move |runner, cord, watcher| {
            launch::child(runner, job, serial, birth, cord, watcher)
        })
    }

    /// A past run of which nothing is erased.
    ///
    /// # Errors
    /// [`PastError`].
    pub async fn past(&self, serial: &str) -> Result<Past, PastError> {
        let (store, run) = (Arc::clone(&self.store), serial.to_owned());
        let read = tokio::task::spawn_blocking(move || Past::open(&store, &run)).await;
        let past = read.unwrap_or_else(|panic| Err(StoreError::Failed(panic.to_string()).into()));
        line::stop_for_flaw(&self.store, serial, past).await
    }

    /// Lets a past run go on, after a crash or a stop. What has an answer is not performed again.
    pub fn resume(self: &Arc<Self>, job: Job, past: Past, apply: Apply) -> RunHandle {
        let mut blank = launch::blank_record(&job.spec, &past.serial);
        blank.item.clone_from(&past.origin.item);
        self.spawn(blank, move |runner, cord, watcher| launch::resume(runner, job, past, apply, cord, watcher))
    }

    /// Starts a run that shares its beginning with a past one. Its job is that of the past one, but for what is overridden.
    pub fn fork(self: &Arc<Self>, mut job: Job, past: Past, branch: Branch, serial: String, apply: Apply) -> RunHandle {
        // An item of its own.
        job.spec.item = None;
        let blank = launch::blank_record(&job.spec, &serial);
        self.spawn(blank, move |runner, cord, watcher| {
            launch::fork(runner, job, (past, branch), serial, apply, (cord, watcher))
        })
    }

    /// Tells a past run again with every door shut. `component` stands in for the run's own; `scratch` names a directory
    /// that no other replay has.
    ///
    /// # Errors
    /// [`PastError::Component`].
    pub async fn replay(
        self: &Arc<Self>,
        past: Past,
        component: Option<Vec<u8>>,
        scratch: &str,
    ) -> Result<Replayed, PastError> {
        let job = replay::shut_job(self, &past, component)?;
        let _slot = self.slots.clone().acquire_owned().await;
        Ok(replay::replay(self, job, past, scratch).await)
    }

    fn spawn<F: Future<Output = Record> + Send + 'static>(
        self: &Arc<Self>,
        blank: Record,
        run: impl FnOnce(Arc<Self>, Cord, mpsc::UnboundedSender<Entry>) -> F + Send + 'static,
    ) -> RunHandle {
        self.spawn_in(Arc::clone(&self.slots), Queue::Kept, blank, run)
    }

    fn spawn_in<F: Future<Output = Record> + Send + 'static>(
        self: &Arc<Self>,
        slots: Arc<Semaphore>,
        queue: Queue,
        mut blank: Record,
        run: impl FnOnce(Arc<Self>, Cord, mpsc::UnboundedSender<Entry>) -> F + Send + 'static,
    ) -> RunHandle {
        let cord = Cord::default();
        let (watcher, entries) = mpsc::unbounded_channel();
        let (runner, run_cord) = (Arc::clone(self), cord.clone());
        let task = tokio::spawn(async move {
            let _slot = tokio::select! {
                biased;
                stop = run_cord.pulled(), if queue == Queue::Left => {
                    blank.judge(&stop.verdict());
                    return blank;
                }
                slot = slots.acquire_owned() => slot,
            };
            // A task of its own, so that a panic of ours ends this run and no other.
            match tokio::spawn(run(Arc::clone(&runner), run_cord, watcher)).await {
                Ok(record) => record,
                Err(panic) => {
                    let verdict = Verdict::Fault { why: format!("the host panicked: {panic}") };
                    blank.judge(&verdict);
                    match lost::close(&runner.store, &blank.serial, &verdict).await {
                        Ok(Some(closed)) => {
                            closed.write(&runner.state);
                            closed.record
                        }
                        Ok(None) | Err(_) => blank,
                    }
                }
            }
        });
        RunHandle { cord, entries, task }
    }
}

impl RunHandle {
    /// The next entry of the journal; `None` once the run has ended.
    pub async fn next_entry(&mut self) -> Option<Entry> {
        self.entries.recv().await
    }

    /// The run's cord, for an operator to pull.
    pub fn cord(&self) -> Cord {
        self.cord.clone()
    }

    /// Gives the run up. It ends as `cancelled`, and everything is kept.
    pub fn cancel(&self) {
        self.cord.pull(Stop::Cancelled);
    }

    /// Waits for the verdict.
    ///
    /// # Errors
    /// [`RunEnd::Fault`]: the runtime is shutting down.
    pub async fn verdict(self) -> Result<Record, RunEnd> {
        // Nobody reads the entries any more; keeping the channel open would keep all of them.
        drop(self.entries);
        self.task.await.map_err(|error| RunEnd::Fault(error.to_string()))
    }
}
