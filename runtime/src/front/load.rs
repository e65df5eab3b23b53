//! From a path on the command line to a job with everything opened that it names.
//!
//! Never: decides what a job may do (the rules do) or runs anything of it. Every mistake of a file is shown at once,
//! where it stands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use miette::{LabeledSpan, MietteDiagnostic, NamedSource, Report};

use crate::rules::authored::again::{Changed, Whose};
use crate::rules::authored::{self, Items, Mistake, OperatorFile, Overrides};
use crate::rules::hook::Hook;
use crate::rules::left_out::LeftOut;
use crate::rules::mcp::McpSpec;
use crate::rules::policy::MAX_CHILD_DEPTH;
use crate::rules::spec::{CheckRun, ComponentSource, ModelSpec, Reach, RunSpec};
use crate::rules::tool::{ToolSource, ToolSpec};
use crate::run::hooks::Hooks;
use crate::run::past::{Components, Past};
use crate::run::pinned::{self, Places};
use crate::run::runner::{CheckJob, Job, Reached, ScriptError, ScriptedModel};
use crate::run::shape::MAX_COMPONENT_BYTES;

use super::machine::Machine;
use super::repository;

/// The name of a job file.
pub const JOB_FILE: &str = "jidoka.toml";

/// Bytes of a job's file and of the operator's. The inputs, arguments and variables of a job may have 16 MiB each.
pub const MAX_TEXT_BYTES: u64 = 64 << 20;

/// A job that loaded: its directory and its settings, and the operator's hooks.
pub struct Loaded {
    pub dir: PathBuf,
    pub spec: RunSpec,
    /// The jobs of its children, whose settings are in `spec` too.
    pub children: BTreeMap<String, Loaded>,
    /// What the operator has done around runs.
    pub hooks: Vec<Hook>,
    /// The operator's file that it was loaded under.
    pub operator: OperatorFile,
}

/// Why a job does not load. Nothing ran.
#[derive(Debug)]
pub enum LoadError {
    /// A file has mistakes, each shown where it stands.
    Mistakes(Vec<Report>),
    /// A file or a directory is not there or not readable.
    Other(anyhow::Error),
}

impl From<anyhow::Error> for LoadError {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// Loads the job at `path`: a directory with a job file, a job file, or a component beside one.
///
/// # Errors
/// [`LoadError`] with every mistake of the job's file, or of the operator's.
pub fn load(machine: &dyn Machine, path: &Path, overrides: &Overrides) -> Result<Loaded, LoadError> {
    load_at(machine, path, overrides, 0)
}

/// Whether a run of this job's worker may begin by the operator's `policy.items`.
///
/// # Errors
/// [`LoadError`]: it would be a run of an item that has no name.
pub(super) fn may_run(loaded: &Loaded, path: &Path) -> Result<(), LoadError> {
    match (&loaded.spec.item, loaded.operator.policy.items) {
        (None, Items::Named) => {
            let what = "the job names no item, and the operator's `policy.items` is \"named\"".to_owned();
            let mistake =
                Mistake::of_flag(what, "an item, in the job or on the command line".to_owned(), "--item NAME");
            Err(LoadError::Mistakes(reports(path, "", vec![mistake])))
        }
        (Some(_), Items::Any | Items::Named) | (None, Items::Any) => Ok(()),
    }
}

/// What to say of a job that names no item.
pub(super) fn unnamed(spec: &RunSpec) -> Option<String> {
    spec.item.is_none().then(|| {
        format!(
            "note: no item is named, so each run is one of its own: [attempts] max = {} and [budget.item] hold for this run \
             alone; name it with `item = \"NAME\"` or --item NAME",
            spec.max_attempts
        )
    })
}

/// As [`load`], for a job with so many callers above it.
fn load_at(machine: &dyn Machine, path: &Path, overrides: &Overrides, depth: usize) -> Result<Loaded, LoadError> {
    let (file, component) = locate(path)?;
    let text = read_text(machine, &file)?;
    let mut loaded = load_text_at(machine, &file, &text, overrides, depth)?;
    if let Some(component) = component {
        loaded.spec.worker = ComponentSource::File(component);
    }
    Ok(loaded)
}

/// Loads a job whose text is known, as if it stood in a file of this name.
///
/// # Errors
/// As [`load`].
pub(super) fn load_text(
    machine: &dyn Machine,
    file: &Path,
    text: &str,
    overrides: &Overrides,
) -> Result<Loaded, LoadError> {
    load_text_at(machine, file, text, overrides, 0)
}

fn load_text_at(
    machine: &dyn Machine,
    file: &Path,
    text: &str,
    overrides: &Overrides,
    depth: usize,
) -> Result<Loaded, LoadError> {
    let operator = operator(machine)?;
    let mut spec = authored::job(text, &operator, overrides)
        .map_err(|mistakes| LoadError::Mistakes(reports(file, text, mistakes)))?;
    spec.shared.declared = machine.operator_file()?.is_some();
    let dir = file.parent().map_or_else(PathBuf::new, Path::to_owned);
    let dir = if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir };
    transcripts(machine, &dir, &spec)?;
    let children = children(machine, &dir, &mut spec, overrides, depth)?;
    Ok(Loaded { dir, spec, children, hooks: operator.hooks.clone(), operator })
}

