//! `jidoka show`: a run's verdict, its evidence, its files at any time that they were kept, and what changed in them.
//!
//! Never: gives up on a run of which a part is gone: it shows what there is.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use console::style;
use serde::Serialize;

use crate::rules::digest::Digest;
use crate::rules::facts::Facts;
use crate::rules::policy::MAX_EVIDENCE_BYTES;
use crate::rules::record::Record;
use crate::run::desk::Desk;
use crate::run::past::{Change, ChangeKind, KeptEntry, Manifest, PastError, evidence, story};
use crate::run::standing::Next;

use super::load::LoadError;
use super::machine::Machine;
use super::patch;
use super::runs::an_entry;
use super::screen::{self, plain, plain_long};
use super::serial;
use super::terminal::{self, note, say};
use super::wrap;

/// Words of `show`.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// The run: its serial number, a part that only it has, or `@` for the latest.
    run: String,
    /// The files as they were when the worker had ended, or at another entry that kept them.
    #[arg(long, value_name = "ENTRY", num_args = 0..=1, value_parser = an_entry)]
    tree: Option<Option<u64>>,
    /// What the worker changed in its files, as a patch and nothing else.
    #[arg(long)]
    diff: bool,
    /// The names of what the worker changed in its files.
    #[arg(long, conflicts_with = "diff")]
    stat: bool,
    /// The bytes of a piece of evidence, by its name or its id, and nothing else.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tree", "diff", "stat", "restore", "json"])]
    evidence: Option<String>,
    /// Write those files into a new directory.
    #[arg(long, value_name = "DIR")]
    restore: Option<PathBuf>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

impl ShowArguments {
    /// Whether it makes a directory.
    pub(super) fn makes_files(&self) -> bool {
        self.restore.is_some()
    }
}

/// What `show --json` prints.
#[derive(Serialize)]
struct Shown<'a> {
    serial: &'a str,
    /// 0: nothing of it ran.
    entries: usize,
    /// Of its journal; null without one.
    head: Option<Digest>,
    /// The verdict's record, as in `verdict.json`; null while the run is open, and if nothing is left of it.
    record: Option<&'a Record>,
    /// Its contents were erased.
    erased: bool,
    /// The commands that let it go on; null if none do.
    next: Option<String>,
    /// The files that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    tree: Option<&'a Manifest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<&'a [Change]>,
}

/// What there is of a run.
struct Known {
    serial: String,
    entries: Vec<KeptEntry>,
    record: Option<Record>,
    erased: bool,
    /// What comes next of it; none if nothing of it ran.
    next: Option<Next>,
    lost: bool,
}

impl Known {
    async fn of(machine: &dyn Machine, desk: &Desk, run: &str) -> anyhow::Result<Self> {
        let serial = serial::of(machine, desk, run).await?;
        let (next, lost) = (desk.next(&serial).await.ok(), desk.is_dead(&serial));
        match desk.past(&serial).await {
            Ok(past) => Ok(Self { record: past.record(), entries: past.entries, erased: false, next, lost, serial }),
            Err(PastError::NoRun { .. }) => {
                let record = desk.record_alone(&serial);
                Ok(Self { entries: Vec::new(), record, erased: false, next, lost, serial })
            }
            Err(PastError::Erased { .. }) => {
                let entries = desk.entries(&serial).await.context("read the journal")?;
                let record = desk.record_alone(&serial);
                Ok(Self { entries: story(entries), record, erased: true, next, lost, serial })
            }
            Err(error) => Err(error).context("read the journal"),
        }
    }

    /// In words, for a person.
    fn lines(&self, state_dir: &str) -> Vec<String> {
        let serial = &self.serial;
        let closed = self.entries.iter().rev().find_map(|entry| match &entry.facts {
            Facts::Closed { verdict, exit_code } => Some((verdict, exit_code)),
            _ => None,
        });
        let mut lines = match (&self.record, closed) {
            (Some(record), _) => {
                let mut lines = vec![screen::verdict(record, state_dir)];
                lines.extend(record.evidence.iter().map(|piece| {
                    let id = evidence::file_name(&piece.id);
                    let line = format!("  evidence  {} ({}) · {id}", plain(&piece.name), plain(&piece.kind));
                    wrap::out(&line, 12)
                }));
                lines
            }
            (None, Some((verdict, exit_code))) => {
                vec![format!("{}: run {serial}", style(plain(verdict)).bold()), format!("  exit code {exit_code}")]
            }
            (None, None) if self.lost => vec![format!("run {serial} is lost: its process is gone")],
            (None, None) => vec![format!("run {serial} is open: it is on its way")],
        };
        match &self.next {
            Some(Next::Over { why }) if self.record.is_none() => {
                lines.push(wrap::out(&format!("  over      {why}"), 12))
            }
            None | Some(Next::Running | Next::Over { .. }) => {}
            Some(next) => {
                let commands = next.commands(serial).unwrap_or_default();
                lines.push(wrap::out(&format!("  goes on   {commands}"), 12));
            }
        }
        if self.erased {
            lines.push(wrap::out(
                "  erased    what was said and written; its chain holds what happened: jidoka trace",
                12,
            ));
        }
        lines
    }
}

