//! Runs of the past: what there is, what each did, and telling one again, letting it go on, or leaving it at an entry.
//!
//! Never: decides about a run. A journal that does not hold is shown no further than where it is wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use console::style;
use serde::Serialize;

use crate::rules::authored::again::{Changed, Whose};
use crate::rules::authored::limit;
use crate::rules::calendar::utc;
use crate::rules::divergence::Divergence;
use crate::rules::record::Record;
use crate::rules::units;
use crate::rules::verdict::Verdict;
use crate::run::desk::Desk;
use crate::run::fork::Branch;
use crate::run::past::{Past, RunRow};
use crate::run::retention::{Pruned, Retention};
use crate::run::runner::Apply;
use crate::run::shape::MAX_COMPONENT_BYTES;
use crate::run::transfer::{self, Summary, TransferError};

use super::load::{self, LoadError};
use super::machine::Machine;
use super::screen;
use super::serial;
use super::table::{Side, Table};
use super::terminal::{self, note, say, usage};
use super::trace;
use super::watch::{Interrupts, follow};

/// Words of `runs`.
#[derive(Debug, Args)]
pub struct RunsArguments {
    /// Only those of an item.
    #[arg(long, value_name = "NAME")]
    item: Option<String>,
    /// Only those that have no verdict: they are on their way, or they are lost and the next attempt has not begun.
    #[arg(long)]
    open: bool,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

/// Words of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// The run: its serial number, a part that only it has, or `@` for the latest.
    run: String,
    /// Another component in the place of the run's own: a file, a crate, or a job's directory. The first difference is
    /// named.
    #[arg(long, value_name = "PATH")]
    with: Option<PathBuf>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

/// Words of `resume`.
#[derive(Debug, Args)]
pub struct ResumeArguments {
    /// The run: its serial number, a part that only it has, or `@` for the latest.
    run: String,
    /// Print the verdict as one JSON document on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Leave the real directory alone even if the run is accepted.
    #[arg(long)]
    no_apply: bool,
}

impl ResumeArguments {
    /// As of a command line that says no more.
    pub(super) fn of(run: String, json: bool) -> Self {
        Self { run, json, no_apply: false }
    }
}

/// Words of `fork`.
#[derive(Debug, Args)]
pub struct ForkArguments {
    /// The run to leave: its serial number, or a part that only it has.
    run: String,
    /// The last entry that the fork shares with it: `jidoka trace` has the numbers.
    #[arg(long, value_name = "ENTRY", value_parser = an_entry)]
    at: u64,
    /// Another model from there on: for all of the job's (`gpt`), or for one (`coder=gpt`).
    #[arg(long = "model", value_name = "[JOB=]OPERATOR")]
    models: Vec<String>,
    /// Send another text as message N, counted from 1, from there on; the worker does not hear of it.
    #[arg(long, value_name = "N=FILE")]
    edit_message: Vec<String>,
    /// Other limits of this attempt, for example `tokens=20000`.
    #[arg(long, value_name = "KEY=AMOUNT")]
    budget: Vec<String>,
    /// Change the real directory if the fork is accepted.
    #[arg(long)]
    apply: bool,
    /// Print the verdict as one JSON document on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// The number of an entry.
pub(super) fn an_entry(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected the number of an entry, as `jidoka trace` has them".to_owned())
}

/// `jidoka runs`.
pub(super) async fn runs(machine: &dyn Machine, arguments: RunsArguments) -> Result<u8, LoadError> {
    let RunsArguments { item, open, json } = arguments;
    let desk = machine.desk()?;
    let mut runs = serial::all(&desk).await?;
    runs.retain(|run| item.as_ref().is_none_or(|item| run.item == *item) && (!open || run.verdict.is_none()));
    if json {
        let rows: Vec<Listed<'_>> = runs.iter().map(|run| Listed { run, state: state(&desk, run) }).collect();
        say!("{}", serde_json::to_string_pretty(&rows).context("write the runs")?);
        return Ok(0);
    }
    if runs.is_empty() {
        note!("there are no such runs");
        return Ok(0);
    }
    let mut table = Table::new([
        ("run", Side::Left),
        ("opened", Side::Left),
        ("line", Side::Left),
        ("item", Side::Left),
        ("attempt", Side::Right),
        ("entries", Side::Right),
        ("bytes", Side::Right),
        ("verdict", Side::Left),
    ])
    .missing(&["bytes", "entries", "attempt", "line"]);
    for run in runs {
        let verdict = verdict(&desk, &run);
        // An item without a name is the run's own.
        let item = if run.item == run.serial { String::new() } else { screen::plain(&run.item) };
        table.row([
            screen::plain(&run.serial),
            utc(run.opened_ms),
            screen::plain(&run.line),
            item,
            run.attempt.to_string(),
            run.entries.to_string(),
            run.bytes.to_string(),
            verdict,
        ]);
    }
    table.lines().iter().for_each(|line| say!("{line}"));
    Ok(0)
}

/// A run as `runs --json` prints it.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    run: &'a RunRow,
    /// Its verdict; `open`, if it is on its way; `lost`, if its process is gone.
    state: &'a str,
}

/// How a run ended, or where it stands.
pub(super) fn state<'a>(desk: &Desk, run: &'a RunRow) -> &'a str {
    match &run.verdict {
        Some(verdict) => verdict,
        None if desk.is_lost(run) => "lost",
        None => "open",
    }
}

