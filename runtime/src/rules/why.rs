//! From the symptom to the setting that allowed it: what a journal tells of a run in, the chain out.
//!
//! Never: reads a journal, words an entry (the front does), judges anew. Texts in it may be a guest's, and are as they came:
//! whoever shows them makes them harmless. Invariant here: every verdict has its own function, found by name, so that a new
//! one has to say what its chain is.

mod entries;

use serde::Serialize;

use self::entries::{answer, is_check, is_denied, is_effect, is_end, is_mark, is_stop, limit_in, refusal, seen};
use super::andon::{Category, Pull};
use super::effect::{Body, RunOrigin};
use super::facts::Facts;
use super::ledger::{LimitKind, Line, ScopeId, Shortfall};
use super::quote;
use super::record::Record;
use super::spec::{Origin, Setting};
use super::verdict::{CheckEnd, Status, Stop, Verdict};

/// Entries of a chain: more is a trace, which there is a command for.
pub const MAX_ENTRIES: usize = 12;

/// Notes and findings of a chain.
const MAX_NOTES: usize = 8;

/// Effects before the end that are part of a chain.
const LAST_EFFECTS: usize = 5;

/// Calls that are named as those that spent the most.
const MOST_SPENT: usize = 3;

/// An entry that a run stands on.
#[derive(Clone, Debug)]
pub struct Told {
    pub seq: u64,
    pub facts: Facts,
    /// None if its content is erased.
    pub body: Option<Body>,
}

/// What ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndedBy {
    /// Everything was as the job wants it.
    Success,
    /// What the host saw for itself.
    Guard,
    /// A budget line.
    Limit,
    Check,
    Trap,
    Pull,
    /// Whoever is behind a model.
    Provider,
    /// Its own answer.
    Worker,
    /// Whoever started it.
    Person,
    /// Nothing ran.
    Admission,
    /// The host's own trouble.
    Host,
    /// It has not ended.
    Nothing,
}

impl EndedBy {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            EndedBy::Success => "success",
            EndedBy::Guard => "guard",
            EndedBy::Limit => "limit",
            EndedBy::Check => "check",
            EndedBy::Trap => "trap",
            EndedBy::Pull => "pull",
            EndedBy::Provider => "provider",
            EndedBy::Worker => "worker",
            EndedBy::Person => "person",
            EndedBy::Admission => "admission",
            EndedBy::Host => "host",
            EndedBy::Nothing => "nothing",
        }
    }
}

/// A setting that allowed what happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Allowed {
    /// Where it is written, for example `[budget] tokens`.
    pub place: String,
    /// What it was; none if the job as it was resolved does not say it.
    pub value: Option<String>,
    /// Who said so.
    pub origin: Option<Origin>,
}

/// The chain from a symptom to its setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The verdict's name; none while the run is open.
    pub verdict: Option<String>,
    pub exit_code: Option<u8>,
    /// Why, as the verdict says it.
    pub why: String,
    /// Whose move it is.
    pub turn: &'static str,
    pub ended_by: EndedBy,
    /// How that ended it.
    pub how: String,
    /// Numbers of the entries that led there, the newest last.
    pub entries: Vec<u64>,
    pub settings: Vec<Allowed>,
    pub notes: Vec<String>,
}

impl Why {
    /// The verdict's name, or where a run stands that has none.
    pub fn verdict_or_state(&self) -> &str {
        self.verdict.as_deref().unwrap_or(if self.ended_by == EndedBy::Host { "lost" } else { "open" })
    }

    /// The run has no end, and its process is gone. `commands` let it go on; if none do, `over` says why.
    pub fn lose(&mut self, commands: Option<String>, over: Option<&str>) {
        let calls = std::mem::replace(&mut self.how, LOST.to_owned());
        self.why = Verdict::Lost.why();
        (self.ended_by, self.turn) = (EndedBy::Host, turn(Some(Verdict::Lost.exit_code())));
        if calls != ANSWERED {
            self.notes.insert(0, calls);
        }
        match (commands, over) {
            (Some(commands), _) => self.notes.insert(0, format!("it goes on with {commands}")),
            (None, Some(over)) => self.notes.insert(0, format!("it does not go on: {over}")),
            (None, None) => {}
        }
    }
}

