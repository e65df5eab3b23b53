//! Pulls: who stopped a run and its line, and why. The categories are closed.
//!
//! Never: stops anything itself (the cord does), clears a lock without a person's cause. Invariants here: a line that is
//! pulled again keeps its lock, and each pull is counted; only [`LineRecord::clear`] takes a lock away.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::ledger::{Level, ScopeId};
use super::signature::{self, Signature};
use super::spec::Guards;
use super::verdict::{APPLY_GATE, Verdict};

/// Bytes of a pull's reason that are kept. A guest chooses the text; more than a paragraph is evidence, not a reason.
pub const MAX_REASON_BYTES: usize = 4 << 10;

/// Evidence addresses that are kept of one pull.
pub const MAX_PULL_EVIDENCE: usize = 32;

/// Characters of an evidence address that are kept: a real one has 71, and whatever is cut is not one.
pub const MAX_ADDRESS_CHARS: usize = 80;

/// Who pulled the cord.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Puller {
    Worker,
    Ledger,
    Host,
    Operator,
}

impl Puller {
    /// The puller's name in the journal and on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Puller::Worker => "worker",
            Puller::Ledger => "ledger",
            Puller::Host => "host",
            Puller::Operator => "operator",
        }
    }
}

/// Why the cord was pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    Defect,
    SystemicRisk,
    UnsafeRequest,
    MissingCapability,
    AmbiguousSpec,
    MeterOverrun,
    JournalCorrupt,
    CapabilityViolation,
    RepeatFailure,
    NoProgressCluster,
    HookTimeout,
    Divergence,
    VerifierConflict,
    RunLost,
    Operator,
}

impl Category {
    /// All of them: those of workers, of the host, of operators.
    pub const ALL: [Category; 15] = [
        Category::Defect,
        Category::SystemicRisk,
        Category::UnsafeRequest,
        Category::MissingCapability,
        Category::AmbiguousSpec,
        Category::MeterOverrun,
        Category::JournalCorrupt,
        Category::CapabilityViolation,
        Category::RepeatFailure,
        Category::NoProgressCluster,
        Category::HookTimeout,
        Category::Divergence,
        Category::VerifierConflict,
        Category::RunLost,
        Category::Operator,
    ];

    /// The category's name in the contract, the journal and on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Category::Defect => "defect",
            Category::SystemicRisk => "systemic-risk",
            Category::UnsafeRequest => "unsafe-request",
            Category::MissingCapability => "missing-capability",
            Category::AmbiguousSpec => "ambiguous-spec",
            Category::MeterOverrun => "meter-overrun",
            Category::JournalCorrupt => "journal-corrupt",
            Category::CapabilityViolation => "capability-violation",
            Category::RepeatFailure => "repeat-failure",
            Category::NoProgressCluster => "no-progress-cluster",
            Category::HookTimeout => "hook-timeout",
            Category::Divergence => "divergence",
            Category::VerifierConflict => "verifier-conflict",
            Category::RunLost => "run-lost",
            Category::Operator => "operator",
        }
    }
}

/// One pull of the cord.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    pub by: Puller,
    pub category: Category,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
}

impl Pull {
    /// A pull by the host.
    pub fn by_host(category: Category, reason: String) -> Self {
        Self { by: Puller::Host, category, reason: cut_reason(&reason), evidence: vec![] }
    }

    /// A pull by a person.
    pub fn by_operator(category: Category, reason: &str) -> Self {
        Self { by: Puller::Operator, category, reason: cut_reason(reason), evidence: vec![] }
    }

    /// A pull by a guest: the reason and the evidence are cut to their caps, because a guest chose them.
    pub fn by_worker(category: Category, reason: &str, evidence: Vec<String>) -> Self {
        Self {
            by: Puller::Worker,
            category,
            reason: cut_reason(reason),
            evidence: evidence.iter().take(MAX_PULL_EVIDENCE).map(|id| cut_address(id)).collect(),
        }
    }
}

/// The beginning of a reason, in whole characters: a guest may have chosen a part of it.
fn cut_reason(reason: &str) -> String {
    reason[..reason.floor_char_boundary(MAX_REASON_BYTES)].to_owned()
}

