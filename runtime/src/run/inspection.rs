//! What the job's checks say of the tree that a worker left, and, where checks are marks, of the one that it began with.
//!
//! Never: lets a check see what the worker said, counts a check as progress of which nobody knows whether it passes without the
//! work. Invariants here: every check that is begun is in the journal, so that a replay tells it and a resume does not run it
//! again; a check is judged on the base once for an item, and only if it passes now and never did before.

use std::sync::{Arc, Mutex};

use crate::doors::store::Durability;
use crate::rules::andon::{Category, Pull};
use crate::rules::digest::Digest;
use crate::rules::effect::Body;
use crate::rules::item::Judged;
use crate::rules::progress::{Mark, Passed, Progress};
use crate::rules::record::Evidence;
use crate::rules::spec::MarkKind;
use crate::rules::verdict::{CheckEnd, CheckResult, Growth};

use super::RunEnd;
use super::admission::Admitted;
use super::checks;
use super::lock;
use super::runner::Runner;
use super::supervisor::Look;

/// Separates this use of BLAKE3 from every other; the number changes with the encoding.
const PASSED_CONTEXT: &str = "jidoka passed checks, encoding 1";

/// As above, for what a check is shown.
const JUDGED_CONTEXT: &str = "jidoka judged trees, encoding 1";

/// What is judged.
#[derive(Clone, Copy)]
enum Subject<'a> {
    /// What the worker left.
    Result { look: &'a Look, evidence: &'a [Evidence] },
    /// What it began with.
    Base,
}

impl Subject<'_> {
    /// What the journal calls a check of it. A check's own name has no colon.
    fn name_of(self, check: &str) -> String {
        match self {
            Subject::Result { .. } => check.to_owned(),
            Subject::Base => format!("base:{check}"),
        }
    }
}

impl Admitted {
    /// Judges what the worker left: up to the first check that does not pass, or by all if checks are marks.
    pub(super) async fn check(
        &self,
        runner: &Arc<Runner>,
        look: &Look,
        evidence: &[Evidence],
    ) -> Result<Vec<CheckResult>, RunEnd> {
        let all = self.job.spec.done.marks.contains(&MarkKind::Checks);
        let mut results = Vec::new();
        for place in 0..self.job.checks.len() {
            let result = self.judged(runner, place, Subject::Result { look, evidence }).await?;
            let passed = result.passed();
            results.push(result);
            if !passed && !all {
                break;
            }
        }
        Ok(results)
    }

    /// Whether a check passes now that neither an earlier attempt passed nor the base does; then it is a mark.
    pub(super) async fn growth(
        &self,
        runner: &Arc<Runner>,
        results: &[CheckResult],
        progress: &Arc<Mutex<Progress>>,
    ) -> Result<Growth, RunEnd> {
        let mut passed = lock(progress).passed().clone();
        let broken = |result: &CheckResult| match &result.end {
            CheckEnd::Broken { why } => Some(format!("check \"{}\": {why}", result.name)),
            CheckEnd::Passed { .. } | CheckEnd::Failed { .. } => None,
        };
        let mut unknown = results.iter().find_map(broken);
        for (place, check) in self.job.checks.iter().enumerate() {
            let name = &check.check.name;
            if !results.iter().any(|result| result.name == *name && passed.is_news(result)) {
                continue;
            }
            let base = self.judged(runner, place, Subject::Base).await?;
            match broken(&base) {
                None => passed.learn_of_base(name, base.passed()),
                // Nobody knows whether it passes because of the work.
                Some(why) => unknown = unknown.or(Some(why)),
            }
        }
        let grew = passed.grow(results);
        let mark = Mark { kind: MarkKind::Checks, digest: digest(&passed) };
        lock(progress).set_passed(passed);
        if grew && self.is_new(progress, mark) {
            self.journal.append(Body::Marked { call: None, mark, tree: None }, Durability::Durable).await?;
            return Ok(Growth::Grown);
        }
        Ok(match unknown {
            Some(why) => Growth::Unknown { why },
            None => Growth::Same,
        })
    }

    /// Whether the item has not shown it before; if so it is a mark from now on. What an item has shown is not in a run's
    /// journal, so the journal is believed as long as it tells.
    pub(super) fn is_new(&self, progress: &Arc<Mutex<Progress>>, mark: Mark) -> bool {
        if !self.journal.is_telling() {
            return !self.journal.is_shut() && lock(progress).observe(mark);
        }
        let told = self.journal.marks_next(mark.kind);
        if told {
            lock(progress).retell(mark);
        }
        told
    }

