//! A run told again with every door shut: the same component on the same files, and the journal in the place of the world.
//!
//! Never: sends, spends, writes into a journal, a ledger or anybody's directory. Invariants here: every argument is compared;
//! what the host judges is compared with what it judged, down to the last byte of the verdict.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt as _;

use crate::doors::chain::Sealer;
use crate::doors::fetch::{Exchange, Fetch, Fetched};
use crate::doors::model::{Call, Model, Received};
use crate::doors::rates::RateNews;
use crate::doors::store::{Durability, MemoryStore, Store, transact};
use crate::rules::divergence::Divergence;
use crate::rules::effect::{Denied, Failure, FailureKind};
use crate::rules::facts::Facts;
use crate::rules::item::ItemRecord;
use crate::rules::ledger::{Limits, Line, ScopeId, Terms};
use crate::rules::model::{Metered, Request};
use crate::rules::record::Record;
use crate::rules::spec::{Check, RunSpec};
use crate::rules::verdict::Verdict;

use super::admission::{Scopes, faulted};
use super::cord::Cord;
use super::hooks::Hooks;
use super::journal::{Beginning, Journal};
use super::launch::blank_record;
use super::meter::Meter;
use super::past::{Components, Past, PastError};
use super::pinned;
use super::resume::{Begun, restored};
use super::runner::{Account, Apply, CheckJob, Job, Reached, Runner};
use super::senses::VirtualClock;
use super::tape::{Tape, Then};
use super::tools::Tools;

/// What a replay may use of time: a component that was built anew may spin.
const MAX_REPLAY_MS: u64 = 600_000;

/// What a replay came to.
#[derive(Clone, Debug)]
pub struct Replayed {
    pub serial: String,
    /// Entries that were told and compared.
    pub entries: u64,
    /// Effects among them.
    pub effects: u64,
    /// The verdict; none if the run has none.
    pub record: Option<Record>,
    /// The first difference, if there is one.
    pub divergence: Option<Divergence>,
    /// Why it could not be replayed at all.
    pub fault: Option<String>,
    /// Another engine wrote the journal.
    pub engine: Option<String>,
}

/// A door that is shut.
struct Shut;

#[async_trait]
impl Model for Shut {
    fn request_bytes(&self, _: &Request) -> u64 {
        0
    }

    fn uses_network(&self) -> bool {
        false
    }

    async fn ask(&self, _: &Call) -> Received {
        let failure = Failure { kind: FailureKind::Unavailable, message: "every door is shut in a replay".into() };
        Received {
            result: Err(failure),
            metered: Metered::Unknown,
            net_bytes: 0,
            raw_usage: None,
            rates: RateNews::default(),
        }
    }
}

#[async_trait]
impl Fetch for Shut {
    async fn fetch(&self, _: &Exchange) -> Fetched {
        let failure = Failure { kind: FailureKind::Unavailable, message: "every door is shut in a replay".into() };
        Fetched { result: Err(Denied::Failed(failure)), net_bytes: 0 }
    }
}

/// The job of a past run, with nothing behind its doors. `component` stands in for the run's own.
///
/// # Errors
/// [`PastError::Component`].
pub(super) fn shut_job(runner: &Runner, past: &Past, component: Option<Vec<u8>>) -> Result<Job, PastError> {
    let Components { worker: own, checks, tools, children: _ } = past.components(runner.state.blobs())?;
    let mut spec: RunSpec = past.job.spec.clone();
    if component.is_some() {
        pinned::stand_in(&mut spec);
    }
    let checks = spec.checks.iter().zip(checks);
    let checks = checks.map(|(check, component): (&Check, _)| CheckJob { check: check.clone(), component });
    let shut = || Reached { model: Arc::new(Shut), pace: None, max_response_bytes: 0 };
    Ok(Job {
        component: component.unwrap_or(own),
        checks: checks.collect(),
        tools,
        // Nobody calls them: what they said is told.
        servers: BTreeMap::new(),
        children: Arc::default(),
        workspace: None,
        find: None,
        context: None,
        left_out: past.job.left_out.clone(),
        models: spec.models.keys().map(|name| (name.clone(), shut())).collect::<BTreeMap<_, _>>(),
        web: Arc::new(Shut),
        account: Account::default(),
        hooks: Hooks::default(),
        dir: past.job.dir.clone(),
        spec,
    })
}

