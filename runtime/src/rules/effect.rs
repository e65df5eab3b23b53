//! Everything that a guest can cause, and the line of the journal that records it.
//!
//! Never: performs an effect, decides about one. The three kinds of no live here: [`Refusal`] (ours, expected),
//! [`Failure`] (the world's); a fault is our own bug and has no word a guest could see.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::ledger::{Amounts, Line, Shortfall};
use super::model::{Reply, Request, Usage};
use super::progress::{Mark, Standing};
use super::spec::{Caps, Grants};
use super::verdict::{CheckResult, Stop, Verdict};

/// What a guest asks of the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "effect")]
pub enum Effect {
    /// Ask a model.
    Model { request: Request },
    /// Call a tool of the host.
    Tool { name: String, input: String },
    /// Run another worker as a child.
    Child { name: String, task: String },
    /// Ask a person.
    Human { question: String, options: Vec<String> },
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
}

impl Effect {
    /// The effect's kind, one word, as the journal and the screen name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Effect::Model { .. } => "model",
            Effect::Tool { .. } => "tool",
            Effect::Child { .. } => "child",
            Effect::Human { .. } => "human",
            Effect::Attach { .. } => "attach",
            Effect::CheckIn { .. } => "check-in",
            Effect::Sleep { .. } => "sleep",
            Effect::Left => "left",
            Effect::Count { .. } => "count",
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
    },
    Slept,
    Left {
        lines: Vec<LineLeft>,
    },
    Counted {
        tokens_in: u64,
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

/// What a guest hears for an effect.
pub type Heard = Result<Answer, Denied>;

/// The version of the journal's format. A reader refuses what it does not know.
pub const FORMAT: u32 = 1;

/// One line of the journal: the only truth about a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// From 0, without gaps.
    pub seq: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z on the host's clock.
    pub at_ms: u64,
    pub body: Body,
}

/// What a line of the journal says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "entry")]
pub enum Body {
    /// The first line: everything that the run depends on.
    Opened {
        opening: Box<Opening>,
    },
    /// Durable before anything leaves.
    Intent {
        call: u64,
        effect: Effect,
        reserved: Amounts,
    },
    /// Durable before the guest hears.
    Answered {
        call: u64,
        heard: Heard,
        cost: Cost,
    },
    /// Nothing left, nothing was spent.
    Refused {
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
    /// The host saw something that the item had not shown before.
    Marked {
        mark: Mark,
    },
    /// The cord was pulled.
    Stopped {
        stop: Stop,
    },
    /// The guest is gone.
    Ended {
        outcome: String,
        changed: Vec<String>,
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
    /// The last line.
    Closed {
        verdict: Verdict,
    },
}

/// Everything that a run depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    pub format: u32,
    pub serial: String,
    pub tenant: String,
    pub line: String,
    pub item: String,
    pub attempt: u32,
    /// BLAKE3 of the component's bytes.
    pub component: Digest,
    /// Engine, its version, and the host's.
    pub engine: String,
    /// Seed of all randomness of the guest.
    pub seed: u64,
    pub grants: Grants,
    pub caps: Caps,
    /// Digest of the deliverables at the start, if the run has a workspace.
    pub base: Option<Digest>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
