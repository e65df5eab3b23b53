//! Outcome (what happened) to verdict (what it means) to exit code (whose move it is).
//!
//! Never: asks the worker, runs a check. Both judgements are pure functions over what the host saw. Invariants here:
//! N1 (accepted needs a report, its evidence, a new mark and the checks), N7 (what cannot be seen is never success).

use serde::{Deserialize, Serialize};

use super::andon::Pull;
use super::calendar;
use super::divergence::Divergence;
use super::guard::{Guard, Suspicion};
use super::ledger::{LimitKind, Line, Shortfall};
use super::spec::NoChange;
use super::trap;

/// Paths or findings that a reason names; the record has all of them.
const MAX_SHOWN: usize = 20;

fn first_of(texts: &[String], between: &str) -> String {
    let shown = texts[..texts.len().min(MAX_SHOWN)].join(between);
    match texts.len().saturating_sub(MAX_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A link that was moved may lead out of the real directory.
pub const LINK_RULE: &str = "changed a symbolic link";

/// The gate that says no where accepted changes cannot be applied: something is wrong with the directory, and nothing with the
/// work.
pub const APPLY_GATE: &str = "apply";
const EVIDENCE_GATE: &str = "evidence";
const NO_CHANGE_GATE: &str = "no-change";

/// Gates of the host's own. No check has such a name.
pub const HOST_GATES: [&str; 3] = [APPLY_GATE, EVIDENCE_GATE, NO_CHANGE_GATE];

/// What runs on a person's machine when they next look at their history.
pub const RESERVED_RULE: &str = "no run may change a `.git` or the staging of an apply";

/// What the worker says of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Done,
    NoChangeNeeded,
    Unable,
    NeedsHuman,
}

impl Status {
    /// The status's name in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Status::Done => "done",
            Status::NoChangeNeeded => "no-change-needed",
            Status::Unable => "unable",
            Status::NeedsHuman => "needs-human",
        }
    }
}

/// The worker's own account. Evidence, nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub status: Status,
    pub summary: String,
    pub evidence: Vec<String>,
}

/// Why a run was stopped from outside the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "stop")]
pub enum Stop {
    /// Somebody pulled the cord.
    Pulled { pull: Pull },
    /// A budget line that is time ran out.
    Exhausted {
        scope: String,
        line: Line,
        #[serde(default)]
        limit: LimitKind,
        /// When the limit opens again by itself, if it does. Milliseconds since 1970-01-01T00:00:00Z.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opens_ms: Option<u64>,
    },
    /// Something stands in the way for a time, and it is nobody's work that is at fault.
    Deferred {
        why: String,
        /// When it may be worth another try. Milliseconds since 1970-01-01T00:00:00Z.
        retry_at_ms: u64,
    },
    /// The run was given up by the one who started it.
    Cancelled,
    /// Somebody else pulled the line, and the job says that its runs freeze then.
    Frozen { pull: Pull },
    /// The run waits for a person.
    Parked { question: String },
    /// The worker goes nowhere.
    Stuck { suspicion: Suspicion, since: String },
}

impl Stop {
    /// The verdict on a run that was stopped so, if nothing else speaks of it.
    pub fn verdict(&self) -> Verdict {
        match self {
            Stop::Pulled { pull } | Stop::Frozen { pull } => Verdict::Halted { pull: pull.clone() },
            Stop::Exhausted { scope, line, limit, opens_ms } => {
                UsedUp { scope: scope.clone(), line: *line, limit: *limit, opens_ms: *opens_ms }.verdict()
            }
            Stop::Deferred { why, retry_at_ms } => Verdict::Deferred { why: why.clone(), retry_at_ms: *retry_at_ms },
            Stop::Cancelled => Verdict::Cancelled,
            Stop::Parked { question } => Verdict::NeedsHuman { why: format!("it asks: {question}") },
            Stop::Stuck { suspicion, since } => {
                let why = format!("{}; nothing new {since}", suspicion.fact);
                match suspicion.guard {
                    Guard::Cycle | Guard::Failures | Guard::Degenerate | Guard::Silence => Verdict::NoProgress { why },
                    // It could not, and another day it may.
                    Guard::Provider => Verdict::Unable { why },
                }
            }
        }
    }
}

/// What happened to a run: the fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `run` returned a report.
    Returned(Report),
    /// `run` returned an error.
    Failed(String),
    /// The guest broke: a trap, or a cap on what it may hold.
    Trapped(String),
    /// The cord ended it.
    Interrupted(Stop),
    /// The host itself broke.
    Faulted(String),
    /// The guest went another way than its journal.
    Diverged(Box<Divergence>),
}

