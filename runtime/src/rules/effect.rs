//! Everything that a guest can cause, and the line of the journal that records it.
//!
//! Never: performs an effect, decides about one. The three kinds of no live here: [`Refusal`] (ours, expected),
//! [`Failure`] (the world's); a fault is our own bug and has no word a guest could see.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::http::{HttpReply, HttpRequest};
use super::ledger::{Amounts, Line, Shortfall};
use super::left_out::LeftOut;
use super::model::{Profile, Reply, Request, Usage};
use super::progress::{Mark, Passed, Standing};
use super::question::Risk;
use super::record::Record;
use super::spec::RunSpec;
use super::tool::{Reach, ToolOffer};
use super::verdict::{CheckResult, Stop, UsedUp};

/// What a guest asks of the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "effect")]
pub enum Effect {
    /// Ask a model.
    Model { request: Request },
    /// Call a tool of the host.
    Tool {
        name: String,
        input: String,
        /// The host's word, not the guest's.
        #[serde(default)]
        reach: Reach,
    },
    /// Run another worker as a child.
    Child {
        name: String,
        task: String,
        /// The most that it may spend of a line; of others as much as its job says and the caller has.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        budget: BTreeMap<Line, u64>,
        /// The host's word, not the guest's.
        #[serde(default)]
        reach: Reach,
    },
    /// Ask a person.
    Human {
        question: String,
        options: Vec<String>,
        #[serde(default)]
        risk: Risk,
    },
    /// Keep bytes as evidence. Only their digest is in the journal.
    Attach { kind: String, name: String, digest: String, bytes: u64 },
    /// Look at the workspace.
    CheckIn { note: String },
    /// Wait.
    Sleep { ms: u64 },
    /// Ask what is left of the budget.
    Left,
    /// Let a provider count a request, so that its bound is tighter. The host's own effect, before that of the guest.
    Count { model: String },
    /// Make an HTTP exchange.
    Fetch { request: HttpRequest },
}

/// The kind of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Model,
    /// A tool's call that may change the world.
    Tool,
    /// A tool's call that stays in the run's own copies.
    Compute,
    /// A child that stays in the run's own copies.
    Child,
    /// A child that may change the world.
    Envoy,
    Human,
    Attach,
    CheckIn,
    Sleep,
    Left,
    Count,
    /// An HTTP exchange that only asks: by its method it is to change nothing.
    Fetch,
    /// An HTTP exchange that may change the world.
    Send,
}

impl Kind {
    /// The kind in one word, as the journal and the screen name it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Model => "model",
            Kind::Tool => "tool",
            Kind::Compute => "compute",
            Kind::Child => "child",
            Kind::Envoy => "envoy",
            Kind::Human => "human",
            Kind::Attach => "attach",
            Kind::CheckIn => "check-in",
            Kind::Sleep => "sleep",
            Kind::Left => "left",
            Kind::Count => "count",
            Kind::Fetch => "fetch",
            Kind::Send => "send",
        }
    }
}

impl Effect {
    /// The effect's kind.
    pub fn kind(&self) -> Kind {
        match self {
            Effect::Model { .. } => Kind::Model,
            Effect::Tool { reach: Reach::Outside, .. } => Kind::Tool,
            Effect::Tool { reach: Reach::Inside, .. } => Kind::Compute,
            Effect::Child { reach: Reach::Outside, .. } => Kind::Envoy,
            Effect::Child { reach: Reach::Inside, .. } => Kind::Child,
            Effect::Human { .. } => Kind::Human,
            Effect::Attach { .. } => Kind::Attach,
            Effect::CheckIn { .. } => Kind::CheckIn,
            Effect::Sleep { .. } => Kind::Sleep,
            Effect::Left => Kind::Left,
            Effect::Count { .. } => Kind::Count,
            Effect::Fetch { request } if only_asks(&request.method) => Kind::Fetch,
            Effect::Fetch { .. } => Kind::Send,
        }
    }
}

/// Whether a method is safe as [RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-9.2.1) has it. `TRACE` is too, and
/// nobody needs it.
fn only_asks(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

/// What a resume does with an effect of which the journal has the intent and not the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It stays in the host, or only asks: it is performed again.
    Read,
    /// A provider may have answered, and be paid: it is asked again as a call of its own, and counted as repaid.
    Model,
    /// It may have changed the world: never performed again, and a person decides.
    Unsafe,
}

impl Kind {
    /// The class of effects of this kind.
    pub fn class(self) -> Class {
        match self {
            Kind::Attach
            | Kind::CheckIn
            | Kind::Sleep
            | Kind::Left
            | Kind::Count
            | Kind::Human
            | Kind::Fetch
            | Kind::Compute => Class::Read,
            Kind::Model | Kind::Child => Class::Model,
            Kind::Tool | Kind::Envoy | Kind::Send => Class::Unsafe,
        }
    }
}

