//! `jidoka why`: from the symptom of a run to the setting that allowed it, each link with its entry.
//!
//! Never: decides; the chain is of `rules/why.rs`. Text that a guest may have chosen is shown on one line and harmless.

use anyhow::{Context, anyhow};
use console::{Style, style};
use serde::Serialize;

use crate::rules::andon::Pulled;
use crate::rules::calendar::utc;
use crate::rules::effect::Body;
use crate::rules::facts::Facts;
use crate::rules::ledger::ScopeId;
use crate::rules::operate::{Act, Deed};
use crate::rules::record::Record;
use crate::rules::signature::{self, Signature};
use crate::rules::spec::{Origin, RunSpec};
use crate::rules::why::{self, Allowed, Told, Why};
use crate::run::past::{Flaw, KeptEntry, PastError, story};

use super::andon;
use super::budget::deed;
use super::load::LoadError;
use super::machine::Machine;
use super::screen::{plain_long, why_and_frames};
use super::serial;
use super::terminal::{note, say};
use super::trace;
use super::wrap;

/// What `why --json` prints, and what a ticket is made of.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    pub(super) run: String,
    /// None while the run is open, and of a run whose contents are erased.
    pub(super) signature: Option<Signature>,
    #[serde(flatten)]
    pub(super) why: Why,
    /// The entries of the chain in words, the newest last.
    pub(super) told: Vec<Link>,
    #[serde(skip)]
    pub(super) record: Option<Record>,
    #[serde(skip)]
    pub(super) spec: Option<RunSpec>,
    /// All entries of the run that stand.
    #[serde(skip)]
    pub(super) entries: Vec<KeptEntry>,
}

/// An entry of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Link {
    pub(super) entry: u64,
    pub(super) line: String,
}

/// The chain of a run.
///
/// # Errors
/// There is no such run, or its journal does not hold.
pub(super) async fn explained(machine: &dyn Machine, run: &str) -> anyhow::Result<Explained> {
    let desk = machine.desk()?;
    let serial = &serial::of(machine, &desk, run).await?;
    let entries = match desk.entries(serial).await {
        Ok(entries) => story(entries),
        Err(error @ PastError::NoRun { .. }) => match desk.record_alone(serial) {
            Some(record) => return Ok(Explained::of_record(serial, record)),
            None => return Err(error).context("read the journal"),
        },
        Err(error) => return Err(error).context("read the journal"),
    };
    let told = entries.iter().map(|entry| {
        let body = entry.entry()?.map(|entry| entry.body);
        Ok(Told { seq: entry.seq, facts: entry.facts.clone(), body })
    });
    let told = told.collect::<Result<Vec<Told>, Flaw>>().context("read the journal")?;
    let spec = told.iter().find_map(|entry| match &entry.body {
        Some(Body::Opened { opening }) => Some(opening.job.spec.clone()),
        _ => None,
    });
    let record = told.iter().rev().find_map(|entry| match &entry.body {
        Some(Body::Closed { record }) => Some((**record).clone()),
        _ => None,
    });
    let mut why = why::of(&told, spec.as_ref().map_or(&[], |spec| &spec.settings));
    match desk.next(serial).await {
        Ok(next) if why.verdict.is_none() && desk.is_dead(serial) => why.lose(next.commands(serial), next.over()),
        Ok(next) => why.notes.extend(next.commands(serial).map(|commands| format!("it goes on with {commands}"))),
        // Its contents are erased.
        Err(_) => {}
    }
    let sentences = trace::sentences(&entries).context("read the journal")?;
    let line = |entry: &u64| sentences.get(entry).map(|line| Link { entry: *entry, line: line.clone() });
    Ok(Explained {
        run: serial.to_owned(),
        signature: record.as_ref().map(|record| signature::of(&record.verdict())),
        told: why.entries.iter().filter_map(line).collect(),
        why,
        record,
        spec,
        entries,
    })
}

impl Explained {
    fn of_record(serial: &str, record: Record) -> Self {
        let facts = Facts::Closed { verdict: record.verdict.clone(), exit_code: record.exit_code };
        let closed = Told { seq: 0, facts, body: Some(Body::Closed { record: Box::new(record.clone()) }) };
        Self {
            run: serial.to_owned(),
            signature: Some(signature::of(&record.verdict())),
            why: why::of(&[closed], &[]),
            told: Vec::new(),
            record: Some(record),
            spec: None,
            entries: Vec::new(),
        }
    }

    /// Digests of the trees that the run began with and left, with their entries.
    pub(super) fn trees(&self) -> Vec<(u64, String)> {
        let tree = |entry: &KeptEntry| match &entry.facts {
            Facts::Opened(origin) => origin.tree,
            Facts::Marked { tree, .. } | Facts::Ended { tree, .. } => *tree,
            _ => None,
        };
        self.entries.iter().filter_map(|entry| Some((entry.seq, tree(entry)?.to_string()))).collect()
    }
}

/// A setting, what it was and who said so.
pub(super) fn setting(setting: &Allowed) -> String {
    let Allowed { place, value, origin } = setting;
    let whose = origin.map(|origin| match origin {
        Origin::Job => "jidoka.toml",
        Origin::Operator => "the operator's file",
        Origin::Flag => "the command line",
        Origin::Default => "the documented default",
    });
    match (value, whose) {
        (Some(value), Some(whose)) => plain_long(&format!("{place} = {value}, from {whose}")),
        _ => plain_long(place),
    }
}