impl Outcome {
    /// The same; of a trap with what the guest printed to its standard error before.
    #[must_use]
    pub fn in_words(self, printed: &str) -> Self {
        match self {
            Outcome::Trapped(why) => Outcome::Trapped(trap::with_words(why, printed)),
            Outcome::Returned(_)
            | Outcome::Failed(_)
            | Outcome::Interrupted(_)
            | Outcome::Faulted(_)
            | Outcome::Diverged(_) => self,
        }
    }
}

/// What the host decided about a run. Closed, and matched by name everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "detail")]
pub enum Verdict {
    Accepted,
    NoChangeNeeded,
    /// A gate said no: a check, the evidence, or the claim that nothing was needed.
    Rejected {
        gate: String,
        findings: Vec<String>,
    },
    Unable {
        why: String,
    },
    NeedsHuman {
        why: String,
    },
    /// The worker claimed success and showed nothing new.
    NoProgress {
        why: String,
    },
    Exhausted {
        scope: String,
        line: Line,
    },
    Halted {
        pull: Pull,
    },
    /// Something stood in the way that passes by itself: an overloaded provider, a window that is used up.
    Deferred {
        why: String,
        /// Milliseconds since 1970-01-01T00:00:00Z.
        retry_at_ms: u64,
    },
    /// The change set breaks what the job declared.
    ConstraintViolation {
        rule: String,
        paths: Vec<String>,
    },
    Trapped {
        why: String,
    },
    /// Something that the judgement needs could not be seen.
    Unverifiable {
        why: String,
    },
    AttemptsExhausted {
        attempts: u32,
        max: u32,
    },
    /// Nothing ran.
    NotAdmitted {
        why: Vec<String>,
    },
    /// A replay went another way than its journal.
    Diverged(Box<Divergence>),
    Cancelled,
    /// The process that worked on it is gone, and said nothing more.
    Lost,
    /// The host's own bug or a broken machine.
    Fault {
        why: String,
    },
}

impl Verdict {
    /// The verdict's name, as in `verdict.json`.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Accepted => "accepted",
            Verdict::NoChangeNeeded => "no-change-needed",
            Verdict::Rejected { .. } => "rejected",
            Verdict::Unable { .. } => "unable",
            Verdict::NeedsHuman { .. } => "needs-human",
            Verdict::NoProgress { .. } => "no-progress",
            Verdict::Exhausted { .. } => "exhausted",
            Verdict::Halted { .. } => "halted",
            Verdict::Deferred { .. } => "deferred",
            Verdict::ConstraintViolation { .. } => "constraint-violation",
            Verdict::Trapped { .. } => "trapped",
            Verdict::Unverifiable { .. } => "unverifiable",
            Verdict::AttemptsExhausted { .. } => "attempts-exhausted",
            Verdict::NotAdmitted { .. } => "not-admitted",
            Verdict::Diverged(_) => "diverged",
            Verdict::Cancelled => "cancelled",
            Verdict::Lost => "lost",
            Verdict::Fault { .. } => "fault",
        }
    }

    /// The process's exit code: whose move it is. 1 (unexpected) and 2 (usage) are the front's own.
    pub fn exit_code(&self) -> u8 {
        match self {
            Verdict::Accepted | Verdict::NoChangeNeeded => 0,
            Verdict::Rejected { .. } => 10,
            Verdict::Unable { .. } => 11,
            Verdict::NeedsHuman { .. } => 12,
            Verdict::ConstraintViolation { .. } => 13,
            Verdict::Exhausted { .. } => 20,
            Verdict::NoProgress { .. } => 21,
            Verdict::Halted { .. } => 22,
            Verdict::AttemptsExhausted { .. } => 23,
            Verdict::Cancelled => 24,
            Verdict::Deferred { .. } => 25,
            Verdict::NotAdmitted { .. } => 30,
            Verdict::Trapped { .. } => 40,
            Verdict::Diverged(_) => 50,
            Verdict::Unverifiable { .. } => 51,
            Verdict::Fault { .. } => 70,
            Verdict::Lost => 71,
        }
    }

    /// Why, for a person, in one or two sentences.
    pub fn why(&self) -> String {
        match self {
            Verdict::Accepted => "the host saw a new mark, and every check passed".into(),
            Verdict::NoChangeNeeded => "nothing changed, the job allows that, and every check passed".into(),
            Verdict::Rejected { gate, findings } => format!("gate \"{gate}\" said no: {}", first_of(findings, "; ")),
            Verdict::Unable { why } => format!("the worker gave up: {why}"),
            Verdict::NeedsHuman { why } => format!("the worker needs a person: {why}"),
            Verdict::NoProgress { why } | Verdict::Trapped { why } | Verdict::Unverifiable { why } => why.clone(),
            Verdict::Exhausted { scope, line } => {
                format!("the limit on {} of the {scope} is used up", line.key())
            }
            Verdict::Halted { pull } => format!("the cord was pulled ({}): {}", pull.category.name(), pull.reason),
            Verdict::Deferred { why, retry_at_ms } => {
                format!("{why}; it may be tried again from {} on", calendar::utc(*retry_at_ms))
            }
            Verdict::ConstraintViolation { rule, paths } => {
                format!("{rule}: {}", first_of(paths, ", "))
            }
            Verdict::AttemptsExhausted { attempts, max } => {
                format!("the item had {attempts} of {max} attempts; raise `[attempts] max` to allow more")
            }
            Verdict::NotAdmitted { why } => why.join("; "),
            Verdict::Diverged(divergence) => divergence.to_string(),
            Verdict::Cancelled => "the run was given up by the one who started it".into(),
            Verdict::Lost => "the process that worked on it is gone".into(),
            Verdict::Fault { why } => format!("the host failed: {why}"),
        }
    }
}

