//! Marks: progress that the host verified by digest, and the set of all that an item has shown before.
//!
//! Never: believes a worker, computes a digest. Invariants here: N4 (marks come only from host digests), N5 (an old
//! state is not progress: toggling A, B, A earns one mark).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::spec::MarkKind;
use super::verdict::CheckResult;

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

/// All that an item has shown, over all its attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seen(BTreeSet<Mark>);

impl Seen {
    /// Adds what a journal says was shown.
    pub fn insert(&mut self, mark: Mark) {
        self.0.insert(mark);
    }

    /// Takes back what a run has shown that goes on.
    pub fn remove(&mut self, mark: &Mark) {
        self.0.remove(mark);
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
    fn a_kind_that_the_job_does_not_count_is_no_mark() {
        let mut progress = Progress::new(kinds(), Seen::default(), None);
        assert!(!progress.observe(Mark { kind: MarkKind::Artifact, digest: Digest::from_bytes([9; 32]) }));
    }
}