/// Reads the transcripts of scripted models for their mistakes. One that is not there is missed where it is opened.
fn transcripts(machine: &dyn Machine, dir: &Path, spec: &RunSpec) -> Result<(), LoadError> {
    let mut mistakes = Vec::new();
    for model in spec.models.values() {
        let Reach::Script { transcript } = &model.reach else { continue };
        let file = dir.join(transcript);
        let Ok(text) = read_text(machine, &file) else { continue };
        if let Err(ScriptError { message, span, .. }) = ScriptedModel::parse(&text) {
            let (label, help) = ("here".to_owned(), "a transcript is `[[turn]]` after `[[turn]]`".to_owned());
            mistakes.extend(reports(&file, &text, vec![Mistake { message, span, label, help }]));
        }
    }
    if mistakes.is_empty() { Ok(()) } else { Err(LoadError::Mistakes(mistakes)) }
}

/// Loads the jobs of a job's children, each where it stands. Below so many callers there are none.
fn children(
    machine: &dyn Machine,
    dir: &Path,
    spec: &mut RunSpec,
    overrides: &Overrides,
    depth: usize,
) -> Result<BTreeMap<String, Loaded>, LoadError> {
    if depth == MAX_CHILD_DEPTH {
        spec.children.clear();
        spec.grants.children.clear();
    }
    let mut children = BTreeMap::new();
    let mut named = std::mem::take(&mut spec.children);
    for (name, child) in &mut named {
        let path = dir.join(&child.job);
        // What the command line says of a run is of the run that it starts.
        let overrides = Overrides { tenant: overrides.tenant.clone(), ..Overrides::default() };
        let loaded = load_at(machine, &path, &overrides, depth + 1)?;
        let beyond = loaded.spec.beyond(spec);
        if !beyond.is_empty() {
            let why = anyhow!("child \"{name}\", {}: {}", path.display(), beyond.join("; "));
            return Err(LoadError::Other(why.context("a child has at most what its caller has")));
        }
        child.spec = Some(Box::new(RunSpec { settings: Vec::new(), ..loaded.spec.clone() }));
        children.insert(name.clone(), loaded);
    }
    spec.children = named;
    Ok(children)
}

/// The operator's file of today; without one, that of a host that allows nothing beyond what every host does.
///
/// # Errors
/// [`LoadError`] with every mistake of it.
pub(super) fn operator(machine: &dyn Machine) -> Result<OperatorFile, LoadError> {
    let Some(file) = machine.operator_file()? else { return Ok(OperatorFile::default()) };
    let text = read_text(machine, &file)?;
    authored::operator(&text).map_err(|mistakes| LoadError::Mistakes(reports(&file, &text, mistakes)))
}