/// A budget line that refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedUp {
    pub scope: String,
    pub line: Line,
    pub limit: LimitKind,
    /// When the limit has room again by itself, if it has. Milliseconds since 1970-01-01T00:00:00Z.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opens_ms: Option<u64>,
}

impl UsedUp {
    /// What a shortfall says of its limit.
    pub fn of(shortfall: &Shortfall) -> Self {
        let Shortfall { scope, line, limit, opens_ms, .. } = shortfall;
        Self { scope: scope.clone(), line: *line, limit: *limit, opens_ms: *opens_ms }
    }

    /// What it means for a run that it ended: a window opens again, a gap says that nothing new was shown for what was spent,
    /// any other limit is spent.
    pub fn verdict(&self) -> Verdict {
        let Self { scope, line, limit, opens_ms } = self;
        let name = match limit {
            LimitKind::Total => "limit",
            LimitKind::Hour => "hourly limit",
            LimitKind::Day => "daily limit",
            LimitKind::Week => "weekly limit",
            LimitKind::Gap => {
                let why = format!("the gap budget of {} was spent since the last mark", line.name());
                return Verdict::NoProgress { why };
            }
            LimitKind::FirstGap => {
                let why = format!("the first gap budget of {} was spent without a mark", line.name());
                return Verdict::NoProgress { why };
            }
        };
        match opens_ms {
            Some(opens_ms) => Verdict::Deferred {
                why: format!("the {name} on {} of the {scope} is used up", line.key()),
                retry_at_ms: *opens_ms,
            },
            None => Verdict::Exhausted { scope: scope.clone(), line: *line },
        }
    }
}

/// What the host saw when the guest had ended, before any check.
#[derive(Clone, Debug)]
pub struct Sight<'a> {
    /// A budget line that refused a call or was overrun, if any: the reason for an `unable` worker.
    pub exhausted: Option<UsedUp>,
    /// Marks that the item had not shown before.
    pub new_marks: usize,
    /// Whether checks are marks, and the worker left something else to look at than what it began with.
    pub may_grow: bool,
    /// Changed paths under the deliverables.
    pub changed: &'a [String],
    /// Changed paths outside of them.
    pub stray: &'a [String],
    /// Symbolic links that are new or lead elsewhere than at the start. A guest cannot make one, but it can move one, and
    /// then it may lead out of the real directory.
    pub links: &'a [String],
    /// Evidence that the report cites and the host does not have.
    pub unknown_evidence: &'a [String],
    /// Why what is in the workspace cannot be taken for the worker's work, if so: a sentence.
    pub unreadable: Option<&'a str>,
    pub no_change: NoChange,
}

/// The first judgement: a verdict, or what the checks must still confirm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    Decided(Verdict),
    /// Accepted if every check passes.
    CheckChange,
    /// Accepted if every check passes, and one of them never did before: there is no other mark.
    CheckGrowth,
    /// `no-change-needed` if every check passes.
    CheckNoChange,
}