/// An address that a guest gave, cut: it stays unknown if it was longer than any real one.
pub fn cut_address(id: &str) -> String {
    id.chars().take(MAX_ADDRESS_CHARS).collect()
}

/// A pull as it is kept for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: u64,
    pub line: ScopeId,
    /// The lock that it set, or joined. Counted for each line from 1.
    pub lock: u64,
    /// In what: none, if no run pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// The person, if one pulled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    pub pull: Pull,
}

/// Why nothing of a line is dispatched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Counted for each line from 1.
    pub number: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub since_ms: u64,
    /// The pull that set it.
    pub first: Pull,
    /// How often it was pulled, the first time included.
    pub pulls: u64,
}

/// What the host remembers of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    /// How many locks there were.
    pub locks: u64,
    /// The latest ends of its runs, the oldest first.
    pub ends: VecDeque<RunEnded>,
}

/// How a run of a line ended, as far as other runs are compared with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnded {
    pub item: String,
    /// None, if it ended well or through no fault of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Signature>,
}

/// The line is not stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the line is not stopped")]
pub struct NotStopped;

/// The lock that a person has looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenLock {
    pub number: u64,
    /// How many pulls of it they saw. `None`: they do not say.
    pub pulls: Option<u64>,
}

/// The lock of a line is not the one that a person has looked at. Nothing was cleared.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OtherLock {
    #[error("the line is stopped by lock {is}, and lock {meant} was cleared already, or never was")]
    Number { meant: u64, is: u64 },
    #[error("lock {number} was pulled {more} times more since it was looked at, the latest ({}): {}", latest.category.name(), latest.reason)]
    Pulled { number: u64, more: u64, latest: Box<Pull> },
}

impl SeenLock {
    /// Whether it is this lock, as it was seen. `pulls` are those of its line.
    ///
    /// # Errors
    /// [`OtherLock`].
    pub fn is(self, lock: &Lock, pulls: &[Pulled]) -> Result<(), OtherLock> {
        let Self { number, pulls: seen } = self;
        if number != lock.number {
            return Err(OtherLock::Number { meant: number, is: lock.number });
        }
        match seen.and_then(|seen| lock.pulls.checked_sub(seen)).filter(|more| *more > 0) {
            None => Ok(()),
            Some(more) => {
                let latest = pulls.iter().rev().find(|pulled| pulled.lock == number);
                let latest = latest.map_or(&lock.first, |pulled| &pulled.pull);
                Err(OtherLock::Pulled { number, more, latest: Box::new(latest.clone()) })
            }
        }
    }
}

/// Ends of runs that a line remembers at most.
pub const MAX_ENDS: usize = 1_000;

impl LineRecord {
    /// Stops the line, or counts one more pull of it. Returns the lock's number.
    pub fn pull(&mut self, pull: &Pull, now_ms: u64) -> u64 {
        if let Some(lock) = &mut self.lock {
            lock.pulls = lock.pulls.saturating_add(1);
            return lock.number;
        }
        self.locks = self.locks.saturating_add(1);
        self.lock = Some(Lock { number: self.locks, since_ms: now_ms, first: pull.clone(), pulls: 1 });
        self.locks
    }

    /// Lets the line go on. What its runs came to before is no cluster any more.
    ///
    /// # Errors
    /// [`NotStopped`].
    pub fn clear(&mut self) -> Result<Lock, NotStopped> {
        let lock = self.lock.take().ok_or(NotStopped)?;
        self.ends.clear();
        Ok(lock)
    }

