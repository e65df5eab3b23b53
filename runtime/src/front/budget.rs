//! `jidoka budget`: what scopes may spend and have spent, what a call would cost, and what an operator does about it.
//!
//! Never: changes the books beside the desk, acts without a reason. A no says what is allowed.

use anyhow::{Context, anyhow};
use clap::Subcommand;
use console::style;

use crate::rules::authored::limit;
use crate::rules::calendar::utc;
use crate::rules::ledger::{Amounts, CallId, CallState, Denial, Ledger, Limits, Line, Scope, ScopeId, Terms};
use crate::rules::operate::{Act, Deed};
use crate::rules::scope::upward;
use crate::run::desk::{Because, Desk, DeskError};

use super::books::{self, Books, Shown};
use super::load::{self, LoadError};
use super::machine::Machine;
use super::quote::{self, QuoteArguments};
use super::screen;
use super::terminal::{say, usage};

/// The host's scope on the command line; all others are paths such as `acme/triage`.
const HOST: &str = "host";

/// What to do with the budget.
#[derive(Debug, Subcommand)]
pub enum BudgetCommand {
    /// Show what each scope may spend, has spent and has left, and the calls whose cost nobody knows.
    Show {
        /// A scope and all in it: `host`, a tenant, or a path such as `acme/triage/fix-basket`.
        #[arg(default_value = HOST)]
        scope: String,
        /// Attempts that are over as well.
        #[arg(long)]
        all: bool,
        /// One JSON document, with integers in the units of the ledger.
        #[arg(long)]
        json: bool,
    },
    /// Show what a job's first model call would cost at most, and whether it would be admitted now: 0 if it would, 20 if
    /// it would be refused. Nothing is spent.
    Quote(QuoteArguments),
    /// Raise limits of a scope. A run that is on its way has them at once.
    TopUp {
        /// `host`, a tenant, or a path such as `acme/triage/fix-basket`.
        scope: String,
        /// What to add, for example `usd=5 tokens=20000`.
        #[arg(required = true, value_name = "KEY=AMOUNT")]
        amounts: Vec<String>,
        #[command(flatten)]
        why: Why,
    },
    /// End a held call with what it cost, as far as you know.
    WriteOff {
        /// The call's id, from `budget show`.
        call: String,
        /// What it cost, for example `usd=0.02`. Without it the call cost nothing.
        #[arg(long, value_name = "KEY=AMOUNT")]
        spent: Vec<String>,
        #[command(flatten)]
        why: Why,
    },
    /// Believe the clock although it is behind what the ledger has seen.
    AcceptClock {
        #[command(flatten)]
        why: Why,
    },
    /// Show what operators did, the oldest first.
    Log {
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// What every act needs.
#[derive(Debug, clap::Args)]
pub struct Why {
    /// Why: it is kept with the act.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    /// One JSON document: the act as it is kept.
    #[arg(long)]
    json: bool,
}

/// A reason that is one.
pub(super) fn reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("a reason is needed: whoever reads the log later knows nothing else".to_owned());
    }
    Ok(text.to_owned())
}

impl Why {
    fn because(&self, machine: &dyn Machine) -> Because {
        Because { by: machine.user(), reason: self.reason.clone() }
    }

    fn tell(&self, act: &Act) -> anyhow::Result<u8> {
        if self.json {
            say!("{}", serde_json::to_string_pretty(act).context("write the act")?);
        } else {
            say!("{}", deed(&act.deed));
        }
        Ok(0)
    }
}

/// Does what the arguments say and returns the exit code.
pub(super) async fn run(machine: &dyn Machine, command: BudgetCommand) -> Result<u8, LoadError> {
    Ok(match command {
        BudgetCommand::Show { scope, all, json } => {
            let shown = if all { Shown::All } else { Shown::Open };
            show(machine, &scope, shown, json).await?
        }
        BudgetCommand::Quote(arguments) => quote::quote(machine, &arguments).await?,
        BudgetCommand::TopUp { scope, amounts, why } => match limit::added(&amounts) {
            Ok(amounts) => top_up(machine, &scope, amounts, &why).await?,
            Err(wrong) => usage(&wrong),
        },
        BudgetCommand::WriteOff { call, spent, why } => match limit::cost(&spent) {
            Ok(spent) => write_off(machine, &CallId::new(call), spent, &why).await?,
            Err(wrong) => usage(&wrong),
        },
        BudgetCommand::AcceptClock { why } => {
            let act = machine.desk()?.accept_clock(why.because(machine)).await;
            why.tell(&act.context("accept the clock")?)?
        }
        BudgetCommand::Log { json } => log(machine, json).await?,
    })
}

