//! `jidoka.toml` and the operator's file as people write them: text in, a resolved run or every mistake at once.
//!
//! Never: reads a file, looks at the world, fills a gap in silence. A key that nobody knows is a mistake; a setting is
//! written, or its default is noted with the others; a job asks for more than its operator allows and does not load.
//! A mistake is reported once, where it is: what would only follow from it is not.

pub mod again;
mod amount;
mod attempts;
mod budget;
mod caps;
mod ceiling;
mod children;
mod document;
mod done;
mod gap;
mod guards;
mod hooks;
mod http;
mod human;
mod kinds;
pub mod limit;
mod mcp;
mod mistake;
mod models;
mod operator;
mod pin;
mod provider;
mod reader;
mod secrets;
mod shared;
mod tenant;
#[cfg(test)]
mod tests;
mod tools;

use std::collections::BTreeMap;
use std::ops::Range;

use self::amount::{Amount, Unit};
use self::budget::{Circumstances, Models, Tools, Web};
use self::ceiling::{Ceiling, Excess, Shown};
use self::done::{COMPONENT, CRATE};
use self::kinds::{Choice, HostPath, Kind, List, Name, Repeats, Text, Texts};
pub use self::mistake::Mistake;
use self::models::Names;
pub use self::operator::{Items, OperatorFile, Policy, operator};
pub use self::provider::OperatorModel;
use self::reader::{Found, Key, Read, Reader, Required, Section};
pub use self::shared::Shared;
pub use self::tenant::{Tenant, TenantLines};
use super::child::ChildSpec;
use super::http::HttpGrant;
use super::pin::Pin;
use super::spec::{
    Budget, ComponentSource, FileGrant, Grants, ModelSpec, OnLost, OnPull, Origin, Reach, RunSpec, SharedBudget,
    TaskSpec, Wall, WorkspaceSpec,
};
use super::tool::ToolSpec;

/// What the command line says over the job. The default says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--tenant`.
    pub tenant: Option<String>,
    /// `--item`.
    pub item: Option<String>,
    /// `--model`: from the job's name for a model to the operator's.
    pub models: BTreeMap<String, String>,
    /// `--seed`.
    pub seed: Option<u64>,
    /// `--wall-time`, in milliseconds, of this attempt.
    pub wall_ms: Option<u64>,
    /// `--wall`: what stands between the guest and this host.
    pub wall: Option<Wall>,
}

/// Whether a text may be the name of a tenant or a line.
///
/// # Errors
/// What is wrong with it, to be said after it.
pub fn check_name(text: &str) -> Result<(), String> {
    shared::NAME.check(text).map_err(|problem| problem.to_string())
}

/// Bytes of a task's text: it is lifted into the guest at once.
const MOST_TASK_BYTES: usize = 256 << 10;
/// Bytes of one input, one argument and one variable.
const MOST_VALUE_BYTES: usize = 64 << 10;
/// Inputs, arguments and variables of a job: a guest's environment is copied at its start.
const MOST_VALUES: usize = 256;
/// Models of a job.
const MOST_MODELS: usize = 64;

const VALUES: Texts = Texts { text: Text { least: 0, most: MOST_VALUE_BYTES }, most: MOST_VALUES };

const LINE: Key<Name> = Key { name: "line", kind: shared::NAME, example: "\"examples\"" };
const ITEM: Key<Name> = Key { name: "item", kind: done::NAME, example: "\"fix-basket\"" };
const SEED: Key<Amount> = Key { name: "seed", kind: Amount::new(Unit::Count, 0, u64::MAX), example: "42" };
const ENV: Key<Texts> = Key { name: "env", kind: VALUES, example: "{ KEY = \"value\" }" };
const ARGS: Key<List<Text>> = Key {
    name: "args",
    kind: List {
        of: Text { least: 0, most: MOST_VALUE_BYTES },
        least: 0,
        most: MOST_VALUES,
        repeats: Repeats::Allowed,
    },
    example: "[\"--fast\"]",
};
const TEXT: Key<Text> =
    Key { name: "text", kind: Text { least: 1, most: MOST_TASK_BYTES }, example: "\"Make the tests pass.\"" };
