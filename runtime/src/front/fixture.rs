//! `jidoka fixture` and `jidoka test`: a past run as a directory, and the run of such directories against what they expect.
//!
//! Never: asks a model, applies anything. A fixture may come from anybody: it runs on a host of its own that is gone
//! afterwards, and its commands only if the operator's file allows them today.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use console::style;
use serde::Serialize;

use crate::rules::authored::again;
use crate::rules::expectation::{self, Expectation};
use crate::run::fixture::{self, Draft, Opened};

use super::load::{self, LoadError, Signatures};
use super::machine::Machine;
use super::runs::another;
use super::screen::{plain, plain_long};
use super::serial;
use super::table::{Side, Table};
use super::terminal::{note, say};

/// Exit code of a test that did not come to what was expected.
const FAILED: u8 = 1;

/// Words of `fixture`.
#[derive(Debug, Args)]
pub struct FixtureArguments {
    /// The run: its serial number, a part that only it has, or `@` for the latest.
    run: String,
    /// A directory that is not there yet.
    dir: PathBuf,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

/// Words of `test`.
#[derive(Debug, Args)]
pub struct TestArguments {
    /// A fixture, or a directory with fixtures in it.
    dir: PathBuf,
    /// Another component in the place of each fixture's own: a file, a crate, or a job's directory.
    #[arg(long, value_name = "PATH")]
    with: Option<PathBuf>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

/// `jidoka fixture`.
pub(super) async fn fixture(machine: &dyn Machine, arguments: FixtureArguments) -> Result<u8, LoadError> {
    let FixtureArguments { run, dir, json } = arguments;
    let desk = machine.desk()?;
    let run = serial::of(machine, &desk, &run).await?;
    let past = desk.past(&run).await.context("read the journal")?;
    let draft = Draft::of(&past, desk.state()).with_context(|| format!("make a fixture of run {run}"))?;
    let (target, unfinished) = machine.make_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
    draft.write(desk.state(), &target).with_context(|| format!("write {}", dir.display()))?;
    unfinished.keep();
    if json {
        say!("{}", serde_json::to_string_pretty(&draft.fixture).context("write the fixture")?);
    } else {
        say!("{} expects {}", dir.display(), plain_long(&draft.fixture.expect.to_string()));
    }
    let verdict = past.record().map(|record| record.verdict());
    if let Some(why) = verdict.as_ref().and_then(expectation::unrepeatable) {
        note!("note: no test comes to that ({why}): write what you expect into `expect` of its fixture.json");
    }
    Ok(0)
}

/// A fixture that was run, or could not be.
#[derive(Debug, Serialize)]
struct Tested {
    fixture: String,
    passed: bool,
    expected: Option<Expectation>,
    got: Option<Expectation>,
    /// Why the run ended as it did, or why there was none.
    why: String,
    /// Where the worker first asked something else than then.
    departures: Vec<String>,
}

/// `jidoka test`.
pub(super) async fn test(machine: &dyn Machine, arguments: TestArguments) -> Result<u8, LoadError> {
    let TestArguments { dir, with, json } = arguments;
    let component = with.as_deref().map(|path| another(machine, path)).transpose()?;
    let top = machine.open(&dir).with_context(|| format!("open {}", dir.display()))?;
    let top_has_crate = top.exists("Cargo.toml");
    let fixtures = match fixture::is_fixture(&top) {
        true => vec![(name_of(&dir), top)],
        false => fixture::below(&top).with_context(|| format!("read {}", dir.display()))?,
    };
    if fixtures.is_empty() {
        let (what, dir) = (fixture::FIXTURE_FILE, dir.display());
        // A crate has tests of its own, which are cargo's.
        let own = if top_has_crate { format!("; its own tests: `cargo test` in {dir}") } else { String::new() };
        return Err(anyhow!("{dir} is no fixture, and none is right below it: no {what}{own}").into());
    }
    let operator = load::operator(machine)?;
    let mut tested = Vec::new();
    for (name, dir) in fixtures {
        let mut one =
            Tested { fixture: name, passed: false, expected: None, got: None, why: String::new(), departures: vec![] };
        if let Err(error) = run(machine, &dir, &operator, component.clone(), &mut one).await {
            one.why = format!("{error:#}");
        }
        tested.push(one);
    }
    let passed = tested.iter().all(|one| one.passed);
    match (json, tested.as_slice()) {
        (true, _) => say!("{}", serde_json::to_string_pretty(&tested).context("write the results")?),
        (false, [one]) => say!("{}", sentence(one)),
        (false, _) => table(&tested),
    }
    for one in tested.iter().filter(|_| !json) {
        for departure in &one.departures {
            note!("note: {}: {}", plain(&one.fixture), plain_long(departure));
        }
    }
    Ok(if passed { 0 } else { FAILED })
}

fn name_of(dir: &Path) -> String {
    dir.file_name().map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned())
}

async fn run(
    machine: &dyn Machine,
    dir: &cap_std::fs::Dir,
    operator: &crate::rules::authored::OperatorFile,
    component: Option<Vec<u8>>,
    tested: &mut Tested,
) -> anyhow::Result<()> {
    let mut opened = Opened::read(dir)?;
    tested.expected = Some(opened.fixture.expect.clone());
    again::rehearsed(&opened.fixture.job, operator).map_err(|why| anyhow!("not run: {}", why.join("; ")))?;
    again::demand_signatures(&mut opened.fixture.job, operator);
    load::read_pins(machine, &mut opened.fixture.job, std::path::Path::new(""), Signatures::AsKept);
    let expected = opened.fixture.expect.clone();
    let scratch = machine.scratch(opened.fixture.start_ms, operator.policy.wall)?;
    let rehearsed = opened.rehearse(&scratch.runner, component, machine.serial()?).await?;
    let verdict = rehearsed.record.verdict();
    tested.passed = expected.is_met_by(&verdict);
    tested.got = Some(Expectation::of(&verdict));
    tested.why = rehearsed.record.why;
    for (who, departure) in rehearsed.departures {
        let last = |asked: &fixture::Asked| format!("{} messages, the last begins {:?}", asked.messages, asked.last);
        let then = departure.expected.as_ref().map_or_else(|| "nothing more".to_owned(), last);
        tested.departures.push(format!(
            "from answer {} of {who} on the worker asks something else; then: {then}; now: {}",
            departure.answer,
            last(&departure.got)
        ));
    }
    Ok(())
}

fn sentence(tested: &Tested) -> String {
    let Tested { passed, expected, got, why, .. } = tested;
    let show = |what: &Option<Expectation>| what.as_ref().map(|what| plain_long(&what.to_string()));
    match (passed, show(expected), show(got)) {
        (true, Some(expected), _) => format!("{}: {expected}", style("passed").green().bold()),
        (_, Some(expected), Some(got)) => {
            format!("{}: expected {expected}, got {got}: {}", style("failed").red().bold(), plain_long(why))
        }
        _ => format!("{}: {}", style("failed").red().bold(), plain_long(why)),
    }
}

fn table(tested: &[Tested]) {
    let mut table = Table::new([
        ("fixture", Side::Left),
        ("", Side::Left),
        ("expected", Side::Left),
        ("got", Side::Left),
        ("why", Side::Left),
    ])
    .missing(&["expected"]);
    for one in tested {
        let show =
            |what: &Option<Expectation>| what.as_ref().map_or_else(|| "-".to_owned(), |it| plain(&it.to_string()));
        let passed = if one.passed { style("passed").green() } else { style("failed").red() };
        let why = if one.passed { String::new() } else { plain(&one.why) };
        table.row([plain(&one.fixture), passed.to_string(), show(&one.expected), show(&one.got), why]);
    }
    table.lines().iter().for_each(|line| say!("{line}"));
    let passed = tested.iter().filter(|one| one.passed).count();
    say!("{passed} of {} passed", tested.len());
}
