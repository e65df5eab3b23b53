//! One run, one verdict: the journal, the item, `verdict.json` and what is shown agree, wherever the store failed.

use std::sync::Arc;

use jidoka::doors::store::Store;
use jidoka::rules::item::State;
use jidoka::rules::ledger::Line;
use jidoka::rules::record::Record;
use jidoka_tests::bench::{self, Bench, Home};
use jidoka_tests::chaos::{ChaosStore, Failing};
use jidoka_tests::plain;

const ITEM: &str = "one";

/// Marks, evidence, a check and an apply.
fn job(home: &Arc<Home>) -> Bench {
    let lines = ["write a.txt better", "check-in look", "attach proof", "left wall", "done ready"];
    let bench = Bench::new(plain::SCRIPT).set("task", &format!("text = \"{}\"", lines.join("\\n")));
    bench.command("tests", &["true"], "10s").item(ITEM).serial("run").at(home)
}

/// Whether what is shown of a run is what the store says, and the file.
fn is_one_truth(home: &Home, record: &Record, what: &str) {
    let store = bench::store(&home.state());
    let row = store.run(&record.serial).unwrap();
    let closed = row.as_ref().and_then(|row| row.verdict.clone());
    let item = store.items().unwrap().into_iter().map(|(_, item)| item.state).next();
    let what = format!("{what}: {} ({}), the journal {closed:?}, the item {item:?}", record.verdict, record.why);
    match (&closed, record.verdict.as_str()) {
        (Some(closed), verdict) => {
            assert_eq!(closed, verdict, "{what}");
            assert_eq!(row.and_then(|row| row.exit_code), Some(record.exit_code), "{what}");
        }
        // It has no end, and nobody says that it has a good one.
        (None, verdict) => assert!(["fault", "not-admitted"].contains(&verdict), "{what}"),
    }
    match record.verdict.as_str() {
        "accepted" => assert_eq!(item, Some(State::Accepted), "{what}"),
        "not-admitted" => assert_eq!(item, None, "{what}"),
        _ => assert!(item.is_none_or(|item| [State::Ready, State::Running].contains(&item)), "{what}"),
    }
    let is_real = home.workspace().join("a.txt").exists();
    assert_eq!(is_real, record.applied, "{what}");
    assert!(
        !record.applied || record.verdict == "accepted" || record.why.contains("its changes are applied"),
        "{what}"
    );
    let file = home.state().join("runs").join(&record.serial).join("verdict.json");
    if let Ok(text) = std::fs::read(&file) {
        let mut written: serde_json::Value = serde_json::from_slice(&text).unwrap();
        written.as_object_mut().unwrap().remove("journal");
        assert_eq!(written, serde_json::to_value(record).unwrap(), "{what}");
    }
}

/// Counts the works of a run, and fails some of them.
async fn run(fails: impl Fn(u64) -> Option<Failing> + Send + Sync + 'static) -> (Arc<Home>, Record, u64) {
    let home = Home::new();
    let store = Arc::new(ChaosStore::failing(bench::store(&home.state()), fails));
    let end = job(&home).books(Arc::clone(&store) as Arc<dyn Store>).run().await;
    let works = store.works();
    (home, end.record, works)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_at_any_point_leaves_one_verdict() {
    let (home, whole, works) = run(|_| None).await;
    assert_eq!(whole.verdict, "accepted", "{}", whole.why);
    is_one_truth(&home, &whole, "whole");
    assert!(works >= 8, "{works} works");
    let tries = (0..works).flat_map(|at| {
        let ways = [Failing::Refuses, Failing::KeepsAndSaysNo];
        ways.into_iter().flat_map(move |way| [(at, at + 1, way), (at, u64::MAX, way)])
    });
    let runs = tries.map(|(from, to, way)| {
        tokio::spawn(async move {
            let (home, record, _) = run(move |work| (from..to).contains(&work).then_some(way)).await;
            let what = format!("works {from} to {to} {way:?}");
            is_one_truth(&home, &record, &what);
            if record.verdict == "accepted" {
                return;
            }
            // Nobody has to repair anything: the item's next attempt, or the run itself, comes to the end.
            let is_open = bench::store(&home.state()).journal("run").unwrap().is_some();
            let end = if is_open { job(&home).resume("run").await } else { job(&home).serial("again").run().await };
            assert_eq!(end.record.verdict, "accepted", "{what}: {}: {}", record.why, end.record.why);
            is_one_truth(&home, &end.record, &what);
        })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_there_again_after_a_moment_has_the_verdict() {
    let (_, _, works) = run(|_| None).await;
    // The last work is the one that closes the run.
    let (home, record, _) = run(move |work| (works - 1..works + 2).contains(&work).then_some(Failing::Refuses)).await;
    assert_eq!(record.verdict, "accepted", "{}", record.why);
    is_one_truth(&home, &record, "the last work, three times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_file_that_cannot_be_written_leaves_no_older_one_and_the_journal_has_the_verdict() {
    let home = Home::new();
    let end = job(&home)
        .run_with(|cord| {
            cord.pull(jidoka::rules::verdict::Stop::Cancelled);
        })
        .await;
    end.expect("cancelled");
    let dir = home.state().join("runs/run");
    assert!(dir.join("verdict.json").exists());
    // Its draft cannot be made.
    std::fs::create_dir(dir.join("verdict.json.draft")).unwrap();
    let end = job(&home).resume("run").await;
    end.expect("accepted");
    assert!(!dir.join("verdict.json").exists(), "an older verdict would be another truth");
    is_one_truth(&home, &end.record, "no file");
    assert_eq!(bench::runner(&home.state()).past("run").await.unwrap().record(), Some(end.record));
}

#[tokio::test(flavor = "multi_thread")]
async fn waste_is_what_an_attempt_spent_or_holds_as_long_as_nothing_is_accepted() {
    let job = |last: &str| {
        let lines = ["ask one", "write a.txt better", last];
        let bench = Bench::new(plain::SCRIPT).set("task", &format!("text = \"{}\"", lines.join("\\n")));
        let bench = bench.script("[[turn]]\nrepeat = true\ntext = \"yes\"\nusage = { in = 3, out = 2 }\n");
        bench.command("tests", &["test", "!", "-e", "bad"], "10s")
    };
    let accepted = job("done ready").run().await;
    accepted.expect("accepted");
    assert!(accepted.record.waste.is_nothing() && accepted.record.ledger.attempt.spent.get(Line::Tokens) == 5);
    for (last, verdict) in [("unable no", "unable"), ("write bad x\\ndone ready", "rejected"), ("panic", "trapped")] {
        let end = job(last).run().await;
        let record = &end.expect(verdict).record;
        let [waste, spent] = [&record.waste, &record.ledger.attempt.spent].map(|amounts| {
            [Line::Tokens, Line::TokensIn, Line::TokensOut, Line::ModelCalls].map(|line| amounts.get(line))
        });
        assert_eq!((waste, spent), ([5, 3, 2, 1], [5, 3, 2, 1]), "{verdict}");
        assert_eq!(record.waste, record.ledger.attempt.spent.plus(&record.ledger.attempt.held), "{verdict}");
        let kept = bench::entries(&end.home.state(), &record.serial);
        let closed = kept.iter().find_map(|entry| match &entry.body {
            jidoka::rules::effect::Body::Closed { record } => Some(record.waste),
            _ => None,
        });
        assert_eq!(closed, Some(record.waste), "{verdict}: the journal says the same");
    }
}