fn verdict(desk: &Desk, run: &RunRow) -> String {
    // An imported run has its words from elsewhere.
    let mut words = vec![screen::plain(state(desk, run))];
    if let Some(parent) = &run.parent {
        words.push(format!("fork of {parent}"));
    }
    if run.imported {
        words.push("imported".to_owned());
    }
    if run.erased {
        words.push("erased".to_owned());
    }
    words.join(" · ")
}

/// `jidoka trace`.
pub(super) async fn trace(machine: &dyn Machine, serial: &str, json: bool) -> Result<u8, LoadError> {
    let desk = machine.desk()?;
    let serial = &serial::of(machine, &desk, serial).await?;
    let entries = desk.entries(serial).await.context("read the journal")?;
    if json {
        for entry in &entries {
            say!("{}", entry.document().context("read the journal")?);
        }
        return Ok(0);
    }
    trace::lines(&entries).context("read the journal")?.iter().for_each(|line| say!("{line}"));
    Ok(0)
}

/// What `replay --json` prints.
#[derive(Serialize)]
struct Told<'a> {
    serial: &'a str,
    entries: u64,
    effects: u64,
    /// Null if it went another way, or never ended.
    record: &'a Option<Record>,
    divergence: &'a Option<Divergence>,
    engine: &'a Option<String>,
}

/// `jidoka replay`.
pub(super) async fn replay(machine: &dyn Machine, arguments: ReplayArguments) -> Result<u8, LoadError> {
    let ReplayArguments { run, with, json } = arguments;
    let desk = machine.desk()?;
    let past = desk.past(&serial::of(machine, &desk, &run).await?).await.context("read the journal")?;
    let component = with.as_deref().map(|path| another(machine, path)).transpose()?;
    let least = load::operator(machine)?.policy.wall;
    let replayed = machine.runner(least)?.replay(past, component, &machine.serial()?).await;
    let replayed = replayed.context("replay the run")?;
    if let Some(why) = &replayed.fault {
        return Err(anyhow!("replay the run: {why}").into());
    }
    let exit_code = match &replayed.divergence {
        Some(divergence) => Verdict::Diverged(Box::new(divergence.clone())).exit_code(),
        None => 0,
    };
    if json {
        let crate::run::replay::Replayed { serial, entries, effects, record, divergence, engine, .. } = &replayed;
        let told = Told { serial, entries: *entries, effects: *effects, record, divergence, engine };
        say!("{}", serde_json::to_string_pretty(&told).context("write the replay")?);
        return Ok(exit_code);
    }
    if let Some(engine) = &replayed.engine {
        note!("note: {} recorded this run", screen::plain_long(engine));
    }
    match &replayed.divergence {
        Some(divergence) => {
            say!("{}: {}", style("diverged").red().bold(), screen::plain_long(&divergence.to_string()));
            divergence.diff.iter().for_each(|line| say!("    {}", screen::plain_long(line)));
        }
        None => {
            let verdict = replayed.record.as_ref().map_or("open", |record| record.verdict.as_str());
            let what = format!("{} entries, {} effects, verdict {verdict}", replayed.entries, replayed.effects);
            say!("{}: {what}; nothing was sent, nothing was spent", style("the same").green().bold());
        }
    }
    Ok(exit_code)
}