    /// Remembers how a run ended (G9). If so many items have now failed in the same way, it is no fault of an item's, and the
    /// line is to be pulled.
    pub fn ended(&mut self, item: &str, verdict: &Verdict, cause: Cause, guards: &Guards) -> Option<Pull> {
        let is_failure = cause == Cause::Items && is_failure(verdict);
        let failure = is_failure.then(|| signature::of(verdict));
        self.ends.push_back(RunEnded { item: item.to_owned(), failure });
        let runs = usize::try_from(guards.cluster_runs).unwrap_or(MAX_ENDS).min(MAX_ENDS);
        while self.ends.len() > runs {
            self.ends.pop_front();
        }
        let failure = failure?;
        let same = self.ends.iter().filter(|end| end.failure.as_ref() == Some(&failure)).map(|end| end.item.as_str());
        let items: std::collections::BTreeSet<&str> = same.collect();
        if (items.len() as u64) < u64::from(guards.cluster_items) {
            return None;
        }
        let category = if let Verdict::NoProgress { .. } = verdict {
            Category::NoProgressCluster
        } else {
            Category::RepeatFailure
        };
        let names: Vec<&str> = items.into_iter().collect();
        let reason = format!(
            "{} items of the line ended in the same way ({}, signature {failure}): {}; the latest: {}",
            names.len(),
            verdict.name(),
            names.join(", "),
            verdict.why()
        );
        Some(Pull::by_host(category, reason))
    }
}

/// What an end came of, where the verdict alone does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Of what the item did.
    Items,
    /// Of a provider that did not answer.
    Providers,
}

