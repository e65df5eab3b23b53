//! `jidoka budget quote`: what a job's first model call would cost at most, and whether it would be admitted now.
//!
//! Never: spends, reserves, sends. What decides is asked of the desk, which asks what the gate asks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use console::style;
use serde::Serialize;

use crate::rules::authored::limit;
use crate::rules::explanation::{End, Explanation, Input, Need, Output};
use crate::rules::ledger::Level;
use crate::rules::model::{Message, Request, Role};
use crate::rules::spec::{CountedBy, ModelSpec, RunSpec};
use crate::rules::units;

use super::load::{self, LoadError, Loaded};
use super::machine::Machine;
use super::overrides::{self, SettingArguments};
use super::screen;
use super::table::{Side, Table};
use super::terminal::{say, usage};

/// Exit code if a call would be refused: as of a run whose limit is used up.
const REFUSED: u8 = 20;

/// Words of `budget quote`.
#[derive(Debug, Args)]
pub struct QuoteArguments {
    /// A job file, or a directory with one.
    path: PathBuf,
    /// Only this model of the job's; with `=`, the operator's model to use for it.
    #[arg(long = "model", value_name = "NAME|JOB=OPERATOR", value_parser = model)]
    models: Vec<ModelWord>,
    /// What would be asked. Default: the text of the job's task.
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file")]
    prompt: Option<String>,
    /// A file with what would be asked.
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Output tokens that would be asked for. Default: as many as the model gives.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    max_output: Option<u32>,
    /// Output tokens below which the call is of no use.
    #[arg(long, value_name = "TOKENS", default_value_t = 1)]
    min_output: u32,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingArguments,
}

#[derive(Clone, Debug)]
enum ModelWord {
    Only(String),
    Instead(String, String),
}

fn model(text: &str) -> Result<ModelWord, String> {
    if text.contains('=') {
        return overrides::pair(text).map(|(job, operator)| ModelWord::Instead(job, operator));
    }
    Ok(ModelWord::Only(text.to_owned()))
}

impl QuoteArguments {
    fn instead(&self) -> impl Iterator<Item = (String, String)> {
        self.models.iter().filter_map(|word| match word {
            ModelWord::Only(_) => None,
            ModelWord::Instead(job, operator) => Some((job.clone(), operator.clone())),
        })
    }

    /// The models to explain: those that are named, or all.
    fn chosen<'a>(&self, spec: &'a RunSpec) -> Result<Vec<(&'a String, &'a ModelSpec)>, String> {
        let granted = || {
            let names: Vec<&str> = spec.models.keys().map(String::as_str).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        if spec.models.is_empty() {
            return Err("the job grants no models, so there is nothing to quote".to_owned());
        }
        let mut chosen = Vec::new();
        for word in &self.models {
            if let ModelWord::Only(name) = word {
                let found = spec.models.get_key_value(name);
                chosen.push(found.ok_or_else(|| format!("the job grants no model {name:?}; granted: {}", granted()))?);
            }
        }
        Ok(if chosen.is_empty() { spec.models.iter().collect() } else { chosen })
    }

    fn prompt(&self, machine: &dyn Machine, spec: &RunSpec) -> anyhow::Result<String> {
        let Some(file) = &self.prompt_file else {
            return Ok(self.prompt.clone().unwrap_or_else(|| spec.task.text.clone()));
        };
        let bytes =
            machine.read_at_most(file, load::MAX_TEXT_BYTES).with_context(|| format!("read {}", file.display()))?;
        String::from_utf8(bytes).with_context(|| format!("read {}: it is not UTF-8", file.display()))
    }
}

/// What is explained, for a machine.
#[derive(Serialize)]
struct Document<'a> {
    tenant: &'a str,
    line: &'a str,
    /// `None`: the run would be an item of its own.
    item: Option<&'a str>,
    models: &'a BTreeMap<String, Explanation>,
}

/// Explains the first call to each chosen model.
pub(super) async fn quote(machine: &dyn Machine, arguments: &QuoteArguments) -> Result<u8, LoadError> {
    let overrides = arguments.settings.with(arguments.instead());
    let Loaded { dir, spec, .. } = load::load(machine, &arguments.path, &overrides)?;
    let chosen = match arguments.chosen(&spec) {
        Ok(chosen) => chosen,
        Err(why) => return Ok(usage(&why)),
    };
    let prompt = arguments.prompt(machine, &spec)?;
    let desk = machine.desk()?;
    let mut explained = BTreeMap::new();
    for (name, model) in chosen {
        let message = Message::new(Role::User, prompt.clone());
        let request = Request {
            model: name.clone(),
            messages: vec![message],
            tools: vec![],
            max_output: arguments.max_output.unwrap_or(model.profile.max_output),
            min_output: arguments.min_output,
            schema: None,
        };
        let way = machine.reach(name, model, &dir).with_context(|| format!("reach model \"{name}\""))?;
        let explanation = desk.quote(&spec, &machine.serial()?, &request, &way).await.context("read the ledger")?;
        explained.insert(name.clone(), explanation);
    }
    if arguments.json {
        let document =
            Document { tenant: &spec.tenant, line: &spec.line, item: spec.item.as_deref(), models: &explained };
        say!("{}", serde_json::to_string_pretty(&document).context("write the document")?);
    } else {
        let item = spec.item.as_deref().unwrap_or("an item of its own");
        for (name, explanation) in &explained {
            let what = format!("model {name} · tenant {} · line {} · item {item}", spec.tenant, spec.line);
            say!("{} {what}", style("quote").bold());
            screen(explanation, spec.models[name].counted_by).iter().for_each(|line| say!("{line}"));
        }
    }
    let refused = explained.values().any(|explanation| matches!(explanation.end, End::Refused { .. }));
    Ok(if refused { REFUSED } else { 0 })
}