/// The ledger, with the scopes that the operator's file defines although nothing was spent in them yet.
async fn survey(desk: &Desk, defined: Vec<(ScopeId, Terms)>) -> anyhow::Result<Ledger> {
    let mut ledger = desk.survey().await.context("read the ledger")?;
    for (id, terms) in defined {
        if ledger.scope(&id).is_none() {
            ledger.open(&id, terms, desk.now_ms()).with_context(|| format!("open the scope {id}"))?;
        }
    }
    Ok(ledger)
}

async fn show(machine: &dyn Machine, scope: &str, shown: Shown, json: bool) -> Result<u8, LoadError> {
    let desk = machine.desk()?;
    let ledger = survey(&desk, load::operator(machine)?.scopes()).await?;
    let root = match named(scope) {
        // Nothing is there before the first run.
        root if root == ScopeId::host() => root,
        root => known(&ledger, root)?.0,
    };
    let books = Books::of(&ledger, &root, shown, desk.now_ms());
    if json {
        say!("{}", serde_json::to_string_pretty(&books).context("write the books")?);
    } else {
        books.screen().iter().for_each(|line| say!("{line}"));
    }
    Ok(0)
}

async fn top_up(machine: &dyn Machine, scope: &str, amounts: Amounts, why: &Why) -> Result<u8, LoadError> {
    let desk = machine.desk()?;
    let defined = load::operator(machine)?.scopes();
    let ledger = survey(&desk, defined.clone()).await?;
    let (id, books) = known(&ledger, named(scope))?;
    if books.closed {
        return Err(anyhow!("{id} is over: nothing can be spent in it any more").into());
    }
    if let Some((line, _)) = amounts.iter().find(|(line, _)| books.limit(*line).is_none()) {
        return Err(anyhow!(no_limit(&id, books, line)).into());
    }
    let act = desk.top_up(&id, defined, amounts, why.because(machine)).await;
    Ok(why.tell(&act.with_context(|| format!("raise the limits of {id}"))?)?)
}

/// Why a line cannot be raised: which can, and where the limits are that cannot.
fn no_limit(id: &ScopeId, scope: &Scope, line: Line) -> String {
    let keys = |limits: &Limits| limits.iter().map(|(line, _)| line.key()).collect::<Vec<_>>().join(", ");
    let having = match keys(&scope.terms.limits) {
        none if none.is_empty() => "none".to_owned(),
        keys => keys,
    };
    let mut text = format!("{id} has no limit on {} that could be raised; lines that have one: {having}", line.key());
    let others = scope.terms.windows.iter().filter(|(_, limits)| limits.get(line).is_some());
    let others: Vec<String> = others.map(|(&span, _)| books::name(line, span.into())).collect();
    if !others.is_empty() {
        text += &format!("; to be raised in the operator's file: {}", others.join(", "));
    }
    text
}

async fn write_off(machine: &dyn Machine, call: &CallId, spent: Amounts, why: &Why) -> Result<u8, LoadError> {
    let desk = machine.desk()?;
    // What dead runs left behind is held from here on.
    let ledger = desk.survey().await.context("read the ledger")?;
    match desk.write_off(call, spent, why.because(machine)).await {
        Ok(act) => Ok(why.tell(&act)?),
        Err(DeskError::Denied(Denial::NotOpen { state, .. })) => {
            let books = Books::of(&ledger, &ScopeId::host(), Shown::All, desk.now_ms());
            let held: Vec<&str> = books.held().collect();
            let held = if held.is_empty() { "none".to_owned() } else { held.join(", ") };
            let state = state.map_or("unknown", CallState::name);
            Err(anyhow!("call {call} is {state}, not held; held calls: {held}").into())
        }
        Err(error) => Err(anyhow::Error::from(error).context(format!("write off call {call}")).into()),
    }
}

async fn log(machine: &dyn Machine, json: bool) -> anyhow::Result<u8> {
    let acts = machine.desk()?.acts().await.context("read what operators did")?;
    if json {
        say!("{}", serde_json::to_string_pretty(&acts).context("write the acts")?);
        return Ok(0);
    }
    if acts.is_empty() {
        say!("no operator did anything");
    }
    for act in &acts {
        say!("{} {} by {}", style(utc(act.at_ms)).dim(), deed(&act.deed), screen::plain_long(&act.by));
        say!("  because: {}", screen::plain_long(&act.reason));
    }
    Ok(0)
}

