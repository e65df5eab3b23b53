//! Other workers as children of this one: each is a job of its own, run with its own journal in the caller's files. Grant:
//! `[grants] children = ["NAME"]`, and `[children.NAME]` says which job it is.
//!
//! What a child may spend is carved out of its caller's budget before it begins, and what it did not spend comes back. Of a
//! line that the caller does not name it gets what its job says, or what the caller has left if that is less; of several at
//! once, in equal shares. Time passes for both alike.
//!
//! What was accepted of a child's files is in the caller's when it is over, and nothing of any other verdict is. A child that
//! pulls the andon cord stops its caller too.

pub use crate::bindings::worker::jidoka::agent::children::{Child, Verdict};
use crate::denied::{Denied, Line};
use crate::host;

/// Children of one [`run_all`].
pub const MAX_AT_ONCE: usize = 16;

/// Runs a child worker to its verdict. A verdict is `Ok`, also if it is not `accepted`.
///
/// `Err` with `refused`, and nothing ran:
/// - `not-granted`: the job has no child of this name, or the run is a child of a child of a child;
/// - `exhausted`: a line that is named has less left than that;
/// - `too-large`: a line is named with more than the child's job says, the task has more than 256 KiB, or the run has had
///   64 children, those of its children included;
/// - `invalid`: `memory-bytes` is named, which is held and not spent: the caps of the child's job bound it;
/// - `line-stopped`: nothing begins on a line that is stopped.
pub fn run(child: &Child) -> Result<Verdict, Denied> {
    host::children::run(child)
}

/// Runs several children at once, at most [`MAX_AT_ONCE`]; those that may write files run one after the other. Verdicts come
/// in the order asked, each with its own error; more children than that are refused whole.
pub fn run_all(children: &[Child]) -> Vec<Result<Verdict, Denied>> {
    host::children::run_all(children)
}

impl Child {
    /// A child by the job's name for it, with no line of its budget named yet.
    pub fn new(name: impl Into<String>, task: impl Into<String>) -> Self {
        Child { name: name.into(), task: task.into(), budget: Vec::new() }
    }

    /// Names the most that the child may spend of a line, in the line's unit.
    #[must_use]
    pub fn may_spend(mut self, line: Line, amount: u64) -> Self {
        self.budget.push((line, amount));
        self
    }
}

impl Verdict {
    /// Whether the host accepted the child's work, which is in the caller's files then. A child that had nothing to do is
    /// judged `no-change-needed`, which is not this.
    pub fn is_accepted(&self) -> bool {
        self.verdict == "accepted"
    }
}
