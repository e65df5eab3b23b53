//! The no of the host in words: what was asked, what is allowed, and the line of `jidoka.toml` that would change it.

use std::fmt;

pub use crate::bindings::worker::jidoka::agent::types::{
    EvidenceId, Failure, FailureKind, Line, Reason, Refusal, Shortfall,
};

/// Every no that a guest can see.
///
/// The layout is the contract's: it stands in for the generated type, so that it can have words of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum Denied {
    /// The host said no before anything was sent or spent.
    Refused(Refusal),
    /// The world said no after the call was made.
    Failed(Failure),
}

impl Denied {
    /// The shortfall, if a budget line had too little left.
    pub fn shortfall(&self) -> Option<&Shortfall> {
        match self {
            Denied::Refused(refusal) => refusal.shortfall(),
            Denied::Failed(_) => None,
        }
    }

    /// Whether trying again may help. It is a new call with its own cost.
    pub fn may_pass_later(&self) -> bool {
        match self {
            Denied::Refused(_) => false,
            Denied::Failed(failure) => {
                matches!(failure.kind, FailureKind::Unavailable | FailureKind::Overloaded | FailureKind::TimedOut)
            }
        }
    }
}

impl Refusal {
    /// Whether a guard of the host's says that the worker goes nowhere. The call was not made; it may be made again, and a
    /// worker that listens does something else, or has something new to show.
    pub fn is_warning(&self) -> bool {
        matches!(self.reason, Reason::Invalid) && self.setting.starts_with("[guards]")
    }

    /// The shortfall, if a budget line had too little left.
    pub fn shortfall(&self) -> Option<&Shortfall> {
        match &self.reason {
            Reason::Exhausted(shortfall) => Some(shortfall),
            Reason::NotGranted
            | Reason::Unbounded
            | Reason::Unpriced
            | Reason::TooLarge
            | Reason::Invalid
            | Reason::LineStopped => None,
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::Refused(refusal) => refusal.fmt(f),
            Denied::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for Denied {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shortfall() {
            // Its amounts already say what was asked and what is allowed.
            Some(shortfall) => write!(f, "refused: {shortfall}")?,
            None => {
                match self.is_warning() {
                    true => write!(f, "refused, because this leads nowhere: {}", self.asked)?,
                    false => write!(f, "refused {}: {}", self.asked, self.reason)?,
                }
                if !self.allowed.is_empty() {
                    write!(f, "; allowed: {}", self.allowed)?;
                }
            }
        }
        if !self.setting.is_empty() {
            write!(f, "; to change it: {}", self.setting)?;
        }
        Ok(())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NotGranted => f.write_str("the job does not grant it"),
            Reason::Exhausted(shortfall) => shortfall.fmt(f),
            Reason::Unbounded => f.write_str("no upper bound of its cost is known"),
            Reason::Unpriced => f.write_str("the model has no price and money is limited"),
            Reason::TooLarge => f.write_str("an argument is larger than its cap"),
            Reason::Invalid => f.write_str("an argument is not well formed"),
            Reason::LineStopped => f.write_str("the line is stopped"),
        }
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} asked, {} left in scope {}", self.asked, self.line, self.left, self.scope)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Line::TokensIn => "tokens-in",
            Line::TokensOut => "tokens-out",
            Line::Tokens => "tokens",
            Line::MicroUsd => "micro-usd",
            Line::ModelCalls => "model-calls",
            Line::ToolCalls => "tool-calls",
            Line::WallMs => "wall-ms",
            Line::WorkMs => "work-ms",
            Line::CpuMs => "cpu-ms",
            Line::NetBytes => "net-bytes",
            Line::DiskBytes => "disk-bytes",
            Line::MemoryBytes => "memory-bytes",
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FailureKind::Unavailable => "unavailable",
            FailureKind::Overloaded => "overloaded",
            FailureKind::TimedOut => "timed out",
            FailureKind::Rejected => "rejected",
            FailureKind::Broken => "broken answer",
            FailureKind::SchemaViolation => "the answer breaks the schema",
        })
    }
}