/// How an open run stands in which no call waits.
const ANSWERED: &str = "every call has its answer";

/// How a run ended that is lost.
const LOST: &str = "its process was gone before it could say how it ended";

/// A part of a chain that a verdict's function finds.
struct Found {
    ended_by: EndedBy,
    how: String,
    /// The most telling first.
    entries: Vec<u64>,
    settings: Vec<Allowed>,
    notes: Vec<String>,
}

impl Found {
    fn new(ended_by: EndedBy, how: impl Into<String>) -> Self {
        Self { ended_by, how: how.into(), entries: Vec::new(), settings: Vec::new(), notes: Vec::new() }
    }

    fn entries(mut self, entries: impl IntoIterator<Item = u64>) -> Self {
        self.entries.extend(entries);
        self
    }

    fn settings(mut self, settings: impl IntoIterator<Item = Allowed>) -> Self {
        for setting in settings {
            if !self.settings.contains(&setting) {
                self.settings.push(setting);
            }
        }
        self
    }

    fn notes(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// The chain of a run: the entries that it stands on, the oldest first, and the settings of its job, none if they are
/// erased.
pub fn of(told: &[Told], settings: &[Setting]) -> Why {
    let run = Run { told, settings };
    let closed = told.iter().rev().find_map(|entry| match &entry.facts {
        Facts::Closed { verdict, exit_code } => Some((verdict.clone(), *exit_code)),
        Facts::Opened(_)
        | Facts::Intent { .. }
        | Facts::Answered { .. }
        | Facts::Retried { .. }
        | Facts::Within { .. }
        | Facts::Refused { .. }
        | Facts::Noted { .. }
        | Facts::Printed { .. }
        | Facts::Full { .. }
        | Facts::Marked { .. }
        | Facts::Stopped
        | Facts::Ended { .. }
        | Facts::Checking { .. }
        | Facts::Checked { .. }
        | Facts::Applying
        | Facts::Resumed { .. } => None,
    });
    let (found, why) = match (&closed, run.record()) {
        (_, Some(record)) => (run.of_verdict(&record.verdict(), record), record.why.clone()),
        (Some((verdict, _)), None) => (run.erased(verdict), "its contents are erased: only facts are left".to_owned()),
        (None, None) => (run.open(), "it is on its way".to_owned()),
    };
    let mut entries: Vec<u64> = Vec::new();
    for seq in found.entries {
        if entries.len() < MAX_ENTRIES && !entries.contains(&seq) {
            entries.push(seq);
        }
    }
    entries.sort_unstable();
    let mut notes = found.notes;
    notes.truncate(MAX_NOTES);
    Why {
        exit_code: closed.as_ref().map(|(_, code)| *code),
        turn: turn(closed.as_ref().map(|(_, code)| *code)),
        verdict: closed.map(|(verdict, _)| verdict),
        why,
        ended_by: found.ended_by,
        how: found.how,
        entries,
        settings: found.settings,
        notes,
    }
}

/// Whose move it is, by the exit code.
fn turn(exit_code: Option<u8>) -> &'static str {
    match exit_code {
        None => "nobody's yet",
        Some(0) => "nobody's",
        Some(10..=19) => "yours: the worker gave its answer, look at it",
        Some(25) => "nobody's: it passes by itself, and then the item may be tried again or the run resumed",
        Some(20..=29) => "yours: the line or a limit stopped it",
        Some(30..=39) => "the job's: nothing ran",
        Some(40..=49) => "the worker's: it broke",
        Some(50..=59) => "nobody can say that it worked",
        Some(71) => "the machine's: it was killed, or the machine went down",
        Some(_) => "the host's own: it failed",
    }
}

/// The key of a setting as a refusal names it, for example `[budget] tokens`. `None`: it names no setting.
pub fn key_of(place: &str) -> Option<String> {
    let (table, rest) = place.strip_prefix('[')?.split_once("] ")?;
    let key = rest.split([' ', '=']).next().filter(|key| !key.is_empty())?;
    Some(format!("{table}.{key}"))
}

/// Where a setting of this key is written.
pub fn place_of(key: &str) -> String {
    let (table, name) = match key.rsplit_once('.') {
        None => return key.to_owned(),
        Some(parts) => parts,
    };
    let operators = ["host", "tenants", "lines", "policy"];
    let first = table.split('.').next().unwrap_or_default();
    let whose = if operators.contains(&first) { " in the operator's file" } else { "" };
    match table.strip_prefix("check.") {
        Some(check) => format!("[[check]] {name} of \"{check}\""),
        None => format!("[{table}] {name}{whose}"),
    }
}

/// The keys that a text of ours names, as in `past [caps] memory`.
fn keys_in(text: &str) -> Vec<String> {
    let starts = text.match_indices('[').map(|(at, _)| &text[at..]);
    let key = |text: &str| {
        let key = key_of(text)?;
        Some(key.trim_end_matches([',', ';', ':', '.']).to_owned())
    };
    starts.filter_map(key).collect()
}

/// What is known of a run.
struct Run<'a> {
    told: &'a [Told],
    settings: &'a [Setting],
}