/// The bytes of a component that somebody names: a file, a crate, or a job's directory.
pub(super) fn another(machine: &dyn Machine, path: &Path) -> Result<Vec<u8>, LoadError> {
    let is_component = path.extension().is_some_and(|extension| extension == "wasm");
    if is_component {
        let bytes = machine.read_at_most(path, MAX_COMPONENT_BYTES as u64);
        return Ok(bytes.with_context(|| format!("read {}", path.display()))?);
    }
    let loaded = load::load(machine, path, &Default::default())?;
    Ok(load::component(machine, &loaded.dir, &loaded.spec.worker, &|_| ())?)
}

/// `jidoka resume`.
pub(super) async fn resume(machine: &dyn Machine, arguments: ResumeArguments) -> Result<u8, LoadError> {
    let ResumeArguments { run, json, no_apply } = arguments;
    let desk = machine.desk()?;
    let past = desk.past(&serial::of(machine, &desk, &run).await?).await.context("read the journal")?;
    past.goes_on_after().context("resume the run")?;
    let job = load::again(machine, &past, whose(&past), &Changed::default())?;
    let limits = job.spec.budget.attempt.clone();
    let apply = if no_apply || past.is_foreign() { Apply::Never } else { Apply::Accepted };
    let told = past.told().len();
    if !json && terminal::is_attended() {
        note!("{}", style(format!("telling {told} entries again")).dim());
    }
    let runner = machine.runner(job.spec.wall)?;
    let interrupts = Interrupts::listen(machine);
    follow(machine, runner.resume(job, past, apply), interrupts, limits, json).await
}

/// `jidoka verify`.
pub(super) async fn verify(machine: &dyn Machine, what: &str, json: bool) -> Result<u8, LoadError> {
    let path = Path::new(what);
    let checked = match path.is_file() {
        true => {
            let mut file = machine.open_file(path).with_context(|| format!("read {what}"))?;
            transfer::verify(&mut file)
        }
        false => {
            let desk = machine.desk()?;
            desk.verify(&serial::of(machine, &desk, what).await?).await
        }
    };
    match checked {
        Ok(summary) => told(&summary, json),
        Err(error @ (TransferError::Export(_) | TransferError::Verdict { .. })) => {
            let why = screen::plain_long(&format!("{:#}", anyhow!(error)));
            match json {
                true => say!("{}", serde_json::json!({ "holds": false, "why": why })),
                false => say!("{}: {why}", style("not what was written").red().bold()),
            }
            Ok(Verdict::Unverifiable { why: String::new() }.exit_code())
        }
        Err(error) => Err(anyhow!(error).into()),
    }
}

fn told(summary: &Summary, json: bool) -> Result<u8, LoadError> {
    if json {
        say!("{}", serde_json::to_string_pretty(summary).context("write the summary")?);
        return Ok(0);
    }
    for run in &summary.runs {
        let verdict = screen::plain(run.verdict.as_deref().unwrap_or("open"));
        let erased = if run.erased { " · erased" } else { "" };
        say!("{} run {} · {} entries · {verdict}{erased}", style("holds").green().bold(), run.serial, run.head.entries);
        say!("  head {}", run.head.hash);
    }
    Ok(0)
}

/// `jidoka export`.
pub(super) async fn export(machine: &dyn Machine, run: &str, path: &Path, json: bool) -> Result<u8, LoadError> {
    let desk = machine.desk()?;
    let run = &serial::of(machine, &desk, run).await?;
    let (file, unfinished) = machine.new_file(path).with_context(|| format!("write {}", path.display()))?;
    let summary = desk.export(run, file).await.with_context(|| format!("export run {run}"))?;
    unfinished.keep();
    told(&summary, json)
}

/// `jidoka import`.
pub(super) async fn import(machine: &dyn Machine, path: &Path, json: bool) -> Result<u8, LoadError> {
    let file = machine.open_file(path).with_context(|| format!("read {}", path.display()))?;
    let summary = machine.desk()?.import(file).await.with_context(|| format!("import {}", path.display()))?;
    told(&summary, json)
}