/// What came back for an effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum Answer {
    /// What the call cost: as the provider reported, or what was reserved if it did not say.
    Model {
        reply: Reply,
        usage: Usage,
        micro_usd: u64,
    },
    Tool {
        output: String,
    },
    Attached {
        id: String,
    },
    CheckedIn {
        standing: Standing,
        /// The deliverables as the host saw them.
        seen: Digest,
    },
    Slept,
    Left {
        lines: Vec<LineLeft>,
    },
    Counted {
        tokens_in: u64,
    },
    /// What a person chose: index into the options.
    Decided {
        choice: u32,
        note: String,
    },
    Fetched {
        reply: HttpReply,
    },
    /// How the host judged a child.
    Judged {
        /// The child's run.
        serial: String,
        /// The verdict's name.
        verdict: String,
        /// Why, in the host's words.
        why: String,
        /// What the child said of itself.
        summary: String,
    },
}

/// What is left of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineLeft {
    pub line: Line,
    /// Over all scopes: the smallest.
    pub left: u64,
    /// Until the next mark is due, if the job sets a gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_mark: Option<u64>,
}

/// Why the host refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Reason {
    NotGranted,
    Exhausted { shortfall: Box<Shortfall> },
    Unbounded,
    Unpriced,
    TooLarge,
    Invalid,
    LineStopped,
}

/// The host said no before anything was sent or spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub reason: Reason,
    /// What was asked, in words.
    pub asked: String,
    /// What is allowed, in words.
    pub allowed: String,
    /// The line of `jidoka.toml` (or of the operator's file) that would change it.
    pub setting: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The other side could not be reached, nothing was sent.
    Unavailable,
    /// The other side said no for now, failed, or broke off before the end of its answer: the same may pass later.
    Overloaded,
    /// No answer within the deadline.
    TimedOut,
    /// The other side said no.
    Rejected,
    /// The other side broke its protocol or a cap.
    Broken,
    /// The reply breaks the schema that the guest asked for.
    SchemaViolation,
}

/// The world said no after the call was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
}

/// Every no that a guest can see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "denied")]
pub enum Denied {
    Refused(Refusal),
    Failed(Failure),
}

impl fmt::Display for Denied {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::Refused(Refusal { asked, allowed, setting, .. }) => {
                write!(out, "refused: asked {asked}; allowed {allowed}; to change it: {setting}")
            }
            Denied::Failed(Failure { kind, message }) => write!(out, "failed ({}): {message}", kind.name()),
        }
    }
}

impl FailureKind {
    /// Whether a model that failed so may answer later, its request being the same.
    pub fn may_pass(self) -> bool {
        match self {
            FailureKind::Unavailable | FailureKind::Overloaded | FailureKind::TimedOut => true,
            FailureKind::Rejected | FailureKind::Broken | FailureKind::SchemaViolation => false,
        }
    }

    /// The kind in one word.
    pub fn name(self) -> &'static str {
        match self {
            FailureKind::Unavailable => "unavailable",
            FailureKind::Overloaded => "overloaded",
            FailureKind::TimedOut => "timed-out",
            FailureKind::Rejected => "rejected",
            FailureKind::Broken => "broken",
            FailureKind::SchemaViolation => "schema-violation",
        }
    }
}

/// What a guest hears for an effect.
pub type Heard = Result<Answer, Denied>;

/// The version of the journal's format. A reader refuses what it does not know.
pub const FORMAT: u32 = 7;

/// One line of the journal: the only truth about a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From 0, without gaps.
    pub seq: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z on the host's clock.
    pub at_ms: u64,
    pub body: Body,
}

/// What a line of the journal says. How it is written down is said in `facts.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The first line: everything that the run depends on.
    Opened {
        opening: Box<Opening>,
    },
    /// Durable before anything leaves.
    Intent {
        call: u64,
        /// From 1; more than 1 if a crash or a stop left the call open before.
        attempt: u32,
        /// As the guest asked.
        effect: Effect,
        /// Output tokens that the host put on the wire, if the budget had no room for as many as were asked.
        max_output: Option<u32>,
        /// What was sent instead, if a fork says so. The guest does not hear of it.
        sent: Option<Box<Request>>,
        reserved: Amounts,
    },
    /// Durable before the guest hears.
    Answered {
        call: u64,
        /// Of what was asked.
        kind: Kind,
        heard: Heard,
        cost: Cost,
        /// Where the guest's tree is kept as the call left it, if the call may have changed it.
        tree: Option<Digest>,
    },
    /// A model said no for now, and the host asks it again for the same call.
    Retried {
        call: u64,
        kind: FailureKind,
        /// The provider's words.
        message: String,
        /// How long the host waits before it asks again. Milliseconds.
        wait_ms: u64,
        /// Of the try that failed alone.
        cost: Cost,
    },
    /// Something that happened inside of a call: what its tool asked for and wrote.
    Within {
        call: u64,
        body: Box<Body>,
    },
    /// Nothing left, nothing was spent.
    Refused {
        call: u64,
        effect: Effect,
        refusal: Refusal,
    },
    /// `log.emit`.
    Noted {
        level: Level,
        message: String,
        fields: Vec<(String, String)>,
    },
    /// What the guest wrote to stdout or stderr.
    Printed {
        stream: Stream,
        text: String,
        dropped_bytes: u64,
    },
    /// A write of the guest's to its files was refused for the first time. From here on it gets no more than `granted`.
    Full {
        /// Bytes that it had written.
        used: u64,
        granted: u64,
        /// What refused it.
        by: UsedUp,
    },
    /// The host saw something that the item had not shown before.
    Marked {
        /// The effect that showed it; none if the host looked when the guest had ended.
        call: Option<u64>,
        mark: Mark,
        /// Where the tree is kept.
        tree: Option<Digest>,
    },
    /// The cord was pulled.
    Stopped {
        stop: Stop,
    },
    /// The guest is gone.
    Ended {
        outcome: OutcomeName,
        changed: Vec<String>,
        /// Where the tree is kept that it left.
        tree: Option<Digest>,
        notes_dropped: u64,
    },
    Checked {
        result: CheckResult,
    },
    /// What follows, up to `Checked`, is the check's.
    Checking {
        name: String,
    },
    /// Accepted: the change set is about to be applied to the real directory.
    Applying {
        paths: Vec<String>,
    },
    /// The last line, unless the run is resumed.
    Closed {
        record: Box<Record>,
    },
    /// The run goes on in another process: of what is before this line it goes on from `after`, and the rest is void.
    Resumed {
        after: u64,
        /// From 1.
        resumption: u32,
    },
}

