//! Marks: progress that the host verified by digest, and the set of all that an item has shown before.
//!
//! Never: believes a worker, computes a digest. Invariants here: N4 (marks come only from host digests), N5 (an old
//! state is not progress: toggling A, B, A earns one mark, and so does what an earlier attempt was judged by). What an
//! interruption kept from being judged is not old: see [`judges_the_work`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::spec::MarkKind;
use super::verdict::{CheckResult, Verdict};

/// Something that the item has not shown before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    pub kind: MarkKind,
    pub digest: Digest,
}

/// What a check-in tells the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub new_mark: bool,
    /// Marks of this run so far.
    pub marks: u32,
    /// Files that differ from the start of the run.
    pub changed_files: u32,
}

/// All that an item has shown and was judged by, over all its attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seen(BTreeSet<Mark>);

impl Seen {
    /// Adds marks that a run was judged by.
    pub fn extend(&mut self, marks: &[Mark]) {
        self.0.extend(marks);
    }
}

impl FromIterator<Mark> for Seen {
    fn from_iter<I: IntoIterator<Item = Mark>>(marks: I) -> Self {
        Self(marks.into_iter().collect())
    }
}

/// Whether a verdict judges the work itself: then its marks are old to the item's next attempts (N5). Any other verdict
/// leaves the item as it was, so that the same work counts when it is done again.
///
/// | verdict | is the work judged? |
/// | --- | --- |
/// | `accepted`, `no-change-needed` | yes |
/// | `rejected` by a check of the job | yes: the check saw it and refused it |
/// | `rejected` by another gate | no: the report's claim was refused, or the real directory had changed |
/// | `no-progress` | yes: the host looked, and what counts was old |
/// | `constraint-violation` | no: what stood beside the work was refused |
/// | `unable`, `needs-human` | no: the worker did not say that it was done |
/// | `exhausted`, `halted`, `cancelled`, `deferred` | no: a limit, a pull, a person or the world interrupted it |
/// | `trapped`, `unverifiable`, `diverged`, `fault`, `lost` | no: the worker, a check or the host broke |
/// | `attempts-exhausted`, `not-admitted` | no: nothing ran |
pub fn judges_the_work(verdict: &Verdict, checks: &[CheckResult]) -> bool {
    match verdict {
        Verdict::Accepted | Verdict::NoChangeNeeded | Verdict::NoProgress { .. } => true,
        Verdict::Rejected { gate, .. } => checks.iter().any(|check| check.name == *gate && !check.passed()),
        Verdict::Unable { .. }
        | Verdict::NeedsHuman { .. }
        | Verdict::Exhausted { .. }
        | Verdict::Halted { .. }
        | Verdict::Deferred { .. }
        | Verdict::ConstraintViolation { .. }
        | Verdict::Trapped { .. }
        | Verdict::Unverifiable { .. }
        | Verdict::AttemptsExhausted { .. }
        | Verdict::NotAdmitted { .. }
        | Verdict::Diverged(_)
        | Verdict::Cancelled
        | Verdict::Lost
        | Verdict::Fault { .. } => false,
    }
}

/// The checks that an item has passed, by name. A ratchet: what passed once earns nothing by passing again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passed {
    /// Passed, by an attempt or without one.
    names: BTreeSet<String>,
    /// Judged on what an attempt began with.
    known_of_base: BTreeSet<String>,
}

impl Passed {
    /// Whether nothing is known of any check.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.known_of_base.is_empty()
    }

    /// All that have passed, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether a check passes of which nobody knows whether it does without the work.
    pub fn is_news(&self, result: &CheckResult) -> bool {
        result.passed() && !self.names.contains(&result.name) && !self.known_of_base.contains(&result.name)
    }

    /// Takes in what a check says of what an attempt began with.
    pub fn learn_of_base(&mut self, name: &str, passes: bool) {
        self.known_of_base.insert(name.to_owned());
        if passes {
            self.names.insert(name.to_owned());
        }
    }

    /// Adds what passes now and is known not to have passed at the base; whether there is any.
    pub fn grow(&mut self, results: &[CheckResult]) -> bool {
        let mut grew = false;
        for result in results.iter().filter(|result| result.passed() && self.known_of_base.contains(&result.name)) {
            grew |= self.names.insert(result.name.clone());
        }
        grew
    }
}

/// The marks of one run.
#[derive(Clone, Debug)]
pub struct Progress {
    kinds: BTreeSet<MarkKind>,
    seen: Seen,
    passed: Passed,
    earned: Vec<Mark>,
}

impl Progress {
    /// Starts with all that the item has shown before and with the state of the workspace at the start, which is
    /// never progress. Only marks of the job's `kinds` count.
    pub fn new(kinds: BTreeSet<MarkKind>, mut seen: Seen, base: Option<Digest>) -> Self {
        seen.0.extend(base.map(|digest| Mark { kind: MarkKind::Tree, digest }));
        Self { kinds, seen, passed: Passed::default(), earned: Vec::new() }
    }