impl<'a> Run<'a> {
    fn of_verdict(&self, verdict: &Verdict, record: &Record) -> Found {
        match verdict {
            Verdict::Accepted => self.accepted(record),
            Verdict::NoChangeNeeded => self.no_change_needed(record),
            Verdict::Rejected { gate, findings } => self.rejected(gate, findings, record),
            Verdict::Unable { why } => self.unable(why),
            Verdict::NeedsHuman { why } => self.needs_human(why),
            Verdict::NoProgress { why } => self.no_progress(why, record),
            Verdict::Exhausted { scope, line } => self.exhausted(scope, *line, record),
            Verdict::Halted { pull } => self.halted(pull),
            Verdict::Deferred { why, .. } => self.deferred(why),
            Verdict::ConstraintViolation { rule, paths } => self.constraint_violation(rule, paths),
            Verdict::Trapped { why } => self.trapped(why),
            Verdict::Unverifiable { why } => self.unverifiable(why, record),
            Verdict::AttemptsExhausted { attempts, max } => self.attempts_exhausted(*attempts, *max),
            Verdict::NotAdmitted { why } => self.not_admitted(why),
            Verdict::Diverged(divergence) => {
                Found::new(EndedBy::Host, "it went another way than its journal").entries([divergence.seq])
            }
            Verdict::Cancelled => self.cancelled(),
            Verdict::Lost => self.lost(),
            Verdict::Fault { why } => self.fault(why),
        }
    }

    fn accepted(&self, record: &Record) -> Found {
        let kinds: Vec<&str> = record.marks.iter().map(|mark| mark.kind.name()).collect();
        let marks = if kinds.is_empty() { "none of this run".to_owned() } else { kinds.join(", ") };
        let how = format!("new marks: {marks}; checks passed: {}", passed(record));
        Found::new(EndedBy::Success, how)
            .entries(self.newest(MAX_ENTRIES, is_mark))
            .entries(self.newest(MAX_ENTRIES, is_check))
            .settings(self.known(&["done.marks", "done.tree", "done.checks"]))
    }

    fn no_change_needed(&self, record: &Record) -> Found {
        Found::new(EndedBy::Success, format!("nothing changed; checks passed: {}", passed(record)))
            .entries(self.newest(MAX_ENTRIES, is_check))
            .entries(self.newest(1, is_end))
            .settings(self.known(&["done.no-change", "done.checks"]))
    }

