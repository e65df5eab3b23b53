//! Other workers as children of this one. Grant: `[grants] children = ["NAME"]`.

pub use crate::bindings::worker::jidoka::agent::children::{Child, Verdict};
use crate::denied::{Denied, Line};
use crate::host;

/// Runs a child worker to its verdict, with a budget carved out of the caller's own.
///
/// `Err` with `refused`: the child is not granted, the budget is short, or depth or fan-out is at its cap.
pub fn run(child: &Child) -> Result<Verdict, Denied> {
    host::children::run(child)
}

/// Runs several children at once, at most 16; verdicts come in the order asked, each with its own error.
pub fn run_all(children: &[Child]) -> Vec<Result<Verdict, Denied>> {
    host::children::run_all(children)
}

impl Child {
    /// A child by the job's name for it, with nothing to spend yet.
    pub fn new(name: impl Into<String>, task: impl Into<String>) -> Self {
        Child { name: name.into(), task: task.into(), budget: Vec::new() }
    }

    /// Gives the child some of the caller's budget.
    #[must_use]
    pub fn may_spend(mut self, line: Line, amount: u64) -> Self {
        self.budget.push((line, amount));
        self
    }
}
