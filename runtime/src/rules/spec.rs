//! A run as it was resolved: every setting has a value that cannot be wrong, and its origin is known.
//!
//! Never: reads a file, guesses. What a person wrote is parsed in `authored.rs`, which yields a [`RunSpec`] or every
//! mistake at once; nothing later looks at the text again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::child::ChildSpec;
use super::http::HttpGrant;
use super::line::{Limits, Line};
use super::model::Profile;
use super::pin::Pin;
use super::retry::DEFAULT_RETRIES;
use super::scope::Terms;
use super::tool::{ToolCall, ToolSpec};
use super::window::Span;

/// Everything that one run needs to know, as the job and the operator said it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    /// On whose account the run is. The operator says it, never the job.
    pub tenant: String,
    /// The workflow, and the scope of the andon lock.
    pub line: String,
    /// The item, if the job or the command line names one. Without a name each run is an item of its own.
    pub item: Option<String>,
    pub worker: ComponentSource,
    /// What its component must be.
    #[serde(default, skip_serializing_if = "Pin::is_open")]
    pub worker_pin: Pin,
    pub task: TaskSpec,
    /// `None`: the worker gets no files at all.
    pub workspace: Option<WorkspaceSpec>,
    pub grants: Grants,
    /// Environment of the guest, exactly this and nothing of the host's.
    pub env: BTreeMap<String, String>,
    /// Arguments of the guest, exactly these.
    pub args: Vec<String>,
    /// The granted models by the job's name for them.
    pub models: BTreeMap<String, ModelSpec>,
    /// The granted tools by the job's name for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, ToolSpec>,
    /// The jobs that the worker may start as its children, by the job's name for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub children: BTreeMap<String, ChildSpec>,
    /// The one call that the run is of, in the place of a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<ToolCall>,
    pub budget: Budget,
    /// What the run shares with others.
    pub shared: SharedBudget,
    pub caps: Caps,
    /// Attempts of the item over all causes, at least 1.
    pub max_attempts: u32,
    #[serde(default)]
    pub backoff: Backoff,
    #[serde(default)]
    pub guards: Guards,
    /// What a pull of the line does to this run while it is on its way.
    #[serde(default)]
    pub on_pull: OnPull,
    #[serde(default, skip_serializing_if = "OnLost::is_default")]
    pub on_lost: OnLost,
    #[serde(default, skip_serializing_if = "OnOverload::is_default")]
    pub on_overload: OnOverload,
    /// Of the worker and of its checks that are components.
    #[serde(default)]
    pub wall: Wall,
    pub done: Done,
    pub checks: Vec<Check>,
    /// Seed of all randomness of the guest; `None` means drawn fresh and recorded.
    pub seed: Option<u64>,
    /// Every setting with its value and where it came from, for `jidoka explain`.
    pub settings: Vec<Setting>,
}

/// What stands between a guest and this host, beside the sandbox that every guest is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wall {
    /// Nothing more: it runs in the host's own process.
    #[default]
    None,
    /// A process of its own, which the kernel lets do nothing but compute, reach its trees and speak to its gate.
    Process,
}

impl Wall {
    /// The wall's name, as it is chosen.
    pub fn name(self) -> &'static str {
        match self {
            Wall::None => "none",
            Wall::Process => "process",
        }
    }
}

/// How long an item rests between two attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// After the first attempt that may be tried again; doubled after each further one. 0: at once.
    pub first_ms: u64,
    /// The most that the doubling comes to.
    pub most_ms: u64,
}

/// When the host takes a worker for one that goes nowhere. All guards are on; each is told to the worker before it stops it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guards {
    /// Repetitions of a cycle of calls with the same results after which the worker is told. At least 2.
    pub repeats: u32,
    /// Failures of one kind in a row, whatever the arguments, after which the worker is told. At least 2.
    pub failures: u32,
    /// Replies in a row that reach the output cap or repeat themselves, after which the worker is told. At least 2.
    pub degenerate: u32,
    /// How often the worker is refused, the telling included, before its attempt ends. At least 1.
    pub strikes: u32,
    /// Without any call of the worker's, the attempt ends.
    pub stall_ms: u64,
    /// Tools that are asked again and again on purpose: a cycle of only them is none.
    pub pollers: BTreeSet<String>,
    /// Items of the line that end in the same failure before the line is stopped. At least 2.
    pub cluster_items: u32,
    /// Of so many runs of the line, the latest.
    pub cluster_runs: u32,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            repeats: 3,
            failures: 5,
            degenerate: 3,
            strikes: 3,
            stall_ms: 300_000,
            pollers: BTreeSet::new(),
            cluster_items: 3,
            cluster_runs: 20,
        }
    }
}

