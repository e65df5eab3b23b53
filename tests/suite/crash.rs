//! Killed at every gate of a run: what was sent is paid for, what was not is free, and the run goes on to the same end.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use jidoka::doors::clock::Clock;
use jidoka::rules::effect::{Body, Entry};
use jidoka::rules::facts::Facts;
use jidoka::rules::item::State;
use jidoka::rules::ledger::{Amounts, Ledger, Level, Line, ScopeId};
use jidoka::rules::record::Record;
use jidoka::run::desk::Desk;
use jidoka_tests::bench::{self, Home};
use jidoka_tests::crash;
use jidoka_tests::provider::{Behaviour, Counters, FakeProvider};

/// One run in a process of its own: the record that it printed, if it came to that, and the gates that it passed.
struct Ended {
    record: Option<Record>,
    gates: BTreeMap<String, u64>,
    said: String,
}

fn one_run(home: &Home, provider: &FakeProvider, gate: &str, serial: &str, way: &str) -> Ended {
    let arguments = [home.dir().to_str().unwrap(), &provider.url(), gate, serial, way];
    let output = Command::new(env!("CARGO_BIN_EXE_one_run")).args(arguments).output().unwrap();
    as_told(&output)
}

fn as_told(output: &Output) -> Ended {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let gates = said.lines().find_map(|line| line.strip_prefix("gates ")).unwrap_or_default();
    let gates = gates.split_whitespace().map(|gate| {
        let (name, times) = gate.split_once(':').unwrap();
        (name.to_owned(), times.parse().unwrap())
    });
    Ended { record: serde_json::from_slice(&output.stdout).ok(), gates: gates.collect(), said }
}

impl Ended {
    fn verdict(&self) -> &str {
        self.record.as_ref().map_or("", |record| record.verdict.as_str())
    }
}

/// The books after whoever opens them next has closed what a dead run left.
async fn survey(state: &Path) -> (Ledger, ScopeId) {
    let store = bench::store(state);
    let desk = Desk::new(store.clone(), bench::state(state), Clock::starting_at(bench::START_MS));
    let ledger = desk.survey().await.unwrap();
    assert_eq!(store.open_attempts().unwrap(), [], "no scope of a dead run stays open");
    drop((desk, store));
    bench::sqlite(state).audit().unwrap();
    (ledger, ScopeId::host().child("default").child("tests").child(crash::ITEM))
}

/// L4, and nothing held or reserved that was never sent.
fn accounts_for(ledger: &Ledger, item: &ScopeId, counted: Counters, what: &str) {
    let Some(scope) = ledger.scope(item) else {
        assert_eq!(counted.calls, 0, "{what}: a call left before anything was kept");
        return;
    };
    let gone = scope.spent.plus(&scope.held);
    assert!(gone.get(Line::Tokens) >= counted.tokens_in + counted.tokens_out, "{what}: {gone:?} {counted:?}");
    assert!(gone.get(Line::ModelCalls) >= counted.calls, "{what}: {gone:?} {counted:?}");
    assert_eq!(scope.reserved, Amounts::default(), "{what}: what was not sent is free again");
    // At most the calls that were in flight are in doubt: one, or the three of the batch.
    assert!(scope.held.get(Line::ModelCalls) <= 3, "{what}: {:?}", scope.held);
    for (id, scope) in ledger.scopes().filter(|(id, _)| id.level() == Level::Attempt) {
        assert!(scope.closed, "{what}: {id}");
    }
}

/// The item's next run comes to its end: nobody has to repair anything, and what the run before has shown was not judged.
fn goes_on(again: &Ended, what: &str) {
    assert_eq!(again.verdict(), "accepted", "{what}: {}", again.said);
}

/// All files below a directory, by path.
fn files(dir: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            files.extend(self::files(&path).into_iter().map(|(below, text)| (format!("{name}/{below}"), text)));
        } else {
            files.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
    files
}

/// What the host judged a run by, without what a crash may change: spent and held amounts.
fn judged(record: &Record) -> Record {
    Record {
        serial: String::new(),
        kept: String::new(),
        ledger: Default::default(),
        waste: Default::default(),
        repaid: 0,
        resumptions: 0,
        ..record.clone()
    }
}

fn answering() -> Vec<Behaviour> {
    vec![Behaviour::Text("yes, that is so".into())]
}