const INPUTS: Key<Texts> = Key { name: "inputs", kind: VALUES, example: "{ key = \"value\" }" };
const DIR: Key<HostPath> = Key { name: "dir", kind: HostPath, example: "\"project\"" };
const CONTEXT: Key<HostPath> = Key { name: "context", kind: HostPath, example: "\"docs\"" };
const FILES: Key<Choice<FileGrant>> = Key { name: "files", kind: operator::FILE_GRANTS, example: "\"read-write\"" };
const MODELS: Key<List<Name>> = Key {
    name: "models",
    kind: List { of: models::NAME, least: 0, most: MOST_MODELS, repeats: Repeats::Refused },
    example: "[\"coder\"]",
};
const ON_PULL: Key<Choice<OnPull>> = Key {
    name: "on-pull",
    kind: Choice(&[("drain", OnPull::Drain), ("freeze", OnPull::Freeze)]),
    example: "\"freeze\"",
};
const ON_LOST: Key<Choice<OnLost>> =
    Key { name: "on-lost", kind: Choice(&[("leave", OnLost::Leave), ("pull", OnLost::Pull)]), example: "\"pull\"" };

const WORKER: Required =
    Required { name: "worker", purpose: "the component that works", lines: "[worker]\ncrate = \".\"" };
const TASK: Required =
    Required { name: "task", purpose: "what to do", lines: "[task]\ntext = \"Make the tests pass.\"" };
const BUDGET: Required =
    Required { name: "budget", purpose: "what one attempt may spend", lines: "[budget]\nwall = \"60s\"" };
const ATTEMPTS: Required = Required {
    name: "attempts",
    purpose: "how often an item is tried, and how long it rests in between",
    lines: "[attempts]\nmax = 3\nbackoff = \"10s\"",
};
const DONE: Required = Required {
    name: "done",
    purpose: "what counts as done; there is no default",
    lines: "[done]\nmarks = [\"tree\"]\ntree = [\".\"]",
};

/// Resolves a job under its operator's file and the command line.
///
/// # Errors
/// Every mistake, in the order of the text; those of the command line come last. Spans are of `text`.
pub fn job(text: &str, operator: &OperatorFile, overrides: &Overrides) -> Result<RunSpec, Vec<Mistake>> {
    let document = document::read(text)?;
    let mut reader = Reader::new(Origin::Job, document.local);
    let file = Section::file(&document.table, "the job");
    let spec = Job { reader: &mut reader, operator, overrides }.read(file);
    let settings = reader.finish()?;
    let spec = spec.expect("a part that could not be read was reported");
    Ok(RunSpec { settings, ..spec })
}

/// A job while it is read.
struct Job<'a> {
    reader: &'a mut Reader,
    operator: &'a OperatorFile,
    overrides: &'a Overrides,
}

