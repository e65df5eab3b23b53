//! `jidoka ticket`: a run as a tracker can take it: title, signature, what happened, evidence, cost, where to look.
//!
//! Never: decides, sends anything to a tracker. Invariant here: what a guest may have chosen stands in code spans on one line
//! and nowhere else, so it can make no heading, link, picture or mention; the title has only words of ours and names.

use anyhow::Context;
use serde::Serialize;

use crate::rules::digest::Digest;
use crate::rules::ledger::Amounts;
use crate::rules::record::{Capabilities, Record};
use crate::rules::signature::Signature;
use crate::rules::spec::FileGrant;
use crate::rules::verdict::Verdict;

use super::load::LoadError;
use super::machine::Machine;
use super::screen::{self, plain_long};
use super::terminal::say;
use super::why::{self, Explained, Link};

/// Characters of one text in a ticket. Whoever wants more has the run.
const MAX_TEXT_CHARS: usize = 600;

/// Paths that a ticket names as where to look.
const MAX_PATHS: usize = 20;

/// A run for a tracker.
#[derive(Debug, Serialize)]
struct Ticket {
    title: String,
    /// The same for all runs that ended for the same cause.
    signature: Option<Signature>,
    labels: Vec<String>,
    run: String,
    line: Option<String>,
    item: Option<String>,
    attempt: Option<u32>,
    verdict: String,
    exit_code: Option<u8>,
    narrative: Vec<String>,
    evidence: Evidence,
    capabilities: Option<Capabilities>,
    cost: Option<Cost>,
    /// The settings, the paths and the checks to look at.
    scope: Vec<String>,
    reproduce: Vec<String>,
    /// All of it as Markdown that no guest can break out of.
    body: String,
}

#[derive(Debug, Serialize)]
struct Evidence {
    entries: Vec<Link>,
    attached: Vec<Attached>,
    trees: Vec<Tree>,
    component: Option<Digest>,
}

#[derive(Debug, Serialize)]
struct Attached {
    id: Digest,
    kind: String,
    name: String,
}

#[derive(Debug, Serialize)]
struct Tree {
    entry: u64,
    digest: String,
}

#[derive(Debug, Serialize)]
struct Cost {
    spent: Amounts,
    /// Nobody knows what it cost, so it counts in full.
    held: Amounts,
    /// All of it, if nothing was accepted for it.
    waste: Amounts,
}

/// `jidoka ticket`.
pub(super) async fn ticket(machine: &dyn Machine, serial: &str, json: bool) -> Result<u8, LoadError> {
    let ticket = Ticket::of(&why::explained(machine, serial).await?);
    match json {
        true => say!("{}", serde_json::to_string_pretty(&ticket).context("write the ticket")?),
        false => say!("{}", ticket.body.trim_end()),
    }
    Ok(0)
}

impl Ticket {
    fn of(explained: &Explained) -> Self {
        let Explained { run, signature, why, told, record, .. } = explained;
        let record = record.as_ref();
        let verdict = why.verdict_or_state().to_owned();
        let mut ticket = Self {
            title: title(run, &verdict, record),
            signature: *signature,
            labels: vec!["jidoka".to_owned(), name(&verdict)],
            run: run.clone(),
            line: record.map(|record| cut(&record.line)),
            item: record.map(|record| cut(&record.item)),
            attempt: record.map(|record| record.attempt),
            verdict: name(&verdict),
            exit_code: why.exit_code,
            narrative: narrative(explained, &verdict),
            evidence: Evidence {
                entries: told.clone(),
                attached: record.map(attached).unwrap_or_default(),
                trees: explained.trees().into_iter().map(|(entry, digest)| Tree { entry, digest }).collect(),
                component: record.and_then(|record| record.component),
            },
            capabilities: record.map(|record| record.capabilities.clone()),
            cost: record.map(|record| Cost {
                spent: record.ledger.attempt.spent,
                held: record.ledger.attempt.held,
                waste: record.waste,
            }),
            scope: scope(explained),
            reproduce: reproduce(explained),
            body: String::new(),
        };
        ticket.body = ticket.markdown();
        ticket
    }