    /// With the checks that the item has passed before.
    pub fn having_passed(self, passed: Passed) -> Self {
        Self { passed, ..self }
    }

    /// The checks that the item has passed.
    pub fn passed(&self) -> &Passed {
        &self.passed
    }

    /// Remembers the checks that the item has passed by now.
    pub fn set_passed(&mut self, passed: Passed) {
        self.passed = passed;
    }

    /// Whether it would be a mark.
    pub fn is_new(&self, mark: Mark) -> bool {
        self.kinds.contains(&mark.kind) && !self.seen.0.contains(&mark)
    }

    /// Whether it is new; if so it is a mark from now on.
    pub fn observe(&mut self, mark: Mark) -> bool {
        let new = self.kinds.contains(&mark.kind) && self.seen.0.insert(mark);
        if new {
            self.earned.push(mark);
        }
        new
    }

    /// A mark that the run has earned before it was interrupted.
    pub fn retell(&mut self, mark: Mark) {
        self.seen.0.insert(mark);
        self.earned.push(mark);
    }

    /// Marks of this run, in the order they were earned.
    pub fn earned(&self) -> &[Mark] {
        &self.earned
    }

    /// All that the item has shown, for its next attempt.
    pub fn into_seen(self) -> Seen {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::verdict::CheckEnd;

    fn tree(byte: u8) -> Mark {
        Mark { kind: MarkKind::Tree, digest: Digest::from_bytes([byte; 32]) }
    }

    fn kinds() -> BTreeSet<MarkKind> {
        BTreeSet::from([MarkKind::Tree])
    }

    #[test]
    fn toggling_earns_one_mark() {
        let mut progress = Progress::new(kinds(), Seen::default(), Some(Digest::from_bytes([1; 32])));
        let seen: Vec<bool> = [1, 2, 1, 2, 1].map(|state| progress.observe(tree(state))).into();
        assert_eq!(seen, [false, true, false, false, false]);
        assert_eq!(progress.earned().len(), 1);
    }

    #[test]
    fn what_an_earlier_attempt_showed_is_not_new() {
        let mut first = Progress::new(kinds(), Seen::default(), Some(Digest::from_bytes([1; 32])));
        assert!(first.observe(tree(2)));
        let mut second = Progress::new(kinds(), first.into_seen(), Some(Digest::from_bytes([1; 32])));
        assert!(!second.observe(tree(2)));
    }

    fn result(name: &str, passes: bool) -> CheckResult {
        let end = match passes {
            true => CheckEnd::Passed { summary: String::new() },
            false => CheckEnd::Failed { summary: String::new(), findings: vec![] },
        };
        CheckResult { name: name.into(), end }
    }

    #[test]
    fn what_the_base_passes_earns_nothing() {
        let mut passed = Passed::default();
        let results = [result("base", true), result("work", true), result("never", false)];
        assert_eq!(results.iter().filter(|result| passed.is_news(result)).count(), 2);
        assert!(!passed.clone().grow(&results), "nothing counts of which nobody knows");
        passed.learn_of_base("base", true);
        assert!(!passed.clone().grow(&results));
        passed.learn_of_base("work", false);
        assert!(passed.grow(&results) && !passed.grow(&results));
        assert_eq!(passed.names().collect::<Vec<_>>(), ["base", "work"]);
        assert!(!results.iter().any(|result| passed.is_news(result)), "and nothing is judged on the base again");
    }

    #[test]
    fn only_growth_counts() {
        let mut passed = Passed::default();
        ["a", "b"].into_iter().for_each(|name| passed.learn_of_base(name, false));
        assert!(passed.grow(&[result("a", true), result("b", false)]));
        assert!(!passed.grow(&[result("a", false), result("b", false)]), "a check that is lost is no mark");
        assert!(!passed.grow(&[result("a", true), result("b", false)]), "nor one that is found again");
        assert!(passed.grow(&[result("a", false), result("b", true)]));
    }

    #[test]
    fn only_a_verdict_on_the_work_itself_makes_its_marks_old() {
        let rejected = |gate: &str| Verdict::Rejected { gate: gate.into(), findings: vec![] };
        let checks = [result("apply", true), result("tests", false)];
        for (verdict, judged) in [
            (rejected("tests"), true),
            (rejected("apply"), false),
            (rejected("evidence"), false),
            (rejected("no-change"), false),
        ] {
            assert_eq!(judges_the_work(&verdict, &checks), judged, "{verdict:?}");
        }
    }

    #[test]
    fn a_kind_that_the_job_does_not_count_is_no_mark() {
        let mut progress = Progress::new(kinds(), Seen::default(), None);
        assert!(!progress.observe(Mark { kind: MarkKind::Artifact, digest: Digest::from_bytes([9; 32]) }));
    }
}