impl Guards {
    /// Twice may be chance; a worker that has repeated itself 20 times will not stop by itself.
    pub const REPEATS: (u32, u32) = (2, 20);
    /// Some work is trying: 100 failures of one kind in a row are not.
    pub const FAILURES: (u32, u32) = (2, 100);
    /// Each such reply is paid for in full.
    pub const DEGENERATE: (u32, u32) = (2, 20);
    /// A worker that was told ten times does not listen.
    pub const STRIKES: (u32, u32) = (1, 10);
    /// Below a second a slow machine would look like a stall; above a day nobody waits.
    pub const STALL_MS: (u64, u64) = (1_000, 24 * 3_600_000);
    /// One item says nothing of its line.
    pub const CLUSTER_ITEMS: (u32, u32) = (2, 100);
    /// The host looks at all of them when a run of the line fails.
    pub const CLUSTER_RUNS: (u32, u32) = (2, 1_000);

    /// The same within the bounds that a job may set them in: a journal may say anything.
    pub fn bounded(self) -> Self {
        let within = |count: u32, (least, most): (u32, u32)| count.clamp(least, most);
        Self {
            repeats: within(self.repeats, Self::REPEATS),
            failures: within(self.failures, Self::FAILURES),
            degenerate: within(self.degenerate, Self::DEGENERATE),
            strikes: within(self.strikes, Self::STRIKES),
            stall_ms: self.stall_ms.clamp(Self::STALL_MS.0, Self::STALL_MS.1),
            pollers: self.pollers,
            cluster_items: within(self.cluster_items, Self::CLUSTER_ITEMS),
            cluster_runs: within(self.cluster_runs, Self::CLUSTER_RUNS),
        }
    }
}

/// What becomes of the line when somebody finds a run whose process is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnLost {
    /// It goes on.
    #[default]
    Leave,
    /// It is pulled, and the run is closed as lost.
    Pull,
}

impl OnLost {
    /// Whether it is what a job says that says nothing.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What becomes of an attempt when a model says no for now, however often it was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnOverload {
    /// It ends as deferred, and counts for nothing.
    #[default]
    Defer,
    /// Its worker is told, and may have another way.
    Tell,
}

impl OnOverload {
    /// Whether it is what a job says that says nothing.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a pull of the line does to a run that is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnPull {
    /// It goes on to its end.
    #[default]
    Drain,
    /// It is halted at its next effect.
    Freeze,
}

/// Where a component comes from. Paths are relative to the job's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComponentSource {
    /// A Rust crate that `jidoka build` turns into a component.
    Crate(PathBuf),
    /// A component file.
    File(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    pub text: String,
    pub inputs: BTreeMap<String, String>,
}

/// Paths are relative to the job's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceSpec {
    /// Copied privately for the worker, who sees the copy as `/work`.
    pub dir: PathBuf,
    /// Copied privately, read-only, as `/context`.
    pub context: Option<PathBuf>,
}

/// What the operator and the job let the worker use. The default grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    pub files: FileGrant,
    /// Names of models.
    pub models: BTreeSet<String>,
    /// Names of toolboxes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tools: BTreeSet<String>,
    /// Names of jobs that it may start as its children.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub children: BTreeSet<String>,
    /// Questions to a person, and how long an answer may take. Milliseconds; `None`: no questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human_ms: Option<u64>,
    /// Requests over HTTP. Secrets stand there by their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpGrant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileGrant {
    #[default]
    None,
    ReadOnly,
    ReadWrite,
}