    fn rejected(&self, gate: &str, findings: &[String], record: &Record) -> Found {
        let is_check_of_job = record.gates.iter().any(|result| result.name == gate);
        let found = match gate {
            _ if is_check_of_job => {
                let what = record.gates.iter().find(|result| result.name == gate).map(|result| match &result.end {
                    CheckEnd::Passed { summary } | CheckEnd::Failed { summary, .. } => summary.clone(),
                    CheckEnd::Broken { why } => why.clone(),
                });
                Found::new(EndedBy::Check, format!("check \"{gate}\": {}", what.unwrap_or_default()))
                    .settings(self.of_check(gate))
                    .settings(self.known(&["done.checks"]))
            }
            "evidence" => Found::new(EndedBy::Guard, "the report cites evidence that the host does not have"),
            "no-change" => Found::new(EndedBy::Guard, "the worker claimed that no change was needed")
                .settings(self.known(&["done.no-change"])),
            "apply" => Found::new(EndedBy::Guard, "the changes could not be applied to the real directory")
                .settings(self.known(&["workspace.dir"])),
            _ => Found::new(EndedBy::Guard, format!("gate \"{gate}\" said no")),
        };
        let found = found
            .entries(self.newest(1, |entry| matches!(entry.facts, Facts::Checked { passed: false, .. })))
            .entries(self.newest(1, is_end))
            .entries(self.newest(2, is_mark))
            .entries(self.newest(LAST_EFFECTS, is_effect));
        findings.iter().take(MAX_NOTES).fold(found, |found, finding| found.note(format!("finding: {finding}")))
    }

    fn unable(&self, why: &str) -> Found {
        if let Some(found) = self.stuck(why) {
            return found;
        }
        let denied = self.newest(LAST_EFFECTS + 1, is_denied);
        let found = Found::new(EndedBy::Worker, format!("it reports that it is unable: {why}"));
        let found = match denied.is_empty() {
            true => found.note("nothing was refused and no call failed before: it gave up by itself"),
            false => found,
        };
        found
            .entries(denied)
            .entries(self.newest(1, is_end))
            .entries(self.newest(2, is_effect))
            .settings(self.of_refusals())
    }

    fn needs_human(&self, why: &str) -> Found {
        let parked = |entry: &&Told| matches!(&entry.body, Some(Body::Stopped { stop: Stop::Parked { .. } }));
        if let Some(parked) = self.told.iter().rev().find(parked) {
            return Found::new(EndedBy::Worker, format!("it waits for a person: {why}"))
                .settings(self.known(&["grants.human", "human.deadline"]))
                .entries([parked.seq])
                .entries(self.newest(LAST_EFFECTS, is_effect))
                .note("`jidoka answer` lists what it asks");
        }
        Found::new(EndedBy::Worker, format!("it asks for a person: {why}"))
            .entries(self.newest(LAST_EFFECTS, is_denied))
            .entries(self.newest(1, is_end))
            .entries(self.newest(LAST_EFFECTS, is_effect))
            .settings(self.known(&["grants.human"]))
            .settings(self.of_refusals())
    }

    /// A guard stopped it while it went round in circles.
    fn stuck(&self, why: &str) -> Option<Found> {
        let stuck = |entry: &&Told| matches!(&entry.body, Some(Body::Stopped { stop: Stop::Stuck { .. } }));
        let entry = self.told.iter().rev().find(stuck)?;
        let Some(Body::Stopped { stop: Stop::Stuck { suspicion, .. } }) = &entry.body else { return None };
        let mark = self.told.iter().rev().find(|entry| is_mark(entry));
        let found = Found::new(EndedBy::Guard, format!("the guard \"{}\": {why}", suspicion.guard.name()))
            .settings([self.at(suspicion.guard.setting())])
            .settings(self.known(&["guards.strikes", "guards.pollers"]))
            .entries(mark.map(|mark| mark.seq))
            .entries([entry.seq])
            .entries(self.newest(LAST_EFFECTS, is_denied))
            .entries(self.newest(LAST_EFFECTS, is_effect));
        Some(match mark {
            Some(mark) => found.note(format!("the last mark is entry {}", mark.seq)),
            None => found.note("the run has no mark at all"),
        })
    }