    /// One check of one tree, or what the journal says of it.
    async fn judged(&self, runner: &Arc<Runner>, place: usize, subject: Subject<'_>) -> Result<CheckResult, RunEnd> {
        let (check, prepared) = (&self.job.checks[place].check, &self.checks[place]);
        let name = subject.name_of(&check.name);
        if let Some(result) = self.journal.told_check(&name)? {
            return Ok(result);
        }
        self.journal.append(Body::Checking { name: name.clone() }, Durability::Lazy).await?;
        let bench = checks::Bench {
            runner,
            check,
            caps: &self.job.spec.caps,
            wall: runner.wall(&self.job.spec),
            serial: &self.serial,
            journal: &self.journal,
            cord: &self.cord,
            run_dir: &self.run_dir,
            time: &self.time,
            start_ms: self.origin.start_ms,
            seed: self.origin.seed,
        };
        let frozen = match subject {
            Subject::Result { look, .. } => bench.freeze(self.view(runner).zip(look.end.clone())).await?,
            Subject::Base => bench.freeze_base(self.view(runner)).await?,
        };
        let end = match frozen {
            Err(why) => CheckEnd::Broken { why },
            Ok(frozen) => {
                let end = match prepared {
                    Some(prepared) => {
                        let artifact = self.artifact(subject);
                        bench.judge(prepared, frozen.preopens(self.context.as_ref())?, artifact).await
                    }
                    None => bench.command(&frozen).await,
                };
                let kept = bench.kept(&frozen).await?;
                bench.thaw(frozen).await?;
                match (end?, kept) {
                    (end, Ok(())) => self.consistent(place, subject, end),
                    (_, Err(why)) => CheckEnd::Broken { why },
                }
            }
        };
        let result = CheckResult { name, end };
        self.journal.append(Body::Checked { result: result.clone() }, Durability::Lazy).await?;
        Ok(result)
    }

    /// A check that passes what it failed before, or the other way round, knows nothing: it is broken, and its line stops.
    fn consistent(&self, place: usize, subject: Subject<'_>, end: CheckEnd) -> CheckEnd {
        let Subject::Result { look, evidence } = subject else { return end };
        let passed = match &end {
            CheckEnd::Passed { .. } => true,
            CheckEnd::Failed { .. } => false,
            CheckEnd::Broken { .. } => return end,
        };
        let key = self.subject_of(place, look, evidence);
        let mut pulls = lock(&self.pulls);
        let before = self.item.judged.iter().find(|judged| judged.of == key);
        if before.is_some_and(|before| before.passed != passed) {
            let name = &self.job.checks[place].check.name;
            let [was, is] = [!passed, passed].map(|passed| if passed { "passed" } else { "failed" });
            let why = format!("it {was} in an earlier attempt and {is} now, on the same tree");
            pulls.due.push(Pull::by_host(Category::VerifierConflict, format!("check \"{name}\": {why}")));
            return CheckEnd::Broken { why };
        }
        pulls.judged.push(Judged { of: key, passed });
        end
    }

    /// All that a check is shown, and what the check is, as one digest.
    fn subject_of(&self, place: usize, look: &Look, evidence: &[Evidence]) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key(JUDGED_CONTEXT);
        let mut put = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        put(self.judges[place].as_bytes());
        put(&look.end.as_ref().map_or([0; 32], |end| *end.digest(&["."]).as_bytes()));
        // A component is shown the task, the context, what changed and the evidence, too.
        if self.checks[place].is_some() {
            put(self.job.spec.task.text.as_bytes());
            put(format!("{:?} {:?}", self.origin.base, self.origin.context).as_bytes());
            evidence.iter().for_each(|evidence| put(format!("{evidence:?}").as_bytes()));
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    fn artifact(&self, subject: Subject<'_>) -> super::bindings::verifier::jidoka::agent::review::Artifact {
        let (spec, serial) = (&self.job.spec, &self.serial);
        match subject {
            Subject::Result { look, evidence } => checks::artifact(spec, serial, look.digest, &look.all, evidence),
            Subject::Base => checks::artifact(spec, serial, self.base_mark(), &[], &[]),
        }
    }

    /// The digest of the deliverables at the start.
    pub(super) fn base_mark(&self) -> Option<Digest> {
        self.trees.as_ref().map(|trees| trees.mark(&self.job.spec))
    }
}

/// The digest of a set of checks.
fn digest(passed: &Passed) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(PASSED_CONTEXT);
    for name in passed.names() {
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}
