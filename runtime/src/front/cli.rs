//! The command line: words in, words and an exit code out.
//!
//! Never: decides anything about a run. stdout is for data (with `--json`: one document and nothing else), stderr for
//! everything else.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use console::style;

use crate::rules::authored::Overrides;
use crate::rules::spec::Origin;
use crate::rules::units;
use crate::run::runner::Apply;
use crate::run::shape::MAX_COMPONENT_BYTES;

use super::andon::{self, AndonCommand};
use super::budget::{self, BudgetCommand};
use super::call::{self, CallArguments};
use super::doctor::{self, Mend};
use super::failure::{self, Kind};
use super::fixture::{self, FixtureArguments, TestArguments};
use super::help;
use super::inspect;
use super::items::{self, AnswerArguments, ItemsCommand};
use super::load::{self, LoadError, Loaded};
use super::machine::{Machine, Unfinished};
use super::overrides::OverrideArguments;
use super::runs::{self, ForkArguments, PruneArguments, ReplayArguments, ResumeArguments, RunsArguments};
use super::serve::{self, McpArguments, ServeArguments};
use super::show::{self, ShowArguments};
use super::sign::{self, SignArguments};
use super::template;
use super::terminal::{self, Purpose, Spinner, UNEXPECTED, USAGE, note, say};
use super::ticket;
use super::tools::{self, ToolsCommand};
use super::watch::{Interrupts, follow, unless_interrupted};
use super::why;
use super::wrap;