    fn markdown(&self) -> String {
        let mut lines = vec![format!("# {}", self.title), String::new()];
        let mut fact = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                lines.push(format!("- {key}: {}", span(&value)));
            }
        };
        fact("signature", self.signature.map(|signature| signature.to_string()));
        fact("run", Some(self.run.clone()));
        fact("line", self.line.clone());
        fact("item", self.item.clone());
        fact("attempt", self.attempt.map(|attempt| attempt.to_string()));
        fact("exit code", self.exit_code.map(|code| code.to_string()));
        let mut part = |heading: &str, spans: Vec<String>| {
            if !spans.is_empty() {
                lines.extend([String::new(), format!("## {heading}"), String::new()]);
                lines.extend(spans.into_iter().map(|text| format!("- {}", span(&text))));
            }
        };
        part("What happened", self.narrative.clone());
        part(
            "What led there",
            self.evidence.entries.iter().map(|link| format!("{}  {}", link.entry, link.line)).collect(),
        );
        let attached = self.evidence.attached.iter().map(|it| format!("{} {} {}", it.id, it.kind, it.name));
        let trees = self.evidence.trees.iter().map(|tree| format!("tree of entry {}: {}", tree.entry, tree.digest));
        let component = self.evidence.component.iter().map(|component| format!("component: {component}"));
        part("Evidence", attached.chain(trees).chain(component).collect());
        part("Capabilities", self.capabilities.as_ref().map(capabilities).unwrap_or_default());
        part("Cost", self.cost.as_ref().map(cost).unwrap_or_default());
        part("Where to look", self.scope.clone());
        part("To reproduce", self.reproduce.clone());
        lines.join("\n")
    }
}

/// Words of ours and names: what a guest wrote is in none of them.
fn title(run: &str, verdict: &str, record: Option<&Record>) -> String {
    let Some(record) = record else { return format!("{} in run {}", name(verdict), name(run)) };
    let cause = match record.verdict() {
        Verdict::Rejected { gate, .. } => format!(" by {}", name(&gate)),
        Verdict::Exhausted { scope, line } => format!(": {} of the {}", line.key(), name(&scope)),
        Verdict::Halted { pull } => format!(" by the {}: {}", pull.by.name(), pull.category.name()),
        Verdict::Diverged(divergence) => format!(": {}", divergence.kind.name()),
        Verdict::Accepted
        | Verdict::NoChangeNeeded
        | Verdict::Unable { .. }
        | Verdict::NeedsHuman { .. }
        | Verdict::NoProgress { .. }
        | Verdict::ConstraintViolation { .. }
        | Verdict::Trapped { .. }
        | Verdict::Unverifiable { .. }
        | Verdict::AttemptsExhausted { .. }
        | Verdict::NotAdmitted { .. }
        | Verdict::Deferred { .. }
        | Verdict::Cancelled
        | Verdict::Lost
        | Verdict::Fault { .. } => String::new(),
    };
    format!("{}{cause} on line {}", name(verdict), name(&record.line))
}

/// A name with nothing in it that Markdown or a tracker would read.
fn name(text: &str) -> String {
    let is_plain = |char: &char| char.is_ascii_alphanumeric() || matches!(char, '-' | '.');
    text.chars().filter(is_plain).take(64).collect()
}

fn narrative(explained: &Explained, verdict: &str) -> Vec<String> {
    let Explained { why, record, .. } = explained;
    let (first, frames) = screen::why_and_frames(verdict, &why.why);
    let mut told = vec![format!("{verdict}: {first}")];
    told.extend(frames);
    told.push(format!("ended by {}: {}", why.ended_by.name(), why.how));
    told.push(format!("whose move it is: {}", why.turn));
    told.extend(why.notes.iter().cloned());
    if let Some(report) = record.as_ref().and_then(|record| record.report.as_ref()) {
        told.push(format!("the worker reports {}: {}", report.status.name(), report.summary));
    }
    told.iter().map(|text| cut(text)).collect()
}