/// `JIDOKA_CRASH_EVERY=1` kills at each occurrence of each gate; without it CI takes every third.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_killed_at_any_gate_goes_on_to_the_same_end_and_pays_twice_only_for_what_was_in_flight() {
    let every: u64 = std::env::var("JIDOKA_CRASH_EVERY").map_or(3, |every| every.parse().unwrap());
    let home = Home::new();
    let provider = FakeProvider::start(answering()).await;
    let whole = tokio::task::block_in_place(|| one_run(&home, &provider, "never:0", "whole", "start"));
    assert_eq!(whole.verdict(), "accepted", "{}", whole.said);
    let (calls, expected) = (provider.counters().calls, files(&home.workspace()));
    let effects = bench::entries(&home.state(), "whole").iter().filter(|entry| is_effect(entry)).count();
    assert!(effects >= 20, "{effects} effects");
    let (mut killed, mut missed, mut repaid, mut most) = (0, 0, 0, 0);
    for (name, times) in &whole.gates {
        for number in (1..=*times).filter(|number| number % every == 1 % every || number == times) {
            let gate = format!("{name}:{number}");
            let home = Home::new();
            let provider = FakeProvider::start(answering()).await;
            let first = tokio::task::block_in_place(|| one_run(&home, &provider, &gate, "run", "start"));
            if first.record.is_some() {
                // Works that come together share a commit, so a run may have fewer of them.
                assert_eq!(first.verdict(), "accepted", "{gate}: {}", first.said);
                missed += 1;
                continue;
            }
            let states = |home: &Home| -> Vec<State> {
                let items = bench::store(&home.state()).items().unwrap();
                items.into_iter().map(|(_, item)| item.state).collect()
            };
            let left = states(&home);
            assert!(left.iter().all(|state| [State::Running, State::Accepted].contains(state)), "{gate}: {left:?}");
            // Every other time somebody looks at the books before the run goes on.
            if killed % 2 == 0 {
                let (ledger, item) = survey(&home.state()).await;
                accounts_for(&ledger, &item, provider.counters(), &gate);
            }
            let is_begun = bench::store(&home.state()).journal("run").unwrap().is_some();
            let (serial, way) = if is_begun { ("run", "resume") } else { ("again", "start") };
            let again = tokio::task::block_in_place(|| one_run(&home, &provider, "never:0", serial, way));
            let record = match again.record.clone() {
                // Killed when the last line was on disk: there is nothing left to do.
                Some(record) if record.verdict == "not-admitted" => closed(&home.state(), "run"),
                record => record,
            };
            let record = record.unwrap_or_else(|| panic!("{gate}: {}", again.said));
            assert_eq!(judged(&record), judged(whole.record.as_ref().unwrap()), "{gate}: {}", again.said);
            assert_eq!(files(&home.workspace()), expected, "{gate}");
            let paid_twice = provider.counters().calls - calls;
            assert_eq!(paid_twice, record.repaid.min(paid_twice), "{gate}: paid twice and not told");
            // Before it was sent it was not paid for, and told as repaid all the same: nobody can know.
            assert!(record.repaid <= 3, "{gate}: at most a batch is in flight: {}", record.repaid);
            let entries = bench::kept_entries(&home.state(), serial);
            let intents = entries.iter().filter(|entry| matches!(entry.facts, Facts::Intent { attempt: 2.., .. }));
            assert_eq!(intents.count() as u64, record.repaid, "{gate}");
            assert_eq!(states(&home), [State::Accepted], "{gate}");
            let (ledger, item) = survey(&home.state()).await;
            accounts_for(&ledger, &item, provider.counters(), &gate);
            let replayed = bench::replay(&bench::runner(&home.state()), serial, None).await;
            assert_eq!((replayed.divergence, replayed.fault), (None, None), "{gate}");
            assert_eq!(replayed.record.as_ref(), Some(&record), "{gate}");
            (killed, repaid, most) = (killed + 1, repaid + paid_twice, most.max(paid_twice));
        }
    }
    assert!(killed >= 20 && missed <= killed / 4, "killed {killed} times, {missed} gates were not reached");
    println!("{effects} effects, {:?}: killed {killed} times, {repaid} calls paid twice, {most} at most", whole.gates);
}

fn is_effect(entry: &Entry) -> bool {
    matches!(entry.body, Body::Intent { .. } | Body::Refused { .. })
}

/// The record that a journal closes with.
fn closed(state: &Path, serial: &str) -> Option<Record> {
    bench::entries(state, serial).into_iter().rev().find_map(|entry| match entry.body {
        Body::Closed { record } => Some(*record),
        _ => None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_at_any_moment_refuses_and_loses_nothing() {
    let mut ended = std::collections::BTreeSet::new();
    for kib in [16, 34, 40, 64, 100, 150, 200, 250, 300, 400, 1_024, 4_096] {
        let home = Home::new();
        let provider = FakeProvider::start(vec![Behaviour::Text("yes, that is so".into())]).await;
        drop(bench::store(&home.state()));
        // No file may grow past this: writes fail as they do on a full disk.
        let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
        let output = tokio::task::block_in_place(|| {
            Command::new("bash")
                .args(["-c", &script, env!("CARGO_BIN_EXE_one_run")])
                .args([home.dir().to_str().unwrap(), &provider.url(), "never:0", "full", "start"])
                .output()
                .unwrap()
        });
        let said = as_told(&output).verdict().to_owned();
        let what = format!("{kib} KiB: {said} {}", String::from_utf8_lossy(&output.stderr));
        let (ledger, item) = survey(&home.state()).await;
        accounts_for(&ledger, &item, provider.counters(), &what);
        let is_applied = as_told(&output).record.is_some_and(|record| record.applied);
        if said != "accepted" {
            assert_eq!(std::fs::read_dir(home.workspace()).unwrap().count() > 0, is_applied, "{what}");
            // What is applied and could not be written down is the run's own to end.
            let (serial, way) = if is_applied { ("full", "resume") } else { ("next", "start") };
            let again = tokio::task::block_in_place(|| one_run(&home, &provider, "never:0", serial, way));
            goes_on(&again, &what);
        }
        ended.insert(said);
    }
    // Too full to open the books, too full to go on, and just enough.
    println!("with less and less room: {ended:?}");
    for verdict in ["", "fault", "accepted"] {
        assert!(ended.contains(verdict), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_killed_in_a_call_holds_that_call_and_no_other() {
    let home = Home::new();
    let provider = FakeProvider::start(vec![Behaviour::Text("yes".into()), Behaviour::Stall]).await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_one_run"))
        .args([home.dir().to_str().unwrap(), &provider.url(), "never:0", "run", "start"])
        .spawn()
        .unwrap();
    provider.until(|counters| counters.calls == 4).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let (ledger, item) = survey(&home.state()).await;
    let scope = ledger.scope(&item).unwrap();
    assert_eq!((scope.spent.get(Line::ModelCalls), scope.held.get(Line::ModelCalls)), (1, 3));
    let held: Vec<&str> = ledger.calls().map(|(_, call)| call.state.name()).collect();
    assert!(held.iter().all(|state| *state == "held"), "{held:?}");
}