/// What `why LINE --json` prints.
#[derive(Debug, Serialize)]
struct Stop {
    line: ScopeId,
    lock: u64,
    /// The oldest first.
    pulls: Vec<Pulled>,
    /// Settings that pulls of these categories are about.
    settings: Vec<&'static str>,
    /// How it was cleared; null while the line is stopped.
    cleared: Option<Act>,
    /// The chain of the first run that pulled, if one did.
    run: Option<Explained>,
}

/// Where the rest of a value hangs that is wider than the terminal.
const VALUE: usize = 13;

/// Pulls of a lock that are shown.
const MAX_PULLS: usize = 10;

/// `jidoka why` of a line that was stopped: who pulled, what that is about, and the chain of the run that did.
async fn of_stop(machine: &dyn Machine, what: &str, json: bool) -> Result<u8, LoadError> {
    let desk = machine.desk()?;
    let (line, lock) = andon::with_lock(what)?;
    let line = andon::named(&desk, line).await?;
    let mut pulls = desk.pulls().await.context("read the pulls")?;
    pulls.retain(|pulled| pulled.line == line && lock.is_none_or(|lock| pulled.lock == lock));
    let Some(lock) = pulls.iter().map(|pulled| pulled.lock).max() else {
        return Err(anyhow!("line {line} was never stopped by that; `jidoka andon log` has every pull").into());
    };
    pulls.retain(|pulled| pulled.lock == lock);
    let is_clear =
        |act: &Act| matches!(&act.deed, Deed::ClearLine { line: of, lock: its, .. } if *of == line && *its == lock);
    let cleared = desk.acts().await.context("read what operators did")?.into_iter().find(is_clear);
    let mut settings: Vec<&'static str> =
        pulls.iter().flat_map(|pulled| why::settings_of(pulled.pull.category)).copied().collect();
    settings.dedup();
    let run = match pulls.iter().find_map(|pulled| pulled.run.as_deref()) {
        Some(run) => Some(explained(machine, run).await?),
        None => None,
    };
    let stop = Stop { line, lock, pulls, settings, cleared, run };
    if json {
        say!("{}", serde_json::to_string_pretty(&stop).context("write the chain")?);
        return Ok(0);
    }
    let since = utc(stop.pulls[0].at_ms);
    say!(
        "{} line {} · lock {lock} · {since} · pulled {} times",
        style("stopped").red().bold(),
        stop.line,
        stop.pulls.len()
    );
    let row = |key: &str, value: &str| say!("{}", wrap::out(&format!("  {key:<10} {value}"), VALUE));
    for (place, pulled) in stop.pulls.iter().take(MAX_PULLS).enumerate() {
        row(if place == 0 { "pulled" } else { "" }, &andon::shown(pulled));
    }
    if !stop.settings.is_empty() {
        row("about", &stop.settings.join(", "));
    }
    match &stop.cleared {
        Some(act) => row("cleared", &plain_long(&format!("{} by {}: {}", deed(&act.deed), act.by, act.reason))),
        None => row("cleared", "not yet"),
    }
    match &stop.run {
        Some(explained) => {
            say!("{}", style(format!("run {}", explained.run)).bold());
            show(explained);
        }
        None => row("run", "none: somebody pulled by hand"),
    }
    Ok(0)
}

/// `jidoka why`.
pub(super) async fn why(machine: &dyn Machine, serial: &str, json: bool) -> Result<u8, LoadError> {
    if serial.contains('/') {
        return of_stop(machine, serial, json).await;
    }
    let explained = explained(machine, serial).await?;
    let serial = &explained.run;
    if json {
        say!("{}", serde_json::to_string_pretty(&explained).context("write the chain")?);
        return Ok(0);
    }
    show(&explained);
    note!("{}", style(format!("more: jidoka trace {serial} · jidoka ticket {serial}")).dim());
    Ok(0)
}

fn show(explained: &Explained) {
    let Explained { why, told, .. } = explained;
    let heading = match why.exit_code {
        Some(0) => Style::new().green().bold(),
        Some(10..=19 | 25) | None => Style::new().yellow().bold(),
        Some(_) => Style::new().red().bold(),
    };
    let verdict = why.verdict_or_state();
    let (first, frames) = why_and_frames(verdict, &why.why);
    say!("{}", wrap::out(&format!("{}: {first}", heading.apply_to(plain_long(verdict))), VALUE));
    frames.iter().for_each(|line| say!("  {line}"));
    let row = |key: &str, value: &str| say!("{}", wrap::out(&format!("  {key:<10} {}", plain_long(value)), VALUE));
    row("move", why.turn);
    row("ended by", &format!("{}: {}", why.ended_by.name(), why.how));
    for (place, link) in told.iter().enumerate() {
        let key = if place == 0 { "led there" } else { "" };
        row(key, &format!("{:>5}  {}", link.entry, link.line));
    }
    for (place, allowed) in why.settings.iter().enumerate() {
        row(if place == 0 { "allowed by" } else { "" }, &setting(allowed));
    }
    if why.settings.is_empty() {
        row("allowed by", "no setting: nothing in the job had to allow it");
    }
    for (place, note) in why.notes.iter().enumerate() {
        row(if place == 0 { "also" } else { "" }, note);
    }
    if let Some(signature) = explained.signature {
        row("signature", &signature.to_string());
    }
}