/// What an operator did, in words.
pub(super) fn deed(deed: &Deed) -> String {
    match deed {
        Deed::TopUp { scope, amounts } => format!("topped up {scope}: {}", screen::amounts(amounts)),
        Deed::WriteOff { call, held, spent } => {
            format!("wrote off call {call}: held {}; spent {}", screen::amounts(held), screen::amounts(spent))
        }
        Deed::AcceptClock => "accepted the clock".to_owned(),
        Deed::ClearLine { line, lock, pulls, policy_change } => {
            let change = policy_change.as_deref().unwrap_or("none");
            format!(
                "cleared lock {lock} of line {line}, pulled {pulls} times; policy change: {}",
                screen::plain_long(change)
            )
        }
        Deed::Revive { item, was } => format!("revived item {item}, which was {}", was.name()),
        Deed::Abandon { item, was } => format!("abandoned item {item}, which was {}", was.name()),
        Deed::Answer { run, question, answer, .. } => {
            format!("answered run {run}: {} {}", screen::plain(question), screen::plain(answer))
        }
    }
}

fn named(scope: &str) -> ScopeId {
    if scope == HOST { ScopeId::host() } else { ScopeId::of_path(scope) }
}

/// Scopes of an error.
const MAX_LISTED: usize = 20;

/// The scope of this path, or an error that says which there are: those in the innermost one that there is.
fn known(ledger: &Ledger, id: ScopeId) -> anyhow::Result<(ScopeId, &Scope)> {
    if let Some(scope) = ledger.scope(&id) {
        return Ok((id, scope));
    }
    let around = upward(id.path()).skip(1).map(ScopeId::of_path).find(|around| ledger.scope(around).is_some());
    let around = around.unwrap_or(ScopeId::host());
    let parent = |id: &ScopeId| upward(id.path()).nth(1).map(ScopeId::of_path);
    let mut open: Vec<String> = ledger
        .scopes()
        .filter(|(id, scope)| !scope.closed && parent(id).as_ref() == Some(&around))
        .map(|(id, _)| id.to_string())
        .collect();
    open.sort();
    let more = open.len().saturating_sub(MAX_LISTED);
    open.truncate(MAX_LISTED);
    let open = if open.is_empty() { "none".to_owned() } else { open.join(", ") };
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    Err(anyhow!("there is no scope {:?}; scopes in {around}: {open}{more}", id.path()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rules::window::Span;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        for path in ["", "acme", "globex", "acme/triage", "acme/review"] {
            ledger.open(&ScopeId::of_path(path), Terms::default(), 0).expect("opens");
        }
        ledger
    }

    #[test]
    fn an_unknown_scope_is_answered_with_those_that_are_near() {
        for (asked, expected) in [
            ("acne", "there is no scope \"acne\"; scopes in host: acme, globex"),
            ("acme/triaje", "there is no scope \"acme/triaje\"; scopes in acme: acme/review, acme/triage"),
            ("acme/triage/fix/run", "there is no scope \"acme/triage/fix/run\"; scopes in acme/triage: none"),
            ("acme/", "there is no scope \"acme/\"; scopes in acme: acme/review, acme/triage"),
        ] {
            assert_eq!(known(&ledger(), named(asked)).expect_err("unknown").to_string(), expected);
        }
        assert_eq!(known(&ledger(), named(HOST)).expect("it is there").0, ScopeId::host());
    }

    #[test]
    fn a_line_without_a_limit_is_answered_with_those_that_have_one() {
        let id = ScopeId::of_path("acme");
        let scope = |limits: &[Line], windows: &[Line]| {
            let each = |lines: &[Line]| lines.iter().map(|&line| (line, 1)).collect::<Limits>();
            let windows = BTreeMap::from([(Span::Hour, each(windows)), (Span::Day, each(windows))]);
            Scope { terms: Terms { limits: each(limits), windows, ..Terms::default() }, ..Scope::default() }
        };
        assert_eq!(
            no_limit(&id, &scope(&[Line::MicroUsd, Line::WallMs], &[]), Line::Tokens),
            "acme has no limit on tokens that could be raised; lines that have one: usd, wall"
        );
        assert_eq!(
            no_limit(&id, &scope(&[], &[Line::Tokens]), Line::Tokens),
            "acme has no limit on tokens that could be raised; lines that have one: none; to be raised in the \
             operator's file: tokens/hour, tokens/day"
        );
    }
}