/// Judges an outcome by what the host saw.
pub fn judge(outcome: &Outcome, sight: &Sight<'_>) -> Finding {
    let report = match outcome {
        Outcome::Returned(report) => report,
        Outcome::Failed(why) => return Finding::Decided(gave_up(why, sight)),
        Outcome::Trapped(why) => return Finding::Decided(Verdict::Trapped { why: why.clone() }),
        Outcome::Interrupted(stop) => {
            return Finding::Decided(match (stop, sight.new_marks) {
                // It was silent over its work, of which there is some.
                (Stop::Stuck { suspicion, .. }, 1..) if suspicion.guard == Guard::Silence => {
                    Verdict::Unable { why: suspicion.fact.clone() }
                }
                (stop, _) => stop.verdict(),
            });
        }
        Outcome::Faulted(why) => return Finding::Decided(Verdict::Fault { why: why.clone() }),
        Outcome::Diverged(divergence) => return Finding::Decided(Verdict::Diverged(divergence.clone())),
    };
    if !sight.unknown_evidence.is_empty() {
        let findings = sight.unknown_evidence.iter().map(|id| format!("no such evidence: {id}")).collect();
        return Finding::Decided(Verdict::Rejected { gate: EVIDENCE_GATE.into(), findings });
    }
    match report.status {
        Status::Unable => return Finding::Decided(gave_up(&report.summary, sight)),
        Status::NeedsHuman => return Finding::Decided(Verdict::NeedsHuman { why: report.summary.clone() }),
        Status::Done | Status::NoChangeNeeded => {}
    }
    if let Some(why) = sight.unreadable {
        return Finding::Decided(Verdict::Unverifiable { why: why.to_owned() });
    }
    if !sight.stray.is_empty() {
        let rule = "changed outside the deliverables of [done] tree".to_owned();
        return Finding::Decided(Verdict::ConstraintViolation { rule, paths: sight.stray.to_vec() });
    }
    if !sight.links.is_empty() {
        let rule = LINK_RULE.to_owned();
        return Finding::Decided(Verdict::ConstraintViolation { rule, paths: sight.links.to_vec() });
    }
    match report.status {
        Status::NoChangeNeeded => no_change(sight),
        Status::Done if sight.new_marks == 0 && sight.may_grow => Finding::CheckGrowth,
        Status::Done if sight.new_marks == 0 => Finding::Decided(nothing_new()),
        Status::Done | Status::Unable | Status::NeedsHuman => Finding::CheckChange,
    }
}

fn nothing_new() -> Verdict {
    let why = "the worker reports done, and the host saw nothing that this item had not shown before".into();
    Verdict::NoProgress { why }
}

fn gave_up(why: &str, sight: &Sight<'_>) -> Verdict {
    match &sight.exhausted {
        Some(used) => used.verdict(),
        None => Verdict::Unable { why: why.to_owned() },
    }
}

fn no_change(sight: &Sight<'_>) -> Finding {
    let refuse =
        |finding: String| Finding::Decided(Verdict::Rejected { gate: NO_CHANGE_GATE.into(), findings: vec![finding] });
    if let Some(path) = sight.changed.first() {
        return refuse(format!("the worker reports that no change was needed, and changed {path}"));
    }
    match sight.no_change {
        NoChange::Allowed => Finding::CheckNoChange,
        NoChange::Refused => refuse("the job does not allow it: [done] no-change = \"refused\"".into()),
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    pub name: String,
    pub end: CheckEnd,
}

impl CheckResult {
    /// Whether it passed.
    pub fn passed(&self) -> bool {
        matches!(self.end, CheckEnd::Passed { .. })
    }
}

/// How a check ended. Only `Passed` passes: a check that could not be carried out is never a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "end")]
pub enum CheckEnd {
    Passed {
        summary: String,
    },
    Failed {
        summary: String,
        findings: Vec<String>,
    },
    /// It could not be carried out: trapped, out of time, not startable.
    Broken {
        why: String,
    },
}

/// What the checks show beside that they pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Growth {
    /// One passes that neither the base nor an earlier attempt passed.
    Grown,
    /// None does.
    Same,
    /// None is known to, because one could not be carried out.
    Unknown { why: String },
}