impl Job<'_> {
    fn read(mut self, mut file: Section<'_>) -> Option<RunSpec> {
        let line = file.required(self.reader, &LINE);
        let named = line.as_ref().map(|line| line.value.as_str());
        let tenant = tenant::of(self.reader, &self.operator.tenants, named, self.overrides.tenant.as_deref());
        let item = self.item(&mut file);
        let seed = self.seed(&mut file);
        let worker = file.required_section(self.reader, &WORKER).map(|section| self.worker(section));
        let task = file.required_section(self.reader, &TASK).and_then(|section| self.task(section));
        let workspace = self.workspace(&mut file);
        let granted = self.grants(&mut file, &workspace);
        let human = human::read(&mut file, self.reader, &granted.human);
        let models = self.models(&mut file, granted.models.as_deref());
        let tools = self.tools(&mut file, &granted);
        let children = self.children(&mut file, &granted);
        let spenders = models.as_ref().map(|models| spenders(granted.models.as_deref(), models));
        let budget = self.budget(&mut file, &granted, spenders);
        let attempts = file.required_section(self.reader, &ATTEMPTS);
        let attempts = attempts.and_then(|section| attempts::read(section, self.reader));
        let guards = file.optional_section(self.reader, "guards");
        let guards = guards.map(|section| guards::read(section, self.reader));
        let andon = file.optional_section(self.reader, "andon").map(|section| self.andon(section));
        let listed =
            file.required_section(self.reader, &DONE).map(|section| done::read(section, self.reader, granted.files));
        let written = done::checks(&mut file, self.reader, &self.operator.policy);
        let (done, checks) = listed.map_or((None, Vec::new()), |listed| listed.against(self.reader, written));
        let caps = file.optional_section(self.reader, "caps");
        let caps = caps.map(|section| caps::read(section, self.reader, &self.operator.policy.caps));
        let wall = self.wall();
        file.finish(self.reader);
        self.reader.adopt(self.operator.policy.settings.iter().cloned());
        let shared = line.as_ref().zip(tenant.as_ref()).map(|(line, tenant)| self.shared(&line.value, tenant));
        if let Some(line) = &line {
            self.reader.adopt(hooks::settings(self.operator, &line.value));
        }

        let (worker, attempts, (on_pull, on_lost)) = (worker?, attempts?, andon?);
        let workspace = match workspace {
            Read::Absent => None,
            Read::Wrong => return None,
            Read::Found(found) => Some(found.value),
        };
        let human_ms = match human {
            Read::Absent => None,
            Read::Wrong => return None,
            Read::Found(found) => Some(found.value),
        };
        let names = granted.models?.into_iter().map(|(name, _)| name).collect();
        let tools = tools?;
        let toolboxes = tools.keys().cloned().collect();
        let children = children?;
        let below = children.keys().cloned().collect();
        Some(RunSpec {
            tenant: tenant?,
            line: line?.value,
            item,
            worker: worker.source?,
            worker_pin: worker.pin,
            task: task?,
            workspace,
            grants: Grants {
                files: granted.files?,
                models: names,
                tools: toolboxes,
                children: below,
                human_ms,
                http: granted.http?,
            },
            env: worker.env,
            args: worker.args,
            models: models?,
            tools,
            children,
            call: None,
            budget: budget?,
            shared: shared?,
            caps: caps?,
            max_attempts: attempts.max,
            backoff: attempts.backoff,
            guards: guards?,
            on_pull,
            on_lost,
            on_overload: attempts.on_overload,
            wall,
            done: done?,
            checks,
            seed,
            settings: Vec::new(),
        })
    }

    fn item(&mut self, file: &mut Section<'_>) -> Option<String> {
        let read = file.read(self.reader, &ITEM);
        if let Some(item) = &self.overrides.item {
            if let Err(problem) = ITEM.kind.check(item) {
                self.reader.mistake(Mistake::of_flag(
                    format!("--item {item:?} {problem}"),
                    ITEM.kind.allowed(),
                    "--item fix-basket",
                ));
            }
            self.reader.set(ITEM.name, item, Origin::Flag);
            return Some(item.clone());
        }
        let item = read.found().map(|found| found.value);
        match &item {
            Some(item) => self.reader.set(ITEM.name, item, Origin::Job),
            None => self.reader.set(ITEM.name, "each run is an item of its own", Origin::Default),
        }
        item
    }

    /// The command line's wall, which is no less than the operator's.
    fn wall(&mut self) -> Wall {
        let least = self.operator.policy.wall;
        let (wall, origin) = match self.overrides.wall {
            Some(asked) => (asked, Origin::Flag),
            None if least == Wall::None => (least, Origin::Default),
            None => (least, Origin::Operator),
        };
        if wall < least {
            self.reader.mistake(Mistake::of_flag(
                format!("--wall is {}, and the operator's `policy.wall` is {}", wall.name(), least.name()),
                least.name().to_owned(),
                &format!("--wall {}", least.name()),
            ));
        }
        self.reader.set("wall", wall.name(), origin);
        wall
    }

    /// What the run shares with others, and the settings that say so.
    fn shared(&mut self, line: &str, tenant: &str) -> SharedBudget {
        let OperatorFile { host, tenants, lines, .. } = self.operator;
        let (tenant, line) = (tenants.get(tenant), lines.get(line));
        let settings = [Some(&host.settings), tenant.map(|it| &it.settings), line.map(|it| &it.settings)];
        self.reader.adopt(settings.into_iter().flatten().flatten().cloned());
        SharedBudget {
            // The file's bearer says whether there is one.
            declared: false,
            host: host.allowance.clone(),
            tenant: tenant.map(|it| it.allowance.clone()).unwrap_or_default(),
            line: line.map(|it| it.allowance.clone()).unwrap_or_default(),
            tenant_requests_per_minute: tenant.and_then(|it| it.requests_per_minute),
        }
    }

    fn seed(&mut self, file: &mut Section<'_>) -> Option<u64> {
        let read = file.read(self.reader, &SEED).found().map(|found| found.value);
        let (value, origin) = match (self.overrides.seed, read) {
            (Some(seed), _) => (seed.to_string(), Origin::Flag),
            (None, Some(seed)) => (seed.to_string(), Origin::Job),
            (None, None) => ("drawn fresh and recorded".to_owned(), Origin::Default),
        };
        self.reader.set(SEED.name, value, origin);
        self.overrides.seed.or(read)
    }

    fn worker(&mut self, mut section: Section<'_>) -> Worker {
        let choices = vec![
            (CRATE.name, section.read(self.reader, &CRATE).map(ComponentSource::Crate)),
            (COMPONENT.name, section.read(self.reader, &COMPONENT).map(ComponentSource::File)),
        ];
        let source = section.only(self.reader, choices, "crate = \".\"");
        if let Some(source) = &source {
            let (key, path) = match source {
                ComponentSource::Crate(path) => (CRATE.name, path),
                ComponentSource::File(path) => (COMPONENT.name, path),
            };
            self.reader.set(section.key(key), path.display().to_string(), Origin::Job);
        }
        let pin = pin::read(&mut section, self.reader, source.as_ref(), &self.operator.policy);
        let env = section.or_default(self.reader, &ENV, BTreeMap::new());
        let args = section.or_default(self.reader, &ARGS, Vec::new());
        section.finish(self.reader);
        Worker { source, pin, env, args: args.into_iter().map(|(argument, _)| argument).collect() }
    }

    fn task(&mut self, mut section: Section<'_>) -> Option<TaskSpec> {
        let text = section.required(self.reader, &TEXT);
        let inputs = section.or_default(self.reader, &INPUTS, BTreeMap::new());
        section.finish(self.reader);
        Some(TaskSpec { text: text?.value, inputs })
    }

    fn workspace(&mut self, file: &mut Section<'_>) -> Read<WorkspaceSpec> {
        let mut section = match file.section(self.reader, "workspace") {
            Read::Absent => {
                self.reader.set("workspace", "none", Origin::Default);
                return Read::Absent;
            }
            Read::Wrong => return Read::Wrong,
            Read::Found(found) => found.value,
        };
        let span = section.place();
        let dir = section.required(self.reader, &DIR);
        let context = section.optional(self.reader, &CONTEXT, "none");
        section.finish(self.reader);
        match (dir, context) {
            (None, _) | (_, Read::Wrong) => Read::Wrong,
            (Some(dir), context @ (Read::Absent | Read::Found(_))) => {
                let context = context.found().map(|found| found.value);
                Read::Found(Found { value: WorkspaceSpec { dir: dir.value, context }, span })
            }
        }
    }

    fn grants(&mut self, file: &mut Section<'_>, workspace: &Read<WorkspaceSpec>) -> Granted {
        let Some(mut section) = file.optional_section(self.reader, "grants") else { return Granted::wrong() };
        let files = section.optional(self.reader, &FILES, "none");
        let models = section.optional(self.reader, &MODELS, "[]");
        let tools = section.optional(self.reader, &tools::TOOLS, "[]");
        let children = section.optional(self.reader, &children::CHILDREN, "[]");
        let human = section.optional(self.reader, &human::HUMAN, "false");
        let http = http::grants(&mut section, self.reader, self.operator);
        section.finish(self.reader);
        let mut granted = Granted { human, http, ..Granted::wrong() };
        granted.files = match files {
            Read::Absent => Some(FileGrant::None),
            Read::Wrong => None,
            Read::Found(found) => {
                self.check_files(&found, workspace);
                Some(found.value)
            }
        };
        granted.tools = match tools {
            Read::Absent => Some(Vec::new()),
            Read::Wrong => None,
            Read::Found(found) => Some(found.value),
        };
        granted.children = match children {
            Read::Absent => Some(Vec::new()),
            Read::Wrong => None,
            Read::Found(found) => Some(found.value),
        };
        granted.models = match models {
            Read::Absent => Some(Vec::new()),
            Read::Wrong => None,
            Read::Found(found) => Some(found.value),
        };
        granted
    }

    fn check_files(&mut self, asked: &Found<FileGrant>, workspace: &Read<WorkspaceSpec>) {
        if let (Read::Absent, FileGrant::ReadOnly | FileGrant::ReadWrite) = (workspace, asked.value) {
            self.reader.mistake(Mistake {
                span: Some(asked.span.clone()),
                message: "`grants.files` is granted without a [workspace]".to_owned(),
                label: "no files to grant".to_owned(),
                help: "allowed: \"none\", or a [workspace]\nwrite:\n[workspace]\ndir = \"project\"".to_owned(),
            });
        }
        let ceiling = self.operator.policy.files;
        if asked.value > ceiling {
            let [wanted, most] = [asked.value, ceiling].map(|grant| Shown::word(FILES.kind.show(&grant)));
            let (span, ceiling) = (Some(asked.span.clone()), Ceiling { section: "policy", name: "files" });
            self.reader
                .mistake(Excess { key: "grants.files", span, asked: wanted, most, ceiling, instead: None }.mistake());
        }
    }

    fn models(
        &mut self,
        file: &mut Section<'_>,
        granted: Option<&[(String, Range<usize>)]>,
    ) -> Option<BTreeMap<String, ModelSpec>> {
        let section = file.optional_section(self.reader, "models")?;
        let own = models::own(&section, self.reader);
        let names = Names { own, operator: self.operator, chosen: &self.overrides.models };
        granted.map(|granted| names.resolve(self.reader, granted))
    }

    fn tools(&mut self, file: &mut Section<'_>, granted: &Granted) -> Option<BTreeMap<String, ToolSpec>> {
        let section = file.optional_section(self.reader, "tools")?;
        let ground = tools::Ground { files: granted.files, http: granted.http.as_deref(), operator: self.operator };
        tools::read(&section, self.reader, granted.tools.as_deref()?, &ground)
    }

    fn children(&mut self, file: &mut Section<'_>, granted: &Granted) -> Option<BTreeMap<String, ChildSpec>> {
        let section = file.optional_section(self.reader, "children")?;
        children::read(&section, self.reader, granted.children.as_deref()?)
    }

    fn budget(&mut self, file: &mut Section<'_>, granted: &Granted, models: Option<Models>) -> Option<Budget> {
        let section = file.required_section(self.reader, &BUDGET)?;
        let (wall_ms, policy) = (self.overrides.wall_ms, &self.operator.policy);
        let web = granted.http.as_ref().map(|grants| if grants.is_empty() { Web::Closed } else { Web::Granted });
        let tools = granted.tools.as_ref().map(|tools| if tools.is_empty() { Tools::None } else { Tools::Granted });
        let circumstances = Circumstances { models, files: granted.files, web, tools, wall_ms, policy };
        Some(budget::read(section, self.reader, &circumstances))
    }

    fn andon(&mut self, mut section: Section<'_>) -> (OnPull, OnLost) {
        let on_pull = section.or_default(self.reader, &ON_PULL, OnPull::default());
        let on_lost = section.or_default(self.reader, &ON_LOST, OnLost::default());
        section.finish(self.reader);
        (on_pull, on_lost)
    }
}

/// `[worker]`; without a source it has a mistake.
struct Worker {
    source: Option<ComponentSource>,
    pin: Pin,
    env: BTreeMap<String, String>,
    args: Vec<String>,
}

/// `[grants]`; what is `None` has a mistake.
struct Granted {
    files: Option<FileGrant>,
    models: Option<Vec<(String, Range<usize>)>>,
    tools: Option<Vec<(String, Range<usize>)>>,
    children: Option<Vec<(String, Range<usize>)>>,
    human: Read<bool>,
    http: Option<Vec<HttpGrant>>,
}

impl Granted {
    /// Nothing is known of any grant.
    fn wrong() -> Self {
        Self { files: None, models: None, tools: None, children: None, human: Read::Wrong, http: None }
    }
}

/// What the granted models are for the budget. One with a mistake still is a model.
fn spenders(granted: Option<&[(String, Range<usize>)]>, models: &BTreeMap<String, ModelSpec>) -> Models {
    if granted.is_none_or(<[_]>::is_empty) {
        return Models::None;
    }
    let provided = |model: &ModelSpec| match model.reach {
        Reach::Provider(_) => true,
        Reach::Script { .. } => false,
    };
    if models.values().any(provided) { Models::Providers } else { Models::Scripts }
}