fn attached(record: &Record) -> Vec<Attached> {
    let attached = record.evidence.iter();
    attached.map(|it| Attached { id: it.id, kind: cut(&it.kind), name: cut(&it.name) }).collect()
}

fn capabilities(capabilities: &Capabilities) -> Vec<String> {
    let Capabilities { granted, used, named } = capabilities;
    let files = match granted.files {
        FileGrant::None => "none",
        FileGrant::ReadOnly => "read-only",
        FileGrant::ReadWrite => "read-write",
    };
    let list = |names: Vec<String>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let used = used.iter().map(|kind| match named.get(kind) {
        Some(names) => format!("{kind} ({})", names.iter().map(|name| cut(name)).collect::<Vec<_>>().join(", ")),
        None => kind.clone(),
    });
    vec![
        format!("used: {}", list(used.collect())),
        format!("granted: files {files}, models {}", list(granted.models.iter().cloned().collect())),
    ]
}

fn cost(cost: &Cost) -> Vec<String> {
    let shown = [("spent", &cost.spent), ("held", &cost.held), ("waste", &cost.waste)];
    let shown = shown.into_iter().filter(|(_, amounts)| !amounts.is_nothing());
    shown.map(|(what, amounts)| format!("{what}: {}", screen::amounts(amounts))).collect()
}

fn scope(explained: &Explained) -> Vec<String> {
    let mut scope: Vec<String> = explained.why.settings.iter().map(why::setting).collect();
    let Some(record) = &explained.record else { return scope };
    let verdict = record.verdict();
    let paths = match &verdict {
        Verdict::ConstraintViolation { paths, .. } => paths,
        _ => &record.changes,
    };
    scope.extend(record.gates.iter().filter(|gate| !gate.passed()).map(|gate| format!("check {}", gate.name)));
    scope.extend(paths.iter().take(MAX_PATHS).map(|path| format!("path {path}")));
    scope.iter().map(|text| cut(text)).collect()
}

fn reproduce(explained: &Explained) -> Vec<String> {
    let run = &explained.run;
    match &explained.spec {
        None => vec![format!("jidoka trace {run}")],
        Some(_) if explained.record.is_none() => vec![format!("jidoka trace {run}"), format!("jidoka show {run}")],
        Some(_) => vec![
            format!("jidoka replay {run}"),
            format!("jidoka fixture {run} DIR"),
            "jidoka test DIR --with COMPONENT".to_owned(),
        ],
    }
}

fn cut(text: &str) -> String {
    let clean = plain_long(text);
    match clean.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

/// A text as a code span, in which nothing has a meaning, behind a fence longer than any in it.
fn span(text: &str) -> String {
    let text = cut(text);
    let text = text.trim();
    if text.is_empty() {
        return String::new();
    }
    let longest = text.split(|char| char != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let blank = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{blank}{text}{blank}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_in_its_span_whatever_is_in_it() {
        for (text, expected) in [
            ("plain", "`plain`"),
            ("# a heading\n## another", "`# a heading ## another`"),
            ("a ` b", "``a ` b``"),
            ("```\nfenced\n```", "```` ``` fenced ``` ````"),
            ("[x](https://example.org) @somebody ![y](z) #1", "`[x](https://example.org) @somebody ![y](z) #1`"),
            ("\u{202e}back\u{1b}[2J", "`back [2J`"),
            (" \n ", ""),
        ] {
            assert_eq!(span(text), expected);
        }
        assert_eq!(span(&"x".repeat(MAX_TEXT_CHARS + 1)).chars().count(), MAX_TEXT_CHARS + 3);
    }

    #[test]
    fn a_title_has_no_word_of_a_guest() {
        assert_eq!(name("exam ples](http://x)@y#1\n"), "exampleshttpxy1");
        assert_eq!(title("01m-1", "unable", None), "unable in run 01m-1");
    }
}