/// Tells a past run again.
pub(super) async fn replay(runner: &Arc<Runner>, job: Job, past: Past, scratch: &str) -> Replayed {
    let told = past.told();
    let is_effect = |facts: &Facts| matches!(facts, Facts::Intent { .. } | Facts::Refused { .. });
    let mut replayed = Replayed {
        serial: past.serial.clone(),
        entries: told.len() as u64,
        effects: told.iter().filter(|entry| is_effect(&entry.facts)).count() as u64,
        record: None,
        divergence: None,
        fault: None,
        engine: (past.origin.engine != super::sandbox::ENGINE_NAME).then(|| past.origin.engine.clone()),
    };
    match replay_in(runner, job, past, scratch).await {
        Ok((Verdict::Diverged(divergence), _)) => replayed.divergence = Some(*divergence),
        Ok((_, record)) => replayed.record = record,
        Err(why) => replayed.fault = Some(why),
    }
    let (state, scratch) = (runner.state.clone(), scratch.to_owned());
    let removed = tokio::task::spawn_blocking(move || state.remove_scratch(&scratch)).await;
    if !matches!(removed, Ok(Ok(()))) {
        tracing::warn!("the files of a replay could not be removed");
    }
    replayed
}

async fn replay_in(
    runner: &Arc<Runner>,
    job: Job,
    past: Past,
    scratch: &str,
) -> Result<(Verdict, Option<Record>), String> {
    let tape = Tape::of(past.told(), Then::Shut)?;
    let (host, origin, name) = (Arc::clone(runner), past.origin.clone(), scratch.to_owned());
    let restored = tokio::task::spawn_blocking(move || {
        let run_dir = host.state.scratch(&name).map_err(faulted)?;
        let materials = restored(&host, &job, &origin, &run_dir)?;
        Ok::<_, Verdict>((job, run_dir, materials))
    });
    let restored = restored.await.map_err(|error| error.to_string())?;
    let (job, run_dir, materials) = restored.map_err(|verdict| verdict.why())?;

    let tools = Tools::of(past.job.tools.clone(), &materials.toolboxes)?;
    // A ledger of its own, which nobody sees: nothing is spent, and the clock is there so that a replay ends.
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let scopes = Scopes::of(&job.spec, &past.origin.item, &past.serial);
    let (scope, call, memory) = (ScopeId::host(), Meter::id("replay"), job.spec.caps.memory_bytes);
    let times = [Line::WallMs, Line::WorkMs, Line::CpuMs].map(|line| (line, MAX_REPLAY_MS));
    let limits = times.into_iter().chain([(Line::MemoryBytes, memory), (Line::DiskBytes, u64::MAX)]);
    let terms = Terms { limits: Limits::from_iter(limits), ..Terms::default() };
    let (opened, metered) = (scope.clone(), call.clone());
    let begun = transact(&*store, vec![], Durability::Lazy, move |books| {
        books.ledger.open(&opened, terms, 0)?;
        Meter::begin(books.ledger, &opened, &metered, memory, 0)
    });
    let begun = begun.await.map_err(|error| error.to_string())?.map_err(|denial| denial.to_string())?;
    let meter = Meter::new(Arc::clone(&store), scope, call, begun);

    let time = Arc::new(VirtualClock::starting_at_ms(past.origin.start_ms));
    time.move_to_ms(past.first_ms());
    let beginning = Beginning { sealer: Sealer::new(past.key), tape, resumption: past.resumptions() };
    let journal = Journal::new(store, &past.serial, runner.clock, Arc::clone(&time), None, beginning);
    let mut record = blank_record(&job.spec, &past.serial);
    record.item.clone_from(&past.origin.item);
    record.attempt = past.origin.attempt;
    record.component = Some(past.origin.component);
    let is_closed = past.record().is_some();
    let item = ItemRecord { attempts: past.origin.attempt, ..ItemRecord::default() };
    let begun = Begun { past, job, run_dir, materials, cord: Cord::default(), lease: None };
    let admitted = begun.admitted(scopes, item, meter, journal, (time, tools));
    let verdict = admitted.execute(runner, Apply::Never, &mut record).boxed().await;
    if !matches!(verdict, Verdict::Diverged(_)) {
        record.judge(&verdict);
    }
    Ok((verdict, is_closed.then_some(record)))
}