/// How a guest ended, one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeName {
    Returned,
    Failed,
    Trapped,
    Interrupted,
    Faulted,
}

impl OutcomeName {
    /// Whether the guest ended by itself: nothing of it is left to go on with.
    pub fn is_own(self) -> bool {
        match self {
            OutcomeName::Returned | OutcomeName::Failed | OutcomeName::Trapped => true,
            OutcomeName::Interrupted | OutcomeName::Faulted => false,
        }
    }
}

/// Everything that a run depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub origin: RunOrigin,
    pub job: OpenedJob,
}

/// What of an opening is never erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOrigin {
    pub format: u32,
    pub serial: String,
    pub tenant: String,
    pub line: String,
    pub item: String,
    pub attempt: u32,
    /// BLAKE3 of the component's bytes.
    pub component: Digest,
    /// The components of the checks, in their order; none for a command.
    pub checks: Vec<Option<Digest>>,
    /// The components of the tools, by the job's names for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, Digest>,
    /// What its children would run on, by the job's names for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub children: BTreeMap<String, Parts>,
    /// The call that the run is made for, if it is a child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Caller>,
    /// Engine, its version, and the host's.
    pub engine: String,
    /// Seed of all randomness of the guest.
    pub seed: u64,
    /// When the guest's clock starts. Milliseconds since 1970-01-01T00:00:00Z.
    pub start_ms: u64,
    /// Digest of the deliverables at the start, if the run has a workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Digest>,
    /// Where the workspace is kept as it was at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Digest>,
    /// Where the context is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Digest>,
    /// The run that this one is a fork of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
}

impl RunOrigin {
    /// The components that the run, its checks, its tools or its children run on.
    pub fn parts(&self) -> Parts {
        let Self { component, checks, tools, children, .. } = self.clone();
        Parts { worker: component, checks, tools, children }
    }
}

/// The components of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    pub worker: Digest,
    /// In the order of the checks; none for a command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Option<Digest>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, Digest>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub children: BTreeMap<String, Parts>,
}

impl Parts {
    /// All of them, those of its children too.
    pub fn components(&self) -> Vec<Digest> {
        let own = [self.worker].into_iter().chain(self.checks.iter().flatten().copied());
        own.chain(self.tools.values().copied()).chain(self.children.values().flat_map(Parts::components)).collect()
    }
}

/// Whose child a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The caller's run.
    pub serial: String,
    /// Its call.
    pub call: u64,
}

/// Where a fork leaves its parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    pub serial: String,
    /// The last entry that the fork shares.
    pub seq: u64,
    /// The hash of that entry's line.
    pub hash: Digest,
}

/// What of an opening may be erased: it holds what people wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedJob {
    /// The job as it was resolved.
    pub spec: RunSpec,
    /// The directory from which the job's paths begin.
    pub dir: String,
    /// What the guest is told of its task. A fork's is its parent's.
    pub item: String,
    pub attempt: u32,
    /// The models that the guest can look up, by the job's names.
    pub offers: BTreeMap<String, Profile>,
    /// The tools that the guest can call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolOffer>,
    /// Messages that are replaced in what is sent from the fork on: from 1, by their text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub edits: BTreeMap<usize, String>,
    /// The checks that the item had passed before this attempt.
    #[serde(default, skip_serializing_if = "Passed::is_empty")]
    pub passed: Passed,
    /// What the place of the workspace leaves out of its files.
    #[serde(default, skip_serializing_if = "LeftOut::is_empty")]
    pub left_out: LeftOut,
    /// The run of the attempt before, if its process was gone before it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

/// What an effect cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    pub spent: Amounts,
    /// Reserved by this call and in doubt now.
    pub held: Amounts,
    /// How long it took, waits included.
    pub took_ms: u64,
    /// How long the host made it wait for its pace.
    pub waited_ms: u64,
    /// The provider's own words about usage.
    #[serde(skip)]
    pub raw_usage: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    Stdout,
    Stderr,
}
