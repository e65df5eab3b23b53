//! Stopping a line and letting it go on: what is stopped and why, pulling, clearing with a cause, what was done.
//!
//! Never: clears without a cause and a word on what is other from now on. Only a person comes here: no guest, no job and no
//! hook reaches this.

use std::collections::BTreeSet;

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use console::style;
use serde::Serialize;

use crate::rules::andon::{Category, Lock, Pulled, SeenLock};
use crate::rules::authored;
use crate::rules::calendar::utc;
use crate::rules::item::State;
use crate::rules::ledger::ScopeId;
use crate::rules::operate::{Act, Deed};
use crate::run::around;
use crate::run::desk::{Because, Desk, DeskError};
use crate::run::hooks::HookResult;

use super::budget::{deed, reason};
use super::load::{self, LoadError};
use super::machine::Machine;
use super::screen::plain_long;
use super::terminal::{note, say, usage};

/// Words of `andon`.
#[derive(Debug, Subcommand)]
pub enum AndonCommand {
    /// List the lines that are stopped, and why.
    List {
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Stop a line: nothing of it begins any more, in any process of this host, until somebody clears it.
    Pull {
        /// The line, or TENANT/LINE.
        line: String,
        /// What was seen.
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Let a line go on. It needs the cause of the stop, and what is other from now on so that it does not come again.
    Clear {
        /// The line, TENANT/LINE, or TENANT/LINE/LOCK: that lock and no later one.
        line: String,
        /// How many pulls of the lock you have seen: if there are more by now, nothing is cleared.
        #[arg(long, value_name = "COUNT")]
        pulls: Option<u64>,
        /// Why it could come to that: ask why five times.
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        cause: String,
        /// The setting, check or rule that is other from now on.
        #[arg(long, value_name = "TEXT", value_parser = reason, required_unless_present = "no_policy_change")]
        policy_change: Option<String>,
        /// Nothing is other from now on.
        #[arg(long, conflicts_with = "policy_change")]
        no_policy_change: bool,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Show every pull, and how each stop was cleared.
    Log {
        /// Only of this line: its name, or TENANT/LINE.
        line: Option<String>,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// A line that is stopped.
#[derive(Serialize)]
struct Stopped {
    line: ScopeId,
    lock: Lock,
    /// The oldest first.
    pulls: Vec<Pulled>,
}

/// What was done to lines, in the order in which it was.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
enum Intervention {
    Pulled(Pulled),
    Cleared(Act),
}

impl Intervention {
    fn at_ms(&self) -> u64 {
        match self {
            Intervention::Pulled(pulled) => pulled.at_ms,
            Intervention::Cleared(act) => act.at_ms,
        }
    }

    fn line(&self) -> Option<&ScopeId> {
        match self {
            Intervention::Pulled(pulled) => Some(&pulled.line),
            Intervention::Cleared(act) => match &act.deed {
                Deed::ClearLine { line, .. } => Some(line),
                _ => None,
            },
        }
    }
}

/// Pulls of one lock that a list shows; `log` has all.
const MAX_SHOWN: usize = 10;

/// Does what the arguments say and returns the exit code.
pub(super) async fn run(machine: &dyn Machine, command: AndonCommand) -> Result<u8, LoadError> {
    let desk = machine.desk()?;
    match command {
        AndonCommand::List { json } => Ok(list(&desk, json).await?),
        AndonCommand::Pull { line, reason, json } => {
            let line = named(&desk, &line).await?;
            let because = Because { by: machine.user(), reason };
            let pulled = desk.pull_line(&line, Category::Operator, because).await.context("stop the line")?;
            if json {
                say!("{}", serde_json::to_string_pretty(&pulled).context("write the pull")?);
            } else {
                say!("{} line {line}: nothing of it begins until somebody clears it", style("stopped").red().bold());
            }
            // The line is stopped already, whatever comes of them.
            let hooks = match load::operator(machine) {
                Ok(operator) => machine.hooks(operator.hooks),
                Err(LoadError::Other(error)) => {
                    note!("no hook was told: {error:#}");
                    return Ok(0);
                }
                Err(LoadError::Mistakes(mistakes)) => {
                    note!("no hook was told: the operator's file has {} mistakes", mistakes.len());
                    return Ok(0);
                }
            };
            for end in around::tell_of(&hooks, &pulled).await {
                if end.end != HookResult::Done {
                    note!("{}: {}", end.hook, plain_long(&end.end.to_string()));
                }
            }
            Ok(0)
        }
        AndonCommand::Clear { line, pulls, cause, policy_change, no_policy_change: _, json } => {
            let (line, lock) = with_lock(&line)?;
            let line = named(&desk, line).await?;
            let seen = match (lock, pulls) {
                (Some(number), pulls) => Some(SeenLock { number, pulls }),
                (None, None) => None,
                (None, Some(_)) => return Ok(usage("--pulls: of which lock? write TENANT/LINE/LOCK")),
            };
            let because = Because { by: machine.user(), reason: cause };
            let act = match desk.clear_line(&line, seen, policy_change, because).await {
                Ok(act) => act,
                Err(error @ (DeskError::NotStopped(_) | DeskError::OtherLock(_))) => {
                    return Ok(usage(&format!("{line}: {error}")));
                }
                Err(error) => return Err(anyhow::Error::from(error).context("clear the line").into()),
            };
            if json {
                say!("{}", serde_json::to_string_pretty(&act).context("write the act")?);
            } else {
                say!("{}", deed(&act.deed));
                halted(&desk, &line).await?;
            }
            Ok(0)
        }
        AndonCommand::Log { line, json } => {
            let line = match line {
                Some(line) => Some(named(&desk, &line).await?),
                None => None,
            };
            Ok(log(&desk, line.as_ref(), json).await?)
        }
    }
}

/// Says what lets the items of a line go on that were halted.
async fn halted(desk: &Desk, line: &ScopeId) -> anyhow::Result<()> {
    for (item, record) in desk.items().await.context("read the items")? {
        let of_line = item.path().rsplit_once('/').is_some_and(|(above, _)| above == line.path());
        let (true, State::Halted, Some(run)) = (of_line, record.state, &record.latest) else { continue };
        match desk.next(run).await.map(|next| next.commands(run)) {
            Ok(Some(commands)) => {
                note!("{item} was halted: {commands}; if its worker pulled by itself, a new attempt or a fork");
            }
            Ok(None) | Err(_) => note!("{item} was halted: a new attempt, or a fork of run {run}"),
        }
    }
    Ok(())
}

/// A line and a lock of it, if one is named: TENANT/LINE/LOCK.
pub(super) fn with_lock(text: &str) -> anyhow::Result<(&str, Option<u64>)> {
    match text.rsplit_once('/') {
        Some((line, lock)) if line.contains('/') => {
            let number = lock.parse().with_context(|| format!("read the number of the lock {lock:?}"))?;
            Ok((line, Some(number)))
        }
        _ => Ok((text, None)),
    }
}

/// The line of a name, or of TENANT/LINE.
pub(super) async fn named(desk: &Desk, line: &str) -> anyhow::Result<ScopeId> {
    if let Some((tenant, name)) = line.split_once('/') {
        for part in [tenant, name] {
            authored::check_name(part).map_err(|problem| anyhow!("{part:?} {problem}: write LINE or TENANT/LINE"))?;
        }
        return Ok(ScopeId::of_path(line));
    }
    let lines = desk.lines().await.context("read the lines")?.into_iter().map(|(id, _)| id);
    // A line that runs for the first time has no memory yet.
    let runs = desk.runs().await.context("read the runs")?.into_iter();
    let runs = runs.map(|run| ScopeId::of_path(&run.tenant).child(&run.line));
    let known: BTreeSet<ScopeId> = lines.chain(runs).filter(|id| id.name() == line).collect();
    match known.iter().collect::<Vec<_>>().as_slice() {
        [one] => Ok((*one).clone()),
        [] => bail!("nothing of a line {line:?} ever ran here; write TENANT/LINE, for example default/{line}"),
        several => {
            let names: Vec<&str> = several.iter().map(|id| id.path()).collect();
            bail!("{line:?} is a line of several tenants: {}", names.join(", "))
        }
    }
}

async fn list(desk: &Desk, json: bool) -> anyhow::Result<u8> {
    let lines = desk.lines().await.context("read the lines")?;
    let pulls = desk.pulls().await.context("read the pulls")?;
    let stopped = lines.into_iter().filter_map(|(line, record)| {
        let lock = record.lock?;
        let own = |pulled: &&Pulled| pulled.line == line && pulled.lock == lock.number;
        let pulls = pulls.iter().filter(own).cloned().collect();
        Some(Stopped { line, lock, pulls })
    });
    let stopped: Vec<Stopped> = stopped.collect();
    if json {
        say!("{}", serde_json::to_string_pretty(&stopped).context("write the list")?);
        return Ok(0);
    }
    if stopped.is_empty() {
        note!("no line is stopped");
    }
    for Stopped { line, lock, pulls } in &stopped {
        let since = utc(lock.since_ms);
        say!(
            "{} line {line} · lock {} · since {since} · pulled {} times",
            style("stopped").red().bold(),
            lock.number,
            lock.pulls
        );
        for pulled in pulls.iter().take(MAX_SHOWN) {
            say!("  {}", shown(pulled));
        }
        if pulls.len() > MAX_SHOWN {
            say!("  and {} more: jidoka andon log {line}", pulls.len() - MAX_SHOWN);
        }
        say!(
            "  to let it go on: jidoka andon clear {line}/{} --pulls {} --cause TEXT (--policy-change TEXT | --no-policy-change)",
            lock.number,
            lock.pulls
        );
    }
    Ok(0)
}

async fn log(desk: &Desk, line: Option<&ScopeId>, json: bool) -> anyhow::Result<u8> {
    let pulls = desk.pulls().await.context("read the pulls")?.into_iter().map(Intervention::Pulled);
    let acts = desk.acts().await.context("read what operators did")?.into_iter().map(Intervention::Cleared);
    let mut all: Vec<Intervention> = pulls.chain(acts).collect();
    all.retain(|one| one.line().is_some_and(|of| line.is_none_or(|line| of == line)));
    all.sort_by_key(Intervention::at_ms);
    if json {
        say!("{}", serde_json::to_string_pretty(&all).context("write the log")?);
        return Ok(0);
    }
    if all.is_empty() {
        note!("no line was ever pulled");
    }
    for one in &all {
        let at = style(utc(one.at_ms())).dim();
        match one {
            Intervention::Pulled(pulled) => {
                say!("{at} line {} · lock {} · {}", pulled.line, pulled.lock, shown(pulled));
            }
            Intervention::Cleared(act) => {
                say!("{at} {} by {}", deed(&act.deed), plain_long(&act.by));
                say!("  cause: {}", plain_long(&act.reason));
            }
        }
    }
    Ok(0)
}

/// A pull in words.
pub(super) fn shown(pulled: &Pulled) -> String {
    let by = match (&pulled.person, &pulled.run) {
        (Some(person), _) => format!("by {}", plain_long(person)),
        (None, Some(run)) => format!("by the {} in run {run}", pulled.pull.by.name()),
        (None, None) => format!("by the {}", pulled.pull.by.name()),
    };
    format!("{} {by}: {}", style(pulled.pull.category.name()).bold(), plain_long(&pulled.pull.reason))
}