/// A model that the job may use: how to reach it and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSpec {
    pub profile: Profile,
    pub reach: Reach,
    /// Pace of this model's door, if set: requests per minute.
    pub requests_per_minute: Option<u32>,
    /// Pace of this model's door, if set: tokens per minute, input and output together.
    pub tokens_per_minute: Option<u64>,
    pub counted_by: CountedBy,
    /// How often a call is made again if the model says no for now.
    #[serde(default = "retries", skip_serializing_if = "are_default")]
    pub retries: u32,
}

fn retries() -> u32 {
    DEFAULT_RETRIES
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn are_default(retries: &u32) -> bool {
    *retries == DEFAULT_RETRIES
}

/// Who says how many input tokens a call can have at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CountedBy {
    /// The profile, from the bytes of the request: sound, and often several times too much.
    #[default]
    Bytes,
    /// The provider's own count of the request, with [`COUNT_SLACK`](super::model::COUNT_SLACK), where that is less.
    Provider,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// A transcript file of the job, relative to its directory.
    Script { transcript: PathBuf },
    /// A provider of the operator's.
    Provider(Provider),
}

/// An operator's provider. The key is named here, never held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    pub dialect: Dialect,
    /// Base address, for example `https://host/v1`. Plain `http` only for loopback.
    pub url: String,
    /// The provider's own name for the model.
    pub model: String,
    pub key: KeySource,
    /// How the key is carried. `None`: as the dialect and the server want it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// The field of the cap on output. `None`: by the model's name, and the other one if the server asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap_field: Option<CapField>,
    /// How freely the model draws, in hundredths. `None`: as the provider wants it; some models take nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_hundredths: Option<u16>,
    /// How hard the model thinks. `None`: as the provider wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// Headers of the operator's own, such as one that names a project. No key is in them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Parameters of every address, such as `api-version`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Ask for a stream, so that output past its cap is cut off. Off only for servers without streams.
    pub stream: bool,
    pub limits: WireLimits,
}

impl Provider {
    /// A model at an address, without a key and with no setting of its own.
    pub fn new(dialect: Dialect, url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            dialect,
            url: url.into(),
            model: model.into(),
            key: KeySource::None,
            auth: None,
            cap_field: None,
            temperature_hundredths: None,
            effort: None,
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            stream: true,
            limits: WireLimits::default(),
        }
    }
}

/// How hard a reasoning model thinks: the words of all providers; which of them a model takes, its provider says.
/// See <https://platform.openai.com/docs/guides/reasoning> and <https://platform.claude.com/docs/en/build-with-claude/effort>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

impl Effort {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::Xhigh => "xhigh",
            Effort::Max => "max",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// OpenAI chat completions, and what speaks it.
    Openai,
    /// Anthropic messages, and what speaks it.
    Anthropic,
    /// OpenAI Responses, and what speaks it. Nothing is stored at the server.
    Responses,
}

/// How a provider wants its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// `authorization: Bearer KEY`.
    Bearer,
    /// `x-api-key: KEY`, as Anthropic does.
    XApiKey,
    /// `api-key: KEY`, as Azure does.
    ApiKey,
}

/// What a server calls the cap on output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapField {
    MaxTokens,
    MaxCompletionTokens,
}

impl CapField {
    pub fn name(self) -> &'static str {
        match self {
            CapField::MaxTokens => "max_tokens",
            CapField::MaxCompletionTokens => "max_completion_tokens",
        }
    }

    pub fn other(self) -> Self {
        match self {
            CapField::MaxTokens => CapField::MaxCompletionTokens,
            CapField::MaxCompletionTokens => CapField::MaxTokens,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeySource {
    /// The server wants none.
    None,
    /// A variable of the operator's environment.
    Environment(String),
    /// A file of the operator's; surrounding white space is dropped.
    File(PathBuf),
}

/// Bounds on one exchange with a provider, so that a lying one costs a known amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireLimits {
    /// Bytes of one response, headers excluded.
    pub max_response_bytes: u64,
    /// Until the connection stands.
    pub connect_ms: u64,
    /// Between two reads of the response, the first included.
    pub idle_ms: u64,
    /// The whole exchange.
    pub total_ms: u64,
}

impl Default for WireLimits {
    fn default() -> Self {
        Self { max_response_bytes: 8 << 20, connect_ms: 10_000, idle_ms: 120_000, total_ms: 600_000 }
    }
}

/// Limits by scope. Each line is bounded by at least one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Over all attempts of the item.
    pub item: BTreeMap<Line, u64>,
    /// One attempt, which is one run.
    pub attempt: BTreeMap<Line, u64>,
    /// What an attempt may spend between two marks.
    pub gap: BTreeMap<Line, u64>,
    /// What an attempt may spend before its first mark.
    pub first_gap: BTreeMap<Line, u64>,
}

