//! Killed at every commit of a run: what was sent is paid for, what was not is free, and nothing is lost.

use std::path::Path;
use std::process::{Command, Output};

use jidoka::doors::clock::Clock;
use jidoka::rules::ledger::{Amounts, Ledger, Level, Line, ScopeId};
use jidoka::run::desk::Desk;
use jidoka_tests::bench::{self, Home};
use jidoka_tests::crash;
use jidoka_tests::provider::{Behaviour, Counters, FakeProvider};

/// More gates than the run has.
const MANY: u64 = 400;

fn one_run(home: &Home, provider: &FakeProvider, gate: u64) -> Output {
    Command::new(env!("CARGO_BIN_EXE_one_run"))
        .args([home.dir().to_str().unwrap(), &provider.url(), &gate.to_string()])
        .output()
        .unwrap()
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

/// The item's next run comes to its end: nobody has to repair anything. A tree that the run before has shown is not
/// progress for it, also if that run was never judged.
fn goes_on(again: &Output, what: &str) {
    let (said, why) = (String::from_utf8_lossy(&again.stdout), String::from_utf8_lossy(&again.stderr));
    assert!(["accepted\n", "no-progress\n"].contains(&&*said), "{what}: {said}: {why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_commit_frees_what_was_not_sent_and_holds_what_was() {
    for gate in 1..MANY {
        let home = Home::new();
        let provider = FakeProvider::start(vec![Behaviour::Text("yes, that is so".into())]).await;
        let ended = tokio::task::block_in_place(|| one_run(&home, &provider, gate));
        let counted = provider.counters();
        let (ledger, item) = survey(&home.state()).await;
        let what = format!("killed at gate {gate}: {}", String::from_utf8_lossy(&ended.stderr));
        accounts_for(&ledger, &item, counted, &what);
        if ended.status.success() {
            assert_eq!(String::from_utf8_lossy(&ended.stdout), "accepted\n", "{what}");
            let killed = gate - 1;
            assert!(killed >= 30, "only {killed} gates: the run has more commits than that");
            assert_eq!(ledger.scope(&item).unwrap().held, Amounts::default());
            println!("killed at each of {killed} gates");
            return;
        }
        if gate % 10 == 0 {
            let again = tokio::task::block_in_place(|| one_run(&home, &provider, 0));
            goes_on(&again, &what);
            let (ledger, item) = survey(&home.state()).await;
            accounts_for(&ledger, &item, provider.counters(), &what);
        }
    }
    panic!("the run never ended");
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
                .args([home.dir().to_str().unwrap(), &provider.url(), "0"])
                .output()
                .unwrap()
        });
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let what = format!("{kib} KiB: {said} {}", String::from_utf8_lossy(&output.stderr));
        let (ledger, item) = survey(&home.state()).await;
        accounts_for(&ledger, &item, provider.counters(), &what);
        if said != "accepted" {
            assert_eq!(std::fs::read_dir(home.workspace()).unwrap().count(), 0, "{what}");
            let again = tokio::task::block_in_place(|| one_run(&home, &provider, 0));
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
        .args([home.dir().to_str().unwrap(), &provider.url(), "0"])
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
