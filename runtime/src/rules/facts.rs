//! How an entry is written down: facts, which stay for ever, and content, which may be erased.
//!
//! Facts say what kind of thing happened, to which call, what it cost and how it ended. Content is what people, models and
//! guests wrote. Never: hashes (`doors/chain.rs` does). Invariant here: facts and content together are the whole body.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::effect::{
    Body, Cost, Denied, Effect, FailureKind, Heard, Kind, Level, OpenedJob, Opening, OutcomeName, Refusal, RunOrigin,
    Stream,
};
use super::ledger::Amounts;
use super::model::Request;
use super::progress::Mark;
use super::record::Record;
use super::verdict::{CheckEnd, CheckResult, Stop, UsedUp};

/// What of an entry is never erased. Fields stand in the order in which they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Facts {
    Opened(Box<RunOrigin>),
    Intent {
        call: u64,
        #[serde(default = "first", skip_serializing_if = "is_first")]
        attempt: u32,
        kind: Kind,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_output: Option<u32>,
        #[serde(default, skip_serializing_if = "Amounts::is_nothing")]
        reserved: Amounts,
    },
    Answered {
        call: u64,
        kind: Kind,
        how: How,
        cost: Cost,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tree: Option<Digest>,
    },
    Retried {
        call: u64,
        kind: FailureKind,
        wait_ms: u64,
        cost: Cost,
    },
    Within {
        call: u64,
        within: Box<Facts>,
    },
    Refused {
        call: u64,
        kind: Kind,
    },
    Noted {
        level: Level,
    },
    Printed {
        stream: Stream,
        dropped_bytes: u64,
    },
    Full {
        used: u64,
        granted: u64,
        by: UsedUp,
    },
    Marked {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call: Option<u64>,
        mark: Mark,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tree: Option<Digest>,
    },
    Stopped,
    Ended {
        outcome: OutcomeName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tree: Option<Digest>,
        notes_dropped: u64,
    },
    Checking {
        name: String,
    },
    Checked {
        name: String,
        passed: bool,
    },
    Applying,
    Closed {
        verdict: String,
        exit_code: u8,
    },
    Resumed {
        after: u64,
        resumption: u32,
    },
}

/// How a call ended, one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    Done,
    Failed,
    Refused,
}

impl How {
    fn of(heard: &Heard) -> Self {
        match heard {
            Ok(_) => How::Done,
            Err(Denied::Failed(_)) => How::Failed,
            Err(Denied::Refused(_)) => How::Refused,
        }
    }
}

/// What of an entry may be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Job(Box<OpenedJob>),
    Asked { effect: Effect, sent: Option<Box<Request>> },
    Heard { heard: Heard, raw_usage: Option<String> },
    Refused { effect: Effect, refusal: Refusal },
    Note { message: String, fields: Vec<(String, String)> },
    Text(String),
    Stop(Stop),
    Check(CheckEnd),
    Paths(Vec<String>),
    Record(Box<Record>),
}

fn first() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_first(attempt: &u32) -> bool {
    *attempt == 1
}

impl Body {
    /// Its facts, and its content if it has any.
    pub fn split(self) -> (Facts, Option<Content>) {
        match self {
            Body::Opened { opening } => {
                let Opening { origin, job } = *opening;
                (Facts::Opened(Box::new(origin)), Some(Content::Job(Box::new(job))))
            }
            Body::Intent { call, attempt, effect, max_output, sent, reserved } => {
                let facts = Facts::Intent { call, attempt, kind: effect.kind(), max_output, reserved };
                (facts, Some(Content::Asked { effect, sent }))
            }
            Body::Answered { call, kind, heard, mut cost, tree } => {
                let raw_usage = cost.raw_usage.take();
                let facts = Facts::Answered { call, kind, how: How::of(&heard), cost, tree };
                (facts, Some(Content::Heard { heard, raw_usage }))
            }
            Body::Retried { call, kind, message, wait_ms, cost } => {
                (Facts::Retried { call, kind, wait_ms, cost }, Some(Content::Text(message)))
            }
            Body::Within { call, body } => {
                let (within, content) = body.split();
                (Facts::Within { call, within: Box::new(within) }, content)
            }
            Body::Refused { call, effect, refusal } => {
                (Facts::Refused { call, kind: effect.kind() }, Some(Content::Refused { effect, refusal }))
            }
            Body::Noted { level, message, fields } => (Facts::Noted { level }, Some(Content::Note { message, fields })),
            Body::Printed { stream, text, dropped_bytes } => {
                (Facts::Printed { stream, dropped_bytes }, Some(Content::Text(text)))
            }
            Body::Full { used, granted, by } => (Facts::Full { used, granted, by }, None),
            Body::Marked { call, mark, tree } => (Facts::Marked { call, mark, tree }, None),
            Body::Stopped { stop } => (Facts::Stopped, Some(Content::Stop(stop))),
            Body::Ended { outcome, changed, tree, notes_dropped } => {
                (Facts::Ended { outcome, tree, notes_dropped }, Some(Content::Paths(changed)))
            }
            Body::Checking { name } => (Facts::Checking { name }, None),
            Body::Checked { result } => {
                let passed = result.passed();
                (Facts::Checked { name: result.name, passed }, Some(Content::Check(result.end)))
            }
            Body::Applying { paths } => (Facts::Applying, Some(Content::Paths(paths))),
            Body::Closed { record } => {
                let facts = Facts::Closed { verdict: record.verdict.clone(), exit_code: record.exit_code };
                (facts, Some(Content::Record(record)))
            }
            Body::Resumed { after, resumption } => (Facts::Resumed { after, resumption }, None),
        }
    }
}