/// The operator's limits on what many runs spend together. A line that is not named is not limited there: every line is
/// bounded by the job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedBudget {
    /// Whether an operator's file says all this. Without one, what was said before stays in force.
    pub declared: bool,
    pub host: Allowance,
    pub tenant: Allowance,
    pub line: Allowance,
    /// The pace of all model calls of the tenant together, if set.
    pub tenant_requests_per_minute: Option<u32>,
}

/// What one shared scope may spend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Over all time.
    pub total: BTreeMap<Line, u64>,
    /// In each hour, day or week, wherever it begins. Never of a line that is a level.
    pub windows: BTreeMap<Span, BTreeMap<Line, u64>>,
}

impl From<&Allowance> for Terms {
    fn from(allowance: &Allowance) -> Self {
        let windows = allowance.windows.iter().map(|(&span, limits)| (span, Limits::from(limits))).collect();
        Self { limits: Limits::from(&allowance.total), windows, ..Self::default() }
    }
}

/// What counts as done. There is no default: a job says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    pub marks: BTreeSet<MarkKind>,
    /// Deliverable paths, relative to the workspace, `/`-separated; `.` is all of it. A change elsewhere is a
    /// constraint violation.
    pub tree: Vec<String>,
    /// Paths that count neither as progress nor as a violation and are never applied. What the `.gitignore` files of the
    /// workspace ignore as the run begins is treated the same, also where git tracks it, unless `tree` names it itself.
    pub ignore: Vec<String>,
    /// Whether `no-change-needed` can be a good end.
    pub no_change: NoChange,
    /// Names of checks that must pass, in order.
    pub checks: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkKind {
    /// The deliverable tree has a digest that the item has not shown before.
    Tree,
    /// The worker attached evidence whose digest the item has not shown before.
    Artifact,
    /// A check passes that neither an earlier attempt of the item nor what it began with passed.
    Checks,
}

impl MarkKind {
    /// The kind's name in `[done] marks`.
    pub fn name(self) -> &'static str {
        match self {
            MarkKind::Tree => "tree",
            MarkKind::Artifact => "artifact",
            MarkKind::Checks => "checks",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoChange {
    Allowed,
    Refused,
}

/// What the host runs after the worker to see for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub run: CheckRun,
    /// What its component must be. A command has none.
    #[serde(default, skip_serializing_if = "Pin::is_open")]
    pub pin: Pin,
    /// Time for this check. Its own clock: the worker's budget is not touched.
    pub wall_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckRun {
    /// A component of world `verifier`.
    Component(ComponentSource),
    /// A command that the operator approved, run in a fresh copy of the result.
    Command(Vec<String>),
}

/// Bounds on what a guest can hold or cause at any instant. A budget line bounds a run; a cap bounds a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    /// Linear memory, all memories of the run together, in bytes.
    pub memory_bytes: u64,
    /// Bytes of notes by `log.emit`; past it notes are dropped and counted.
    pub log_bytes: u64,
    /// Bytes kept of each of stdout and stderr; past it they are dropped and counted.
    pub stdio_bytes: u64,
    /// Files and directories that a run may create.
    pub files: u64,
    /// Open descriptors, directory streams and other host resources at once.
    pub handles: u64,
    /// Bytes of strings and lists that one call may lift into the host.
    pub lifted_bytes: u64,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            log_bytes: 256 << 10,
            stdio_bytes: 64 << 10,
            files: 10_000,
            handles: 1_024,
            lifted_bytes: 2 << 20,
        }
    }
}

/// A resolved setting and its origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// For example `budget.wall`.
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// `jidoka.toml`.
    Job,
    /// The operator's file.
    Operator,
    /// The command line.
    Flag,
    /// The documented default.
    Default,
}