/// The job file, and the component if that is what was named.
fn locate(path: &Path) -> anyhow::Result<(PathBuf, Option<PathBuf>)> {
    if path.is_dir() {
        return Ok((path.join(JOB_FILE), None));
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => Ok((path.to_owned(), None)),
        Some("wasm") => {
            let name = path.file_name().ok_or_else(|| anyhow!("{} has no file name", path.display()))?;
            Ok((path.with_file_name(JOB_FILE), Some(PathBuf::from(name))))
        }
        _ if path.exists() => bail!(
            "{} is neither a directory with a {JOB_FILE}, nor a job file (.toml), nor a component (.wasm)",
            path.display()
        ),
        _ => bail!("{} does not exist", path.display()),
    }
}

fn read_text(machine: &dyn Machine, file: &Path) -> anyhow::Result<String> {
    let bytes = machine.read_at_most(file, MAX_TEXT_BYTES).with_context(|| format!("read {}", file.display()))?;
    String::from_utf8(bytes).with_context(|| format!("read {}: it is not UTF-8", file.display()))
}

fn reports(file: &Path, text: &str, mistakes: Vec<Mistake>) -> Vec<Report> {
    let source = |mistake: Mistake| {
        let mut diagnostic = MietteDiagnostic::new(mistake.message).with_help(mistake.help);
        if let Some(span) = mistake.span {
            diagnostic = diagnostic.with_label(LabeledSpan::at(span, mistake.label));
        }
        Report::new(diagnostic).with_source_code(NamedSource::new(file.display().to_string(), text.to_owned()))
    };
    mistakes.into_iter().map(source).collect()
}

/// Builds and reads the components that the job names and opens its directories.
///
/// # Errors
/// What is missing, unreadable or does not build. Nothing ran.
pub fn open(machine: &dyn Machine, loaded: Loaded, building: &dyn Fn(&str)) -> anyhow::Result<Job> {
    let Loaded { dir, mut spec, children, hooks, operator } = loaded;
    let component = match &spec.call {
        None => component(machine, &dir, &spec.worker, building).context("load the worker")?,
        // A tool is called in its place.
        Some(_) => Vec::new(),
    };
    read_pins(machine, &mut spec, &dir, Signatures::BesideComponents);
    let mut checks = Vec::new();
    for check in &spec.checks {
        let component = match &check.run {
            CheckRun::Command(_) => None,
            CheckRun::Component(source) => Some(
                self::component(machine, &dir, source, building)
                    .with_context(|| format!("load check \"{}\"", check.name))?,
            ),
        };
        checks.push(CheckJob { check: check.clone(), component });
    }
    let open = |path: &Path, what: &str| {
        machine.open(&dir.join(path)).with_context(|| format!("open the {what} {}", dir.join(path).display()))
    };
    let workspace = spec.workspace.as_ref().map(|workspace| open(&workspace.dir, "workspace")).transpose()?;
    let find = spec.workspace.as_ref().map(|workspace| machine.find(&dir.join(&workspace.dir)));
    let asked = repository::Lookup {
        read: &|path, most| machine.read_at_most(path, most),
        variable: &|name| machine.variable(name),
    };
    let left_out = spec.workspace.as_ref().map(|workspace| repository::left_out(&asked, &dir.join(&workspace.dir)));
    let left_out = left_out.transpose().context("read the ignore rules above the workspace")?.unwrap_or_default();
    let context = spec.workspace.as_ref().and_then(|workspace| workspace.context.as_ref());
    let context = context.map(|context| open(context, "context")).transpose()?;
    let models = reached(machine, &spec, &dir)?;
    let web = machine.web(&spec).context("open the way to the web")?;
    let (account, hooks) = (machine.account(&spec), machine.hooks(hooks));
    let tools = tools(machine, &dir, &spec, building)?;
    let servers = servers(&spec, &operator);
    let mut jobs = BTreeMap::new();
    // Nobody starts one from a tool's call.
    for (name, loaded) in children.into_iter().filter(|_| spec.call.is_none()) {
        let child = self::open(machine, loaded, building).with_context(|| format!("load child \"{name}\""))?;
        // With its pins as they were read.
        spec.children.entry(name.clone()).and_modify(|it| it.spec = Some(Box::new(child.spec.clone())));
        jobs.insert(name, child);
    }
    Ok(Job {
        spec,
        children: Arc::new(jobs),
        component,
        checks,
        tools,
        servers,
        workspace,
        find,
        context,
        left_out,
        models,
        web,
        account,
        hooks,
        dir: absolute(&dir)?,
    })
}