/// The last judgement: what the checks say.
pub fn conclude(finding: Finding, checks: &[CheckResult], growth: Growth) -> Verdict {
    let good = match finding {
        Finding::Decided(verdict) => return verdict,
        Finding::CheckChange => Verdict::Accepted,
        Finding::CheckNoChange => Verdict::NoChangeNeeded,
        Finding::CheckGrowth => match growth {
            Growth::Grown => Verdict::Accepted,
            Growth::Same => return nothing_new(),
            Growth::Unknown { why } => return Verdict::Unverifiable { why },
        },
    };
    for check in checks {
        match &check.end {
            CheckEnd::Passed { .. } => {}
            CheckEnd::Failed { summary, findings } => {
                let findings = if findings.is_empty() { vec![summary.clone()] } else { findings.clone() };
                return Verdict::Rejected { gate: check.name.clone(), findings };
            }
            CheckEnd::Broken { why } => {
                return Verdict::Unverifiable { why: format!("check \"{}\": {why}", check.name) };
            }
        }
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::andon::Category;
    use crate::rules::divergence::DivergenceKind;

    fn sight() -> Sight<'static> {
        Sight {
            exhausted: None,
            new_marks: 1,
            may_grow: false,
            changed: &[],
            stray: &[],
            links: &[],
            unknown_evidence: &[],
            unreadable: None,
            no_change: NoChange::Refused,
        }
    }

    fn says(status: Status) -> Outcome {
        Outcome::Returned(Report { status, summary: "so it says".into(), evidence: vec![] })
    }

    fn decided(outcome: &Outcome, sight: &Sight<'_>) -> &'static str {
        match judge(outcome, sight) {
            Finding::Decided(verdict) => verdict.name(),
            Finding::CheckChange => "check-change",
            Finding::CheckNoChange => "check-no-change",
            Finding::CheckGrowth => "check-growth",
        }
    }

    #[test]
    fn a_success_that_the_worker_reports_is_not_a_success() {
        assert_eq!(decided(&says(Status::Done), &Sight { new_marks: 0, ..sight() }), "no-progress");
        assert_eq!(decided(&says(Status::Done), &sight()), "check-change");
    }

    #[test]
    fn what_cannot_be_seen_is_never_success() {
        let blind = Sight { unreadable: Some("too deep"), ..sight() };
        assert_eq!(decided(&says(Status::Done), &blind), "unverifiable");
        assert_eq!(decided(&says(Status::NoChangeNeeded), &blind), "unverifiable");
    }

    #[test]
    fn forged_evidence_is_rejected() {
        let forged = ["blake3:00".to_owned()];
        assert_eq!(decided(&says(Status::Done), &Sight { unknown_evidence: &forged, ..sight() }), "rejected");
    }

    #[test]
    fn a_stray_change_is_a_violation_even_with_a_mark() {
        let stray = ["tests/a".to_owned()];
        assert_eq!(decided(&says(Status::Done), &Sight { stray: &stray, ..sight() }), "constraint-violation");
    }

    #[test]
    fn no_change_needs_the_jobs_leave_and_no_change() {
        let allowed = Sight { no_change: NoChange::Allowed, ..sight() };
        assert_eq!(decided(&says(Status::NoChangeNeeded), &sight()), "rejected");
        assert_eq!(decided(&says(Status::NoChangeNeeded), &allowed), "check-no-change");
        let changed = ["src/a".to_owned()];
        assert_eq!(decided(&says(Status::NoChangeNeeded), &Sight { changed: &changed, ..allowed }), "rejected");
    }

    fn used(limit: LimitKind) -> UsedUp {
        UsedUp { scope: "attempt".into(), line: Line::Tokens, limit, opens_ms: None }
    }

    #[test]
    fn a_worker_that_spent_its_gap_showed_no_progress() {
        for limit in [LimitKind::Gap, LimitKind::FirstGap] {
            let gap = Sight { exhausted: Some(used(limit)), ..sight() };
            assert_eq!(decided(&says(Status::Unable), &gap), "no-progress");
        }
        let stop =
            Stop::Exhausted { scope: "attempt".into(), line: Line::WorkMs, limit: LimitKind::Gap, opens_ms: None };
        assert_eq!(decided(&Outcome::Interrupted(stop), &sight()), "no-progress");
    }

    #[test]
    fn a_worker_that_gives_up_for_lack_of_budget_is_exhausted() {
        let short = Sight { exhausted: Some(used(LimitKind::Total)), ..sight() };
        assert_eq!(decided(&says(Status::Unable), &short), "exhausted");
        assert_eq!(decided(&says(Status::Unable), &sight()), "unable");
        assert_eq!(decided(&Outcome::Failed("no".into()), &sight()), "unable");
        assert_eq!(decided(&Outcome::Failed("no".into()), &short), "exhausted");
        // One that finished the work all the same is judged by the work.
        assert_eq!(decided(&says(Status::Done), &short), "check-change");
    }

    #[test]
    fn a_window_that_opens_again_defers_and_says_when() {
        let opens = UsedUp { opens_ms: Some(1_700_000_000_000), ..used(LimitKind::Day) };
        let short = Sight { exhausted: Some(opens.clone()), ..sight() };
        assert_eq!(decided(&says(Status::Unable), &short), "deferred");
        assert_eq!(
            opens.verdict().why(),
            "the daily limit on tokens of the attempt is used up; it may be tried again from 2023-11-14 22:13:20 UTC on"
        );
        // One that never has room for it does not open.
        assert_eq!(used(LimitKind::Day).verdict().name(), "exhausted");
    }

    #[test]
    fn only_a_passed_check_passes() {
        let check = |end| vec![CheckResult { name: "tests".into(), end }];
        let passed = check(CheckEnd::Passed { summary: String::new() });
        let failed = check(CheckEnd::Failed { summary: "1 failed".into(), findings: vec![] });
        let broken = check(CheckEnd::Broken { why: "out of time".into() });
        assert_eq!(conclude(Finding::CheckChange, &passed, Growth::Same).name(), "accepted");
        assert_eq!(conclude(Finding::CheckNoChange, &passed, Growth::Same).name(), "no-change-needed");
        assert_eq!(conclude(Finding::CheckChange, &failed, Growth::Same).name(), "rejected");
        assert_eq!(conclude(Finding::CheckChange, &broken, Growth::Same).name(), "unverifiable");
    }

    #[test]
    fn where_checks_are_the_only_mark_they_must_pass_and_one_for_the_first_time() {
        let done = says(Status::Done);
        assert_eq!(decided(&done, &Sight { new_marks: 0, may_grow: true, ..sight() }), "check-growth");
        assert_eq!(decided(&done, &Sight { may_grow: true, ..sight() }), "check-change");
        let check = |end| vec![CheckResult { name: "tests".into(), end }];
        let passed = check(CheckEnd::Passed { summary: String::new() });
        let failed = check(CheckEnd::Failed { summary: "1 failed".into(), findings: vec![] });
        let unknown = || Growth::Unknown { why: "out of time".into() };
        for (checks, growth, verdict) in [
            (&passed, Growth::Grown, "accepted"),
            (&passed, Growth::Same, "no-progress"),
            (&passed, unknown(), "unverifiable"),
            (&failed, Growth::Grown, "rejected"),
            (&failed, Growth::Same, "no-progress"),
            (&failed, unknown(), "unverifiable"),
        ] {
            assert_eq!(conclude(Finding::CheckGrowth, checks, growth).name(), verdict);
        }
    }

    #[test]
    fn the_name_in_json_is_the_name_on_the_screen_and_the_exit_code_is_published() {
        let pull = Pull::by_worker(Category::Defect, "r", vec![]);
        let table: [(Verdict, u8); 18] = [
            (Verdict::Accepted, 0),
            (Verdict::NoChangeNeeded, 0),
            (Verdict::Rejected { gate: "g".into(), findings: vec![] }, 10),
            (Verdict::Unable { why: String::new() }, 11),
            (Verdict::NeedsHuman { why: String::new() }, 12),
            (Verdict::ConstraintViolation { rule: String::new(), paths: vec![] }, 13),
            (Verdict::Exhausted { scope: "item".into(), line: Line::Tokens }, 20),
            (Verdict::NoProgress { why: String::new() }, 21),
            (Verdict::Halted { pull }, 22),
            (Verdict::AttemptsExhausted { attempts: 1, max: 1 }, 23),
            (Verdict::Cancelled, 24),
            (Verdict::Deferred { why: String::new(), retry_at_ms: 0 }, 25),
            (Verdict::NotAdmitted { why: vec![] }, 30),
            (Verdict::Trapped { why: String::new() }, 40),
            (
                Verdict::Diverged(Box::new(Divergence {
                    seq: 1,
                    kind: DivergenceKind::Call,
                    expected: String::new(),
                    got: String::new(),
                    diff: vec![],
                })),
                50,
            ),
            (Verdict::Unverifiable { why: String::new() }, 51),
            (Verdict::Fault { why: String::new() }, 70),
            (Verdict::Lost, 71),
        ];
        for (verdict, code) in table {
            let json = serde_json::to_value(&verdict).expect("serialises");
            assert_eq!(json["verdict"], verdict.name());
            assert_eq!(verdict.exit_code(), code);
        }
    }
}
