//! Five hundred runs of the examples on the worst day of a year: none succeeds in silence, none hangs, each has one verdict.
//!
//! `JIDOKA_CHAOS_SEED=N` runs one seed and prints what happened; `JIDOKA_CHAOS_RUNS=N` runs so many.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jidoka::doors::model::Model;
use jidoka::doors::recorded::RecordedWeb;
use jidoka::doors::script::ScriptedModel;
use jidoka::doors::store::Store;
use jidoka::rules::authored::{self, OperatorFile, Overrides};
use jidoka::rules::facts::Facts;
use jidoka::rules::record::Record;
use jidoka::rules::spec::Reach;
use jidoka::run::hooks::{HookEnvironment, Hooks};
use jidoka::run::runner::{Account, Apply, CheckJob, Job, Reached};
use jidoka_tests::bench::{self, Home};
use jidoka_tests::chaos::{ChaosModel, ChaosStore, Dice, sabotage};
use jidoka_tests::examples;

const RUNS: u64 = 500;

/// Runs at once.
const AT_ONCE: usize = 8;

/// No run of these has more than a few seconds of time of its own.
const PATIENCE: Duration = Duration::from_secs(60);

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-examples").join(name)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// An example as a job in a home of its own, its models on a bad day.
fn job(name: &str, home: &Home, dice: &Arc<Dice>) -> Job {
    let dir = source(name);
    let text = std::fs::read_to_string(dir.join("jidoka.toml")).unwrap();
    let mut spec = authored::job(&text, &OperatorFile::default(), &Overrides::default()).unwrap();
    // A runaway spins until its time is over; here that is soon.
    let wall = spec.budget.attempt.get_mut(&jidoka::rules::ledger::Line::WallMs).unwrap();
    *wall = if name == "runaway" { 200 } else { (*wall).min(20_000) };
    let component = |path: &str| std::fs::read(path).unwrap();
    let worker = match name {
        "ask" => examples::ASK,
        "chorus" => examples::CHORUS,
        "cord" => examples::CORD,
        "fixer" => examples::FIXER,
        "hello" => examples::HELLO,
        "liar" => examples::LIAR,
        "runaway" => examples::RUNAWAY,
        "spender" => examples::SPENDER,
        other => panic!("{other} is no example"),
    };
    let models = spec.models.iter().map(|(name, model)| {
        let Reach::Script { transcript } = &model.reach else { panic!("an example has scripts only") };
        let script = ScriptedModel::parse(&std::fs::read_to_string(dir.join(transcript)).unwrap()).unwrap();
        let model: Arc<dyn Model> = Arc::new(ChaosModel { model: Arc::new(script), dice: Arc::clone(dice), rate: 3 });
        (name.clone(), Reached { model, pace: None, max_response_bytes: 1 << 20 })
    });
    let models: BTreeMap<String, Reached> = models.collect();
    let workspace = spec.workspace.as_ref().map(|files| {
        copy(&dir.join(&files.dir), &home.workspace());
        bench::open(&home.workspace())
    });
    let context = spec.workspace.as_ref().and_then(|files| files.context.as_ref()).map(|context| {
        copy(&dir.join(context), &home.context());
        bench::open(&home.context())
    });
    let checks = spec.checks.iter().cloned();
    let checks = checks.map(|check| CheckJob { check, component: Some(component(examples::FIXER_CHECK)) }).collect();
    Job {
        component: component(worker),
        checks,
        tools: Default::default(),
        servers: Default::default(),
        children: Default::default(),
        workspace,
        find: None,
        context,
        left_out: Default::default(),
        models,
        web: Arc::new(RecordedWeb::default()),
        account: Account::default(),
        hooks: hooks(dice),
        dir: home.dir().display().to_string(),
        spec,
    }
}

/// Hooks of an operator on a bad day: one in two runs has some.
fn hooks(dice: &Dice) -> Hooks {
    const SCRIPTS: [&str; 6] =
        ["exit 0", "exit 3", "sleep 600", "kill -9 $$", "sleep 600 & exit 0", "yes | head -c 500000"];
    if dice.once_in(2) {
        return Hooks::default();
    }
    let hook = |on: &str| {
        let script = SCRIPTS[usize::try_from(dice.roll(SCRIPTS.len() as u64)).unwrap()];
        format!(
            "[[hook]]\non = {on:?}\ncommand = [\"/bin/sh\", \"-c\", {script:?}]\nwall = \"150ms\"\nenv = [\"PATH\"]\n"
        )
    };
    let text = ["before-run", "after-run", "on-pull"].map(hook).concat();
    let hooks = authored::operator(&text).unwrap().hooks;
    let environment = HookEnvironment::from_variables(&hooks, std::env::vars());
    Hooks::new(hooks, environment)
}