    fn no_progress(&self, why: &str, record: &Record) -> Found {
        if let Some(found) = self.stuck(why) {
            return found;
        }
        let mark = self.told.iter().rev().find(|entry| is_mark(entry));
        let is_gap = |limit: LimitKind| match limit {
            LimitKind::Gap | LimitKind::FirstGap => true,
            LimitKind::Total | LimitKind::Hour | LimitKind::Day | LimitKind::Week => false,
        };
        // A worker that claims success was not stopped by a gap, whatever it was refused on its way.
        let claimed = record.report.as_ref().is_some_and(|report| match report.status {
            Status::Done | Status::NoChangeNeeded => true,
            Status::Unable | Status::NeedsHuman => false,
        });
        let gap = self.told.iter().rev().filter(|_| !claimed).find_map(|entry| {
            let by = limit_in(entry)?;
            is_gap(by.limit).then_some((entry.seq, by))
        });
        let found = match gap {
            Some((seq, by)) => Found::new(EndedBy::Limit, why.to_owned())
                .settings([self.at(&self.place(&by.scope, by.line, by.limit))])
                .entries([seq])
                .entries(self.most_spent(by.line, mark.map_or(0, |mark| mark.seq)).into_iter().map(|(seq, _)| seq)),
            None => Found::new(EndedBy::Guard, "the host looked for itself and saw nothing new")
                .settings(self.known(&["done.marks", "done.tree", "done.ignore"])),
        };
        let found = match mark {
            Some(mark) => found.note(format!("the last mark is entry {}", mark.seq)),
            None => found.note("the run has no mark at all"),
        };
        let found = match (record.changes.as_slice(), &record.report) {
            ([], Some(report)) if gap_free(&found) => found.note(format!(
                "the worker reports {}, and left its files as they were: \"{}\"",
                report.status.name(),
                report.summary
            )),
            ([], _) => found.note("the worker left its files as they were"),
            (changes, _) => found.note(format!(
                "it left {} changed, which the item had shown before or nothing counts: {}",
                changes.len(),
                changes.iter().take(MAX_NOTES).cloned().collect::<Vec<_>>().join(", ")
            )),
        };
        let last = self.told.iter().rev().find_map(|entry| seen(entry).map(|shown| (entry.seq, shown)));
        let found = match last {
            Some((seq, shown)) => found.note(format!("what it showed last is entry {seq}: {shown}")),
            None => found,
        };
        found
            .entries(mark.map(|mark| mark.seq))
            .entries(self.newest(1, is_end))
            .entries(self.newest(3, |entry| seen(entry).is_some()))
            .entries(self.newest(LAST_EFFECTS, is_effect))
    }

    fn exhausted(&self, scope: &str, line: Line, record: &Record) -> Found {
        let by = self.told.iter().rev().find_map(|entry| {
            let by = limit_in(entry)?;
            (by.scope == scope && by.line == line).then_some((entry, by))
        });
        let limit = by.as_ref().map_or(LimitKind::Total, |(_, by)| by.limit);
        let place = match by.as_ref().and_then(|(entry, _)| refusal(entry)) {
            Some(refusal) => refusal.setting.clone(),
            None => self.place(scope, line, limit),
        };
        let how = match by.as_ref().map(|(entry, _)| *entry) {
            Some(entry) => match refusal(entry) {
                Some(refusal) => {
                    format!("entry {} was refused: asked {}; allowed {}", entry.seq, refusal.asked, refusal.allowed)
                }
                None => format!("entry {} met the limit on {} of scope {scope}", entry.seq, line.key()),
            },
            None => format!("the limit on {} of scope {scope}", line.key()),
        };
        let mut found = Found::new(EndedBy::Limit, how)
            .settings([self.at(&place)])
            .entries(by.as_ref().map(|(entry, _)| entry.seq));
        let calls = self.most_spent(line, 0);
        if !calls.is_empty() {
            let named: Vec<String> = calls.iter().map(|(seq, amount)| format!("entry {seq}: {amount}")).collect();
            found = found.note(format!("the calls that took most {}: {}", line.name(), named.join(", ")));
        }
        let before = record.ledger.item.spent.get(line).saturating_sub(record.ledger.attempt.spent.get(line));
        if scope == "item" && before > 0 {
            found = found.note(format!("earlier attempts of the item spent {before} {}", line.name()));
        }
        if ["host", "tenant", "line"].contains(&scope) {
            found = found.note("other runs spend there too: `jidoka budget show` has all of them");
        }
        found
            .entries(calls.into_iter().map(|(seq, _)| seq))
            .entries(self.newest(LAST_EFFECTS, is_effect))
            .entries(self.newest(1, is_end))
    }

