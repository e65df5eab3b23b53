//! What a worker is asked and what it answers; what a verifier is asked and what it answers.

pub use crate::bindings::verifier::jidoka::agent::review::{Artifact, Change, ChangeKind, Judgement};
pub use crate::bindings::worker::jidoka::agent::work::{Report, Status, Task};
use crate::denied::EvidenceId;

impl Task {
    /// A task as the first attempt of a new item. Only tests make tasks: a worker is handed its own.
    pub fn new(text: impl Into<String>) -> Self {
        Task { item: "item".to_owned(), attempt: 1, text: text.into(), inputs: Vec::new() }
    }

    /// Adds a named value.
    #[must_use]
    pub fn with_input(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.inputs.push((key.into(), value.into()));
        self
    }

    /// The job's value for `key` (`[task] inputs`), if it has one.
    pub fn input(&self, key: &str) -> Option<&str> {
        self.inputs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

impl Report {
    /// A report with a status of the caller's choice and no evidence yet.
    pub fn new(status: Status, summary: impl Into<String>) -> Self {
        Report { status, summary: summary.into(), evidence: Vec::new() }
    }

    /// The work is done, as far as the worker can tell. The host looks for itself.
    pub fn done(summary: impl Into<String>) -> Self {
        Report::new(Status::Done, summary)
    }

    /// Everything is already as the task wants it.
    pub fn no_change_needed(summary: impl Into<String>) -> Self {
        Report::new(Status::NoChangeNeeded, summary)
    }

    /// The work cannot be done with what was granted.
    pub fn unable(summary: impl Into<String>) -> Self {
        Report::new(Status::Unable, summary)
    }

    /// A person has to decide before the work can go on.
    pub fn needs_human(summary: impl Into<String>) -> Self {
        Report::new(Status::NeedsHuman, summary)
    }

    /// Adds evidence that was attached before ([`crate::evidence::attach`]).
    #[must_use]
    pub fn with_evidence(mut self, id: EvidenceId) -> Self {
        self.evidence.push(id);
        self
    }
}

impl Artifact {
    /// An artifact without changes. Only tests make artifacts: a verifier is handed its own.
    pub fn new(task: impl Into<String>) -> Self {
        Artifact {
            item: "item".to_owned(),
            task: task.into(),
            tree: String::new(),
            changes: Vec::new(),
            evidence: Vec::new(),
        }
    }
}

impl Judgement {
    /// The check passes.
    pub fn pass(summary: impl Into<String>) -> Self {
        Judgement { pass: true, summary: summary.into(), findings: Vec::new() }
    }

    /// The check fails.
    pub fn fail(summary: impl Into<String>) -> Self {
        Judgement { pass: false, summary: summary.into(), findings: Vec::new() }
    }

    /// Adds one line to what was found.
    #[must_use]
    pub fn with_finding(mut self, finding: impl Into<String>) -> Self {
        self.findings.push(finding.into());
        self
    }
}
