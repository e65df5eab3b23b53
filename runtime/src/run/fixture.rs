//! A past run as a regression test: a directory that stands alone, and the run of it in a scratch host.
//!
//! Never: holds a key or the address of a provider, asks a model, changes anything outside the scratch host. Invariants here:
//! what earlier attempts and other runs did to the run (marks shown, money spent) is written down as limits and marks of the
//! fixture, so that it needs no books but its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::doors::blobs::{BlobError, MAX_TREE_BYTES};
use crate::doors::fetch::Fetch;
pub use crate::doors::recorded::{Asked, Departure};
use crate::doors::recorded::{
    Exchange, RecordedModel, RecordedWeb, Recording, Said, WebExchange, WebRecording, WebSaid,
};
use crate::doors::state::State;
use crate::doors::store::{Durability, Need, StoreError, transact};
use crate::doors::tree::{Manifest, under};
use crate::rules::digest::Digest;
use crate::rules::effect::{Answer, Body, Denied, Effect, Entry, Kind, Reason};
use crate::rules::expectation::Expectation;
use crate::rules::facts::Facts;
use crate::rules::ledger::{Amounts, LimitKind, Line, Totals};
use crate::rules::left_out::LeftOut;
use crate::rules::model::{Request, Usage};
use crate::rules::progress::Mark;
use crate::rules::record::Record;
use crate::rules::spec::{
    Allowance, CheckRun, ComponentSource, MarkKind, ModelSpec, Reach, RunSpec, SharedBudget, WorkspaceSpec,
};
use crate::rules::tool::ToolSource;
use crate::rules::verdict::Stop;
use crate::rules::window::Span;

use super::RunEnd;
use super::admission::Scopes;
use super::hooks::Hooks;
use super::past::{Components, Flaw, Past, PastError};
use super::pinned;
use super::runner::{Account, Apply, CheckJob, Job, Reached, Runner};
use super::shape::MAX_COMPONENT_BYTES;

/// The version of a fixture. One of another version is refused.
pub const FIXTURE_FORMAT: u32 = 1;

/// The file that makes a directory a fixture.
pub const FIXTURE_FILE: &str = "fixture.json";

const TRANSCRIPT_FILE: &str = "transcript.json";
/// Of a run that used the web, and of no other.
const WEB_FILE: &str = "web.json";
const COMPONENT_FILE: &str = "component.wasm";
const CHECKS_DIR: &str = "checks";
const TOOLS_DIR: &str = "tools";
const WORKSPACE_DIR: &str = "workspace";
const CONTEXT_DIR: &str = "context";

/// Bytes of a document of a fixture, which may come from anybody.
const MAX_DOCUMENT_BYTES: u64 = 256 << 20;