fn screen(explanation: &Explanation, counted_by: CountedBy) -> Vec<String> {
    let mut lines = vec![format!("  input   {}", input(&explanation.input))];
    if counted_by == CountedBy::Provider {
        lines.push("          by its bytes; a run asks the provider to count first, which may make it less".to_owned());
    }
    let Output { asked, least, most } = explanation.output;
    lines.push(format!("  output  {asked} asked, at least {least}; the model gives at most {most}"));
    lines.push(match explanation.price {
        Some(price) => {
            let [of_in, of_out] = [price.micro_usd_per_mtok_in, price.micro_usd_per_mtok_out].map(units::show_usd);
            format!("  price   {of_in} for a million tokens in, {of_out} out")
        }
        None => "  price   unknown".to_owned(),
    });
    let mut table = Table::new([
        ("line", Side::Left),
        ("whole", Side::Right),
        ("least", Side::Right),
        ("left", Side::Right),
        ("in scope", Side::Left),
        ("by", Side::Left),
    ])
    .missing(&["least"]);
    for need in &explanation.lines {
        let [whole, least, left] = [need.whole, need.least, need.left].map(|amount| limit::show(need.line, amount));
        table.row([need.line.key().to_owned(), whole, least, left, scope(need), need.setting.clone()]);
    }
    lines.extend(table.lines());
    lines.push(match &explanation.end {
        End::Whole { reserve } => {
            format!("{}: it would reserve {}", style("fits").green().bold(), screen::amounts(reserve))
        }
        End::Shrunk { max_output, reserve } => format!(
            "{} to {max_output} tokens of output: it would reserve {}",
            style("shrunk").yellow().bold(),
            screen::amounts(reserve)
        ),
        End::Refused { refusal } => format!("{}: {}", style("refused").red().bold(), screen::refusal(refusal)),
    });
    lines
}

/// The scope that decides. The item is named above the table, and the attempt has not begun.
fn scope(need: &Need) -> String {
    match need.level {
        Level::Host | Level::Tenant | Level::Line => need.scope.clone(),
        Level::Item | Level::Attempt | Level::Worker => need.level.name().to_owned(),
    }
}

/// How the bound comes about, without what adds nothing.
fn input(input: &Input) -> String {
    let mut sum = format!("{} bytes x {}", input.content_bytes, units::show_factor(input.norm_factor_milli));
    if input.request_overhead > 0 {
        sum += &format!(" + {} for the request", input.request_overhead);
    }
    if input.message_overhead > 0 {
        sum += &format!(" + {} x {} for messages", input.parts, input.message_overhead);
    }
    match input.tokens {
        Some(tokens) => format!("{sum} = {tokens} tokens, of a window of {}", input.window),
        None => format!("{sum}: no bound"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::effect::{Reason, Refusal};
    use crate::rules::ledger::{LimitKind, Line};
    use crate::rules::model::Price;

    fn explanation(end: End) -> Explanation {
        let need = |line, whole, least, left| Need {
            line,
            whole,
            least,
            left,
            scope: "acme".to_owned(),
            level: Level::Tenant,
            limit: LimitKind::Day,
            setting: format!("[tenants.acme.budget.day] {} in the operator's file", line.key()),
        };
        Explanation {
            input: Input {
                content_bytes: 54,
                norm_factor_milli: 1_000,
                request_overhead: 16,
                parts: 2,
                message_overhead: 8,
                window: 8_192,
                tokens: Some(86),
            },
            output: Output { asked: 600, least: 100, most: 1_024 },
            price: Some(Price::of(2_500_000, 10_000_000)),
            lines: vec![need(Line::Tokens, 686, 186, 20_000), need(Line::MicroUsd, 6_215, 1_215, 5_000)],
            end,
        }
    }

    #[test]
    fn a_person_sees_the_bound_and_what_decides_each_line() {
        let refusal = Refusal {
            reason: Reason::Unpriced,
            asked: "a".to_owned(),
            allowed: "b".to_owned(),
            setting: "c".to_owned(),
        };
        assert_eq!(
            screen(&explanation(End::Refused { refusal }), CountedBy::Bytes),
            [
                "  input   54 bytes x 1.0 + 16 for the request + 2 x 8 for messages = 86 tokens, of a window of 8192",
                "  output  600 asked, at least 100; the model gives at most 1024",
                "  price   $2.50 for a million tokens in, $10.00 out",
                "  line        whole      least    left  in scope  by",
                "  tokens        686        186   20000  acme      [tenants.acme.budget.day] tokens in the operator's file",
                "  usd     $0.006215  $0.001215  $0.005  acme      [tenants.acme.budget.day] usd in the operator's file",
                "refused: asked a; allowed b; to change it: c",
            ]
        );
    }

    #[test]
    fn what_would_be_reserved_is_shown_in_its_units() {
        let reserve = [(Line::Tokens, 566), (Line::MicroUsd, 5_000)].into_iter().collect();
        let lines = screen(&explanation(End::Shrunk { max_output: 480, reserve }), CountedBy::Provider);
        assert!(lines[1].contains("asks the provider to count first"), "{}", lines[1]);
        let end = lines.last().expect("it has an end");
        assert_eq!(end, "shrunk to 480 tokens of output: it would reserve 566 tokens · $0.005 usd");
    }
}