/// Words of `prune`.
#[derive(Debug, Args)]
pub struct PruneArguments {
    /// Erase the contents of runs that ended so long ago, for example `720h`, and compiled code that was not used since.
    #[arg(long, value_name = "TIME", value_parser = time)]
    older_than: Option<u64>,
    /// Erase the oldest until the host's directory takes at most this size on the disk, for example `10GiB`.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    keep: Option<u64>,
    /// Only say what would go; without a time and a size, what could go at all.
    #[arg(long)]
    dry_run: bool,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

impl PruneArguments {
    /// Whether nothing goes.
    pub(super) fn is_rehearsal(&self) -> bool {
        self.dry_run
    }
}

fn time(text: &str) -> Result<u64, String> {
    units::duration_ms(text).map_err(|error| format!("it {error}; expected a time such as 90m or 720h"))
}

fn size(text: &str) -> Result<u64, String> {
    units::size_bytes(text).map_err(|error| format!("it {error}; expected a size such as 512MiB or 10GiB"))
}

/// `jidoka prune`.
pub(super) async fn prune(machine: &dyn Machine, arguments: PruneArguments) -> Result<u8, LoadError> {
    let PruneArguments { older_than, keep, dry_run, json } = arguments;
    let desk = machine.desk()?;
    let before_ms = older_than.map(|age_ms| desk.now_ms().saturating_sub(age_ms));
    let retention = match (before_ms, keep, dry_run) {
        (None, None, false) => {
            return Ok(usage("say what may go: --older-than TIME, --keep SIZE, or both"));
        }
        (None, None, true) => Retention { before_ms: Some(u64::MAX), max_bytes: None },
        (before_ms, max_bytes, _) => Retention { before_ms, max_bytes },
    };
    let pruned = match dry_run {
        true => desk.rehearse_prune(retention).await.context("look at old runs")?,
        false => desk.prune(retention).await.context("erase old runs")?,
    };
    if json {
        say!("{}", serde_json::to_string_pretty(&pruned).context("write what went")?);
        return Ok(0);
    }
    if dry_run {
        pruned.runs.iter().for_each(|serial| say!("{serial}"));
    }
    let Pruned { runs, leftovers, compiled, unfinished, before_bytes, after_bytes } = &pruned;
    let would = if dry_run { "would erase" } else { "erased" };
    let then = if dry_run { "then" } else { "now" };
    note!(
        "{would} the contents of {} runs, what {} left that never began, and {compiled} compiled components; the chains of \
         erased runs stay",
        runs.len(),
        leftovers.len()
    );
    if *unfinished > 0 {
        note!(
            "{unfinished} runs may still go on, or a stopped line names them, and stay: jidoka resume, andon clear, or items \
             abandon"
        );
    }
    say!("on the disk: {} before, {} {then}", units::show_size(*before_bytes), units::show_size(*after_bytes));
    if let Some(most) = keep.filter(|most| after_bytes > most) {
        note!("that is more than {}: no more may go", units::show_size(most));
    }
    Ok(0)
}

fn whose(past: &Past) -> Whose {
    if past.is_foreign() { Whose::Theirs } else { Whose::Ours }
}

/// `jidoka fork`.
pub(super) async fn fork(machine: &dyn Machine, arguments: ForkArguments) -> Result<u8, LoadError> {
    let ForkArguments { run, at, models, edit_message, budget, apply, json } = arguments;
    let mut changed = Changed::default();
    for model in models {
        match model.split_once('=') {
            Some((job, operator)) => drop(changed.models.insert(job.to_owned(), operator.to_owned())),
            None => changed.model = Some(model),
        }
    }
    match limit::cost(&budget) {
        Ok(amounts) => changed.budget = amounts,
        Err(wrong) => return Ok(usage(&wrong)),
    }
    let mut edits = BTreeMap::new();
    for edit in edit_message {
        let number = edit.split_once('=').and_then(|(number, file)| Some((number.parse().ok()?, file)));
        let Some((number @ 1.., file)) = number else {
            return Ok(usage(&format!("--edit-message {edit:?} is not N=FILE with N from 1")));
        };
        let text =
            machine.read_at_most(Path::new(file), load::MAX_TEXT_BYTES).with_context(|| format!("read {file}"))?;
        edits.insert(number, String::from_utf8(text).with_context(|| format!("read {file}: it is not UTF-8"))?);
    }
    let desk = machine.desk()?;
    let past = desk.past(&serial::of(machine, &desk, &run).await?).await.context("read the journal")?;
    past.fork_at(at).context("fork the run")?;
    let whose = whose(&past);
    if past.is_foreign() && apply {
        return Ok(usage("--apply: the directory of an imported run is not of this host"));
    }
    let job = load::again(machine, &past, whose, &changed)?;
    let limits = job.spec.budget.attempt.clone();
    let apply = if apply { Apply::Accepted } else { Apply::Never };
    let branch = Branch { at, edits };
    let (runner, serial) = (machine.runner(job.spec.wall)?, machine.serial()?);
    let interrupts = Interrupts::listen(machine);
    follow(machine, runner.fork(job, past, branch, serial, apply), interrupts, limits, json).await
}