/// `jidoka show`.
pub(super) async fn show(machine: &dyn Machine, arguments: ShowArguments) -> Result<u8, LoadError> {
    let ShowArguments { run, tree, diff, stat, evidence, restore, json } = arguments;
    let desk = machine.desk()?;
    let known = Known::of(machine, &desk, &run).await?;
    if let Some(name) = evidence {
        return Ok(bytes_of(&desk, &known, &name)?);
    }
    let wants_files = tree.is_some() || diff || stat || restore.is_some();
    let files = if wants_files { Some(Files::of(&desk, &known, tree.flatten())?) } else { None };
    if let (Some(files), Some(dir)) = (&files, &restore) {
        let (target, unfinished) = machine.make_dir(dir).with_context(|| format!("make {}", dir.display()))?;
        desk.state().blobs().restore(&files.shown, &target).context("restore the files")?;
        unfinished.keep();
        note!("{} files and links are in {}", files.shown.len(), dir.display());
    }
    let changes = files.as_ref().map(|files| Manifest::changes(&files.base, &files.shown)).unwrap_or_default();
    if json {
        let shown = Shown {
            serial: &known.serial,
            entries: known.entries.len(),
            head: known.entries.last().map(|entry| entry.hash),
            record: known.record.as_ref(),
            erased: known.erased,
            next: known.next.as_ref().and_then(|next| next.commands(&known.serial)),
            tree: files.as_ref().filter(|_| tree.is_some()).map(|files| &files.shown),
            diff: Some(changes.as_slice()).filter(|_| diff || stat),
        };
        say!("{}", serde_json::to_string_pretty(&shown).context("write the run")?);
        return Ok(0);
    }
    if let (true, Some(files)) = (diff, &files) {
        let patch = patch::of(&files.base, &files.shown, desk.state().blobs()).context("read the files")?;
        match terminal::is_shown() {
            true => patch.lines().for_each(|line| say!("{}", patch::shown(line))),
            false => terminal::bytes(patch.as_bytes()),
        }
        return Ok(0);
    }
    known.lines(&machine.state_dir().display().to_string()).iter().for_each(|line| say!("{line}"));
    if let (true, Some(files)) = (tree.is_some(), &files) {
        for (path, entry) in files.shown.iter() {
            say!("{}", screen::file(path, entry));
        }
    }
    if stat {
        for change in changes {
            let sign = match change.kind {
                ChangeKind::Added => style("+").green(),
                ChangeKind::Modified => style("~").yellow(),
                ChangeKind::Removed => style("-").red(),
            };
            say!("{sign} {}", plain_long(&change.path));
        }
    }
    Ok(0)
}

/// Writes a piece of evidence to stdout, as it was attached.
fn bytes_of(desk: &Desk, known: &Known, name: &str) -> anyhow::Result<u8> {
    let pieces = known.record.iter().flat_map(|record| &record.evidence);
    let is_meant = |piece: &&crate::rules::record::Evidence| {
        piece.name == name || piece.id.to_string() == name || evidence::file_name(&piece.id).starts_with(name)
    };
    // The name of the latest is the one that counts.
    let Some(piece) = pieces.clone().rfind(is_meant) else {
        let names: Vec<String> = pieces.map(|piece| plain(&piece.name)).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        bail!("run {} has no evidence {:?}; it has: {names}", known.serial, plain(name))
    };
    let dir = desk.state().run_dir(&known.serial).context("open the run's directory")?;
    let dir = dir.ok_or_else(|| anyhow!("the directory of run {} is gone", known.serial))?;
    let dir = dir.open_dir("evidence").context("open the run's evidence")?;
    let bytes = evidence::read(&dir, &piece.id, MAX_EVIDENCE_BYTES).context("read the evidence")?;
    match terminal::is_shown() {
        // A guest chose them: on a terminal they are text, and harmless.
        true => String::from_utf8_lossy(&bytes).lines().for_each(|line| say!("{}", plain_long(line))),
        false => terminal::bytes(&bytes),
    }
    Ok(0)
}

/// Files of a run, as they were kept.
struct Files {
    base: Manifest,
    shown: Manifest,
}

impl Files {
    fn of(desk: &Desk, known: &Known, at: Option<u64>) -> anyhow::Result<Self> {
        let serial = &known.serial;
        if known.erased {
            bail!("run {serial}: its contents were erased, its files too");
        }
        let kept = |facts: &Facts| match facts {
            Facts::Opened(origin) => origin.tree,
            Facts::Marked { tree, .. } | Facts::Ended { tree, .. } => *tree,
            _ => None,
        };
        let base = known.entries.first().and_then(|opened| kept(&opened.facts));
        let base = base.ok_or_else(|| anyhow!("run {serial} had no workspace"))?;
        let last = known.entries.iter().rev().filter(|entry| at.is_none_or(|at| entry.seq == at));
        let address = last.filter_map(|entry| kept(&entry.facts)).next();
        let address = address.ok_or_else(|| {
            let kept = known.entries.iter().filter(|entry| kept(&entry.facts).is_some());
            let kept: Vec<String> = kept.map(|entry| entry.seq.to_string()).collect();
            anyhow!("no tree was kept there; entries that kept one: {}", kept.join(", "))
        })?;
        Ok(Self { base: desk.tree(&base)?, shown: desk.tree(&address)? })
    }
}
