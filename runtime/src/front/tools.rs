//! `jidoka tools`: what tools a job or a component offers, what they say of themselves, and accepting it.
//!
//! Never: calls a tool, believes what it says: its texts are shown as a stranger's.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use console::style;
use serde::Serialize;

use crate::rules::digest::Digest;
use crate::rules::tool::{Reach, ToolOffer, ToolSource, ToolSpec};
use crate::rules::units;
use crate::run::tools::{self, Standing};

use super::call::{self, LetArguments};
use super::load::{self, LoadError};
use super::machine::Machine;
use super::overrides::OverrideArguments;
use super::screen::{plain, plain_long};
use super::table::{Side, Table};
use super::terminal::{self, Spinner, say, usage};

/// Words of `tools`.
#[derive(Debug, Subcommand)]
pub enum ToolsCommand {
    /// List the tools that a job grants, or that a component offers.
    List(ToolsArguments),
    /// Show what tools say of themselves, whole: descriptions, schemas, digests, and what was accepted.
    Inspect(ToolsArguments),
    /// Accept how the tools of a job describe themselves now: only then a tool that changed is used again.
    Accept(AcceptArguments),
}

/// Words of `tools list` and `tools inspect`.
#[derive(Debug, Args)]
pub struct ToolsArguments {
    /// A job file, a directory with one, or a component.
    target: PathBuf,
    /// Only this tool or toolbox.
    name: Option<String>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    lets: LetArguments,
    #[command(flatten)]
    overrides: OverrideArguments,
}

/// Words of `tools accept`.
#[derive(Debug, Args)]
pub struct AcceptArguments {
    /// A job file, or a directory with one.
    target: PathBuf,
    /// Only these toolboxes; without, all of the job's.
    toolboxes: Vec<String>,
    /// Why: it is kept with what was accepted.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    overrides: OverrideArguments,
}

/// What `--json` prints of a toolbox.
#[derive(Serialize)]
struct Shown<'a> {
    toolbox: &'a str,
    spec: &'a ToolSpec,
    digest: Option<Digest>,
    standing: &'a Standing,
    tools: &'a [ToolOffer],
    /// Why it offers none.
    problem: Option<&'a str>,
}

/// Does it.
pub(super) async fn run(machine: &dyn Machine, command: ToolsCommand) -> Result<u8, LoadError> {
    match command {
        ToolsCommand::List(arguments) => show(machine, arguments, Depth::Lines).await,
        ToolsCommand::Inspect(arguments) => show(machine, arguments, Depth::Whole).await,
        ToolsCommand::Accept(arguments) => accept(machine, arguments).await,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Lines,
    Whole,
}

async fn show(machine: &dyn Machine, arguments: ToolsArguments, depth: Depth) -> Result<u8, LoadError> {
    let ToolsArguments { target, name, json, lets, overrides } = arguments;
    let mut loaded = call::loaded(machine, &target, &lets, &overrides.overrides())?;
    loaded.spec = loaded.spec.without_worker();
    let (spec, wall) = (loaded.spec.clone(), loaded.spec.wall);
    let spinner = Spinner::new(json);
    let job = load::open(machine, loaded, &|what| spinner.say(what));
    let job = job.inspect_err(|_| spinner.end())?;
    let all = tools::survey(&machine.runner(wall)?, &job).await.map_err(|why| anyhow!(why));
    spinner.end();
    let wanted = |offer: &ToolOffer| {
        name.as_deref().is_none_or(|name| [&offer.name, &offer.toolbox].contains(&&name.to_owned()))
    };
    let mut documents = Vec::new();
    let mut table = Table::new([
        ("tool", Side::Left),
        ("of", Side::Left),
        ("reach", Side::Left),
        ("files", Side::Left),
        ("wall", Side::Right),
        ("standing", Side::Left),
        ("says of itself", Side::Left),
    ])
    .missing(&["of", "wall", "reach"]);
    let mut problems = Vec::new();
    for survey in all? {
        let tools::Surveyed { toolbox, offers, standing } = &survey;
        let spec = &spec.tools[toolbox];
        let (offers, problem) = match offers {
            Ok(offers) => (offers.as_slice(), None),
            Err(why) => (&[][..], Some(why.as_str())),
        };
        problems.extend(problem.map(|why| format!("{toolbox}: {}", plain_long(why))));
        let offers: Vec<ToolOffer> = offers.iter().filter(|offer| wanted(offer)).cloned().collect();
        if json {
            let digest = problem.is_none().then(|| tools::pin_of(survey.offers.as_deref().unwrap_or_default()));
            let shown = Shown { toolbox, spec, digest, standing, tools: &offers, problem };
            documents.push(serde_json::to_value(shown).context("write the tools")?);
            continue;
        }
        for offer in &offers {
            match depth {
                Depth::Lines => table.row([
                    plain(&offer.name),
                    source(spec),
                    match offer.reach {
                        Reach::Inside => "inside".to_owned(),
                        Reach::Outside => "outside".to_owned(),
                    },
                    format!("{:?}", spec.files).to_lowercase().replace("read", "read-"),
                    units::show_duration(spec.caps.wall_ms),
                    words(standing),
                    plain(offer.description.lines().next().unwrap_or_default()),
                ]),
                Depth::Whole => whole(offer, spec, standing),
            }
        }
    }
    if json {
        say!("{}", serde_json::to_string_pretty(&documents).context("write the tools")?);
    } else if depth == Depth::Lines {
        table.lines().iter().for_each(|line| say!("{line}"));
    }
    problems.iter().for_each(|problem| terminal::error(problem));
    Ok(u8::from(!problems.is_empty()))
}

fn whole(offer: &ToolOffer, spec: &ToolSpec, standing: &Standing) {
    let pretty = |schema: &str| {
        let value: Result<serde_json::Value, _> = serde_json::from_str(schema);
        value.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| schema.to_owned())
    };
    say!("{} · {} in {} · {}", style(plain(&offer.name)).bold(), plain(&offer.own), source(spec), words(standing));
    say!("  its own words, which nobody checked:");
    for line in offer.description.lines() {
        say!("  | {}", plain_long(line));
    }
    for (what, schema) in [("input", Some(&offer.schema)), ("output", offer.output.as_ref())] {
        let Some(schema) = schema else { continue };
        say!("  {what}");
        pretty(schema).lines().for_each(|line| say!("  | {}", plain_long(line)));
    }
    let caps = &spec.caps;
    say!(
        "  a call may have: files {:?} · {} rules of http · wall {} · cpu {} · memory {} · output {}",
        spec.files,
        spec.http.len(),
        units::show_duration(caps.wall_ms),
        units::show_duration(caps.cpu_ms),
        units::show_size(caps.memory_bytes),
        units::show_size(caps.output_bytes)
    );
}