/// The MCP servers of the granted tools, as the operator has them today.
fn servers(spec: &RunSpec, operator: &OperatorFile) -> BTreeMap<String, McpSpec> {
    let of = |(name, tool): (&String, &ToolSpec)| match &tool.source {
        ToolSource::Server(server) => Some((name.clone(), operator.mcp.get(server)?.clone())),
        ToolSource::Component(_) => None,
    };
    spec.tools.iter().filter_map(of).collect()
}

/// The components of the granted tools.
fn tools(
    machine: &dyn Machine,
    dir: &Path,
    spec: &RunSpec,
    building: &dyn Fn(&str),
) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut tools = BTreeMap::new();
    for (name, tool) in &spec.tools {
        if let ToolSource::Component(source) = &tool.source {
            let component = self::component(machine, dir, source, building);
            tools.insert(name.clone(), component.with_context(|| format!("load tool \"{name}\""))?);
        }
    }
    Ok(tools)
}

/// The job of a past run as the operator's file allows it today, with everything opened that it names.
///
/// # Errors
/// [`LoadError`]: what is not allowed any more, missing or unreadable. Nothing ran.
pub fn again(machine: &dyn Machine, past: &Past, whose: Whose, changed: &Changed) -> Result<Job, LoadError> {
    let operator = operator(machine)?;
    let declared = machine.operator_file()?.is_some();
    let mut spec = authored::again::again(past.job.spec.clone(), &operator, declared, whose, changed)
        .map_err(|why| anyhow!("run {}: {}", past.serial, why.join("; ")))?;
    // The component is the one that the run has, and so is its signature.
    read_pins(machine, &mut spec, Path::new(&past.job.dir), Signatures::AsKept);
    let blobs = machine.desk()?;
    let components = past.all_components(&spec, blobs.state().blobs()).context("read the components")?;
    let dir = PathBuf::from(&past.job.dir);
    // The directory of a job that somebody else ran is not to be believed.
    let workspace = spec.workspace.as_ref().filter(|_| whose == Whose::Ours);
    let find = workspace.map(|workspace| machine.find(&dir.join(&workspace.dir)));
    let workspace = workspace.map(|workspace| machine.open(&dir.join(&workspace.dir)));
    let workspace = workspace.transpose().with_context(|| format!("open the workspace in {}", dir.display()))?;
    let job = kept_job(machine, &operator, spec, components, (&past.job.dir, whose))?;
    Ok(Job { workspace, find, hooks: machine.hooks(operator.hooks.clone()), ..job })
}

/// A job whose components are kept, and so are those of its children.
fn kept_job(
    machine: &dyn Machine,
    operator: &OperatorFile,
    mut spec: RunSpec,
    components: Components,
    (job_dir, whose): (&str, Whose),
) -> anyhow::Result<Job> {
    let Components { worker: component, checks: components, tools, children: below } = components;
    let dir = PathBuf::from(job_dir);
    let checks = spec.checks.iter().cloned().zip(components);
    let checks = checks.map(|(check, component)| CheckJob { check, component }).collect();
    let mut children = BTreeMap::new();
    for (name, child) in &mut spec.children {
        let (Some(own), Some(components)) = (&mut child.spec, below.get(name)) else {
            bail!("child \"{name}\" has no component in the run");
        };
        let own_dir = absolute(&child_dir(&dir.join(&child.job)))?;
        read_pins(machine, own, Path::new(&own_dir), Signatures::AsKept);
        let mut job = kept_job(machine, operator, (**own).clone(), components.clone(), (&own_dir, whose))?;
        own.children.clone_from(&job.spec.children);
        // It has not begun, so no run has kept it.
        let context = own.workspace.as_ref().and_then(|workspace| workspace.context.as_ref());
        job.context = match (context, whose) {
            (None, _) => None,
            (Some(context), Whose::Ours) => {
                let context = Path::new(&own_dir).join(context);
                Some(machine.open(&context).with_context(|| format!("open the context {}", context.display()))?)
            }
            (Some(_), Whose::Theirs) => bail!("child \"{name}\" has a context, which an imported run does not bring"),
        };
        children.insert(name.clone(), job);
    }
    let models = reached(machine, &spec, &dir)?;
    let web = machine.web(&spec).context("open the way to the web")?;
    let (account, servers) = (machine.account(&spec), servers(&spec, operator));
    Ok(Job {
        component,
        checks,
        tools,
        servers,
        children: Arc::new(children),
        workspace: None,
        find: None,
        context: None,
        left_out: LeftOut::default(),
        models,
        web,
        account,
        hooks: Hooks::default(),
        dir: job_dir.to_owned(),
        spec,
    })
}