impl Facts {
    /// Whether an entry with these facts has content.
    pub fn has_content(&self) -> bool {
        match self {
            Facts::Full { .. } | Facts::Marked { .. } | Facts::Checking { .. } | Facts::Resumed { .. } => false,
            Facts::Within { within, .. } => within.has_content(),
            Facts::Opened(_)
            | Facts::Intent { .. }
            | Facts::Answered { .. }
            | Facts::Retried { .. }
            | Facts::Refused { .. }
            | Facts::Noted { .. }
            | Facts::Printed { .. }
            | Facts::Stopped
            | Facts::Ended { .. }
            | Facts::Checked { .. }
            | Facts::Applying
            | Facts::Closed { .. } => true,
        }
    }

    /// The body of an entry with these facts. `None`: the content is that of another kind of entry.
    pub fn with(self, content: Option<Content>) -> Option<Body> {
        Some(match (self, content) {
            (Facts::Opened(origin), Some(Content::Job(job))) => {
                Body::Opened { opening: Box::new(Opening { origin: *origin, job: *job }) }
            }
            (Facts::Intent { call, attempt, kind, max_output, reserved }, Some(Content::Asked { effect, sent }))
                if kind == effect.kind() =>
            {
                Body::Intent { call, attempt, effect, max_output, sent, reserved }
            }
            (Facts::Answered { call, kind, how, cost, tree }, Some(Content::Heard { heard, raw_usage }))
                if how == How::of(&heard) =>
            {
                Body::Answered { call, kind, heard, cost: Cost { raw_usage, ..cost }, tree }
            }
            (Facts::Retried { call, kind, wait_ms, cost }, Some(Content::Text(message))) => {
                Body::Retried { call, kind, message, wait_ms, cost }
            }
            (Facts::Within { call, within }, content) => Body::Within { call, body: Box::new(within.with(content)?) },
            (Facts::Refused { call, kind }, Some(Content::Refused { effect, refusal })) if kind == effect.kind() => {
                Body::Refused { call, effect, refusal }
            }
            (Facts::Noted { level }, Some(Content::Note { message, fields })) => Body::Noted { level, message, fields },
            (Facts::Printed { stream, dropped_bytes }, Some(Content::Text(text))) => {
                Body::Printed { stream, text, dropped_bytes }
            }
            (Facts::Full { used, granted, by }, None) => Body::Full { used, granted, by },
            (Facts::Marked { call, mark, tree }, None) => Body::Marked { call, mark, tree },
            (Facts::Stopped, Some(Content::Stop(stop))) => Body::Stopped { stop },
            (Facts::Ended { outcome, tree, notes_dropped }, Some(Content::Paths(changed))) => {
                Body::Ended { outcome, changed, tree, notes_dropped }
            }
            (Facts::Checking { name }, None) => Body::Checking { name },
            (Facts::Checked { name, passed }, Some(Content::Check(end))) => {
                let result = CheckResult { name, end };
                if result.passed() != passed {
                    return None;
                }
                Body::Checked { result }
            }
            (Facts::Applying, Some(Content::Paths(paths))) => Body::Applying { paths },
            (Facts::Closed { verdict, exit_code }, Some(Content::Record(record)))
                if verdict == record.verdict && exit_code == record.exit_code =>
            {
                Body::Closed { record }
            }
            (Facts::Resumed { after, resumption }, None) => Body::Resumed { after, resumption },
            _ => return None,
        })
    }
}