fn source(spec: &ToolSpec) -> String {
    use crate::rules::spec::ComponentSource;
    match &spec.source {
        ToolSource::Component(ComponentSource::Crate(path) | ComponentSource::File(path)) => plain(
            &path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned()),
        ),
        ToolSource::Server(name) => format!("server {}", plain(name)),
    }
}

fn words(standing: &Standing) -> String {
    match standing {
        Standing::New => "new: accepted at its first run".to_owned(),
        Standing::Accepted => "accepted".to_owned(),
        Standing::Pinned => "pinned by its digest".to_owned(),
        Standing::Changed { accepted } => format!("changed: accepted was {}", screen_digest(accepted)),
        Standing::Silent => "offers nothing".to_owned(),
    }
}

fn screen_digest(digest: &Digest) -> String {
    digest.to_string().chars().take(19).collect()
}

async fn accept(machine: &dyn Machine, arguments: AcceptArguments) -> Result<u8, LoadError> {
    let AcceptArguments { target, toolboxes, reason, overrides } = arguments;
    if reason.trim().is_empty() {
        return Ok(usage("--reason is empty; say why the tools may be used as they describe themselves now"));
    }
    let mut loaded = load::load(machine, &target, &overrides.overrides())?;
    loaded.spec = loaded.spec.without_worker();
    if let Some(unknown) = toolboxes.iter().find(|name| !loaded.spec.tools.contains_key(*name)) {
        return Ok(usage(&format!("the job grants no tool {unknown:?}")));
    }
    let wall = loaded.spec.wall;
    let job = load::open(machine, loaded, &|_| {})?;
    let runner = machine.runner(wall)?;
    let mut code = 0;
    for surveyed in tools::survey(&runner, &job).await.map_err(|why| anyhow!(why))? {
        if !toolboxes.is_empty() && !toolboxes.contains(&surveyed.toolbox) {
            continue;
        }
        let name = surveyed.toolbox.clone();
        match tools::accept(&runner, &job, surveyed, &reason).await {
            Ok(digest) => say!("accepted {name}: {digest}"),
            Err(why) => {
                terminal::error(&format!("{name}: {}", plain_long(&why)));
                code = 1;
            }
        }
    }
    Ok(code)
}