/// The directory of a job that was named like this.
fn child_dir(path: &Path) -> PathBuf {
    match path.extension() {
        Some(extension) if extension == "toml" || extension == "wasm" => {
            path.parent().map_or_else(PathBuf::new, Path::to_owned)
        }
        _ => path.to_owned(),
    }
}

/// Where the signatures of components are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signatures {
    BesideComponents,
    /// In the pins, as they were when the components were loaded.
    AsKept,
}

/// Reads the keys and the signatures that the pins of a job ask for.
pub(super) fn read_pins(machine: &dyn Machine, spec: &mut RunSpec, dir: &Path, signatures: Signatures) {
    let operator = machine.operator_file().ok().flatten().unwrap_or_default();
    let operator = operator.parent().unwrap_or(Path::new(""));
    let checks = spec.checks.iter_mut().filter_map(|check| match &check.run {
        CheckRun::Component(source) => Some((source, &mut check.pin)),
        CheckRun::Command(_) => None,
    });
    let tools = spec.tools.values_mut().filter_map(|tool| match &tool.source {
        ToolSource::Component(source) => Some((source, &mut tool.pin)),
        ToolSource::Server(_) => None,
    });
    for (source, pin) in [(&spec.worker, &mut spec.worker_pin)].into_iter().chain(checks).chain(tools) {
        let component = match (source, signatures) {
            (ComponentSource::File(path), Signatures::BesideComponents) => Some(dir.join(path)),
            (ComponentSource::Crate(_), _) | (_, Signatures::AsKept) => None,
        };
        let job = (signatures == Signatures::BesideComponents).then_some(dir);
        let places = Places { job, operator, component };
        pinned::read(pin, &places, &|path, most| machine.read_at_most(path, most));
    }
}

fn reached(machine: &dyn Machine, spec: &RunSpec, dir: &Path) -> anyhow::Result<BTreeMap<String, Reached>> {
    let reach = |(name, model): (&String, &ModelSpec)| {
        let reached = machine.reach(name, model, dir).with_context(|| format!("reach model \"{name}\""))?;
        Ok((name.clone(), reached))
    };
    spec.models.iter().map(reach).collect()
}

fn absolute(dir: &Path) -> anyhow::Result<String> {
    let dir = std::path::absolute(dir).with_context(|| format!("find {}", dir.display()))?;
    Ok(dir.display().to_string())
}

/// The bytes of a component, built first if it is a crate.
///
/// # Errors
/// It does not build, or is not readable.
pub fn component(
    machine: &dyn Machine,
    dir: &Path,
    source: &ComponentSource,
    building: &dyn Fn(&str),
) -> anyhow::Result<Vec<u8>> {
    let path = match source {
        ComponentSource::File(path) => dir.join(path),
        ComponentSource::Crate(path) => {
            let crate_dir = dir.join(path);
            building(&format!("building {}", crate_dir.display()));
            machine.build(&crate_dir)?
        }
    };
    let bytes = machine.read_at_most(&path, MAX_COMPONENT_BYTES as u64);
    bytes.with_context(|| format!("read the component {}", path.display()))
}