    fn deferred(&self, why: &str) -> Found {
        let window = self
            .told
            .iter()
            .rev()
            .find_map(|entry| Some((entry, limit_in(entry)?)).filter(|(_, by)| by.opens_ms.is_some()));
        let is_stopped =
            self.told.iter().any(|entry| matches!(&entry.body, Some(Body::Stopped { stop: Stop::Deferred { .. } })));
        let found = match window.filter(|_| !is_stopped) {
            Some((entry, by)) => {
                let place =
                    refusal(entry).map_or_else(|| self.place(&by.scope, by.line, by.limit), |it| it.setting.clone());
                let found = Found::new(EndedBy::Limit, why.to_owned()).settings([self.at(&place)]).entries([entry.seq]);
                found.note("other runs may spend there too: `jidoka budget show` has all of them")
            }
            None => {
                let retries = self.settings.iter().filter(|setting| is_retries(&setting.key)).map(allowed);
                Found::new(EndedBy::Provider, why.to_owned()).settings(retries)
            }
        };
        found
            .entries(self.newest(MAX_ENTRIES / 2, |entry| matches!(entry.facts, Facts::Retried { .. })))
            .entries(self.newest(1, is_denied))
            .entries(self.newest(1, is_stop))
            .entries(self.newest(LAST_EFFECTS, is_effect))
            .entries(self.newest(1, is_end))
            .note("it counts as no attempt; `jidoka resume` goes on from where it was")
    }

    fn halted(&self, pull: &Pull) -> Found {
        let how = format!("the {} pulled ({}): {}", pull.by.name(), pull.category.name(), pull.reason);
        let found = Found::new(EndedBy::Pull, how)
            .entries(self.newest(1, is_stop))
            .entries(self.newest(LAST_EFFECTS, is_effect))
            .entries(self.newest(1, is_end))
            .settings(self.known(settings_of(pull.category)));
        pull.evidence.iter().fold(found, |found, id| found.note(format!("evidence: {id}")))
    }

    fn constraint_violation(&self, rule: &str, paths: &[String]) -> Found {
        let found = Found::new(EndedBy::Guard, rule.to_owned())
            .entries(self.newest(1, is_end))
            .entries(self.newest(2, is_mark))
            .entries(self.newest(LAST_EFFECTS, is_effect))
            .settings(self.known_in(rule))
            .settings(self.known(&["done.ignore"]));
        paths.iter().take(MAX_NOTES).fold(found, |found, path| found.note(format!("path: {path}")))
    }

    fn trapped(&self, why: &str) -> Found {
        Found::new(EndedBy::Trap, why.lines().next().unwrap_or_default().to_owned())
            .entries(self.newest(1, is_end))
            .entries(self.newest(2, |entry| matches!(entry.facts, Facts::Printed { .. })))
            .entries(self.newest(LAST_EFFECTS, is_effect))
            .settings(self.known_in(why))
    }

    fn unverifiable(&self, why: &str, record: &Record) -> Found {
        let broken = record.gates.iter().find(|result| matches!(result.end, CheckEnd::Broken { .. }));
        let found = match broken {
            Some(result) => Found::new(EndedBy::Check, why.to_owned()).settings(self.of_check(&result.name)),
            None => Found::new(EndedBy::Guard, why.to_owned()).settings(self.known(&["workspace.dir", "done.ignore"])),
        };
        found
            .entries(self.newest(1, |entry| matches!(entry.facts, Facts::Checked { passed: false, .. })))
            .entries(self.newest(1, is_end))
            .entries(self.newest(LAST_EFFECTS, is_effect))
    }