/// Why there is no fixture, or it does not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FixtureError {
    #[error("run {serial} is open: only a run with a verdict can be expected to end in one again")]
    Open { serial: String },
    #[error(transparent)]
    Past(#[from] PastError),
    #[error("the journal cannot be read")]
    Flawed(#[from] Flaw),
    #[error("a file of the run cannot be read")]
    Blob(#[from] BlobError),
    #[error("{what} {name}")]
    Io { what: &'static str, name: String, source: io::Error },
    #[error("{name} is no such document")]
    Document { name: String, source: serde_json::Error },
    #[error("the fixture has format {found}; this version knows {FIXTURE_FORMAT}")]
    Format { found: u32 },
    #[error("{name} is larger than {most} bytes")]
    TooLarge { name: String, most: u64 },
    #[error("{0}")]
    Wrong(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Ended(#[from] RunEnd),
}

/// `fixture.json`. Fields stand in the order in which they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    pub format: u32,
    pub name: String,
    /// What a test of it compares. A person may write another, for a worker that is mended.
    pub expect: Expectation,
    /// The run that it was made of.
    pub run: String,
    pub component: Digest,
    /// What the worker is told of its task.
    pub item: String,
    pub attempt: u32,
    /// When the worker's clock starts. Milliseconds since 1970-01-01T00:00:00Z.
    pub start_ms: u64,
    /// What the item had shown before.
    #[serde(default)]
    pub seen: Vec<Mark>,
    /// What the place of the run's workspace left out of its files.
    #[serde(default, skip_serializing_if = "LeftOut::is_empty")]
    pub left_out: LeftOut,
    /// The job as it was resolved, with paths of the fixture, and a recording in the place of each model.
    pub job: RunSpec,
}

/// What all models of a run said: `transcript.json`.
pub type Transcript = BTreeMap<String, Recording>;

/// A fixture, read and opened.
pub struct Opened {
    pub fixture: Fixture,
    transcript: Transcript,
    web: WebRecording,
    component: Vec<u8>,
    checks: Vec<CheckJob>,
    tools: BTreeMap<String, Vec<u8>>,
    workspace: Files,
    context: Files,
}

/// Files of a fixture.
enum Files {
    Unwanted,
    /// A tree without files, of which somebody who keeps files only has no directory.
    Empty,
    Here(Dir),
}

/// What a run of a fixture came to.
#[derive(Debug)]
pub struct Rehearsed {
    pub record: Record,
    /// Where the worker first asked each model, or the web, something else than then.
    pub departures: Vec<(String, Departure)>,
}

/// A fixture that is ready to be written.
pub struct Draft {
    pub fixture: Fixture,
    transcript: Transcript,
    web: WebRecording,
    component: Vec<u8>,
    checks: Vec<(PathBuf, Vec<u8>)>,
    tools: Vec<(PathBuf, Vec<u8>)>,
    tree: Option<Manifest>,
    context: Option<Manifest>,
}

impl Draft {
    /// Everything that a test of a past run needs. Blocking.
    ///
    /// # Errors
    /// [`FixtureError`]: the run is open, or something of it is gone.
    pub fn of(past: &Past, state: &State) -> Result<Self, FixtureError> {
        let record = past.record().ok_or_else(|| FixtureError::Open { serial: past.serial.clone() })?;
        let blobs = state.blobs();
        let entries = past.told().iter().map(crate::run::past::KeptEntry::entry).collect::<Result<Vec<_>, _>>()?;
        let entries: Vec<Entry> = entries.into_iter().flatten().collect();
        let has_children = |entry: &Entry| matches!(entry.body, Body::Intent { effect: Effect::Child { .. }, .. });
        if entries.iter().any(has_children) {
            let why =
                format!("run {} had children, which a fixture cannot stand in for; replay it instead", past.serial);
            return Err(FixtureError::Wrong(why));
        }
        let tree =
            |address: &Option<Digest>| address.as_ref().map(|address| blobs.tree(address, MAX_TREE_BYTES)).transpose();
        let (base, context) = (tree(&past.origin.tree)?, tree(&past.origin.context)?);
        let end = past.entries.iter().rev().find_map(|entry| match &entry.facts {
            Facts::Ended { tree, .. } => *tree,
            _ => None,
        });
        let end = tree(&end)?;
        let Components { worker: component, checks: components, tools: of_tools, children: _ } =
            past.components(blobs)?;
        let mut job = past.job.spec.clone();
        let mut checks = Vec::new();
        for (number, (check, component)) in job.checks.iter_mut().zip(components).enumerate() {
            let Some(component) = component else { continue };
            let place = Path::new(CHECKS_DIR).join(format!("{}.wasm", file_name(&check.name, number + 1)));
            check.run = CheckRun::Component(ComponentSource::File(place.clone()));
            checks.push((place, component));
        }
        let mut tools = Vec::new();
        for (number, (name, tool)) in job.tools.iter_mut().enumerate() {
            let Some(component) = of_tools.get(name).cloned() else { continue };
            let place = Path::new(TOOLS_DIR).join(format!("{}.wasm", file_name(name, number + 1)));
            tool.source = ToolSource::Component(ComponentSource::File(place.clone()));
            tools.push((place, component));
        }
        let seen = shown_before(past, &entries, base.as_ref().zip(end.as_ref()));
        stand_alone(&mut job, past, &record, &entries);
        let fixture = Fixture {
            format: FIXTURE_FORMAT,
            name: format!("{}-{}-{}", past.origin.line, record.verdict, past.serial),
            expect: Expectation::of(&record.verdict()),
            run: past.serial.clone(),
            component: past.origin.component,
            item: past.job.item.clone(),
            attempt: past.job.attempt.max(1),
            start_ms: past.origin.start_ms,
            seen,
            left_out: past.job.left_out.clone(),
            job,
        };
        let transcript = transcript(&fixture.job, &entries);
        let web = web(&entries);
        Ok(Self { fixture, transcript, web, component, checks, tools, tree: base, context })
    }

    /// Writes it into an empty directory. Blocking.
    ///
    /// # Errors
    /// [`FixtureError`]: the disk, or a file of the run is gone. A part may be written.
    pub fn write(&self, state: &State, target: &Dir) -> Result<(), FixtureError> {
        let blobs = state.blobs();
        // Nobody sweeps away what is being restored.
        let _keeping = blobs.keeping().map_err(io_error("hold", "the blobs"))?;
        for (name, tree) in [(WORKSPACE_DIR, &self.tree), (CONTEXT_DIR, &self.context)] {
            let Some(tree) = tree else { continue };
            target.create_dir(name).map_err(io_error("make", name))?;
            blobs.restore(tree, &target.open_dir(name).map_err(io_error("open", name))?)?;
        }
        for (dir, components) in [(CHECKS_DIR, &self.checks), (TOOLS_DIR, &self.tools)] {
            if !components.is_empty() {
                target.create_dir(dir).map_err(io_error("make", dir))?;
            }
        }
        for (place, component) in self.checks.iter().chain(&self.tools) {
            write(target, &place.to_string_lossy(), component)?;
        }
        write(target, COMPONENT_FILE, &self.component)?;
        write(target, TRANSCRIPT_FILE, &document(&self.transcript)?)?;
        if !self.web.exchanges.is_empty() {
            write(target, WEB_FILE, &document(&self.web)?)?;
        }
        // Last: what has it is whole.
        write(target, FIXTURE_FILE, &document(&self.fixture)?)
    }
}

/// Whether a directory is a fixture.
pub fn is_fixture(dir: &Dir) -> bool {
    dir.exists(FIXTURE_FILE)
}

/// The fixtures right below a directory, by name. Blocking.
///
/// # Errors
/// The directory cannot be read.
pub fn below(dir: &Dir) -> Result<Vec<(String, Dir)>, FixtureError> {
    let failed = || io_error("list", "the directory");
    let mut found = Vec::new();
    for entry in dir.entries().map_err(failed())? {
        let name = entry.map_err(failed())?.file_name().to_string_lossy().into_owned();
        if let Ok(below) = dir.open_dir(&name)
            && is_fixture(&below)
        {
            found.push((name, below));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

impl Opened {
    /// Reads a fixture. Anybody may have written it, so nothing of it is believed but that it is a test. Blocking.
    ///
    /// # Errors
    /// [`FixtureError`]: it is no fixture, or a part is missing.
    pub fn read(dir: &Dir) -> Result<Self, FixtureError> {
        #[derive(Deserialize)]
        struct AnyFormat {
            format: u32,
        }
        let bytes = read(dir, FIXTURE_FILE, MAX_DOCUMENT_BYTES)?;
        let AnyFormat { format } = parse(FIXTURE_FILE, &bytes)?;
        if format != FIXTURE_FORMAT {
            return Err(FixtureError::Format { found: format });
        }
        let fixture: Fixture = parse(FIXTURE_FILE, &bytes)?;
        for (what, name) in [("item", &fixture.item), ("tenant", &fixture.job.tenant), ("line", &fixture.job.line)] {
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
                return Err(FixtureError::Wrong(format!("{FIXTURE_FILE}: {what} {name:?} is no name")));
            }
        }
        if let Some(name) = provider_in(&fixture.job) {
            let why = format!("{FIXTURE_FILE}: model {name:?} is a provider's; a fixture has recordings only");
            return Err(FixtureError::Wrong(why));
        }
        let transcript: Transcript = parse(TRANSCRIPT_FILE, &read(dir, TRANSCRIPT_FILE, MAX_DOCUMENT_BYTES)?)?;
        let web = match dir.exists(WEB_FILE) {
            true => parse(WEB_FILE, &read(dir, WEB_FILE, MAX_DOCUMENT_BYTES)?)?,
            false => WebRecording::default(),
        };
        let component = read(dir, COMPONENT_FILE, MAX_COMPONENT_BYTES as u64)?;
        let mut checks = Vec::new();
        for check in &fixture.job.checks {
            let component = match &check.run {
                CheckRun::Command(_) => None,
                CheckRun::Component(ComponentSource::File(path)) => {
                    Some(read(dir, &path.to_string_lossy(), MAX_COMPONENT_BYTES as u64)?)
                }
                CheckRun::Component(ComponentSource::Crate(_)) => {
                    let why = format!("{FIXTURE_FILE}: check {:?} is a crate; a fixture has components", check.name);
                    return Err(FixtureError::Wrong(why));
                }
            };
            checks.push(CheckJob { check: check.clone(), component });
        }
        let mut tools = BTreeMap::new();
        for (name, tool) in &fixture.job.tools {
            let ToolSource::Component(ComponentSource::File(path)) = &tool.source else {
                let why = format!("{FIXTURE_FILE}: tool {name:?} is no component; a fixture has components");
                return Err(FixtureError::Wrong(why));
            };
            tools.insert(name.clone(), read(dir, &path.to_string_lossy(), MAX_COMPONENT_BYTES as u64)?);
        }
        let (workspace, context) = match &fixture.job.workspace {
            None => (Files::Unwanted, Files::Unwanted),
            Some(WorkspaceSpec { context: None, .. }) => (Files::open(dir, WORKSPACE_DIR)?, Files::Unwanted),
            Some(WorkspaceSpec { context: Some(_), .. }) => {
                (Files::open(dir, WORKSPACE_DIR)?, Files::open(dir, CONTEXT_DIR)?)
            }
        };
        Ok(Self { fixture, transcript, web, component, checks, tools, workspace, context })
    }

    /// Runs it on a scratch host. `component` stands in for the fixture's own. Nothing is applied.
    ///
    /// # Errors
    /// [`FixtureError`]: the scratch host failed.
    pub async fn rehearse(
        self,
        runner: &Arc<Runner>,
        component: Option<Vec<u8>>,
        serial: String,
    ) -> Result<Rehearsed, FixtureError> {
        let Self { fixture, mut transcript, web, component: own, checks, tools, workspace, context } = self;
        let mut spec = fixture.job;
        spec.item = Some(fixture.item.clone());
        spec.max_attempts = spec.max_attempts.max(fixture.attempt);
        let id = Scopes::of(&spec, &fixture.item, &serial).item;
        let (needs, seen, before) = (vec![Need::Item(id.clone())], fixture.seen, fixture.attempt.saturating_sub(1));
        let remembered = transact(&*runner.store, needs, Durability::Lazy, move |books| {
            let mut item = books.item(&id);
            item.attempts = before;
            item.seen = seen.into_iter().collect();
            books.remember(&id, item);
        });
        remembered.await?;
        let mut recorded = Vec::new();
        let mut models = BTreeMap::new();
        for name in spec.models.keys() {
            let model = Arc::new(RecordedModel::new(transcript.remove(name).unwrap_or_default()));
            recorded.push((name.clone(), Arc::clone(&model)));
            models.insert(name.clone(), Reached { model, pace: None, max_response_bytes: 0 });
        }
        if component.is_some() {
            pinned::stand_in(&mut spec);
        }
        let component = component.unwrap_or(own);
        let recorded_web = Arc::new(RecordedWeb::new(web));
        let (workspace, context) = (workspace.on(runner, WORKSPACE_DIR)?, context.on(runner, CONTEXT_DIR)?);
        let (account, dir) = (Account::default(), String::new());
        let (web, hooks) = (Arc::clone(&recorded_web) as Arc<dyn Fetch>, Hooks::default());
        let job = Job {
            spec,
            component,
            checks,
            tools,
            servers: BTreeMap::new(),
            children: Arc::default(),
            workspace,
            find: None,
            context,
            left_out: fixture.left_out,
            models,
            web,
            account,
            hooks,
            dir,
        };
        let mut handle = runner.start(job, serial, Apply::Never);
        while handle.next_entry().await.is_some() {}
        let record = handle.verdict().await?;
        let departures =
            recorded.into_iter().filter_map(|(name, model)| Some((format!("model {name}"), model.departure()?)));
        let of_web = recorded_web.departure().map(|departure| ("the web".to_owned(), departure));
        Ok(Rehearsed { record, departures: departures.chain(of_web).collect() })
    }
}

impl Files {
    fn open(dir: &Dir, name: &str) -> Result<Self, FixtureError> {
        match dir.open_dir(name) {
            Ok(files) => Ok(Self::Here(files)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Empty),
            Err(error) => Err(io_error("open", name)(error)),
        }
    }

    fn on(self, runner: &Runner, name: &str) -> Result<Option<Dir>, FixtureError> {
        Ok(match self {
            Files::Unwanted => None,
            Files::Here(dir) => Some(dir),
            Files::Empty => {
                let scratch = runner.state.scratch(name).and_then(|scratch| scratch.subdir("files"));
                Some(scratch.map_err(io_error("make", name))?)
            }
        })
    }
}

fn provider_in(job: &RunSpec) -> Option<&String> {
    job.models.iter().find(|(_, model)| matches!(model.reach, Reach::Provider(_))).map(|(name, _)| name)
}

/// The job with nothing in it of the host that it ran on, and with limits as the run met them.
fn stand_alone(job: &mut RunSpec, past: &Past, record: &Record, entries: &[Entry]) {
    job.worker = ComponentSource::File(PathBuf::from(COMPONENT_FILE));
    job.seed = Some(past.origin.seed);
    job.item = None;
    // It had none, or there is no fixture of it.
    job.children.clear();
    job.grants.children.clear();
    let context = past.origin.context.map(|_| PathBuf::from(CONTEXT_DIR));
    job.workspace = past.origin.tree.map(|_| WorkspaceSpec { dir: PathBuf::from(WORKSPACE_DIR), context });
    without_providers(job);
    for grant in &mut job.grants.http {
        // Whom the host knows and what it keeps from everybody is not the fixture's: it dials nobody.
        (grant.networks, grant.secrets) = (Vec::new(), Vec::new());
    }
    let both = |totals: &Totals| totals.spent.plus(&totals.held);
    let before = both(&record.ledger.item).less(&both(&record.ledger.attempt));
    for (line, limit) in &mut job.budget.item {
        *limit = limit.saturating_sub(before.get(*line));
    }
    job.shared = met(entries, &both(&record.ledger.attempt));
}

/// Where a provider is and what its key is called is nobody's business who gets the fixture.
fn without_providers(job: &mut RunSpec) {
    for model in job.models.values_mut() {
        let ModelSpec { reach, requests_per_minute, tokens_per_minute, retries, .. } = model;
        // What was answered in the end is recorded, and not how often it was asked for.
        *retries = 0;
        *reach = Reach::Script { transcript: PathBuf::from(TRANSCRIPT_FILE) };
        (*requests_per_minute, *tokens_per_minute) = (None, None);
    }
    let of_host = ["url", "model", "key-env", "key-file", "dialect", "script"];
    job.settings.retain(|setting| {
        let (table, key) = setting.key.rsplit_once('.').unwrap_or(("", &setting.key));
        let of_model = table.starts_with("models.") && of_host.contains(&key);
        !of_model && !setting.key.starts_with("policy.")
    });
}

/// The limits of others that the run met, as if nobody else had spent anything there: what it had spent until then, and what
/// was left.
fn met(entries: &[Entry], in_all: &Amounts) -> SharedBudget {
    let mut shared = SharedBudget { declared: true, ..SharedBudget::default() };
    let mut spent = Amounts::default();
    for entry in entries {
        let limit = match &entry.body {
            Body::Answered { heard: Err(Denied::Refused(refusal)), .. } | Body::Refused { refusal, .. } => {
                match &refusal.reason {
                    Reason::Exhausted { shortfall } => {
                        let room = spent.get(shortfall.line).saturating_add(shortfall.left);
                        Some((shortfall.scope.as_str(), shortfall.line, shortfall.limit, room))
                    }
                    _ => None,
                }
            }
            Body::Stopped { stop: Stop::Exhausted { scope, line, limit, .. } } => {
                Some((scope.as_str(), *line, *limit, in_all.get(*line)))
            }
            Body::Full { used, by, .. } => Some((by.scope.as_str(), by.line, by.limit, *used)),
            _ => None,
        };
        if let Some((scope, line, limit, room)) = limit {
            limited(&mut shared, scope, line, limit, room);
        }
        if let Body::Answered { cost, .. } = &entry.body {
            spent = spent.plus(&cost.spent).plus(&cost.held);
        }
    }
    shared
}

fn limited(shared: &mut SharedBudget, scope: &str, line: Line, limit: LimitKind, room: u64) {
    let allowance: &mut Allowance = match scope {
        "host" => &mut shared.host,
        "tenant" => &mut shared.tenant,
        "line" => &mut shared.line,
        // The job's own, which it says itself.
        _ => return,
    };
    let limits = match limit {
        LimitKind::Total => &mut allowance.total,
        LimitKind::Hour => allowance.windows.entry(Span::Hour).or_default(),
        LimitKind::Day => allowance.windows.entry(Span::Day).or_default(),
        LimitKind::Week => allowance.windows.entry(Span::Week).or_default(),
        LimitKind::Gap | LimitKind::FirstGap => return,
    };
    limits.entry(line).or_insert(room);
}

/// What each model said, in the order in which it was asked.
fn transcript(job: &RunSpec, entries: &[Entry]) -> Transcript {
    let mut asked: BTreeMap<u64, (&Request, u32)> = BTreeMap::new();
    let mut said: BTreeMap<u64, (String, Exchange)> = BTreeMap::new();
    let mut counting: BTreeMap<u64, &String> = BTreeMap::new();
    let mut counted: BTreeMap<u64, (String, Option<u64>)> = BTreeMap::new();
    for entry in entries {
        match &entry.body {
            Body::Intent { call, effect: Effect::Model { request }, max_output, .. } => {
                asked.insert(*call, (request, max_output.unwrap_or(request.max_output)));
            }
            Body::Intent { call, effect: Effect::Count { model }, .. } => drop(counting.insert(*call, model)),
            Body::Answered { call, kind: Kind::Count, heard, .. } => {
                let Some(model) = counting.get(call) else { continue };
                let tokens_in = match heard {
                    Ok(Answer::Counted { tokens_in }) => Some(*tokens_in),
                    _ => None,
                };
                counted.insert(*call, ((*model).clone(), tokens_in));
            }
            Body::Answered { call, kind: Kind::Model, heard, cost, .. } => {
                let Some((request, max_output)) = asked.get(call) else { continue };
                let (reply, usage) = match heard {
                    Ok(Answer::Model { reply, usage, .. }) => (Said::Reply(reply.clone()), *usage),
                    Err(Denied::Failed(failure)) => {
                        let spent = |line| cost.spent.get(line);
                        let usage = Usage::of(spent(Line::TokensIn), spent(Line::TokensOut));
                        (Said::Failure(failure.clone()), usage)
                    }
                    // No model said that.
                    _ => continue,
                };
                let usage = cost.held.is_nothing().then_some(usage);
                let asked = Asked { max_output: *max_output, ..Asked::of(request) };
                let exchange = Exchange { asked, said: reply, usage };
                said.insert(*call, (request.model.clone(), exchange));
            }
            _ => {}
        }
    }
    let mut transcript: Transcript = job.models.keys().map(|name| (name.clone(), Recording::default())).collect();
    for (model, exchange) in said.into_values() {
        transcript.entry(model).or_default().answers.push(exchange);
    }
    for (model, tokens_in) in counted.into_values() {
        transcript.entry(model).or_default().counts.push(tokens_in);
    }
    transcript
}

/// What the web answered, in the order in which it was asked.
fn web(entries: &[Entry]) -> WebRecording {
    let mut exchanges: BTreeMap<u64, WebExchange> = BTreeMap::new();
    let mut asked = BTreeMap::new();
    for entry in entries {
        match &entry.body {
            Body::Intent { call, effect: Effect::Fetch { request }, .. } => drop(asked.insert(*call, request)),
            Body::Answered { call, kind: Kind::Fetch | Kind::Send, heard, cost, .. } => {
                let Some(request) = asked.get(call) else { continue };
                let said = match heard {
                    Ok(Answer::Fetched { reply }) => WebSaid::Reply(reply.clone()),
                    Err(denied) => WebSaid::Denied(denied.clone()),
                    Ok(_) => continue,
                };
                let net_bytes = cost.spent.plus(&cost.held).get(Line::NetBytes);
                exchanges.insert(*call, WebExchange { asked: Asked::of_web(request), said, net_bytes });
            }
            _ => {}
        }
    }
    WebRecording { exchanges: exchanges.into_values().collect() }
}

/// What the run showed that was no mark, because an earlier attempt had shown it.
fn shown_before(past: &Past, entries: &[Entry], trees: Option<(&Manifest, &Manifest)>) -> Vec<Mark> {
    let done = &past.job.spec.done;
    let mut shown = BTreeSet::new();
    for entry in entries {
        match &entry.body {
            Body::Answered { heard: Ok(Answer::CheckedIn { seen, .. }), .. } => {
                shown.insert(Mark { kind: MarkKind::Tree, digest: *seen });
            }
            Body::Answered { heard: Ok(Answer::Attached { id }), .. } => {
                shown.extend(id.parse().ok().map(|digest| Mark { kind: MarkKind::Artifact, digest }));
            }
            _ => {}
        }
    }
    if let Some((base, end)) = trees {
        let changes = Manifest::changes(base, end);
        if changes.iter().all(|change| under(&done.tree, &change.path)) {
            shown.insert(Mark { kind: MarkKind::Tree, digest: end.digest(&done.tree) });
        }
    }
    let own: BTreeSet<Mark> = past.marks().into_iter().collect();
    let base = past.origin.base.map(|digest| Mark { kind: MarkKind::Tree, digest });
    shown.retain(|mark| done.marks.contains(&mark.kind) && !own.contains(mark) && Some(*mark) != base);
    shown.into_iter().collect()
}

/// A check's name as that of a file, or its number.
fn file_name(name: &str, number: usize) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    if !name.is_empty() && name.chars().all(is_plain) { name.to_owned() } else { number.to_string() }
}

fn io_error(what: &'static str, name: &str) -> impl FnOnce(io::Error) -> FixtureError {
    let name = name.to_owned();
    move |source| FixtureError::Io { what, name, source }
}

fn document(value: &impl Serialize) -> Result<Vec<u8>, FixtureError> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|source| FixtureError::Document { name: "the fixture".to_owned(), source })?;
    Ok(format!("{text}\n").into_bytes())
}

fn write(dir: &Dir, name: &str, bytes: &[u8]) -> Result<(), FixtureError> {
    let file = dir.open_with(name, OpenOptions::new().write(true).create_new(true));
    file.and_then(|mut file| file.write_all(bytes)).map_err(io_error("write", name))
}

fn read(dir: &Dir, name: &str, most: u64) -> Result<Vec<u8>, FixtureError> {
    let mut bytes = Vec::new();
    let file = dir.open(name).map_err(io_error("read", name))?;
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(io_error("read", name))?;
    if bytes.len() as u64 > most {
        return Err(FixtureError::TooLarge { name: name.to_owned(), most });
    }
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, FixtureError> {
    serde_json::from_slice(bytes).map_err(|source| FixtureError::Document { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::authored::{self, Overrides};

    #[test]
    fn a_fixture_names_no_provider_and_no_key() {
        let operator = "[models.gpt]\ndialect = \"openai\"\nurl = \"https://llm.example.org/v1\"\nmodel = \"big-one\"\n\
            key-env = \"SECRET_KEY\"\nrequests-per-minute = 7\nwindow = 8192\nmax-output = 512\n\
            usd-per-mtok-in = \"1\"\nusd-per-mtok-out = \"2\"\n";
        let operator = authored::operator(operator).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
        let job = "line = \"l\"\n[worker]\ncomponent = \"w.wasm\"\n[task]\ntext = \"t\"\n[grants]\nmodels = [\"gpt\"]\n\
            [budget]\nwall = \"10s\"\ntokens = 1000\nusd = \"1\"\nmodel-calls = 5\nnet = \"1MiB\"\n[attempts]\n\
            max = 1\nbackoff = \"0s\"\n[done]\nmarks = [\"artifact\"]\n";
        let job = authored::job(job, &operator, &Overrides::default());
        let mut job = job.unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
        assert_eq!(provider_in(&job).map(String::as_str), Some("gpt"));
        without_providers(&mut job);
        assert_eq!(provider_in(&job), None);
        let text = serde_json::to_string(&job).expect("writes");
        for word in ["example.org", "SECRET_KEY", "big-one", "openai"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
        assert!(text.contains("\"window\":8192"), "what is known of the model stays: {text}");
    }

    #[test]
    fn a_checks_name_is_a_file_or_its_number_is() {
        for (name, expected) in [("tests", "tests"), ("lint_2-a", "lint_2-a"), ("../up", "3"), ("a.b", "3"), ("", "3")]
        {
            assert_eq!(file_name(name, 3), expected);
        }
    }

    #[test]
    fn a_document_of_a_fixture_is_read_up_to_n_bytes_and_not_n_plus_1() {
        let dir = tempfile::tempdir().expect("a directory");
        let handle = Dir::open_ambient_dir(dir.path(), cap_std::ambient_authority()).expect("opens");
        std::fs::write(dir.path().join("document"), "123456789").expect("writes");
        assert_eq!(read(&handle, "document", 9).expect("as many as allowed").len(), 9);
        assert!(matches!(read(&handle, "document", 8), Err(FixtureError::TooLarge { most: 8, .. })));
    }
}