/// Whether a verdict says that the item's own work failed, rather than that somebody stopped it, or that something failed
/// which all items share: the host, the real directory, a budget of theirs.
fn is_failure(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Rejected { gate, .. } => gate != APPLY_GATE,
        Verdict::Exhausted { scope, .. } => {
            let shared = [Level::Host, Level::Tenant, Level::Line];
            !shared.iter().any(|level| level.name() == scope)
        }
        Verdict::Unable { .. }
        | Verdict::NoProgress { .. }
        | Verdict::ConstraintViolation { .. }
        | Verdict::Trapped { .. }
        | Verdict::Unverifiable { .. } => true,
        Verdict::Fault { .. }
        | Verdict::Deferred { .. }
        | Verdict::Accepted
        | Verdict::NoChangeNeeded
        | Verdict::NeedsHuman { .. }
        | Verdict::Halted { .. }
        | Verdict::AttemptsExhausted { .. }
        | Verdict::NotAdmitted { .. }
        | Verdict::Diverged(_)
        | Verdict::Cancelled
        | Verdict::Lost => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::line::Line;

    fn fails(why: &str) -> Verdict {
        Verdict::Trapped { why: why.into() }
    }

    #[test]
    fn a_line_that_is_pulled_again_keeps_its_lock_and_counts_the_pulls() {
        let mut line = LineRecord::default();
        let pull = |reason: &str| Pull::by_host(Category::MeterOverrun, reason.into());
        assert_eq!((line.pull(&pull("one"), 5), line.pull(&pull("two"), 6)), (1, 1));
        let lock = line.clear().expect("is stopped");
        assert_eq!((lock.since_ms, lock.pulls, lock.first.reason.as_str()), (5, 2, "one"));
        assert_eq!(line.clear(), Err(NotStopped));
        assert_eq!(line.pull(&pull("three"), 7), 2);
    }

    #[test]
    fn a_lock_is_the_one_that_was_seen_up_to_n_pulls_and_not_at_n_plus_1() {
        let mut line = LineRecord::default();
        let pull = |reason: &str| Pull::by_host(Category::MeterOverrun, reason.into());
        line.pull(&pull("one"), 5);
        line.clear().expect("is stopped");
        line.pull(&pull("two"), 6);
        line.pull(&pull("three"), 7);
        let lock = line.lock.expect("is stopped");
        let seen = |number: u64, pulls: Option<u64>| SeenLock { number, pulls }.is(&lock, &[]);
        assert_eq!(seen(1, None), Err(OtherLock::Number { meant: 1, is: 2 }));
        assert_eq!((seen(2, None), seen(2, Some(2)), seen(2, Some(3))), (Ok(()), Ok(()), Ok(())));
        let one_more = seen(2, Some(1)).expect_err("it was pulled since");
        assert!(matches!(one_more, OtherLock::Pulled { number: 2, more: 1, .. }), "{one_more}");
    }

    #[test]
    fn the_same_failure_of_so_many_items_is_no_fault_of_theirs() {
        let guards = Guards { cluster_items: 3, cluster_runs: 5, ..Guards::default() };
        let mut line = LineRecord::default();
        // One item that fails again and again is no cluster, nor are failures of other kinds.
        for item in ["a", "a", "a", "b"] {
            assert_eq!(line.ended(item, &fails("at 17"), Cause::Items, &guards), None);
        }
        assert_eq!(line.ended("c", &Verdict::Unable { why: "another".into() }, Cause::Items, &guards), None);
        let pull = line.ended("c", &fails("at 18"), Cause::Items, &guards).expect("three items");
        assert_eq!(pull.category, Category::RepeatFailure);
        assert!(pull.reason.contains("a, b, c"), "{}", pull.reason);

        let mut line = LineRecord::default();
        let stuck = Verdict::NoProgress { why: "nothing".into() };
        let guards = Guards { cluster_items: 2, cluster_runs: 2, ..guards };
        assert_eq!(line.ended("a", &stuck, Cause::Items, &guards), None);
        assert_eq!(line.ended("x", &Verdict::Accepted, Cause::Items, &guards), None);
        assert_eq!(line.ended("b", &stuck, Cause::Items, &guards), None, "the first is too long ago");
        let pull = line.ended("c", &stuck, Cause::Items, &guards).expect("two of two");
        assert_eq!(pull.category, Category::NoProgressCluster);
    }

    #[test]
    fn only_what_items_did_themselves_is_a_signature() {
        let guards = Guards { cluster_items: 2, cluster_runs: 9, ..Guards::default() };
        let two = |verdict: &Verdict, cause: Cause| {
            let mut line = LineRecord::default();
            assert_eq!(line.ended("a", verdict, cause, &guards), None);
            line.ended("b", verdict, cause, &guards).is_some()
        };
        let exhausted = |scope: &str| Verdict::Exhausted { scope: scope.into(), line: Line::Tokens };
        let rejected = |gate: &str| Verdict::Rejected { gate: gate.into(), findings: vec![] };
        let unable = Verdict::Unable { why: "no".into() };
        for own in [exhausted("attempt"), exhausted("item"), rejected("tests"), unable.clone()] {
            assert!(two(&own, Cause::Items), "{own:?}");
        }
        let others = [
            exhausted("line"),
            exhausted("tenant"),
            exhausted("host"),
            rejected(APPLY_GATE),
            Verdict::Deferred { why: "busy".into(), retry_at_ms: 7 },
            Verdict::Cancelled,
            Verdict::Lost,
            Verdict::Fault { why: "a full disk".into() },
        ];
        for others in others {
            assert!(!two(&others, Cause::Items), "{others:?}");
        }
        assert!(!two(&unable, Cause::Providers));
    }

    #[test]
    fn the_memory_of_a_line_is_bounded() {
        let guards = Guards { cluster_items: 100, cluster_runs: 1_000, ..Guards::default() };
        let mut line = LineRecord::default();
        for _ in 0..MAX_ENDS + 1 {
            line.ended("a", &Verdict::Accepted, Cause::Items, &guards);
        }
        assert_eq!(line.ends.len(), MAX_ENDS);
    }

    #[test]
    fn a_reason_is_cut_at_its_cap_and_never_inside_a_character() {
        let exact = "x".repeat(MAX_REASON_BYTES);
        assert_eq!(Pull::by_worker(Category::Defect, &exact, vec![]).reason.len(), MAX_REASON_BYTES);
        let over = format!("{}é", "x".repeat(MAX_REASON_BYTES - 1));
        assert_eq!(Pull::by_worker(Category::Defect, &over, vec![]).reason.len(), MAX_REASON_BYTES - 1);
    }

    #[test]
    fn the_evidence_of_a_pull_is_cut_by_number_and_by_length() {
        let pull = |count: usize, chars: usize| {
            Pull::by_worker(Category::Defect, "why", vec!["ä".repeat(chars); count]).evidence
        };
        assert_eq!(pull(MAX_PULL_EVIDENCE, 1).len(), MAX_PULL_EVIDENCE);
        assert_eq!(pull(MAX_PULL_EVIDENCE + 1, 1).len(), MAX_PULL_EVIDENCE);
        for chars in [MAX_ADDRESS_CHARS, MAX_ADDRESS_CHARS + 1] {
            assert_eq!(pull(1, chars), ["ä".repeat(MAX_ADDRESS_CHARS)]);
        }
    }
}