/// Runs AI-agent workers that nobody has to trust.
///
/// The host decides the verdict of a run; the exit code says whose move it is: 0 accepted or no change needed, 10-13 the
/// worker's answer, 20-24 the line or a limit, 25 something that passes by itself, 30 not admitted, 40 trapped, 50-51
/// diverged or unverifiable, 70 the host's own fault, 1 unexpected, 2 usage or a job that does not load, 74 output that could not be written, 128 and more a
/// signal before there was a verdict.
#[derive(Debug, Parser)]
#[command(name = "jidoka", version, max_term_width = 120)]
pub struct Arguments {
    /// The operator's file: models, prices, policy. Default: `$JIDOKA_HOST`, else `jidoka/jidoka-host.toml` in the
    /// configuration directory, if it is there.
    #[arg(long, global = true, value_name = "FILE", env = "JIDOKA_HOST", hide_env_values = true)]
    pub host: Option<PathBuf>,
    /// The host's own directory: runs, items, compiled code. Default: `$JIDOKA_STATE`, else `jidoka` in the state directory.
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

/// What to do. In which group of the help a command stands, `help.rs` says.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a job's worker to its verdict.
    Run(RunArguments),
    /// Show what a component could ever do, and what its job lets it.
    Inspect {
        /// A component, a job file, or a directory with one.
        path: PathBuf,
        /// One JSON document.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        overrides: OverrideArguments,
    },
    /// Call one tool once, of a component or of a job, in a sandbox of its own. stdout is what it gives.
    Call(CallArguments),
    /// List and inspect tools, and accept how they describe themselves.
    #[command(subcommand)]
    Tools(ToolsCommand),
    /// Serve a job's tools, and its worker, to one client of MCP over standard input and output.
    Mcp(McpArguments),
    /// Serve a job's tools, and its worker, to clients of MCP over HTTP.
    Serve(ServeArguments),
    /// Sign a component, for jobs and operators that ask for it: writes COMPONENT.sig.
    Sign(SignArguments),
    /// Show every setting of a job and where it comes from.
    Explain {
        /// A job file, or a directory with one.
        path: PathBuf,
        /// One JSON document.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        overrides: OverrideArguments,
    },
    /// List the runs that have a journal.
    Runs(RunsArguments),
    /// Show a run: its verdict, its files at any time that they were kept, what changed in them.
    Show(ShowArguments),
    /// Show what a run did, a line for each effect: what, tokens, money, time, how it ended.
    Trace {
        /// The run: its serial number, a part that only it has, or `@` for the latest.
        run: String,
        /// One JSON document a line, an entry each, with all that is in it.
        #[arg(long)]
        json: bool,
    },
    /// Show why a run ended as it did: from the verdict through the entries that led there to the setting that allowed it.
    Why {
        /// The run, as for `show`; or a line that was stopped, as TENANT/LINE or TENANT/LINE/LOCK.
        #[arg(value_name = "RUN|LINE")]
        run: String,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Write a run as a ticket for a tracker, in Markdown: what happened, evidence, cost, where to look.
    Ticket {
        /// The run: its serial number, a part that only it has, or `@` for the latest.
        run: String,
        /// One JSON document, with the Markdown as its `body`.
        #[arg(long)]
        json: bool,
    },
    /// Turn a run into a directory that stands alone: its worker, its files, what its models said, and the verdict to expect.
    Fixture(FixtureArguments),
    /// Run fixtures against what they expect, with no network and in books of its own: 0 if all come to it, 1 if not.
    Test(TestArguments),
    /// Check a run, or a file that it was exported to: 0 if it is what was written, 51 if not, with the first entry that is
    /// wrong.
    Verify {
        /// A run, as for `show`, or a file.
        what: String,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Write a run into one file that anybody can check and tell again.
    Export {
        /// The run: its serial number, a part that only it has, or `@` for the latest.
        run: String,
        /// A file that is not there yet.
        file: PathBuf,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Bring in a run from a file, to show it, tell it again, or fork it.
    Import {
        /// The file.
        file: PathBuf,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Tell a run again with every door shut, and compare: 0 if it is the same, 50 if not. Nothing is sent or spent.
    Replay(ReplayArguments),
    /// Let a run go on after a crash or a stop. What has an answer is not asked again.
    Resume(ResumeArguments),
    /// Start a run that shares its beginning with another, which costs nothing, and goes on by itself.
    Fork(ForkArguments),
    /// Erase the contents of old runs: what was said and written. Their chains stay, and still hold.
    Prune(PruneArguments),
    /// Show and operate the budget: what is spent, what a call would cost, top-ups and write-offs.
    #[command(subcommand)]
    Budget(BudgetCommand),
    /// Show items, let one be tried again, or give one up.
    #[command(subcommand)]
    Items(ItemsCommand),
    /// Stop a line and let it go on: what is stopped and why, pulling, clearing with a cause, the log.
    #[command(subcommand)]
    Andon(AndonCommand),
    /// Answer what a run asks; without an answer, list what is asked.
    Answer(AnswerArguments),
    /// Build a worker crate into a component and print its path.
    Build {
        /// The crate's directory.
        #[arg(default_value = ".")]
        path: PathBuf,
    },
    /// Make a new worker: a crate, a job and a transcript that run at once.
    New {
        /// The directory to make.
        path: PathBuf,
        /// The guest SDK to depend on.
        #[arg(long, value_name = "DIR")]
        sdk: Option<PathBuf>,
    },
    /// Check that this machine has what Jidoka needs, and what the operator's file names.
    Doctor {
        /// Install what is missing and can be installed: the Rust target that workers are built for.
        #[arg(long)]
        fix: bool,
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Print what a shell needs to complete these words, for example `jidoka completions bash`.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the page of the manual.
    Man {
        /// Write a page for each command into this directory instead.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

impl Command {
    fn purpose(&self) -> Purpose {
        match self {
            Command::Inspect { .. }
            | Command::Tools(ToolsCommand::List(_) | ToolsCommand::Inspect(_))
            | Command::Explain { .. }
            | Command::Runs(_)
            | Command::Show(_)
            | Command::Trace { .. }
            | Command::Why { .. }
            | Command::Ticket { .. }
            | Command::Verify { .. }
            | Command::Replay(_)
            | Command::Budget(BudgetCommand::Show { .. } | BudgetCommand::Quote(_) | BudgetCommand::Log { .. })
            | Command::Items(ItemsCommand::List { .. } | ItemsCommand::Show { .. })
            | Command::Andon(AndonCommand::List { .. } | AndonCommand::Log { .. })
            | Command::Build { .. }
            | Command::Doctor { .. }
            | Command::Completions { .. }
            | Command::Man { dir: None } => Purpose::Show,
            Command::Prune(arguments) if arguments.is_rehearsal() => Purpose::Show,
            Command::Answer(arguments) if arguments.only_lists() => Purpose::Show,
            Command::Run(_)
            | Command::Call(_)
            | Command::Tools(ToolsCommand::Accept(_))
            | Command::Mcp(_)
            | Command::Serve(_)
            | Command::Sign(_)
            | Command::Fixture(_)
            | Command::Test(_)
            | Command::Export { .. }
            | Command::Import { .. }
            | Command::Resume(_)
            | Command::Fork(_)
            | Command::Prune(_)
            | Command::Budget(_)
            | Command::Items(_)
            | Command::Andon(_)
            | Command::Answer(_)
            | Command::New { .. }
            | Command::Man { .. } => Purpose::Act,
        }
    }
}

/// Words of `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// A directory with a `jidoka.toml`, a job file, or a component beside one.
    path: PathBuf,
    /// Print the verdict as one JSON document on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Leave the real directory alone even if the run is accepted.
    #[arg(long)]
    no_apply: bool,
    #[command(flatten)]
    overrides: OverrideArguments,
}

/// Says what clap makes of the arguments when it is no command, and returns the exit code.
pub fn misparsed(error: &clap::Error) -> u8 {
    let text = error.render().ansi().to_string();
    match error.use_stderr() {
        true => note!("{}", text.trim_end()),
        false => say!("{}", text.trim_end()),
    }
    terminal::ended(u8::try_from(error.exit_code()).unwrap_or(USAGE), Purpose::Show)
}

/// Says what went wrong before there was a command to do, and returns the exit code.
pub fn failed(error: &anyhow::Error) -> u8 {
    terminal::error(&format!("{error:#}"));
    terminal::ended(UNEXPECTED, Purpose::Act)
}

/// Does what the arguments say and returns the exit code.
pub async fn run(machine: &dyn Machine, command: Command) -> u8 {
    let purpose = command.purpose();
    let code = perform(machine, command).await;
    terminal::ended(code, purpose)
}

async fn perform(machine: &dyn Machine, command: Command) -> u8 {
    // A file that is named has to be there, also where it is not read; but nothing keeps a person from stopping a line.
    let named = machine.operator_file().ok().flatten().filter(|file| !file.exists());
    let needs_none = matches!(
        command,
        Command::Doctor { .. }
            | Command::Completions { .. }
            | Command::Man { .. }
            | Command::Andon(AndonCommand::Pull { .. })
    );
    if let (Some(file), false) = (named, needs_none) {
        return terminal::usage(&format!("the operator's file {} does not exist", file.display()));
    }
    let done = match command {
        Command::Run(arguments) => start(machine, arguments).await,
        Command::Inspect { path, json, overrides } => inspect::inspect(machine, &path, json, &overrides.overrides()),
        Command::Call(arguments) => call::call(machine, arguments).await,
        Command::Tools(command) => tools::run(machine, command).await,
        Command::Mcp(arguments) => serve::mcp(machine, arguments).await,
        Command::Serve(arguments) => serve::serve(machine, arguments).await,
        Command::Sign(arguments) => sign::sign(machine, &arguments),
        Command::Explain { path, json, overrides } => explain(machine, &path, json, &overrides.overrides()),
        Command::Runs(arguments) => runs::runs(machine, arguments).await,
        Command::Show(arguments) if arguments.makes_files() => {
            unless_interrupted(machine, show::show(machine, arguments)).await
        }
        Command::Show(arguments) => show::show(machine, arguments).await,
        Command::Trace { run, json } => runs::trace(machine, &run, json).await,
        Command::Fixture(arguments) => unless_interrupted(machine, fixture::fixture(machine, arguments)).await,
        Command::Test(arguments) => unless_interrupted(machine, fixture::test(machine, arguments)).await,
        Command::Why { run, json } => why::why(machine, &run, json).await,
        Command::Ticket { run, json } => ticket::ticket(machine, &run, json).await,
        Command::Replay(arguments) => unless_interrupted(machine, runs::replay(machine, arguments)).await,
        Command::Resume(arguments) => runs::resume(machine, arguments).await,
        Command::Verify { what, json } => runs::verify(machine, &what, json).await,
        Command::Export { run, file, json } => {
            unless_interrupted(machine, runs::export(machine, &run, &file, json)).await
        }
        Command::Import { file, json } => runs::import(machine, &file, json).await,
        Command::Prune(arguments) => runs::prune(machine, arguments).await,
        Command::Fork(arguments) => runs::fork(machine, arguments).await,
        Command::Budget(command) => budget::run(machine, command).await,
        Command::Items(command) => items::run(machine, command).await,
        Command::Andon(command) => andon::run(machine, command).await,
        Command::Answer(arguments) => items::answer(machine, arguments).await,
        Command::Build { path } => build(machine, &path),
        Command::New { path, sdk } => create(machine, &path, sdk),
        Command::Doctor { fix, json } => doctor::doctor(machine, if fix { Mend::Yes } else { Mend::No }, json).await,
        Command::Completions { shell } => help::completions(shell),
        Command::Man { dir } => help::man(machine, dir.as_deref()),
    };
    match done {
        Ok(code) => code,
        Err(LoadError::Mistakes(reports)) => {
            let count = reports.len();
            let words = format!("{count} {}, nothing ran", if count == 1 { "mistake" } else { "mistakes" });
            failure::document(Kind::Mistakes, &words, &reports);
            for report in reports {
                note!("{report:?}");
            }
            note!("{words}");
            USAGE
        }
        Err(LoadError::Other(error)) => {
            failure::document(Kind::Failed, &format!("{error:#}"), &[]);
            terminal::error(&format!("{error:#}"));
            UNEXPECTED
        }
    }
}

async fn start(machine: &dyn Machine, arguments: RunArguments) -> Result<u8, LoadError> {
    let loaded = load::load(machine, &arguments.path, &arguments.overrides.overrides())?;
    load::may_run(&loaded, &arguments.path)?;
    load::unnamed(&loaded.spec).iter().for_each(|what| note!("{what}"));
    let (limits, wall) = (loaded.spec.budget.attempt.clone(), loaded.spec.wall);
    let spinner = Spinner::new(arguments.json);
    let job = load::open(machine, loaded, &|what| spinner.say(what));
    let job = job.inspect_err(|_| spinner.end())?;
    spinner.say("starting");
    let runner = machine.runner(wall)?;
    let apply = if arguments.no_apply { Apply::Never } else { Apply::Accepted };
    let (serial, interrupts) = (machine.serial()?, Interrupts::listen(machine));
    let handle = runner.start(job, serial, apply);
    spinner.end();
    follow(machine, handle, interrupts, limits, arguments.json).await
}

fn explain(machine: &dyn Machine, path: &std::path::Path, json: bool, overrides: &Overrides) -> Result<u8, LoadError> {
    let Loaded { spec, .. } = load::load(machine, path, overrides)?;
    load::unnamed(&spec).iter().for_each(|what| note!("{what}"));
    if json {
        say!("{}", serde_json::to_string_pretty(&spec.settings).context("write the settings")?);
        return Ok(0);
    }
    let width = |of: fn(&crate::rules::spec::Setting) -> usize| spec.settings.iter().map(of).max().unwrap_or(0);
    let keys = width(|setting| setting.key.chars().count());
    let values = width(|setting| setting.value.chars().count()).min(60);
    for setting in &spec.settings {
        let origin = match setting.origin {
            Origin::Job => style("jidoka.toml").green(),
            Origin::Operator => style("operator").cyan(),
            Origin::Flag => style("command line").yellow(),
            Origin::Default => style("default").dim(),
        };
        let line = format!("{:keys$}  {:values$}  {origin}", setting.key, setting.value.replace('\n', " "));
        say!("{}", wrap::out(&line, keys + 2));
    }
    Ok(0)
}

fn build(machine: &dyn Machine, path: &std::path::Path) -> Result<u8, LoadError> {
    if !path.exists() {
        return Err(anyhow!("{} does not exist", path.display()).into());
    }
    if !path.join("Cargo.toml").is_file() {
        return Err(anyhow!("{} is not a worker crate: it has no Cargo.toml", path.display()).into());
    }
    let component = machine.build(path)?;
    let bytes = machine
        .read_at_most(&component, MAX_COMPONENT_BYTES as u64)
        .with_context(|| format!("read {}", component.display()))?;
    let (digest, surface) = machine.inspect(&bytes)?;
    note!("{digest} · {} · fits {}", units::show_about(bytes.len() as u64), surface.fits.join(", "));
    say!("{}", component.display());
    Ok(0)
}

fn create(machine: &dyn Machine, path: &std::path::Path, sdk: Option<PathBuf>) -> Result<u8, LoadError> {
    let sdk = sdk.or_else(|| machine.sdk_dir()).context("find the guest SDK: name its directory with --sdk DIR")?;
    let sdk = std::path::absolute(&sdk).with_context(|| format!("find {}", sdk.display()))?;
    if !sdk.join("Cargo.toml").is_file() {
        return Err(anyhow!("{} is not the guest SDK: it has no Cargo.toml", sdk.display()).into());
    }
    // `.` is a directory with a name.
    let whole = path.canonicalize().or_else(|_| std::path::absolute(path));
    let whole = whole.with_context(|| format!("find {}", path.display()))?;
    let files = template::worker(&whole, &sdk).map_err(anyhow::Error::msg)?;
    if let Some(there) = files.iter().map(|file| path.join(file.name)).find(|file| file.exists()) {
        let (what, there) = (path.display(), there.display());
        return Err(anyhow!("{what} is there already, with {there}: nothing is written over it").into());
    }
    let mut written = Vec::new();
    for file in files {
        let path = path.join(file.name);
        // In front, so that what fails is taken away in the order in which directories empty.
        written.insert(0, machine.write_new(&path, &file.text).with_context(|| format!("write {}", path.display()))?);
    }
    written.into_iter().for_each(Unfinished::keep);
    let (name, path) = (whole.file_name().unwrap_or_default().display(), path.display());
    say!("{name} is ready: jidoka run {path}; its own test: cargo test in {path}");
    Ok(0)
}