/// What a run must be, whatever happened to it.
fn is_honest(name: &str, home: &Home, record: &Record, store: &Arc<dyn Store>, seed: u64) {
    let why = format!("seed {seed}, {name}: {} ({})", record.verdict, record.why);
    let good = record.exit_code == 0;
    if good {
        // What the host saw, not what anybody said.
        let checks = usize::from(name == "fixer");
        assert_eq!(record.gates.iter().filter(|gate| gate.passed()).count(), checks, "{why}");
        assert!(record.verdict == "no-change-needed" || !record.marks.is_empty(), "{why}");
        assert!(!["liar", "cord", "runaway"].contains(&name), "{why}");
    }
    let real = |path: &str| std::fs::read_to_string(home.workspace().join(path)).ok();
    if name == "fixer" {
        let broken = std::fs::read_to_string(source(name).join("project/src/basket.rhai")).unwrap();
        let is_changed = real("src/basket.rhai").as_deref() != Some(broken.as_str());
        assert_eq!(is_changed, record.applied && !record.changes.is_empty(), "{why}");
        assert!(!record.applied || good, "{why}");
    }
    // At most one verdict in the journal, and if there is one it is this one or the host's own trouble.
    let Some(kept) = store.journal(&record.serial).unwrap() else {
        assert!(["not-admitted", "fault", "attempts-exhausted"].contains(&record.verdict.as_str()), "{why}");
        return;
    };
    let entries = kept.open().unwrap_or_else(|flaw| panic!("{why}: {flaw}"));
    let closed: Vec<&String> = entries
        .iter()
        .filter_map(|entry| match &entry.facts {
            Facts::Closed { verdict, .. } => Some(verdict),
            _ => None,
        })
        .collect();
    assert!(closed.len() <= 1, "{why}");
    if let Some(&closed) = closed.first() {
        assert!(*closed == record.verdict || record.verdict == "fault", "{why}: the journal says {closed}");
    }
}

async fn run(seed: u64) -> (&'static str, String) {
    const NAMES: [&str; 8] = ["ask", "chorus", "cord", "fixer", "hello", "liar", "runaway", "spender"];
    let dice = Arc::new(Dice::new(seed));
    let name = NAMES[usize::try_from(dice.roll(NAMES.len() as u64)).unwrap()];
    let home = Home::new();
    let store = bench::store(&home.state());
    // A third of the runs have a bad store, a third lose files, and all have bad models.
    let (bad_store, loses_files) = (dice.once_in(3), dice.once_in(3));
    let books: Arc<dyn Store> = match bad_store {
        true => Arc::new(ChaosStore::new(Arc::clone(&store), Arc::clone(&dice), 8)),
        false => Arc::clone(&store),
    };
    let (runner, serial) = (bench::runner_with(&home.state(), books), bench::serial_of(u32::try_from(seed).unwrap()));
    let mut handle = runner.start(job(name, &home, &dice), serial.clone(), Apply::Accepted);
    let (mut seen, at) = (0, dice.roll(12));
    let ended = async {
        while let Some(entry) = handle.next_entry().await {
            if loses_files && seen == at {
                sabotage(&home.state(), &serial, &dice);
            }
            seen += 1;
            drop(entry);
        }
        handle.verdict().await
    };
    let record = tokio::time::timeout(PATIENCE, ended).await;
    let record = record.unwrap_or_else(|_| panic!("seed {seed}, {name}: it hangs")).unwrap();
    is_honest(name, &home, &record, &store, seed);
    (name, record.verdict)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_run_succeeds_in_silence_or_hangs_on_the_worst_day() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("JIDOKA_CHAOS_SEED") {
        println!("{:?}", run(seed).await);
        return;
    }
    let seeds: Arc<std::sync::Mutex<std::ops::Range<u64>>> =
        Arc::new(std::sync::Mutex::new(0..number("JIDOKA_CHAOS_RUNS").unwrap_or(RUNS)));
    let workers = (0..AT_ONCE).map(|_| {
        let seeds = Arc::clone(&seeds);
        tokio::spawn(async move {
            let mut ends = Vec::new();
            loop {
                let Some(seed) = seeds.lock().unwrap().next() else { return ends };
                ends.push(run(seed).await);
            }
        })
    });
    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    for worker in workers.collect::<Vec<_>>() {
        for (_, verdict) in worker.await.unwrap() {
            *verdicts.entry(verdict).or_default() += 1;
        }
    }
    println!("{verdicts:?}");
    // The worst day is one on which most things go wrong, and not all.
    assert!(verdicts.contains_key("accepted") && verdicts.len() > 4, "{verdicts:?}");
}
