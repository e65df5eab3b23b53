//! Items: what state each is in and why, letting one be tried again, giving one up, and answering what a run asks.
//!
//! Never: changes an item that a run works on.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use console::style;
use serde::Serialize;

use crate::rules::calendar::utc;
use crate::rules::item::{ItemRecord, State};
use crate::rules::ledger::ScopeId;
use crate::rules::operate::{Act, Deed};
use crate::rules::question::{self, Question, QuestionId};
use crate::run::desk::{Because, Desk, DeskError};
use crate::run::past::RunRow;

use super::budget::{deed, reason};
use super::load::LoadError;
use super::machine::Machine;
use super::runs::{self, ResumeArguments};
use super::screen::{plain, plain_long};
use super::serial;
use super::table::{Side, Table};
use super::terminal::{note, say, usage};

/// Words of `items`.
#[derive(Debug, Subcommand)]
pub enum ItemsCommand {
    /// List the items, and the state of each.
    List {
        /// Only those in this state, for example `abandoned`.
        #[arg(long, value_name = "STATE", value_parser = one_of_the_states)]
        only: Option<ItemStanding>,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Show an item: its state and why, its attempts, what its run asks.
    Show {
        /// The item, or TENANT/LINE/ITEM.
        item: String,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Let an item be tried again, with all its attempts before it. What it has shown is forgotten: the same work is judged
    /// again.
    Revive {
        /// The item, or TENANT/LINE/ITEM.
        item: String,
        /// Why another attempt may do better.
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Give an item up: nothing of it begins any more.
    Abandon {
        /// The item, or TENANT/LINE/ITEM.
        item: String,
        /// Why.
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
}

fn one_of_the_states(text: &str) -> Result<ItemStanding, String> {
    let all = || State::ALL.into_iter().map(ItemStanding::State).chain([ItemStanding::Lost]);
    let names = || all().map(ItemStanding::name).collect::<Vec<_>>().join(", ");
    all().find(|standing| standing.name() == text).ok_or_else(|| format!("a state is one of: {}", names()))
}

/// Words of `answer`.
#[derive(Debug, Args)]
pub struct AnswerArguments {
    /// The run that asks, as for `show`; RUN/CALL if it asks several questions. Without any, all open questions are listed.
    #[arg(value_name = "RUN[/CALL]")]
    question: Option<String>,
    /// The option: its number from 1, or how it begins. Without it, what the run asks is listed.
    #[arg(value_name = "OPTION")]
    choice: Option<String>,
    /// What the worker is told besides.
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// Let the run go on at once.
    #[arg(long, requires = "choice")]
    resume: bool,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

impl AnswerArguments {
    /// Whether nothing is answered.
    pub(super) fn only_lists(&self) -> bool {
        self.choice.is_none()
    }
}

/// An item as `items --json` prints it.
#[derive(Serialize)]
struct Shown<'a> {
    item: &'a ScopeId,
    /// Whether the process is gone that worked on it.
    lost: bool,
    #[serde(flatten)]
    record: &'a ItemRecord,
}

impl<'a> Shown<'a> {
    fn of(desk: &Desk, item: &'a ScopeId, record: &'a ItemRecord) -> Self {
        Self { item, lost: ItemStanding::of(desk, record) == ItemStanding::Lost, record }
    }
}

/// Where an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemStanding {
    State(State),
    /// It is being worked on by a process that is gone.
    Lost,
}

impl ItemStanding {
    fn of(desk: &Desk, record: &ItemRecord) -> Self {
        match (&record.open, record.state) {
            (Some(run), State::Running) if desk.is_dead(run) => ItemStanding::Lost,
            (_, state) => ItemStanding::State(state),
        }
    }

    fn name(self) -> &'static str {
        match self {
            ItemStanding::State(state) => state.name(),
            ItemStanding::Lost => "lost",
        }
    }
}

async fn why(desk: &Desk, record: &ItemRecord) -> String {
    let (ItemStanding::Lost, Some(run)) = (ItemStanding::of(desk, record), &record.open) else {
        return record.why.clone();
    };
    let commands = desk.next(run).await.ok().and_then(|next| next.commands(run));
    let resume = commands.map(|commands| format!("{commands}, or ")).unwrap_or_default();
    format!("the process of run {run} is gone: {resume}a new attempt")
}

/// Does what the arguments say and returns the exit code.
pub(super) async fn run(machine: &dyn Machine, command: ItemsCommand) -> Result<u8, LoadError> {
    let desk = machine.desk()?;
    match command {
        ItemsCommand::List { only, json } => Ok(list(&desk, only, json).await?),
        ItemsCommand::Show { item, json } => Ok(show(&desk, &item, json).await?),
        ItemsCommand::Revive { item, reason, json } => {
            let (id, _) = named(&desk, &item).await?;
            let done = desk.revive(&id, Because { by: machine.user(), reason }).await;
            Ok(told(done, json)?)
        }
        ItemsCommand::Abandon { item, reason, json } => {
            let (id, _) = named(&desk, &item).await?;
            let done = desk.abandon(&id, Because { by: machine.user(), reason }).await;
            Ok(told(done, json)?)
        }
    }
}

/// `jidoka answer`.
pub(super) async fn answer(machine: &dyn Machine, arguments: AnswerArguments) -> Result<u8, LoadError> {
    let AnswerArguments { question, choice, note, resume, json } = arguments;
    let desk = machine.desk()?;
    let all = desk.questions().await.context("read the questions")?;
    let now_ms = desk.now_ms();
    let is_open = |question: &Question| question.standing(now_ms) == question::Standing::Open;
    let Some(said) = question else {
        let questions: Vec<_> = all.into_iter().filter(|(_, question)| is_open(question)).collect();
        return Ok(open(&questions, json)?);
    };
    let (run, call) = said.rsplit_once('/').map_or((said.as_str(), None), |(run, call)| (run, Some(call)));
    let run = serial::of(machine, &desk, run).await?;
    let mut own: Vec<_> = all.into_iter().filter(|(id, _)| *id.run == *run).collect();
    match call.map(str::parse::<u64>) {
        Some(Ok(call)) => own.retain(|(id, _)| id.call == call),
        Some(Err(_)) => {
            return Ok(usage(&format!("{said:?}: a question is RUN or RUN/CALL, as `jidoka answer` lists them")));
        }
        None => own.retain(|(_, question)| is_open(question)),
    }
    let Some(choice) = choice else { return Ok(open(&own, json)?) };
    let (id, question) = match own.as_slice() {
        [one] => one,
        [] => return Ok(usage(&format!("run {run} has no such open question; `jidoka answer` lists those that are"))),
        several => {
            let ids: Vec<String> = several.iter().map(|(id, _)| id.to_string()).collect();
            return Ok(usage(&format!("run {run} asks {} questions: {}", several.len(), ids.join(", "))));
        }
    };
    let choice = match option(&question.options, &choice) {
        Ok(choice) => choice,
        Err(why) => return Ok(usage(&why)),
    };
    let because = Because { by: machine.user(), reason: note.clone() };
    let code = told(desk.answer(id, choice, note, because).await, json && !resume)?;
    if code == 0 && resume {
        return runs::resume(machine, ResumeArguments::of(run, json)).await;
    }
    if code == 0
        && !json
        && let Ok(Some(commands)) = desk.next(&id.run).await.map(|next| next.commands(&id.run))
    {
        note!("the run hears that when it goes on: {commands}");
    }
    Ok(code)
}

/// The number of the option that is meant, from 1: by this number, or by a beginning that only it has.
fn option(options: &[String], said: &str) -> Result<u32, String> {
    if let Ok(number) = said.parse() {
        return Ok(number);
    }
    let said = said.to_lowercase();
    let numbered = || (1..).zip(options.iter().map(|option| option.to_lowercase()));
    let whole: Vec<u32> = numbered().filter(|(_, option)| *option == said).map(|(number, _)| number).collect();
    let begin: Vec<u32> =
        numbered().filter(|(_, option)| option.starts_with(&said)).map(|(number, _)| number).collect();
    match (whole.as_slice(), begin.as_slice()) {
        ([one], _) | (_, [one]) if !said.is_empty() => Ok(*one),
        _ => {
            let options: Vec<String> =
                (1..).zip(options).map(|(number, option)| format!("{number} {}", plain(option))).collect();
            Err(format!("{:?} is none of the options, or several: {}", plain(&said), options.join(", ")))
        }
    }
}

/// Tells what was done, or why nothing was.
fn told(done: Result<Act, DeskError>, json: bool) -> anyhow::Result<u8> {
    match done {
        Ok(act) if json => say!("{}", serde_json::to_string_pretty(&act).context("write the act")?),
        Ok(act) => say!("{}", deed(&act.deed)),
        Err(DeskError::Store(error)) => return Err(error.into()),
        Err(refused) => return Ok(usage(&refused.to_string())),
    }
    Ok(0)
}

fn open(questions: &[(QuestionId, Question)], json: bool) -> anyhow::Result<u8> {
    if json {
        let rows: Vec<_> = questions
            .iter()
            .map(|(id, question)| serde_json::json!({ "run": &*id.run, "call": id.call, "question": question }))
            .collect();
        say!("{}", serde_json::to_string_pretty(&rows).context("write the questions")?);
        return Ok(0);
    }
    if questions.is_empty() {
        note!("nobody asks anything");
    }
    for (id, question) in questions {
        let until = utc(question.until_ms);
        say!(
            "{} risk {} · no answer until {until} is a no",
            style(format!("run {}", id.run)).bold(),
            question.risk.name()
        );
        say!("  {}", plain_long(&question.question));
        for (number, option) in (1..).zip(&question.options) {
            say!("    {number}  {}", plain_long(option));
        }
        say!("  jidoka answer {id} OPTION [--note TEXT] [--resume]");
    }
    Ok(0)
}

/// The item of a name, or of TENANT/LINE/ITEM.
async fn named(desk: &Desk, name: &str) -> anyhow::Result<(ScopeId, ItemRecord)> {
    let items = desk.items().await.context("read the items")?;
    let is_path = name.contains('/');
    let mut known: Vec<_> =
        items.into_iter().filter(|(id, _)| if is_path { id.path() == name } else { id.name() == name }).collect();
    match (known.pop(), known.is_empty()) {
        (Some(one), true) => Ok(one),
        (None, _) => bail!("there is no item {name:?}; `jidoka items list` has them all"),
        (Some(one), false) => {
            let names: Vec<&str> = known.iter().chain([&one]).map(|(id, _)| id.path()).collect();
            bail!("{name:?} is an item of several lines: {}", names.join(", "))
        }
    }
}

async fn list(desk: &Desk, only: Option<ItemStanding>, json: bool) -> anyhow::Result<u8> {
    let mut items = desk.items().await.context("read the items")?;
    items.retain(|(_, record)| only.is_none_or(|only| only == ItemStanding::of(desk, record)));
    if json {
        let rows: Vec<Shown<'_>> = items.iter().map(|(item, record)| Shown::of(desk, item, record)).collect();
        say!("{}", serde_json::to_string_pretty(&rows).context("write the items")?);
        return Ok(0);
    }
    if items.is_empty() {
        note!("there are no such items");
        return Ok(0);
    }
    let mut table = Table::new([
        ("item", Side::Left),
        ("state", Side::Left),
        ("since", Side::Left),
        ("attempts", Side::Right),
        ("latest run", Side::Left),
        ("why", Side::Left),
    ])
    .missing(&["attempts", "since"]);
    for (id, record) in &items {
        table.row([
            id.path().to_owned(),
            ItemStanding::of(desk, record).name().to_owned(),
            utc(record.since_ms),
            record.attempts.to_string(),
            record.latest.clone().unwrap_or_default(),
            plain(&why(desk, record).await),
        ]);
    }
    table.lines().iter().for_each(|line| say!("{line}"));
    Ok(0)
}

async fn show(desk: &Desk, name: &str, json: bool) -> anyhow::Result<u8> {
    let (id, record) = named(desk, name).await?;
    if json {
        let shown = Shown::of(desk, &id, &record);
        say!("{}", serde_json::to_string_pretty(&shown).context("write the item")?);
        return Ok(0);
    }
    let standing = ItemStanding::of(desk, &record);
    say!("{} · {} since {}", style(format!("item {id}")).bold(), standing.name(), utc(record.since_ms));
    let why = why(desk, &record).await;
    if !why.is_empty() {
        say!("  why       {}", plain_long(&why));
    }
    if let Some(run) = &record.latest
        && let Ok(Some(commands)) = desk.next(run).await.map(|next| next.commands(run))
    {
        say!("  goes on   {commands}");
    }
    say!("  attempts  {} ({} before it was revived)", record.attempts, record.forgiven);
    if let Some(until_ms) = record.rests_until_ms {
        say!("  rests     until {}", utc(until_ms));
    }
    let of_item = |run: &RunRow| format!("{}/{}/{}", run.tenant, run.line, run.item) == id.path() && !run.imported;
    for run in desk.runs().await.context("read the runs")?.iter().filter(|run| of_item(run)) {
        let verdict = runs::state(desk, run);
        say!("  run       {} · attempt {} · {} · {verdict}", run.serial, run.attempt, utc(run.opened_ms));
    }
    for act in desk.acts().await.context("read what operators did")? {
        if matches!(&act.deed, Deed::Revive { item, .. } | Deed::Abandon { item, .. } if *item == id) {
            say!("  {} {} by {}: {}", utc(act.at_ms), deed(&act.deed), plain_long(&act.by), plain_long(&act.reason));
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_its_number_or_a_beginning_that_only_it_has() {
        let options = ["yes, do it", "No", "not yet", "Yesterday's"].map(str::to_owned);
        for (said, number) in [("1", 1), ("yes,", 1), ("NO", 2), ("not", 3), ("9", 9)] {
            assert_eq!(option(&options, said), Ok(number), "{said}");
        }
        for said in ["yes", "n", "maybe", ""] {
            assert!(option(&options, said).unwrap_err().contains("1 yes, do it, 2 No"), "{said}");
        }
    }
}