    fn attempts_exhausted(&self, attempts: u32, max: u32) -> Found {
        Found::new(EndedBy::Limit, format!("{attempts} attempts of {max} were started"))
            .settings([self.at("[attempts] max")])
    }

    fn not_admitted(&self, why: &[String]) -> Found {
        let found = Found::new(EndedBy::Admission, "nothing ran").settings(self.known_in(&why.join("\n")));
        why.iter().fold(found, |found, why| found.note(why.clone()))
    }

    fn cancelled(&self) -> Found {
        Found::new(EndedBy::Person, "the one who started it gave it up")
            .entries(self.newest(1, is_stop))
            .entries(self.newest(LAST_EFFECTS, is_effect))
            .entries(self.newest(1, is_end))
    }

    fn fault(&self, why: &str) -> Found {
        Found::new(EndedBy::Host, why.to_owned())
            .entries(self.newest(1, is_stop))
            .entries(self.newest(1, is_end))
            .entries(self.newest(LAST_EFFECTS, is_effect))
    }

    fn lost(&self) -> Found {
        let open = self.open();
        let calls = (open.how != ANSWERED).then(|| open.how.clone());
        Found { ended_by: EndedBy::Host, how: LOST.to_owned(), ..open }
            .settings(self.known(&["andon.on-lost"]))
            .notes(calls)
    }

    fn open(&self) -> Found {
        let mut open = Vec::new();
        for entry in self.told {
            if let Facts::Intent { call, kind, .. } = &entry.facts {
                open.push((*call, *kind, entry.seq));
            }
            if let Facts::Answered { call, kind, .. } = &entry.facts {
                open.retain(|(other, of, _)| (other, of) != (call, kind));
            }
        }
        let found = match open.as_slice() {
            [] => Found::new(EndedBy::Nothing, ANSWERED),
            open => Found::new(EndedBy::Nothing, format!("{} calls have no answer yet", open.len())),
        };
        found
            .entries(open.into_iter().rev().map(|(_, _, seq)| seq))
            .entries(self.newest(LAST_EFFECTS, is_effect))
            .entries(self.newest(1, |_| true))
    }

    fn erased(&self, verdict: &str) -> Found {
        let found = Found::new(EndedBy::Nothing, format!("it ended as {verdict}; what was said and written is gone"));
        let full = self.told.iter().rev().find_map(|entry| limit_in(entry).map(|by| (entry.seq, by)));
        let found = match full {
            Some((seq, by)) => found.entries([seq]).settings([self.at(&self.place(&by.scope, by.line, by.limit))]),
            None => found,
        };
        found
            .entries(self.newest(1, is_stop))
            .entries(self.newest(1, |entry| matches!(entry.facts, Facts::Checked { passed: false, .. })))
            .entries(self.newest(LAST_EFFECTS, is_denied))
            .entries(self.newest(1, is_mark))
            .entries(self.newest(1, is_end))
            .entries(self.newest(LAST_EFFECTS, is_effect))
            .note("the job's settings are erased with its contents")
    }

