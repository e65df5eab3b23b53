//! `jidoka call`: one call of one tool, of a component or of a job, as a run of its own.
//!
//! Never: decides what a tool may do: a component alone gets what the command line says, through a job like any other, and under
//! the operator's file. stdout is the tool's output and nothing else.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use toml::{Table, Value};

use crate::rules::authored::Overrides;
use crate::rules::digest::Digest;
use crate::rules::effect::{Answer, Body, Entry, Kind};
use crate::rules::tool::ToolCall;
use crate::run::runner::Apply;
use crate::run::shape::MAX_COMPONENT_BYTES;

use super::load::{self, LoadError, Loaded};
use super::machine::Machine;
use super::overrides::OverrideArguments;
use super::screen::{self, Screen};
use super::terminal::{Spinner, note, say, usage};
use super::watch::{Interrupts, until_verdict};

/// The toolbox of a component that was named alone and has no name that a toolbox can have.
const TOOLBOX: &str = "tool";

/// Characters of a toolbox's name.
const MAX_NAME_CHARS: usize = 32;

/// Words of `call`.
#[derive(Debug, Args)]
pub struct CallArguments {
    /// A component (or a module of WASI preview 1), a job file, or a directory with one.
    target: PathBuf,
    /// The tool: `jidoka tools list` names them. A program's is `run`.
    tool: String,
    /// What the tool is told, as JSON; `-` reads it from standard input.
    #[arg(default_value = "{}")]
    arguments: String,
    #[command(flatten)]
    lets: LetArguments,
    /// Leave the real directory alone.
    #[arg(long)]
    no_apply: bool,
    /// Print the run's verdict as one JSON document on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    overrides: OverrideArguments,
}

/// What a component that was named alone may have. A job says it itself.
#[derive(Debug, Args)]
pub(super) struct LetArguments {
    /// A directory that the tool sees as `/work`, as a copy; read-only unless `--write`.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Let the tool write in `/work`. What it changed is applied to the directory.
    #[arg(long, requires = "dir")]
    write: bool,
    /// To whom it may send GET requests; within the operator's `[[policy.http]]`.
    #[arg(long, value_name = "URL")]
    http: Vec<String>,
    /// A variable of its environment.
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Memory of a call, for example `64MiB`.
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    memory: String,
    /// Processor time of a call, for example `10s`.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    cpu: String,
}

/// Does it.
pub(super) async fn call(machine: &dyn Machine, arguments: CallArguments) -> Result<u8, LoadError> {
    let input = match arguments.arguments.as_str() {
        "-" => std::io::read_to_string(std::io::stdin()).context("read the arguments from standard input")?,
        text => text.to_owned(),
    };
    if let Err(error) = serde_json::from_str::<serde_json::Value>(&input) {
        return Ok(usage(&format!("the arguments are not JSON: {error}; an example: '{{\"pattern\": \"fn main\"}}'")));
    }
    let mut loaded = loaded(machine, &arguments.target, &arguments.lets, &arguments.overrides.overrides())?;
    loaded.spec = loaded.spec.as_call(ToolCall { name: arguments.tool, input });
    let (limits, wall) = (loaded.spec.budget.attempt.clone(), loaded.spec.wall);
    let spinner = Spinner::new(arguments.json);
    let job = load::open(machine, loaded, &|what| spinner.say(what));
    let job = job.inspect_err(|_| spinner.end())?;
    let runner = machine.runner(wall)?;
    let apply = if arguments.no_apply { Apply::Never } else { Apply::Accepted };
    let (serial, interrupts) = (machine.serial()?, Interrupts::listen(machine));
    let handle = runner.start(job, serial, apply);
    spinner.end();
    let (mut screen, mut output) = (Screen::new(limits), None);
    let show = |entry: &Entry| {
        if !arguments.json {
            screen.entry(entry).iter().for_each(|line| note!("{line}"));
        }
        if let Body::Answered { kind: Kind::Tool | Kind::Compute, heard: Ok(Answer::Tool { output: given }), .. } =
            &entry.body
        {
            output = Some(given.clone());
        }
    };
    let record = until_verdict(machine, handle, interrupts, show).await?;
    if arguments.json {
        say!("{}", serde_json::to_string_pretty(&record).context("write the verdict")?);
        return Ok(record.exit_code);
    }
    match output.filter(|_| record.exit_code == 0) {
        Some(output) => say!("{output}"),
        None => note!("{}", screen::verdict(&record, &machine.state_dir().display().to_string())),
    }
    Ok(record.exit_code)
}