    fn record(&self) -> Option<&'a Record> {
        self.told.iter().rev().find_map(|entry| match &entry.body {
            Some(Body::Closed { record }) => Some(&**record),
            Some(_) | None => None,
        })
    }

    fn origin(&self) -> Option<&'a RunOrigin> {
        self.told.iter().find_map(|entry| if let Facts::Opened(origin) = &entry.facts { Some(&**origin) } else { None })
    }

    /// Numbers of the latest entries that fit, the newest first.
    fn newest(&self, most: usize, fits: impl Fn(&Told) -> bool) -> Vec<u64> {
        self.told.iter().rev().filter(|entry| fits(entry)).take(most).map(|entry| entry.seq).collect()
    }

    /// The answers after an entry that took most of a line.
    fn most_spent(&self, line: Line, after: u64) -> Vec<(u64, u64)> {
        let amount = |entry: &Told| {
            let (_, cost) = answer(entry)?;
            Some(cost.spent.plus(&cost.held).get(line)).filter(|amount| *amount > 0)
        };
        let later = self.told.iter().filter(|entry| entry.seq >= after);
        let mut calls: Vec<(u64, u64)> = later.filter_map(|entry| Some((entry.seq, amount(entry)?))).collect();
        calls.sort_by_key(|(seq, amount)| (std::cmp::Reverse(*amount), *seq));
        calls.truncate(MOST_SPENT);
        calls
    }

    /// The setting at a place, as the job has it, or only the place.
    fn at(&self, place: &str) -> Allowed {
        let key = key_of(place);
        let setting = key.and_then(|key| self.settings.iter().find(|setting| setting.key == key));
        Allowed {
            place: place.to_owned(),
            value: setting.map(|setting| setting.value.clone()),
            origin: setting.map(|setting| setting.origin),
        }
    }

    /// Those of these keys that the job has.
    fn known(&self, keys: &[&str]) -> Vec<Allowed> {
        let found = keys.iter().filter_map(|key| self.settings.iter().find(|setting| setting.key == *key));
        found.map(allowed).collect()
    }

    /// Those that a text of the host's names. A guest's part of it can only name what the job has anyway.
    fn known_in(&self, text: &str) -> Vec<Allowed> {
        let keys = keys_in(text);
        self.known(&keys.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn of_check(&self, name: &str) -> Vec<Allowed> {
        let home = format!("check.{name}.");
        self.settings.iter().filter(|setting| setting.key.starts_with(&home)).map(allowed).collect()
    }

    /// The settings that the latest refusals name, those that are settings.
    fn of_refusals(&self) -> Vec<Allowed> {
        let refusals = self.told.iter().rev().filter_map(refusal).take(LAST_EFFECTS);
        refusals.filter(|refusal| key_of(&refusal.setting).is_some()).map(|refusal| self.at(&refusal.setting)).collect()
    }

    /// Where the limit of a line stands.
    fn place(&self, scope: &str, line: Line, limit: LimitKind) -> String {
        let names = self.origin().map(|it| [&it.tenant, &it.line, &it.item, &it.serial]);
        let mut path = ScopeId::host();
        for name in names.into_iter().flatten() {
            if path.level().name() == scope {
                break;
            }
            path = path.child(name);
        }
        quote::setting(&Shortfall { scope: scope.to_owned(), path, line, limit, asked: 0, left: 0, opens_ms: None })
    }
}

fn is_retries(key: &str) -> bool {
    key.starts_with("models.") && key.ends_with(".retries")
}

fn allowed(setting: &Setting) -> Allowed {
    let place = place_of(&setting.key);
    Allowed { place, value: Some(setting.value.clone()), origin: Some(setting.origin) }
}

/// What of a job's settings a pull of this category is about; none if nothing had to allow it.
pub fn settings_of(category: Category) -> &'static [&'static str] {
    match category {
        Category::MissingCapability | Category::CapabilityViolation | Category::UnsafeRequest => {
            &["grants.files", "grants.models", "grants.human"]
        }
        Category::MeterOverrun => &["budget.wall", "budget.work", "budget.cpu"],
        Category::RepeatFailure | Category::NoProgressCluster => {
            &["attempts.max", "guards.cluster-items", "guards.cluster-runs"]
        }
        Category::VerifierConflict => &["done.checks"],
        Category::RunLost => &["andon.on-lost"],
        Category::AmbiguousSpec => &["task.text"],
        Category::Defect
        | Category::SystemicRisk
        | Category::JournalCorrupt
        | Category::HookTimeout
        | Category::Divergence
        | Category::Operator => &[],
    }
}

fn passed(record: &Record) -> String {
    let names: Vec<&str> = record.gates.iter().filter(|gate| gate.passed()).map(|gate| gate.name.as_str()).collect();
    if names.is_empty() { "the job has none".to_owned() } else { names.join(", ") }
}

/// Whether no limit ended it, so that the report says something.
fn gap_free(found: &Found) -> bool {
    found.ended_by == EndedBy::Guard
}

#[cfg(test)]
mod tests;