/// The job at a path; for a component alone, one that lets it have what was said and nothing else.
pub(super) fn loaded(
    machine: &dyn Machine,
    target: &Path,
    lets: &LetArguments,
    overrides: &Overrides,
) -> Result<Loaded, LoadError> {
    match target.extension().and_then(|extension| extension.to_str()) {
        Some("wasm") => {
            let component = std::path::absolute(target).with_context(|| format!("find {}", target.display()))?;
            let bytes = machine.read_at_most(&component, MAX_COMPONENT_BYTES as u64);
            let bytes = bytes.with_context(|| format!("read the component {}", target.display()))?;
            let text = alone(&component, &Digest::from_bytes(*blake3::hash(&bytes).as_bytes()), lets)?;
            load::load_text(machine, &component.with_file_name("the command line"), &text, overrides)
        }
        _ => load::load(machine, target, overrides),
    }
}

/// A component's file as the name of its toolbox: `json_query.wasm` is `json-query`.
fn toolbox(component: &Path) -> String {
    let stem = component.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    let fits = |char: char| if char.is_ascii_lowercase() || char.is_ascii_digit() { char } else { '-' };
    let name: String = stem.chars().map(fits).take(MAX_NAME_CHARS).collect();
    if name.trim_matches('-').is_empty() { TOOLBOX.to_owned() } else { name }
}

/// A job around one component.
fn alone(component: &Path, digest: &Digest, lets: &LetArguments) -> anyhow::Result<String> {
    let text = |text: &str| Value::String(text.to_owned());
    let path = |path: &Path| -> anyhow::Result<Value> {
        let path = std::path::absolute(path).with_context(|| format!("find {}", path.display()))?;
        Ok(text(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?))
    };
    let table = |entries: Vec<(&str, Value)>| -> Value {
        Value::Table(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    };
    let toolbox = toolbox(component);
    let component = path(component)?;
    let files = if lets.write { "read-write" } else { "read-only" };
    let mut tool = vec![
        ("component", component.clone()),
        // Whoever names a file means what is in it.
        ("digest", text(&digest.to_string())),
        ("memory", text(&lets.memory)),
        ("cpu", text(&lets.cpu)),
        ("wall", text("10m")),
        ("output", text("8MiB")),
    ];
    let mut grants = vec![("tools", Value::Array(vec![text(&toolbox)]))];
    let mut budget = vec![("wall", text("11m")), ("tool-calls", Value::Integer(1)), ("disk", text("64MiB"))];
    let mut done = vec![("marks", Value::Array(vec![text("artifact")]))];
    let mut job = Table::new();
    if let Some(dir) = &lets.dir {
        job.insert("workspace".into(), table(vec![("dir", path(dir)?)]));
        grants.push(("files", text(files)));
        tool.push(("files", text(files)));
        if lets.write {
            done = vec![("marks", Value::Array(vec![text("tree")])), ("tree", Value::Array(vec![text(".")]))];
        }
    }
    if !lets.http.is_empty() {
        let rule = |url: &String| {
            table(vec![
                ("url", text(url)),
                ("methods", Value::Array(vec![text("GET")])),
                ("redirects", Value::Integer(3)),
            ])
        };
        grants.push(("http", Value::Array(lets.http.iter().map(rule).collect())));
        tool.push(("http", Value::Array(lets.http.iter().map(|url| text(url)).collect())));
        tool.push(("net", text("8MiB")));
        budget.push(("net", text("8MiB")));
    }
    let mut env = Table::new();
    for pair in &lets.env {
        let (name, value) = pair.split_once('=').with_context(|| format!("--env {pair}: expected NAME=VALUE"))?;
        env.insert(name.to_owned(), text(value));
    }
    tool.push(("env", Value::Table(env)));
    done.push(("no-change", text("allowed")));
    job.insert("line".into(), text("call"));
    job.insert("worker".into(), table(vec![("component", component)]));
    job.insert("task".into(), table(vec![("text", text("one call of a tool"))]));
    job.insert("grants".into(), table(grants));
    job.insert("tools".into(), table(vec![(toolbox.as_str(), table(tool))]));
    job.insert("budget".into(), table(budget));
    job.insert("attempts".into(), table(vec![("max", Value::Integer(1)), ("backoff", text("0s"))]));
    job.insert("done".into(), table(done));
    toml::to_string(&job).context("write the call as a job")
}
